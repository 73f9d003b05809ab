//! How often two answers differ beyond noise, with bounds that hold at all times at once.
//!
//! The bounds of a rate are what the Krichevsky-Trofimov mixture (a Beta(½, ½) prior) does not refute: it is a
//! martingale under the true rate, so the chance that the interval ever misses that rate is at most α. It assumes that
//! the rate does not change; a rate that does is covered as its average would be.

use super::Tally;
use super::evidence::float;

/// How often the candidate's answers differed, and how often the control's did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Comparisons of the primary with the candidate, and those of them with a difference.
    pub raw: Tally,
    /// Comparisons of the primary with the control, and those of them with a difference.
    pub noise: Tally,
}

impl Mismatch {
    /// The rate of differences beyond noise; below 0 where the control differs more often.
    #[must_use]
    pub fn net(&self) -> f64 {
        self.raw.rate() - self.noise.rate()
    }

    /// What the net rate is below, at all times at once, but for a chance of `alpha`. 1 without comparisons.
    #[must_use]
    pub fn net_upper(&self, alpha: f64) -> f64 {
        upper(self.raw, alpha / 2.0) - lower(self.noise, alpha / 2.0)
    }

    /// What the net rate is above, at all times at once, but for a chance of `alpha`. -1 without comparisons.
    #[must_use]
    pub fn net_lower(&self, alpha: f64) -> f64 {
        lower(self.raw, alpha / 2.0) - upper(self.noise, alpha / 2.0)
    }
}

/// The greatest rate that the counts do not refute.
pub(super) fn upper(tally: Tally, alpha: f64) -> f64 {
    if tally.exposures == 0 {
        return 1.0;
    }
    bound(tally, alpha, 1.0)
}

/// The least rate that the counts do not refute.
pub(super) fn lower(tally: Tally, alpha: f64) -> f64 {
    if tally.exposures == 0 {
        return 0.0;
    }
    bound(tally, alpha, 0.0)
}

/// The bound between the observed rate and `end`, by bisection: the log-likelihood falls from the one to the other.
fn bound(tally: Tally, alpha: f64, end: f64) -> f64 {
    let (hits, misses) = (float(tally.events), float(tally.exposures.saturating_sub(tally.events)));
    let least = ln_mixture(hits, misses) + alpha.ln();
    let refuted = |rate: f64| product(hits, rate.ln()) + product(misses, (1.0 - rate).ln()) <= least;
    let (mut inside, mut outside) = (tally.rate().min(1.0), end);
    if !refuted(outside) {
        return outside;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(inside, outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    outside
}

/// `count · log`, where 0 · −∞ is 0.
fn product(count: f64, log: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * log }
}

/// `ln(B(hits + ½, misses + ½) / B(½, ½))`.
fn ln_mixture(hits: f64, misses: f64) -> f64 {
    ln_gamma(hits + 0.5) + ln_gamma(misses + 0.5) - ln_gamma(hits + misses + 1.0) - std::f64::consts::PI.ln()
}

/// The logarithm of the gamma function for a positive argument: Stirling's series (Abramowitz & Stegun 6.1.41) above 8,
/// shifted there from below. Exact to 1e-12.
pub(super) fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 8.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0)))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(exposures: u64, events: u64) -> Tally {
        Tally { exposures, events }
    }

    #[test]
    fn the_gamma_function_is_right() {
        for (x, value) in
            [(0.5, std::f64::consts::PI.sqrt().ln()), (1.0, 0.0), (5.0, 24_f64.ln()), (11.0, 3_628_800_f64.ln())]
        {
            assert!((ln_gamma(x) - value).abs() < 1e-11, "ln Γ({x}) = {}, true {value}", ln_gamma(x));
        }
    }

    #[test]
    fn bounds_close_in_on_the_rate() {
        let open = Mismatch::default();
        assert_eq!((open.net(), open.net_upper(0.05), open.net_lower(0.05)), (0.0, 1.0, -1.0));
        // Nothing differs: by how many comparisons a bound of 0.2 % is reached.
        let clean = |count| Mismatch { raw: tally(count, 0), noise: tally(count / 5, 0) };
        assert!(clean(3_000).net_upper(0.05) > 0.002);
        assert!(clean(5_000).net_upper(0.05) < 0.002, "{}", clean(5_000).net_upper(0.05));
        // Half differ and half of the controls too: noise alone.
        let noisy = Mismatch { raw: tally(100_000, 50_000), noise: tally(100_000, 50_000) };
        assert!(noisy.net().abs() < 1e-12 && noisy.net_upper(0.05) < 0.02 && noisy.net_lower(0.05) > -0.02);
        // All differ, no control does.
        let broken = Mismatch { raw: tally(100, 100), noise: tally(100, 0) };
        assert!(broken.net_upper(0.05) >= 1.0 && broken.net_lower(0.05) > 0.8);
    }

    #[test]
    fn the_bound_holds_at_all_times_at_once() {
        // 400 runs of 2 000, looked at after each: a true 5 % shows 30 or fewer with a chance of 99 %.
        let mut random = fastrand::Rng::with_seed(5);
        let missed = (0..400)
            .filter(|_| {
                let mut seen = Tally::default();
                (0..2_000).any(|_| {
                    seen.merge(tally(1, u64::from(random.f64() < 0.02)));
                    seen.exposures % 10 == 0 && (upper(seen, 0.05) < 0.02 || lower(seen, 0.05) > 0.02)
                })
            })
            .count();
        assert!(missed <= 30, "{missed} of 400");
    }
}
