//! The state of one endpoint, for the process. Requests read it without a lock; `upstream.rs` writes it, under its lock.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64};

use super::cause::{FailureCause, FailureKind};
use super::checked::{CheckHistory, CheckOutcome, CheckView, CheckedHealth};
use super::standing::EndpointStanding;
use super::window::RecentWindows;
use crate::route::EndpointRole;

/// In [`EndpointHealth::word`]: the endpoint is ejected, drained or unhealthy.
const UNUSABLE: u32 = 1 << 31;
/// In [`EndpointHealth::word`]: the endpoint fails, but may not be ejected.
const FAILING: u32 = 1 << 30;
/// In [`EndpointHealth::word`]: the endpoint is usable, but others serve before it: it is a backup, or not checked yet.
const STANDBY: u32 = 1 << 29;
/// The most failures in a row that are counted.
const FAILURES_MAX: u32 = STANDBY - 1;
/// How long after its last failure in a row an endpoint that is kept counts as failing.
const FAILING_MS: u64 = 10_000;
/// `until_ms` of an ejection by a person.
const FOR_EVER: u64 = u64::MAX;

/// The state of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    /// Failures in a row and the three flags. 0 while all is well: then a success writes nothing.
    word: AtomicU32,
    /// The number of changes; a try that began before the last one is a straggler.
    epoch: AtomicU32,
    /// The cause of the ejection, or 0.
    ejected: AtomicU8,
    /// A person has drained it.
    drained: AtomicBool,
    /// The file has drained it.
    drained_by_file: AtomicBool,
    is_backup: AtomicBool,
    /// Whether it got requests after the last change of the upstream's endpoints.
    was_in_rotation: AtomicBool,
    /// The verdict of the active checks, by its index.
    checked: AtomicU8,
    /// It came when its upstream had others.
    came_later: AtomicBool,
    /// The active checks so far; never read by a request.
    checks: CheckHistory,
    /// When it began to get requests beside others; 0: with the first endpoints of its upstream.
    ramp_began_ms: AtomicU64,
    /// The requests in flight of all workers, as far as they have reported them.
    reported_load: AtomicI64,
    /// The end of the ejection.
    until_ms: AtomicU64,
    /// The length of the ejection.
    length_ms: AtomicU64,
    /// When a try of the ejected endpoint began; 0: there is none.
    claimed_ms: AtomicU64,
    /// When it failed last while it could not be ejected.
    failing_ms: AtomicU64,
    /// Ejections in a row.
    in_row: AtomicU32,
    admitted_ms: AtomicU64,
    /// All ejections so far.
    ejections: AtomicU64,
    /// The cause of the last failure, or 0.
    last: AtomicU8,
    /// Tries in a row that did not connect; 0 while all is well.
    unconnected: AtomicU32,
    /// Requests and failures of the last ten seconds; only where `failure_percent` is set.
    recent: OnceLock<RecentWindows>,
}

/// The state of an endpoint, for people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The state as a word; drained before unhealthy, and that before ejected.
    pub standing: EndpointStanding,
    /// Whether it is drained, by a person or by the file.
    pub drained: bool,
    /// Whether the file has drained it.
    pub drained_by_file: bool,
    /// Whether it is a backup.
    pub backup: bool,
    /// The verdict of the active checks.
    pub checked: CheckedHealth,
    /// The cause of the ejection, if it is ejected.
    pub ejected: Option<FailureCause>,
    /// Milliseconds until the next try of an ejected endpoint; `None` also for an ejection by a person.
    pub left_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Ejections in a row.
    pub in_row: u32,
    /// All ejections since the start of the process.
    pub ejections: u64,
    /// The cause of the last failure, if there was one.
    pub last: Option<FailureCause>,
}

/// What a hand-over passes on about an endpoint. Times are relative, since the clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointMemory {
    /// Whether a person has drained it.
    pub drained: bool,
    /// The cause of the ejection, if it is ejected.
    pub ejected: Option<FailureCause>,
    /// Milliseconds left of the ejection; 0 by a person.
    pub left_ms: u64,
    /// Length of the ejection in milliseconds.
    pub length_ms: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Ejections in a row.
    pub in_row: u32,
    /// The verdict of the active checks.
    pub checked: CheckedHealth,
}

/// When an endpoint came to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// With its first endpoints.
    First,
    /// When it had others.
    Later,
}

/// Whether others serve before an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standby {
    /// They do.
    Waits,
    /// It serves too.
    Serves,
}

