//! The absolute test: evidence against the hypothesis "the rate of this arm is at most p0", without a control.
//!
//! Each exposure has an event with probability p. The likelihood ratio of alternatives `p_j` above p0, averaged, is an
//! e-process: under the hypothesis the probability that it ever reaches `1/α` is at most α. It has the restarts of the
//! relative test (`restarts.rs`).

use super::evidence::{Evidence, GRID, Kernel, float};
use super::{Tally, restarts};

/// The largest alternative, and the rate that no bound may reach.
const RATE_MAX: f64 = 0.99;
/// The alternatives, as ratios to p0: all of the relative test's grid.
const ALTERNATIVES: Kernel = Kernel::DIFFERENCES;

/// The hypothesis under test: the rate of events per exposure is at most p0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AbsoluteKernel {
    bound: f64,
}

impl AbsoluteKernel {
    /// The test of "the rate is at most `bound`", events per exposure. `None` unless it is above 0 and below 0.99.
    #[must_use]
    pub fn new(bound: f64) -> Option<Self> {
        (bound > 0.0 && bound < RATE_MAX).then_some(Self { bound })
    }

    /// p0: events per exposure.
    #[must_use]
    pub const fn bound(&self) -> f64 {
        self.bound
    }

    /// Adds exposures at risk, and those of them with an event.
    pub fn add(&self, evidence: &mut Evidence, tally: Tally) {
        let (events, others) = (float(tally.events), float(tally.exposures.saturating_sub(tally.events)));
        evidence.add_logs(GRID.into_iter().map(|ratio| {
            let rate = (self.bound * ratio).min(RATE_MAX);
            events * (rate / self.bound).ln() + others * ((1.0 - rate) / (1.0 - self.bound)).ln()
        }));
    }

    /// The natural logarithm of E: the mean over the alternatives, each with the same weight.
    #[must_use]
    pub fn ln(&self, evidence: &Evidence) -> f64 {
        ALTERNATIVES.ln(evidence)
    }

    /// Whether E has reached `1/alpha`.
    #[must_use]
    pub fn trips(&self, evidence: &Evidence, alpha: f64) -> bool {
        restarts::reaches(self.ln(evidence), alpha)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(kernel: AbsoluteKernel, exposures: u64, events: u64) -> Evidence {
        let mut evidence = Evidence::default();
        kernel.add(&mut evidence, Tally { exposures, events });
        evidence
    }

    #[test]
    fn a_bound_is_a_rate_below_the_largest_alternative() {
        for bound in [0.0, -0.1, 0.99, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(AbsoluteKernel::new(bound), None, "{bound}");
        }
        for bound in [1e-9, 0.02, 0.5, 0.98] {
            let kernel = AbsoluteKernel::new(bound).unwrap();
            assert!(kernel.trips(&of(kernel, 100_000, 100_000), 0.001), "{bound}");
            assert!(!kernel.trips(&of(kernel, 100_000, 0), 0.001), "{bound}");
            assert!(kernel.ln(&of(kernel, 0, 0)).abs() < 1e-12, "no evidence is E = 1");
        }
    }

    #[test]
    fn a_rate_above_the_bound_trips_and_one_below_does_not() {
        let kernel = AbsoluteKernel::new(0.02).unwrap();
        assert!(!kernel.trips(&of(kernel, 10_000, 200), 0.001), "at the bound");
        assert!(!kernel.trips(&of(kernel, 10_000, 20), 0.001));
        assert!(kernel.trips(&of(kernel, 10_000, 300), 0.001), "3 % of 10 000");
        let least = (1..100).find(|&events| kernel.trips(&of(kernel, events, events), 0.001));
        assert_eq!(least, Some(3), "where all fail, three exposures say enough");
    }

    /// The chance that an arm with this rate ever trips within so many exposures: exact, by the distribution over the events
    /// of all the ways that have not tripped.
    fn tripping(kernel: AbsoluteKernel, alpha: f64, rate: f64, exposures_max: u32) -> f64 {
        let (mut ways, mut tripped, mut least) = (vec![1.0], 0.0, 1);
        for exposures in 1..=u64::from(exposures_max) {
            // The events that trip grow with the exposures.
            while least <= exposures && !kernel.trips(&of(kernel, exposures, least), alpha) {
                least += 1;
            }
            let mut next = vec![0.0; ways.len() + 1];
            for (events, way) in ways.iter().enumerate() {
                next[events] += way * (1.0 - rate);
                if events as u64 + 1 >= least {
                    tripped += way * rate;
                } else {
                    next[events + 1] += way * rate;
                }
            }
            while next.last().is_some_and(|way| *way < 1e-15) {
                next.pop();
            }
            ways = next;
        }
        tripped
    }

    #[test]
    fn a_healthy_arm_trips_no_more_often_than_promised() {
        let kernel = AbsoluteKernel::new(0.02).unwrap();
        let at_bound = tripping(kernel, 0.01, 0.02, 4_000);
        assert!(at_bound > 0.001 && at_bound <= 0.01, "{at_bound}");
        assert!(tripping(kernel, 0.01, 0.01, 4_000) < at_bound / 2.0, "half of the bound");
        assert!(tripping(kernel, 0.01, 0.06, 1_000) > 0.99);
    }

    proptest! {
        /// Under p0 the mean of E after one more exposure is E.
        #[test]
        fn the_evidence_is_a_martingale(bound in 0.001_f64..0.98, exposures in 0_u64..500, part in 0.0_f64..0.2) {
            let kernel = AbsoluteKernel::new(bound).unwrap();
            let events = (0..exposures).filter(|n| f64::from(u32::try_from(n % 100).unwrap()) < part * 100.0).count() as u64;
            let now = kernel.ln(&of(kernel, exposures, events));
            let next = |more| (kernel.ln(&of(kernel, exposures + 1, events + more)) - now).exp();
            let mean = bound * next(1) + (1.0 - bound) * next(0);
            prop_assert!((mean - 1.0).abs() < 1e-9, "{}", mean);
        }

        #[test]
        fn the_order_of_exposures_is_irrelevant(counts in proptest::collection::vec((0_u64..100, 0_u64..20), 1..20)) {
            let kernel = AbsoluteKernel::new(0.05).unwrap();
            let (mut apart, mut sum) = (Evidence::default(), Tally::default());
            for (others, events) in counts {
                let tally = Tally { exposures: others + events, events };
                kernel.add(&mut apart, tally);
                sum.merge(tally);
            }
            let (apart, at_once) = (kernel.ln(&apart), kernel.ln(&of(kernel, sum.exposures, sum.events)));
            prop_assert!((apart - at_once).abs() <= 1e-9 * apart.abs().max(1.0), "{apart} and {at_once}");
        }
    }
}
