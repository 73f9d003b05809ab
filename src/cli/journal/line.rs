//! A record as a line for people. Its text is untrusted: control characters are escaped.

use serde_json::Value;

use crate::cli::paint::Paint;
use crate::compare::escape_controls;
use crate::journal::ScopeFields;

/// The widths of number, time and actor.
const NUMBER: usize = 6;
const TIME: usize = 20;
const WHO: usize = 20;

/// The title of the table.
pub(super) fn title(paint: Paint) -> String {
    paint.dim(&format!("{:>NUMBER$}  {:<TIME$}  {:<WHO$}  WHAT", "SEQ", "TIME", "WHO"))
}

/// A row of the table: number, time, who, what, why.
pub(super) fn row(record: &Value, paint: Paint) -> String {
    let (number, time, who) = (record["seq"].as_u64().unwrap_or(0), time(record), who(record));
    let what = what(record);
    let what = match kind(record) {
        "kill" => paint.red(&what),
        "revive" => paint.green(&what),
        "release" | "rollout" => match act_of(record) {
            "rollback" | "killed" => paint.red(&what),
            "warn" | "hold" | "refused" | "lower" | "revived" | "ask" => paint.yellow(&what),
            _ => paint.green(&what),
        },
        _ if record["outcome"] == "rejected" => paint.red(&what),
        _ => what,
    };
    let why = why(record);
    format!("{number:>NUMBER$}  {time:<TIME$}  {who:<WHO$}  {what}{why}")
}

/// A record in one sentence: `#12 ana: kill variant shop:canary, 2026-11-29 14:03:10Z: errors`.
#[must_use]
pub fn sentence(record: &Value) -> String {
    let number = record["seq"].as_u64().unwrap_or(0);
    let why = why(record);
    format!("#{number} {}: {}, {}{why}", who(record), what(record), time(record))
}

/// The reason that a person gave, where what was decided does not end with it.
fn why(record: &Value) -> String {
    let is_said = |reason: &&str| record["because"].as_str().is_some_and(|because| because.ends_with(*reason));
    let reason = record["reason"].as_str().filter(|reason| !is_said(reason));
    reason.map(|reason| format!(": {}", escape_controls(reason))).unwrap_or_default()
}

fn kind(record: &Value) -> &str {
    record["what"].as_str().unwrap_or_default()
}

/// What was decided about a release or a rollout, as in the record.
pub(super) fn act_of(record: &Value) -> &str {
    record["act"].as_str().unwrap_or_default()
}

/// `2026-11-29 14:03:10Z`.
pub(super) fn time(record: &Value) -> String {
    let at = text(&record["at"]).unwrap_or_default();
    match at.split_once('T') {
        Some((date, time)) => format!("{date} {}Z", time.split(['.', 'Z']).next().unwrap_or_default()),
        None => at,
    }
}

/// `ana (token)`. The proxy itself has no identity.
fn who(record: &Value) -> String {
    let name = text(&record["who"]["name"]).unwrap_or_default();
    match text(&record["who"]["via"]).as_deref() {
        Some("process") | None => name,
        Some(via) => format!("{name} ({via})"),
    }
}

/// What was decided.
fn what(record: &Value) -> String {
    let scope = || {
        let fields = serde_json::from_value::<ScopeFields>(record.clone()).ok();
        let scope = fields.and_then(|fields| fields.scope()).map(|scope| scope.to_string());
        escape_controls(&scope.unwrap_or_else(|| "?".to_owned())).into_owned()
    };
    let of = |key: &str| text(&record[key]).unwrap_or_default();
    match kind(record) {
        "kill" => match record["close_streams_ms"].as_u64() {
            Some(after) => format!("kill {}, streams closed after {after} ms", scope()),
            None => format!("kill {}", scope()),
        },
        "revive" => format!("revive {}", scope()),
        "refused" => format!("revive {} refused: {}", scope(), of("because")),
        "start" => format!("start of {} on {}, pid {}", of("version"), of("host"), record["pid"]),
        "reload" => reload(record),
        "endpoint" => {
            let forced = if record["force"] == true { ", forced" } else { "" };
            format!("{} {} of upstream {}{forced}", of("act"), of("endpoint"), of("upstream"))
        }
        "release" => release(record),
        "rollout" => rollout(record),
        "checkpoint" => format!("checkpoint: {}", of("because")),
        // A newer version wrote it.
        other => escape_controls(other).into_owned(),
    }
}

fn reload(record: &Value) -> String {
    let of = |key: &str| text(&record[key]).unwrap_or_default();
    let summary: Vec<String> = record["summary"].as_array().into_iter().flatten().filter_map(text).collect();
    let first = record["diagnostics"].as_array().and_then(|all| text(&all.first()?["message"]));
    let detail = if summary.is_empty() { first.unwrap_or_default() } else { summary.join("; ") };
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("reload ({}) {}{detail}", of("cause"), of("outcome"))
}

