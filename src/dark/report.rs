//! A report, as plain data.

use std::time::Duration;

use crate::telemetry::Histogram;

/// What is known of one route's shadow.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// What is deployed there, where the file tells.
    pub revision: Option<String>,
    /// When the evidence began, since the Unix epoch.
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
    /// The rate of mismatches beyond that of the controls, 0 to 1.
    pub net_mismatch: f64,
    /// The rate that it is below, at any time, with 99 % confidence.
    pub net_mismatch_upper: f64,
    /// The evidence that confirms one of the first fields, log10; a later one needs more.
    pub threshold_log10: f64,
    /// Fields that lost their row to others.
    pub evicted: u64,
    /// The fields: confirmed ones first, then by how often they differed.
    pub fields: Vec<Reported>,
    /// How long the heads of the requests' own answers took.
    pub primary: Quantiles,
    /// How long those of the copies took.
    pub candidate: Quantiles,
}

/// What is known of the comparing itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Routes with evidence.
    pub books: usize,
    /// Trials whose comparison panicked.
    pub failed: u64,
    /// Trials of routes for which there was no room: there is evidence on 256 others.
    pub refused: u64,
}

/// What is known of one route's shadow, in figures.
#[derive(Clone, Debug)]
pub struct Findings {
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
    /// The rate of mismatches beyond that of the controls, 0 to 1.
    pub net_mismatch: f64,
    /// The rate that it is below, at any time, with 99 % confidence.
    pub net_mismatch_upper: f64,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Reported {
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
    /// Samples, redacted; of confirmed fields only.
    pub samples: Vec<Sampled>,
}

/// One sample of a difference.
#[derive(Clone, Debug)]
pub struct Sampled {
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
    /// The upper bounds of the buckets in which they lie, interpolated.
    pub(super) fn of(histogram: &Histogram) -> Self {
        let (counts, _) = histogram.read();
        let at = |share| quantile(&counts, share);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^52")]
fn quantile(counts: &[u64], share: f64) -> f64 {
    let all: u64 = counts.iter().sum();
    let (mut below, rank) = (0.0, share * all as f64);
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= rank {
            let from = at.checked_sub(1).map_or(0, |before| Histogram::BOUNDS_US[before]);
            let to = Histogram::BOUNDS_US.get(at).copied().unwrap_or(from);
            return (from as f64 + (to - from) as f64 * ((rank - below) / count)) / 1e6;
        }
        below += count;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let histogram = Histogram::default();
        assert_eq!(Quantiles::of(&histogram), Quantiles::default());
        for at in 1..=1000 {
            histogram.record(Duration::from_micros(at * 10));
        }
        let found = Quantiles::of(&histogram);
        assert!((found.p50 - 0.005).abs() < 0.0005 && (found.p99 - 0.0099).abs() < 0.0005, "{found:?}");
    }
}
