//! The evidence of a guard as a gauge against its threshold, with the sentence that has the counts.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, text, unbroken};

/// The width of the gauge.
const WIDTH: f64 = 160.0;
/// Where the threshold is on it.
const LIMIT: f64 = 128.0;
/// From this part of the threshold on, evidence is to be watched.
const NEAR: f64 = 0.5;

/// Whether a guard has seen enough to say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    Enough,
    TooLittle,
}

/// What a guard knows.
pub fn knowledge(guard: &Value) -> Knowledge {
    let judges = matches!(text(&guard["state"]), "watching" | "stands" | "tripped");
    let has_seen = guard["tested"]["exposures"].as_u64().is_some_and(|count| count > 0);
    if judges && has_seen { Knowledge::Enough } else { Knowledge::TooLittle }
}

/// The guard that is closest to its threshold. One that knows enough comes before one that does not.
pub fn closest(release: &Value) -> Option<&Value> {
    let enough = list(&release["guards"]).filter(|guard| knowledge(guard) == Knowledge::Enough);
    let nearest = enough.max_by(|one, other| nearness(one).total_cmp(&nearness(other)));
    nearest.or_else(|| Some(&release["closest"]).filter(|guard| guard.is_object()))
}

/// Whether a guard has tripped, has much evidence, or sees the canary worse by its whole interval.
pub fn is_near(guard: &Value) -> bool {
    if knowledge(guard) == Knowledge::TooLittle {
        return guard["state"] == "tripped";
    }
    let is_worse = guard["ratio"]["lower"].as_f64().is_some_and(|lower| lower > 1.0);
    nearness(guard) >= NEAR || is_worse
}

/// The evidence as a part of the threshold; one that has tripped is beyond all others.
fn nearness(guard: &Value) -> f64 {
    if guard["state"] == "tripped" {
        return f64::MAX;
    }
    match (guard["evidence_log10"].as_f64(), guard["threshold_log10"].as_f64()) {
        (Some(evidence), Some(threshold)) if threshold > 0.0 => evidence / threshold,
        _ => f64::MIN,
    }
}

/// What a state of a guard means, in words; empty: it watches.
pub fn state_words(state: &str) -> &str {
    match state {
        "watching" => "",
        "no_data" => "no data",
        "too_few" => "too few callers",
        "waits_for_threshold" => "waits for a threshold",
        "warming_up" => "warming up",
        "threshold_void" => "threshold void",
        "not_near_full" => "only near 100\u{a0}%",
        "no_memory" => "no memory for it",
        "stands" => "stands still",
        other => other,
    }
}

/// The gauge: log10 E on an axis on which the threshold is marked. Hatched: it has not seen enough.
pub fn meter(guard: &Value) -> Markup {
    let threshold = guard["threshold_log10"].as_f64().filter(|threshold| *threshold > 0.0);
    let evidence = guard["evidence_log10"].as_f64();
    let knows = knowledge(guard) == Knowledge::Enough;
    let label = match (knows, evidence, threshold) {
        (true, Some(evidence), Some(threshold)) => {
            format!("evidence {} of {} (log10 E)", signed(evidence), signed(threshold))
        }
        _ => "not enough evidence".to_owned(),
    };
    let tone = match (guard["state"] == "tripped", is_near(guard)) {
        (true, _) => "tripped",
        (false, true) => "near",
        (false, false) => "far",
    };
    html! {
        svg class="meter" viewBox="0 0 160 14" width="160" height="14" role="img" aria-label=(label) {
            path class="track" d="M0 10.5H160" {}
            @if let (true, Some(evidence), Some(threshold)) = (knows, evidence, threshold) {
                @let scale = LIMIT / threshold;
                path class="ticks" d=(ticks(scale)) {}
                rect class={ "fill " (tone) } x="0" y="4" width=(coordinate((evidence * scale).clamp(0.0, WIDTH))) height="6" {}
                path class="zero" d="M0.5 3v8" {}
            } @else {
                path class="hatch" d=(hatch()) {}
            }
            @if threshold.is_some() { path class="limit" d="M128 0v14" {} }
        }
    }
}

/// A tick for each power of ten, below the track.
fn ticks(scale: f64) -> String {
    use std::fmt::Write as _;
    let mut path = String::new();
    for power in 1..=12 {
        let at = f64::from(power) * scale;
        if at >= WIDTH {
            break;
        }
        // Writing to a string cannot fail.
        let _ = write!(path, "M{} 11v3", coordinate(at));
    }
    path
}

/// Slanted strokes over the whole gauge.
fn hatch() -> String {
    use std::fmt::Write as _;
    let mut path = String::new();
    for at in (0..=148).step_by(6) {
        // Writing to a string cannot fail.
        let _ = write!(path, "M{at} 10l6-6");
    }
    path
}