impl EndpointHealth {
    /// Whether all is well: it is usable, and its last try did not fail. One load.
    #[must_use]
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.word.load(Relaxed) == 0
    }

    /// Whether it is neither ejected nor drained nor unhealthy. A backup that waits is usable.
    #[must_use]
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.word.load(Relaxed) & UNUSABLE == 0
    }

    /// Whether requests are sent to it now: it is usable, and no others come before it. One load.
    #[must_use]
    #[inline]
    pub fn is_in_rotation(&self) -> bool {
        self.word.load(Relaxed) & (UNUSABLE | STANDBY) == 0
    }

    /// The epoch of a try that begins now.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    /// Requests and failures of the last ten seconds, for `failure_percent`.
    pub fn recent(&self, workers: usize) -> &RecentWindows {
        self.recent.get_or_init(|| RecentWindows::new(workers))
    }

    /// Whether it is drained, by a person or by the file.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Relaxed) || self.drained_by_file.load(Relaxed)
    }

    /// Whether a person has drained it.
    #[must_use]
    pub fn is_drained_by_hand(&self) -> bool {
        self.drained.load(Relaxed)
    }

    /// Whether it is a backup.
    #[must_use]
    pub fn is_backup(&self) -> bool {
        self.is_backup.load(Relaxed)
    }

    /// The verdict of the active checks.
    #[must_use]
    pub fn checked(&self) -> CheckedHealth {
        CheckedHealth::ALL.get(usize::from(self.checked.load(Relaxed))).copied().unwrap_or_default()
    }

    /// The last active checks.
    #[must_use]
    pub fn check_view(&self) -> CheckView {
        self.checks.view()
    }

    /// Adds an active check to those so far, and returns them.
    pub(super) fn note_check(&self, outcome: &CheckOutcome, now_ms: u64) -> CheckView {
        self.checks.add(outcome, now_ms)
    }

    /// The requests in flight of all workers, as they have reported them last; also those of the caller.
    #[must_use]
    #[inline]
    pub fn reported_load(&self) -> i64 {
        self.reported_load.load(Relaxed)
    }

    /// A worker reports how many more requests it has in flight than it reported before.
    pub fn report_load(&self, more: i64) {
        self.reported_load.fetch_add(more, Relaxed);
    }

    /// The part of its share that it gets now, from 0.1 to 1: it grows evenly within `slow_start_ms` of its admission.
    #[must_use]
    pub fn ramp(&self, now_ms: u64, slow_start_ms: u64) -> f64 {
        const FLOOR: f64 = 0.1;
        let began_ms = self.ramp_began_ms.load(Relaxed);
        if slow_start_ms == 0 || began_ms == 0 || now_ms >= began_ms.saturating_add(slow_start_ms) {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of minutes")]
        let part = now_ms.saturating_sub(began_ms) as f64 / slow_start_ms as f64;
        FLOOR + (1.0 - FLOOR) * part
    }

    /// The state, for people and programs.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> EndpointView {
        let (drained, ejected, until_ms) = (self.is_drained(), self.ejected(), self.until_ms.load(Relaxed));
        let standing = match ejected {
            _ if drained => EndpointStanding::Drained,
            _ if self.checked() == CheckedHealth::Unhealthy => EndpointStanding::Unhealthy,
            Some(_) if now_ms >= until_ms => EndpointStanding::Trial,
            Some(_) => EndpointStanding::Ejected,
            None if self.is_usable() && !self.is_in_rotation() && self.is_backup() => EndpointStanding::Standby,
            None if self.is_usable() && !self.is_in_rotation() => EndpointStanding::Unknown,
            None if self.shows_failing(now_ms) => EndpointStanding::Failing,
            None => EndpointStanding::Usable,
        };
        EndpointView {
            standing,
            drained,
            drained_by_file: self.drained_by_file.load(Relaxed),
            backup: self.is_backup(),
            checked: self.checked(),
            ejected,
            left_ms: ejected.and((until_ms != FOR_EVER).then(|| until_ms.saturating_sub(now_ms))),
            failures: self.failures(),
            in_row: self.in_row.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
            last: FailureCause::decode(self.last.load(Relaxed)),
        }
    }

    /// Whether a new state would be the same: all is well, and no earlier ejection makes the next one longer.
    ///
    /// What the file says of it and the verdict of its checks are not its own: they come with it again.
    pub(super) fn is_forgettable(&self) -> bool {
        let is_calm = self.word.load(Relaxed) & (FAILING | FAILURES_MAX) == 0 && self.in_row.load(Relaxed) == 0;
        is_calm && self.ejected().is_none() && !self.is_drained_by_hand()
    }

    /// Whether a person has drained or ejected it.
    pub(super) fn is_out_by_hand(&self) -> bool {
        self.is_drained_by_hand() || self.is_ejected_by_hand()
    }

    /// Whether it is kept although it fails, and has failed in a row or a moment ago. Without requests the mark stays, but
    /// says nothing any more.
    fn shows_failing(&self, now_ms: u64) -> bool {
        let is_recent = now_ms < self.failing_ms.load(Relaxed).saturating_add(FAILING_MS);
        self.is_failing() && (is_recent || self.failures() > 0)
    }

    /// How many tries in a row did not connect; 0: the last one did, or there was none.
    #[must_use]
    pub fn unconnected_tries(&self) -> u32 {
        self.unconnected.load(Relaxed)
    }

    /// Whether a person has ejected it.
    #[must_use]
    pub fn is_ejected_by_hand(&self) -> bool {
        self.ejected() == Some(FailureCause::ByHand)
    }

    /// A try has connected, of an endpoint that is not quiet.
    pub(super) fn note_connected(&self) {
        if self.unconnected.load(Relaxed) != 0 {
            self.unconnected.store(0, Relaxed);
        }
    }

    /// The cause of the ejection, if it is ejected.
    pub(super) fn ejected(&self) -> Option<FailureCause> {
        // With the store in `eject`: the time of this ejection is seen too.
        FailureCause::decode(self.ejected.load(Acquire))
    }

    /// Whether it fails, but may not be ejected.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.word.load(Relaxed) & FAILING != 0
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.word.load(Relaxed) & FAILURES_MAX
    }

    /// Ejections in a row, and when it was admitted last.
    pub(super) fn history(&self) -> (u32, u64) {
        (self.in_row.load(Relaxed), self.admitted_ms.load(Relaxed))
    }

    /// Counts one more failure in a row; returns how many there are.
    pub(super) fn add_failure(&self, cause: FailureCause) -> u32 {
        self.last.store(cause.encode(), Relaxed);
        match cause.kind() {
            FailureKind::NotAccepting => drop(self.unconnected.fetch_add(1, Relaxed)),
            FailureKind::BadAnswer => self.note_connected(),
        }
        let more = |word: u32| (word & FAILURES_MAX < FAILURES_MAX).then_some(word + 1);
        match self.word.fetch_update(Relaxed, Relaxed, more) {
            Ok(before) => (before & FAILURES_MAX) + 1,
            Err(_) => FAILURES_MAX,
        }
    }

    /// Forgets the failures in a row of an endpoint that is usable and not failing; returns whether it is.
    pub(super) fn clear_failures(&self) -> bool {
        let word = self.word.load(Relaxed);
        if word & FAILING != 0 || self.ejected().is_some() {
            return false;
        }
        if word & FAILURES_MAX > 0 {
            // When another worker counts a failure meanwhile, that failure is the later one: it stays.
            let _ = self.word.compare_exchange(word, word & !FAILURES_MAX, Relaxed, Relaxed);
        }
        true
    }

    /// Whether the ejection's time is over, and how long ago, in quarters of its length, rounded down.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<u64> {
        let over_ms = now_ms.checked_sub(self.until_ms.load(Relaxed))?;
        Some(over_ms / (self.length_ms.load(Relaxed) / 4).max(1))
    }

    /// Whether the ejected endpoint is tried, since less than `limit_ms`.
    pub(super) fn is_claimed(&self, now_ms: u64, limit_ms: u64) -> bool {
        let claimed_ms = self.claimed_ms.load(Relaxed);
        claimed_ms != 0 && now_ms < claimed_ms.saturating_add(limit_ms)
    }

    /// Claims the one try of an ejected endpoint whose time is over.
    pub(super) fn claim(&self, now_ms: u64, limit_ms: u64) -> bool {
        let (claimed_ms, own_ms) = (self.claimed_ms.load(Relaxed), now_ms.max(1));
        if self.is_claimed(now_ms, limit_ms)
            || self.claimed_ms.compare_exchange(claimed_ms, own_ms, Acquire, Relaxed).is_err()
        {
            return false;
        }
        // Between the caller's look and this claim another try may have decided: then the claim is returned.
        let is_due = self.ejected().is_some() && self.overdue(now_ms).is_some();
        if !is_due {
            let _ = self.claimed_ms.compare_exchange(own_ms, 0, Relaxed, Relaxed);
        }
        is_due
    }

    /// Gives the claim back.
    pub(super) fn release(&self) {
        self.claimed_ms.store(0, Relaxed);
    }

    /// The endpoint is ejected from now on. Under the upstream's lock.
    pub(super) fn eject(&self, cause: FailureCause, now_ms: u64, length_ms: u64) {
        let until_ms = if cause == FailureCause::ByHand { FOR_EVER } else { now_ms.saturating_add(length_ms) };
        // The time before the cause and before the end of the claim: no request sees them with an earlier time, which
        // is over.
        self.until_ms.store(until_ms, Relaxed);
        self.length_ms.store(length_ms, Relaxed);
        self.ejected.store(cause.encode(), Release);
        self.claimed_ms.store(0, Release);
        self.ejections.fetch_add(1, Relaxed);
        self.word.store(UNUSABLE, Relaxed);
        self.epoch.fetch_add(1, Relaxed);
    }

    /// Sets the ejections in a row. Under the upstream's lock.
    pub(super) fn set_in_row(&self, in_row: u32) {
        self.in_row.store(in_row, Relaxed);
    }

    /// The endpoint is not ejected from now on. Under the upstream's lock.
    pub(super) fn admit(&self, now_ms: u64) {
        self.ejected.store(0, Relaxed);
        self.note_connected();
        self.claimed_ms.store(0, Relaxed);
        self.admitted_ms.store(now_ms, Relaxed);
        self.word.store(if self.is_out() { UNUSABLE } else { 0 }, Relaxed);
        self.epoch.fetch_add(1, Relaxed);
    }

    /// Marks the endpoint as failing. Under the upstream's lock.
    pub(super) fn mark_failing(&self, now_ms: u64) {
        self.failing_ms.store(now_ms, Relaxed);
        self.word.fetch_or(FAILING, Relaxed);
    }

    /// Whether it has failed a moment ago while it could not be ejected. Then a success ends only its failures in a row:
    /// an endpoint that fails in part would else be said to fail and to recover many times a second.
    pub(super) fn forgives(&self, now_ms: u64) -> bool {
        let word = self.word.load(Relaxed);
        let is_recent = now_ms < self.failing_ms.load(Relaxed).saturating_add(FAILING_MS);
        if word & (UNUSABLE | FAILING) != FAILING || !is_recent {
            return false;
        }
        if word & FAILURES_MAX > 0 {
            let _ = self.word.compare_exchange(word, word & !FAILURES_MAX, Relaxed, Relaxed);
        }
        true
    }

    /// Removes that mark and forgets the failures. Under the upstream's lock.
    pub(super) fn clear_failing(&self) {
        self.word.fetch_and(UNUSABLE | STANDBY, Relaxed);
    }

    /// Drains the endpoint. Under the upstream's lock.
    pub(super) fn drain(&self) {
        self.drained.store(true, Relaxed);
        self.word.fetch_or(UNUSABLE, Relaxed);
    }

    /// Ends the drain. Under the upstream's lock.
    pub(super) fn undrain(&self) {
        self.drained.store(false, Relaxed);
        self.begin_anew();
        self.set_usable();
    }

    /// Forgets what failed, unless it is ejected; tries that began before count no more.
    fn begin_anew(&self) {
        if self.ejected().is_none() {
            self.note_connected();
            self.word.fetch_and(UNUSABLE | STANDBY, Relaxed);
            self.epoch.fetch_add(1, Relaxed);
        }
    }

    /// Whether something else than an ejection keeps it from being usable.
    fn is_out(&self) -> bool {
        self.is_drained() || self.checked() == CheckedHealth::Unhealthy
    }

    /// Sets the flag of what is not usable by the rest of the state. Under the upstream's lock.
    fn set_usable(&self) {
        if self.is_out() || self.ejected().is_some() {
            self.word.fetch_or(UNUSABLE, Relaxed);
        } else {
            self.word.fetch_and(!UNUSABLE, Relaxed);
        }
    }

    /// Sets what the file says. Under the upstream's lock.
    pub(super) fn set_role(&self, role: EndpointRole) {
        self.is_backup.store(role == EndpointRole::Backup, Relaxed);
        self.drained_by_file.store(role == EndpointRole::Drained, Relaxed);
        self.set_usable();
    }

    /// What the file says.
    pub(super) fn role(&self) -> EndpointRole {
        if self.drained_by_file.load(Relaxed) {
            EndpointRole::Drained
        } else if self.is_backup() {
            EndpointRole::Backup
        } else {
            EndpointRole::Primary
        }
    }

    /// Sets the verdict of the active checks. Under the upstream's lock.
    pub(super) fn set_checked(&self, checked: CheckedHealth) {
        let before = self.checked();
        self.checked.store(checked as u8, Relaxed);
        if (before, checked) == (CheckedHealth::Unhealthy, CheckedHealth::Healthy) {
            // What failed while it was unhealthy is past.
            self.begin_anew();
        }
        if matches!(checked, CheckedHealth::Unchecked | CheckedHealth::Unknown) {
            // Checks in a row of before a pause say nothing.
            self.checks.clear();
        }
        self.set_usable();
    }

    /// Notes when it came. Under the upstream's lock.
    pub(super) fn set_arrival(&self, arrival: Arrival) {
        self.came_later.store(arrival == Arrival::Later, Relaxed);
    }

    /// Whether it came later, and there is no verdict of its active checks yet.
    pub(super) fn awaits_check(&self) -> bool {
        self.checked() == CheckedHealth::Unknown && self.came_later.load(Relaxed)
    }

    /// Lets others serve before it, or not. Under the upstream's lock.
    pub(super) fn set_standby(&self, waits: Standby) {
        match waits {
            Standby::Waits => drop(self.word.fetch_or(STANDBY, Relaxed)),
            Standby::Serves => drop(self.word.fetch_and(!STANDBY, Relaxed)),
        }
    }

    /// Whether it got requests after the last change ([`note_rotation`](Self::note_rotation)).
    pub(super) fn was_in_rotation(&self) -> bool {
        self.was_in_rotation.load(Relaxed)
    }

    /// Notes whether it gets requests now. Under the upstream's lock.
    pub(super) fn note_rotation(&self) {
        self.was_in_rotation.store(self.is_in_rotation(), Relaxed);
    }

    /// The upstream does not have it for the present. Under the upstream's lock.
    pub(super) fn leave_rotation(&self) {
        self.was_in_rotation.store(false, Relaxed);
    }

    /// Its share grows from now on. Under the upstream's lock.
    pub(super) fn begin_ramp(&self, now_ms: u64) {
        self.ramp_began_ms.store(now_ms.max(1), Relaxed);
    }

    /// When its time is over, if nothing keeps it out but an ejection that ends by itself.
    pub(super) fn trial_ms(&self) -> Option<u64> {
        // A backup is not tried while a primary serves.
        let may_serve = !self.is_out() && self.word.load(Relaxed) & STANDBY == 0;
        let is_waiting = may_serve && self.ejected().is_some_and(|cause| cause != FailureCause::ByHand);
        is_waiting.then(|| self.until_ms.load(Relaxed))
    }

    /// What a hand-over passes on; `None` while all is well.
    pub(super) fn memory(&self, now_ms: u64) -> Option<EndpointMemory> {
        let view = self.view(now_ms);
        let (left_ms, length_ms) = (view.left_ms.unwrap_or(0), self.length_ms.load(Relaxed));
        let EndpointView { ejected, failures, in_row, checked, .. } = view;
        let drained = self.is_drained_by_hand();
        let memory = EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row, checked };
        let is_checked = matches!(checked, CheckedHealth::Healthy | CheckedHealth::Unhealthy);
        (drained || ejected.is_some() || failures > 0 || is_checked).then_some(memory)
    }

    /// Takes over what a hand-over passed on. Under the upstream's lock.
    pub(super) fn restore(&self, memory: EndpointMemory, now_ms: u64) {
        let EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row, checked } = memory;
        // Without active checks nothing would ever change a verdict.
        if self.checked() != CheckedHealth::Unchecked && checked != CheckedHealth::Unchecked {
            self.checked.store(checked as u8, Relaxed);
        }
        self.set_in_row(in_row);
        if let Some(cause) = ejected {
            self.eject(cause, now_ms, left_ms);
            self.length_ms.store(length_ms, Relaxed);
        } else {
            self.word.store(failures.min(FAILURES_MAX), Relaxed);
        }
        if drained {
            self.drain();
        }
        self.set_usable();
    }

    /// Whether the kind of failure that ejected it is that it accepts no connections.
    pub(super) fn accepts_none(&self) -> bool {
        self.ejected().is_some_and(|cause| cause.kind() == FailureKind::NotAccepting)
    }
}
