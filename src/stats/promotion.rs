//! Promotion: evidence that the tested arm is good enough, so that its weight may grow.
//!
//! The other direction of the guards' test: the hypothesis is "the ratio of the rates is at least θ1", or "the rate is at
//! least `p_max`", the alternatives are below it, and what passes is the evidence against it. An arm that is exactly as bad
//! as the hypothesis ever passes with a probability of at most α. The evidence is that of the test that began with the
//! revision, with its whole weight, read at the moment of asking.

use super::evidence::{Dealt, float, ln_mean_exp, ln_sum_exp, product};
use super::{Stratum, Tally};

/// The alternatives: ratios of the rates. A test uses those below its θ1.
const RATIOS: [f64; 4] = [1.2, 1.0, 0.8, 0.5];
/// The alternatives as parts of the bound, and the weight of each.
const RATES: [(f64, f64); 3] = [(0.0, 0.5), (0.25, 0.25), (0.5, 0.25)];

/// The hypothesis "the ratio of the rates is at least θ1".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonInferior {
    theta1: f64,
    /// The first alternative below θ1.
    first: usize,
}

/// The evidence against [`NonInferior`]: the log-likelihood ratio of each alternative, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NonInferiority {
    logs: [f64; RATIOS.len()],
}

/// The hypothesis "the rate of events per exposure is at least `p_max`".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateBelow {
    bound: f64,
}

impl NonInferiority {
    /// The log-likelihood ratio of each alternative, in nats, to be stored.
    #[must_use]
    pub const fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// The evidence that [`logs`](Self::logs) stored; `None` with another number of alternatives.
    #[must_use]
    pub fn from_logs(logs: &[f64]) -> Option<Self> {
        Some(Self { logs: logs.try_into().ok()? })
    }
}

impl NonInferior {
    /// The test of "the ratio is at least `theta1`". `None` unless it is above the last alternative, 0.5, and finite.
    #[must_use]
    pub fn new(theta1: f64) -> Option<Self> {
        let first = RATIOS.iter().position(|&theta| theta < theta1)?;
        theta1.is_finite().then_some(Self { theta1, first })
    }

    /// The ratio of the rates under the hypothesis.
    #[must_use]
    pub const fn bound(&self) -> f64 {
        self.theta1
    }

    /// Adds a stratum to the evidence. Strata may come in any order.
    pub fn add(&self, evidence: &mut NonInferiority, stratum: &Stratum) {
        let Some((share, events)) = stratum.informative() else { return };
        let dealt = Dealt { share, tested: float(stratum.tested.events), events };
        for (log, theta) in evidence.logs.iter_mut().zip(RATIOS).skip(self.first) {
            *log += dealt.ln_ratio(theta, self.theta1);
        }
    }

    /// The natural logarithm of E: the mean over the alternatives, each with the same weight. The arm passes at `1/α`
    /// ([`reaches`](super::reaches)).
    #[must_use]
    pub fn ln(&self, evidence: &NonInferiority) -> f64 {
        ln_mean_exp(&evidence.logs[self.first..])
    }
}

impl RateBelow {
    /// The test of "the rate is at least `bound`", events per exposure. `None` unless it is above 0 and below 1.
    #[must_use]
    pub fn new(bound: f64) -> Option<Self> {
        (bound > 0.0 && bound < 1.0).then_some(Self { bound })
    }

