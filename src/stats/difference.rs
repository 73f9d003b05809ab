//! The difference of the failure rates of two variants, with a confidence interval that is valid at all times at once.
//!
//! The interval of each rate (`rate.rs`) ever misses that rate with a probability of at most α/2, so the difference is
//! between the differences of the ends with a probability of 1 − α. Requests are treated as independent: if the
//! requests of one caller fail together, the interval is too narrow.

use super::Tally;
use super::evidence::float;
use super::rate::{lower, upper};

/// Requests, and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// All requests.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
}

impl Failures {
    /// The share of failed requests; `None` without requests.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.requests > 0).then(|| float(self.failed) / float(self.requests))
    }

    /// The confidence interval of the rate, valid at all times at once: it misses the true rate with a probability of
    /// at most `alpha`. From 0 to 1 without requests.
    #[must_use]
    pub fn interval(self, alpha: f64) -> (f64, f64) {
        let tally = Tally { exposures: self.requests, events: self.failed };
        (lower(tally, alpha), upper(tally, alpha))
    }
}

/// The failure rate of a variant compared with that of another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateDifference {
    /// The difference of the rates; negative if the variant fails less often.
    pub observed: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl RateDifference {
    /// The difference of `one` and `other`; the interval ever misses the true value with a probability of at most
    /// `alpha`. `None` if one of them has no requests.
    #[must_use]
    pub fn of(one: Failures, other: Failures, alpha: f64) -> Option<Self> {
        let observed = one.rate()? - other.rate()?;
        let (ours, theirs) = (one.interval(alpha / 2.0), other.interval(alpha / 2.0));
        let difference = Self { observed, low: ours.0 - theirs.1, high: ours.1 - theirs.0 };
        debug_assert!(
            difference.low <= observed && observed <= difference.high,
            "the interval contains the observed difference"
        );
        Some(difference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(failed: u64, requests: u64) -> Failures {
        Failures { requests, failed }
    }

    #[test]
    fn little_data_gives_a_wide_interval() {
        assert_eq!(RateDifference::of(failures(0, 0), failures(3, 10), 0.05), None);
        assert_eq!(failures(0, 0).interval(0.05), (0.0, 1.0));
        let few = RateDifference::of(failures(1, 3), failures(0, 3), 0.05).unwrap();
        assert!(few.low < -0.5 && few.high > 0.9, "{few:?}");
    }

    #[test]
    fn much_data_gives_a_narrow_interval() {
        let same = RateDifference::of(failures(1_000, 100_000), failures(1_010, 100_000), 0.05).unwrap();
        assert!(same.low < 0.0 && same.high > 0.0 && same.high - same.low < 0.006, "{same:?}");
        let worse = RateDifference::of(failures(2_000, 100_000), failures(1_000, 100_000), 0.05).unwrap();
        assert!(worse.low > 0.006 && worse.high < 0.014, "{worse:?}");
        let all = RateDifference::of(failures(50, 50), failures(0, 50), 0.05).unwrap();
        assert!(all.observed > 0.999 && all.low > 0.6 && all.high > 0.999, "{all:?}");
    }

    #[test]
    fn the_interval_is_valid_at_all_times_at_once() {
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
