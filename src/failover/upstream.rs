//! The endpoints of one upstream, for the process: which may be chosen, and what a failure or success changes.
//!
//! A request reads one flag while every endpoint is usable. A success writes nothing while its endpoint is quiet. What
//! changes an endpoint is rare, and happens under one lock, so that the caps hold whatever the number of workers.

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::RetryBudget;
use super::cause::{FailureCause, FailureKind};
use super::checked::{CheckTally, CheckedHealth};
use super::ejection::{Census, in_row, kept, length_ms};
use super::endpoint::{Arrival, EndpointHealth, Standby};
use super::setting::{EndpointKey, EndpointSetting, roles};
use super::transition::Transition;
use super::window::RecentWindows;
use crate::route::OutlierSettings;

/// How long a try of an ejected endpoint keeps others away, unless its result is known before.
const TRY_MS: u64 = 5_000;
/// The least requests of ten seconds for `failure_percent`.
const REQUESTS_MIN: u64 = 20;
/// The most endpoints that are remembered while they are missing, such as between two DNS answers.
const MISSING_MAX: usize = 256;

/// Whether an upstream has active checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActiveChecks {
    /// It has none.
    #[default]
    Off,
    /// Its endpoints are checked.
    On,
}

/// The time of a process, and a random draw from 0 to 1 for jitter.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds since the start of the process.
    pub now_ms: u64,
    /// The draw.
    pub draw: f64,
}

/// A try that has failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedTry {
    /// Why.
    pub cause: FailureCause,
    /// The endpoint's epoch when the try began.
    pub epoch: u32,
}

/// Who wants to send to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A request of a safe method (RFC 9110 §9.2.1).
    Safe,
    /// Any other request.
    Unsafe,
    /// A copy of a request, which is never the one that tries an ejected endpoint.
    Copy,
}

/// Whether an endpoint may be chosen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It may.
    Yes,
    /// It is ejected, and its time is over: one request may try it, which [`UpstreamHealth::claim`] decides.
    Trial,
    /// It may not.
    No,
}

/// How often something happened, for the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Ejections, by the index of their cause.
    pub ejections: [u64; FailureCause::ALL.len()],
    /// Ejected endpoints that were admitted again.
    pub admissions: u64,
}

/// The endpoints of one upstream.
#[derive(Debug)]
pub struct UpstreamHealth {
    /// Whether an endpoint gets no requests.
    has_unusable: AtomicBool,
    /// Counts the changes of which endpoints get requests.
    rotation: AtomicU64,
    /// When the time of the first ejected endpoint is over; `u64::MAX`: none waits.
    next_trial_ms: AtomicU64,
    has_checks: AtomicBool,
    /// Whether an endpoint that is healthy by its checks serves.
    has_healthy: AtomicBool,
    members: Mutex<Vec<Member>>,
    pub(super) ejections: [AtomicU64; FailureCause::ALL.len()],
    admissions: AtomicU64,
    /// The active checks so far.
    pub(super) checks: CheckTally,
    /// The budget of further tries.
    pub budget: RetryBudget,
    /// First tries.
    pub requests: RecentWindows,
}

/// An endpoint that the upstream has, or had a while ago.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: EndpointKey,
    pub(super) health: Arc<EndpointHealth>,
    /// Whether the upstream has it now.
    is_current: bool,
}

impl UpstreamHealth {
    /// An upstream without endpoints, for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            has_unusable: AtomicBool::new(false),
            rotation: AtomicU64::new(0),
            next_trial_ms: AtomicU64::new(u64::MAX),
            has_checks: AtomicBool::new(false),
            has_healthy: AtomicBool::new(false),
            members: Mutex::default(),
            ejections: Default::default(),
            admissions: AtomicU64::new(0),
            checks: CheckTally::default(),
            budget: RetryBudget::default(),
            requests: RecentWindows::new(workers),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether the endpoints that follow are checked. Called before [`set_endpoints`](Self::set_endpoints).
    pub fn set_checks(&self, checks: ActiveChecks) {
        self.has_checks.store(checks == ActiveChecks::On, Relaxed);
    }

