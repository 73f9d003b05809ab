//! What a person does with a rollout: what it would do, the questions before it, the call, and its outcome in words.

use serde_json::Value;

use super::kill::missing_reason;
use super::outcome::report_act;
use super::question::{ask, can_ask, is_yes};
use super::rollout_before::before;
use super::rollout_names::{not_found, path};
use super::rollout_order::PersonOrder;
use super::send::{Acted, PATIENCE, STATUS_PATIENCE, seen, status};
use crate::cli::admin::{AdminEndpoint, FetchOptions, ProblemDocument, Purpose, Sent};
use crate::cli::args::ActOutput;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::compare::escape_controls;

/// What was answered to the questions.
enum Answered {
    /// No.
    No,
    /// There is no reason.
    NoReason,
    /// Yes, or nothing was asked; with the reason, if there is one.
    Go(Option<String>),
}

/// Does what a person orders.
///
/// # Errors
/// No proxy answers.
pub(super) async fn perform(order: PersonOrder<'_>, terminal: Terminal) -> anyhow::Result<Exit> {
    let arguments = order.arguments();
    let admin = arguments.admin.find(Purpose::Act)?;
    let (name, output) = (arguments.name.as_str(), arguments.output());
    let (mut expect, mut entry) = (None, Value::Null);
    if can_ask() {
        // What is decided after this is shown before the act is done.
        expect = seen(&admin).await;
        entry = page_of(&admin, name).await.unwrap_or_default();
        let status = if matches!(order, PersonOrder::Rollback(_) | PersonOrder::Rehearse(_)) {
            status(&admin).await
        } else {
            None
        };
        for line in before(order, &entry, status.as_ref()) {
            out::print_error(&format!("  {line}"));
        }
    }
    let reason = match questions(order, &entry, terminal) {
        Answered::Go(reason) => reason,
        Answered::NoReason => {
            out::print_error(&missing_reason(terminal));
            return Ok(Exit::Usage);
        }
        Answered::No => {
            out::print_error(&format!("not {}", order.done()));
            return Ok(Exit::Refused);
        }
    };
    let key = uuid::Uuid::new_v4().to_string();
    let body = order.body(reason.as_deref(), expect).to_string();
    let options = FetchOptions::post(Sent::Json(body.into(), Some(key)), PATIENCE);
    let answer = admin.ask(&format!("{}/{}", path(name), order.verb()), options).await?;
    let is_unknown = |answer: &Value| answer["type"].as_str().is_some_and(|kind| kind.ends_with(":unknown-rollout"));
    if answer.status == http::StatusCode::NOT_FOUND
        && ProblemDocument::read(&answer).is_some_and(|problem| is_unknown(&problem.document))
    {
        return not_found(&admin, &answer, output, terminal).await;
    }
    let what = escape_controls(name);
    let acted = Acted { verb: order.verb(), done: order.done(), what: &what };
    let exit = report_act(&acted, &answer, output, terminal)?;
    if exit == Exit::Ok && output == ActOutput::Text && answer.json().is_some_and(|document| document["killed"] == true)
    {
        let option = if name.contains(':') { "--variant" } else { "--rollout" };
        let words = format!("still killed: `pointsman revive {option} {what}` lifts that");
        out::print_error(&terminal.stderr.yellow(&words));
    }
    Ok(exit)
}

/// How it stands, if the proxy says so at once.
async fn page_of(admin: &AdminEndpoint, name: &str) -> Option<Value> {
    let answer = admin.ask(&path(name), FetchOptions::within(STATUS_PATIENCE)).await.ok()?;
    answer.page().ok()
}

/// Asks for what is missing: a reason, and a yes.
fn questions(order: PersonOrder<'_>, entry: &Value, terminal: Terminal) -> Answered {
    let arguments = order.arguments();
    let name = escape_controls(&arguments.name);
    let question = |words: &str| ask(&terminal.stderr.bold(words));
    let reason = match &arguments.reason {
        Some(reason) => Some(reason.clone()),
        None if !order.needs_reason() => None,
        None if can_ask() => match question(&format!("Why {} {name}? A reason, for the journal:", order.words())) {
            Some(reason) => Some(reason),
            None => return Answered::NoReason,
        },
        None => return Answered::NoReason,
    };
    if can_ask() && !arguments.yes && order.needs_yes(entry) {
        let words = format!("{} {name}? yes or no:", capital(&order.words()));
        if !is_yes(question(&words).as_deref()) {
            return Answered::No;
        }
    }
    Answered::Go(reason)
}

/// With a capital letter at the beginning.
fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
