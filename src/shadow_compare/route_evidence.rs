//! The evidence of one route: the table of fields that differ, and counters.

use std::sync::Arc;
use std::time::Duration;

use super::depth::compared_level;
use super::job::{ComparisonJob, ObservedResponse};
use super::report::{DifferenceSample, Quantiles, ReportedField, RouteReport, ShadowSummary, ShadowTally};
use super::scope::EvidenceScope;
use super::sets::{ComparisonDepth, Numbers, Sets};
use crate::compare::{Comparison, Criteria, Pattern, ResponseField, Tolerance};
use crate::route::{Compare, Weight};
use crate::stats::{Level, Mismatch, Observation, TestDesign, Verdict, Verdicts};
use crate::telemetry::Latencies;

/// The probability that a report ever names a field that is only noise.
const ALPHA: f64 = 0.01;

/// The evidence of one route.
pub(super) struct ComparisonEvidence {
    pub(super) scope: EvidenceScope,
    criteria: Arc<Criteria>,
    verdicts: Verdicts<ResponseField, DifferenceSample>,
    numbers: Numbers,
    raw: Sets,
    noise: Sets,
    since: Duration,
    equal: u64,
    different: u64,
    unread: u64,
    truncated: u64,
    early: u64,
    controls: u64,
    noisy_controls: u64,
    early_controls: u64,
    primary: Latencies,
    candidate: Latencies,
}

/// The result of a job.
pub(super) struct JobResult {
    raw: PairResult,
    noise: Option<PairResult>,
}

/// The result of comparing two responses.
struct PairResult {
    comparison: Comparison,
    fields: Vec<ResponseField>,
    reached: Level,
}

impl JobResult {
    /// Compares the responses of a job; takes milliseconds for large responses.
    pub(super) fn of(job: &ComparisonJob, criteria: &Criteria) -> Self {
        let body = job.primary.body();
        let primary = job.primary.compared(&body);
        let show = |other: &ObservedResponse| {
            let comparison = criteria.compare(&primary, &other.compared(&other.body()));
            let reached = compared_level(&job.primary, other, &comparison);
            PairResult { fields: comparison.fields(), comparison, reached }
        };
        Self { raw: show(&job.candidate), noise: job.control.as_ref().map(show) }
    }
}

impl PairResult {
    fn observation(&self) -> Observation<'_, ResponseField> {
        Observation { differing: &self.fields, reached: self.reached }
    }

    /// Whether the responses differ; `None` if the bodies could not be compared and everything else is equal.
    fn differs(&self) -> Option<bool> {
        let differs = !self.comparison.is_equal();
        (differs || self.comparison.unread.is_none()).then_some(differs)
    }

    fn depth(&self) -> ComparisonDepth {
        if self.is_early() {
            ComparisonDepth::Early
        } else if self.comparison.unread.is_some() {
            ComparisonDepth::Head
        } else {
            ComparisonDepth::Whole
        }
    }

    /// Whether the comparison ended before the headers and the body, at a failure or another status.
    fn is_early(&self) -> bool {
        self.reached < Level::Head
    }
}

impl ComparisonEvidence {
    pub(super) fn new(scope: EvidenceScope, since: Duration) -> Self {
        let form = if scope.compare.control == Weight::FULL { TestDesign::Pairs } else { TestDesign::Arms };
        let keep = usize::try_from(scope.compare.keep).unwrap_or(0);
        Self {
            criteria: Arc::new(criteria(&scope.compare)),
            verdicts: Verdicts::new(form, ALPHA, keep),
            scope,
            since,
            numbers: Numbers::default(),
            raw: Sets::default(),
            noise: Sets::default(),
            equal: 0,
            different: 0,
            unread: 0,
            truncated: 0,
            early: 0,
            controls: 0,
            noisy_controls: 0,
            early_controls: 0,
            primary: Latencies::default(),
            candidate: Latencies::default(),
        }
    }

    /// The criteria for comparing its jobs.
    pub(super) fn criteria(&self) -> Arc<Criteria> {
        Arc::clone(&self.criteria)
    }

