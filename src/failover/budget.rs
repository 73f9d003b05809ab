//! The budget of further tries: retries cannot storm.

use std::sync::{Mutex, PoisonError};

use crate::route::RetryBudgetSettings;

/// The length of the window in seconds.
const SECONDS: usize = 10;

/// The tries beyond the first of an upstream in the last ten seconds, for the process. Only failed requests read or
/// write it.
#[derive(Debug, Default)]
pub struct RetryBudget(Mutex<[TriesOfSecond; SECONDS]>);

#[derive(Clone, Copy, Debug, Default)]
struct TriesOfSecond {
    second: u64,
    tries: u64,
}

impl RetryBudget {
    /// Takes one try, if there is one: tries of the last ten seconds ≤ `ratio` × requests of the last ten seconds +
    /// `min_per_second` × 10.
    pub fn try_take(&self, settings: RetryBudgetSettings, now_ms: u64, requests: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Clocks of workers differ a little: a late one neither overlooks nor overwrites what another has taken.
        let second = all.iter().map(|one| one.second).fold(now_ms / 1000, u64::max);
        if used(&*all, second) >= Self::allowed(settings, requests) {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below ten")]
        let bucket = &mut all[(second % SECONDS as u64) as usize];
        if bucket.second != second {
            *bucket = TriesOfSecond { second, tries: 0 };
        }
        bucket.tries += 1;
        true
    }

    /// The most tries of ten seconds in which there are so many requests.
    #[must_use]
    pub fn allowed(settings: RetryBudgetSettings, requests: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
        let allowed = settings.ratio * requests as f64 + f64::from(settings.min_per_second) * SECONDS as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
        let whole = allowed as u64;
        whole
    }

    /// The tries of the last ten seconds.
    #[must_use]
    pub fn used(&self, now_ms: u64) -> u64 {
        used(&*self.0.lock().unwrap_or_else(PoisonError::into_inner), now_ms / 1000)
    }
}

fn used(all: &[TriesOfSecond], second: u64) -> u64 {
    let recent = |one: &&TriesOfSecond| second.checked_sub(one.second).is_some_and(|age| age < SECONDS as u64);
    all.iter().filter(recent).map(|one| one.tries).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_stay_below_the_ratio_and_the_minimum() {
        let settings = RetryBudgetSettings { ratio: 0.2, min_per_second: 3 };
        let budget = RetryBudget::default();
        let taken = |now_ms, requests| (0..10_000).take_while(|_| budget.try_take(settings, now_ms, requests)).count();
        assert_eq!(taken(500, 100), 20 + 30);
        assert_eq!((budget.used(500), budget.used(9_999), budget.used(10_000)), (50, 50, 0));
        assert_eq!(taken(9_999, 100), 0);
        assert_eq!(taken(10_000, 0), 30);
        assert_eq!((taken(9_999, 0), budget.used(10_000)), (0, 30), "a clock that is a second behind");
        let none = RetryBudgetSettings { ratio: 0.0, min_per_second: 0 };
        assert!(!RetryBudget::default().try_take(none, 0, 1_000_000));
    }
}
