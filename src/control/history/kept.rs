//! What is kept for charts, and the slots of time that it is kept in.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chart::HistoryChart;
use super::meters::FollowedMeters;
use super::series::SlotRange;
use super::store::{BUDGET_BYTES, HistoryMemory, HistoryStore, SeriesKind};
use crate::route::Edition;

/// How often series get a point.
pub const HISTORY_EVERY: Duration = Duration::from_secs(10);

/// The points that charts are drawn from: in the process, not durable.
#[derive(Debug)]
pub struct History {
    slots: SlotClock,
    store: Mutex<HistoryStore>,
    sampled: Mutex<SampledUntil>,
    /// No sample is taken, and nothing is counted.
    is_resting: AtomicBool,
}

/// Of what a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOf<'a> {
    /// A rollout, or the release `route:variant` of a static weight.
    Rollout(&'a str),
    /// A route.
    Route(&'a str),
}

/// What sampling knows of the sample before. Only the sampler locks it.
#[derive(Debug, Default)]
pub(super) struct SampledUntil {
    pub meters: FollowedMeters,
    /// The edition of the snapshot.
    pub edition: Edition,
    /// The slot after the last sample.
    pub end: Option<u64>,
}

/// Slots of one length, counted from the Unix epoch by a clock that never jumps: the wall clock at the start of the process,
/// and the time since then. A slot begins at a whole multiple of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotClock {
    /// The length of a slot, in milliseconds.
    every_ms: u64,
    /// The wall clock when the process started, in milliseconds.
    started_ms: u64,
}

/// A moment, in milliseconds since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct SampleMoment {
    /// Nothing was counted between the last sample and then.
    pub since_ms: u64,
    /// Now.
    pub now_ms: u64,
}

