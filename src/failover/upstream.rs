//! The endpoints of one upstream, for the process: which may be chosen, and what a failure or success changes.
//!
//! A request reads one flag while every endpoint is usable. A success writes nothing while its endpoint is quiet. What
//! changes an endpoint is rare, and happens under one lock, so that the caps hold whatever the number of workers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::RetryBudget;
use super::cause::{FailureCause, FailureKind};
use super::ejection::{Census, KeptReason, in_row, kept, length_ms};
use super::endpoint::{EndpointHealth, EndpointMemory};
use super::window::RecentWindows;
use crate::route::{OutlierSettings, Protocol};

/// How long a try of an ejected endpoint keeps others away, unless its result is known before.
const TRY_MS: u64 = 5_000;
/// The least requests of ten seconds for `failure_percent`.
const REQUESTS_MIN: u64 = 20;
/// The most endpoints that are remembered while they are missing, such as between two DNS answers.
const MISSING_MAX: usize = 256;

/// What makes two endpoints of an upstream the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The address.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
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

/// A change of an endpoint, for the log. Each is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is ejected.
    Ejected {
        /// Why.
        cause: FailureCause,
        /// For how long, in milliseconds; `None`: until a person admits it.
        for_ms: Option<u64>,
        /// The number of this ejection in a row.
        nth: u32,
    },
    /// It fails, but may not be ejected.
    Failing {
        /// Why it fails.
        cause: FailureCause,
        /// Why it is kept.
        kept: KeptReason,
    },
    /// It is no longer ejected.
    Admitted,
    /// It fails no longer.
    Recovered,
    /// A person has drained it.
    Drained,
    /// A person has ended that.
    Undrained,
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
    /// Whether an endpoint is ejected or drained.
    has_unusable: AtomicBool,
    members: Mutex<Vec<Member>>,
    ejections: [AtomicU64; FailureCause::ALL.len()],
    admissions: AtomicU64,
    /// The budget of further tries.
    pub budget: RetryBudget,
    /// First tries.
    pub requests: RecentWindows,
}

#[derive(Debug)]
struct Member {
    key: EndpointKey,
    health: Arc<EndpointHealth>,
    /// Whether the upstream has it now.
    is_current: bool,
}

impl UpstreamHealth {
    /// An upstream without endpoints, for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            has_unusable: AtomicBool::new(false),
            members: Mutex::default(),
            ejections: Default::default(),
            admissions: AtomicU64::new(0),
            budget: RetryBudget::default(),
            requests: RecentWindows::new(workers),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the endpoints that the upstream has now, and returns their states in this order. An endpoint that it had
    /// before keeps its state, also one that was missing for a while.
    pub fn set_endpoints(&self, keys: &[EndpointKey]) -> Vec<Arc<EndpointHealth>> {
        let mut members = self.lock();
        let mut known: HashMap<EndpointKey, Arc<EndpointHealth>> =
            members.drain(..).map(|member| (member.key, member.health)).collect();
        let mut current: HashMap<EndpointKey, Arc<EndpointHealth>> = HashMap::with_capacity(keys.len());
        let mut states = Vec::with_capacity(keys.len());
        for key in keys {
            // An address that is listed twice has one state.
            let health = current.entry(*key).or_insert_with(|| {
                let health = known.remove(key).unwrap_or_default();
                members.push(Member { key: *key, health: Arc::clone(&health), is_current: true });
                health
            });
            states.push(Arc::clone(health));
        }
        // One that is well has nothing to remember, and takes no place of those that are not.
        let missing = known.into_iter().filter(|(_, health)| !health.is_forgettable()).take(MISSING_MAX);
        members.extend(missing.map(|(key, health)| Member { key, health, is_current: false }));
        admit_if_none_serves(&members);
        self.refresh(&members);
        debug_assert_eq!(states.len(), keys.len(), "a state for each endpoint");
        states
    }

    /// Whether an endpoint is ejected or drained: only then the others are looked at one by one. One load.
    #[must_use]
    #[inline]
    pub fn has_unusable(&self) -> bool {
        self.has_unusable.load(Relaxed)
    }

