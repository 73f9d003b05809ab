//! Discordant pairs: the test for the case that every candidate has its own control.
//!
//! For a candidate and a control of the same request, a field may differ in both, in neither, or in one only. Under the
//! hypothesis that the candidate equals the primary as often as the control does, a difference in one only is a fair
//! coin: it is equally likely in the control and in the candidate. The likelihood ratio of an unfair coin, averaged
//! over a grid, is an e-process, like that of the kernel (a sequential form of `McNemar`'s test).

use super::Tally;
use super::evidence::{float, ln_mean_exp};

/// The alternatives: the probability that a difference in one only is in the candidate.
const GRID: [f64; 5] = [0.6, 0.7, 0.8, 0.9, 0.97];

/// The state of a test: the number of pairs that differ on one side only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// In the candidate only.
    pub raw_only: u64,
    /// In the control only.
    pub noise_only: u64,
}

impl Pairs {
    /// Adds other counts.
    pub fn merge(&mut self, other: Self) {
        self.raw_only += other.raw_only;
        self.noise_only += other.noise_only;
    }

    /// The natural logarithm of E.
    #[must_use]
    pub fn ln(&self) -> f64 {
        let (raw, noise) = (float(self.raw_only), float(self.noise_only));
        ln_mean_exp(&GRID.map(|chance| raw * (2.0 * chance).ln() + noise * (2.0 * (1.0 - chance)).ln()))
    }

    /// The pairs that differ on one side only, and those of them that differ in the candidate.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally { exposures: self.raw_only + self.noise_only, events: self.raw_only }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact probability that a coin which shows the candidate with `chance` is detected within `pairs_max`, and
    /// the numbers of pairs at which it is 50 % and 80 %.
    fn tripping(chance: f64, alpha: f64, pairs_max: u64) -> (f64, Option<u64>, Option<u64>) {
        let (mut ways, mut tripped) = (vec![1.0], 0.0);
        let (mut half, mut most) = (None, None);
        for number in 1..=pairs_max {
            let mut next = vec![0.0; ways.len() + 1];
            for (raw_only, way) in (1..).zip(ways) {
                let at = usize::try_from(raw_only).unwrap();
                next[at - 1] += way * (1.0 - chance);
                if (Pairs { raw_only, noise_only: number - raw_only }).ln() >= -f64::ln(alpha) {
                    tripped += way * chance;
                } else {
                    next[at] += way * chance;
                }
            }
            ways = next;
            half = half.or((tripped >= 0.5).then_some(number));
            most = most.or((tripped >= 0.8).then_some(number));
        }
        (tripped, half, most)
    }

    #[test]
    fn a_field_that_always_differs_is_confirmed_after_9_to_16_pairs() {
        // Alone in its table at α = 0.01, and one of a hundred.
        assert_eq!(tripping(1.0, 0.01, 40), (1.0, Some(9), Some(9)));
        assert_eq!(tripping(1.0, 1e-4, 40), (1.0, Some(16), Some(16)));
    }

    #[test]
    fn figures_are_as_documented() {
        for (alpha, chance, half, most) in [
            (0.01, 0.6, 259, 419),
            (0.01, 0.7, 58, 99),
            (0.01, 0.8, 24, 39),
            (0.01, 0.9, 13, 21),
            (1e-4, 0.6, 496, 705),
            (1e-4, 0.7, 120, 171),
            (1e-4, 0.8, 49, 70),
            (1e-4, 0.9, 25, 36),
        ] {
            let (_, found_half, found_most) = tripping(chance, alpha, 750);
            assert_eq!((found_half, found_most), (Some(half), Some(most)), "α = {alpha}, chance {chance}");
        }
        for (alpha, stated, error) in [(0.01, 0.00822, 6e-6), (1e-4, 9e-5, 1e-5)] {
            let (tripped, ..) = tripping(0.5, alpha, 1_000);
            assert!((tripped - stated).abs() < error, "a fair coin at α = {alpha}: {tripped}, stated {stated}");
        }
    }

    #[test]
    fn counts_merge() {
        let mut pairs = Pairs { raw_only: 3, noise_only: 1 };
        pairs.merge(Pairs { raw_only: 4, noise_only: 0 });
        assert_eq!(pairs, Pairs { raw_only: 7, noise_only: 1 });
        assert_eq!(pairs.tally(), Tally { exposures: 8, events: 7 });
        assert!(Pairs::default().ln().abs() < 1e-12);
    }
}
