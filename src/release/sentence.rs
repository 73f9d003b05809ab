//! What a guard sees, in one sentence with its counts.

use super::guard_evidence::{GuardEvidence, TestForm};
use super::run_watch::TrippedRun;
use super::shown_counts::ShownPair;
use crate::stats::Estimate;

/// The largest ratio that an estimate has.
const RATIO_MAX: f64 = 63.0;

/// The sentence of a guard.
pub(super) fn sentence(evidence: &GuardEvidence, pair: &ShownPair) -> String {
    if let Some(run) = &evidence.run_sentence {
        return run.clone();
    }
    let name = &evidence.guard.name;
    let (tested, stable) = (pair.tested, pair.stable);
    match &evidence.form {
        TestForm::Relative { .. } => {
            let counts = format!(
                "{} callers of {}, on stable {} of {}",
                grouped(tested.events),
                grouped(tested.exposures),
                grouped(stable.events),
                grouped(stable.exposures),
            );
            match evidence.shown.estimate() {
                Some(estimate) => format!("{name} {}: {counts}", ratio(&estimate)),
                None => format!("{name}: {counts}"),
            }
        }
        TestForm::Absolute { kernel, .. } => {
            let counts = format!("{} callers of {}", grouped(tested.events), grouped(tested.exposures));
            match kernel {
                Some(kernel) => format!(
                    "{name}: {counts}, the bound is {} %, without a concurrent control",
                    digits(kernel.bound() * 100.0)
                ),
                None => format!("{name}: no bound below a weight of 90"),
            }
        }
        TestForm::SampleRatio { test, .. } => {
            let dealing = &test.dealing;
            format!(
                "{name}: {} callers of {}, by its weight {:.0}",
                grouped(dealing.tested()),
                grouped(dealing.keys()),
                dealing.expected()
            )
        }
        TestForm::Impossible => format!("{name}: no alternative is above its ratio"),
    }
}

/// The sentence of a run of failures.
pub(super) fn run_sentence(guard: &str, run: &TrippedRun) -> String {
    format!(
        "{guard}: the last {} first tries failed, from {} callers; on stable {} of {} meanwhile",
        grouped(run.failures.into()),
        run.by_caller.len(),
        grouped(run.stable.failed),
        grouped(run.stable.requests),
    )
}

fn ratio(estimate: &Estimate) -> String {
    let theta = if estimate.theta >= RATIO_MAX { "more than 63".to_owned() } else { digits(estimate.theta) };
    let interval = match (estimate.lower, estimate.upper) {
        (Some(lower), Some(upper)) => format!(" ({} to {})", digits(lower), digits(upper)),
        (Some(lower), None) => format!(" (at least {})", digits(lower)),
        (None, Some(upper)) => format!(" (at most {})", digits(upper)),
        (None, None) => String::new(),
    };
    format!("{theta} × stable{interval}")
}

/// Two significant digits.
fn digits(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Digits in groups of three.
pub(super) fn grouped(count: u64) -> String {
    let plain = count.to_string();
    let mut text = String::with_capacity(plain.len() + plain.len() / 3);
    for (at, digit) in plain.char_indices() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