    fn refresh(&self, members: &[Member]) {
        let unusable = members.iter().any(|member| member.is_current && !member.health.is_usable());
        self.has_unusable.store(unusable, Relaxed);
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
        let Some(cause) = endpoint.ejected().filter(|_| !endpoint.is_drained()) else {
            return if endpoint.is_drained() { Choice::No } else { Choice::Yes };
        };
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
        if failed.epoch != endpoint.epoch() || endpoint.is_drained() || !gets_requests {
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
        self.has_unusable.store(true, Relaxed);
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

    fn admit(&self, endpoint: &EndpointHealth, now_ms: u64, members: &[Member]) -> Transition {
        endpoint.admit(now_ms);
        self.admissions.fetch_add(1, Relaxed);
        self.refresh(members);
        Transition::Admitted
    }

    /// A person ejects an endpoint, until a person admits it. `None`: it is ejected by a person already.
    pub fn eject_by_hand(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        if endpoint.ejected() == Some(FailureCause::ByHand) {
            return None;
        }
        let (nth, _) = endpoint.history();
        endpoint.eject(FailureCause::ByHand, now_ms, 0);
        self.ejections[FailureCause::ByHand as usize].fetch_add(1, Relaxed);
        self.refresh(&members);
        Some(Transition::Ejected { cause: FailureCause::ByHand, for_ms: None, nth })
    }

    /// A person admits an endpoint, whatever ejected it. `None`: it is not ejected.
    pub fn admit_by_hand(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        endpoint.ejected()?;
        endpoint.set_in_row(0);
        Some(self.admit(endpoint, now_ms, &members))
    }

    /// A person drains an endpoint: it gets no new request. `None`: it is drained already.
    pub fn drain(&self, endpoint: &EndpointHealth) -> Option<Transition> {
        let members = self.lock();
        if endpoint.is_drained() {
            return None;
        }
        endpoint.drain();
        self.refresh(&members);
        Some(Transition::Drained)
    }

    /// A person ends the drain of an endpoint. `None`: it is not drained.
    pub fn undrain(&self, endpoint: &EndpointHealth) -> Option<Transition> {
        let members = self.lock();
        if !endpoint.is_drained() {
            return None;
        }
        endpoint.undrain();
        self.refresh(&members);
        Some(Transition::Undrained)
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
            let waits = member.is_current && !health.is_drained() && health.accepts_none();
            waits && health.overdue(now_ms).is_some() && health.claim(now_ms, TRY_MS)
        };
        self.lock().iter().filter(is_due).map(|member| (member.key, Arc::clone(&member.health))).collect()
    }

    /// What a hand-over passes on: the endpoints that are not well.
    #[must_use]
    pub fn memories(&self, now_ms: u64) -> Vec<(EndpointKey, EndpointMemory)> {
        let members = self.lock();
        members.iter().filter_map(|member| Some((member.key, member.health.memory(now_ms)?))).collect()
    }

    /// Takes over what a hand-over passed on. An endpoint that the upstream does not have is ignored.
    pub fn restore(&self, memories: &[(EndpointKey, EndpointMemory)], now_ms: u64) {
        let members = self.lock();
        for (key, memory) in memories {
            if let Some(member) = members.iter().find(|member| member.key == *key) {
                member.health.restore(*memory, now_ms);
            }
        }
        self.refresh(&members);
    }
}

/// Where the change of the endpoints left only ejected ones, they serve: the others were the reason to eject them.
fn admit_if_none_serves(members: &[Member]) {
    let current = || members.iter().filter(|member| member.is_current && !member.health.is_drained());
    if current().any(|member| member.health.is_usable()) {
        return;
    }
    let by_itself = |member: &&Member| member.health.ejected().is_some_and(|by| by != FailureCause::ByHand);
    for member in current().filter(by_itself) {
        member.health.admit(member.health.history().1);
    }
}

/// Whether an endpoint serves and does not fail.
fn is_any_well(members: &[Member]) -> bool {
    members.iter().any(|member| member.is_current && member.health.is_usable() && !member.health.is_failing())
}

/// Counts the current endpoints that are not drained.
fn census(members: &[Member]) -> Census {
    let mut census = Census::default();
    for member in members.iter().filter(|member| member.is_current && !member.health.is_drained()) {
        census.total += 1;
        if let Some(cause) = member.health.ejected() {
            census.ejected += 1;
            census.bad += usize::from(cause.is_capped());
        }
    }
    census
}