    /// Sets the endpoints that the upstream has now, and returns their states in this order. An endpoint that it had
    /// before keeps its state, also one that was missing for a while.
    pub fn set_endpoints(
        &self,
        endpoints: &[impl Into<EndpointSetting> + Copy],
        now_ms: u64,
    ) -> Vec<Arc<EndpointHealth>> {
        let has_checks = self.has_checks.load(Relaxed);
        let settings = || endpoints.iter().map(|setting| (*setting).into());
        let roles = roles(settings());
        let mut members = self.lock();
        let had_any = members.iter().any(|member| member.is_current);
        let mut is_changed = members.iter().any(|member| member.is_current && !roles.contains_key(&member.key));
        let mut known: HashMap<EndpointKey, Member> = members.drain(..).map(|member| (member.key, member)).collect();
        let mut current: HashMap<EndpointKey, Arc<EndpointHealth>> = HashMap::with_capacity(endpoints.len());
        let mut states = Vec::with_capacity(endpoints.len());
        for EndpointSetting { key, .. } in settings() {
            // An address that is listed twice has one state.
            let health = current.entry(key).or_insert_with(|| {
                let before = known.remove(&key);
                let is_new = before.as_ref().is_none_or(|member| !member.is_current);
                let health = before.map_or_else(Arc::default, |member| member.health);
                let role = roles.get(&key).copied().unwrap_or_default();
                is_changed |= is_new || role != health.role();
                health.set_role(role);
                if is_new {
                    health.set_arrival(if had_any { Arrival::Later } else { Arrival::First });
                }
                match (has_checks, health.checked()) {
                    (false, _) => health.set_checked(CheckedHealth::Unchecked),
                    (true, CheckedHealth::Unchecked) => health.set_checked(CheckedHealth::Unknown),
                    (true, CheckedHealth::Unknown | CheckedHealth::Healthy | CheckedHealth::Unhealthy) => {}
                }
                members.push(Member { key, health: Arc::clone(&health), is_current: true });
                health
            });
            states.push(Arc::clone(health));
        }
        // One that is well has nothing to remember, and takes no place of those that are not.
        let mut missing: Vec<Member> = known.into_values().filter(|member| !member.health.is_forgettable()).collect();
        // What a person did is not forgotten before anything else.
        missing.sort_by_key(|member| !member.health.is_out_by_hand());
        members.extend(missing.into_iter().take(MISSING_MAX).map(|member| {
            member.health.leave_rotation();
            if member.health.checked() != CheckedHealth::Unchecked {
                member.health.set_checked(CheckedHealth::Unknown);
            }
            Member { is_current: false, ..member }
        }));
        if is_changed {
            admit_if_none_serves(&members);
        }
        self.refresh(&members, now_ms);
        debug_assert_eq!(states.len(), endpoints.len(), "a state for each endpoint");
        states
    }

    /// Whether an endpoint of the upstream gets no requests. One load.
    #[must_use]
    #[inline]
    pub fn has_unusable(&self) -> bool {
        self.has_unusable.load(Relaxed)
    }

    /// The number of changes of which endpoints get requests ([`EndpointHealth::is_in_rotation`]), or of an earlier
    /// [`next_trial_ms`](Self::next_trial_ms): while it is the same, so are they. One load.
    #[must_use]
    #[inline]
    pub fn rotation(&self) -> u64 {
        self.rotation.load(Acquire)
    }

    /// When the time of the first ejected endpoint is over, so that a try may decide; `u64::MAX`: none waits. One load.
    #[must_use]
    #[inline]
    pub fn next_trial_ms(&self) -> u64 {
        self.next_trial_ms.load(Relaxed)
    }

    /// Decides anew which endpoints get requests. Of the usable ones, those that came later and are not checked yet wait
    /// while one is healthy: those that served before checks began, or are the first of the upstream, serve until their own
    /// verdict, so that the first one that is healthy does not get the requests of all. Of the rest, backups wait while a
    /// primary serves. Under the lock.
    pub(super) fn refresh(&self, members: &[Member], now_ms: u64) {
        let current = || members.iter().filter(|member| member.is_current).map(|member| &member.health);
        let usable = || current().filter(|health| health.is_usable());
        let is_any_healthy = usable().any(|health| health.checked() == CheckedHealth::Healthy);
        self.has_healthy.store(is_any_healthy, Relaxed);
        let is_known = |health: &&Arc<EndpointHealth>| !is_any_healthy || !health.awaits_check();
        let is_primary_there = usable().filter(is_known).any(|health| !health.is_backup());
        let had_some = current().any(|health| health.was_in_rotation());
        let (mut unusable, mut has_changed) = (false, false);
        for health in current() {
            let waits = !is_known(&health) || (is_primary_there && health.is_backup());
            health.set_standby(if waits { Standby::Waits } else { Standby::Serves });
            let (before, serves) = (health.was_in_rotation(), health.is_in_rotation());
            if before != serves {
                has_changed = true;
                health.note_rotation();
                if serves && had_some {
                    health.begin_ramp(now_ms);
                }
            }
            unusable |= !serves;
        }
        self.has_unusable.store(unusable, Relaxed);
        let next = current().filter_map(|health| health.trial_ms()).min().unwrap_or(u64::MAX);
        let is_later = next >= self.next_trial_ms.swap(next, Relaxed);
        if has_changed || !is_later {
            // With the load in `rotation`: who sees the number sees the states too.
            self.rotation.fetch_add(1, Release);
        }
    }

