//! What the journal keeps of a trip: the counts by which it is decided again. Short: at most 256 strata for each of four
//! tests.

use serde::{Deserialize, Serialize};

use super::counted_tests::{AbsoluteTest, DealingTest, DealtKeys, RelativeTest, stratum_of};
use super::live_tests::{LiveTests, TestState, mixture_ln};
use crate::stats::{
    AbsoluteKernel, Dealing, Estimate, Evidence, Failures, GRID, Kernel, RunVerdict, Tally, judge_run, reaches,
    restart_share,
};

/// The evidence of a trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EvidenceRecord {
    pub guard: String,
    pub revision: String,
    pub sentence: String,
    /// The probability of a false alarm per revision; none for a run of failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_log10: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_log10: Option<f64>,
    pub tested: RecordedArm,
    pub stable: RecordedArm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<RecordedEstimate>,
    #[serde(flatten)]
    pub counts: RecordedCounts,
}

/// The callers of an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedArm {
    pub exposures: u64,
    pub events: u64,
}

/// The ratio of the rates with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedEstimate {
    pub ratio: f64,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

/// What a test has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "snake_case")]
pub(super) enum RecordedCounts {
    /// The rate is at most `ratio` times that of stable.
    WorseThanStable { ratio: f64, grid: Vec<f64>, tests: Vec<RecordedTest<RelativeCounts>> },
    /// The rate is at most `bound`.
    Above { bound: f64, grid: Vec<f64>, tests: Vec<RecordedTest<AbsoluteCounts>> },
    /// The callers reach the variants by their weights.
    SampleRatio(DealtCounts),
    /// A run of failures: how many each of its callers has, and stable's answers meanwhile.
    Run { failures: u32, by_caller: Vec<u32>, stable_answers: u64, stable_failures: u64 },
}

/// A test that was live, with its share of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedTest<C> {
    /// The number of its window since the revision began.
    pub window: u32,
    pub weight: f64,
    /// It stands still at this natural logarithm of its evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ln: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<C>,
}

/// Counts of a relative test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RelativeCounts {
    /// By ratio of the grid: the logarithm of the likelihood ratio of older counts.
    base: Vec<f64>,
    /// Callers at risk of the variant and of stable, events of the variant and of stable.
    strata: Vec<[u64; 4]>,
}

/// Counts of an absolute test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AbsoluteCounts {
    base: Vec<f64>,
    exposures: u64,
    events: u64,
}

/// Counts of the sample ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DealtCounts {
    base: Vec<f64>,
    /// The share of the variant, and the callers of the variant and of stable that came under it.
    shares: Vec<DealtShare>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen_ln: Option<f64>,
}

/// First keys under one share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct DealtShare {
    share: f64,
    tested: u64,
    stable: u64,
}

impl From<Estimate> for RecordedEstimate {
    fn from(estimate: Estimate) -> Self {
        Self { ratio: estimate.theta, lower: estimate.lower, upper: estimate.upper }
    }
}

impl RelativeCounts {
    fn of(test: &RelativeTest) -> Self {
        Self { base: test.base.logs().to_vec(), strata: test.newest.iter().copied().collect() }
    }

    fn ln(&self, kernel: Kernel) -> Result<f64, String> {
        let mut evidence = evidence_of(&self.base)?;
        self.strata.iter().for_each(|counts| kernel.add(&mut evidence, &stratum_of(*counts)));
        Ok(kernel.ln(&evidence))
    }
}

impl AbsoluteCounts {
    fn of(test: &AbsoluteTest, unsettled: u64) -> Self {
        let Tally { exposures, events } = test.with(unsettled);
        Self { base: test.base.logs().to_vec(), exposures, events }
    }

    fn ln(&self, kernel: AbsoluteKernel) -> Result<f64, String> {
        if self.events > self.exposures {
            return Err(format!("{} events of {} exposures", self.events, self.exposures));
        }
        let mut evidence = evidence_of(&self.base)?;
        kernel.add(&mut evidence, Tally { exposures: self.exposures, events: self.events });
        Ok(kernel.ln(&evidence))
    }
}

