//! The sample ratio of a release: do the callers reach the tested arm with the probability that its weight gives?
//!
//! Each caller counts once, at its first exposure, with the share w of the weights at that moment. It is the tested arm's
//! with probability `wθ / (1 − w + wθ)`, where θ is 1 unless an arm loses callers or gets too many. The likelihood ratio of
//! alternatives on both sides of 1, averaged, is an e-process: the share may change from caller to caller, and the
//! evidence may be read after each. (For the variants of an experiment, whose weights stand: `sample_ratio.rs`.)

use super::evidence::{Dealt, float, ln_mean_exp};
use super::restarts::reaches;

/// The alternatives: how many times as likely as its weight says the tested arm gets a caller. Those next to 1 find a loss of
/// 5 %, which is no evidence for 0.9: it is nearer to 1.
const DEALING_GRID: [f64; 10] = [0.5, 2.0 / 3.0, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0];
/// With this many expected callers of each arm, an arm without callers is already detected.
const EXPECTED_MIN: f64 = 30.0;

/// Evidence that callers do not reach the arms as the weights say. Starts without.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dealing {
    logs: [f64; DEALING_GRID.len()],
    /// The callers of both arms.
    keys: u64,
    /// Those of the tested arm.
    tested: u64,
    /// How many of them the weights promise to the tested arm.
    expected: f64,
}

impl Dealing {
    /// Evidence that was recorded: the log-likelihood ratio of each alternative; its callers are not known. `None` unless
    /// there is one for each.
    #[must_use]
    pub fn from_logs(logs: &[f64]) -> Option<Self> {
        Some(Self { logs: logs.try_into().ok()?, ..Self::default() })
    }

    /// Adds callers at their first exposure: `tested` of the tested arm and `control` of the control, under the tested arm's
    /// share `share` of the weights of both. A share that leaves an arm nothing is no information.
    pub fn add(&mut self, share: f64, tested: u64, control: u64) {
        if !(share > 0.0 && share < 1.0) {
            return;
        }
        let dealt = Dealt { share, tested: float(tested), events: float(tested + control) };
        for (log, theta) in self.logs.iter_mut().zip(DEALING_GRID) {
            *log += dealt.ln_ratio(theta, 1.0);
        }
        self.keys += tested + control;
        self.tested += tested;
        self.expected += dealt.events * share;
        debug_assert!(self.expected <= float(self.keys), "a share is below 1");
    }

    /// The natural logarithm of E.
    #[must_use]
    pub fn ln(&self) -> f64 {
        ln_mean_exp(&self.logs)
    }

    /// Whether E has reached `1/alpha`.
    #[must_use]
    pub fn trips(&self, alpha: f64) -> bool {
        reaches(self.ln(), alpha)
    }

    /// Whether the weights promise less than 30 callers to one of the arms: a lack of trips means nothing yet.
    #[must_use]
    pub fn is_too_few(&self) -> bool {
        self.expected.min(float(self.keys) - self.expected) < EXPECTED_MIN
    }

    /// The callers of both arms.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    /// The callers of the tested arm.
    #[must_use]
    pub const fn tested(&self) -> u64 {
        self.tested
    }

    /// How many callers the weights promise to the tested arm.
    #[must_use]
    pub const fn expected(&self) -> f64 {
        self.expected
    }

