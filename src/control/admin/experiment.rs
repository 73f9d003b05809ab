//! The experiment on a route since its weights last changed: the figures of its variants, the check of the sample
//! against the weights, and the comparison of each variant with stable. `/status` and the metrics show it.

use serde_json::{Value, json};

use super::format::{ratio, time};
use crate::control::measure::VariantCounts;
use crate::route::{ArmState, Split, SplitState};
use crate::stats::{Fairness, RateDifference, SampleRatio};
use crate::telemetry::{DrawUnit, LatencyCounts, Sample, SampleCounts};

/// The probability that the confidence interval of a comparison ever misses the true value.
const ALPHA: f64 = 0.05;

/// The check of a sample against its weights.
pub(super) struct SampleCheck {
    pub sampled: SampleCounts,
    /// The counts against the weights; `None` while fewer than two variants get a share.
    pub ratio: Option<SampleRatio>,
    /// The result; `None` without `ratio`, and when keys cannot be counted.
    pub verdict: Option<Fairness>,
    /// The strongest evidence against the weights so far, as a power of ten.
    pub evidence_log10: f64,
    /// What was counted: keys or requests.
    pub unit: &'static str,
}

/// Checks a sample. With sticky keys the first keys count, because the requests of one caller are not independent
/// draws.
pub(super) fn check_sample(state: &SplitState, sample: &Sample) -> SampleCheck {
    let sampled = sample.read();
    let counts = match sample.draw_unit {
        DrawUnit::Keys => &sampled.firsts,
        DrawUnit::Requests => &sampled.requests,
    };
    let weight = |arm: &ArmState| if arm.stopped().is_some() { 0 } else { arm.weight.millionths() };
    let weights: Vec<f64> = state.arms().iter().map(|arm| f64::from(weight(arm))).collect();
    let ratio = SampleRatio::of(&weights, counts);
    let most = sample.most_evidence(ratio.as_ref().map_or(0.0, |ratio| ratio.evidence_ln));
    let measured = !sample.is_used() || !counts.is_empty();
    let verdict = ratio.as_ref().filter(|_| measured).map(|ratio| ratio.verdict(most));
    SampleCheck {
        sampled,
        ratio,
        verdict,
        evidence_log10: most / std::f64::consts::LN_10,
        unit: sample.draw_unit.name(),
    }
}

/// The experiment on a route, as `/status` shows it. `since` has the counts since the weights changed.
pub(super) fn experiment(split: &Split, state: &SplitState, sample: &Sample, since: &[VariantCounts]) -> Value {
    let check = check_sample(state, sample);
    let variants = split.variants.iter().zip(state.arms()).zip(since).enumerate();
    let variants = variants.map(|(at, ((variant, arm), counts))| {
        let (ratio, durations) = (check.ratio.as_ref(), sample.durations(at));
        json!({
            "name": variant.name,
            "weight": arm.weight.percent(),
            "share": ratio.and_then(|ratio| Some(percent(*ratio.measured.as_ref()?.get(at)?))),
            "keys": check.sampled.keys.as_ref().and_then(|keys| keys.get(at)).map(|keys| keys.round()),
            "sampled": check.sampled.requests.get(at),
            "requests": counts.requests,
            "errors": counts.errors,
            "error_ratio": ratio_of(counts),
            "p50_ms": milliseconds(&durations, 0.50),
            "p90_ms": milliseconds(&durations, 0.90),
            "p99_ms": milliseconds(&durations, 0.99),
        })
    });
    let evidence: Vec<VariantEvidence<'_>> = (split.variants.iter().zip(since).enumerate())
        .map(|(at, (variant, counts))| {
            let durations = sample.durations(at);
            VariantEvidence { name: &variant.name, counts, durations }
        })
        .collect();
    let comparisons = match evidence.split_first() {
        Some((stable, others)) => others.iter().filter_map(|one| comparison(one, stable)).collect(),
        None => Vec::new(),
    };
    json!({
        "since": time(sample.since),
        "variants": variants.collect::<Vec<_>>(),
        "sample_ratio": sample_ratio(split, &check),
        "comparisons": comparisons,
    })
}

fn sample_ratio(split: &Split, check: &SampleCheck) -> Value {
    json!({
        "result": check.verdict.map_or("not measured", Fairness::name),
        "says": words(split, check),
        "counted": check.unit,
        "draws": check.ratio.as_ref().map(|ratio| ratio.draws),
        "evidence_log10": hundredths(check.evidence_log10),
        "threshold_log10": hundredths(SampleRatio::threshold_ln() / std::f64::consts::LN_10),
    })
}

/// The result, for people.
fn words(split: &Split, check: &SampleCheck) -> String {
    let Some(ratio) = &check.ratio else { return "fewer than two variants get a share: nothing to check".to_owned() };
    let (draws, unit) = (ratio.draws, check.unit);
    let Some(verdict) = check.verdict else {
        return "the keys are not counted: the samples of all routes have used up their memory".to_owned();
    };
    match verdict {
        Fairness::TooFew => {
            format!("{draws} {unit} so far; from {} on, a variant without any would be detected", ratio.draws_min())
        }
        Fairness::Ok => format!("{draws} {unit} fit the weights"),
        Fairness::Mismatch => {
            let (at, measured) = ratio.furthest();
            let name = split.variants.get(at).map_or("", |variant| variant.name.as_str());
            format!(
                "{name} has {} % of {draws} {unit} and should have {} %: the variants cannot be compared",
                hundredths(100.0 * measured),
                hundredths(100.0 * ratio.expected[at]),
            )
        }
    }
}

/// The evidence about one variant.
struct VariantEvidence<'a> {
    name: &'a str,
    counts: &'a VariantCounts,
    durations: LatencyCounts,
}

/// Compares a variant with another one: failures in the random sample with their confidence interval, and durations.
fn comparison(one: &VariantEvidence<'_>, other: &VariantEvidence<'_>) -> Option<Value> {
    let (sample, against) = (one.counts.sample, other.counts.sample);
    let found = RateDifference::of(sample, against, ALPHA)?;
    Some(json!({
        "variant": one.name,
        "against": other.name,
        "requests": sample.requests,
        "requests_against": against.requests,
        "error_ratio": sample.rate(),
        "error_ratio_against": against.rate(),
        "difference": found.observed,
        "difference_low": found.low,
        "difference_high": found.high,
        "confidence": 1.0 - ALPHA,
        "says": if found.low > 0.0 {
            "fails more often"
        } else if found.high < 0.0 {
            "fails less often"
        } else {
            "no difference shown"
        },
        "p50_ms": milliseconds(&one.durations, 0.50),
        "p50_ms_against": milliseconds(&other.durations, 0.50),
        "p90_ms": milliseconds(&one.durations, 0.90),
        "p90_ms_against": milliseconds(&other.durations, 0.90),
        "p99_ms": milliseconds(&one.durations, 0.99),
        "p99_ms_against": milliseconds(&other.durations, 0.99),
    }))
}

fn ratio_of(counts: &VariantCounts) -> Option<f64> {
    ratio(counts.errors, counts.requests)
}

/// Rounded: quantiles are exact to three significant digits at most.
fn milliseconds(durations: &LatencyCounts, share: f64) -> Option<f64> {
    durations.quantile(share).map(|took| (took.as_secs_f64() * 1e5).round() / 1e2)
}

fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
