//! A record of the journal in words: what was done, with what, what changed, and why. The page and the export have the same.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::banner::scope_words;
use super::cells::{clipped, name};
use super::figures::{list, percent, span, text};
use super::parts::in_path;

/// What is looked for in the journal, as the query has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalFilter {
    /// A part of any text of a record.
    pub text: String,
    /// An act, such as `kill`; empty: all.
    pub act: String,
    /// Only records before this one.
    pub before: Option<u64>,
}

impl JournalFilter {
    /// Whether a record fits.
    #[must_use]
    pub fn admits(&self, record: &Value) -> bool {
        let is_before = match (self.before, record["seq"].as_u64()) {
            (Some(before), Some(seq)) => seq < before,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let is_act = self.act.is_empty() || record["what"] == self.act || record["act"] == self.act;
        let wanted = self.text.trim().to_lowercase();
        is_before && is_act && (wanted.is_empty() || has_text(record, &wanted))
    }
}

/// Whether a text that is shown of the record has this part, in letters of either case.
fn has_text(record: &Value, wanted: &str) -> bool {
    let line = JournalLine::of(record);
    let parts = [&line.who, &line.via, &line.act, &line.target, &line.change, &line.reason, &line.at];
    let revision = text(&record["revision"]);
    parts.into_iter().map(String::as_str).chain([revision]).any(|part| part.to_lowercase().contains(wanted))
}

/// A record in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalLine {
    /// When: RFC 3339.
    pub at: String,
    pub who: String,
    /// How they came in.
    pub via: String,
    /// Such as `kill` or `rollback`.
    pub act: String,
    /// What it was about.
    pub target: String,
    /// What changed, in one line.
    pub change: String,
    /// Why, in the words of the person.
    pub reason: String,
}

impl JournalLine {
    /// The words of a record.
    pub fn of(record: &Value) -> Self {
        let own = |value: &Value| text(value).to_owned();
        let act = if record["act"].is_string() { &record["act"] } else { &record["what"] };
        Self {
            at: own(&record["at"]),
            who: own(&record["who"]["name"]),
            via: own(&record["who"]["via"]),
            act: own(act),
            target: target(record),
            change: change(record),
            reason: own(&record["reason"]),
        }
    }
}

/// What a record is about, such as `rollout shop-v2`.
fn target(record: &Value) -> String {
    match text(&record["what"]) {
        "rollout" => format!("rollout {}", text(&record["rollout"])),
        "release" => format!("release {}", text(&record["release"])),
        "endpoint" => format!("{} of {}", text(&record["endpoint"]), text(&record["upstream"])),
        "kill" | "revive" | "refused" => scope_words(&scope_of(record)),
        "reload" => "the files".to_owned(),
        "start" => "the process".to_owned(),
        "checkpoint" => "the journal".to_owned(),
        _ => String::new(),
    }
}

/// The members of a record that are a scope.
fn scope_of(record: &Value) -> Value {
    let kinds = ["all", "route", "variant", "rollout", "tenant", "shadow"];
    let members =
        kinds.iter().filter(|kind| !record[**kind].is_null()).map(|kind| ((*kind).to_owned(), record[*kind].clone()));
    Value::Object(members.collect::<Map<String, Value>>())
}