    /// The log-likelihood ratio of each alternative, in nats.
    #[must_use]
    pub const fn logs(&self) -> [f64; DEALING_GRID.len()] {
        self.logs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SampleRatio;
    use super::*;

    const ALPHA: f64 = 0.001;

    /// A release whose arm has this weight and loses a part of its callers.
    #[derive(Clone, Copy, Debug)]
    struct Loss {
        weight: f64,
        part: f64,
    }

    /// A random number of so many callers that are the tested arm's, each with probability `share`: by the normal
    /// distribution where that is as good.
    fn draw(random: &mut fastrand::Rng, keys: u64, share: f64) -> u64 {
        let (mean, variance) = (float(keys) * share, float(keys) * share * (1.0 - share));
        if variance < 50.0 {
            return (0..keys).filter(|_| random.f64() < share).count() as u64;
        }
        let sum: f64 = (0..12).map(|_| random.f64()).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, at least 0")]
        let count = (mean + variance.sqrt() * (sum - 6.0)).round().max(0.0) as u64;
        count.min(keys)
    }

    /// After how many callers (in steps of `step`) the loss is found: the median and the ninth of ten, over 100 runs.
    fn found_after(loss: Loss, step: u64) -> [u64; 2] {
        let Loss { weight, part } = loss;
        let share = weight * (1.0 - part) / (weight * (1.0 - part) + 1.0 - weight);
        let mut random = fastrand::Rng::with_seed(3);
        let mut found: Vec<u64> = (0..200)
            .map(|_| {
                let mut dealing = Dealing::default();
                while !dealing.trips(ALPHA) && dealing.keys() < 2_000_000 {
                    let tested = draw(&mut random, step, share);
                    dealing.add(weight, tested, step - tested);
                }
                dealing.keys()
            })
            .collect();
        found.sort_unstable();
        [found[100], found[180]]
    }

    #[test]
    fn a_loss_is_found_after_as_many_callers_as_documented() {
        for (weight, part, stated) in [
            (0.05, 0.5, [1_400, 2_200]),
            (0.05, 0.2, [9_000, 15_000]),
            (0.05, 0.1, [36_000, 62_000]),
            (0.05, 0.05, [142_000, 260_000]),
            (0.5, 0.5, [200, 400]),
            (0.5, 0.2, [1_800, 2_200]),
            (0.5, 0.1, [7_000, 11_000]),
            (0.5, 0.05, [24_000, 41_000]),
        ] {
            // At 50 % and 50 % the documented figures are in steps of 200.
            let step = if part > 0.4 && weight > 0.4 { 200 } else { stated[0] / 50 };
            for (found, stated) in found_after(Loss { weight, part }, step).into_iter().zip(stated) {
                let ratio = float(found) / float(stated);
                assert!((0.75..=1.25).contains(&ratio), "{weight} loses {part}: {found}, stated {stated}");
            }
        }
    }

    #[test]
    fn callers_that_are_dealt_by_the_weights_raise_no_alarm() {
        let mut random = fastrand::Rng::with_seed(8);
        let alarms = (0..2_000)
            .filter(|run| {
                let mut dealing = Dealing::default();
                // The weight changes on the way, in small and in large steps.
                (0..100).any(|step| {
                    let weight = if run % 2 == 0 { 0.05 } else { 0.01 * float(1 + step % 50) };
                    let tested = draw(&mut random, 100, weight);
                    dealing.add(weight, tested, 100 - tested);
                    dealing.trips(ALPHA)
                })
            })
            .count();
        assert!(alarms <= 5, "{alarms} of 2000");
    }

    /// Negative control: requests instead of callers. One caller, on stable, sends 30 % of them.
    #[test]
    fn counted_by_requests_a_large_caller_is_an_alarm() {
        let mut random = fastrand::Rng::with_seed(30);
        let alarms = (0..200)
            .filter(|_| {
                let mut dealing = Dealing::default();
                (0..500).any(|_| {
                    let tested = draw(&mut random, 200, 0.05 * 0.7);
                    dealing.add(0.05, tested, 200 - tested);
                    dealing.trips(ALPHA)
                })
            })
            .count();
        assert_eq!(alarms, 200);
    }

    /// Negative control: callers counted by a sketch (`HyperLogLog` with 2^14 registers has an error of 0.81 %), read once.
    #[test]
    fn counted_by_a_sketch_many_callers_are_an_alarm() {
        let mut random = fastrand::Rng::with_seed(14);
        let mut alarms = |keys: u64| {
            let (mut ratio, mut dealing) = (0, 0);
            for _ in 0..1_000 {
                let tested = draw(&mut random, keys, 0.5);
                let counts = [keys - tested, tested].map(|true_count| {
                    // A normal error, as the mean of 10 000 draws of a coin has it.
                    let error = 0.0081 * (float(draw(&mut random, 10_000, 0.5)) - 5_000.0) / 50.0;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                    let count = (float(true_count) * (1.0 + error)) as u64;
                    count
                });
                ratio += u32::from(
                    SampleRatio::of(&[1.0, 1.0], &counts).unwrap().evidence_ln >= SampleRatio::threshold_ln(),
                );
                let mut one = Dealing::default();
                one.add(0.5, counts[1], counts[0]);
                dealing += u32::from(one.trips(ALPHA));
            }
            (f64::from(ratio) / 1_000.0, f64::from(dealing) / 1_000.0)
        };
        let (few, many) = (alarms(100_000), alarms(2_000_000));
        assert!((few.0 - 0.03).abs() < 0.015 && (many.0 - 0.59).abs() < 0.05, "stated 3 % and 59 %: {few:?} {many:?}");
        assert!(few.1 > 0.005 && many.1 > 0.015, "many times the alpha of 0.1 % here too: {few:?} {many:?}");
    }

    #[test]
    fn little_data_and_one_arm_alone_say_nothing() {
        let mut dealing = Dealing::default();
        assert!(dealing.is_too_few() && !dealing.trips(ALPHA) && dealing.ln().abs() < 1e-12);
        for share in [0.0, 1.0, f64::NAN] {
            dealing.add(share, 1_000, 0);
        }
        assert_eq!(dealing, Dealing::default());
        dealing.add(0.05, 29, 551);
        assert!(dealing.is_too_few(), "29 are expected");
        dealing.add(0.05, 1, 19);
        assert!(!dealing.is_too_few() && !dealing.trips(ALPHA));
        assert_eq!((dealing.keys(), dealing.tested()), (600, 30));
        assert!((dealing.expected() - 30.0).abs() < 1e-9);
        let mut none = Dealing::default();
        none.add(0.5, 60, 0);
        assert!(none.trips(ALPHA) && none.logs()[9] > 10.0);
    }

    proptest! {
        /// Under the weights the mean of E after one more caller is E.
        #[test]
        fn the_evidence_is_a_martingale(steps in proptest::collection::vec((0.01_f64..0.99, 0_u64..50, 0_u64..50), 0..20),
            share in 0.01_f64..0.99)
        {
            let mut dealing = Dealing::default();
            for (share, tested, control) in steps {
                dealing.add(share, tested, control);
            }
            let next = |tested: u64| {
                let mut next = dealing;
                next.add(share, tested, 1 - tested);
                (next.ln() - dealing.ln()).exp()
            };
            let mean = share * next(1) + (1.0 - share) * next(0);
            prop_assert!((mean - 1.0).abs() < 1e-9, "{}", mean);
        }
    }
}
