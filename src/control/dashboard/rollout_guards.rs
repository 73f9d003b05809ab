//! The guards of a release: evidence over time, the estimate with its interval in words, the counts of both arms.

use maud::{Markup, html};
use serde_json::Value;

use super::chart::evidence_chart;
use super::figures::{count, list, millis, ratio, text, unbroken};
use super::guard_meter::{Knowledge, distance, is_near, knowledge, meter, state_words};
use super::parts::{Tone, verdict};

/// An estimate has no ratio above this one.
const RATIO_MAX: f64 = 63.0;

/// All guards.
pub fn guards_section(release: &Value, history: &Value) -> Markup {
    let guards: Vec<&Value> = list(&release["guards"]).collect();
    html! {
        section aria-labelledby="guards-head" {
            h2 id="guards-head" { "Guards: is the canary worse?" }
            @if guards.is_empty() { p class="soft" { "No guard watches it: errors of the canary stop nothing by themselves." } }
            @else { div class="guards" { @for guard in guards { (guard_panel(guard, history)) } } }
        }
    }
}

fn guard_panel(guard: &Value, history: &Value) -> Markup {
    let name = text(&guard["name"]);
    let series = list(&history["guards"]).find(|one| one["name"] == name && !name.is_empty());
    html! {
        article class="guard" id={ "guard-" (name) } {
            div class="head" { h3 { bdi { (name) } } (state(guard)) (distance(guard)) }
            p class="soft" { bdi { (text(&guard["test"])) } }
            p class="counts" { (in_words(guard)) }
            @match series {
                Some(series) => (evidence_chart(history, series)),
                None => (meter(guard)),
            }
            (counts_table(guard))
        }
    }
}

/// The state of a guard as a verdict: only one that has seen enough can be green.
fn state(guard: &Value) -> Markup {
    let word = text(&guard["state"]);
    match (word, knowledge(guard)) {
        ("tripped", _) => verdict(Tone::Bad, "✕", "tripped"),
        ("watching", Knowledge::Enough) if is_near(guard) => verdict(Tone::Watch, "▲", "near"),
        ("watching", Knowledge::Enough) => verdict(Tone::Serving, "●", "watching"),
        ("watching", Knowledge::TooLittle) => verdict(Tone::Unknown, "◌", "no callers yet"),
        ("", _) => verdict(Tone::Unknown, "◌", "unknown"),
        (other, _) => verdict(Tone::Unknown, "◌", state_words(other)),
    }
}

/// `the canary fails 3.1 × as often as stable, 1.9 to 5.2`.
fn in_words(guard: &Value) -> Markup {
    let says = text(&guard["says"]);
    let Some(estimate) = guard["ratio"]["estimate"].as_f64() else {
        return html! { bdi { (unbroken(says)) } };
    };
    let times = if estimate >= RATIO_MAX { "more than 63".to_owned() } else { digits(estimate) };
    let verb = match text(&guard["name"]) {
        "errors" => "fails",
        "latency" => "is slow",
        _ => "does so",
    };
    html! {
        strong { "The canary " (verb) " " (times) " × as often as stable" (interval(&guard["ratio"])) "." } " "
        @if guard["slow_after_ms"].is_number() { "Slow: above " (millis(&guard["slow_after_ms"])) ". " }
        span class="soft" { bdi { (unbroken(says.split_once(": ").map_or(says, |(_, counts)| counts))) } }
    }
}

fn interval(ratio: &Value) -> String {
    match (ratio["lower"].as_f64(), ratio["upper"].as_f64()) {
        (Some(lower), Some(upper)) => format!(", {} to {}", digits(lower), digits(upper)),
        (Some(lower), None) => format!(", at least {}", digits(lower)),
        (None, Some(upper)) => format!(", at most {}", digits(upper)),
        (None, None) => ", within an unknown interval".to_owned(),
    }
}

/// Two significant digits.
fn digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 10.0 => 0,
        value if value >= 1.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// The callers of both arms; those that failed or were slow, where the guard counts such.
