//! A rollback that is rehearsed on live traffic: how long it takes until no request goes to the canary any more. A task of its
//! own measures; the controller records what it found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use super::act::{Act, PersonAct};
use super::ledger::Written;
use super::rehearsed_rollback::RehearsedRollback;
use crate::control::controller::Controller;
use crate::control::event::{Event, ReleaseEvent};
use crate::control::measure::VariantCounts;
use crate::control::state::ControlState;
use crate::journal::{Deed, Record, RolloutDeed};
use crate::release::{PersonVerb, RolloutVerb};
use crate::route::{Rollout, RolloutMember};
use crate::snapshot::Snapshot;
use crate::telemetry::{UpstreamSeries, VariantSeries};

/// How often the counts are read.
const READ_EVERY: Duration = Duration::from_millis(1);
/// The same while a rollback takes its time.
const READ_FALL_EVERY: Duration = Duration::from_millis(10);
/// The last request has ended when none is in flight and none has ended for so long after the rollback is in force.
const QUIET: Duration = Duration::from_secs(1);
/// The same where others use the upstream of the canary, so that what is in flight says nothing.
const SHARED_QUIET: Duration = Duration::from_secs(10);
/// How long it is measured, beyond the time that the plan gives to the rollback.
const PATIENCE: Duration = Duration::from_secs(30);

/// A measurement that begins.
pub(super) struct Measurement {
    rehearsed: RehearsedRollback,
    rollout: String,
    /// The series of the variants that it moves.
    series: Vec<Arc<VariantSeries>>,
    /// The series of their upstreams; empty where others use one of these too.
    upstreams: Vec<Arc<UpstreamSeries>>,
    /// How often the counts are read.
    every: Duration,
    /// The requests that had ended.
    before: u64,
    begun: Instant,
    /// It is given up then.
    until: Instant,
}

impl Controller {
    /// Reads the counts before a rehearsed rollback; `None` for all other acts.
    pub(super) fn begin_measuring(&self, act: &Act, record: &Arc<Record>) -> Option<Measurement> {
        let PersonAct::Rollout { rollout: name, verb: PersonVerb::Rehearse, .. } = &act.what else { return None };
        let snapshot = self.store.load();
        let rollout = snapshot.rules.rollout(snapshot.rules.find_rollout(name)?);
        let series = series_of(&snapshot, rollout);
        let (before, begun) = (ended(&series), self.state.clock.now());
        let until = begun + Duration::from_millis(rollout.plan.rollback_over_ms) + PATIENCE;
        let rehearsed = RehearsedRollback {
            who: act.who.clone(),
            reason: act.reason.clone(),
            rollback: Arc::clone(record),
            in_force: None,
            last_request: Duration::ZERO,
            requests_after: 0,
            still_open: 0,
            durable: None,
        };
        let upstreams = own_upstreams(&snapshot, rollout);
        let every = if rollout.plan.rollback_over_ms > 0 { READ_FALL_EVERY } else { READ_EVERY };
        Some(Measurement { rehearsed, rollout: name.clone(), series, upstreams, every, before, begun, until })
    }

    /// Measures in a task of its own.
    pub(super) fn measure_rehearsal(&self, measurement: Measurement) {
        let (state, written, events) = (Arc::clone(&self.state), self.release.ledger.follow(), self.sender.clone());
        tokio::spawn(async move {
            let measured = Box::new(measurement.finish(&state, &written).await);
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Release(ReleaseEvent::Rehearsed(measured))).await;
        });
    }

    /// Records what was measured.
    pub(super) fn record_rehearsal(&mut self, measured: RehearsedRollback) {
        let Deed::Rollout(rollback) = &measured.rollback.what else { return };
        let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        let evidence = json!({
            "rollback": measured.rollback.seq,
            "in_force_ms": measured.in_force.map(ms),
            "last_request_ms": ms(measured.last_request),
            "requests_after": measured.requests_after,
            "still_open": measured.still_open,
            "durable_ms": measured.durable.map(ms),
        });
        let deed = RolloutDeed {
            act: RolloutVerb::Rehearsed.name().to_owned(),
            because: sentence(&measured),
            from: rollback.to,
            evidence,
            state: serde_json::Value::Null,
            ..rollback.clone()
        };
        self.record_deed(measured.who.clone(), Deed::Rollout(deed), Some(measured.reason));
    }
}