impl DealtCounts {
    fn of(test: &DealingTest, frozen_ln: Option<f64>) -> Self {
        let share = |DealtKeys { share, tested, control }: &DealtKeys| DealtShare {
            share: *share,
            tested: *tested,
            stable: *control,
        };
        Self { base: test.base.logs().to_vec(), shares: test.newest.iter().map(share).collect(), frozen_ln }
    }

    fn ln(&self) -> Result<f64, String> {
        if let Some(ln) = self.frozen_ln {
            return Ok(ln);
        }
        let mut dealing = Dealing::from_logs(&self.base).ok_or("another grid of ratios")?;
        self.shares.iter().for_each(|one| dealing.add(one.share, one.tested, one.stable));
        Ok(dealing.ln())
    }
}

/// The live tests of a guard, as they are recorded.
fn recorded<T: Default, C>(tests: &LiveTests<T>, counts: impl Fn(usize, &T) -> C) -> Vec<RecordedTest<C>> {
    let each = tests.all().iter().enumerate().map(|(at, test)| {
        let (frozen_ln, counts) = match &test.state {
            TestState::Runs(running) => (None, Some(counts(at, running))),
            TestState::Frozen(ln) => (Some(*ln), None),
        };
        RecordedTest { window: test.number, weight: restart_share(test.number), frozen_ln, counts }
    });
    each.collect()
}

impl RecordedCounts {
    pub fn relative(kernel: Kernel, tests: &LiveTests<RelativeTest>) -> Self {
        let tests = recorded(tests, |_, test| RelativeCounts::of(test));
        Self::WorseThanStable { ratio: kernel.theta0(), grid: GRID.to_vec(), tests }
    }

    /// `unsettled`: by test, the exposures that are not in its tally yet.
    pub fn absolute(kernel: AbsoluteKernel, tests: &LiveTests<AbsoluteTest>, unsettled: &[u64]) -> Self {
        let more = |at: usize| unsettled.get(at).copied().unwrap_or(0);
        let tests = recorded(tests, |at, test| AbsoluteCounts::of(test, more(at)));
        Self::Above { bound: kernel.bound(), grid: GRID.to_vec(), tests }
    }

    pub fn dealt(test: &DealingTest, frozen_ln: Option<f64>) -> Self {
        Self::SampleRatio(DealtCounts::of(test, frozen_ln))
    }

    /// The natural logarithm of the evidence; `None` for a run.
    fn ln(&self) -> Result<Option<f64>, String> {
        match self {
            Self::WorseThanStable { ratio, grid, tests } => {
                let kernel = Kernel::new(*ratio).ok_or_else(|| format!("no test of the ratio {ratio}"))?;
                mixed(grid, tests, |counts| counts.ln(kernel)).map(Some)
            }
            Self::Above { bound, grid, tests } => {
                let kernel = AbsoluteKernel::new(*bound).ok_or_else(|| format!("no test of the rate {bound}"))?;
                mixed(grid, tests, |counts| counts.ln(kernel)).map(Some)
            }
            Self::SampleRatio(counts) => counts.ln().map(Some),
            Self::Run { .. } => Ok(None),
        }
    }

    /// Whether a run of failures trips.
    fn run_trips(&self) -> bool {
        let Self::Run { failures, by_caller, stable_answers, stable_failures } = self else { return false };
        let repeated = |(caller, count): (u32, &u32)| std::iter::repeat_n(caller, (*count).min(64) as usize);
        let keys: Vec<u32> = (0..).zip(by_caller.iter().take(64)).flat_map(repeated).collect();
        let stable = Failures { requests: *stable_answers, failed: *stable_failures };
        stable.failed <= stable.requests && judge_run(*failures, &keys, stable) == RunVerdict::Trips
    }
}

/// The evidence of all tests.
fn mixed<C>(grid: &[f64], tests: &[RecordedTest<C>], ln: impl Fn(&C) -> Result<f64, String>) -> Result<f64, String> {
    if *grid != GRID {
        return Err(format!("the grid is {grid:?}, and this version has {GRID:?}"));
    }
    let of = |test: &RecordedTest<C>| match (&test.counts, test.frozen_ln) {
        (Some(counts), _) => Ok((test.window, ln(counts)?)),
        (None, Some(frozen)) => Ok((test.window, frozen)),
        (None, None) => Err(format!("the test of window {} has no counts", test.window)),
    };
    let lns = tests.iter().map(of).collect::<Result<Vec<_>, String>>()?;
    if lns.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err("a window has two tests".to_owned());
    }
    Ok(mixture_ln(&lns))
}

