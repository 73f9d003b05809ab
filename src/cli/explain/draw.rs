//! Drawing: an explanation as people read it.

use std::fmt::Write;
use std::ops::Range;

use serde_json::Value;

use super::bar::{Arm, bar};
use crate::cli::paint::Paint;
use crate::cli::release_row::{ReleaseRow, Urgency};
use crate::cli::rollout_row::RolloutRow;
use crate::compare::escape_controls;
use crate::route::BUCKETS;

/// Where the right column begins.
const INDENT: &str = "            ";

/// The explanation as text.
pub(super) fn draw(explanation: &Value, paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint };
    let head = format!("{} {}{}", word(&explanation["method"]), word(&explanation["host"]), word(&explanation["path"]));
    let _ = writeln!(page.text, "{}\n", paint.bold(&head));
    page.row("client", &word(&explanation["client_ip"]));
    for who in ["tenant", "user"] {
        if let Some(value) = explanation[who]["value"].as_str() {
            page.row(who, &format!("{value:?}  {}", paint.dim(&format!("from {}", word(&explanation[who]["from"])))));
        }
    }
    match explanation["token"].as_str() {
        None | Some("verified") => {}
        Some(_) => page.row("token", &format!("not accepted: {}", paint.red(&word(&explanation["token"])))),
    }
    if explanation["country"].is_string() {
        page.row("country", &word(&explanation["country"]));
    }
    for dropped in list(&explanation["dropped"]) {
        page.row("dropped", &paint.red(&word(dropped)));
    }
    if explanation["route"].is_object() {
        let route = &explanation["route"];
        let place = paint.cyan(&word(&route["place"]));
        page.row("route", &format!("{}  {place}  {}", paint.bold(&word(&route["name"])), word(&route["why"])));
    }
    page.steps(explanation);
    page.outcome(explanation);
    page.guards(explanation);
    for denied in list(&explanation["denied"]) {
        page.row("denied", &paint.red(&word(denied)));
    }
    for side in ["request", "response"] {
        for edit in list(&explanation[&*format!("{side}_headers")]) {
            let value = edit["value"].as_str().map(|value| format!(": {}", escape_controls(value))).unwrap_or_default();
            page.row(side, &format!("{} {}{value}", word(&edit["edit"]), word(&edit["name"])));
        }
    }
    for (number, endpoint) in (0..).zip(list(&explanation["endpoints"])) {
        let is_candidate = endpoint["candidate"] == true;
        let name = word(&endpoint["address"]);
        let name = if is_candidate { paint.green(&name) } else { paint.red(&name) };
        let why = endpoint["why"].as_str().map(|why| format!(": {}", escape_controls(why))).unwrap_or_default();
        let may = if is_candidate { "may get it" } else { "gets it not" };
        page.row(if number == 0 { "endpoints" } else { "" }, &format!("{name}  {may}{why}"));
    }
    for route in list(&explanation["nearly"]) {
        let place = paint.cyan(&word(&route["place"]));
        page.row("nearly", &format!("{}  {place}  {}", word(&route["name"]), word(&route["why"])));
    }
    page.text
}