    /// Whether a verdict changes nothing but its own endpoint: it is good, the endpoint serves already, and another healthy
    /// one does too. So the first checks of many endpoints do not look at all of them each time.
    pub(super) fn changes_no_other(&self, endpoint: &EndpointHealth, checked: CheckedHealth) -> bool {
        checked == CheckedHealth::Healthy && endpoint.is_in_rotation() && self.has_healthy.load(Relaxed)
    }

    /// How often endpoints were ejected and admitted.
    #[must_use]
    pub fn counts(&self) -> HealthCounts {
        HealthCounts {
            ejections: std::array::from_fn(|at| self.ejections[at].load(Relaxed)),
            admissions: self.admissions.load(Relaxed),
        }
    }

    /// Whether `sender` may choose an endpoint now.
    #[must_use]
    pub fn choice(endpoint: &EndpointHealth, now_ms: u64, sender: Sender) -> Choice {
        let Some(cause) = endpoint.ejected() else {
            return if endpoint.is_in_rotation() { Choice::Yes } else { Choice::No };
        };
        if endpoint.trial_ms().is_none() {
            // Drained, unhealthy, ejected by a person, or a backup that waits.
            return Choice::No;
        }
        // The control thread tries an endpoint that accepts no connections. When it has not within a quarter of the
        // ejection's time, a request does.
        let safe = sender == Sender::Safe && cause.kind() == FailureKind::BadAnswer;
        let fits = match endpoint.overdue(now_ms) {
            None => false,
            Some(_) if safe => true,
            Some(quarters) => sender != Sender::Copy && quarters > 0,
        };
        if fits && !endpoint.is_claimed(now_ms, TRY_MS) { Choice::Trial } else { Choice::No }
    }

    /// Claims the one try of an ejected endpoint for which [`choice`](Self::choice) returned [`Choice::Trial`].
    #[must_use]
    pub fn claim(endpoint: &EndpointHealth, now_ms: u64) -> bool {
        endpoint.claim(now_ms, TRY_MS)
    }

    /// Gives the claim back: the try ended without a result.
    pub fn release(endpoint: &EndpointHealth) {
        endpoint.release();
    }

    /// Records that a try failed.
    pub fn record_failure(
        &self,
        endpoint: &EndpointHealth,
        failed: FailedTry,
        settings: &OutlierSettings,
        at: Moment,
    ) -> Option<Transition> {
        if failed.epoch != endpoint.epoch() {
            return None;
        }
        let failures = endpoint.add_failure(failed.cause);
        let limit = settings.consecutive_failures;
        if endpoint.ejected().is_none() && (limit == 0 || failures < limit) {
            return None;
        }
        self.judge(endpoint, failed, settings, at)
    }

    /// Records a failure of an endpoint whose share of failures exceeds `failure_percent`, if it does.
    pub fn record_share(
        &self,
        endpoint: &EndpointHealth,
        recent: &RecentWindows,
        settings: &OutlierSettings,
        at: Moment,
    ) -> Option<Transition> {
        // Failures before the last admission are paid for.
        let counts = recent.sum_since(at.now_ms / 1000, endpoint.history().1.div_ceil(1000));
        let exceeds = counts.failures.saturating_mul(100) > counts.requests * u64::from(settings.failure_percent);
        if settings.failure_percent == 0 || counts.requests < REQUESTS_MIN || !exceeds || !endpoint.is_usable() {
            return None;
        }
        self.judge(endpoint, FailedTry { cause: FailureCause::Percent, epoch: endpoint.epoch() }, settings, at)
    }

