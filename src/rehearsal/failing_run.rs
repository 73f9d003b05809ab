//! The run of failures of the canary of a route, as `telemetry/window/failure_run.rs` keeps it.

use std::collections::VecDeque;

use crate::release::RunFacts;

/// How many failures of a run are kept.
const KEPT: usize = 64;

/// A run of failures.
#[derive(Clone, Debug, Default)]
pub(super) struct FailingRun {
    number: u32,
    length: u32,
    keys: VecDeque<u32>,
}

impl FailingRun {
    pub fn succeed(&mut self) {
        if self.length > 0 {
            self.number = self.number.wrapping_add(1);
            self.length = 0;
            self.keys.clear();
        }
    }

    pub fn fail(&mut self, key: u32) {
        self.length = self.length.saturating_add(1);
        self.keys.push_back(key);
        if self.keys.len() > KEPT {
            self.keys.pop_front();
        }
        debug_assert!(self.keys.len() <= KEPT, "the last ones");
    }

    pub fn facts(&self) -> RunFacts {
        RunFacts { number: self.number, length: self.length, keys: self.keys.iter().copied().collect() }
    }
}
