//! The rows of an upstream: itself, and each endpoint with its health and what can be done with it.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::cells::{ago, ahead, counted, counted_value, name, other_verdict, sentence, word};
use super::figures::{count, list, percent, ratio, span, text};
use super::frame::Frame;
use super::parts::{ActButton, ReasonField, Tone, in_path, moment, verdict};

/// The verdict on an upstream.
pub fn upstream_tone(upstream: &Value) -> Tone {
    let number = |member: &str| upstream[member].as_u64();
    let is_troubled = number("ejected").is_some_and(|ejected| ejected > 0)
        || number("unhealthy").is_some_and(|unhealthy| unhealthy > 0)
        || list(&upstream["unresolved"]).next().is_some()
        || list(&upstream["endpoints"]).any(|endpoint| endpoint["standing"] == "failing");
    match (number("usable"), number("total")) {
        (Some(0), Some(_)) => Tone::Bad,
        (Some(_), Some(_)) if is_troubled => Tone::Watch,
        (Some(_), Some(_)) if is_measured(upstream) => Tone::Serving,
        (Some(_), Some(_)) => Tone::Quiet,
        _ => Tone::Unknown,
    }
}

/// Whether something has been seen of it: an open connection, or a good check.
fn is_measured(upstream: &Value) -> bool {
    let is_healthy = |endpoint: &Value| endpoint["health"]["verdict"] == "healthy";
    upstream["connections"].as_u64().is_some_and(|open| open > 0) || list(&upstream["endpoints"]).any(is_healthy)
}

fn upstream_verdict(upstream: &Value) -> Markup {
    let tone = upstream_tone(upstream);
    let of = format!("{} of {} usable", count(&upstream["usable"]), count(&upstream["total"]));
    match tone {
        Tone::Bad if upstream["total"] == 0 => verdict(tone, "✕", "no endpoint"),
        Tone::Bad => verdict(tone, "✕", &of),
        Tone::Watch => verdict(tone, "▲", &of),
        Tone::Serving => verdict(tone, "●", &of),
        Tone::Unknown => verdict(tone, "◌", "unknown"),
        Tone::Asks | Tone::Held | Tone::Quiet => verdict(tone, "○", &of),
    }
}

/// The row of an upstream, before those of its endpoints.
pub fn upstream_row(frame: &Frame<'_>, upstream: &Value) -> Markup {
    let limits = &upstream["limits"];
    html! {
        tr role="row" class="lead" id={ "upstream-" (in_path(text(&upstream["name"]))) } data-row={ "upstream:" (text(&upstream["name"])) }
            tabindex="-1" data-state=(upstream_tone(upstream).class()) data-word={ (count(&upstream["usable"])) " of " (count(&upstream["total"])) " usable" } {
            th role="rowheader" scope="row" {
                (name(text(&upstream["name"])))
                @if upstream["revision"].is_string() { " " span class="soft" { "revision " (name(text(&upstream["revision"]))) } }
            }
            td role="cell" data-label="State" { (upstream_verdict(upstream)) (gaps(upstream)) }
            td role="cell" data-label="Checks" { (checks(upstream)) }
            td role="cell" data-label="Load" colspan="2" {
                span class="nowrap" { (count(&upstream["in_flight"])) span class="soft" { " of " (count(&limits["requests"])) } " in flight" } ", "
                span class="nowrap" { (count(&upstream["connections"])) span class="soft" { " of " (count(&limits["connections"])) } " connections" }
                (retries(&upstream["retry_budget"]))
                @if upstream["last_tls_failure"].is_object() { (tls_failure(&upstream["last_tls_failure"])) }
            }
            @if frame.viewer.may_operate { td role="cell" {} }
        }
    }
}

/// What is missing from it, in counts.
fn gaps(upstream: &Value) -> Markup {
    let parts = [("ejected", "ejected"), ("unhealthy", "unhealthy"), ("waiting", "waiting")];
    let known = parts.iter().filter(|(member, _)| upstream[*member].as_u64().is_some_and(|number| number > 0));
    html! {
        @for (member, word) in known { br; span class="soft" { (count(&upstream[*member])) " " (word) } }
        @for one in list(&upstream["unresolved"]) { br; "no address: " (name(text(one))) }
    }
}

