//! The exposures that one worker has counted: the newest slots, in a ring. One writer; the control plane reads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::stats::{SlotExposures, SlotNumber, WindowShape};
use crate::telemetry::{Counter, Latencies};

/// How many slots a worker keeps.
pub(super) const SLOTS_KEPT: usize = 16;

/// The counts of one worker.
#[derive(Debug)]
pub(super) struct SlotCounts {
    slots: Box<[Slot]>,
    /// The times of stable's responses.
    pub stable_times: Latencies,
    /// Stable's first tries that were judged, and those of them that failed.
    pub stable_answers: Counter,
    pub stable_failures: Counter,
}

#[derive(Debug)]
struct Slot {
    /// 0 while the counts are being cleared.
    number: AtomicU64,
    counts: Box<[AtomicU32]>,
}

impl SlotCounts {
    pub fn new(shape: WindowShape) -> Self {
        let slot =
            |_| Slot { number: AtomicU64::new(0), counts: (0..shape.len()).map(|_| AtomicU32::new(0)).collect() };
        Self {
            slots: (0..SLOTS_KEPT).map(slot).collect(),
            stable_times: Latencies::default(),
            stable_answers: Counter::default(),
            stable_failures: Counter::default(),
        }
    }

    /// The counts of a slot, to be added to; calls `began` for a new one. Only its worker calls it.
    #[inline]
    pub fn of(&self, number: SlotNumber, began: impl FnOnce()) -> &[AtomicU32] {
        let slot = &self.slots[number.0 as usize % SLOTS_KEPT];
        if slot.number.load(Relaxed) != u64::from(number.0) {
            slot.begin(number);
            began();
        }
        &slot.counts
    }

    /// Whether anything is counted of a slot.
    pub fn has(&self, number: SlotNumber) -> bool {
        self.slots[number.0 as usize % SLOTS_KEPT].number.load(Acquire) == u64::from(number.0)
    }

    /// Adds what is counted of a slot.
    pub fn read(&self, number: SlotNumber, sum: &mut SlotExposures) {
        let slot = &self.slots[number.0 as usize % SLOTS_KEPT];
        let is_it = || slot.number.load(Acquire) == u64::from(number.0);
        if !is_it() {
            return;
        }
        let counts: Vec<u32> = slot.counts.iter().map(|count| count.load(Acquire)).collect();
        // The worker may have begun a later slot in this place meanwhile.
        if is_it() {
            sum.add(counts.into_iter());
        }
    }
}

impl Slot {
    #[cold]
    fn begin(&self, number: SlotNumber) {
        self.number.store(0, Release);
        self.counts.iter().for_each(|count| count.store(0, Release));
        self.number.store(number.0.into(), Release);
    }
}

/// Adds one to a count with one writer. A reader that sees it also sees that the slot began.
#[inline]
pub(super) fn increment(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Release);
}
