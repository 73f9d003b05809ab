//! `notify`: a list of the receivers of notifications, and test messages to them.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::outcome::refused;
use crate::cli::admin::{FetchOptions, Purpose, Sent};
use crate::cli::args::{ActOutput, NotifyArguments, NotifyCommand, NotifyListArguments, NotifyTestArguments};
use crate::cli::paint::{Paint, Terminal};
use crate::cli::receiver_row::ReceiverRow;
use crate::cli::{Exit, out};
use crate::compare::escape_controls;

/// Bound on a test: `timeout` of `[notify]` is at most a minute.
const TEST_PATIENCE: Duration = Duration::from_secs(75);

/// Letters of a failure that are shown; `--json` has all.
const FAILURE_CHARS_MAX: usize = 200;

/// Runs `notify`.
///
/// # Errors
/// No proxy answers.
pub fn notify(arguments: &NotifyArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    match &arguments.command {
        NotifyCommand::Ls(arguments) => list(arguments, terminal),
        NotifyCommand::Test(arguments) => test(arguments, terminal),
    }
}

fn list(arguments: &NotifyListArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let page = arguments.admin.find(Purpose::Read)?.ask_blocking("/v1/notify", FetchOptions::get())?.page()?;
    match arguments.output() {
        ActOutput::Json => out::print_json(&page)?,
        ActOutput::Text => out::print(&table(&page, terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

fn table(page: &Value, paint: Paint) -> String {
    let rows: Vec<ReceiverRow> = page["receivers"].as_array().into_iter().flatten().map(ReceiverRow::read).collect();
    if rows.is_empty() {
        return "no one is notified: add `[notify]` with `to = [\"slack:https://…\"]` to the routes file".to_owned();
    }
    let width = |of: fn(&ReceiverRow) -> &String, title: &str| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let (name, whom) = (width(|row| &row.name, "RECEIVER"), width(|row| &row.for_whom, "FOR"));
    let (pending, last) = (width(|row| &row.pending, "WAITING"), width(|row| &row.last, "LAST SENT"));
    let head = format!(
        "{:<name$}  {:<whom$}  {:<pending$}  {:>5}  {:<last$}  ERROR",
        "RECEIVER", "FOR", "WAITING", "SENT", "LAST SENT"
    );
    let mut lines = vec![paint.dim(&head)];
    for row in &rows {
        let padded = format!("{:<name$}", row.name);
        let padded = if row.trouble.is_some() { paint.red(&padded) } else { padded };
        let line = format!(
            "{padded}  {:<whom$}  {:<pending$}  {:>5}  {:<last$}  {}",
            row.for_whom, row.pending, row.sent, row.last, row.error
        );
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

fn test(arguments: &NotifyTestArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let body = arguments.receiver.as_ref().map_or_else(|| json!({}), |name| json!({ "receiver": name }));
    let options = FetchOptions::post(Sent::Json(body.to_string().into(), None), TEST_PATIENCE);
    let answer = arguments.admin.find(Purpose::Act)?.ask_blocking("/v1/notify/test", options)?;
    let document = answer.json();
    if let (ActOutput::Json, Some(document)) = (arguments.output(), &document) {
        out::print_json(document)?;
    }
    let is_outcome = |document: &Value| answer.status == StatusCode::OK && document["receivers"].is_array();
    let Some(document) = document.filter(is_outcome) else {
        return refused(&answer, arguments.output(), terminal);
    };
    if arguments.output() == ActOutput::Text {
        out::print(&tested(&document, terminal.stdout))?;
    }
    Ok(if document["arrived"] == true { Exit::Ok } else { Exit::Failed })
}

/// A line for each receiver.
fn tested(document: &Value, paint: Paint) -> String {
    let all: Vec<&Value> = document["receivers"].as_array().into_iter().flatten().collect();
    let text = |value: &Value| escape_controls(value.as_str().unwrap_or_default()).into_owned();
    let name = all.iter().map(|one| text(&one["receiver"]).chars().count()).max().unwrap_or(0);
    let line = |one: &&Value| {
        let took = format!("{:.0} ms", one["took_ms"].as_f64().unwrap_or(0.0));
        let status = one["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
        let facts = format!("{:<name$}  {status:>3}  {took:>8}", text(&one["receiver"]));
        let why = out::shortened(&text(&one["error"]), FAILURE_CHARS_MAX);
        if one["arrived"] == true {
            format!("{} {facts}", paint.green("✓"))
        } else {
            format!("{} {facts}  {}", paint.red("✗"), paint.red(&why))
        }
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_a_table() {
        let page = json!({ "receivers": [
            { "name": "slack:hooks.slack.com", "for_all": true, "rollouts": [], "pending": 0, "sent": 12,
              "last_sent": "2026-11-29T14:03:10.123Z", "dropped": 0, "error": null },
            { "name": "webhook:ci", "for_all": false, "rollouts": ["shop-v2"], "pending": 3, "sent": 0,
              "oldest": "2026-11-29T14:00:00Z", "last_sent": null, "dropped": 0, "error": "connection refused" },
        ] });
        assert_eq!(
            table(&page, Paint::Plain),
            "RECEIVER               FOR      WAITING                        SENT  LAST SENT             ERROR\n\
             slack:hooks.slack.com  all      0                                12  2026-11-29 14:03:10Z\n\
             webhook:ci             shop-v2  3 since 2026-11-29 14:00:00Z      0  -                     connection refused"
        );
        assert!(table(&json!({ "receivers": [] }), Paint::Plain).starts_with("no one is notified"));
    }

    #[test]
    fn a_test_is_a_line_for_each_receiver() {
        let document = json!({ "arrived": false, "receivers": [
            { "receiver": "slack:hooks.slack.com", "arrived": true, "status": 200, "took_ms": 84.4, "error": null },
            { "receiver": "webhook:ci", "arrived": false, "status": null, "took_ms": 1.2, "error": "connection\nrefused" },
        ] });
        assert_eq!(
            tested(&document, Paint::Plain),
            "✓ slack:hooks.slack.com  200     84 ms\n\
             ✗ webhook:ci               -      1 ms  connection\\u{a}refused"
        );
    }
}
