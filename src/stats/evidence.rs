//! The kernel: evidence against the hypothesis "the rate of the tested arm is at most θ0 times that of the control".
//!
//! Within a stratum, given how many events there were, each of them is the tested arm's with probability
//! `ρθ / (1 − ρ + ρθ)`, where ρ is that arm's share of the exposures and θ the ratio of the rates. The likelihood ratio
//! of θ against θ0, multiplied over strata and averaged over a grid of θ, is an e-process (the conditional form of the
//! safe logrank test): under the hypothesis the probability that it ever reaches `1/α` is at most α, however often it
//! is read. Effects that are common to both arms cancel, and so do changes of the share between strata. The logarithms
//! can be added over strata, workers and replicas, in any order.

/// The alternatives: ratios of the rates. A kernel uses those above its θ0.
pub const GRID: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// The counts of one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often an event could have happened.
    pub exposures: u64,
    /// How often it did.
    pub events: u64,
}

impl Tally {
    /// Adds other counts.
    pub fn merge(&mut self, other: Self) {
        self.exposures += other.exposures;
        self.events += other.events;
    }

    /// Events per exposure; 0 without exposures.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.exposures == 0 { 0.0 } else { float(self.events) / float(self.exposures) }
    }
}

/// The counts of both arms in a time that is too short for the rates to change: a tick of one worker and route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stratum {
    /// The arm under test: the canary, or the candidate's differences.
    pub tested: Tally,
    /// The arm that it is compared with: stable, or the control's differences.
    pub control: Tally,
}

impl Stratum {
    /// The tested arm's share ρ of the exposures, and the number of events; `None` without information: no event, or an
    /// arm without exposures.
    #[must_use]
    pub(super) fn informative(&self) -> Option<(f64, f64)> {
        let events = self.tested.events + self.control.events;
        if events == 0 || self.tested.exposures == 0 || self.control.exposures == 0 {
            return None;
        }
        let tested = float(self.tested.exposures);
        let share = tested / (tested + float(self.control.exposures));
        debug_assert!(share > 0.0 && share < 1.0, "both arms have exposures");
        Some((share, float(events)))
    }
}

/// Events of both arms, given the tested arm's share of the exposures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dealt {
    /// The tested arm's share ρ of the exposures, between 0 and 1.
    pub(super) share: f64,
    /// The events of the tested arm.
    pub(super) tested: f64,
    /// The events of both arms.
    pub(super) events: f64,
}

impl Dealt {
    /// The logarithm of the likelihood of the ratio `theta` against that of `theta0`.
    pub(super) fn ln_ratio(&self, theta: f64, theta0: f64) -> f64 {
        let weight = |theta: f64| 1.0 - self.share + self.share * theta;
        // Each event of the tested arm counts θ/θ0; each event of both arms counts the ratio of the denominators.
        self.tested * (theta / theta0).ln() + self.events * (weight(theta0) / weight(theta)).ln()
    }
}

/// The hypothesis under test: the ratio of the rates is at most θ0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    theta0: f64,
    /// The first alternative above θ0.
    first: usize,
}

/// The state of a test: the log-likelihood ratio of each alternative, in nats. Starts at 0: no evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    logs: [f64; GRID.len()],
}

impl Kernel {
    /// The test for fields that differ: the candidate must differ more than 1.1 times as often as a control.
    pub const DIFFERENCES: Self = Self { theta0: 1.1, first: 0 };

    /// The test of "the ratio is at most `theta0`". `None` unless `theta0` is positive and below the last
    /// alternative of the grid.
    #[must_use]
    pub fn new(theta0: f64) -> Option<Self> {
        let first = GRID.iter().position(|&theta| theta > theta0)?;
        (theta0 > 0.0).then_some(Self { theta0, first })
    }

    /// Adds a stratum to the evidence. Strata may come in any order.
    pub fn add(&self, evidence: &mut Evidence, stratum: &Stratum) {
        let Some((share, events)) = stratum.informative() else { return };
        self.add_events(evidence, &Dealt { share, tested: float(stratum.tested.events), events });
    }

    /// Adds events, given the tested arm's share of the exposures.
    pub(super) fn add_events(&self, evidence: &mut Evidence, dealt: &Dealt) {
        for (log, theta) in evidence.logs.iter_mut().zip(GRID).skip(self.first) {
            *log += dealt.ln_ratio(theta, self.theta0);
        }
    }

    /// The ratio of the rates under the hypothesis.
    #[must_use]
    pub const fn theta0(&self) -> f64 {
        self.theta0
    }

