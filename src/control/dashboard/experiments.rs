//! Experiments: arms, exposures, rates with their intervals, and the check of the sample.

use maud::{Markup, html};
use serde_json::Value;

use super::cells::{WORD_MAX, clipped, counted_value, empty, errors, name, other_verdict, quantile, sentence};
use super::figures::{NONE, count, list, percent, ratio, short, text};
use super::frame::Frame;
use super::interval::interval_bar;
use super::parts::{Tone, in_path, moment, verdict};

/// The page of `/v1/experiments`.
pub fn experiments_page(frame: &Frame<'_>, facts: &Value) -> String {
    let experiments = &facts["experiments"];
    let number = list(experiments).count();
    let main = html! {
        div class="head" {
            h1 { "Experiments" }
            @if number > 0 { p class="sums" { (counted_value(&Value::from(number), "route")) " with more than one variant" } }
        }
        @if number == 0 {
            (empty("No route has more than one variant.", &html! {
                "An experiment compares the variants of a route: add " code { "[[route.variant]]" } " with a " code { "weight" }
                " to the file. See " code { "docs/ab-test.md" } "."
            }))
        } @else {
            p class="soft" {
                "All figures are since the weights of the route changed last. An interval holds however often you look. "
                code { "docs/ab-test.md" } " says when to stop."
            }
        }
        @for one in list(experiments) { (one_experiment(text(&one["route"]), &one["experiment"])) }
    };
    frame.around(&main)
}

fn one_experiment(route: &str, experiment: &Value) -> Markup {
    let id = in_path(route);
    html! {
        section id=(id) aria-labelledby={ "h-" (id) } {
            div class="head" {
                h2 id={ "h-" (id) } { a href={ "/routes/" (id) } { (name(route)) } }
                span class="soft" { "since " (moment(&experiment["since"])) }
                (sample_verdict(&experiment["sample_ratio"]))
            }
            p {
                (sentence(text(&experiment["sample_ratio"]["says"])))
                (evidence(&experiment["sample_ratio"]))
            }
            (arms(experiment))
            (comparisons(experiment))
        }
    }
}

fn sample_verdict(check: &Value) -> Markup {
    match text(&check["result"]) {
        "ok" => verdict(Tone::Serving, "●", "the sample fits the weights"),
        "mismatch" => verdict(Tone::Bad, "✕", "the sample does not fit: do not compare"),
        "too few" => verdict(Tone::Unknown, "◌", "too few to check the sample"),
        "not measured" | "" => verdict(Tone::Unknown, "◌", "the sample is not checked"),
        other => other_verdict(other),
    }
}

fn evidence(check: &Value) -> Markup {
    let figures = check["evidence_log10"].as_f64().zip(check["threshold_log10"].as_f64());
    html! {
        @if let Some((evidence, threshold)) = figures {
            " " span class="soft nowrap" { "log₁₀\u{a0}E " (short(evidence)) " of " (short(threshold)) " against the weights" }
        }
    }
}

fn arms(experiment: &Value) -> Markup {
    let check = &experiment["sample_ratio"];
    let unit = if check["counted"] == "keys" { "Callers" } else { "Keys" };
    html! {
        table class="stack arms" role="table" {
            caption class="sr-only" { "The variants with their shares, requests, errors and durations" }
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" { "Variant" }
                @for head in ["Set", "Measured", unit, "Assigned", "Requests", "Errors", "p50", "p90", "p99"] {
                    th role="columnheader" scope="col" class="num" { (head) }
                }
            } }
            tbody role="rowgroup" {
                @for arm in list(&experiment["variants"]) {
                    @let n = &arm["requests"];
                    tr role="row" {
                        th role="rowheader" scope="row" { (name(text(&arm["name"]))) }
                        td role="cell" class="num" data-label="Set" { (percent(&arm["weight"])) }
                        td role="cell" class="num" data-label="Measured" {
                            (percent(&arm["share"]))
                            @if arm["share"].is_number() { span class="soft" { " of " (count(&check["draws"])) } }
                        }
                        td role="cell" class="num" data-label=(unit) { (keys(&arm["keys"])) }
                        td role="cell" class="num" data-label="Assigned" { (count(&arm["sampled"])) }
                        td role="cell" class="num" data-label="Requests" { (count(n)) }
                        td role="cell" class="num" data-label="Errors" { (errors(&arm["errors"], n)) }
                        td role="cell" class="num" data-label="p50" { (quantile(&arm["p50_ms"], n)) }
                        td role="cell" class="num" data-label="p90" { (quantile(&arm["p90_ms"], n)) }
                        td role="cell" class="num" data-label="p99" { (quantile(&arm["p99_ms"], n)) }
                    }
                }
            }
        }
    }
}

