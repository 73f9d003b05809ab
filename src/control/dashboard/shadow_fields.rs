//! The fields in which the responses to copies differ: how often, against the noise of controls, with samples.

use maud::{Markup, html};
use serde_json::Value;

use super::cells::{clipped, name, other_verdict, part_of, sentence, word};
use super::figures::{NONE, list, short, text};
use super::parts::{Tone, in_path, moment, verdict};

/// The most samples of a field that are shown.
const SAMPLES_MAX: usize = 5;
/// The most fields of a route that are shown.
const FIELDS_MAX: usize = 100;
/// The most characters of a path in the key of its row.
const KEY_MAX: usize = 256;
/// The most characters of a sample's value.
const VALUE_MAX: usize = 200;

/// The fields of a route's comparison, those that really differ first.
pub fn field_table(route: &str, comparison: &Value) -> Markup {
    let mut fields: Vec<&Value> = list(&comparison["fields"]).collect();
    fields.sort_by_key(|field| rank(field));
    html! {
        @if fields.is_empty() {
            p class="soft" { "No field differs so far." }
        } @else {
            table class="stack fields" role="table" {
                caption class="sr-only" { "Fields that differ between the responses to requests and to copies" }
                thead role="rowgroup" { tr role="row" {
                    @for head in ["Field", "Verdict"] { th role="columnheader" scope="col" { (head) } }
                    @for head in ["Copies that differ", "Controls that differ", "Evidence"] { th role="columnheader" scope="col" class="num" { (head) } }
                    th role="columnheader" scope="col" { "Samples, and the line that accepts it" }
                } }
                tbody role="rowgroup" {
                    @for (at, field) in fields.iter().take(FIELDS_MAX).enumerate() { (field_row(&format!("{}-{at}", in_path(route)), field)) }
                }
            }
            @if fields.len() > FIELDS_MAX {
                p class="soft" { (FIELDS_MAX) " of " (fields.len()) " fields: " code { "pointsman compare" } " has all." }
            }
        }
    }
}

fn rank(field: &Value) -> u8 {
    match text(&field["verdict"]) {
        "confirmed" => 0,
        "unknown" => 1,
        _ => 2,
    }
}

fn field_row(key: &str, field: &Value) -> Markup {
    let path = text(&field["path"]);
    html! {
        tr role="row" data-row={ "field:" (clipped(path, KEY_MAX)) " " (text(&field["kind"])) } tabindex="-1" {
            th role="rowheader" scope="row" { code { (name(path)) } " " span class="soft" { (word(text(&field["kind"]))) } }
            td role="cell" data-label="Verdict" { (field_verdict(field)) }
            td role="cell" class="num" data-label="Copies" { (part_of(&field["candidate"]["different"], &field["candidate"]["of"])) }
            td role="cell" class="num" data-label="Controls" { (part_of(&field["control"]["different"], &field["control"]["of"])) }
            td role="cell" class="num" data-label="Evidence" { (evidence(field)) }
            td role="cell" class="samples" data-label="Samples" { (samples(key, field)) }
        }
    }
}

fn field_verdict(field: &Value) -> Markup {
    match text(&field["verdict"]) {
        "confirmed" => html! { (verdict(Tone::Watch, "▲", "confirmed")) span class="soft" { ": really differs" } },
        "noisy" => {
            html! { (verdict(Tone::Quiet, "○", "noise")) span class="soft" { ": stable differs from itself" } }
        }
        "unknown" | "" => {
            html! { (verdict(Tone::Unknown, "◌", "unknown")) span class="soft" { ": too few copies or controls" } }
        }
        other => other_verdict(other),
    }
}

fn evidence(field: &Value) -> String {
    let figure = |member: &str| field[member].as_f64().map_or_else(|| NONE.to_owned(), short);
    format!("log₁₀\u{a0}E {} of {}", figure("evidence_log10"), figure("threshold_log10"))
}