    /// The natural logarithm of E: the mean over the alternatives, each with the same weight.
    #[must_use]
    pub fn ln(&self, evidence: &Evidence) -> f64 {
        ln_mean_exp(&evidence.logs[self.first..])
    }

    /// E as it is shown, compared with `log10(1/α)`: 2 is a hundred to one.
    #[must_use]
    pub fn log10(&self, evidence: &Evidence) -> f64 {
        self.ln(evidence) / std::f64::consts::LN_10
    }

    /// Whether E has reached `1/alpha`.
    #[must_use]
    pub fn trips(&self, evidence: &Evidence, alpha: f64) -> bool {
        // In logarithms, since strong evidence is too large for a float.
        self.ln(evidence) >= -alpha.ln()
    }
}

impl Evidence {
    /// Evidence that was saved: the log-likelihood ratio of each alternative.
    #[must_use]
    pub const fn from_logs(logs: [f64; GRID.len()]) -> Self {
        Self { logs }
    }

    /// The log-likelihood ratio of each alternative, in nats.
    #[must_use]
    pub const fn logs(&self) -> [f64; GRID.len()] {
        self.logs
    }

    /// Adds to the log-likelihood ratio of each alternative.
    pub(super) fn add_logs(&mut self, more: impl Iterator<Item = f64>) {
        self.logs.iter_mut().zip(more).for_each(|(log, more)| *log += more);
    }

    /// Adds the evidence of another worker or replica under the same kernel.
    pub fn merge(&mut self, other: &Self) {
        for (log, more) in self.logs.iter_mut().zip(other.logs) {
            *log += more;
        }
    }
}

/// `ln(mean(exp(logs)))` without overflow.
pub(super) fn ln_mean_exp(logs: &[f64]) -> f64 {
    debug_assert!(!logs.is_empty(), "the mean of nothing is not defined");
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (sum, count) = logs.iter().fold((0.0, 0.0), |(sum, count), log| (sum + (log - most).exp(), count + 1.0));
    most + (sum / count).ln()
}

/// `ln(sum(exp(logs)))` without overflow; `-∞` for nothing.
pub(super) fn ln_sum_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + logs.map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// `count · log`, where 0 · −∞ is 0.
pub(super) fn product(count: f64, log: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * log }
}