fn checks(upstream: &Value) -> Markup {
    let (health, checks) = (&upstream["health"], &upstream["checks"]);
    let every = health["interval_ms"]
        .as_u64()
        .map(|every| if every < 1_000 { format!("{every}\u{a0}ms") } else { span(every) });
    let path = [&health["path"], &health["service"]].into_iter().map(text).find(|path| !path.is_empty());
    html! {
        @if health.is_object() {
            (word(text(&health["kind"]))) @if let Some(path) = path { " " code { (name(path)) } }
            @if let Some(every) = every { " every " (every) }
            br;
            span class="soft" { (counted_value(&checks["good"], "check")) " good, " (count(&checks["bad"])) " bad" }
            @if checks["late"].as_u64().is_some_and(|late| late > 0) { span class="soft" { ", " (count(&checks["late"])) " late" } }
        } @else {
            span class="soft" { "no checks" }
        }
    }
}

fn retries(budget: &Value) -> Markup {
    let is_spent = budget["used"]
        .as_u64()
        .zip(budget["allowed"].as_u64())
        .is_some_and(|(used, allowed)| used > 0 && used >= allowed);
    html! {
        @if budget.is_object() {
            br;
            @if is_spent { (verdict(Tone::Watch, "▲", "retries spent")) ": " }
            span class="soft" {
                (count(&budget["used"])) " of " (count(&budget["allowed"])) " retries in 10\u{a0}s"
            }
        }
    }
}

fn tls_failure(failure: &Value) -> Markup {
    html! { br; (verdict(Tone::Watch, "▲", "TLS failed")) " " (moment(&failure["at"])) ": " (sentence(text(&failure["cause"]))) }
}

/// The row of an endpoint.
pub fn endpoint_row(frame: &Frame<'_>, upstream: &Value, endpoint: &Value) -> Markup {
    let (own, address) = (text(&endpoint["name"]), text(&endpoint["address"]));
    html! {
        tr role="row" data-row={ "endpoint:" (text(&upstream["name"])) " " (address) } tabindex="-1"
            data-state=(text(&endpoint["standing"])) {
            th role="rowheader" scope="row" class="sub" {
                (name(own))
                @if own != address && !address.is_empty() { br; span class="soft" { (name(address)) } }
                @if endpoint["protocol"].is_string() && endpoint["protocol"] != "http" { " " span class="soft" { (word(text(&endpoint["protocol"]))) } }
            }
            td role="cell" data-label="State" { (standing(frame, endpoint)) }
            td role="cell" data-label="Checks" { (health(frame, upstream, endpoint)) }
            td role="cell" data-label="Failures" { (failures(endpoint)) }
            td role="cell" data-label="Weight" class="num" { (weight(endpoint)) }
            @if frame.viewer.may_operate { td role="cell" class="do" { (acts(upstream, endpoint)) } }
        }
    }
}

/// Where it stands, and why.
fn standing(frame: &Frame<'_>, endpoint: &Value) -> Markup {
    let because = text(&endpoint["ejected_because"]);
    let is_checked = endpoint["health"]["verdict"] == "healthy";
    html! {
        @match text(&endpoint["standing"]) {
            "usable" if is_checked => (verdict(Tone::Serving, "●", "usable")),
            "usable" => { (verdict(Tone::Quiet, "○", "usable")) }
            "failing" => {
                (verdict(Tone::Bad, "✕", "failing")) span class="soft" { ", and serves: too few others are left" }
            }
            "ejected" => {
                (verdict(Tone::Bad, "✕", "ejected"))
                @if endpoint["ejected_for_ms"].is_u64() { " until " (ahead(frame.now, &endpoint["ejected_for_ms"])) }
                @else { span class="soft" { " until a person admits it" } }
            }
            "trial" => { (verdict(Tone::Watch, "▲", "trial")) span class="soft" { ": its next request decides" } }
            "drained" => {
                (verdict(Tone::Held, "■", "drained")) " "
                span class="soft" { @if endpoint["drained_by_file"] == true { "by the file" } @else { "by hand" } }
            }
            "unhealthy" => (verdict(Tone::Bad, "✕", "unhealthy")),
            "unknown" => { (verdict(Tone::Unknown, "◌", "not checked yet")) }
            "standby" => { (verdict(Tone::Quiet, "○", "backup")) span class="soft" { ", a primary serves" } }
            other => (other_verdict(other)),
        }
        @if !because.is_empty() { br; span class="soft" { "because: " (word(&because.replace('_', " "))) } }
        @if endpoint["in_rotation"] == true && endpoint["slow_start"].is_number() {
            br; span class="soft" { "starts slowly: " (ratio(&endpoint["slow_start"])) " of its share" }
        }
    }
}