fn evidence_of(base: &[f64]) -> Result<Evidence, String> {
    let logs = base.try_into().map_err(|_| format!("{} logarithms, and the grid has {}", base.len(), GRID.len()))?;
    Ok(Evidence::from_logs(logs))
}

/// A verdict by recorded counts.
pub(super) struct RecordVerdict {
    pub trips: bool,
    pub evidence_log10: Option<f64>,
}

impl EvidenceRecord {
    /// Decides again.
    pub fn verdict(&self) -> Result<RecordVerdict, String> {
        let Some(ln) = self.counts.ln()? else {
            return Ok(RecordVerdict { trips: self.counts.run_trips(), evidence_log10: None });
        };
        let alpha = self.alpha.ok_or("alpha is missing")?;
        // Numbers in JSON may differ in the last bit.
        let trips = reaches(ln + 1e-9 * ln.abs().max(1.0), alpha);
        Ok(RecordVerdict { trips, evidence_log10: Some(ln / std::f64::consts::LN_10) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::WindowNumber;

    #[test]
    fn the_longest_record_is_short_enough_for_the_journal() {
        let kernel = Kernel::new(1.1).unwrap();
        let mut tests = LiveTests::<RelativeTest>::new(WindowNumber(1));
        for window in 2..=4 {
            tests.begin(WindowNumber(window));
        }
        for (_, test) in tests.running() {
            for _ in 0..1_000 {
                test.add(kernel, [40_000_000, 900_000_000, 65_536, 65_536]);
            }
        }
        let counts = RecordedCounts::relative(kernel, &tests);
        let text = serde_json::to_string(&counts).unwrap();
        assert!(text.len() < 60 << 10, "{}", text.len());
        // Older counts are in the base: the sum is that of all.
        let whole = mixture_ln(&tests.lns(|_, test| kernel.ln(&test.evidence)));
        let again = serde_json::from_str::<RecordedCounts>(&text).unwrap().ln().unwrap().unwrap();
        assert!((again - whole).abs() < 1e-9 * whole.abs(), "{again} {whole}");

        let mut dealt = DealingTest::default();
        for step in 1..2_000_u32 {
            dealt.add(DealtKeys { share: f64::from(step) / 2_000.0, tested: 1_000_000, control: 1_000_000 });
        }
        let counts = RecordedCounts::dealt(&dealt, None);
        let text = serde_json::to_string(&counts).unwrap();
        assert!(text.len() < 60 << 10, "{}", text.len());
        let again = serde_json::from_str::<RecordedCounts>(&text).unwrap().ln().unwrap().unwrap();
        assert!((again - dealt.dealing.ln()).abs() < 1e-6 * again.abs(), "{again} {}", dealt.dealing.ln());
    }

    #[test]
    fn counts_that_contradict_themselves_are_refused() {
        let bad = [
            serde_json::json!({ "test": "above", "bound": 0.01, "grid": GRID, "tests": [
                { "window": 0, "weight": 0.5, "counts": { "base": [0, 0, 0, 0, 0, 0], "exposures": 1, "events": 2 } }] }),
            serde_json::json!({ "test": "above", "bound": 2.0, "grid": GRID, "tests": [] }),
            serde_json::json!({ "test": "sample_ratio", "base": [0.0], "shares": [] }),
            serde_json::json!({ "test": "worse_than_stable", "ratio": 1.1, "grid": GRID, "tests": [
                { "window": 0, "weight": 0.5, "counts": { "base": [0.0], "strata": [] } }] }),
        ];
        for one in bad {
            let counts: RecordedCounts = serde_json::from_value(one.clone()).unwrap();
            assert!(counts.ln().is_err(), "{one}");
        }
        // A run without callers, and one with absurd numbers.
        for by_caller in [vec![], vec![u32::MAX; 1_000]] {
            let run = RecordedCounts::Run { failures: 20, by_caller, stable_answers: 0, stable_failures: u64::MAX };
            assert!(!run.run_trips());
        }
    }
}