    /// The natural logarithm of E for these exposures and events. The arm passes at `1/α`.
    #[must_use]
    pub fn ln(&self, tally: Tally) -> f64 {
        let (events, others) = (float(tally.events), float(tally.exposures.saturating_sub(tally.events)));
        debug_assert!(tally.events <= tally.exposures, "an event is an exposure");
        ln_sum_exp(RATES.into_iter().map(|(part, weight)| {
            let rate = self.bound * part;
            // One event refutes the alternative "never".
            weight.ln() + product(events, part.ln()) + others * ((1.0 - rate) / (1.0 - self.bound)).ln()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reaches;
    use super::*;

    const ALPHA: f64 = 0.05;

    /// Exact: the chance to pass by the last event, and after how many events it is 50 %, 80 % and 95 %, for a tested arm with
    /// the share `share` of the exposures and the ratio `theta`. Ways are numbered by the tested arm's events.
    fn passing(theta1: f64, share: f64, theta: f64, events_max: u32) -> (f64, [Option<u32>; 3]) {
        let kernel = NonInferior::new(theta1).unwrap();
        let step = |tested, events| RATIOS.map(|theta| Dealt { share, tested, events }.ln_ratio(theta, theta1));
        let (of_tested, of_any) = (step(1.0, 0.0), step(0.0, 1.0));
        let is_enough = |tested: f64, events: f64| {
            let mut logs = of_tested;
            logs.iter_mut().zip(of_any).for_each(|(log, any)| *log = *log * tested + any * events);
            reaches(kernel.ln(&NonInferiority { logs }), ALPHA)
        };
        let chance = share * theta / (1.0 - share + share * theta);
        // `ways[n]` is the chance of `least + n` events of the tested arm; with fewer it has passed.
        let (mut ways, mut least, mut passed) = (vec![1.0], 0_u32, 0.0);
        let mut found = [None; 3];
        for events in 1..=events_max {
            let mut next = vec![0.0; ways.len() + 1];
            for (at, way) in ways.iter().enumerate() {
                next[at] += way * (1.0 - chance);
                next[at + 1] += way * chance;
            }
            while is_enough(f64::from(least), f64::from(events)) {
                passed += next.remove(0);
                least += 1;
            }
            while next.last().is_some_and(|way| *way < 1e-15) {
                next.pop();
            }
            ways = next;
            for (one, level) in found.iter_mut().zip([0.5, 0.8, 0.95]) {
                *one = one.or((passed >= level).then_some(events));
            }
            if passed > 0.955 {
                break;
            }
        }
        (passed, found)
    }

    #[test]
    fn a_healthy_arm_passes_after_as_many_events_as_documented() {
        for (percent, events) in
            [(1.0, [811, 1_531, 2_553]), (5.0, [165, 327, 549]), (10.0, [92, 182, 303]), (50.0, [43, 86, 145])]
        {
            let (_, found) = passing(2.0, percent / 100.0, 1.0, 3_000);
            assert_eq!(found, events.map(Some), "{percent} %");
        }
    }

    #[test]
    fn an_arm_at_the_bound_passes_as_rarely_as_documented() {
        for percent in [1.0, 5.0, 10.0, 50.0] {
            let (passed, _) = passing(2.0, percent / 100.0, 2.0, 3_000);
            assert!((0.0395..=0.0495).contains(&passed), "{percent} %: {passed}, stated 4.0 to 4.9 %");
        }
    }

    #[test]
    fn the_alternatives_end_below_the_hypothesis() {
        for (theta1, first) in [(2.0, 0), (1.2, 1), (1.1, 1), (1.0, 2), (0.6, 3)] {
            assert_eq!(NonInferior::new(theta1).map(|kernel| kernel.first), Some(first), "{theta1}");
        }
        for theta1 in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(NonInferior::new(theta1), None, "{theta1}");
        }
        let kernel = NonInferior::new(1.0).unwrap();
        let mut evidence = NonInferiority::default();
        let tally = |exposures, events| Tally { exposures, events };
        kernel.add(&mut evidence, &Stratum { tested: tally(500, 0), control: tally(500, 40) });
        assert_eq!(evidence.logs[..2].iter().sum::<f64>().to_bits(), 0.0_f64.to_bits());
        assert!(reaches(kernel.ln(&evidence), ALPHA), "forty callers of the control alone");
        let mut lonely = NonInferiority::default();
        kernel.add(&mut lonely, &Stratum { tested: tally(500, 0), control: tally(0, 40) });
        assert_eq!(lonely, NonInferiority::default(), "without a control there is no evidence");
    }

    #[test]
    fn without_events_a_rate_passes_after_3_42_exposures_per_bound() {
        for bound in [0.001, 0.0001] {
            let kernel = RateBelow::new(bound).unwrap();
            let passes = |exposures| reaches(kernel.ln(Tally { exposures, events: 0 }), ALPHA);
            let least = (1..100_000_u64).find(|&exposures| passes(exposures)).unwrap();
            let ratio = float(least) * bound;
            assert!((ratio - 3.42).abs() < 0.01, "{bound}: {ratio}");
        }
        for bound in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(RateBelow::new(bound), None, "{bound}");
        }
    }

    #[test]
    fn events_make_a_rate_pass_later_or_never() {
        let kernel = RateBelow::new(0.001).unwrap();
        let passes = |exposures, events| reaches(kernel.ln(Tally { exposures, events }), ALPHA);
        assert!(passes(3_500, 0) && !passes(3_500, 1) && passes(9_000, 1));
        assert!(!passes(1_000_000, 1_000), "at the bound");
        assert!(passes(1_000_000, 500), "at half of it");
        assert!(kernel.ln(Tally { exposures: 5, events: 5 }) < 0.0);
    }

    /// Exact, as above: an arm whose rate is the bound.
    #[test]
    fn a_rate_at_the_bound_passes_as_rarely_as_promised() {
        let kernel = RateBelow::new(0.05).unwrap();
        let (mut ways, mut least, mut passed) = (vec![1.0], 0_u64, 0.0);
        for exposures in 1..=2_000 {
            let mut next = vec![0.0; ways.len() + 1];
            for (at, way) in ways.iter().enumerate() {
                next[at] += way * 0.95;
                next[at + 1] += way * 0.05;
            }
            while least <= exposures && reaches(kernel.ln(Tally { exposures, events: least }), ALPHA) {
                passed += next.remove(0);
                least += 1;
            }
            ways = next;
        }
        assert!(passed > 0.03 && passed <= 0.05, "{passed}");
    }
}