    /// Adds the result of a job.
    pub(super) fn add(&mut self, job: &ComparisonJob, JobResult { raw, noise }: JobResult) {
        self.since = self.since.min(job.at);
        for (latencies, seen) in [(&self.primary, &job.primary), (&self.candidate, &job.candidate)] {
            // Without a response, the time is that of the failure.
            if seen.outcome.is_ok() {
                latencies.record(seen.took);
            }
        }
        self.equal += u64::from(raw.differs() == Some(false));
        self.different += u64::from(raw.differs() == Some(true));
        self.unread += u64::from(raw.comparison.unread.is_some());
        self.truncated +=
            u64::from([Some(&raw), noise.as_ref()].into_iter().flatten().any(|of| of.comparison.truncated));
        self.early += u64::from(raw.is_early());
        if let Some(noise) = &noise {
            self.controls += 1;
            self.noisy_controls += u64::from(noise.differs() == Some(true));
            self.early_controls += u64::from(noise.is_early());
        }
        debug_assert!(
            self.noisy_controls <= self.controls && self.early_controls <= self.controls,
            "a control is counted once"
        );
        self.verdicts.observe(raw.observation(), noise.as_ref().map(PairResult::observation));
        let is_noisy = |field: &ResponseField| self.verdicts.verdict(field) == Some(Verdict::Noisy);
        self.raw.add(&self.numbers, &raw.fields, raw.depth(), is_noisy);
        if let Some(noise) = &noise {
            self.noise.add(&self.numbers, &noise.fields, noise.depth(), is_noisy);
        }
        for difference in raw.comparison.differences {
            let sample = DifferenceSample {
                at: job.at,
                request_id: job.request_id.clone(),
                primary: difference.primary,
                candidate: difference.other,
            };
            self.verdicts.keep(&difference.field, sample);
        }
    }

    pub(super) fn summary(&self, route: &str) -> ShadowSummary {
        let (fields, mismatch) = (self.verdicts.fields(), self.mismatch());
        let count = |verdict| fields.iter().filter(|field| field.verdict == verdict).count();
        ShadowSummary {
            route: route.to_owned(),
            upstream: self.scope.shadow.upstream.clone(),
            confirmed: count(Verdict::Confirmed),
            noisy: count(Verdict::Noisy),
            unknown: count(Verdict::Unknown),
            net_mismatch: mismatch.net(),
            net_mismatch_upper: mismatch.net_upper(ALPHA),
        }
    }

    pub(super) fn tally(&self, route: &str) -> ShadowTally {
        let compared = self.equal + self.different;
        ShadowTally { route: route.to_owned(), compared, different: self.different }
    }

    /// The mismatches in fields that are not noisy. Confirmed fields count; their noise is subtracted.
    fn mismatch(&self) -> Mismatch {
        let fields = self.verdicts.fields();
        let noisy = self.numbers.all(fields.iter().filter(|one| one.verdict == Verdict::Noisy).map(|one| one.key));
        Mismatch { raw: self.raw.mismatches(&noisy), noise: self.noise.mismatches(&noisy) }
    }

    pub(super) fn report(&self, route: &str) -> RouteReport {
        let mismatch = self.mismatch();
        let fields = self.verdicts.fields().into_iter().map(|field| ReportedField {
            path: field.key.path.clone(),
            kind: field.key.kind.word(),
            verdict: match field.verdict {
                Verdict::Confirmed => "confirmed",
                Verdict::Noisy => "noisy",
                Verdict::Unknown => "unknown",
            },
            raw: (field.raw.events, field.raw.exposures),
            noise: (field.noise.events, field.noise.exposures),
            evidence_log10: field.log10,
            threshold_log10: field.threshold_log10,
            samples: field.samples.iter().cloned().collect(),
        });
        RouteReport {
            route: route.to_owned(),
            upstream: self.scope.shadow.upstream.clone(),
            revision: self.scope.shadow.revision.clone(),
            since: self.since,
            compared: self.equal + self.different,
            equal: self.equal,
            different: self.different,
            controls: self.controls,
            noisy_controls: self.noisy_controls,
            early: self.early,
            early_controls: self.early_controls,
            unread: self.unread,
            truncated: self.truncated,
            net_mismatch: mismatch.net(),
            net_mismatch_upper: mismatch.net_upper(ALPHA),
            threshold_log10: self.verdicts.threshold_log10(),
            evicted: self.verdicts.evicted(),
            fields: fields.collect(),
            primary: Quantiles::of(&self.primary),
            candidate: Quantiles::of(&self.candidate),
        }
    }
}

/// The patterns of a route. They are valid, because the configuration was validated.
fn criteria(compare: &Compare) -> Criteria {
    let read = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect::<Vec<_>>();
    let tolerance = compare
        .tolerance
        .iter()
        .filter_map(|(text, within)| Some(Tolerance { pattern: Pattern::parse(text).ok()?, within: *within }));
    let tolerance: Vec<Tolerance> = tolerance.collect();
    Criteria::new(&read(&compare.ignore), &read(&compare.unordered), &tolerance, &read(&compare.redact))
}
