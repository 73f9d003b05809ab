//! The rate at which two responses differ beyond noise, with bounds that are valid at all times at once.
//!
//! The interval of a rate contains the rates that the Krichevsky-Trofimov mixture (a Beta(½, ½) prior) does not reject.
//! The mixture is a martingale under the true rate, so the probability that the interval ever misses that rate is at
//! most α. The rate is assumed to be constant; otherwise the interval covers its average.
//!
//! Controls that fail or have another status count as noise only up to the rate at which candidates do so: a control
//! that fails for its own reasons must not hide differences of candidates. So noise is `min(Aₙ, Aᵣ) + R Bₙ`, with A the
//! rates of differences that end a comparison early, of controls (n) and candidates (r), R the share of the candidates
//! whose comparison reached headers and body, and B the rate of differences of controls among those that did.
//!
//! Noise hides differences: a response that differs by noise may differ for another reason too. If candidates differ by
//! themselves with rate `d` and by noise with rate `n`, the rate of differences is `r = 1 - (1 - d)(1 - n)` (Abbott's
//! formula), so `d = 1 - (1 - r) / (1 - n)`. If every control differs, `d` is unknown. The estimate combines the rate
//! before headers and body with the rate within them; the bounds are conservative: `d ≥ r - n`, and with the noise of
//! all responses `d ≤ 1 - (1 - r) / (1 - n)`.

use super::Tally;
use super::evidence::{float, product};

/// Differences from the primary responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mismatches {
    /// All comparisons, and those that ended early with a difference of the outcome or the status.
    pub early: Tally,
    /// Comparisons that reached headers and body, and those of them with a difference.
    pub within: Tally,
}

/// Differences of the candidates and of the controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Comparisons of the primary with the candidate.
    pub raw: Mismatches,
    /// Comparisons of the primary with the control.
    pub noise: Mismatches,
}

impl Mismatches {
    /// All comparisons, and those with a difference.
    fn all(&self) -> Tally {
        Tally { exposures: self.early.exposures, events: self.early.events + self.within.events }
    }

    /// All comparisons, and those that reached headers and body.
    fn reached(&self) -> Tally {
        Tally { exposures: self.early.exposures, events: self.within.exposures }
    }
}

impl Mismatch {
    /// The rate of differences beyond noise, 0 to 1; `None` if there are differences and no control, or if every
    /// control differs.
    #[must_use]
    pub fn net(&self) -> Option<f64> {
        let is_blind = |raw: Tally, noise: Tally| raw.events > 0 && noise.exposures == 0;
        if is_blind(self.raw.early, self.noise.early) || is_blind(self.raw.within, self.noise.within) {
            return None;
        }
        let early = net(self.raw.early.rate(), self.noise.early.rate().min(self.raw.early.rate()));
        let (raw, noise) = (self.raw.within, self.noise.within.rate());
        let within = if raw.exposures == 0 { 0.0 } else { net(raw.rate(), noise) };
        (raw.exposures == 0 || noise < 1.0).then_some(1.0 - (1.0 - early) * (1.0 - within))
    }

    /// The upper bound of the net rate, valid at all times at once with a probability of 1 − `alpha`. 1 without data.
    #[must_use]
    pub fn net_upper(&self, alpha: f64) -> f64 {
        let alpha = alpha / BOUNDS;
        net(upper(self.raw.all(), alpha), self.noise_by(|tally| lower(tally, alpha)))
    }

    /// The lower bound of the net rate, valid at all times at once with a probability of 1 − `alpha`. 0 without data.
    #[must_use]
    pub fn net_lower(&self, alpha: f64) -> f64 {
        let alpha = alpha / BOUNDS;
        (lower(self.raw.all(), alpha) - self.noise_by(|tally| upper(tally, alpha))).max(0.0)
    }

    /// The rate of noise from these rates or their bounds; it grows with each of them.
    fn noise_by(&self, rate: impl Fn(Tally) -> f64) -> f64 {
        let early = rate(self.noise.early).min(rate(self.raw.early));
        early + rate(self.raw.reached()) * rate(self.noise.within)
    }
}

/// The net rate that appears as `raw` with this noise.
fn net(raw: f64, noise: f64) -> f64 {
    if noise >= 1.0 { 1.0 } else { (1.0 - (1.0 - raw) / (1.0 - noise)).clamp(0.0, 1.0) }
}

/// The number of rates in a bound of the net rate; each gets an equal part of α.
const BOUNDS: f64 = 5.0;

/// The upper bound of a rate.
pub(super) fn upper(tally: Tally, alpha: f64) -> f64 {
    if tally.exposures == 0 {
        return 1.0;
    }
    bound(tally, alpha, 1.0)
}

/// The lower bound of a rate.
pub(super) fn lower(tally: Tally, alpha: f64) -> f64 {
    if tally.exposures == 0 {
        return 0.0;
    }
    bound(tally, alpha, 0.0)
}

