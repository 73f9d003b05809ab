//! What a guard shows beside its evidence: counts and the estimate.

use super::counted_tests::stratum_of;
use super::judged_group::JudgedArm;
use super::slot_ring::SlotRecord;
use super::standing::ArmCounts;
use crate::stats::{Estimate, Likelihood, WindowNumber};

/// The probability that the shown interval ever misses the ratio.
const INTERVAL_ALPHA: f64 = 0.05;

/// The counts of a guard since its marks began.
#[derive(Clone, Debug)]
pub(super) struct ShownCounts {
    began: WindowNumber,
    tested: ArmCounts,
    stable: ArmCounts,
    /// Made with the first event.
    likelihood: Option<Box<Likelihood>>,
}

/// The counts of both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ShownPair {
    pub tested: ArmCounts,
    pub stable: ArmCounts,
}

impl ShownCounts {
    pub fn new(began: WindowNumber) -> Self {
        Self { began, tested: ArmCounts::default(), stable: ArmCounts::default(), likelihood: None }
    }

    /// The window with which they begin.
    pub const fn began(&self) -> WindowNumber {
        self.began
    }

    /// Adds events, with what they are weighed with.
    pub fn add(&mut self, tested: u64, stable: u64, counts: Option<[u64; 4]>) {
        self.tested.events += tested;
        self.stable.events += stable;
        if let Some(counts) = counts {
            self.likelihood.get_or_insert_default().add(&stratum_of(counts));
        }
    }

    /// Adds the exposures of a slot. Those of slots before they began are of the evidence before.
    pub fn expose(&mut self, slot: &SlotRecord, by: JudgedArm) {
        if slot.window < self.began {
            return;
        }
        let pair = exposures_of(slot, by);
        self.tested.exposures += pair.tested.exposures;
        self.stable.exposures += pair.stable.exposures;
    }

    /// The counts, with exposures of these slots.
    pub fn pair<'a>(&self, slots: impl Iterator<Item = &'a SlotRecord>, by: JudgedArm) -> ShownPair {
        let mut pair = ShownPair { tested: self.tested, stable: self.stable };
        for slot in slots.filter(|slot| slot.window >= self.began) {
            let more = exposures_of(slot, by);
            pair.tested.exposures += more.tested.exposures;
            pair.stable.exposures += more.stable.exposures;
        }
        pair
    }

    pub fn estimate(&self) -> Option<Estimate> {
        self.likelihood.as_ref()?.estimate(INTERVAL_ALPHA)
    }
}

/// The exposures of a slot in which the variant has a share, or callers.
fn exposures_of(slot: &SlotRecord, by: JudgedArm) -> ShownPair {
    let count = |keys| ArmCounts { exposures: keys, events: 0 };
    let tested = slot.keys(by.tested());
    if tested == 0 && slot.share(by.tested()) <= 0.0 {
        return ShownPair::default();
    }
    ShownPair { tested: count(tested), stable: count(slot.keys(by.stable())) }
}