fn counts_table(guard: &Value) -> Markup {
    let what = match text(&guard["name"]) {
        "errors" | "near-full" => Some("Failed"),
        "latency" => Some("Slow"),
        _ if guard["ratio"].is_object() => Some("Counted"),
        _ => None,
    };
    let has_seen =
        ["tested", "stable"].iter().any(|arm| guard[arm]["exposures"].as_u64().is_some_and(|count| count > 0));
    html! {
        @if has_seen {
            table class="fit arms" {
                thead { tr {
                    th scope="col" { "Arm" }
                    th scope="col" class="num" { "Callers" }
                    @if let Some(what) = what { th scope="col" class="num" { (what) } th scope="col" class="num" { "Part" } }
                } }
                tbody {
                    @for (arm, member) in [("canary", "tested"), ("stable", "stable")] {
                        @let counts = &guard[member];
                        tr {
                            th scope="row" { span class={ "arm " (arm) } aria-hidden="true" {} (arm) }
                            td class="num" { (count(&counts["exposures"])) }
                            @if what.is_some() {
                                td class="num" { (count(&counts["events"])) }
                                td class="num" { (ratio(&counts["rate"])) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(guard: &Value) -> String {
        guards_section(&json!({ "guards": [guard] }), &Value::Null).into_string()
    }

    fn guard(name: &str, state: &str, ratio: &Value) -> Value {
        json!({ "name": name, "state": state, "ratio": ratio, "slow_after_ms": if name == "latency" { json!(200) } else { Value::Null },
            "evidence_log10": 0.2, "threshold_log10": 2.5, "tested": { "exposures": 4_210, "events": 14, "rate": 0.0033 },
            "stable": { "exposures": 0, "events": 0, "rate": null }, "says": "14 callers of 4 210" })
    }

    #[test]
    fn the_estimate_is_in_words_with_its_interval() {
        for (name, ratio, words) in [
            (
                "errors",
                json!({ "estimate": 3.1, "lower": 0.9, "upper": 5.2 }),
                "The canary fails 3.1 × as often as stable, 0.90 to 5.2.",
            ),
            (
                "latency",
                json!({ "estimate": 0.87, "lower": null, "upper": 3.4 }),
                "is slow 0.87 × as often as stable, at most 3.4.",
            ),
            (
                "errors",
                json!({ "estimate": 64, "lower": 6.26, "upper": null }),
                "fails more than 63 × as often as stable, at least 6.3.",
            ),
            (
                "own",
                json!({ "estimate": 12.4, "lower": null, "upper": null }),
                "12 × as often as stable, within an unknown interval.",
            ),
            ("errors", Value::Null, "<bdi>14 callers of 4\u{a0}210</bdi>"),
        ] {
            let page = shown(&guard(name, "watching", &ratio));
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(shown(&guard("latency", "watching", &json!({ "estimate": 1 }))).contains("Slow: above 200\u{a0}ms"));
        assert!(!shown(&guard("sample-ratio", "watching", &Value::Null)).contains("Part"), "it counts callers alone");
        assert!(!shown(&json!({ "tested": { "exposures": 0 }, "stable": null })).contains("<table"));
    }

    #[test]
    fn each_state_looks_its_own_way() {
        for (state, words) in [
            ("watching", "verdict serving"),
            ("tripped", "verdict bad"),
            ("no_data", "no data"),
            ("too_few", "too few callers"),
            ("waits_for_threshold", "waits for a threshold"),
            ("warming_up", "warming up"),
            ("threshold_void", "threshold void"),
            ("not_near_full", "only near 100"),
            ("no_memory", "no memory"),
            ("stands", "stands still"),
            ("", "unknown"),
        ] {
            let page = shown(&guard("errors", state, &Value::Null));
            assert!(page.contains(words), "{state}: {page}");
            assert_eq!(page.contains("verdict serving"), state == "watching", "{state}");
        }
    }

    #[test]
    fn missing_and_hostile_guards_are_text() {
        assert!(guards_section(&Value::Null, &Value::Null).into_string().contains("No guard watches it"));
        for bad in [Value::Null, json!({}), json!({ "tested": "x", "ratio": [], "name": 7 })] {
            assert!(!shown(&bad).contains("NaN") && !shown(&bad).contains("verdict serving"));
        }
        let hostile = "<img src=x onerror=alert(1)>";
        let page =
            shown(&json!({ "name": hostile, "state": hostile, "says": hostile, "test": hostile, "act": hostile }));
        assert!(!page.contains("<img"), "{page}");
    }
}