/// What the active checks have found, when and why.
fn health(frame: &Frame<'_>, upstream: &Value, endpoint: &Value) -> Markup {
    let health = &endpoint["health"];
    html! {
        @if health.is_object() {
            @match text(&health["verdict"]) {
                "healthy" => { (verdict(Tone::Serving, "●", "healthy")) span class="soft" { ", " (count(&health["good_in_a_row"])) " good in a row" } }
                "unhealthy" => { (verdict(Tone::Bad, "✕", "unhealthy")) span class="soft" { ", " (count(&health["bad_in_a_row"])) " bad in a row" } }
                _ => (verdict(Tone::Unknown, "◌", "no verdict yet")),
            }
            @if health["last_check_ago_ms"].is_u64() { br; span class="soft" { "last at " (ago(frame.now, &health["last_check_ago_ms"])) } }
            @if health["last_failure"].is_string() {
                br; span class="soft" { "failed at " (ago(frame.now, &health["last_failure_ago_ms"])) ": " (sentence(text(&health["last_failure"]))) }
            }
        } @else if upstream["health"].is_object() {
            (verdict(Tone::Unknown, "◌", "no verdict yet"))
        }
    }
}

fn failures(endpoint: &Value) -> Markup {
    let is_some = |member: &str| endpoint[member].as_u64().is_some_and(|number| number > 0);
    let last = text(&endpoint["last_failure"]).replace('_', " ");
    html! {
        @if is_some("failures_in_a_row") { (counted_value(&endpoint["failures_in_a_row"], "failure")) " in a row" }
        @else if endpoint["failures_in_a_row"] == 0 { span class="soft" { "no failure" } }
        @else { "–" }
        @if !last.is_empty() { ", last: " (word(&last)) }
        @if is_some("ejections") {
            br; span class="soft" { (counted_value(&endpoint["ejections"], "ejection")) ", " (count(&endpoint["ejections_in_a_row"])) " in a row" }
        }
    }
}

fn weight(endpoint: &Value) -> Markup {
    let role = text(&endpoint["role"]);
    html! {
        (count(&endpoint["weight"]))
        @if !role.is_empty() && role != "primary" { " " span class="soft" { (word(role)) } }
    }
}

/// An act on an endpoint, with what it will do.
struct Act<'a> {
    verb: &'static str,
    label: &'static str,
    endpoint: &'a str,
    upstream: &'a str,
    effect: String,
}

impl Act<'_> {
    fn button(&self) -> Markup {
        let Act { verb, label, endpoint, upstream, effect } = self;
        let button = ActButton {
            label,
            target: &format!("{endpoint} of {upstream}"),
            path: format!("/v1/upstreams/{}/endpoints/{}/{verb}", in_path(upstream), in_path(endpoint)),
            body: json!({}),
            effect: effect.clone(),
            key: None,
            reason: ReasonField::Required,
            is_grave: false,
        };
        button.markup()
    }
}

