//! The evidence of a release over the time: the test that began with it, and tests that begin anew.
//!
//! A test that ran through a healthy hour answers late to a regression: its evidence has fallen far below 1. So a test
//! `E^(k)` begins with each window `k` too, and E is their sum with fixed shares: ½ for `E^(0)`, which began with the
//! revision, and `γ_k = 1 / (4.22 (k + 1) ln²(k + 1))` for that of window `k`. The shares sum to less than 1 for ever, so
//! the probability that E ever reaches `1/α` stays at most α. (A mean over the tests that are live gives the same share
//! out again in each window: it raises false alarms in 6 to 10 % of releases with 500 windows, at an α of 0.5 %.)
//! A test that is no longer followed counts 0.

use super::evidence::{Dealt, Evidence, Kernel, float, ln_sum_exp};

/// The share of `E^(0)`, the test that began with the revision.
const FIRST_SHARE: f64 = 0.5;
/// Makes the shares of all restarts sum to less than ½: the sum of `1 / (n ln² n)` from 2 on is 2.1098.
const RESTARTS_DIVISOR: f64 = 4.22;

/// The share of the test that began with window `k` of a revision in the evidence E: ½ for `k = 0`, `γ_k` for each later one.
/// The sum over all `k` is below 1.
#[must_use]
pub fn restart_share(k: u32) -> f64 {
    if k == 0 {
        return FIRST_SHARE;
    }
    let number = f64::from(k) + 1.0;
    let log = number.ln();
    1.0 / (RESTARTS_DIVISOR * number * log * log)
}

/// The natural logarithm of `E = ½ E^(0) + Σ γ_k E^(k)`, from the tests that are live: the window `k` with which each began,
/// and its `ln E^(k)` under any kernel. `-∞` without tests. Equal lists give the same bits.
#[must_use]
pub fn with_restarts(live: &[(u32, f64)]) -> f64 {
    ln_sum_exp(live.iter().map(|&(k, ln)| restart_share(k).ln() + ln))
}

/// Whether evidence has reached `1/alpha`: `ln` is its natural logarithm. Never by a NaN.
#[must_use]
pub fn reaches(ln: f64, alpha: f64) -> bool {
    ln >= -alpha.ln()
}

