//! `rollout`: a list of releases, one with its guards, and the end of a latch.

use serde_json::{Value, json};

use super::kill::missing_reason;
use super::outcome::{refused, report_act};
use super::question::{ask, can_ask, is_yes};
use super::rollout_text::{listed, shown};
use super::send::{Acted, PATIENCE, STATUS_PATIENCE, encoded, seen};
use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, ProblemDocument, Purpose, Sent};
use crate::cli::args::{
    ActOutput, RolloutArguments, RolloutCommand, RolloutListArguments, RolloutResumeArguments, RolloutShowArguments,
};
use crate::cli::paint::Terminal;
use crate::cli::release_row::ReleaseRow;
use crate::cli::{Exit, out};
use crate::compare::escape_controls;
use crate::telemetry::Size;

/// Names that are listed.
const LISTED_MAX: usize = 10;

/// Runs `rollout`.
///
/// # Errors
/// No proxy answers.
pub fn rollout(arguments: &RolloutArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &arguments.command {
            RolloutCommand::Ls(arguments) => list(arguments, terminal).await,
            RolloutCommand::Show(arguments) => show(arguments, terminal).await,
            RolloutCommand::Resume(arguments) => resume(arguments, terminal).await,
        }
    })
}

async fn list(arguments: &RolloutListArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let page = admin.ask("/v1/rollouts", FetchOptions::get()).await?.page()?;
    match arguments.output() {
        ActOutput::Json => out::print_json(&page)?,
        ActOutput::Text => out::print(&listed(&releases(&page), columns(), terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

async fn show(arguments: &RolloutShowArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let answer = admin.ask(&path(&arguments.name), FetchOptions::get()).await?;
    if answer.status == http::StatusCode::NOT_FOUND && ProblemDocument::read(&answer).is_some() {
        return not_found(&admin, &answer, arguments.output(), terminal).await;
    }
    let page = answer.page()?;
    match arguments.output() {
        ActOutput::Json => out::print_json(&page)?,
        ActOutput::Text => out::print(&shown(&ReleaseRow::read(&page), columns(), terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

async fn resume(arguments: &RolloutResumeArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Act)?;
    let (name, output) = (arguments.name.as_str(), arguments.output());
    let mut expect = None;
    if can_ask() {
        // What is decided after this is shown before the act is done.
        expect = seen(&admin).await;
        for line in before(&admin, name).await {
            out::print_error(&format!("  {line}"));
        }
    }
    let question = |words: &str| ask(&terminal.stderr.bold(words));
    let why = || question(&format!("Why resume {name}? A reason, for the journal:"));
    let reason = arguments.reason.clone().or_else(|| if can_ask() { why() } else { None });
    let Some(reason) = reason else {
        out::print_error(&missing_reason(terminal));
        return Ok(Exit::Usage);
    };
    if can_ask() && !arguments.yes && !is_yes(question(&format!("Resume {name}? yes or no:")).as_deref()) {
        out::print_error("not resumed");
        return Ok(Exit::Refused);
    }
    let mut body = json!({ "reason": reason });
    if let Some(seq) = expect {
        body["expect"] = json!(seq);
    }
    let key = uuid::Uuid::new_v4().to_string();
    let options = FetchOptions::post(Sent::Json(body.to_string().into(), Some(key)), PATIENCE);
    let answer = admin.ask(&format!("{}/resume", path(name)), options).await?;
    if answer.status == http::StatusCode::NOT_FOUND && ProblemDocument::read(&answer).is_some() {
        return not_found(&admin, &answer, output, terminal).await;
    }
    let what = escape_controls(name);
    let acted = Acted { verb: "resume", done: "resumed", what: &what };
    let exit = report_act(&acted, &answer, output, terminal)?;
    if exit == Exit::Ok && output == ActOutput::Text && answer.json().is_some_and(|document| document["killed"] == true)
    {
        let words = format!("still killed: `pointsman revive --variant {what}` lifts that");
        out::print_error(&terminal.stderr.yellow(&words));
    }
    Ok(exit)
}

/// Reports that there is no such release, with the names that there are.
async fn not_found(
    admin: &AdminEndpoint,
    answer: &AdminResponse,
    output: ActOutput,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    if let (ActOutput::Json, Some(document)) = (output, answer.json()) {
        out::print_json(&document)?;
    }
    let exit = refused(answer, output, terminal)?;
    let page = admin.ask("/v1/rollouts", FetchOptions::within(STATUS_PATIENCE)).await.ok();
    let all = page.and_then(|answer| answer.page().ok()).map(|page| releases(&page)).unwrap_or_default();
    if output == ActOutput::Text && !all.is_empty() {
        let more = all.len().saturating_sub(LISTED_MAX);
        let names: Vec<&str> = all.iter().take(LISTED_MAX).map(|row| row.name.as_str()).collect();
        let end = if more > 0 { format!(" and {more} more: `pointsman rollout ls`") } else { String::new() };
        out::print_error(&format!("  releases: {}{end}", names.join(", ")));
    }
    Ok(exit)
}

/// Why the release was rolled back, and what a resume does.
async fn before(admin: &AdminEndpoint, name: &str) -> Vec<String> {
    let answer = admin.ask(&path(name), FetchOptions::within(STATUS_PATIENCE)).await.ok();
    let Some(row) = answer.and_then(|answer| answer.page().ok()).map(|page| ReleaseRow::read(&page)) else {
        return Vec::new();
    };
    let weight = row.weight;
    vec![row.sentence(), format!("its {weight} % of the callers go to it again, and its guards begin without evidence")]
}

fn path(name: &str) -> String {
    format!("/v1/rollouts/{}", encoded(name))
}

fn releases(page: &Value) -> Vec<ReleaseRow> {
    ReleaseRow::sorted(page["rollouts"].as_array().into_iter().flatten().map(ReleaseRow::read).collect())
}

fn columns() -> usize {
    Size::of_stdout().map_or(Size::USUAL.columns, |size| size.columns)
}