impl History {
    /// No point yet, of a process that started then (wall clock).
    #[must_use]
    pub fn new(started_at: Duration, every: Duration) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let slots = SlotClock { every_ms: millis(every).max(1), started_ms: millis(started_at) };
        let store = Mutex::new(HistoryStore::new(BUDGET_BYTES));
        Self { slots, store, sampled: Mutex::default(), is_resting: AtomicBool::new(false) }
    }

    /// The points of a series, as at most so many, `uptime_ms` after the start of the process; `None`: it has none.
    #[must_use]
    pub fn chart(&self, of: HistoryOf<'_>, points: usize, uptime_ms: u64) -> Option<HistoryChart> {
        let mut store = self.store();
        if self.is_resting.load(Relaxed) {
            store.advance(self.slots.slot_at(uptime_ms));
        }
        match of {
            HistoryOf::Rollout(name) => {
                let release = || store.chart(SeriesKind::Release, name, points);
                store.chart(SeriesKind::Rollout, name, points).or_else(release)
            }
            HistoryOf::Route(name) => store.chart(SeriesKind::Route, name, points),
        }
    }

    /// Nothing is counted and no sample is taken, from now on: the slots until the end of that had no request.
    pub(in crate::control) fn begin_rest(&self) {
        self.is_resting.store(true, Relaxed);
    }

    /// Something may be counted from now on.
    pub(in crate::control) fn end_rest(&self, uptime_ms: u64) {
        self.store().advance(self.slots.slot_at(uptime_ms));
        self.is_resting.store(false, Relaxed);
    }

    /// The memory in use.
    #[must_use]
    pub fn memory(&self) -> HistoryMemory {
        self.store().memory()
    }

    /// The length of so many slots, in milliseconds.
    #[must_use]
    pub const fn step_ms(&self, slots: u64) -> u64 {
        self.slots.every_ms.saturating_mul(slots)
    }

    /// When a slot begins, by the wall clock of `now`, `uptime_ms` after the start of the process.
    #[must_use]
    pub fn begin_of(&self, slot: u64, now: Duration, uptime_ms: u64) -> Duration {
        self.slots.begin_of(slot, now, uptime_ms)
    }

    /// The time until the next sample is due.
    pub(in crate::control) fn until_due(&self, uptime_ms: u64) -> Duration {
        self.slots.until_next(uptime_ms)
    }

    pub(super) const fn slots(&self) -> SlotClock {
        self.slots
    }

    pub(super) fn store(&self) -> MutexGuard<'_, HistoryStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sampled(&self) -> MutexGuard<'_, SampledUntil> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotClock {
    /// The number of the slot of this time.
    const fn slot_at(self, uptime_ms: u64) -> u64 {
        self.started_ms.saturating_add(uptime_ms) / self.every_ms
    }

    /// The slots that a sample fills: those that are over, from the last sample on, and from the time on at which something
    /// may have been counted. `None`: none is over since the last sample.
    pub fn filled(self, last_end: Option<u64>, moment: SampleMoment) -> Option<SlotRange> {
        let end = self.slot_at(moment.now_ms);
        let last = last_end.unwrap_or_else(|| end.saturating_sub(1));
        let first = self.slot_at(moment.since_ms).max(last).min(end.saturating_sub(1));
        (end > last).then_some(SlotRange { first, end })
    }

    fn until_next(self, uptime_ms: u64) -> Duration {
        let now = self.started_ms.saturating_add(uptime_ms);
        Duration::from_millis(self.every_ms - now % self.every_ms)
    }

    /// The wall clock may have been set since the start: the difference counts in whole seconds, so that the same slot begins
    /// at the same time.
    fn begin_of(self, slot: u64, now: Duration, uptime_ms: u64) -> Duration {
        const SECOND: i128 = 1_000;
        let steady = i128::from(self.started_ms.saturating_add(uptime_ms));
        let wall = i128::try_from(now.as_millis()).unwrap_or(i128::MAX);
        let set = (wall - steady + SECOND / 2).div_euclid(SECOND) * SECOND;
        let begin = i128::from(slot.saturating_mul(self.every_ms)) + set;
        Duration::from_millis(u64::try_from(begin.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that started at 3 s after a multiple of 10 s.
    const SLOTS: SlotClock = SlotClock { every_ms: 10_000, started_ms: 1_000_003_000 };

    fn filled(last_end: Option<u64>, since_ms: u64, now_ms: u64) -> Option<[u64; 2]> {
        SLOTS.filled(last_end, SampleMoment { since_ms, now_ms }).map(|slots| [slots.first, slots.end])
    }

    #[test]
    fn a_sample_fills_the_slots_that_are_over() {
        assert_eq!(SLOTS.until_next(0), Duration::from_secs(7));
        assert_eq!(SLOTS.until_next(7_000), Duration::from_secs(10));
        assert_eq!(filled(None, 0, 7_001), Some([100_000, 100_001]), "the first one is shorter");
        assert_eq!(filled(Some(100_001), 0, 17_000), Some([100_001, 100_002]));
        assert_eq!(filled(Some(100_001), 0, 16_999), None, "the slot is not over");
        assert_eq!(filled(Some(100_001), 0, 48_000), Some([100_001, 100_005]), "a late one has several");
        assert_eq!(filled(Some(100_001), 40_000, 48_000), Some([100_004, 100_005]), "nothing was counted before");
        assert_eq!(filled(Some(100_001), 48_000, 48_000), Some([100_004, 100_005]));
    }

    #[test]
    fn a_slot_begins_by_the_wall_clock_of_now() {
        let begin = |wall_ms, uptime_ms| SLOTS.begin_of(100_002, Duration::from_millis(wall_ms), uptime_ms).as_millis();
        assert_eq!(begin(1_000_103_000, 100_000), 1_000_020_000);
        assert_eq!(begin(1_000_103_400, 100_000), 1_000_020_000, "the clock is slewed");
        assert_eq!(begin(1_003_703_000, 100_000), 1_003_620_000, "it was set an hour ahead");
        assert_eq!(begin(1_000_093_000, 100_000), 1_000_010_000, "it was set back");
    }
}
