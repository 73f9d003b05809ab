//! The state of each kind of test, with the newest counts that it has, so that a record can be replayed.

use std::collections::VecDeque;

use crate::stats::{AbsoluteKernel, Dealing, Evidence, Kernel, Stratum, Tally};

/// How many of the newest counts a test keeps; older ones are in its base.
pub(super) const NEWEST_MAX: usize = 256;

/// A relative test.
#[derive(Clone, Debug, Default)]
pub(super) struct RelativeTest {
    pub evidence: Evidence,
    /// The evidence of the counts that are no longer kept.
    pub base: Evidence,
    pub newest: VecDeque<[u64; 4]>,
}

/// An absolute test.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AbsoluteTest {
    /// The evidence under bounds before the present one.
    pub base: Evidence,
    /// The exposures and events under the present bound, in slots whose exposures are final.
    pub tally: Tally,
}

/// The test of the sample ratio.
#[derive(Clone, Debug, Default)]
pub(super) struct DealingTest {
    pub dealing: Dealing,
    /// Without the counts that are kept.
    pub base: Dealing,
    pub newest: VecDeque<DealtKeys>,
}

/// First keys under one share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DealtKeys {
    pub share: f64,
    pub tested: u64,
    pub control: u64,
}

/// The counts of a stratum, as they are recorded: exposures and events of the tested arm and of stable.
pub(super) fn stratum_of(counts: [u64; 4]) -> Stratum {
    let [tested, control, tested_events, control_events] = counts;
    Stratum {
        tested: Tally { exposures: tested, events: tested_events },
        control: Tally { exposures: control, events: control_events },
    }
}

impl RelativeTest {
    pub fn add(&mut self, kernel: Kernel, counts: [u64; 4]) {
        kernel.add(&mut self.evidence, &stratum_of(counts));
        self.newest.push_back(counts);
        if self.newest.len() > NEWEST_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            kernel.add(&mut self.base, &stratum_of(oldest));
        }
    }
}

impl AbsoluteTest {
    /// With counts of slots whose exposures may still grow.
    pub fn evidence(&self, kernel: AbsoluteKernel, unsettled: u64) -> Evidence {
        let mut evidence = self.base;
        kernel.add(&mut evidence, self.with(unsettled));
        evidence
    }

    /// The counts with exposures of slots that are not final.
    pub fn with(&self, unsettled: u64) -> Tally {
        Tally { exposures: (self.tally.exposures + unsettled).max(self.tally.events), events: self.tally.events }
    }
}

impl DealingTest {
    pub fn add(&mut self, keys: DealtKeys) {
        debug_assert!(keys.share > 0.0 && keys.share < 1.0, "both arms have a share");
        self.dealing.add(keys.share, keys.tested, keys.control);
        match self.newest.back_mut() {
            #[expect(clippy::float_cmp, reason = "the same share, bit by bit")]
            Some(last) if last.share == keys.share => {
                last.tested += keys.tested;
                last.control += keys.control;
            }
            Some(_) | None => self.newest.push_back(keys),
        }
        if self.newest.len() > NEWEST_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            self.base.add(oldest.share, oldest.tested, oldest.control);
        }
    }
}