/// What a person can do with it now. What would leave no usable endpoint is refused by the proxy, and is not offered.
fn acts(upstream: &Value, endpoint: &Value) -> Markup {
    let (standing, usable) = (text(&endpoint["standing"]), upstream["usable"].as_u64().unwrap_or_default());
    let address = text(&endpoint["address"]);
    let of = text(&upstream["name"]);
    let serves = matches!(standing, "usable" | "failing");
    let by_file = endpoint["drained_by_file"] == true;
    let is_ejected_by_hand = endpoint["ejected_because"] == "by_hand";
    // `by_hand` is of either: a drain, or an ejection.
    let by_hand = endpoint["drained"] == true && endpoint["by_hand"] == true && !(by_file && is_ejected_by_hand);
    let is_ejected = endpoint["ejected_because"].is_string();
    let stay = counted(usable.saturating_sub(u64::from(serves)), "usable endpoint");
    let act = |verb, label, effect: String| Act { verb, label, endpoint: address, upstream: of, effect };
    let take = |verb, label, effect: &str| act(verb, label, format!("{effect}; {stay} left"));
    let is_last = serves && usable <= 1;
    html! {
        @if address.is_empty() {
        } @else {
            @if by_hand { (act("undrain", "Undrain", "it gets requests again, as its health allows".to_owned()).button()) " " }
            @if is_ejected { (act("admit", "Admit", "its ejection ends at once, whatever the cause".to_owned()).button()) " " }
            @if is_last {
                span class="soft" { "last usable one: the command with " code { "--force" } }
            } @else if endpoint["drained"] != true {
                (take("drain", "Drain", "no new request; those under way finish").button()) " "
                @if !is_ejected { (take("eject", "Eject", "no new request until a person admits it").button()) }
            } @else if by_file && !by_hand {
                span class="soft" { "the file drains it: remove " code { "drain" } " from its line" }
            }
        }
    }
}

