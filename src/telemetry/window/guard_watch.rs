//! What the guards of one route count. Workers record exposures and events; the control plane opens slots and windows,
//! reads exposures, and takes the events.
//!
//! An exposure is a distinct key in a slot. An event counts once a key in each test, so a worker sends it only if its mark
//! says that some test may count it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::failure_run::{FailureRun, RunView};
use super::slot_counts::{SlotCounts, increment};
use super::watched_callers::WatchedCallers;
use crate::route::{Decision, Guards, KeyHash, SIGNALS_MAX, Signal, SlowThreshold, TryOutcome};
use crate::stats::{ArmPlace, JudgedEvent, JudgedKind, SlotExposures, SlotNumber, WindowNumber, WindowShape, mark_age};
use crate::telemetry::{GuardMemory, LatencyCounts, MeterRegistry, WatchedKind};

/// Without a threshold, no time is slow.
const NO_THRESHOLD: u64 = u64::MAX;
/// A request without a response head for this long is lost.
pub const LOST_AFTER: Duration = Duration::from_mins(1);

/// What the guards of a route count.
#[derive(Debug)]
pub struct GuardWatch {
    id: u32,
    shape: WindowShape,
    memory: Arc<GuardMemory>,
    callers: Arc<WatchedCallers>,
    /// By signal: the place of its marks.
    marks: Box<[usize]>,
    signals: Box<[Signal]>,
    /// Some signal depends on the status of a try that did not fail.
    counts_statuses: bool,
    /// Some signal depends on the time to the head of a response.
    is_timed: bool,
    /// By signal, in microseconds.
    slow_us: Box<[AtomicU64]>,
    /// The least of them.
    least_slow_us: AtomicU64,
    workers: Box<[OnceLock<Box<SlotCounts>>]>,
    /// By variant.
    runs: Box<[FailureRun]>,
}

/// A request that is judged: where and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardTicket {
    slot: SlotNumber,
    window: WindowNumber,
    place: ArmPlace,
    key: KeyHash,
    /// The request is a caller of its own: nothing is remembered of it.
    alone: bool,
}

/// The signals that a request has made so far: each counts once a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedSignals(u8);

/// A wait for the head of a response, from the end of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWait {
    /// The client has waited this long.
    Client(Duration),
    /// The client left after this time.
    Abandoned(Duration),
}

/// What the control plane reads of a watch beside exposures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchView {
    /// The times of stable's responses since the watch began.
    pub stable_times: LatencyCounts,
    /// Stable's judged first tries since the watch began.
    pub stable_answers: u64,
    /// Those of them that failed.
    pub stable_failures: u64,
}

/// Stable's judged first tries since the watch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StableAnswers {
    /// All of them.
    pub answers: u64,
    /// Those that failed.
    pub failures: u64,
}

#[cfg(test)]
impl GuardTicket {
    /// A ticket, for tests.
    #[must_use]
    pub fn sample() -> Self {
        let (slot, window) = (SlotNumber(1), WindowNumber(1));
        Self { slot, window, place: ArmPlace::default(), key: KeyHash::of(1), alone: false }
    }
}

impl HeadWait {
    /// How long the wait was.
    #[inline]
    #[must_use]
    pub const fn time(self) -> Duration {
        match self {
            Self::Client(waited) | Self::Abandoned(waited) => waited,
        }
    }
}

impl GuardWatch {
    /// A watch in which no slot is open: nothing is counted yet.
    #[must_use]
    pub fn new(shape: WindowShape, guards: &Guards, registry: &MeterRegistry) -> Self {
        let callers = WatchedCallers::new(std::iter::once(guards), &registry.guard_memory);
        Self::among(&Arc::new(callers), shape, guards, registry)
    }

    /// A watch of a route whose callers are judged together with those of others.
    #[must_use]
    pub fn among(callers: &Arc<WatchedCallers>, shape: WindowShape, guards: &Guards, registry: &MeterRegistry) -> Self {
        debug_assert!(shape.signals <= SIGNALS_MAX && shape.signals == guards.signals.len(), "signals of these guards");
        let memory = Arc::clone(&registry.guard_memory);
        let slow_us: Vec<u64> = guards.signals.iter().map(first_threshold).collect();
        Self {
            id: memory.next_id(),
            shape,
            callers: Arc::clone(callers),
            marks: callers.places(&guards.signals),
            signals: guards.signals.as_slice().into(),
            counts_statuses: guards.signals.iter().any(|signal| matches!(signal, Signal::Status(_) | Signal::Grpc(_))),
            is_timed: guards.signals.iter().any(Signal::is_timed),
            least_slow_us: AtomicU64::new(slow_us.iter().copied().min().unwrap_or(NO_THRESHOLD)),
            slow_us: slow_us.into_iter().map(AtomicU64::new).collect(),
            workers: (0..registry.workers).map(|_| OnceLock::new()).collect(),
            runs: (0..shape.arms).map(|_| FailureRun::default()).collect(),
            memory,
        }
    }

