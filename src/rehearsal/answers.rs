//! Stable's answers of the last minutes: how well its quantiles are known.

use std::collections::VecDeque;

/// The time between two readings that are kept, in milliseconds.
const KEEP_EVERY_MS: u64 = 5_000;

/// How many answers stable has had up to some moments.
#[derive(Clone, Debug, Default)]
pub(super) struct StableHistory {
    /// Oldest first.
    readings: VecDeque<Reading>,
}

#[derive(Clone, Debug)]
struct Reading {
    at_ms: u64,
    /// By route, since the release began.
    answers: Vec<u64>,
}

impl StableHistory {
    /// Keeps the answers up to now; those that are older than `over_ms` are dropped.
    pub fn keep(&mut self, at_ms: u64, over_ms: u64, answers: impl Iterator<Item = u64>) {
        if self.readings.back().is_some_and(|last| at_ms < last.at_ms.saturating_add(KEEP_EVERY_MS)) {
            return;
        }
        let from_ms = at_ms.saturating_sub(over_ms);
        while self.readings.get(1).is_some_and(|second| second.at_ms <= from_ms) {
            self.readings.pop_front();
        }
        self.readings.push_back(Reading { at_ms, answers: answers.collect() });
    }

    /// The answers of a route since a moment, of so many up to now.
    pub fn since(&self, from_ms: u64, route: usize, now: u64) -> u64 {
        let before = self.readings.iter().rev().find(|reading| reading.at_ms <= from_ms);
        now.saturating_sub(before.and_then(|reading| reading.answers.get(route)).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_last_minutes() {
        let mut history = StableHistory::default();
        for at in 0..1_000_u64 {
            history.keep(at * 1_000, 600_000, std::iter::once(at * 10));
        }
        // 10 a second; readings are 5 s apart.
        assert_eq!(history.since(399_000, 0, 9_990), 9_990 - 3_950);
        assert_eq!(history.since(990_000, 0, 9_990), 90);
        assert_eq!((history.since(990_000, 7, 5), StableHistory::default().since(5, 0, 3)), (5, 3));
        assert!(history.readings.len() <= 122, "{}", history.readings.len());
    }
}
