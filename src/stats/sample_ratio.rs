//! The sample-ratio check: do the variants get the share of callers that their weights promise? If not, the sample is
//! not random, and comparisons of the variants are not valid.
//!
//! The test is a Bayes factor: the probability of the counts under Dirichlet-multinomial mixtures around the weights
//! against their probability under the weights. It is a martingale if the weights are right, so the probability that it
//! *ever* reaches 1/α is at most α (Ville's inequality): it may be read after every draw. Four mixtures in equal parts,
//! with prior strengths of 10, 100, 1 000 and 10 000 draws, find large mismatches at once and small ones later. The
//! draws must be independent: callers, not requests.
//!
//! Draws until detection at α = 0.001, in nine of ten cases: 21 000 for 52 % that should be 50 %, 3 100 for 55 %, 280
//! for one caller in three, 16 000 for 6 % that should be 5 %.

use super::evidence::{float, ln_mean_exp};
use super::rate::ln_gamma;

/// The probability of a false alarm over all time.
const ALPHA: f64 = 0.001;
/// The prior strength of each part of the mixture, in draws.
const PRIOR_STRENGTHS: [f64; 4] = [10.0, 100.0, 1_000.0, 10_000.0];
/// With this many expected draws of the rarest variant, a variant without draws is already detected.
const EXPECTED_MIN: f64 = 30.0;

/// Weights against counts.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRatio {
    /// The draws.
    pub draws: u64,
    /// The expected share of each variant; 0 without a weight.
    pub expected: Vec<f64>,
    /// The measured shares; `None` without draws.
    pub measured: Option<Vec<f64>>,
    /// The logarithm of the evidence (Bayes factor) against the weights.
    pub evidence_ln: f64,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fairness {
    /// Too few draws: a variant without draws would not be detected yet.
    TooFew,
    /// Enough draws, and no mismatch.
    Ok,
    /// The shares do not match the weights.
    Mismatch,
}

impl Fairness {
    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooFew => "too few",
            Self::Ok => "ok",
            Self::Mismatch => "mismatch",
        }
    }
}

impl SampleRatio {
    /// Checks counts against weights, which are in any unit. Variants without a weight are left out; `None` if fewer
    /// than two variants have one.
    #[must_use]
    pub fn of(weights: &[f64], counts: &[u64]) -> Option<Self> {
        let sum: f64 = weights.iter().sum();
        if weights.iter().filter(|weight| **weight > 0.0).count() < 2 {
            return None;
        }
        let expected: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        debug_assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-9, "expected shares sum to 1");
        // Without a weight a draw has probability 0: it is left out, also of `draws` and the shares.
        let counts: Vec<u64> =
            counts.iter().zip(&expected).map(|(count, share)| if *share > 0.0 { *count } else { 0 }).collect();
        let draws: u64 = counts.iter().sum();
        let measured = (draws > 0).then(|| counts.iter().map(|count| float(*count) / float(draws)).collect());
        let evidence_ln = evidence_ln(&expected, &counts);
        Some(Self { draws, expected, measured, evidence_ln })
    }

    /// The number of draws from which the result is valid.
    #[must_use]
    pub fn draws_min(&self) -> f64 {
        (EXPECTED_MIN / self.least()).ceil()
    }

    /// The smallest expected share.
    fn least(&self) -> f64 {
        self.expected.iter().copied().filter(|share| *share > 0.0).fold(1.0, f64::min)
    }

    /// The variant whose share is furthest from the expected one in standard errors, and its share.
    #[must_use]
    pub fn furthest(&self) -> (usize, f64) {
        let Some(measured) = &self.measured else { return (0, 0.0) };
        let distance = |at: usize| (measured[at] - self.expected[at]).abs() / self.expected[at].sqrt();
        let some = (0..measured.len()).filter(|at| self.expected[*at] > 0.0);
        let at = some.max_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(0);
        (at, measured[at])
    }

    /// The result; `most_evidence_ln` is the highest evidence so far.
    #[must_use]
    pub fn verdict(&self, most_evidence_ln: f64) -> Fairness {
        // The highest evidence counts: a mismatch that was shown once stays.
        if most_evidence_ln.max(self.evidence_ln) >= Self::threshold_ln() {
            Fairness::Mismatch
        } else if float(self.draws) * self.least() < EXPECTED_MIN {
            Fairness::TooFew
        } else {
            Fairness::Ok
        }
    }

    /// The evidence that makes a mismatch.
    #[must_use]
    pub fn threshold_ln() -> f64 {
        -ALPHA.ln()
    }
}