/// The settings of an upstream, in short.
pub fn settings(upstream: &Value) -> Markup {
    let outlier = &upstream["outlier"];
    let slow = upstream["slow_start_ms"].as_u64().filter(|ms| *ms > 0).map(span);
    html! {
        span class="soft" {
            (word(&text(&upstream["balance"]).replace('_', " ")))
            @if outlier["consecutive_failures"].is_u64() {
                "; ejects after " (count(&outlier["consecutive_failures"])) " failures in a row, at most "
                (percent(&outlier["max_ejected_percent"])) " of the endpoints"
            }
            @if let Some(slow) = slow { "; slow start over " (slow) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn endpoint(standing: &str) -> Value {
        json!({ "name": "a.example:80", "address": "10.0.0.1:80", "protocol": "http", "weight": 1, "role": "primary",
            "standing": standing, "in_rotation": true, "health": null, "drained": false, "drained_by_file": false,
            "failures_in_a_row": 0, "last_failure": null, "ejections": 0, "ejections_in_a_row": 0,
            "ejected_because": null, "ejected_for_ms": null, "by_hand": false, "slow_start": null })
    }

    fn upstream(usable: u64) -> Value {
        json!({ "name": "v1", "usable": usable, "total": 3, "ejected": 0, "unhealthy": 0, "connections": 0 })
    }

    fn shown(usable: u64, endpoint: &Value) -> String {
        shown_by(true, |frame| endpoint_row(frame, &upstream(usable), endpoint).into_string())
    }

    #[test]
    fn each_standing_has_a_word_and_only_the_acts_that_fit() {
        let with = |standing: &str, members: &[(&str, Value)]| {
            let mut one = endpoint(standing);
            for (member, value) in members {
                one[*member] = value.clone();
            }
            one
        };
        let drained = |by_hand: bool| {
            with(
                "drained",
                &[("drained", json!(true)), ("by_hand", json!(by_hand)), ("drained_by_file", json!(!by_hand))],
            )
        };
        let ejected =
            |left: Value| with("ejected", &[("ejected_because", json!("connect_refused")), ("ejected_for_ms", left)]);
        for (one, word, acts) in [
            (endpoint("usable"), "usable", vec!["Drain", "Eject"]),
            (endpoint("failing"), "too few others are left", vec!["Drain", "Eject"]),
            (endpoint("unhealthy"), "unhealthy", vec!["Drain", "Eject"]),
            (endpoint("unknown"), "not checked yet", vec!["Drain", "Eject"]),
            (endpoint("standby"), "backup", vec!["Drain", "Eject"]),
            (endpoint("trial"), "its next request decides", vec!["Drain", "Eject"]),
            (ejected(json!(30_000)), "until <time datetime=\"2026-12-01T12:00:30Z\"", vec!["Admit", "Drain"]),
            (ejected(Value::Null), "until a person admits it", vec!["Admit", "Drain"]),
            (drained(true), "by hand", vec!["Undrain"]),
            (drained(false), "remove <code>drain</code>", vec![]),
        ] {
            let page = shown(2, &one);
            let found: Vec<&str> =
                page.split("data-act=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
            assert!(page.contains(word), "{word}: {page}");
            assert_eq!(found, acts, "{one}");
        }
        let page = shown(2, &endpoint("usable"));
        assert!(
            page.contains("data-path=\"/v1/upstreams/v1/endpoints/10.0.0.1%3A80/drain\" data-body=\"{}\""),
            "{page}"
        );
        assert!(page.contains("no new request; those under way finish; 1\u{a0}usable endpoint left"), "{page}");
    }

    #[test]
    fn the_last_usable_endpoint_is_not_offered() {
        assert!(shown(1, &endpoint("usable")).contains("last usable one"));
        assert!(!shown(1, &endpoint("usable")).contains("data-act"));
        assert!(shown(1, &endpoint("unhealthy")).contains("data-act"), "it serves nothing");
        let page = shown_by(false, |frame| endpoint_row(frame, &upstream(2), &endpoint("usable")).into_string());
        assert!(!page.contains("data-act") && page.matches("<td").count() == 4, "{page}");
    }

    #[test]
    fn checks_have_their_moments() {
        let mut one = endpoint("unhealthy");
        one["health"] = json!({ "verdict": "unhealthy", "good_in_a_row": 0, "bad_in_a_row": 3, "last_check_ago_ms": 1_000,
            "last_failure": "503", "last_failure_ago_ms": 61_000 });
        let page = shown(2, &one);
        for part in [
            "unhealthy</span><span class=\"soft\">, 3 bad in a row",
            "11:59:59",
            "failed at <time datetime=\"2026-12-01T11:58:59Z\"",
            "<bdi>503</bdi>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn an_upstream_is_green_only_when_something_was_seen() {
        let tone = |members: Value| {
            let mut one = upstream(3);
            for (name, value) in members.as_object().expect("members") {
                one[name] = value.clone();
            }
            upstream_tone(&one)
        };
        assert_eq!(tone(json!({})), Tone::Quiet);
        assert_eq!(tone(json!({ "connections": 2 })), Tone::Serving);
        assert_eq!(tone(json!({ "endpoints": [{ "health": { "verdict": "healthy" } }] })), Tone::Serving);
        assert_eq!(tone(json!({ "connections": 2, "ejected": 1 })), Tone::Watch);
        assert_eq!(tone(json!({ "connections": 2, "unresolved": ["a"] })), Tone::Watch);
        assert_eq!(tone(json!({ "connections": 2, "endpoints": [{ "standing": "failing" }] })), Tone::Watch);
        assert_eq!(tone(json!({ "connections": 2, "usable": 0 })), Tone::Bad);
        assert_eq!(tone(json!({ "usable": null })), Tone::Unknown);
    }

    #[test]
    fn bad_and_hostile_answers_are_shown() {
        for bad in [json!(null), json!(7), json!({}), json!({ "standing": 7, "health": {}, "weight": "x" })] {
            let page = shown_by(true, |frame| {
                endpoint_row(frame, &bad, &bad).into_string() + &upstream_row(frame, &bad).into_string()
            });
            assert!(page.contains("<tr") && !page.contains("NaN"), "{page}");
        }
        let mut one = endpoint("usable");
        one["health"] = json!({ "verdict": "x", "last_failure": "x" });
        let up = json!({ "name": "x", "revision": "x", "unresolved": ["x"], "balance": "x", "last_tls_failure": { "at": "x", "cause": "x" },
            "health": { "kind": "x", "path": "x" }, "endpoints": [one] });
        let (up, one) = (hostile_everywhere(&up), hostile_everywhere(&one));
        let page = shown_by(true, |frame| {
            endpoint_row(frame, &up, &one).into_string() + &upstream_row(frame, &up).into_string()
        }) + &settings(&up).into_string();
        assert!(!page.contains("<img"), "{page}");
    }
}
