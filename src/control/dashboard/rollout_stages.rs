//! The stages of a rollout as a table: weights, times as planned and as they were, approvals given and awaited.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, percent, span, text};
use super::parts::{Tone, moment, verdict};

/// The stages; when each was entered is in the records, newest first.
pub fn stage_table(rollout: &Value, records: &[Value]) -> Markup {
    html! {
        table class="stack stages" role="table" {
            thead { tr role="row" {
                @for head in ["Stage", "Weight", "Entered", "Time in it", "Earliest end", "Approvals"] {
                    th scope="col" role="columnheader" class=[(head == "Weight").then_some("num")] { (head) }
                }
            } }
            tbody { @for stage in list(&rollout["stages"]) { (stage_row(rollout, stage, records)) } }
        }
    }
}

fn stage_row(rollout: &Value, stage: &Value, records: &[Value]) -> Markup {
    let is_current = stage["place"] == "current";
    html! {
        tr role="row" class=[(stage["place"] == "ahead").then_some("quiet")] aria-current=[is_current.then_some("step")] {
            th scope="row" role="rowheader" { (place(text(&stage["place"]))) " " bdi { (text(&stage["name"])) } }
            td role="cell" data-label="Weight" class="num" { (percent(&stage["weight"])) }
            td role="cell" data-label="Entered" { (entered(stage, records)) }
            td role="cell" data-label="Time in it" { (time_in_it(stage)) }
            td role="cell" data-label="Earliest end" { @if is_current { (earliest_end(rollout)) } @else { "–" } }
            td role="cell" data-label="Approvals" { (approvals(rollout, stage)) }
        }
    }
}

fn place(word: &str) -> Markup {
    match word {
        "done" => verdict(Tone::Quiet, "✓", "passed"),
        "current" => html! { span class="verdict" { span class="shape" aria-hidden="true" { "▸" } " now" } },
        _ => verdict(Tone::Quiet, "○", "ahead"),
    }
}

/// When it was entered last.
fn entered(stage: &Value, records: &[Value]) -> Markup {
    let enters =
        |record: &&Value| record["act"] == "enter" && !record["stage"].is_null() && record["stage"] == stage["name"];
    let record = records.iter().find(enters).filter(|_| stage["place"] != "ahead");
    record.map_or_else(|| html! { "–" }, |record| moment(&record["at"]))
}

fn time_in_it(stage: &Value) -> Markup {
    let least = stage["min_duration_ms"].as_u64().unwrap_or(0);
    html! {
        @if let Some(run) = stage["run_ms"].as_u64() { (span(run)) @if least > 0 { " of " } }
        @if least > 0 { @if !stage["run_ms"].is_u64() { "at least " } (span(least)) }
        @if least == 0 && !stage["run_ms"].is_u64() { "no least time" }
    }
}

/// When the last block that ends by itself is over.
fn earliest_end(rollout: &Value) -> Markup {
    let ends = list(&rollout["blocks"]).filter(|block| block["until"].is_string());
    let last = ends.max_by(|one, other| text(&one["until"]).cmp(text(&other["until"])));
    last.map_or_else(|| html! { "–" }, |block| moment(&block["until"]))
}

fn approvals(rollout: &Value, stage: &Value) -> Markup {
    let roles: Vec<&Value> = list(&stage["approve"]).collect();
    html! {
        @if roles.is_empty() { span class="soft" { "none asked" } }
        @else {
            ul class="approvals" { @for role in roles { li { (approval(rollout, stage, text(role))) } } }
        }
    }
}

fn approval(rollout: &Value, stage: &Value, role: &str) -> Markup {
    let given = list(&stage["approved"]).find(|one| one["role"] == role);
    let awaited = list(&rollout["awaited"]).find(|one| one["role"] == role).filter(|_| stage["place"] == "current");
    let people: Vec<&str> = awaited.map(|one| list(&one["people"]).map(text).collect()).unwrap_or_default();
    html! {
        @match (given, awaited) {
            (Some(given), _) => {
                span aria-hidden="true" { "✓ " } bdi { (role) } ": given by " bdi { (text(&given["by"])) } ", " (moment(&given["at"]))
            }
            (None, Some(_)) => {
                (verdict(Tone::Asks, "◆", "awaited")) " " bdi { (role) }
                @if !people.is_empty() { ": " bdi { (people.join(", ")) } }
            }
            (None, None) => { span class="soft" { "○ " bdi { (role) } ": not asked yet" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout() -> Value {
        json!({ "stages": [
            { "name": "few", "weight": 5, "place": "done", "run_ms": null, "min_duration_ms": 8_000, "approve": [], "approved": [] },
            { "name": "half", "weight": 50, "place": "current", "run_ms": 61_000, "min_duration_ms": 7_200_000,
                "approve": ["lead", "product", "ops"], "approved": [{ "role": "product", "by": "dee", "at": "2026-12-01T00:30:00.000Z" }] },
            { "name": "all", "weight": 100, "place": "ahead", "run_ms": null, "min_duration_ms": 0, "approve": ["lead"], "approved": [] } ],
          "awaited": [{ "role": "lead", "people": ["ana"] }],
          "blocks": [{ "until": "2026-12-01T02:00:00.000Z" }, { "until": "2026-12-01T03:00:00.000Z" }, { "until": null }] })
    }

    #[test]
    fn stages_have_their_times_and_approvals() {
        let records = [
            json!({ "act": "enter", "stage": "half", "at": "2026-12-01T00:59:00.000Z" }),
            json!({ "act": "enter", "stage": "half", "at": "2026-11-01T00:00:00.000Z" }),
            json!({ "act": "enter", "stage": "all", "at": "2026-10-01T00:00:00.000Z" }),
        ];
        let page = stage_table(&rollout(), &records).into_string();
        for part in [
            "00:59:00",
            "1\u{a0}min 1\u{a0}s of 2\u{a0}h",
            "03:00:00",
            "given by <bdi>dee</bdi>",
            "awaited",
            "ana",
            "not asked yet",
            "at least 8\u{a0}s",
            "no least time",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(
            !page.contains("2026-11-01") && !page.contains("2026-10-01"),
            "the last entry counts, and only of stages that were entered"
        );
        assert_eq!(page.matches("aria-current").count(), 1);
    }

    #[test]
    fn missing_members_are_dashes_and_hostile_names_text() {
        for bad in [Value::Null, json!({}), json!({ "stages": "x" }), json!({ "stages": [null, {}, 7] })] {
            assert!(!stage_table(&bad, &[Value::Null]).into_string().contains("null"));
        }
        let hostile = json!("<img src=x onerror=alert(1)>");
        let stages = json!({ "stages": [{ "name": hostile, "place": hostile, "approve": [hostile], "approved": [{ "role": hostile, "by": hostile, "at": hostile }] }] });
        assert!(!stage_table(&stages, &[]).into_string().contains("<img"));
    }
}
