//! What is counted of a healthy release on average, and the evidence for going on that follows from it.

use super::scene::Scene;
use crate::release::{PromotionTest, StageEvidence};
use crate::route::Require;
use crate::stats::{NonInferior, NonInferiority, RateBelow, Stratum, Tally};

/// Evidence is linear in the events of a share: that of so many is computed, and taken in proportion.
const PARTS: f64 = 1e9;

/// What is counted of a healthy release on average.
#[derive(Clone, Debug)]
pub(super) struct ExpectedCounts {
    /// Requests a second on all routes.
    rate: f64,
    callers: f64,
    errors: f64,
    /// Requests to the canary.
    pub requests: f64,
    /// Requests to the canary since the stage was entered.
    pub of_stage: f64,
    /// The largest share that it has had.
    share_max: f64,
    /// Seconds of traffic.
    seconds: f64,
    /// Callers of the canary a second, added up, that have not failed before, and those that have failed now.
    exposed: f64,
    failed: f64,
    /// By bound of `non_inferior`: the test, and its logarithms.
    tests: Vec<(NonInferior, Vec<f64>)>,
}

impl ExpectedCounts {
    pub fn new(scene: &Scene<'_>) -> Self {
        let ratios = scene.rollout.plan.stages.iter().filter_map(|stage| stage.require.non_inferior);
        let tests = ratios.filter_map(NonInferior::new).map(|test| (test, NonInferiority::default().logs().to_vec()));
        Self {
            rate: scene.rate(),
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            callers: scene.callers() as f64,
            errors: scene.errors(),
            requests: 0.0,
            of_stage: 0.0,
            share_max: 0.0,
            seconds: 0.0,
            exposed: 0.0,
            failed: 0.0,
            tests: tests.collect(),
        }
    }

    /// Whether no request comes.
    pub fn is_silent(&self) -> bool {
        self.rate <= 0.0
    }

    pub fn enter_stage(&mut self) {
        self.of_stage = 0.0;
    }

    /// A time at a share.
    pub fn pass(&mut self, ms: u64, share: f64) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a plan")]
        let seconds = ms as f64 / 1_000.0;
        self.seconds += seconds;
        let requests = self.rate * share * seconds;
        self.requests += requests;
        self.of_stage += requests;
        self.share_max = self.share_max.max(share);
        // A caller that has failed before is not at risk.
        let fresh = (-self.errors * self.rate * self.seconds / self.callers).exp();
        let of_second = |share: f64| distinct(self.callers * share, self.rate * share);
        let failed = requests * self.errors * fresh;
        self.exposed += of_second(share) * seconds * fresh;
        self.failed += failed;
        let both = self.rate * seconds * self.errors * fresh;
        if share > 0.0 && share < 1.0 && both > 0.0 {
            let tally =
                |share: f64, events: f64| Tally { exposures: whole(share * 1e6), events: whole(events / both * PARTS) };
            let stratum = Stratum { tested: tally(share, failed), control: tally(1.0 - share, both - failed) };
            for (test, logs) in &mut self.tests {
                let mut evidence = NonInferiority::default();
                test.add(&mut evidence, &stratum);
                logs.iter_mut().zip(evidence.logs()).for_each(|(sum, one)| *sum += one * both / PARTS);
            }
        }
    }

    /// Distinct callers of the canary so far.
    pub fn callers(&self) -> u64 {
        whole(distinct(self.callers * self.share_max, self.requests))
    }

    /// What is known of the stage.
    pub fn evidence(&self, require: &Require) -> StageEvidence {
        let log10 = |ln: f64| ln / std::f64::consts::LN_10;
        let test =
            |bound: f64, ln: f64| PromotionTest { bound, evidence_log10: log10(ln), counts: serde_json::Value::Null };
        let non_inferior = require.non_inferior.and_then(|bound| {
            let (kernel, logs) = self.tests.iter().find(|(test, _)| test.bound().to_bits() == bound.to_bits())?;
            Some(test(bound, kernel.ln(&NonInferiority::from_logs(logs)?)))
        });
        let rate_below = require.or_rate_below.and_then(|bound| {
            let tally = Tally { exposures: whole(self.exposed), events: whole(self.failed) };
            Some(test(bound, RateBelow::new(bound)?.ln(tally)))
        });
        StageEvidence {
            answered: whole(self.requests),
            keys: whole(distinct(self.callers * self.share_max, self.of_stage)),
            stable_rate: (self.rate > 0.0).then_some(self.errors),
            non_inferior,
            rate_below,
            shadow: None,
        }
    }
}

/// How many of `callers` so many requests have, each of any caller.
pub(super) fn distinct(callers: f64, requests: f64) -> f64 {
    if callers > 0.0 { callers * -(-requests / callers).exp_m1() } else { 0.0 }
}

/// A count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is not negative, and fits")]
pub(super) fn whole(count: f64) -> u64 {
    count.max(0.0).round() as u64
}