/// Text in the making.
struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn row(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.text, "{}{text}", self.paint.dim(&format!("{label:<12}")));
    }

    fn steps(&mut self, explanation: &Value) {
        for (number, step) in (1..).zip(list(&explanation["steps"])) {
            let label = if number == 1 { "decision" } else { "" };
            self.row(label, &format!("{number}. {}", word(&step["text"])));
        }
        if let Some((arms, bucket)) = arms(explanation) {
            let drawn = bar(&arms, bucket, INDENT, self.paint);
            let _ = write!(self.text, "\n{drawn}\n");
        }
    }

    /// How the releases of the route stand, as a running proxy says; else the guards that the file has.
    fn guards(&mut self, explanation: &Value) {
        if explanation["rollout"].is_object() {
            let row = RolloutRow::read(&explanation["rollout"]);
            self.row("rollout", &format!("{} {} in stage {}: {} % is set", row.name, row.state, row.stage, row.weight));
            self.row("", &row.says);
        }
        for release in list(&explanation["releases"]).iter().map(ReleaseRow::read) {
            let text = match release.urgency {
                Urgency::NoTarget | Urgency::Stopped => self.paint.red(&release.sentence()),
                Urgency::Asked | Urgency::Warned => self.paint.yellow(&release.sentence()),
                Urgency::Calm => release.sentence(),
            };
            self.row("release", &text);
            if !release.unblock.is_empty() {
                self.row("", &format!("next: {}", release.unblock));
            }
        }
        let guards = list(&explanation["guards"]).iter().map(|guard| {
            let of = guard["variant"].as_str().map(|name| format!(" of {}", escape_controls(name))).unwrap_or_default();
            format!("{}{of} ({})", word(&guard["name"]), word(&guard["act"]))
        });
        let guards: Vec<String> = guards.collect();
        if !guards.is_empty() {
            self.row("guards", &guards.join(", "));
        }
    }

    fn outcome(&mut self, explanation: &Value) {
        let status = || word(&explanation["status"]);
        match explanation["outcome"].as_str().unwrap_or_default() {
            "serve" => self.served(explanation),
            "redirect" => self.row("answer", &format!("{} to {}", status(), word(&explanation["location"]))),
            "respond" => self.row("answer", &format!("{} from the proxy", status())),
            "no_route" => self.row("answer", &self.paint.red("404: no route matches")),
            _ => self.row("answer", &self.paint.red(&format!("{}: {}", status(), word(&explanation["because"])))),
        }
    }

    fn served(&mut self, explanation: &Value) {
        let name = word(&explanation["variant"]);
        let number =
            list(&explanation["variants"]).iter().position(|variant| variant["name"] == explanation["variant"]);
        let counts = match (explanation["counted"].as_bool(), explanation["unkeyed"].as_bool()) {
            (Some(false), _) if list(&explanation["variants"]).len() == 1 => {
                "no statistics: the route has no other variant to compare with"
            }
            (Some(true), _) => "counts in the statistics",
            (_, Some(true)) => "does not count in the statistics: no sticky key",
            _ => "does not count in the statistics: not a random sample",
        };
        let per_request = list(&explanation["anew"]);
        let name = if per_request.is_empty() {
            self.paint.bold(&self.paint.variant(number.unwrap_or(0), &name))
        } else {
            let share = |one: &Value| format!("{} % {}", one["percent"].as_f64().unwrap_or(0.0), word(&one["variant"]));
            let shares: Vec<String> = per_request.iter().map(share).collect();
            format!("decided per request: {}", self.paint.bold(&shares.join(", ")))
        };
        self.row("variant", &format!("{name}  by {}; {counts}", word(&explanation["reason"])));
        let host = escape_controls(explanation["forwarded_host"].as_str().unwrap_or_default());
        let forwarded = match explanation["forwarded_path"].as_str() {
            Some(path) => format!("gets {host}{}", escape_controls(path)),
            None => self.paint.red(&format!("500: {}", word(&explanation["because"]))),
        };
        self.row("upstream", &format!("{}  {forwarded}", word(&explanation["upstream"])));
        for label in ["retry", "rescue"] {
            for line in list(&explanation["on_failure"][label]) {
                self.row(label, &word(line));
            }
        }
        let shadow = &explanation["shadow"];
        if shadow.is_object() {
            self.row("shadow", &format!("{}  {}", word(&shadow["upstream"]), word(&shadow["text"])));
        }
    }
}

/// Who owns the buckets that decided, and the bucket. A target with a weight has buckets of its own.
fn arms(explanation: &Value) -> Option<(Vec<Arm>, u32)> {
    let step = list(&explanation["steps"]).iter().rev().find(|step| step["bucket"].is_u64())?;
    let bucket = number(&step["bucket"])?;
    let variants = list(&explanation["variants"]);
    if explanation["reason"] == "target" {
        let taken = number(&step["range"][1])?;
        let arms = vec![
            Arm { number: 0, label: "stable".to_owned(), range: taken..BUCKETS },
            Arm { number: 1, label: "the target's share".to_owned(), range: 0..taken },
        ];
        return Some((arms, bucket));
    }
    let arm = |(number, variant): (usize, &Value)| {
        let is = |word: &&str| variant[*word] == true;
        let stopped = ["killed", "latched", "held"].into_iter().find(is).map(|word| format!(", {word}"));
        let stopped = stopped.unwrap_or_default();
        let label = format!("{} {} %{stopped}", word(&variant["name"]), variant["weight"].as_f64().unwrap_or(0.0));
        Some(Arm { number, label, range: range(&variant["range"])? })
    };
    Some((variants.iter().enumerate().filter_map(arm).collect(), bucket))
}