/// The bound between the observed rate and `end`, by bisection: the log-likelihood decreases between them.
fn bound(tally: Tally, alpha: f64, end: f64) -> f64 {
    debug_assert!(tally.events <= tally.exposures, "an event is an exposure");
    let (hits, misses) = (float(tally.events), float(tally.exposures.saturating_sub(tally.events)));
    let least = ln_mixture(hits, misses) + alpha.ln();
    let refuted = |rate: f64| product(hits, rate.ln()) + product(misses, (1.0 - rate).ln()) <= least;
    let (mut inside, mut outside) = (tally.rate().min(1.0), end);
    if !refuted(outside) {
        return outside;
    }
    // After 60 halvings the ends are less than 2^-59 apart.
    for _ in 0..60 {
        let middle = f64::midpoint(inside, outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    // The rejected end: rounding makes the interval wider, never narrower.
    outside
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

    /// Of so many comparisons, none of which ended early.
    fn within(all: u64, different: u64) -> Mismatches {
        Mismatches { early: tally(all, 0), within: tally(all, different) }
    }

    #[test]
    fn controls_that_fail_hide_no_difference() {
        // A third of the candidates differ; half of the controls have another status, and no other differs.
        let raw = within(30_000, 10_000);
        let failing = Mismatches { early: tally(30_000, 15_000), within: tally(15_000, 0) };
        let hidden = Mismatch { raw, noise: failing };
        assert!((hidden.net().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{hidden:?}");
        assert!(hidden.net_upper(0.01) > 0.33 && hidden.net_lower(0.01) > 0.3, "{hidden:?}");
        // Where candidates have another status as often, that is noise; half of the others are different in both.
        let early = Mismatches { early: tally(30_000, 15_000), within: tally(15_000, 7_500) };
        let noisy = Mismatch { raw: early, noise: early };
        assert!(noisy.net() < Some(1e-9) && noisy.net_upper(0.01) < 0.2 && noisy.net_lower(0.01) < 1e-9);
        // Where they have it more often, that is none.
        let worse = Mismatch { raw: early, noise: within(30_000, 15_000) };
        assert!((worse.net().unwrap() - 0.5).abs() < 1e-9, "{worse:?}");
        // Neither is what comes of requests that fail themselves: all is equal that is reached.
        let down = Mismatches { early: tally(30_000, 0), within: tally(10_000, 5_000) };
        assert!(Mismatch { raw: down, noise: down }.net() < Some(1e-9));
    }

    #[test]
    fn the_gamma_function_is_accurate() {
        for (x, value) in
            [(0.5, std::f64::consts::PI.sqrt().ln()), (1.0, 0.0), (5.0, 24_f64.ln()), (11.0, 3_628_800_f64.ln())]
        {
            assert!((ln_gamma(x) - value).abs() < 1e-11, "ln Γ({x}) = {}, true {value}", ln_gamma(x));
        }
    }

    #[test]
    fn bounds_converge_to_the_rate() {
        let open = Mismatch::default();
        assert_eq!((open.net(), open.net_upper(0.05), open.net_lower(0.05)), (Some(0.0), 1.0, 0.0));
        // Nothing differs: by how many comparisons a bound of 0.2 % is reached.
        let clean = |count| Mismatch { raw: within(count, 0), noise: within(count / 5, 0) };
        assert!(clean(3_000).net_upper(0.05) > 0.002);
        assert!(clean(5_000).net_upper(0.05) < 0.002, "{}", clean(5_000).net_upper(0.05));
        // Half differ and half of the controls too: noise alone.
        let noisy = Mismatch { raw: within(100_000, 50_000), noise: within(100_000, 50_000) };
        assert!(noisy.net() < Some(1e-12) && noisy.net_upper(0.05) < 0.04 && noisy.net_lower(0.05) < 1e-12);
        // A third differs by itself, which noise in half of the answers does not hide.
        let hidden = Mismatch { raw: within(3_000, 2_000), noise: within(3_000, 1_500) };
        assert!((hidden.net().unwrap() - 1.0 / 3.0).abs() < 1e-12, "{hidden:?}");
        assert!(hidden.net_lower(0.01) < 1.0 / 3.0 && hidden.net_upper(0.01) > 1.0 / 3.0);
        // Noise in all of them does: nothing is known.
        let blind = Mismatch { raw: within(1_000, 1_000), noise: within(500, 500) };
        assert_eq!((blind.net(), blind.net_upper(0.05), blind.net_lower(0.05)), (None, 1.0, 0.0));
        // So does the want of any control.
        let alone = Mismatch { raw: within(10, 1), noise: Mismatches::default() };
        assert_eq!((alone.net(), alone.net_lower(0.05)), (None, 0.0));
        let equal = Mismatch { raw: within(10, 0), noise: Mismatches::default() };
        assert_eq!(equal.net(), Some(0.0), "there is nothing that could be noise");
        // Controls that differ more often than copies are no difference of the copies.
        let odd = Mismatch { raw: within(100, 10), noise: within(100, 30) };
        assert!(odd.net() == Some(0.0) && odd.net_upper(0.05) < 0.25, "{}", odd.net_upper(0.05));
        // All differ, no control does.
        let broken = Mismatch { raw: within(100, 100), noise: within(100, 0) };
        assert!(broken.net_upper(0.05) >= 1.0 && broken.net_lower(0.05) > 0.6, "{}", broken.net_lower(0.05));
    }

    #[test]
    fn the_bound_is_valid_at_all_times_at_once() {
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
