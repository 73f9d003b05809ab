//! Reports, as plain data.

use std::time::Duration;

use crate::telemetry::{Latencies, LatencyCounts};

/// The report of one route's shadow.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// The revision of the upstream, if configured.
    pub revision: Option<String>,
    /// The time of the first compared request, since the Unix epoch.
    pub since: Duration,
    /// Compared copies: the equal and the different ones.
    pub compared: u64,
    /// Copies without a difference, whose bodies were compared.
    pub equal: u64,
    /// Copies with a difference.
    pub different: u64,
    /// Copies with a control.
    pub controls: u64,
    /// Controls that differ from the primary response.
    pub noisy_controls: u64,
    /// Copies whose comparison ended at a failure or another status: headers and body were not compared.
    pub early: u64,
    /// Controls whose comparison ended there.
    pub early_controls: u64,
    /// Copies whose bodies could not be compared. Without a difference elsewhere they are neither equal nor different.
    pub unread: u64,
    /// Copies with more differences than the limit; the others are not among the fields.
    pub truncated: u64,
    /// The rate of mismatches beyond noise, 0 to 1, without noisy fields; `None` if no control was compared, or if
    /// every control differs.
    pub net_mismatch: Option<f64>,
    /// The upper bound of that rate, with 99 % confidence at all times at once.
    pub net_mismatch_upper: f64,
    /// The evidence that confirms one of the first fields, log10; later fields need more.
    pub threshold_log10: f64,
    /// Fields that were evicted from the table.
    pub evicted: u64,
    /// The fields: confirmed ones first, then by the number of differences.
    pub fields: Vec<ReportedField>,
    /// Time until the response head of requests.
    pub primary: Quantiles,
    /// Time until the response head of copies.
    pub candidate: Quantiles,
}

/// Counters of the comparator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparatorStats {
    /// Routes with evidence.
    pub routes: usize,
    /// Jobs whose comparison panicked.
    pub failed: u64,
    /// Jobs that were refused, because 256 other routes have evidence.
    pub refused: u64,
}

/// The summary of one route's shadow, for metrics.
#[derive(Clone, Debug)]
pub struct ShadowSummary {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// Fields that are confirmed to differ.
    pub confirmed: usize,
    /// Noisy fields.
    pub noisy: usize,
    /// Fields without enough data.
    pub unknown: usize,
    /// The rate of mismatches beyond noise, 0 to 1, without noisy fields; `None` if no control was compared, or if
    /// every control differs.
    pub net_mismatch: Option<f64>,
    /// The upper bound of that rate, with 99 % confidence at all times at once.
    pub net_mismatch_upper: f64,
}

/// What was compared of one route's shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowTally {
    /// The route.
    pub route: String,
    /// Compared copies: the equal and the different ones.
    pub compared: u64,
    /// Copies with a difference.
    pub different: u64,
}

/// One field.
#[derive(Clone, Debug)]
pub struct ReportedField {
    /// The path; a valid pattern for `ignore`.
    pub path: Box<str>,
    /// The kind of the difference.
    pub kind: &'static str,
    /// `confirmed`, `noisy` or `unknown`.
    pub verdict: &'static str,
    /// Differing copies, and all compared copies.
    pub raw: (u64, u64),
    /// Differing controls, and all compared controls.
    pub noise: (u64, u64),
    /// The evidence that it differs, log10.
    pub evidence_log10: f64,
    /// The evidence that confirms it, log10.
    pub threshold_log10: f64,
    /// Redacted samples; for a field that is not confirmed, the newest one.
    pub samples: Vec<DifferenceSample>,
}

/// One sample of a difference.
#[derive(Clone, Debug)]
pub struct DifferenceSample {
    /// The time of the request, since the Unix epoch.
    pub at: Duration,
    /// The id of the request.
    pub request_id: Box<str>,
    /// The value in the primary response.
    pub primary: Box<str>,
    /// The value in the response to the copy.
    pub candidate: Box<str>,
}

/// Quantiles in seconds; zero without data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
}

impl Quantiles {
    /// Accurate within six percent.
    pub(super) fn of(latencies: &Latencies) -> Self {
        let mut counts = LatencyCounts::default();
        counts.merge(latencies);
        let at = |share| counts.quantile(share).unwrap_or_default().as_secs_f64();
        let quantiles = Self { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
        debug_assert!(
            quantiles.p50 <= quantiles.p90 && quantiles.p90 <= quantiles.p99,
            "a larger quantile is not below a smaller one"
        );
        quantiles
    }
}