    /// Ejects an endpoint if the caps allow it.
    #[cold]
    fn judge(
        &self,
        endpoint: &EndpointHealth,
        failed: FailedTry,
        settings: &OutlierSettings,
        at: Moment,
    ) -> Option<Transition> {
        let members = self.lock();
        // What gets no request is not ejected: it would be ejected outside the caps once it comes back.
        let gets_requests =
            members.iter().any(|member| member.is_current && ptr::eq(Arc::as_ptr(&member.health), endpoint));
        let is_out = endpoint.is_drained() || endpoint.checked() == CheckedHealth::Unhealthy;
        if failed.epoch != endpoint.epoch() || is_out || !gets_requests {
            return None;
        }
        let (cause, now_ms, earlier) = (failed.cause, at.now_ms, endpoint.ejected());
        if earlier.is_some_and(|by| by == FailureCause::ByHand)
            || earlier.is_some() && endpoint.overdue(now_ms).is_none()
        {
            // A last resort before its time, or a person's ejection: nothing changes.
            return None;
        }
        let (past, admitted_ms) = endpoint.history();
        if earlier.is_some() && settings.consecutive_failures == 0 && settings.failure_percent == 0 {
            // Ejection was switched off meanwhile.
            return Some(self.admit(endpoint, now_ms, &members));
        }
        // Also for one that is ejected already: the kind of its failure or the number of the others may be another.
        if let Some(kept) = kept(cause.kind(), census(&members).without(earlier), settings.max_ejected_percent) {
            if earlier.is_some() {
                self.admit(endpoint, now_ms, &members);
            }
            let is_new = !endpoint.is_failing();
            endpoint.mark_failing(now_ms);
            return is_new.then_some(Transition::Failing { cause, kept });
        }
        let quiet_ms = if earlier.is_some() { 0 } else { now_ms.saturating_sub(admitted_ms) };
        let nth = in_row(past, quiet_ms, settings.base_ejection).saturating_add(1);
        let length_ms = length_ms(settings.base_ejection, nth, at.draw);
        endpoint.set_in_row(nth);
        endpoint.eject(cause, now_ms, length_ms);
        self.ejections[cause as usize].fetch_add(1, Relaxed);
        self.refresh(&members, now_ms);
        Some(Transition::Ejected { cause, for_ms: Some(length_ms), nth })
    }

    /// Records that a try succeeded. Called only for an endpoint that is not quiet.
    #[cold]
    pub fn record_success(&self, endpoint: &EndpointHealth, epoch: u32, now_ms: u64) -> Option<Transition> {
        if epoch != endpoint.epoch() {
            return None;
        }
        endpoint.note_connected();
        if endpoint.clear_failures() || endpoint.forgives(now_ms) {
            return None;
        }
        let members = self.lock();
        if epoch != endpoint.epoch() {
            return None;
        }
        match endpoint.ejected() {
            Some(FailureCause::ByHand) => None,
            // Before its time it is chosen where no other endpoint is well, or under `panic_percent`.
            Some(_) if endpoint.overdue(now_ms).is_none() && is_any_well(&members) => None,
            Some(_) => Some(self.admit(endpoint, now_ms, &members)),
            None if endpoint.is_failing() => {
                endpoint.clear_failing();
                Some(Transition::Recovered)
            }
            None => None,
        }
    }

    pub(super) fn admit(&self, endpoint: &EndpointHealth, now_ms: u64, members: &[Member]) -> Transition {
        endpoint.admit(now_ms);
        self.admissions.fetch_add(1, Relaxed);
        self.refresh(members, now_ms);
        Transition::Admitted
    }

    /// The number of endpoints that serve now.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.lock().iter().filter(|member| member.is_current && member.health.is_usable()).count()
    }

    /// The endpoints that the control thread tries now: they accepted no connections, and their time is over. Each is
    /// claimed for this caller.
    #[must_use]
    pub fn due_probes(&self, now_ms: u64) -> Vec<(EndpointKey, Arc<EndpointHealth>)> {
        if !self.has_unusable() {
            return Vec::new();
        }
        let is_due = |member: &&Member| {
            let health = &member.health;
            let is_out = health.is_drained() || health.checked() == CheckedHealth::Unhealthy;
            let waits = member.is_current && !is_out && health.accepts_none();
            waits && health.overdue(now_ms).is_some() && health.claim(now_ms, TRY_MS)
        };
        self.lock().iter().filter(is_due).map(|member| (member.key, Arc::clone(&member.health))).collect()
    }
}

/// Where the change of the endpoints left only ejected ones, they serve: the others were the reason to eject them.
fn admit_if_none_serves(members: &[Member]) {
    let current = || members.iter().filter(|member| member.is_current && !member.health.is_drained());
    if current().any(|member| member.health.is_usable()) {
        return;
    }
    let by_itself = |member: &&Member| {
        let is_unhealthy = member.health.checked() == CheckedHealth::Unhealthy;
        !is_unhealthy && member.health.ejected().is_some_and(|by| by != FailureCause::ByHand)
    };
    for member in current().filter(by_itself) {
        member.health.admit(member.health.history().1);
    }
}

/// Whether an endpoint serves and does not fail.
fn is_any_well(members: &[Member]) -> bool {
    members.iter().any(|member| member.is_current && member.health.is_usable() && !member.health.is_failing())
}

/// Counts the current endpoints that are not drained. An unhealthy one serves no more than an ejected one.
fn census(members: &[Member]) -> Census {
    let mut census = Census::default();
    for member in members.iter().filter(|member| member.is_current && !member.health.is_drained()) {
        census.total += 1;
        if let Some(cause) = member.health.ejected() {
            census.ejected += 1;
            census.bad += usize::from(cause.is_capped());
        } else if member.health.checked() == CheckedHealth::Unhealthy {
            census.ejected += 1;
        }
    }
    census
}