fn evidence_ln(expected: &[f64], counts: &[u64]) -> f64 {
    let variants = || expected.iter().zip(counts).filter(|(share, _)| **share > 0.0);
    let draws: f64 = counts.iter().map(|count| float(*count)).sum();
    let of_prior = |strength: f64| {
        let each = variants().map(|(share, count)| {
            let count = float(*count);
            ln_gamma(strength * share + count) - ln_gamma(strength * share) - count * share.ln()
        });
        ln_gamma(strength) - ln_gamma(strength + draws) + each.sum::<f64>()
    };
    ln_mean_exp(&PRIOR_STRENGTHS.map(of_prior))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(weights: &[f64], counts: &[u64]) -> Option<Fairness> {
        SampleRatio::of(weights, counts).map(|ratio| ratio.verdict(0.0))
    }

    #[test]
    fn little_data_gives_no_result() {
        for (weights, counts, expected) in [
            (&[50.0, 50.0][..], &[0, 0][..], Some(Fairness::TooFew)),
            (&[50.0, 50.0], &[9, 1], Some(Fairness::TooFew)),
            (&[50.0, 50.0], &[30, 30], Some(Fairness::Ok)),
            (&[50.0, 50.0], &[0, 60], Some(Fairness::Mismatch)),
            (&[95.0, 5.0], &[100, 0], Some(Fairness::TooFew)),
            (&[95.0, 5.0], &[570, 30], Some(Fairness::Ok)),
            (&[95.0, 5.0], &[600, 0], Some(Fairness::Mismatch)),
            (&[99.99, 0.01], &[100_000, 8], Some(Fairness::TooFew)),
            (&[100.0, 0.0], &[10_000, 0], None),
            (&[100.0], &[10_000], None),
            (&[0.0, 50.0, 50.0], &[17, 500, 510], Some(Fairness::Ok)),
            (&[33.0, 33.0, 33.0], &[2_000, 2_010, 1_600], Some(Fairness::Mismatch)),
        ] {
            assert_eq!(verdict(weights, counts), expected, "{weights:?} {counts:?}");
        }
    }

    #[test]
    fn a_mismatch_stays() {
        let ratio = SampleRatio::of(&[50.0, 50.0], &[500, 500]).unwrap();
        assert_eq!(ratio.verdict(0.0), Fairness::Ok);
        assert_eq!(ratio.verdict(SampleRatio::threshold_ln()), Fairness::Mismatch);
    }

    /// The second of two variants: its weight in percent, and the share of the draws that it gets.
    #[derive(Clone, Copy)]
    struct Arm {
        weight: f64,
        share: f64,
    }

    /// Draws from `share` for the second of two variants until the check finds it, looking every `step` draws.
    fn found_after(random: &mut fastrand::Rng, arm: Arm, step: u64, most: u64) -> Option<u64> {
        let mut counts = [0, 0];
        (1..=most / step).map(|look| look * step).find(|_| {
            (0..step).for_each(|_| counts[usize::from(random.f64() < arm.share)] += 1);
            verdict(&[100.0 - arm.weight, arm.weight], &counts) == Some(Fairness::Mismatch)
        })
    }

    #[test]
    fn a_mismatch_is_found_after_as_many_draws_as_documented() {
        let mut random = fastrand::Rng::with_seed(52);
        for (weight, share, draws) in
            [(50.0, 0.52, 21_000), (50.0, 0.55, 3_200), (50.0, 1.0 / 3.0, 300), (5.0, 0.06, 16_000)]
        {
            let step = draws / 100;
            let found =
                (0..100).filter(|_| found_after(&mut random, Arm { weight, share }, step, draws).is_some()).count();
            assert!(found >= 82, "{weight} % that are {share}: {found} of 100");
        }
    }

    /// Looked at 200 times on the way to 20 000 draws, 2 000 times over: 2 false alarms are expected at most.
    #[test]
    fn equal_variants_raise_no_alarm_however_often_the_check_is_read() {
        let mut random = fastrand::Rng::with_seed(1);
        let alarms = (0..1_000)
            .flat_map(|_| [50.0, 5.0])
            .filter(|weight| {
                found_after(&mut random, Arm { weight: *weight, share: weight / 100.0 }, 100, 20_000).is_some()
            })
            .count();
        assert!(alarms <= 5, "{alarms} of 2000");
    }

    proptest! {
        /// The mean of the evidence under the weights is 1: that is what makes it a test at any time.
        #[test]
        fn the_evidence_is_a_martingale(shares in proptest::collection::vec(1_u32..1_000, 2..5), counts in
            proptest::collection::vec(0_u64..500, 5))
        {
            let weights: Vec<f64> = shares.iter().map(|share| f64::from(*share)).collect();
            let sum: f64 = weights.iter().sum();
            let mut counts = counts[..weights.len()].to_vec();
            let now = evidence_ln(&weights.iter().map(|w| w / sum).collect::<Vec<_>>(), &counts);
            let mut next = 0.0;
            for at in 0..weights.len() {
                counts[at] += 1;
                let ratio = SampleRatio::of(&weights, &counts).unwrap();
                next += ratio.expected[at] * (ratio.evidence_ln - now).exp();
                counts[at] -= 1;
            }
            prop_assert!((next - 1.0).abs() < 1e-6, "{}", next);
        }
    }
}