fn coordinate(at: f64) -> String {
    let text = format!("{at:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// Two decimals, with a minus of the width of a digit.
pub fn signed(figure: f64) -> String {
    format!("{figure:.2}").replace('-', "−")
}

/// The sentence of a guard with its counts: what comes before the colon is strong.
pub fn sentence(guard: &Value) -> Markup {
    let says = text(&guard["says"]);
    let knows = knowledge(guard) == Knowledge::Enough;
    let state = state_words(text(&guard["state"]));
    html! {
        @if !knows {
            span class="verdict unknown" { span class="shape" aria-hidden="true" { "◌" } " not enough" }
            @if state.is_empty() { ": " } @else { ", " (state) ": " }
        }
        @match says.split_once(": ") {
            Some((name, counts)) if knows => { strong { bdi { (unbroken(name)) } } " " bdi { (unbroken(counts)) } }
            _ => { bdi { @if says.is_empty() { "no guard has seen a request" } @else { (unbroken(says)) } } }
        }
    }
}

/// How far it is from its threshold, and what it does then.
pub fn distance(guard: &Value) -> Markup {
    let (evidence, threshold) = (guard["evidence_log10"].as_f64(), guard["threshold_log10"].as_f64());
    let then = match text(&guard["act"]) {
        "rollback" => "rolls back",
        "hold" => "holds",
        "warn" => "warns",
        other => other,
    };
    let knows = knowledge(guard) == Knowledge::Enough;
    html! {
        @if let Some(threshold) = threshold.filter(|threshold| *threshold > 0.0) {
            span class="soft" {
                @match evidence.filter(|_| knows) {
                    Some(evidence) => { "log₁₀\u{a0}E " (signed(evidence)) " of " (signed(threshold)) }
                    None => { "trips at log₁₀\u{a0}E " (signed(threshold)) }
                }
                @if guard["state"] == "tripped" { ", tripped" } @else if !then.is_empty() { ", then it " (then) }
            }
        }
    }
}

/// The closest guard of a release: gauge, sentence, distance.
pub fn guard_cell(release: &Value) -> Markup {
    let closest = closest(release);
    let guard = closest.unwrap_or(&Value::Null);
    html! {
        div class="gauge" { (meter(guard)) " " (distance(guard)) }
        p class="counts" { (sentence(guard)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guard(state: &str, evidence: f64) -> Value {
        json!({ "name": "errors", "act": "rollback", "state": state, "evidence_log10": evidence, "threshold_log10": 2.5,
            "tested": { "exposures": 4_210, "events": 14 }, "ratio": { "estimate": 3.1, "lower": 0.9, "upper": 5.2 },
            "says": "errors 3.1 × stable (0.9 to 5.2): 14 callers of 4 210, on stable 3 of 9 000" })
    }

    #[test]
    fn the_bar_is_as_long_as_the_evidence() {
        for (evidence, width) in [(-1.0, "0"), (0.0, "0"), (1.25, "64"), (2.5, "128"), (9.0, "160")] {
            let shown = meter(&guard("watching", evidence)).into_string();
            assert!(shown.contains(&format!("width=\"{width}\" height=\"6\"")), "{evidence}: {shown}");
        }
        assert!(meter(&guard("watching", -0.5)).into_string().contains("evidence −0.50 of 2.50"));
    }

    #[test]
    fn not_enough_looks_its_own_way() {
        for unknown in [Value::Null, json!({}), json!("x"), guard("no_data", 1.0), json!({ "state": "watching" })] {
            let shown = meter(&unknown).into_string();
            assert!(shown.contains("hatch") && !shown.contains("fill "), "{shown}");
            assert!(sentence(&unknown).into_string().contains("not enough"));
        }
        let strange =
            json!({ "state": "watching", "tested": { "exposures": 5 }, "threshold_log10": 0, "evidence_log10": 1 });
        assert!(!meter(&strange).into_string().contains("NaN"));
    }

    #[test]
    fn the_sentence_has_the_counts() {
        let shown = sentence(&guard("watching", 1.0)).into_string();
        assert!(
            shown.contains(
                "<strong><bdi>errors 3.1\u{a0}× stable (0.9 to 5.2)</bdi></strong> <bdi>14 callers of 4\u{a0}210"
            ),
            "{shown}"
        );
        assert!(distance(&guard("watching", 1.0)).into_string().contains("1.00 of 2.50, then it rolls back"));
    }

    #[test]
    fn the_closest_guard_is_one_that_knows() {
        let both = json!({ "guards": [guard("warming_up", 2.0), guard("watching", 0.1)], "closest": guard("warming_up", 2.0) });
        assert_eq!(closest(&both).map(|guard| &guard["evidence_log10"]), Some(&json!(0.1)));
        let tripped = json!({ "guards": [guard("watching", 2.0), guard("tripped", 0.0)] });
        assert_eq!(closest(&tripped).map(|guard| &guard["state"]), Some(&json!("tripped")));
        assert!(closest(&json!({ "closest": null })).is_none() && closest(&Value::Null).is_none());
        let mut worse = guard("watching", 0.1);
        assert!(!is_near(&worse));
        worse["ratio"]["lower"] = json!(1.2);
        assert!(is_near(&worse) && is_near(&guard("watching", 1.3)) && !is_near(&Value::Null));
    }

    #[test]
    fn hostile_sentences_stay_text() {
        let hostile = json!({ "state": "<img src=x>", "says": "<img src=x onerror=alert(1)>: <b>", "act": "<i>", "evidence_log10": 1, "threshold_log10": 2 });
        let shown = guard_cell(&json!({ "closest": hostile })).into_string();
        assert!(!shown.contains("<img") && !shown.contains("<b>") && !shown.contains("<i>"), "{shown}");
    }
}
