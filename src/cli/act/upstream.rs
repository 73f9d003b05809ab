//! `upstream`: a list of upstreams with the state of each endpoint, and acts on endpoints.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::kill::missing_reason;
use super::outcome::refused;
use super::question::{ask, can_ask};
use super::send::{PATIENCE, encoded};
use crate::cli::admin::{AdminResponse, FetchOptions, Purpose, Sent};
use crate::cli::args::{ActOutput, EndpointActArguments, UpstreamArguments, UpstreamCommand, UpstreamListArguments};
use crate::cli::endpoint_row::{EndpointRow, UpstreamRow};
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::compare::escape_controls;
use crate::telemetry::Size;

/// The longest bar, in letters.
const BAR_MAX: usize = 20;
/// The most endpoints of an upstream in a list of all upstreams. Of more, those that are not well come first.
const ENDPOINTS_MAX: usize = 20;

/// How upstreams are drawn.
#[derive(Clone, Copy)]
struct Drawing {
    /// The width of the terminal.
    columns: usize,
    detail: Detail,
    paint: Paint,
}

/// How much of an upstream is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// The state, and at most [`ENDPOINTS_MAX`] endpoints.
    Short,
    /// Also its settings, and all endpoints.
    Whole,
}

/// Runs `upstream`.
///
/// # Errors
/// No proxy answers.
pub fn upstream(arguments: &UpstreamArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    match &arguments.command {
        UpstreamCommand::Ls(arguments) => list(arguments, terminal),
        UpstreamCommand::Drain(arguments) => act("drain", arguments, terminal),
        UpstreamCommand::Undrain(arguments) => act("undrain", arguments, terminal),
        UpstreamCommand::Eject(arguments) => act("eject", arguments, terminal),
        UpstreamCommand::Admit(arguments) => act("admit", arguments, terminal),
    }
}

fn list(arguments: &UpstreamListArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let page = arguments.admin.find(Purpose::Read)?.ask_blocking("/v1/upstreams", FetchOptions::get())?.page()?;
    let all = page["upstreams"].as_array().cloned().unwrap_or_default();
    let is_meant = |one: &&Value| arguments.name.as_ref().is_none_or(|name| one["name"] == name.as_str());
    let chosen: Vec<&Value> = all.iter().filter(is_meant).collect();
    if let (Some(name), []) = (&arguments.name, chosen.as_slice()) {
        let names: Vec<&str> = all.iter().filter_map(|one| one["name"].as_str()).take(10).collect();
        let known = escape_controls(&names.join(", ")).into_owned();
        let error = terminal.stderr.red("error");
        out::print_error(&format!(
            "{error}: there is no upstream `{}`\n  = help: known: {known}",
            escape_controls(name)
        ));
        return Ok(Exit::Refused);
    }
    match arguments.output() {
        ActOutput::Json => {
            out::print_json(&json!({ "generation": page["generation"], "upstreams": chosen }))?;
        }
        ActOutput::Text => {
            let detail = if arguments.name.is_some() { Detail::Whole } else { Detail::Short };
            let columns = Size::of_stdout().map_or(Size::USUAL.columns, |size| size.columns);
            out::print(&drawn(&chosen, Drawing { columns, detail, paint: terminal.stdout }))?;
        }
    }
    Ok(Exit::Ok)
}

/// A block for each upstream: its bar, then a row for each endpoint.
fn drawn(upstreams: &[&Value], drawing: Drawing) -> String {
    if upstreams.is_empty() {
        return "there are no upstreams".to_owned();
    }
    let rows: Vec<UpstreamRow> = upstreams.iter().map(|one| UpstreamRow::read(one)).collect();
    let width = rows.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let total = row.total + row.unresolved.len() as u64;
        let usable = row.usable.unwrap_or(row.total);
        let tries =
            row.tries.map(|[used, allowed]| format!("  {used} of {allowed} retries in 10 s")).unwrap_or_default();
        let name = drawing.paint.bold(&format!("{:<width$}", row.name));
        let bar = bar(usable, total, drawing.paint);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}  {bar}  {usable} of {total} usable{tries}");
        if drawing.detail == Detail::Whole && !row.settings.is_empty() {
            for line in out::wrapped(&format!("  {}", row.settings), drawing.columns) {
                let _ = writeln!(text, "{}", drawing.paint.dim(&line));
            }
        }
        endpoints(&mut text, row, drawing);
    }
    text.trim_end().to_owned()
}