/// An estimate of distinct keys: the API has it as a number with a fraction of zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in the range of u64, and a fraction is dropped"
)]
fn keys(keys: &Value) -> String {
    let keys = keys.as_f64().filter(|keys| (0.0..1e15).contains(keys));
    keys.map_or_else(|| NONE.to_owned(), |keys| count(&Value::from(keys.round() as u64)))
}

fn comparisons(experiment: &Value) -> Markup {
    html! {
        @if list(&experiment["comparisons"]).next().is_none() {
            p class="soft" { "No comparison yet: both variants need requests that were assigned by weight." }
        } @else {
            table class="stack comparisons" role="table" {
                caption { "Errors against stable: the difference with its interval" }
                thead role="rowgroup" { tr role="row" {
                    th role="columnheader" scope="col" { "Variant" }
                    th role="columnheader" scope="col" { "Verdict" }
                    @for head in ["Fails", "Stable fails"] { th role="columnheader" scope="col" class="num" { (head) } }
                    th role="columnheader" scope="col" { "Difference" }
                } }
                tbody role="rowgroup" { @for one in list(&experiment["comparisons"]) { (comparison(one, &experiment["sample_ratio"])) } }
            }
        }
    }
}

fn comparison(one: &Value, check: &Value) -> Markup {
    html! {
        tr role="row" {
            th role="rowheader" scope="row" { (name(text(&one["variant"]))) " " span class="soft" { "against " (name(text(&one["against"]))) } }
            td role="cell" data-label="Verdict" {
                @if check["result"] == "mismatch" { (verdict(Tone::Unknown, "◌", "not comparable")) }
                @else { (comparison_verdict(text(&one["says"]))) }
            }
            td role="cell" class="num" data-label="Fails" { (rate(&one["error_ratio"], &one["requests"])) }
            td role="cell" class="num" data-label="Stable fails" { (rate(&one["error_ratio_against"], &one["requests_against"])) }
            td role="cell" data-label="Difference" {
                (interval_bar(&one["difference"], &one["difference_low"], &one["difference_high"]))
                " " span class="nowrap" { (points(&one["difference"])) " points" }
                @if one["difference_low"].is_number() {
                    " " span class="soft nowrap" { "(" (points(&one["difference_low"])) " to " (points(&one["difference_high"])) ", " (ratio(&one["confidence"])) ")" }
                }
            }
        }
    }
}

fn comparison_verdict(says: &str) -> Markup {
    match says {
        "fails more often" => verdict(Tone::Bad, "✕", says),
        "fails less often" => verdict(Tone::Serving, "●", says),
        "" => other_verdict(""),
        other => verdict(Tone::Quiet, "○", &clipped(other, WORD_MAX)),
    }
}

/// `0.23 % of 3 051`.
fn rate(part: &Value, of: &Value) -> String {
    if part.is_number() { format!("{} of {}", ratio(part), count(of)) } else { format!("{NONE} of {}", count(of)) }
}

