//! The state of one endpoint, for the process. Requests read it without a lock; `upstream.rs` writes it, under its lock.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

use super::cause::{FailureCause, FailureKind};
use super::window::RecentWindows;

/// In [`EndpointHealth::word`]: the endpoint is ejected or drained.
const UNUSABLE: u32 = 1 << 31;
/// In [`EndpointHealth::word`]: the endpoint fails, but may not be ejected.
const FAILING: u32 = 1 << 30;
/// The most failures in a row that are counted.
const FAILURES_MAX: u32 = FAILING - 1;
/// How long after its last failure in a row an endpoint that is kept counts as failing.
const FAILING_MS: u64 = 10_000;
/// `until_ms` of an ejection by a person.
const FOR_EVER: u64 = u64::MAX;

/// The state of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    /// Failures in a row and the two flags. 0 while all is well: then a success writes nothing.
    word: AtomicU32,
    /// The number of changes; a try that began before the last one is a straggler.
    epoch: AtomicU32,
    /// The cause of the ejection, or 0.
    ejected: AtomicU8,
    drained: AtomicBool,
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

/// The state of an endpoint as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStanding {
    /// It serves.
    Usable,
    /// It fails, but may not be ejected, so it serves.
    Failing,
    /// It gets no request until its time is over.
    Ejected,
    /// Its time is over: the next fitting try decides.
    Trial,
    /// A person has drained it.
    Drained,
}

/// The state of an endpoint, for people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// The state as a word; drained before ejected.
    pub standing: EndpointStanding,
    /// Whether a person has drained it.
    pub drained: bool,
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
}

impl EndpointStanding {
    /// All states, in the order of their index.
    pub const ALL: [Self; 5] = [Self::Usable, Self::Failing, Self::Ejected, Self::Trial, Self::Drained];

    /// The state as text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Failing => "failing",
            Self::Ejected => "ejected",
            Self::Trial => "trial",
            Self::Drained => "drained",
        }
    }

    /// Whether requests are sent to it in this state.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Usable | Self::Failing)
    }
}

impl EndpointHealth {
    /// Whether all is well: it is usable, and its last try did not fail. One load.
    #[must_use]
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.word.load(Relaxed) == 0
    }

    /// Whether it is neither ejected nor drained.
    #[must_use]
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.word.load(Relaxed) & UNUSABLE == 0
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

    /// Whether a person has drained it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }

    /// The state, for people and programs.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> EndpointView {
        let (drained, ejected, until_ms) = (self.is_drained(), self.ejected(), self.until_ms.load(Relaxed));
        let standing = match ejected {
            _ if drained => EndpointStanding::Drained,
            Some(_) if now_ms >= until_ms => EndpointStanding::Trial,
            Some(_) => EndpointStanding::Ejected,
            None if self.shows_failing(now_ms) => EndpointStanding::Failing,
            None => EndpointStanding::Usable,
        };
        EndpointView {
            standing,
            drained,
            ejected,
            left_ms: ejected.and((until_ms != FOR_EVER).then(|| until_ms.saturating_sub(now_ms))),
            failures: self.failures(),
            in_row: self.in_row.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
            last: FailureCause::decode(self.last.load(Relaxed)),
        }
    }

    /// Whether a new state would be the same: all is well, and no earlier ejection makes the next one longer.
    pub(super) fn is_forgettable(&self) -> bool {
        self.is_quiet() && self.in_row.load(Relaxed) == 0
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

    /// Forgets the failures in a row, where no flag is set; returns whether none is.
    pub(super) fn clear_failures(&self) -> bool {
        let word = self.word.load(Relaxed);
        if word & (UNUSABLE | FAILING) != 0 {
            return false;
        }
        // When another worker counts a failure meanwhile, that failure is the later one: it stays.
        let _ = self.word.compare_exchange(word, 0, Relaxed, Relaxed);
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
        self.word.store(if self.is_drained() { UNUSABLE } else { 0 }, Relaxed);
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
            let _ = self.word.compare_exchange(word, FAILING, Relaxed, Relaxed);
        }
        true
    }

    /// Removes that mark and forgets the failures. Under the upstream's lock.
    pub(super) fn clear_failing(&self) {
        self.word.fetch_and(UNUSABLE, Relaxed);
    }

    /// Drains the endpoint. Under the upstream's lock.
    pub(super) fn drain(&self) {
        self.drained.store(true, Relaxed);
        self.word.fetch_or(UNUSABLE, Relaxed);
    }

    /// Ends the drain. Under the upstream's lock.
    pub(super) fn undrain(&self) {
        self.drained.store(false, Relaxed);
        if self.ejected().is_none() {
            self.word.fetch_and(!UNUSABLE, Relaxed);
        }
    }

    /// What a hand-over passes on; `None` while all is well.
    pub(super) fn memory(&self, now_ms: u64) -> Option<EndpointMemory> {
        let view = self.view(now_ms);
        let (left_ms, length_ms) = (view.left_ms.unwrap_or(0), self.length_ms.load(Relaxed));
        let EndpointView { drained, ejected, failures, in_row, .. } = view;
        let memory = EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row };
        (drained || ejected.is_some() || failures > 0).then_some(memory)
    }

    /// Takes over what a hand-over passed on. Under the upstream's lock.
    pub(super) fn restore(&self, memory: EndpointMemory, now_ms: u64) {
        let EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row } = memory;
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
    }

    /// Whether the kind of failure that ejected it is that it accepts no connections.
    pub(super) fn accepts_none(&self) -> bool {
        self.ejected().is_some_and(|cause| cause.kind() == FailureKind::NotAccepting)
    }
}
