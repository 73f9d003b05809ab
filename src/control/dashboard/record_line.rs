//! A record of the journal in one line: when, who, what and why.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, percent, text};
use super::parts::{code_spans, moment};

/// Why, as the record says it: a decision has a sentence, a kill the reason of a person.
pub fn record_says(record: &Value) -> &str {
    let because = text(&record["because"]);
    let sentence = if because.is_empty() { text(&record["evidence"]["sentence"]) } else { because };
    if sentence.is_empty() { text(&record["reason"]) } else { sentence }
}

/// What was done: the act of a decision, or the kind of the record.
pub fn record_act(record: &Value) -> &str {
    let act = text(&record["act"]);
    if act.is_empty() { text(&record["what"]) } else { act }
}

/// The last record of a release. The sentence of an act of a person begins with the name.
pub fn record_line(record: &Value) -> Markup {
    let (who, says) = (text(&record["who"]["name"]), record_says(record));
    let names_who = !who.is_empty() && says.starts_with(who);
    html! {
        @if record.is_object() {
            p class="record" title=(says) {
                (moment(&record["at"])) " "
                @if !names_who { bdi { (who) } " " (record_act(record)) ": " }
                (code_spans(says))
            }
        }
    }
}

/// The records of a release, newest first.
pub fn record_table(records: &[Value]) -> Markup {
    html! {
        @if records.is_empty() {
            p class="soft" { "No record of it is in memory." }
        } @else {
            table class="stack records" role="table" {
                thead { tr role="row" {
                    @for head in ["When", "Who", "Act", "Weight", "Why"] { th scope="col" role="columnheader" { (head) } }
                } }
                tbody {
                    @for record in records { (record_row(record)) }
                }
            }
        }
    }
}

fn record_row(record: &Value) -> Markup {
    let seq = &record["seq"];
    html! {
        tr role="row" data-row={ "record:" (seq) } {
            th scope="row" role="rowheader" { (moment(&record["at"])) " " span class="soft" { "#" (seq) } }
            td role="cell" data-label="Who" {
                bdi { (text(&record["who"]["name"])) } " " span class="soft" { "by " bdi { (text(&record["who"]["via"])) } }
            }
            td role="cell" data-label="Act" { bdi { (record_act(record)) } }
            td role="cell" data-label="Weight" class="nowrap" {
                @if record["to"].is_number() {
                    @if record["from"] != record["to"] { (percent(&record["from"])) " → " }
                    (percent(&record["to"]))
                } @else { "–" }
            }
            td role="cell" data-label="Why" {
                (code_spans(record_says(record)))
                @if list(&record["routes"]).count() > 1 { span class="soft" { " on " (list(&record["routes"]).count()) " routes" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_says_when_who_what_and_why() {
        let rollout = json!({ "seq": 4, "at": "2026-12-01T00:59:00.865Z", "who": { "name": "pointsman", "via": "process" },
            "what": "rollout", "act": "enter", "from": 5, "to": 25, "because": "it enters stage `quarter` at 25 %" });
        let line = record_line(&rollout).into_string();
        assert!(
            line.contains("00:59:00") && line.contains("pointsman") && line.contains("<code><bdi>quarter"),
            "{line}"
        );
        let page = record_table(&[rollout]).into_string();
        assert!(page.contains("5\u{a0}% → 25\u{a0}%") && page.contains("data-row=\"record:4\""), "{page}");
        let kill = json!({ "what": "kill", "reason": "INC-1", "who": {} });
        assert!(record_line(&kill).into_string().contains("kill: INC-1"));
        let release = json!({ "what": "release", "act": "rollback", "evidence": { "sentence": "7 callers of 9" } });
        assert!(record_line(&release).into_string().contains("rollback: 7 callers of 9"));
    }

    #[test]
    fn bad_records_are_dashes_and_hostile_ones_text() {
        assert_eq!(record_line(&Value::Null).into_string(), "");
        assert!(record_table(&[]).into_string().contains("No record"));
        let hostile = json!("<img src=x onerror=alert(1)>");
        let record = json!({ "at": hostile, "who": { "name": hostile, "via": hostile }, "act": hostile, "because": hostile, "seq": hostile });
        let page =
            record_table(&[record.clone(), Value::Null, json!(7)]).into_string() + &record_line(&record).into_string();
        assert!(!page.contains("<img"), "{page}");
    }
}
