//! How often two answers differ beyond noise, with bounds that hold at all times at once.
//!
//! The bounds of a rate are what the Krichevsky-Trofimov mixture (a Beta(½, ½) prior) does not refute: it is a
//! martingale under the true rate, so the chance that the interval ever misses that rate is at most α. It assumes that
//! the rate does not change; a rate that does is covered as its average would be.
//!
//! Controls that fail, or have another status, are noise as far as candidates do so too, and no further: a control hides
//! no difference of a candidate by failing for reasons of its own. So noise is `min(Aₙ, Aᵣ) + R Bₙ`, with A the rates of
//! differences that end a comparison early, of controls and of candidates, R the share of the candidates whose
//! comparison reached headers and body, and B the rate of differences there among those that did.
//!
//! Noise hides differences: an answer that differs by noise tells nothing of the rest. Where candidates differ by
//! themselves in a share `d`, and by noise in a share `n`, `r = 1 - (1 - d)(1 - n)` of them differ (Abbott's formula), so
//! that `d = 1 - (1 - r) / (1 - n)`. Where every control differs, nothing is known of `d`. The share found is that before
//! headers and body, and that within, put together; the bounds are wider than they need be: `d ≥ r - n`, and with the
//! noise of all answers `d ≤ 1 - (1 - r) / (1 - n)`.

use super::Tally;
use super::evidence::float;

/// How often answers differed from the primary's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mismatches {
    /// All comparisons, and those that ended early with a difference: in how the transport ended, or the status.
    pub early: Tally,
    /// Those that reached headers and body, and those of them with a difference.
    pub within: Tally,
}

/// How often the candidate's answers differed, and how often the control's did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Comparisons of the primary with the candidate.
    pub raw: Mismatches,
    /// Comparisons of the primary with the control.
    pub noise: Mismatches,
}

impl Mismatches {
    /// Those with a difference, of all.
    fn all(&self) -> Tally {
        Tally { exposures: self.early.exposures, events: self.early.events + self.within.events }
    }

    /// Those that reached headers and body, of all.
    fn reached(&self) -> Tally {
        Tally { exposures: self.early.exposures, events: self.within.exposures }
    }
}

impl Mismatch {
    /// The rate of differences beyond noise, 0 to 1; nothing where there are some and no control to tell noise by, or where
    /// every control differs.
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

    /// What the net rate is below, at all times at once, but for a chance of `alpha`. 1 where nothing is known.
    #[must_use]
    pub fn net_upper(&self, alpha: f64) -> f64 {
        let alpha = alpha / BOUNDS;
        net(upper(self.raw.all(), alpha), self.noise_by(|tally| lower(tally, alpha)))
    }

    /// What the net rate is above, at all times at once, but for a chance of `alpha`. 0 where nothing is known.
    #[must_use]
    pub fn net_lower(&self, alpha: f64) -> f64 {
        let alpha = alpha / BOUNDS;
        (lower(self.raw.all(), alpha) - self.noise_by(|tally| upper(tally, alpha))).max(0.0)
    }

    /// The rate of noise by these rates, or by their bounds: it grows with each of them.
    fn noise_by(&self, rate: impl Fn(Tally) -> f64) -> f64 {
        let early = rate(self.noise.early).min(rate(self.raw.early));
        early + rate(self.raw.reached()) * rate(self.noise.within)
    }
}

/// The rate that shows as `raw` under this noise.
fn net(raw: f64, noise: f64) -> f64 {
    if noise >= 1.0 { 1.0 } else { (1.0 - (1.0 - raw) / (1.0 - noise)).clamp(0.0, 1.0) }
}

/// The rates that a bound of the net rate is made of: each has its part of α.
const BOUNDS: f64 = 5.0;

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

    /// Of so many comparisons, none of which ended early.
    fn within(all: u64, different: u64) -> Mismatches {
        Mismatches { early: tally(all, 0), within: tally(all, different) }
    }

    #[test]
    fn controls_that_fail_hide_nothing() {
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
