//! Follows the run of failures of a variant, and what stable answered meanwhile.

use super::evidence_record::RecordedCounts;
use super::facts::{RunFacts, TickFacts};
use crate::stats::{Failures, RunVerdict, judge_run};

/// Ticks this far apart or less, in milliseconds, count as one after the other.
const TICK_MS_MAX: u64 = 250;

/// The run of failures of a variant.
#[derive(Clone, Debug, Default)]
pub(super) struct RunWatch {
    /// The number of the run that is under way.
    number: Option<u32>,
    /// Stable's answers when it began.
    began: Failures,
    /// Those of the last tick, and its time.
    before: Failures,
    before_ms: u64,
}

/// A run that trips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrippedRun {
    pub failures: u32,
    /// How many failures each caller has, the most first.
    pub by_caller: Vec<u32>,
    pub stable: Failures,
}

impl RunWatch {
    /// Follows a tick; the run if it trips.
    pub fn follow(&mut self, run: Option<&RunFacts>, route: usize, facts: &TickFacts) -> Option<TrippedRun> {
        let now = facts.stable.get(route).copied().unwrap_or_default();
        if now.requests < self.before.requests {
            // Another watch counts from 0.
            *self = Self::default();
        }
        let found = run.and_then(|run| self.judge(run, now, facts.now_ms));
        (self.before, self.before_ms) = (now, facts.now_ms);
        found
    }

    fn judge(&mut self, run: &RunFacts, now: Failures, now_ms: u64) -> Option<TrippedRun> {
        if run.length == 0 {
            self.number = None;
            return None;
        }
        if self.number != Some(run.number) {
            self.number = Some(run.number);
            let is_near = now_ms.saturating_sub(self.before_ms) <= TICK_MS_MAX;
            self.began = if is_near { self.before } else { now };
        }
        let requests = now.requests.saturating_sub(self.began.requests);
        let failed = now.failed.saturating_sub(self.began.failed).min(requests);
        let stable = Failures { requests, failed };
        (judge_run(run.length, &run.keys, stable) == RunVerdict::Trips).then(|| {
            let mut keys = run.keys.clone();
            keys.sort_unstable();
            let counts =
                keys.chunk_by(|one, next| one == next).map(|same| u32::try_from(same.len()).unwrap_or(u32::MAX));
            let mut by_caller: Vec<u32> = counts.collect();
            by_caller.sort_unstable_by(|one, other| other.cmp(one));
            TrippedRun { failures: run.length, by_caller, stable }
        })
    }
}

impl TrippedRun {
    pub fn record(&self) -> RecordedCounts {
        RecordedCounts::Run {
            failures: self.failures,
            by_caller: self.by_caller.clone(),
            stable_answers: self.stable.requests,
            stable_failures: self.stable.failed,
        }
    }
}