/// What was decided about a release, and what the guard saw: `roll back shop:canary (shop-v2=7): errors 3.1 × stable`.
fn release(record: &Value) -> String {
    let of = |key: &str| text(&record[key]).unwrap_or_default();
    let name = match of("revision") {
        revision if revision.is_empty() => of("release"),
        revision => format!("{} ({revision})", of("release")),
    };
    let because = of("because");
    let because = if because.is_empty() { because } else { format!(", {because}") };
    let words = match act_of(record) {
        "warn" => format!("warning on {name}{because}"),
        "rollback" => format!("roll back {name}{because}"),
        "hold" => format!("hold {name}{because}"),
        "unhold" => format!("hold of {name} ended{because}"),
        "resume" => format!("resume {name}{because}"),
        "refused" => format!("resume {name} refused{because}"),
        // A newer version wrote it.
        other => format!("{} {name}{because}", escape_controls(other)),
    };
    let sentence = text(&record["evidence"]["sentence"]);
    sentence.map_or_else(|| words.clone(), |sentence| format!("{words}: {sentence}"))
}

/// What was decided about a rollout: act, name, revision and stage, the weights where they differ, and why:
/// `enter checkout-v2 (shop-v2=7), stage beta, 1 % → 10 %: all gates pass`.
fn rollout(record: &Value) -> String {
    let of = |key: &str| text(&record[key]).unwrap_or_default();
    let with = |before: &str, words: String| if words.is_empty() { words } else { format!("{before}{words}") };
    let name = match of("revision") {
        revision if revision.is_empty() => of("rollout"),
        revision => format!("{} ({revision})", of("rollout")),
    };
    let act = match act_of(record) {
        "rollback" => "roll back".to_owned(),
        "warn" => "warning on".to_owned(),
        "unhold" => "end of the hold of".to_owned(),
        "ask" => "approvers asked about".to_owned(),
        "killed" => "kill stops".to_owned(),
        "rehearsed" => "rehearsal of".to_owned(),
        "revived" => "kill has ended of".to_owned(),
        // A newer version may have written it.
        other => escape_controls(other).into_owned(),
    };
    let role = with(" as ", of("role"));
    let (from, to) = (record["from"].as_f64(), record["to"].as_f64());
    let weights = match (from, to) {
        (Some(from), Some(to)) if from.total_cmp(&to).is_ne() => format!(", {from} % → {to} %"),
        (Some(at), Some(_)) => format!(", {at} %"),
        (None, _) | (_, None) => String::new(),
    };
    let (stage, because) = (with(", stage ", of("stage")), with(": ", of("because")));
    format!("{act} {name}{role}{stage}{weights}{because}")
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(|text| escape_controls(text).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::{Actor, Deed, Record, ReleaseDeed, ReleaseVerb, RolloutDeed, Via};
    use crate::route::KillScope;

    fn record(what: Deed, reason: Option<&str>) -> Value {
        let who = Actor { name: "ana".to_owned(), via: Via::Token };
        let record = Record {
            v: 1,
            seq: 12,
            at: "2026-11-29T14:03:10.123Z".to_owned(),
            who,
            what,
            reason: reason.map(str::to_owned),
            key: None,
            config: String::new(),
            generation: 1,
            prev: String::new(),
        };
        serde_json::to_value(record).unwrap()
    }

    #[test]
    fn decisions_about_rollouts_are_one_line() {
        let deed = |act: &str, weights: std::ops::Range<f64>, because: &str| RolloutDeed {
            act: act.to_owned(),
            rollout: "checkout-v2".to_owned(),
            revision: "shop-v2=7".to_owned(),
            stage: "beta".to_owned(),
            from: weights.start,
            to: weights.end,
            raises: false,
            because: because.to_owned(),
            role: None,
            routes: Vec::new(),
            evidence: json!({ "plan": {} }),
            state: json!({ "stage": "beta" }),
        };
        let approval = RolloutDeed { role: Some("tech-lead".to_owned()), ..deed("approve", 10.0..10.0, "") };
        for (deed, words) in [
            (
                deed("enter", 1.0..10.0, "all gates pass"),
                "enter checkout-v2 (shop-v2=7), stage beta, 1 % → 10 %: all gates pass",
            ),
            (
                deed("rollback", 12.5..0.0, "errors 3.1 × stable\n"),
                "roll back checkout-v2 (shop-v2=7), stage beta, 12.5 % → 0 %: errors 3.1 × stable\\u{a}",
            ),
            (approval, "approve checkout-v2 (shop-v2=7) as tech-lead, stage beta, 10 %"),
            (
                deed("refused", 1.0..1.0, "enter (1 % to 10 %) was refused: the disk is full"),
                "refused checkout-v2 (shop-v2=7), stage beta, 1 %: enter (1 % to 10 %) was refused: the disk is full",
            ),
            (deed("mer\u{1b}ge", 0.0..0.0, ""), "mer\\u{1b}ge checkout-v2 (shop-v2=7), stage beta, 0 %"),
        ] {
            assert_eq!(what(&record(Deed::Rollout(deed), None)), words);
        }
        let held = record(Deed::Rollout(deed("hold", 10.0..10.0, "by ana")), Some("a look"));
        let line = row(&held, Paint::Plain);
        assert!(
            line.ends_with("ana (token)           hold checkout-v2 (shop-v2=7), stage beta, 10 %: by ana: a look"),
            "{line}"
        );
        let repeated = record(Deed::Rollout(deed("hold", 10.0..10.0, "ana holds it: a look")), Some("a look"));
        let line = row(&repeated, Paint::Plain);
        assert!(line.ends_with("hold checkout-v2 (shop-v2=7), stage beta, 10 %: ana holds it: a look"), "{line}");
        let newer = json!({ "what": "rollout", "act": "merge", "rollout": "a" });
        assert_eq!(what(&newer), "merge a");
    }

    #[test]
    fn records_are_sentences() {
        let canary = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let kill = Deed::Kill { scope: (&canary).into(), close_streams_ms: Some(5000) };
        let row = row(&record(kill, Some("errors")), Paint::Plain);
        assert_eq!(
            row,
            "    12  2026-11-29 14:03:10Z  ana (token)           kill variant shop:canary, streams closed after 5000 ms: errors"
        );
        for (deed, words) in [
            (Deed::Revive { scope: (&KillScope::All).into() }, "revive all"),
            (
                Deed::Start { version: "0.1.0".to_owned(), host: "edge-1".to_owned(), pid: 7 },
                "start of 0.1.0 on edge-1, pid 7",
            ),
            (
                Deed::Endpoint {
                    act: "drain".to_owned(),
                    upstream: "checkout-v1".to_owned(),
                    endpoint: "10.0.0.2:8080".to_owned(),
                    force: true,
                },
                "drain 10.0.0.2:8080 of upstream checkout-v1, forced",
            ),
            (
                Deed::Reload {
                    cause: "watch".to_owned(),
                    outcome: "applied".to_owned(),
                    summary: vec!["shop canary 5 → 10".to_owned()],
                    diagnostics: Value::Null,
                },
                "reload (watch) applied: shop canary 5 → 10",
            ),
            (
                Deed::Reload {
                    cause: "signal".to_owned(),
                    outcome: "rejected".to_owned(),
                    summary: Vec::new(),
                    diagnostics: json!([{ "message": "unknown key `stabel`" }]),
                },
                "reload (signal) rejected: unknown key `stabel`",
            ),
        ] {
            assert_eq!(what(&record(deed, None)), words);
        }
        let release = |act, because: Option<&str>, evidence| {
            let (release, revision) = ("shop:canary".to_owned(), "shop-v2=7".to_owned());
            Deed::Release(ReleaseDeed { act, release, revision, because: because.map(str::to_owned), evidence })
        };
        let evidence = json!({ "sentence": "errors 3.1 × stable\n", "counts": [1, 2] });
        for (deed, words) in [
            (
                release(ReleaseVerb::Rollback, None, evidence.clone()),
                "roll back shop:canary (shop-v2=7): errors 3.1 × stable\\u{a}",
            ),
            (
                release(ReleaseVerb::Warn, None, evidence),
                "warning on shop:canary (shop-v2=7): errors 3.1 × stable\\u{a}",
            ),
            (release(ReleaseVerb::Hold, Some("canary down"), Value::Null), "hold shop:canary (shop-v2=7), canary down"),
            (release(ReleaseVerb::Unhold, None, Value::Null), "hold of shop:canary (shop-v2=7) ended"),
            (release(ReleaseVerb::Resume, None, Value::Null), "resume shop:canary (shop-v2=7)"),
            (
                release(ReleaseVerb::Refused, Some("the disk is full"), Value::Null),
                "resume shop:canary (shop-v2=7) refused, the disk is full",
            ),
        ] {
            assert_eq!(what(&record(deed, None)), words);
        }
        let newer = json!({ "seq": 3, "at": "x\u{1b}", "who": { "name": "a\u{1b}b" }, "what": "hold" });
        assert_eq!(sentence(&newer), "#3 a\\u{1b}b: hold, x\\u{1b}");
    }
}