fn range(value: &Value) -> Option<Range<u32>> {
    Some(number(&value[0])?..number(&value[1])?)
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value as a word: strings without quotes, nothing as `-`. What came over the network must not steer the terminal.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escape_controls(text).into_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_weighed_request_is_drawn_with_its_bar() {
        let explanation = json!({
            "method": "GET", "host": "shop", "path": "/x", "client_ip": "127.0.0.1",
            "user": { "value": "alice", "from": "cookie:uid" },
            "route": { "name": "shop", "place": "routes.toml:7", "why": "any host, path /*" },
            "steps": [{ "text": "bucket 250000 by salt shop: canary owns 0..500000", "bucket": 250_000 }],
            "variants": [
                { "name": "stable", "weight": 50.0, "range": [500_000, 1_000_000], "killed": false },
                { "name": "canary", "weight": 50.0, "range": [0, 500_000], "killed": false },
            ],
            "outcome": "serve", "variant": "canary", "reason": "weight", "upstream": "v2", "counted": true,
            "unkeyed": false, "forwarded_path": "/x", "forwarded_host": null,
            "request_headers": [{ "edit": "set", "name": "x-variant", "value": "canary" }],
        });
        let text = draw(&explanation, Paint::Plain);
        for part in [
            "GET shop/x\n",
            "user        \"alice\"  from cookie:uid",
            "route       shop  routes.toml:7",
            "decision    1. bucket 250000",
            "               ▲ 250000",
            "▒ canary 50 % 0..500000   █ stable 50 % 500000..1000000",
            "variant     canary  by weight; counts in the statistics",
            "upstream    v2  gets /x",
            "request     set x-variant: canary",
        ] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }

    #[test]
    fn a_latched_variant_says_why_and_what_would_end_it() {
        let explanation = json!({
            "outcome": "serve", "variant": "stable", "reason": "latch",
            "steps": [{ "text": "bucket 1 by salt shop", "bucket": 1 }],
            "variants": [{ "name": "canary", "weight": 5.0, "range": [0, 50_000], "latched": true }],
            "releases": [{ "name": "shop:canary", "state": "rolled_back", "at": "2026-11-29T14:03:10.123Z",
                "says": "rolled back by errors: 14 of 4210 callers", "unblock": "another revision" }],
            "guards": [{ "name": "errors", "act": "rollback", "variant": null }, { "name": "p99", "act": "warn", "variant": "canary" }],
        });
        let text = draw(&explanation, Paint::Plain);
        for part in [
            "canary 5 %, latched",
            "release     shop:canary, since 2026-11-29 14:03:10Z: rolled back by errors: 14 of 4210 callers\n",
            "            next: another revision\n",
            "guards      errors (rollback), p99 of canary (warn)\n",
        ] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }

    #[test]
    fn other_outcomes_are_drawn() {
        for (explanation, part) in [
            (json!({ "outcome": "no_route", "status": 404 }), "404: no route matches"),
            (json!({ "outcome": "respond", "status": 204 }), "204 from the proxy"),
            (json!({ "outcome": "redirect", "status": 308, "location": "https://a" }), "308 to https://a"),
            (json!({ "outcome": "refused", "status": 400, "because": "no host" }), "400: no host"),
        ] {
            let text = draw(&explanation, Paint::Plain);
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }

    #[test]
    fn foreign_text_steers_nothing() {
        let bad = "a\u{1b}[2J\u{202e}b";
        let explanation = json!({
            "host": bad, "token": bad, "country": bad, "tenant": { "value": bad, "from": bad }, "outcome": "serve",
            "variant": bad, "forwarded_host": bad, "forwarded_path": bad, "dropped": [bad], "denied": [bad],
            "response_headers": [{ "edit": "set", "name": bad, "value": bad }],
        });
        let text = draw(&explanation, Paint::Plain);
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("country     a\\u{1b}[2J\\u{202e}b"), "{text}");
    }
}
