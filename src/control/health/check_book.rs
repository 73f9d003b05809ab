//! The active checks of all upstreams: which there are, when each begins, and whose verdicts it serves. No I/O: the
//! prober makes the checks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::check_target::{CheckSettings, CheckTarget};
use super::log::log_checked;
use super::schedule::{CheckId, CheckPace, CheckSchedule, NextCheck};
use crate::failover::{CheckOutcome, CheckThresholds, UpstreamHealth};
use crate::route::{ClientTls, Rules, Upstream};
use crate::snapshot::{EndpointState, Snapshot, UpstreamState};
use crate::tls::EndpointTls;

/// The checks.
#[derive(Default)]
pub(super) struct CheckBook {
    schedule: CheckSchedule,
    checks: HashMap<CheckId, Check>,
    by_target: HashMap<Arc<CheckTarget>, CheckId>,
    last_id: u64,
    /// What the checks were made of.
    source: Option<CheckSource>,
}

/// The parts of a snapshot that say which checks there are.
struct CheckSource {
    rules: Arc<Rules>,
    upstreams: Arc<[Arc<UpstreamState>]>,
}

struct Check {
    target: Arc<CheckTarget>,
    subscribers: Vec<Subscriber>,
}

/// A check that a snapshot asks for, and for which endpoint.
struct WantedCheck {
    target: CheckTarget,
    subscriber: Subscriber,
}

/// An endpoint of an upstream that has the check.
struct Subscriber {
    upstream: String,
    health: Arc<UpstreamHealth>,
    endpoint: Arc<EndpointState>,
    thresholds: CheckThresholds,
}

/// A check to make.
pub(super) struct BegunCheck {
    pub(super) id: CheckId,
    pub(super) target: Arc<CheckTarget>,
}

/// What to do now.
pub(super) enum CheckStep {
    /// Make this check.
    Make(BegunCheck),
    /// Nothing before this time, in milliseconds since the start of the process.
    WaitUntil(u64),
    /// Nothing before a check ends.
    Wait,
}

/// How a check has ended, and when; `outcome` is `None` when it has shown nothing.
pub(super) struct EndedCheck {
    pub(super) outcome: Option<CheckOutcome>,
    pub(super) now_ms: u64,
    /// From 0 to 1.
    pub(super) draw: f64,
}

impl CheckBook {
    /// Takes over the checks of a snapshot. Those that are in it as before keep their times; new ones are due now.
    /// Returns those that ended, which may be under way.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, now_ms: u64) -> Vec<CheckId> {
        let is_same = |source: &CheckSource| {
            Arc::ptr_eq(&source.rules, &snapshot.rules) && Arc::ptr_eq(&source.upstreams, &snapshot.upstreams)
        };
        if self.source.as_ref().is_some_and(is_same) {
            return Vec::new();
        }
        let mut gone: HashSet<CheckId> = self.checks.keys().copied().collect();
        self.checks.values_mut().for_each(|check| check.subscribers.clear());
        for WantedCheck { target, subscriber } in wanted(snapshot) {
            let id = self.id_of(target, now_ms);
            gone.remove(&id);
            if let Some(check) = self.checks.get_mut(&id) {
                check.subscribers.push(subscriber);
            }
        }
        for id in &gone {
            self.schedule.remove(*id);
            if let Some(check) = self.checks.remove(id) {
                self.by_target.remove(&check.target);
            }
        }
        for (spec, state) in snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams) {
            // What has no checks has no late ones.
            if spec.health.is_none() {
                state.health.note_late_check(0);
            }
        }
        let (rules, upstreams) = (Arc::clone(&snapshot.rules), Arc::clone(&snapshot.upstreams));
        self.source = Some(CheckSource { rules, upstreams });
        gone.into_iter().collect()
    }

    /// The number of the check with this target; a new one is due now.
    fn id_of(&mut self, target: CheckTarget, now_ms: u64) -> CheckId {
        if let Some(id) = self.by_target.get(&target) {
            return *id;
        }
        self.last_id += 1;
        let (id, target) = (CheckId(self.last_id), Arc::new(target));
        self.schedule.add(id, target.address, target.settings.interval, now_ms);
        self.by_target.insert(Arc::clone(&target), id);
        self.checks.insert(id, Check { target, subscribers: Vec::new() });
        id
    }

    /// Begins the next check that is due.
    pub(super) fn next(&mut self, now_ms: u64) -> CheckStep {
        match self.schedule.next(now_ms) {
            NextCheck::At(ms) => CheckStep::WaitUntil(ms),
            NextCheck::Nothing => CheckStep::Wait,
            NextCheck::Begin { id, late_ms } => {
                let Some(check) = self.checks.get(&id) else { return CheckStep::Wait };
                for one in &check.subscribers {
                    one.health.note_late_check(late_ms);
                }
                CheckStep::Make(BegunCheck { id, target: Arc::clone(&check.target) })
            }
        }
    }

    /// Records the end of a check for all upstreams that have it, and logs what has changed. One that a reload has removed
    /// is ignored.
    pub(super) fn end(&mut self, id: CheckId, ended: &EndedCheck) {
        let Some(check) = self.checks.get(&id) else { return };
        let EndedCheck { outcome, now_ms, draw } = ended;
        let mut pace = if outcome.is_none() { CheckPace::Soon } else { CheckPace::Usual };
        for one in check.subscribers.iter().filter(|_| outcome.is_some()) {
            let Some(outcome) = outcome else { continue };
            let changes = one.health.record_check(&one.endpoint.health, outcome, one.thresholds, *now_ms);
            for change in changes.iter() {
                log_checked(&one.upstream, &one.endpoint, change, outcome);
            }
            if changes.is_any() {
                pace = CheckPace::Soon;
            }
        }
        self.schedule.end(id, pace, *now_ms, *draw);
    }

    /// The checks under way.
    #[cfg(test)]
    pub(super) const fn under_way(&self) -> usize {
        self.schedule.under_way()
    }

    /// How many things it holds.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 5] {
        let [entries, waiting, addresses] = self.schedule.sizes();
        [self.checks.len(), self.by_target.len(), entries, waiting, addresses]
    }
}