/// Counts as floating point: exact up to 2^53, which no counter reaches.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tick with the share 5 %.
    fn tick(tested: u64, control: u64) -> Stratum {
        Stratum { tested: Tally { exposures: 50, events: tested }, control: Tally { exposures: 950, events: control } }
    }

    fn of(kernel: &Kernel, strata: &[Stratum]) -> Evidence {
        let mut evidence = Evidence::default();
        for stratum in strata {
            kernel.add(&mut evidence, stratum);
        }
        evidence
    }

    /// For each count of events the least count in the tested arm that trips, at ρ = 5 %, θ0 = 1.1, α = 0.01.
    fn boundary(events_max: u64) -> Vec<u64> {
        let kernel = Kernel::new(1.1).unwrap();
        let mut least = 0;
        (1..=events_max)
            .map(|events| {
                while least <= events && !kernel.trips(&of(&kernel, &[tick(least, events - least)]), 0.01) {
                    least += 1;
                }
                least
            })
            .collect()
    }

    /// The chance to have tripped by the last event, and after how many events it is 50 % and 80 %: exact, by the
    /// distribution over the tested arm's events of all the ways that have not tripped.
    fn tripping(theta: f64, boundary: &[u64]) -> (f64, Option<usize>, Option<usize>) {
        let chance = 0.05 * theta / (0.95 + 0.05 * theta);
        let (mut ways, mut tripped) = (vec![1.0], 0.0);
        let (mut half, mut most) = (None, None);
        for (number, &least) in (1..).zip(boundary) {
            let mut next = vec![0.0; ways.len() + 1];
            for (count, way) in ways.into_iter().enumerate() {
                next[count] += way * (1.0 - chance);
                if u64::try_from(count).unwrap() + 1 >= least {
                    tripped += way * chance;
                } else {
                    next[count + 1] += way * chance;
                }
            }
            ways = next;
            half = half.or((tripped >= 0.5).then_some(number));
            most = most.or((tripped >= 0.8).then_some(number));
        }
        (tripped, half, most)
    }

    #[test]
    fn the_false_alarm_rate_is_as_documented() {
        let boundary = boundary(500);
        for (theta, stated) in [(1.0, 0.00238), (1.1, 0.00483)] {
            let (tripped, ..) = tripping(theta, &boundary);
            assert!((tripped - stated).abs() < 0.000_006, "θ = {theta}: {tripped}, stated {stated}");
        }
    }

    #[test]
    fn a_regression_is_found_as_soon_as_documented() {
        let boundary = boundary(500);
        for (theta, half, most) in [(3.0, 109, 188), (5.0, 37, 65), (10.0, 13, 24), (50.0, 4, 6)] {
            let (_, found_half, found_most) = tripping(theta, &boundary);
            assert_eq!((found_half, found_most), (Some(half), Some(most)), "θ = {theta}");
        }
        let first = (1..).zip(&boundary).find(|&(events, &least)| least <= events).map(|(events, _)| events);
        assert_eq!(first, Some(3_u64), "a trip is possible from the third event on");
    }

    #[test]
    fn strata_without_information_change_nothing() {
        let kernel = Kernel::new(1.1).unwrap();
        let lonely = Tally { exposures: 10, events: 10 };
        let none = Tally::default();
        for stratum in [
            tick(0, 0),
            Stratum { tested: lonely, control: none },
            Stratum { tested: none, control: lonely },
            Stratum::default(),
        ] {
            assert_eq!(of(&kernel, &[stratum]), Evidence::default(), "{stratum:?}");
        }
        assert!(kernel.ln(&Evidence::default()).abs() < 1e-12, "no evidence is E = 1");
    }

    #[test]
    fn the_grid_starts_above_the_hypothesis() {
        let kernel = Kernel::new(2.0).unwrap();
        assert_eq!(kernel.first, 2);
        assert_eq!(Kernel::new(1.1), Some(Kernel::DIFFERENCES));
        let evidence = of(&kernel, &[tick(40, 0)]);
        assert_eq!(evidence.logs[..2], [0.0, 0.0]);
        assert!(kernel.trips(&evidence, 0.001));
        for theta0 in [0.0, -1.0, 30.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Kernel::new(theta0), None, "{theta0}");
        }
    }

    #[test]
    fn an_incident_common_to_both_arms_is_no_evidence() {
        let kernel = Kernel::new(1.1).unwrap();
        // A ramp with a common outage in the middle of it: rates alike in every tick, shares not.
        let strata: Vec<_> = (1..100)
            .map(|n| {
                let failing = if (40..60).contains(&n) { 10 } else { 1_000 };
                let tally = |exposures| Tally { exposures, events: exposures / failing };
                Stratum { tested: tally(1_000 * n), control: tally(1_000 * (100 - n)) }
            })
            .collect();
        assert!(kernel.log10(&of(&kernel, &strata)) < -10.0);
        let mut pooled = Stratum::default();
        for stratum in &strata {
            pooled.tested.merge(stratum.tested);
            pooled.control.merge(stratum.control);
        }
        assert!(pooled.tested.rate() > 0.01);
    }

    fn strata() -> impl Strategy<Value = Vec<Stratum>> {
        let tally = || (0_u64..1_000, 0_u64..50).prop_map(|(exposures, events)| Tally { exposures, events });
        let stratum = (tally(), tally()).prop_map(|(tested, control)| Stratum { tested, control });
        proptest::collection::vec(stratum, 0..30)
    }

    proptest! {
        #[test]
        fn the_order_of_merging_is_irrelevant(strata in strata(), cut in 0_usize..30, turn in 0_usize..30) {
            let kernel = Kernel::new(1.1).unwrap();
            let whole = kernel.ln(&of(&kernel, &strata));
            let (left, right) = strata.split_at(cut.min(strata.len()));
            let mut forth = of(&kernel, left);
            forth.merge(&of(&kernel, right));
            let mut back = of(&kernel, right);
            back.merge(&of(&kernel, left));
            let mut turned = strata.clone();
            turned.rotate_left(turn.min(strata.len()));
            for other in [kernel.ln(&forth), kernel.ln(&back), kernel.ln(&of(&kernel, &turned))] {
                prop_assert!((whole - other).abs() <= 1e-9 * whole.abs().max(1.0), "{whole} and {other}");
            }
        }

        #[test]
        fn ticks_with_one_share_add_up(events in proptest::collection::vec((0_u64..5, 0_u64..5), 1..40)) {
            let kernel = Kernel::new(1.1).unwrap();
            let ticks: Vec<_> = events.iter().map(|&(tested, control)| tick(tested, control)).collect();
            let (tested, control) = events.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let (apart, at_once) = (kernel.ln(&of(&kernel, &ticks)), kernel.ln(&of(&kernel, &[tick(tested, control)])));
            prop_assert!((apart - at_once).abs() <= 1e-9 * apart.abs().max(1.0), "{apart} and {at_once}");
        }
    }
}