/// A row for each endpoint; in a short list not for all.
fn endpoints(text: &mut String, row: &UpstreamRow, drawing: Drawing) {
    let mut shown: Vec<&EndpointRow> = row.endpoints.iter().chain(&row.unresolved).collect();
    if drawing.detail == Detail::Short && shown.len() > ENDPOINTS_MAX {
        shown.sort_by_key(|one| one.is_well());
        shown.truncate(ENDPOINTS_MAX);
    }
    let longest = |of: fn(&EndpointRow) -> &String| shown.iter().map(|one| of(one).chars().count()).max().unwrap_or(0);
    let (names, words) = (longest(|one| &one.name), longest(|one| &one.standing));
    for EndpointRow { name, weight, standing, why, .. } in &shown {
        let padded = format!("{standing:<words$}");
        let word = match standing.as_str() {
            "usable" => drawing.paint.green(&padded),
            "failing" | "drained" | "trial" => drawing.paint.yellow(&padded),
            "standby" | "unknown" => drawing.paint.dim(&padded),
            _ => drawing.paint.red(&padded),
        };
        let weight = if *weight == 1 { String::new() } else { format!("weight {weight}  ") };
        let facts = format!("{weight}{why}");
        let taken = 2 + names + 2 + words + 2;
        // What does not fit follows below, so that the columns stay.
        let is_beside = taken + facts.chars().count() <= drawing.columns;
        let beside = if is_beside { facts.as_str() } else { "" };
        let _ = writeln!(text, "  {}", format!("{name:<names$}  {word}  {beside}").trim_end());
        if !is_beside {
            for line in out::wrapped(&format!("      {facts}"), drawing.columns) {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    let more = row.endpoints.len() + row.unresolved.len() - shown.len();
    if more > 0 {
        let hint = format!("  … and {more} more: `pointsman upstream ls {}` shows all", row.name);
        let _ = writeln!(text, "{}", drawing.paint.dim(&hint));
    }
}

/// Filled for usable endpoints.
fn bar(usable: u64, total: u64, paint: Paint) -> String {
    let width = usize::try_from(total).unwrap_or(BAR_MAX).min(BAR_MAX);
    let filled = usize::try_from(usable.min(total) * width as u64 / total.max(1)).unwrap_or(0);
    let (full, empty) = ("█".repeat(filled), "░".repeat(width - filled));
    let full = if usable == total { paint.green(&full) } else { paint.yellow(&full) };
    format!("{full}{}", paint.red(&empty))
}

fn act(verb: &'static str, arguments: &EndpointActArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Act)?;
    let EndpointActArguments { upstream, endpoint, force, .. } = arguments;
    let question = || ask(&terminal.stderr.bold(&format!("Why {verb} {endpoint}? A reason, for the journal:")));
    let reason = arguments.reason.clone().or_else(|| if can_ask() { question() } else { None });
    let Some(reason) = reason else {
        out::print_error(&missing_reason(terminal));
        return Ok(Exit::Usage);
    };
    let mut body = json!({ "reason": reason });
    if *force {
        body["force"] = json!(true);
    }
    let path = format!("/v1/upstreams/{}/endpoints/{}/{verb}", encoded(upstream), encoded(endpoint));
    let options = FetchOptions::post(Sent::Json(body.to_string().into(), None), PATIENCE);
    let answer = admin.ask_blocking(&path, options)?;
    report(&answer, arguments, terminal)
}

fn report(answer: &AdminResponse, arguments: &EndpointActArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let document = answer.json();
    if let (ActOutput::Json, Some(document)) = (arguments.output(), &document) {
        out::print_json(document)?;
    }
    let Some(document) =
        document.filter(|document| answer.status == StatusCode::OK && document["endpoints"].is_array())
    else {
        return refused(answer, arguments.output(), terminal);
    };
    if arguments.output() == ActOutput::Text {
        out::print(&said(&document, terminal.stdout))?;
    }
    let is_lost = document["changed"] == true && document["seq"].is_null();
    if is_lost {
        let words = "NOT RECORDED: it is in force, and the journal does not have it";
        out::print_error(&terminal.stderr.bold(&terminal.stderr.red(words)));
    }
    Ok(if is_lost { Exit::NotRecorded } else { Exit::Ok })
}

/// What was done: a line, then a row for each endpoint.
fn said(document: &Value, paint: Paint) -> String {
    let text = |key: &str| escape_controls(document[key].as_str().unwrap_or_default()).into_owned();
    let number = |key: &str| document[key].as_u64().unwrap_or(0);
    let (upstream, verb) = (text("upstream"), text("act"));
    let (usable, total) = (number("usable"), number("total"));
    let recorded = document["seq"].as_u64().map(|seq| format!(", recorded as #{seq}")).unwrap_or_default();
    let by_file = |one: &Value| one["drained_by_file"] == true;
    let is_drained_yet =
        verb == "undrain" && document["endpoints"].as_array().is_some_and(|all| all.iter().any(by_file));
    let head = if document["changed"] == true {
        let yet = if is_drained_yet { "; the file drains it too: remove `drain` from its line" } else { "" };
        paint.green(&format!("{verb}: done, {usable} of {total} endpoints of {upstream} are usable{recorded}{yet}"))
    } else {
        format!("{verb}: it was so already, {usable} of {total} endpoints of {upstream} are usable")
    };
    let rows = document["endpoints"].as_array().into_iter().flatten().map(EndpointRow::read);
    let rows = rows.map(|row| format!("  {}  {} {}", row.name, row.standing, row.why).trim_end().to_owned());
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in a list of all, without colour.
    const PLAIN: Drawing = Drawing { columns: 80, detail: Detail::Short, paint: Paint::Plain };

    #[test]
    fn upstreams_are_drawn_with_a_row_for_each_endpoint() {
        let upstream = json!({
            "name": "checkout-v1", "usable": 1, "total": 4, "retry_budget": { "used": 4, "allowed": 50 },
            "balance": "least_request", "health": { "kind": "http", "path": "/healthz", "interval_ms": 5_000,
              "healthy": 2, "unhealthy": 3 },
            "endpoints": [
                { "name": "10.0.0.1:8080", "address": "10.0.0.1:8080", "weight": 2, "standing": "usable" },
                { "name": "10.0.0.2:8080", "address": "10.0.0.2:8080", "weight": 1, "standing": "ejected",
                  "ejected_because": "connect_refused", "ejected_for_ms": 12_000, "ejections_in_a_row": 2 },
                { "name": "10.0.0.3:8080", "address": "10.0.0.3:8080", "weight": 1, "standing": "unhealthy",
                  "health": { "verdict": "unhealthy", "bad_in_a_row": 14, "last_failure": "status 503",
                    "last_failure_ago_ms": 2_100 } },
                { "name": "10.0.0.4:8080", "address": "10.0.0.4:8080", "weight": 1, "standing": "standby",
                  "role": "backup" },
            ],
        });
        let head = "checkout-v1  █░░░  1 of 4 usable  4 of 50 retries in 10 s\n";
        let rows = "  10.0.0.1:8080  usable     weight 2\n  \
             10.0.0.2:8080  ejected    12 s left, 2nd in a row: connect_refused\n  \
             10.0.0.3:8080  unhealthy  14 bad checks in a row: status 503, 2 s ago\n  \
             10.0.0.4:8080  standby    backup; a primary serves";
        assert_eq!(drawn(&[&upstream], PLAIN), format!("{head}{rows}"));
        let whole = Drawing { detail: Detail::Whole, ..PLAIN };
        let settings = "  least_request; checks: GET /healthz each 5 s, 2 good or 3 bad in a row decide\n";
        assert_eq!(drawn(&[&upstream], Drawing { columns: 100, ..whole }), format!("{head}{settings}{rows}"));
        let narrow = drawn(&[&upstream], Drawing { columns: 40, ..whole });
        assert!(narrow.contains("\n  10.0.0.3:8080  unhealthy\n      14 bad checks in a row: status"), "{narrow}");
        assert_eq!(drawn(&[], PLAIN), "there are no upstreams");
    }

    #[test]
    fn a_name_without_an_address_has_a_row() {
        let upstream = json!({ "name": "u", "usable": 1, "total": 1, "unresolved": ["shop.invalid"],
            "endpoints": [{ "name": "10.0.0.1:80", "address": "10.0.0.1:80", "weight": 1, "standing": "usable" }] });
        let rows = "  10.0.0.1:80   usable\n  shop.invalid  unresolved  no address";
        assert_eq!(drawn(&[&upstream], PLAIN), format!("u  █░  1 of 2 usable\n{rows}"));
    }

    #[test]
    fn of_many_endpoints_those_that_are_not_well_are_shown() {
        let endpoint = |number: usize| {
            let standing = if number == 777 { "unhealthy" } else { "usable" };
            json!({ "address": format!("10.0.0.1:{number}"), "standing": standing })
        };
        let endpoints: Vec<Value> = (1..=1_000).map(endpoint).collect();
        let upstream = json!({ "name": "u", "usable": 999, "total": 1_000, "endpoints": endpoints });
        let text = drawn(&[&upstream], PLAIN);
        assert_eq!(text.lines().count(), 22, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("  10.0.0.1:777  unhealthy"), "{text}");
        assert!(text.ends_with("… and 980 more: `pointsman upstream ls u` shows all"), "{text}");
        assert_eq!(drawn(&[&upstream], Drawing { detail: Detail::Whole, ..PLAIN }).lines().count(), 1_001);
    }

    #[test]
    fn an_outcome_is_a_line_and_its_endpoints() {
        let mut document = json!({ "upstream": "u", "act": "drain", "changed": true, "seq": 7, "usable": 1, "total": 2,
            "endpoints": [{ "name": "a:80", "address": "10.0.0.1:80", "standing": "drained", "drained": true }] });
        assert_eq!(
            said(&document, Paint::Plain),
            "drain: done, 1 of 2 endpoints of u are usable, recorded as #7\n  10.0.0.1:80 (a:80)  drained by hand"
        );
        let undrained = json!({ "upstream": "u", "act": "undrain", "changed": true, "seq": 8, "usable": 1, "total": 2,
            "endpoints": [{ "address": "10.0.0.1:80", "standing": "drained", "drained_by_file": true }] });
        assert_eq!(
            said(&undrained, Paint::Plain),
            "undrain: done, 1 of 2 endpoints of u are usable, recorded as #8; the file drains it too: remove `drain` from \
             its line\n  10.0.0.1:80  drained by the file"
        );
        document["changed"] = json!(false);
        assert!(said(&document, Paint::Plain).starts_with("drain: it was so already"));
        assert_eq!(encoded("[::1]:80"), "%5B%3A%3A1%5D%3A80");
    }
}