/// The checks that a snapshot asks for.
fn wanted(snapshot: &Snapshot) -> Vec<WantedCheck> {
    let mut wanted = Vec::new();
    let mut all_settings: HashMap<CheckSettings, Arc<CheckSettings>> = HashMap::new();
    let mut tls_settings: Vec<(&ClientTls, &EndpointTls)> = Vec::new();
    for (spec, state) in snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams) {
        let Some(check) = &spec.health else { continue };
        let settings = CheckSettings::new(check, spec);
        let settings = all_settings.entry(settings.clone()).or_insert_with(|| Arc::new(settings));
        let thresholds = CheckThresholds { healthy: check.healthy, unhealthy: check.unhealthy };
        let first_tls = common_tls(&mut tls_settings, spec, state);
        // An address that is listed twice has one state.
        let mut seen = HashSet::new();
        for endpoint in state.endpoints.iter().filter(|one| seen.insert(Arc::as_ptr(&one.health))) {
            let tls = endpoint.tls.as_deref().map(|own| same_name(first_tls, own));
            let subscriber = Subscriber {
                upstream: spec.name.clone(),
                health: Arc::clone(&state.health),
                endpoint: Arc::clone(endpoint),
                thresholds,
            };
            wanted.push(WantedCheck { target: CheckTarget::new(endpoint, tls, settings), subscriber });
        }
    }
    wanted
}

/// The TLS of the first upstream with the same settings: each upstream has a configuration of its own, and checks under
/// equal ones are the same.
fn common_tls<'a>(
    known: &mut Vec<(&'a ClientTls, &'a EndpointTls)>,
    spec: &'a Upstream,
    state: &'a UpstreamState,
) -> Option<&'a EndpointTls> {
    let own = spec.tls.as_ref()?;
    if let Some((_, first)) = known.iter().find(|(settings, _)| *settings == own) {
        return Some(first);
    }
    let first = state.endpoints.iter().find_map(|endpoint| endpoint.tls.as_deref())?;
    known.push((own, first));
    Some(first)
}

/// The TLS of an endpoint under the configuration of `first`.
fn same_name(first: Option<&EndpointTls>, own: &EndpointTls) -> EndpointTls {
    first.map_or_else(|| own.clone(), |first| own.under(first))
}

#[cfg(test)]
mod tests;