/// What changed, in one line.
fn change(record: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    match text(&record["what"]) {
        "start" => parts.push(format!("version {} on {}", text(&record["version"]), text(&record["host"]))),
        "reload" => {
            parts.push(format!("{}, generation {}", text(&record["outcome"]), record["generation"]));
            parts.extend(list(&record["summary"]).map(|line| text(line).to_owned()));
            parts.extend(list(&record["diagnostics"]).map(|one| text(&one["message"]).to_owned()));
        }
        "kill" => parts
            .extend(record["close_streams_ms"].as_u64().map(|after| format!("closes streams after {}", span(after)))),
        "endpoint" if record["force"] == true => parts.push("forced".to_owned()),
        "release" => {
            parts.extend([&record["because"], &record["evidence"]["sentence"]].map(text).map(str::to_owned));
        }
        "rollout" => {
            parts.extend(weights(record));
            parts.push(text(&record["because"]).to_owned());
        }
        "checkpoint" => {
            for (member, noun) in [("kills", "kills"), ("latches", "latches"), ("rollouts", "rollouts")] {
                parts.extend(
                    Some(list(&record[member]).count())
                        .filter(|number| *number > 0)
                        .map(|number| format!("{number} {noun}")),
                );
            }
            parts.push(text(&record["because"]).to_owned());
        }
        _ => parts.push(text(&record["because"]).to_owned()),
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn weights(record: &Value) -> Option<String> {
    let (from, to) = (&record["from"], &record["to"]);
    (from.is_number() && to.is_number() && from != to).then(|| format!("{} → {}", percent(from), percent(to)))
}

/// What a record is about, with a link to its page.
pub fn target_link(record: &Value, words: &str) -> Markup {
    let named = |kind: &str| record[kind].as_str().filter(|name| !name.is_empty());
    let route = named("route").or_else(|| named("variant").and_then(|full| full.split(':').next()));
    let path = match text(&record["what"]) {
        "rollout" => named("rollout").map(|name| format!("/rollouts/{}", in_path(name))),
        "release" => named("release").map(|name| format!("/rollouts/{}", in_path(name))),
        "endpoint" => named("upstream").map(|name| format!("/upstreams#upstream-{}", in_path(name))),
        "reload" => Some("/config".to_owned()),
        "kill" | "revive" | "refused" => match (named("rollout"), route) {
            (Some(rollout), _) => Some(format!("/rollouts/{}", in_path(rollout))),
            (None, Some(route)) => Some(format!("/routes/{}", in_path(route))),
            (None, None) => Some("/kills".to_owned()),
        },
        _ => None,
    };
    let shown = if words == "all" { "everything" } else { words };
    html! {
        @match path {
            Some(path) if !shown.is_empty() => a href=(clipped(&path, 1_000)) { (name(shown)) },
            _ => (name(shown)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A record of each kind.
    pub fn records() -> Vec<Value> {
        let record = |seq: u64, members: Value| {
            let mut record = json!({ "v": 1, "seq": seq, "at": "2026-12-01T00:59:59.684Z", "who": { "name": "root", "via": "socket" },
                "config": "c0be", "generation": 2, "prev": "" });
            for (name, value) in members.as_object().expect("members") {
                record[name] = value.clone();
            }
            record
        };
        vec![
            record(1, json!({ "what": "start", "version": "0.1.0", "host": "vm", "pid": 7 })),
            record(
                2,
                json!({ "what": "reload", "cause": "asked", "outcome": "applied", "summary": ["shop canary 25 → 30", "api added"] }),
            ),
            record(
                3,
                json!({ "what": "reload", "cause": "watch", "outcome": "rejected", "diagnostics": [{ "message": "a weight is a percentage" }] }),
            ),
            record(4, json!({ "what": "kill", "route": "shop", "close_streams_ms": 5_000, "reason": "INC-4711" })),
            record(5, json!({ "what": "revive", "variant": "shop:canary", "reason": "=HYPERLINK(\"x\")" })),
            record(6, json!({ "what": "refused", "all": true, "because": "no space left" })),
            record(
                7,
                json!({ "what": "endpoint", "act": "drain", "upstream": "v1", "endpoint": "10.0.0.1:80", "force": true, "reason": "kernel, \"new\"" }),
            ),
            record(
                8,
                json!({ "what": "release", "act": "rollback", "release": "shop:canary", "evidence": { "sentence": "7 callers of 3 051" } }),
            ),
            record(
                9,
                json!({ "what": "rollout", "act": "enter", "rollout": "shop-v2", "stage": "quarter", "from": 5.0, "to": 25.0, "because": "it enters stage `quarter`" }),
            ),
            record(10, json!({ "what": "checkpoint", "kills": [{}], "keys": [], "because": "the file is full" })),
            record(11, json!({ "what": "new kind", "because": "why" })),
        ]
    }

    #[test]
    fn each_kind_has_its_words() {
        let words: Vec<String> = records()
            .iter()
            .map(JournalLine::of)
            .map(|line| format!("{} | {} | {}", line.act, line.target, line.change))
            .collect();
        assert_eq!(
            words,
            [
                "start | the process | version 0.1.0 on vm",
                "reload | the files | applied, generation 2; shop canary 25 → 30; api added",
                "reload | the files | rejected, generation 2; a weight is a percentage",
                "kill | route shop | closes streams after 5\u{a0}s",
                "revive | variant shop:canary | ",
                "refused | all | no space left",
                "drain | 10.0.0.1:80 of v1 | forced",
                "rollback | release shop:canary | 7 callers of 3 051",
                "enter | rollout shop-v2 | 5\u{a0}% → 25\u{a0}%; it enters stage `quarter`",
                "checkpoint | the journal | 1 kills; the file is full",
                "new kind |  | why",
            ]
        );
    }

    #[test]
    fn a_filter_finds_texts_acts_and_older_records() {
        let all = records();
        let found = |text: &str, act: &str, before: Option<u64>| {
            let filter = JournalFilter { text: text.to_owned(), act: act.to_owned(), before };
            all.iter()
                .filter(|record| filter.admits(record))
                .filter_map(|record| record["seq"].as_u64())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("", "", None).len(), 11);
        assert_eq!(found("", "kill", None), [4]);
        assert_eq!(found("", "rollback", None), [8]);
        assert_eq!(found("", "rollout", None), [9]);
        assert_eq!(found(" inc-4711 ", "", None), [4]);
        assert_eq!(found("SHOP", "", Some(8)), [2, 4, 5]);
        assert_eq!(found("", "", Some(1)), [0_u64; 0]);
        assert_eq!(found("nothing of that", "", None), [0_u64; 0]);
        assert!(!JournalFilter { before: Some(3), ..JournalFilter::default() }.admits(&Value::Null));
        assert!(JournalFilter::default().admits(&Value::Null));
    }

    #[test]
    fn targets_lead_to_their_pages() {
        let all = records();
        let link = |at: usize| target_link(&all[at], &JournalLine::of(&all[at]).target).into_string();
        for (at, path) in [
            (1, "/config"),
            (3, "/routes/shop"),
            (4, "/routes/shop"),
            (5, "/kills"),
            (6, "/upstreams#upstream-v1"),
            (7, "/rollouts/shop%3Acanary"),
            (8, "/rollouts/shop-v2"),
        ] {
            assert!(link(at).starts_with(&format!("<a href=\"{path}\">")), "{}", link(at));
        }
        assert_eq!(link(0), "<bdi>the process</bdi>");
        assert!(link(5).contains("everything"));
    }
}