/// A difference of ratios in percentage points, with its sign.
pub fn points(value: &Value) -> String {
    let Some(points) = value.as_f64().map(|ratio| ratio * 100.0) else { return NONE.to_owned() };
    let shown = short(points.abs());
    match points {
        _ if shown == "0" => shown,
        points if points < 0.0 => format!("−{shown}"),
        _ => format!("+{shown}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn facts() -> Value {
        json!({ "experiments": [{ "route": "shop", "experiment": {
            "since": "2026-12-01T00:58:17.696Z",
            "variants": [
                { "name": "stable", "weight": 90, "share": 90.16, "keys": 1_805.0, "sampled": 6_371, "requests": 6_371, "errors": 0, "p50_ms": 0.05, "p99_ms": 2.24 },
                { "name": "canary", "weight": 10, "share": null, "keys": null, "sampled": 0, "requests": 0, "errors": 0, "p50_ms": 1.0 },
            ],
            "sample_ratio": { "result": "ok", "says": "1952 keys fit the weights", "counted": "keys", "draws": 1_952, "evidence_log10": 0.0, "threshold_log10": 3.0 },
            "comparisons": [{ "variant": "canary", "against": "stable", "requests": 689, "requests_against": 6_371, "error_ratio": 0.002, "error_ratio_against": 0.0,
                "difference": 0.002, "difference_low": -0.0014, "difference_high": 0.0109, "confidence": 0.95, "says": "no difference shown" }],
        } }] })
    }

    #[test]
    fn rates_come_with_counts_and_intervals() {
        let page = shown_by(true, |frame| experiments_page(frame, &facts()));
        for part in [
            "the sample fits the weights",
            "90.2\u{a0}%<span class=\"soft\"> of 1\u{a0}952",
            ">1\u{a0}805<",
            "0.2\u{a0}% of 689",
            "0\u{a0}% of 6\u{a0}371",
            "+0.2 points",
            "(−0.14 to +1.09, 95\u{a0}%)",
            "no difference shown",
            "<svg",
            "href=\"/routes/shop\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("1\u{a0}ms"), "no quantile without requests: {page}");
    }

    #[test]
    fn a_sample_that_does_not_fit_forbids_the_comparison() {
        let mut facts = facts();
        for (result, words) in [
            ("mismatch", "do not compare"),
            ("too few", "too few to check"),
            ("not measured", "is not checked"),
            ("", "is not checked"),
        ] {
            facts["experiments"][0]["experiment"]["sample_ratio"]["result"] = json!(result);
            let page = shown_by(true, |frame| experiments_page(frame, &facts));
            assert!(page.contains(words), "{result}: {page}");
            assert_eq!(page.contains("not comparable"), result == "mismatch");
        }
    }

    #[test]
    fn signs_are_of_the_difference() {
        for (value, shown) in [
            (json!(0.0), "0"),
            (json!(-0.0014), "−0.14"),
            (json!(0.5), "+50"),
            (json!(1e-9), "0"),
            (json!(null), "–"),
            (json!("x"), "–"),
        ] {
            assert_eq!(points(&value), shown);
        }
        for (value, shown) in [
            (json!(1_805.0), "1\u{a0}805"),
            (json!(-1.0), "–"),
            (json!(1e300), "–"),
            (json!(null), "–"),
            (json!(7), "7"),
        ] {
            assert_eq!(keys(&value), shown);
        }
    }

    #[test]
    fn missing_bad_and_hostile_answers_are_shown() {
        for facts in [json!(null), json!({}), json!({ "experiments": "x" })] {
            assert!(
                shown_by(true, |frame| experiments_page(frame, &facts)).contains("No route has more than one variant.")
            );
        }
        let bad =
            json!({ "experiments": [null, 7, { "experiment": { "variants": [null], "comparisons": [null, {}] } }] });
        let page = shown_by(true, |frame| experiments_page(frame, &bad));
        assert!(page.contains("No comparison yet") && !page.contains("NaN"), "{page}");
        let page = shown_by(true, |frame| experiments_page(frame, &hostile_everywhere(&facts())));
        assert!(!page.contains("<img"), "{page}");
    }
}
