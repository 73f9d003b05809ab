//! By how much two variants differ in how often they fail, with an interval that may be looked at at any time.
//!
//! Each rate's interval (`rate.rs`) ever misses that rate with a chance of at most α/2, so the difference lies between the
//! differences of the ends but for a chance of α. It takes requests as independent: where
//! one caller's requests fail together, the interval is narrower than it should be.

use super::Tally;
use super::evidence::float;
use super::rate::{lower, upper};

/// Requests, and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// All of them.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Failures {
    /// The share of those that failed; nothing without requests.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.requests > 0).then(|| float(self.failed) / float(self.requests))
    }

    /// The rates that are not refuted: never mind when this is asked, the true one is among them but for a chance of
    /// `alpha`. From 0 to 1 without requests.
    #[must_use]
    pub fn interval(self, alpha: f64) -> (f64, f64) {
        let tally = Tally { exposures: self.requests, events: self.failed };
        (lower(tally, alpha), upper(tally, alpha))
    }
}

/// A variant against another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateDifference {
    /// By how much more it fails: the difference of the rates; below 0 when less.
    pub observed: f64,
    /// The least that is not refuted.
    pub low: f64,
    /// The most that is not refuted.
    pub high: f64,
}

impl RateDifference {
    /// Of `one` against `other`, with a chance of at most `alpha` that the interval ever misses the truth. Nothing while
    /// one of them has no requests.
    #[must_use]
    pub fn of(one: Failures, other: Failures, alpha: f64) -> Option<Self> {
        let observed = one.rate()? - other.rate()?;
        let (ours, theirs) = (one.interval(alpha / 2.0), other.interval(alpha / 2.0));
        Some(Self { observed, low: ours.0 - theirs.1, high: ours.1 - theirs.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(failed: u64, requests: u64) -> Failures {
        Failures { requests, failed }
    }

    #[test]
    fn little_data_says_little() {
        assert_eq!(RateDifference::of(failures(0, 0), failures(3, 10), 0.05), None);
        assert_eq!(failures(0, 0).interval(0.05), (0.0, 1.0));
        let few = RateDifference::of(failures(1, 3), failures(0, 3), 0.05).unwrap();
        assert!(few.low < -0.5 && few.high > 0.9, "{few:?}");
    }

    #[test]
    fn much_data_closes_in() {
        let same = RateDifference::of(failures(1_000, 100_000), failures(1_010, 100_000), 0.05).unwrap();
        assert!(same.low < 0.0 && same.high > 0.0 && same.high - same.low < 0.006, "{same:?}");
        let worse = RateDifference::of(failures(2_000, 100_000), failures(1_000, 100_000), 0.05).unwrap();
        assert!(worse.low > 0.006 && worse.high < 0.014, "{worse:?}");
        let all = RateDifference::of(failures(50, 50), failures(0, 50), 0.05).unwrap();
        assert!(all.observed > 0.999 && all.low > 0.6 && all.high > 0.999, "{all:?}");
    }

    #[test]
    fn the_interval_holds_however_often_it_is_looked_at() {
        let mut random = fastrand::Rng::with_seed(11);
        let missed = (0..300)
            .filter(|_| {
                let (mut one, mut other) = (Failures::default(), Failures::default());
                (0..150).any(|_| {
                    for variant in [&mut one, &mut other] {
                        variant.requests += 20;
                        variant.failed += (0..20).filter(|_| random.f64() < 0.05).count() as u64;
                    }
                    RateDifference::of(one, other, 0.05).is_some_and(|found| found.low > 0.0 || found.high < 0.0)
                })
            })
            .count();
        assert!(missed <= 15, "{missed} of 300");
    }
}
