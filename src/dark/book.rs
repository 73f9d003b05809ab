//! The book of one route: the evidence on every field that differs, and what was counted beside.

use std::time::Duration;

use super::report::{Findings, Quantiles, Reported, RouteReport, Sampled};
use super::trial::{Seen, Trial};
use crate::compare::{Comparison, Criteria, Field, Pattern, Tolerance};
use crate::release::{Form, Verdict, Verdicts};
use crate::route::{Compare, Generation, Weight};
use crate::telemetry::Histogram;

/// The chance that a report ever names a field that is nothing but noise.
const ALPHA: f64 = 0.01;

/// What a route's evidence is about: when any of it changes, it begins anew.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    pub(super) upstream: String,
    pub(super) revision: Option<String>,
    pub(super) stable: Option<String>,
    pub(super) compare: Compare,
}

/// The book of one route.
pub(super) struct Book {
    pub(super) about: About,
    /// Of the rules that it began under.
    pub(super) generation: Generation,
    criteria: Criteria,
    verdicts: Verdicts<Field, Sampled>,
    since: Duration,
    equal: u64,
    different: u64,
    noisy: u64,
    controls: u64,
    unread: u64,
    primary: Histogram,
    candidate: Histogram,
}

impl Book {
    pub(super) fn new(about: About, generation: Generation, since: Duration) -> Self {
        let form = if about.compare.control == Weight::FULL { Form::Pairs } else { Form::Arms };
        let keep = usize::try_from(about.compare.keep).unwrap_or(0);
        Self {
            criteria: criteria(&about.compare),
            verdicts: Verdicts::new(form, ALPHA, keep),
            about,
            generation,
            since,
            equal: 0,
            different: 0,
            noisy: 0,
            controls: 0,
            unread: 0,
            primary: Histogram::default(),
            candidate: Histogram::default(),
        }
    }

    /// Compares a trial, and adds what comes of it.
    pub(super) fn add(&mut self, trial: &Trial) {
        let (primary, candidate) = (trial.primary.body(), trial.candidate.body());
        let compare =
            |other: &Seen, body: &[u8]| self.criteria.compare(&trial.primary.compared(&primary), &other.compared(body));
        let raw = compare(&trial.candidate, &candidate);
        let noise = trial.control.as_ref().map(|control| compare(control, &control.body()));
        self.primary.record(trial.primary.took);
        self.candidate.record(trial.candidate.took);
        self.unread += u64::from(raw.unread.is_some());
        if raw.is_equal() {
            self.equal += 1;
        } else {
            self.different += 1;
        }
        self.controls += u64::from(noise.is_some());
        self.noisy += u64::from(noise.as_ref().is_some_and(|noise| !noise.is_equal()));
        let of_noise = noise.as_ref().map(Comparison::fields);
        self.verdicts.observe(&raw.fields(), of_noise.as_deref());
        for difference in raw.differences {
            let sample = Sampled {
                at: trial.at,
                request_id: trial.request_id.clone(),
                primary: difference.primary,
                candidate: difference.other,
            };
            self.verdicts.keep(&difference.field, sample);
        }
    }

    pub(super) fn findings(&self, route: &str) -> Findings {
        let (fields, mismatch) = (self.verdicts.fields(), self.verdicts.mismatch());
        let count = |verdict| fields.iter().filter(|field| field.verdict == verdict).count();
        Findings {
            route: route.to_owned(),
            upstream: self.about.upstream.clone(),
            confirmed: count(Verdict::Confirmed),
            noisy: count(Verdict::Noisy),
            unknown: count(Verdict::Unknown),
            net_mismatch: mismatch.net(),
            net_mismatch_upper: mismatch.net_upper(ALPHA),
        }
    }

    pub(super) fn report(&self, route: &str) -> RouteReport {
        let mismatch = self.verdicts.mismatch();
        let threshold = self.verdicts.threshold_log10();
        let fields = self.verdicts.fields().into_iter().map(|field| Reported {
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
            samples: if field.verdict == Verdict::Confirmed {
                field.samples.iter().cloned().collect()
            } else {
                Vec::new()
            },
        });
        RouteReport {
            route: route.to_owned(),
            upstream: self.about.upstream.clone(),
            revision: self.about.revision.clone(),
            since: self.since,
            compared: self.equal + self.different,
            equal: self.equal,
            different: self.different,
            controls: self.controls,
            noisy_controls: self.noisy,
            unread: self.unread,
            net_mismatch: mismatch.net(),
            net_mismatch_upper: mismatch.net_upper(ALPHA),
            threshold_log10: threshold,
            evicted: self.verdicts.evicted(),
            fields: fields.collect(),
            primary: Quantiles::of(&self.primary),
            candidate: Quantiles::of(&self.candidate),
        }
    }
}

/// The patterns of a route; they were read when the file was.
fn criteria(compare: &Compare) -> Criteria {
    let read = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect::<Vec<_>>();
    let tolerance = compare
        .tolerance
        .iter()
        .filter_map(|(text, within)| Some(Tolerance { pattern: Pattern::parse(text).ok()?, within: *within }));
    let tolerance: Vec<Tolerance> = tolerance.collect();
    Criteria::new(&read(&compare.ignore), &read(&compare.unordered), &tolerance, &read(&compare.redact))
}