/// The least number of distinct callers with an event that can trip a fresh test: so many callers of the tested arm fail,
/// and none of the control. `share` is the tested arm's share ρ of the callers (0 to 1, both ends excluded), `theta0` the
/// ratio under test; the test has the share ½ of E. `None` without a test, or without both arms.
#[must_use]
pub fn least_events(share: f64, theta0: f64, alpha: f64) -> Option<u64> {
    let kernel = Kernel::new(theta0)?;
    if !(share > 0.0 && share < 1.0 && alpha > 0.0) {
        return None;
    }
    let trips = |events: u64| {
        let mut evidence = Evidence::default();
        let events = float(events);
        kernel.add_events(&mut evidence, &Dealt { share, tested: events, events });
        reaches(with_restarts(&[(0, kernel.ln(&evidence))]), alpha)
    };
    // E grows with each such event.
    let mut enough = 1_u64;
    while !trips(enough) {
        enough = enough.checked_mul(2)?;
    }
    let mut few = enough / 2;
    while enough - few > 1 {
        let middle = u64::midpoint(few, enough);
        if trips(middle) {
            enough = middle;
        } else {
            few = middle;
        }
    }
    debug_assert!(trips(enough), "this many trip");
    Some(enough)
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{GRID, ln_mean_exp};
    use super::*;

    #[test]
    fn the_shares_sum_to_less_than_one_for_ever() {
        let last = 1_000_000;
        let restarts: f64 = (1..=last).map(restart_share).sum();
        // The rest is below the integral of 1 / (4.22 x ln² x) from where the sum ends: 1 / (4.22 ln x).
        let rest = 1.0 / (RESTARTS_DIVISOR * (f64::from(last) + 1.0).ln());
        assert!(restarts + rest <= 0.5, "{restarts} and {rest}");
        assert!(restarts + rest > 0.499, "hardly any is kept back: {}", restarts + rest);
        assert!((0..2_000).all(|k| restart_share(k + 1) < restart_share(k)));
        assert!(restart_share(u32::MAX) > 0.0);
    }

    #[test]
    fn the_mixture_is_the_weighted_sum_of_the_tests() {
        assert_eq!(with_restarts(&[]).to_bits(), f64::NEG_INFINITY.to_bits());
        assert!((with_restarts(&[(0, 0.0)]).exp() - 0.5).abs() < 1e-12);
        let live = [(0, -3.0), (7, 1.0), (8, 4.0), (9, 0.5)];
        let sum: f64 = live.iter().map(|&(k, ln): &(u32, f64)| restart_share(k) * ln.exp()).sum();
        assert!((with_restarts(&live) - sum.ln()).abs() < 1e-12);
        let strong = with_restarts(&[(0, 5_000.0), (1, 4_000.0)]);
        assert!((strong - 5_000.0 - 0.5_f64.ln()).abs() < 1e-9, "no overflow: {strong}");
        let weak = with_restarts(&[(0, -5_000.0), (1, -6_000.0)]);
        assert!((weak + 5_000.0 - 0.5_f64.ln()).abs() < 1e-9, "no underflow: {weak}");
        assert!(reaches(0.003_f64.recip().ln(), 0.003) && !reaches(5.8, 0.003));
        assert!(!reaches(f64::NAN, 0.003) && !reaches(f64::NEG_INFINITY, 0.003));
    }

    #[test]
    fn the_least_number_of_failing_callers_is_as_documented() {
        for (percent, least) in [(5.0, 4), (25.0, 7), (50.0, 13), (90.0, 83)] {
            assert_eq!(least_events(percent / 100.0, 1.1, 0.003), Some(least), "{percent} % at the default alpha");
        }
        for (percent, least) in
            [(1.0, 3), (5.0, 4), (10.0, 4), (25.0, 7), (50.0, 12), (75.0, 29), (90.0, 78), (95.0, 159)]
        {
            assert_eq!(least_events(percent / 100.0, 1.1, 0.005), Some(least), "{percent} % at 0.5 %");
        }
        for share in [0.0, 1.0, -0.1, f64::NAN] {
            assert_eq!(least_events(share, 1.1, 0.003), None, "{share}");
        }
        assert_eq!(least_events(0.05, 30.0, 0.003), None, "no alternative is above 30");
        assert_eq!(least_events(0.05, 1.1, 0.0), None);
    }

    /// How E is made of the tests that are live.
    #[derive(Clone, Copy, Debug)]
    enum Mixture {
        /// By the rule.
        Shares,
        /// The mean over the tests: naive, since each window gives the same share out again.
        Mean,
    }

    /// The evidence of a test with a constant share of 5 %: it depends on two counts only.
    #[derive(Clone, Copy, Default)]
    struct Counts {
        tested: f64,
        all: f64,
    }

    /// The steps of the logarithms with an event of the tested arm, and with any event.
    struct Steps([(f64, f64); GRID.len()]);

    impl Steps {
        fn new(share: f64) -> Self {
            let dealt = |tested, events| Dealt { share, tested, events };
            Self(GRID.map(|theta| (dealt(1.0, 0.0).ln_ratio(theta, 1.1), dealt(0.0, 1.0).ln_ratio(theta, 1.1))))
        }

        fn ln(&self, counts: Counts) -> f64 {
            ln_mean_exp(&self.0.map(|(tested, any)| counts.tested * tested + counts.all * any))
        }
    }

    /// In which part of `runs` releases with 500 windows of 10 events, at a ratio of `theta`, E ever reaches 200.
    fn false_trips(mixture: Mixture, theta: f64, runs: u32) -> f64 {
        let (share, alpha) = (0.05, 0.005);
        let steps = Steps::new(share);
        let chance = share * theta / (1.0 - share + share * theta);
        let mut random = fastrand::Rng::with_seed(64);
        let trips = |random: &mut fastrand::Rng| {
            let mut live = vec![(0, Counts::default())];
            (0..500).any(|window| {
                if window > 0 {
                    live.push((window, Counts::default()));
                    if live.len() > 4 {
                        live.remove(1);
                    }
                }
                (0..10).any(|_| {
                    let hit = random.f64() < chance;
                    for (_, counts) in &mut live {
                        counts.all += 1.0;
                        counts.tested += if hit { 1.0 } else { 0.0 };
                    }
                    // E grows with an event of the tested arm only.
                    hit && {
                        let tests: Vec<_> = live.iter().map(|(k, counts)| (*k, steps.ln(*counts))).collect();
                        let ln = match mixture {
                            Mixture::Shares => with_restarts(&tests),
                            Mixture::Mean => ln_mean_exp(&tests.iter().map(|(_, ln)| *ln).collect::<Vec<_>>()),
                        };
                        reaches(ln, alpha)
                    }
                })
            })
        };
        f64::from((0..runs).map(|_| u32::from(trips(&mut random))).sum::<u32>()) / f64::from(runs)
    }

    #[test]
    fn restarts_keep_the_promise_over_500_windows() {
        for theta in [1.0, 1.1] {
            let found = false_trips(Mixture::Shares, theta, 1_500);
            assert!(found <= 0.004, "θ = {theta}: {found}");
        }
    }

    #[test]
    fn a_mean_over_restarts_does_not() {
        for (theta, stated) in [(1.0, 0.062), (1.1, 0.104)] {
            let found = false_trips(Mixture::Mean, theta, 600);
            assert!((found - stated).abs() < 0.03, "θ = {theta}: {found}, stated {stated}");
        }
    }
}
