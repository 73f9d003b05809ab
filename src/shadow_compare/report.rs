//! A report, as plain data.

use std::time::Duration;

use crate::telemetry::{Latencies, LatencyCounts};

/// What is known of one route's shadow.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// What is deployed there, where the file tells.
    pub revision: Option<String>,
    /// When the first of the requests was whose answers are compared here, since the Unix epoch.
    pub since: Duration,
    /// Trials that were compared: the equal and the different ones.
    pub compared: u64,
    /// Those without a difference, whose bodies were looked into.
    pub equal: u64,
    /// Those with one.
    pub different: u64,
    /// Trials with a control.
    pub controls: u64,
    /// Controls that differed from their request's own answer.
    pub noisy_controls: u64,
    /// Trials whose comparison ended at a failure or another status: of headers and body nothing is known.
    pub early: u64,
    /// Controls with which it ended there.
    pub early_controls: u64,
    /// Trials whose bodies could not be looked into. Without a difference elsewhere they are neither equal nor different.
    pub unread: u64,
    /// Trials with more differences than are listed; the others are not among the fields.
    pub truncated: u64,
    /// The rate of mismatches beyond the noise, 0 to 1, in other fields than the noisy ones; nothing where no control was
    /// compared, or every control differs.
    pub net_mismatch: Option<f64>,
    /// The rate that it is below, at any time, with 99 % confidence.
    pub net_mismatch_upper: f64,
    /// The evidence that confirms one of the first fields, log10; a later one needs more.
    pub threshold_log10: f64,
    /// Fields that lost their row to others.
    pub evicted: u64,
    /// The fields: confirmed ones first, then by how often they differed.
    pub fields: Vec<ReportedField>,
    /// How long the heads of the requests' own answers took.
    pub primary: Quantiles,
    /// How long those of the copies took.
    pub candidate: Quantiles,
}

/// What is known of the comparing itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparatorStats {
    /// Routes with evidence.
    pub routes: usize,
    /// Trials whose comparison panicked.
    pub failed: u64,
    /// Trials of routes for which there was no room: there is evidence on 256 others.
    pub refused: u64,
}

/// What is known of one route's shadow, in figures.
#[derive(Clone, Debug)]
pub struct ShadowSummary {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// Fields that really differ.
    pub confirmed: usize,
    /// Fields that are noise.
    pub noisy: usize,
    /// Fields of which too little was seen.
    pub unknown: usize,
    /// The rate of mismatches beyond the noise, 0 to 1, in other fields than the noisy ones; nothing where no control was
    /// compared, or every control differs.
    pub net_mismatch: Option<f64>,
    /// The rate that it is below, at any time, with 99 % confidence.
    pub net_mismatch_upper: f64,
}

/// One field.
#[derive(Clone, Debug)]
pub struct ReportedField {
    /// Where it is; to be pasted under `ignore`.
    pub path: Box<str>,
    /// How it differs.
    pub kind: &'static str,
    /// `confirmed`, `noisy` or `unknown`.
    pub verdict: &'static str,
    /// How often it differed from the candidate, of how many.
    pub raw: (u64, u64),
    /// How often it differed from the control, of how many.
    pub noise: (u64, u64),
    /// The evidence that it differs, log10.
    pub evidence_log10: f64,
    /// The evidence that confirms it, log10.
    pub threshold_log10: f64,
    /// Samples, redacted; of a field that is not confirmed, the newest one.
    pub samples: Vec<DifferenceSample>,
}

/// One sample of a difference.
#[derive(Clone, Debug)]
pub struct DifferenceSample {
    /// When it was, since the Unix epoch.
    pub at: Duration,
    /// The id of the request.
    pub request_id: Box<str>,
    /// What the request was answered.
    pub primary: Box<str>,
    /// What its copy was answered.
    pub candidate: Box<str>,
}

/// Quantiles in seconds; zero when there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// Nine of ten are.
    pub p90: f64,
    /// 99 of 100 are.
    pub p99: f64,
}

impl Quantiles {
    /// Right within six percent.
    pub(super) fn of(latencies: &Latencies) -> Self {
        let mut counts = LatencyCounts::default();
        counts.merge(latencies);
        let at = |share| counts.quantile(share).unwrap_or_default().as_secs_f64();
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}