    /// Its number in the process.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The shape of its counts.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.shape
    }

    /// The callers that it watches.
    #[must_use]
    pub const fn callers(&self) -> &Arc<WatchedCallers> {
        &self.callers
    }

    /// The open slot; 0: none is open.
    #[must_use]
    pub fn slot(&self) -> SlotNumber {
        self.callers.open_slot().1
    }

    /// The window of the open slot.
    #[must_use]
    pub fn window(&self) -> WindowNumber {
        self.callers.open_slot().0
    }

    /// Opens a slot of all watches with the same callers; the one before is closed. Only the control plane calls it.
    pub fn open(&self, window: WindowNumber, slot: SlotNumber) {
        self.callers.open(window, slot);
    }

    /// Records that a request is sent where this decision says; `random` is a key for a request that has none. `None` while
    /// no slot is open.
    #[inline]
    pub fn expose_decided(
        &self,
        worker: usize,
        decision: &Decision,
        random: impl FnOnce() -> KeyHash,
    ) -> Option<GuardTicket> {
        let place = ArmPlace { stratum: decision.stratum, arm: decision.variant.0 };
        match decision.key {
            Some(key) => self.expose(worker, place, key),
            None => self.expose_alone(worker, place, random()),
        }
    }

    /// Records a request of a route without sticky keys: each is a caller of its own, so that no table is needed. `key`
    /// distinguishes it in a run of failures. `None` while no slot is open.
    #[inline]
    pub fn expose_alone(&self, worker: usize, place: ArmPlace, key: KeyHash) -> Option<GuardTicket> {
        let (window, slot) = self.callers.open_slot();
        if slot.0 == 0 {
            return None;
        }
        let cell = self.workers.get(worker)?;
        let counts = cell.get_or_init(|| Box::new(SlotCounts::new(self.shape)));
        increment(counts.of(slot, || self.wake(worker)).get(self.shape.index(place))?);
        Some(GuardTicket { slot, window, place, key, alone: true })
    }

    /// Records that a request of this key is sent to this variant. `None` while no slot is open.
    #[inline]
    pub fn expose(&self, worker: usize, place: ArmPlace, key: KeyHash) -> Option<GuardTicket> {
        let (window, slot) = self.callers.open_slot();
        if slot.0 == 0 {
            return None;
        }
        let ticket = GuardTicket { slot, window, place, key, alone: false };
        let seen = self.callers.seen.place(key)?;
        // The first look saves the exchange; the exchange decides between workers.
        if seen.load(Relaxed) < slot.0 && seen.fetch_max(slot.0, Relaxed) < slot.0 {
            self.count(worker, &ticket);
        }
        Some(ticket)
    }

    /// Counts a key that is new in the slot.
    #[inline]
    fn count(&self, worker: usize, ticket: &GuardTicket) {
        let Some(cell) = self.workers.get(worker) else { return };
        let counts = cell.get_or_init(|| Box::new(SlotCounts::new(self.shape)));
        let counts = counts.of(ticket.slot, || self.wake(worker));
        let Some(keys) = counts.get(self.shape.index(ticket.place)) else { return };
        increment(keys);
        for (signal, marks) in self.marks.iter().enumerate() {
            let mark = self.callers.marks(*marks).map_or(0, |marks| marks.read(ticket.key));
            if mark != 0
                && let Some(marked) = counts.get(self.shape.marked_index(
                    ticket.place,
                    signal,
                    mark_age(WindowNumber(mark), ticket.window),
                ))
            {
                increment(marked);
            }
        }
        if let Some(first) = self.callers.first_keys.place(ticket.key)
            && first.load(Relaxed) == 0
            && first.swap(1, Relaxed) == 0
        {
            self.send(worker, ticket, JudgedKind::FirstKey);
        }
    }

    /// Whether a status or a gRPC status can be an event without being an error.
    #[inline]
    #[must_use]
    pub const fn counts_statuses(&self) -> bool {
        self.counts_statuses
    }

    /// Whether the time to the head of a response can be an event.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Records the events that this end of the first try is.
    #[cold]
    pub fn report(&self, worker: usize, ticket: &GuardTicket, outcome: TryOutcome, reported: &mut ReportedSignals) {
        self.report_where(worker, ticket, reported, |_, signal| signal.matches(outcome));
    }

    /// Records the events that a line of `x-pointsman-event` names.
    #[cold]
    pub fn report_line(&self, worker: usize, ticket: &GuardTicket, line: &[u8], reported: &mut ReportedSignals) {
        self.report_where(worker, ticket, reported, |_, signal| signal.matches_line(line));
    }

    /// Whether some event is due after this time without a head.
    #[inline]
    #[must_use]
    pub fn is_slow(&self, waited: Duration) -> bool {
        micros(waited) >= self.least_slow_us.load(Relaxed)
    }

    /// Records the events that are due after this time without a head. A request whose client has left is not lost.
    #[cold]
    pub fn report_wait(&self, worker: usize, ticket: &GuardTicket, wait: HeadWait, reported: &mut ReportedSignals) {
        let (waited, may_be_lost) = match wait {
            HeadWait::Client(waited) => (waited, true),
            HeadWait::Abandoned(waited) => (waited, false),
        };
        let waited_us = micros(waited);
        self.report_where(worker, ticket, reported, |at, signal| {
            (may_be_lost || *signal != Signal::Lost)
                && self.slow_after_us(at).is_some_and(|after_us| waited_us >= after_us)
        });
    }

    fn report_where(
        &self,
        worker: usize,
        ticket: &GuardTicket,
        reported: &mut ReportedSignals,
        is_event: impl Fn(usize, &Signal) -> bool,
    ) {
        for (at, signal) in self.signals.iter().enumerate() {
            let bit = 1 << at;
            if reported.0 & bit == 0 && is_event(at, signal) {
                reported.0 |= bit;
                self.record(worker, ticket, at);
            }
        }
    }

    /// Records an event of a request.
    #[cold]
    pub fn record(&self, worker: usize, ticket: &GuardTicket, signal: usize) {
        let Some(marks) = self.marks.get(signal).and_then(|place| self.callers.marks(*place)) else { return };
        if ticket.alone {
            let signal = u8::try_from(signal).unwrap_or(u8::MAX);
            return self.send(worker, ticket, JudgedKind::Signal { signal, mark: None });
        }
        let Some(mark) = marks.place(ticket.key) else { return };
        let before = mark.fetch_max(ticket.window.0, Relaxed);
        if before < ticket.window.0 {
            let signal = u8::try_from(signal).unwrap_or(u8::MAX);
            let mark = (before > 0).then_some(WindowNumber(before));
            self.send(worker, ticket, JudgedKind::Signal { signal, mark });
        }
    }

    fn send(&self, worker: usize, ticket: &GuardTicket, kind: JudgedKind) {
        let GuardTicket { slot, window, place, .. } = *ticket;
        let event = JudgedEvent { slot, window, place, kind };
        self.memory.events.push(worker, self.id, WatchedKind::Event(event));
    }

    /// Notifies the control plane of the first exposure in a slot.
    #[cold]
    fn wake(&self, worker: usize) {
        self.memory.events.push(worker, self.id, WatchedKind::Exposure);
    }

    /// Records the first try of a request that did not fail, and stable's time.
    #[inline]
    pub fn succeed(&self, worker: usize, ticket: &GuardTicket, took: Duration) {
        self.record_time(worker, ticket, took);
        self.record_success(worker, ticket);
    }

    /// Records stable's time to the head of a response.
    #[inline]
    pub fn record_time(&self, worker: usize, ticket: &GuardTicket, took: Duration) {
        if ticket.place.arm == 0
            && let Some(counts) = self.counts(worker)
        {
            counts.stable_times.record(took);
        }
    }

    /// Records the first try of a request that did not fail.
    #[inline]
    pub fn record_success(&self, worker: usize, ticket: &GuardTicket) {
        if ticket.place.arm == 0 {
            if let Some(counts) = self.counts(worker) {
                counts.stable_answers.inc();
            }
        } else if let Some(run) = self.runs.get(usize::from(ticket.place.arm)) {
            run.succeed();
        }
    }

    /// Records the first try of a request that failed.
    #[cold]
    pub fn fail(&self, worker: usize, ticket: &GuardTicket) {
        if ticket.place.arm == 0
            && let Some(counts) = self.counts(worker)
        {
            counts.stable_answers.inc();
        }
        self.fail_late(worker, ticket);
    }

    /// Ends the run of failures of a variant: what follows is another one. The control plane calls it when evidence begins
    /// anew.
    pub fn end_run(&self, arm: usize) {
        if let Some(run) = self.runs.get(arm) {
            run.succeed();
        }
    }

    /// Records that a first try failed after it was recorded as a success.
    #[cold]
    pub fn fail_late(&self, worker: usize, ticket: &GuardTicket) {
        if ticket.place.arm == 0 {
            if let Some(counts) = self.counts(worker) {
                counts.stable_failures.inc();
            }
        } else if let Some(run) = self.runs.get(usize::from(ticket.place.arm))
            && run.fail(ticket.key)
        {
            self.memory.events.push(worker, self.id, WatchedKind::FailureRun);
        }
    }

    #[inline]
    fn counts(&self, worker: usize) -> Option<&SlotCounts> {
        self.workers.get(worker).and_then(OnceLock::get).map(|counts| &**counts)
    }

    /// The time from which a response is slow for this signal; `None` without a threshold.
    #[inline]
    #[must_use]
    pub fn slow_after_us(&self, signal: usize) -> Option<u64> {
        let us = self.slow_us.get(signal)?.load(Relaxed);
        (us != NO_THRESHOLD).then_some(us)
    }

    /// Sets the time from which a response is slow for this signal. Only the control plane calls it.
    pub fn set_slow_after(&self, signal: usize, after: Option<Duration>) {
        if let Some(slow_us) = self.slow_us.get(signal) {
            slow_us.store(after.map_or(NO_THRESHOLD, micros), Relaxed);
        }
        let least = self.slow_us.iter().map(|slow_us| slow_us.load(Relaxed)).min();
        self.least_slow_us.store(least.unwrap_or(NO_THRESHOLD), Relaxed);
    }

    /// Whether any exposure was counted.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.workers.iter().any(|worker| worker.get().is_some())
    }

    /// Whether a table found no memory: then nothing is counted.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.callers.is_starved()
    }

    /// Whether anything was counted in this slot, one of the newest sixteen.
    #[must_use]
    pub fn has_exposures(&self, slot: SlotNumber) -> bool {
        self.workers.iter().filter_map(OnceLock::get).any(|counts| counts.has(slot))
    }

    /// Stable's judged first tries since the watch began.
    #[must_use]
    pub fn stable(&self) -> StableAnswers {
        let used = || self.workers.iter().filter_map(OnceLock::get);
        StableAnswers {
            answers: used().map(|counts| counts.stable_answers.value()).sum(),
            failures: used().map(|counts| counts.stable_failures.value()).sum(),
        }
    }

    /// The exposures of a slot, one of the newest sixteen.
    #[must_use]
    pub fn exposures(&self, slot: SlotNumber) -> SlotExposures {
        let mut sum = SlotExposures::new(self.shape);
        self.workers.iter().filter_map(OnceLock::get).for_each(|counts| counts.read(slot, &mut sum));
        sum
    }

    /// The run of failures of a variant.
    #[must_use]
    pub fn run(&self, arm: usize) -> RunView {
        self.runs.get(arm).map(FailureRun::read).unwrap_or_default()
    }

    /// Stable's answers and their times.
    #[must_use]
    pub fn view(&self) -> WatchView {
        let used = || self.workers.iter().filter_map(OnceLock::get);
        let mut stable_times = LatencyCounts::default();
        used().for_each(|counts| stable_times.merge(&counts.stable_times));
        WatchView {
            stable_times,
            stable_answers: used().map(|counts| counts.stable_answers.value()).sum(),
            stable_failures: used().map(|counts| counts.stable_failures.value()).sum(),
        }
    }
}

/// The threshold of a signal before the control plane sets one.
fn first_threshold(signal: &Signal) -> u64 {
    match signal {
        Signal::Lost => micros(LOST_AFTER),
        Signal::SlowerThan(SlowThreshold::Fixed(after)) => micros(*after),
        Signal::SlowerThan(SlowThreshold::OfStable { .. })
        | Signal::Error
        | Signal::Status(_)
        | Signal::Grpc(_)
        | Signal::Event(_) => NO_THRESHOLD,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NO_THRESHOLD)
}
