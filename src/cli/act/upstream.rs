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

/// The longest bar, in letters.
const BAR_MAX: usize = 20;

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
        ActOutput::Text => out::print(&drawn(&chosen, terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

/// A block for each upstream: its bar, then a row for each endpoint.
fn drawn(upstreams: &[&Value], paint: Paint) -> String {
    if upstreams.is_empty() {
        return "there are no upstreams".to_owned();
    }
    let rows: Vec<UpstreamRow> = upstreams.iter().map(|one| UpstreamRow::read(one)).collect();
    let names = rows.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    let endpoints = rows.iter().flat_map(|one| &one.endpoints).map(|one| one.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let usable = row.usable.unwrap_or(row.total);
        let tries = row.tries.map(|[used, allowed]| format!("  {used} of {allowed} tries in 10 s")).unwrap_or_default();
        let name = paint.bold(&format!("{:<names$}", row.name));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}  {}  {usable} of {} usable{tries}", bar(usable, row.total, paint), row.total);
        for endpoint in &row.endpoints {
            let EndpointRow { name, weight, standing, why, .. } = endpoint;
            let padded = format!("{standing:<7}");
            let word = match standing.as_str() {
                "usable" => paint.green(&padded),
                "failing" | "drained" | "trial" => paint.yellow(&padded),
                _ => paint.red(&padded),
            };
            let weight = if *weight == 1 { String::new() } else { format!("weight {weight}  ") };
            let _ = writeln!(text, "  {}", format!("{name:<endpoints$}  {word}  {weight}{why}").trim_end());
        }
    }
    text.trim_end().to_owned()
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
    let head = if document["changed"] == true {
        paint.green(&format!("{verb}: done, {usable} of {total} endpoints of {upstream} are usable{recorded}"))
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

    #[test]
    fn upstreams_are_drawn_with_a_row_for_each_endpoint() {
        let upstream = json!({
            "name": "checkout-v1", "usable": 1, "total": 2, "retry_budget": { "used": 4, "allowed": 50 },
            "endpoints": [
                { "name": "10.0.0.1:8080", "address": "10.0.0.1:8080", "weight": 2, "standing": "usable" },
                { "name": "10.0.0.2:8080", "address": "10.0.0.2:8080", "weight": 1, "standing": "ejected",
                  "ejected_because": "connect_refused", "ejected_for_ms": 12_000, "ejections_in_a_row": 2 },
            ],
        });
        assert_eq!(
            drawn(&[&upstream], Paint::Plain),
            "checkout-v1  █░  1 of 2 usable  4 of 50 tries in 10 s\n  \
             10.0.0.1:8080  usable   weight 2\n  \
             10.0.0.2:8080  ejected  12 s left, 2nd in a row: connect_refused"
        );
        assert_eq!(drawn(&[], Paint::Plain), "there are no upstreams");
    }

    #[test]
    fn an_outcome_is_a_line_and_its_endpoints() {
        let mut document = json!({ "upstream": "u", "act": "drain", "changed": true, "seq": 7, "usable": 1, "total": 2,
            "endpoints": [{ "name": "a:80", "address": "10.0.0.1:80", "standing": "drained", "drained": true }] });
        assert_eq!(
            said(&document, Paint::Plain),
            "drain: done, 1 of 2 endpoints of u are usable, recorded as #7\n  10.0.0.1:80 (a:80)  drained by hand"
        );
        document["changed"] = json!(false);
        assert!(said(&document, Paint::Plain).starts_with("drain: it was so already"));
        assert_eq!(encoded("[::1]:80"), "%5B%3A%3A1%5D%3A80");
    }
}