fn samples(key: &str, field: &Value) -> Markup {
    let mut all: Vec<&Value> = list(&field["samples"]).collect();
    // RFC 3339 in UTC: the order of the texts is that of the moments.
    all.sort_by(|one, other| text(&other["at"]).cmp(text(&one["at"])));
    let number = all.len();
    html! {
        @if number > 0 {
            details id={ "samples-" (key) } {
                summary { (number) @if number == 1 { " sample" } @else { " samples" } }
                ol class="pairs-list" {
                    @for sample in all.iter().take(SAMPLES_MAX) {
                        li {
                            (value(&sample["primary"])) " → " (value(&sample["candidate"]))
                            p class="soft" { (moment(&sample["at"])) " request " code { (name(text(&sample["request_id"]))) } }
                        }
                    }
                }
                @if number > SAMPLES_MAX { p class="soft" { "The newest " (SAMPLES_MAX) " of " (number) ": " code { "GET /v1/shadows" } " has all." } }
            }
        } @else { span class="soft" { "no sample kept" } }
        @if field["ignore"].is_string() { p { code { (sentence(text(&field["ignore"]))) } } }
        @if field["note"].is_string() { p class="soft" { (sentence(text(&field["note"]))) } }
    }
}

/// A value of a response, which is text of others.
fn value(value: &Value) -> Markup {
    html! {
        @if let Some(shown) = value.as_str() { code class="value" { bdi { (clipped(shown, VALUE_MAX)) } } }
        @else { span class="soft" { "(absent)" } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::tests::hostile_everywhere;
    use super::*;

    fn field(verdict: &str, samples: usize) -> Value {
        json!({ "path": format!("$.{verdict}"), "kind": "value", "verdict": verdict, "candidate": { "different": 583, "of": 1_750 },
            "control": { "different": 0, "of": 874 }, "evidence_log10": 84.97, "threshold_log10": 4.03, "ignore": "ignore = [\"$.x\"]", "note": null,
            "samples": vec![json!({ "at": "2026-12-01T00:58:39.319Z", "request_id": "01a2", "primary": "800", "candidate": null }); samples] })
    }

    #[test]
    fn what_really_differs_is_first() {
        let comparison = json!({ "fields": [field("noisy", 1), field("unknown", 0), field("confirmed", 9)] });
        let page = field_table("api", &comparison).into_string();
        let order: Vec<usize> =
            ["$.confirmed", "$.unknown", "$.noisy"].iter().filter_map(|path| page.find(path)).collect();
        assert!(order.is_sorted() && order.len() == 3, "{page}");
        for part in [
            "583 of 1\u{a0}750 (33.3\u{a0}%)",
            "0 of 874 (0\u{a0}%)",
            "log₁₀\u{a0}E 85 of 4.03",
            "really differs",
            "stable differs from itself",
            "too few copies",
            "9 samples",
            "1 sample<",
            "(absent)",
            "The newest 5 of 9",
            "id=\"samples-api-0\"",
            "ignore = [&quot;$.x&quot;]",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn the_newest_samples_are_shown() {
        let sample = |second: u64| json!({ "at": format!("2026-12-01T00:58:{second:02}Z"), "primary": format!("value {second}") });
        let mut one = field("confirmed", 0);
        one["samples"] = (10..20).map(sample).collect();
        let page = field_table("api", &json!({ "fields": [one] })).into_string();
        assert!(page.contains("value 19") && page.contains("value 15") && !page.contains("value 14"), "{page}");
    }

    #[test]
    fn bad_and_hostile_fields_are_shown() {
        assert!(field_table("api", &Value::Null).into_string().contains("No field differs"));
        let page = field_table("api", &json!({ "fields": [null, 7, {}, { "verdict": 7, "samples": [null, 7] }] }))
            .into_string();
        assert!(page.contains("unknown") && page.contains("log₁₀\u{a0}E – of –"), "{page}");
        let mut one = field("confirmed", 7);
        one["samples"][0]["candidate"] = json!("x".repeat(1 << 16));
        let fields: Vec<Value> = vec![one; 1_000];
        let page = field_table("<img src=x>", &hostile_everywhere(&json!({ "fields": fields }))).into_string();
        assert!(!page.contains("<img") && page.contains("100 of 1000 fields"), "{page}");
        assert!(page.len() < 3_000_000, "{}", page.len());
    }
}
