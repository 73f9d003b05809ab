//! What a route's variants come to since its weights were last changed: their figures, whether the sample is what the
//! weights promise, and how each variant compares with stable. `/status` and the metrics tell it.

use serde_json::{Value, json};

use super::format::{ratio, time};
use crate::control::measure::Tally;
use crate::route::{ArmState, Split, SplitState};
use crate::stats::{Fairness, RateDifference, SampleRatio};
use crate::telemetry::{Drawn, LatencyCounts, Sample, Sampled};

/// The chance that the interval of a comparison ever misses the truth.
const ALPHA: f64 = 0.05;

/// A sample, judged.
pub(super) struct Judged {
    pub sampled: Sampled,
    /// Weights against counts; nothing while fewer than two variants get a share.
    pub ratio: Option<SampleRatio>,
    /// What it comes to; nothing where keys cannot be counted either.
    pub verdict: Option<Fairness>,
    /// The most evidence against the weights that there ever was, as a power of ten.
    pub evidence_log10: f64,
    /// What was counted.
    pub unit: &'static str,
}

/// Judges a sample. With sticky keys the first keys are counted: requests of one caller are no draws of their own.
pub(super) fn judge(state: &SplitState, sample: &Sample) -> Judged {
    let sampled = sample.read();
    let counts = match sample.drawn {
        Drawn::Keys => &sampled.firsts,
        Drawn::Requests => &sampled.requests,
    };
    let weight = |arm: &ArmState| if arm.stopped().is_some() { 0 } else { arm.weight.millionths() };
    let weights: Vec<f64> = state.arms().iter().map(|arm| f64::from(weight(arm))).collect();
    let ratio = SampleRatio::of(&weights, counts);
    let most = sample.most_evidence(ratio.as_ref().map_or(0.0, |ratio| ratio.evidence_ln));
    let measured = !sample.is_used() || !counts.is_empty();
    let verdict = ratio.as_ref().filter(|_| measured).map(|ratio| ratio.verdict(most));
    Judged { sampled, ratio, verdict, evidence_log10: most / std::f64::consts::LN_10, unit: sample.drawn.name() }
}

/// The experiment that a route is, as `/status` gives it. `since` is what was counted since the weights changed.
pub(super) fn experiment((split, state): (&Split, &SplitState), sample: &Sample, since: &[Tally]) -> Value {
    let judged = judge(state, sample);
    let variants = split.variants.iter().zip(state.arms()).zip(since).enumerate();
    let variants = variants.map(|(at, ((variant, arm), tally))| {
        let (ratio, durations) = (judged.ratio.as_ref(), sample.durations(at));
        json!({
            "name": variant.name,
            "weight": arm.weight.percent(),
            "share": ratio.and_then(|ratio| Some(percent(*ratio.measured.as_ref()?.get(at)?))),
            "keys": judged.sampled.keys.as_ref().and_then(|keys| keys.get(at)).map(|keys| keys.round()),
            "sampled": judged.sampled.requests.get(at),
            "requests": tally.requests,
            "errors": tally.errors,
            "error_ratio": ratio_of(tally),
            "p50_ms": milliseconds(&durations, 0.50),
            "p90_ms": milliseconds(&durations, 0.90),
            "p99_ms": milliseconds(&durations, 0.99),
        })
    });
    let compared = split.variants.iter().zip(since).enumerate().skip(1);
    let against_stable = |(at, (variant, tally)): (usize, (&crate::route::Variant, &Tally))| {
        let stable = (&*split.variants.first()?.name, since.first()?, &sample.durations(0));
        comparison((&variant.name, tally, &sample.durations(at)), stable)
    };
    json!({
        "since": time(sample.since),
        "variants": variants.collect::<Vec<_>>(),
        "sample_ratio": sample_ratio(split, &judged),
        "comparisons": compared.filter_map(against_stable).collect::<Vec<_>>(),
    })
}

fn sample_ratio(split: &Split, judged: &Judged) -> Value {
    json!({
        "result": judged.verdict.map_or("not measured", Fairness::name),
        "says": words(split, judged),
        "counted": judged.unit,
        "draws": judged.ratio.as_ref().map(|ratio| ratio.draws),
        "evidence_log10": hundredths(judged.evidence_log10),
        "threshold_log10": hundredths(SampleRatio::threshold_ln() / std::f64::consts::LN_10),
    })
}

/// The result in words.
fn words(split: &Split, judged: &Judged) -> String {
    let Some(ratio) = &judged.ratio else { return "fewer than two variants get a share: nothing to check".to_owned() };
    let (draws, unit) = (ratio.draws, judged.unit);
    let Some(verdict) = judged.verdict else {
        return "the keys are not counted: the samples of all routes have used up their memory".to_owned();
    };
    match verdict {
        Fairness::TooFew => {
            format!("{draws} {unit} so far; from {} on a variant that gets nobody would have shown", ratio.draws_min())
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

/// A variant's name, what was counted of it, and how long its answers took.
type Side<'a> = (&'a str, &'a Tally, &'a LatencyCounts);

/// One variant against another: failures in the random sample with their interval, durations side by side.
fn comparison((name, one, durations): Side<'_>, (against, other, durations_against): Side<'_>) -> Option<Value> {
    let found = RateDifference::of(one.sample, other.sample, ALPHA)?;
    Some(json!({
        "variant": name,
        "against": against,
        "requests": one.sample.requests,
        "requests_against": other.sample.requests,
        "error_ratio": one.sample.rate(),
        "error_ratio_against": other.sample.rate(),
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
        "p50_ms": milliseconds(durations, 0.50),
        "p50_ms_against": milliseconds(durations_against, 0.50),
        "p90_ms": milliseconds(durations, 0.90),
        "p90_ms_against": milliseconds(durations_against, 0.90),
        "p99_ms": milliseconds(durations, 0.99),
        "p99_ms_against": milliseconds(durations_against, 0.99),
    }))
}

fn ratio_of(tally: &Tally) -> Option<f64> {
    ratio(tally.errors, tally.requests)
}

/// To three significant digits or so: it is no more exact than that.
fn milliseconds(durations: &LatencyCounts, share: f64) -> Option<f64> {
    durations.quantile(share).map(|took| (took.as_secs_f64() * 1e5).round() / 1e2)
}

fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