impl Measurement {
    async fn finish(mut self, state: &ControlState, written: &watch::Receiver<Written>) -> RehearsedRollback {
        let mut last = self.begun;
        loop {
            let now = state.clock.now();
            let since = now.saturating_duration_since(self.begun);
            let after = ended(&self.series).saturating_sub(self.before);
            let found = &mut self.rehearsed;
            if after > found.requests_after {
                (found.requests_after, found.last_request, last) = (after, since, now);
            }
            if found.durable.is_none() && written.borrow().durable_seq >= found.rollback.seq {
                found.durable = Some(since);
            }
            if found.in_force.is_none() && is_in_force(state, &self.rollout) {
                (found.in_force, last) = (Some(since), now.max(last));
            }
            found.still_open = in_flight(&self.upstreams);
            let quiet = if self.upstreams.is_empty() { SHARED_QUIET } else { QUIET };
            let is_quiet = found.still_open == 0 && now.saturating_duration_since(last) >= quiet;
            let is_written = found.durable.is_some() || written.borrow().failure.is_some();
            if now >= self.until || (found.in_force.is_some() && is_quiet && is_written) {
                return self.rehearsed;
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

/// The series of the variants that a rollout moves.
fn series_of(snapshot: &Snapshot, rollout: &Rollout) -> Vec<Arc<VariantSeries>> {
    let of = |member: &RolloutMember| {
        let route = snapshot.routes.get(member.route.0 as usize)?;
        route.series.get(usize::from(member.variant.0)).map(Arc::clone)
    };
    rollout.members.iter().filter_map(of).collect()
}

/// The series of the upstreams that serve the variants of a rollout and nothing else; empty where one serves others too.
fn own_upstreams(snapshot: &Snapshot, rollout: &Rollout) -> Vec<Arc<UpstreamSeries>> {
    let (mut own, mut others) = (BTreeSet::new(), BTreeSet::new());
    for (id, route) in snapshot.rules.numbered() {
        for (at, variant) in route.split().iter().flat_map(|split| split.variants.iter().enumerate()) {
            let is_member = rollout.members.iter().any(|one| one.route == id && usize::from(one.variant.0) == at);
            if is_member { &mut own } else { &mut others }.insert(variant.upstream.0);
        }
    }
    if own.is_empty() || !own.is_disjoint(&others) {
        return Vec::new();
    }
    own.into_iter().filter_map(|id| Some(Arc::clone(&snapshot.upstreams.get(id as usize)?.series))).collect()
}

/// The requests to these upstreams that are under way.
fn in_flight(upstreams: &[Arc<UpstreamSeries>]) -> u64 {
    let of = |one: &Arc<UpstreamSeries>| one.meters.used().map(|meter| meter.in_flight.value()).sum::<i64>();
    upstreams.iter().map(of).map(|sum| u64::try_from(sum).unwrap_or(0)).sum()
}

/// The requests to these variants that have ended.
fn ended(series: &[Arc<VariantSeries>]) -> u64 {
    series.iter().map(|one| VariantCounts::of(one).requests).sum()
}

/// Whether every worker uses an overlay that gives the variants of a rollout nothing.
fn is_in_force(state: &ControlState, rollout: &str) -> bool {
    let snapshot = state.snapshot();
    let Some(id) = snapshot.rules.find_rollout(rollout) else { return true };
    let is_stopped = |member: &RolloutMember| {
        let arm = snapshot.overlay.split(member.route).arms().get(usize::from(member.variant.0)).copied();
        arm.is_none_or(|arm| arm.killed || arm.latched)
    };
    let registry = &state.counts.registry;
    snapshot.rules.rollout(id).members.iter().all(is_stopped) && registry.adopted(snapshot.edition) >= registry.workers
}

/// What was measured, in one sentence.
fn sentence(measured: &RehearsedRollback) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let in_force =
        measured.in_force.map_or_else(|| "not in force in time".to_owned(), |at| format!("in force after {}", ms(at)));
    let last = match measured.requests_after {
        0 => "no request to the canary ended after the trip".to_owned(),
        1 => format!("1 request to the canary ended after the trip, after {}", ms(measured.last_request)),
        more => format!(
            "{more} requests to the canary ended after the trip, the last one after {}",
            ms(measured.last_request)
        ),
    };
    let open = match measured.still_open {
        0 => String::new(),
        more => format!("; {more} had not ended when the measurement was over"),
    };
    format!("rollback {in_force}; {last}{open}")
}
