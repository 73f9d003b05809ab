//! `rollout`: a list of rollouts and releases, one with its stages and guards, and the acts on them.

use serde_json::Value;

use super::rollout_act::perform;
use super::rollout_names::{entries, not_found, path};
use super::rollout_order::PersonOrder;
use super::rollout_text::{listed, shown};
use super::rollout_wait::wait;
use super::staged_text::{staged_listed, staged_shown};
use crate::cli::admin::{FetchOptions, ProblemDocument, Purpose};
use crate::cli::args::{ActOutput, RolloutArguments, RolloutCommand, RolloutListArguments, RolloutShowArguments};
use crate::cli::paint::Terminal;
use crate::cli::release_row::ReleaseRow;
use crate::cli::rollout_row::RolloutRow;
use crate::cli::watched::watched;
use crate::cli::{Exit, out};
use crate::telemetry::Size;

/// Runs `rollout`.
///
/// # Errors
/// No proxy answers.
pub fn rollout(arguments: &RolloutArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let order = match &arguments.command {
        RolloutCommand::Ls(arguments) => return runtime.block_on(list(arguments, terminal)),
        RolloutCommand::Show(arguments) => return runtime.block_on(show(arguments, terminal)),
        RolloutCommand::Wait(arguments) => return runtime.block_on(wait(arguments, terminal)),
        RolloutCommand::Approve(approve) => PersonOrder::Approve(&approve.act, approve.role.as_deref()),
        RolloutCommand::Hold(act) => PersonOrder::Hold(act),
        RolloutCommand::Resume(act) => PersonOrder::Resume(act),
        RolloutCommand::Rollback(act) => PersonOrder::Rollback(act),
        RolloutCommand::Goto(goto) => PersonOrder::Goto(&goto.act, &goto.stage),
        RolloutCommand::Restart(act) => PersonOrder::Restart(act),
    };
    runtime.block_on(perform(order, terminal))
}

async fn list(arguments: &RolloutListArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let page = admin.ask("/v1/rollouts", FetchOptions::get()).await?.page()?;
    if arguments.output() == ActOutput::Json {
        out::print_json(&page)?;
        return Ok(Exit::Ok);
    }
    let staged = RolloutRow::sorted(entries(&page));
    let plain: Vec<ReleaseRow> =
        ReleaseRow::sorted(entries(&page).filter(|entry| !RolloutRow::is(entry)).map(ReleaseRow::read).collect());
    let mut parts = Vec::new();
    if !staged.is_empty() {
        parts.push(staged_listed(&staged, columns(), terminal.stdout));
    }
    if !plain.is_empty() || staged.is_empty() {
        parts.push(listed(&plain, columns(), terminal.stdout));
    }
    out::print(&parts.join("\n\n"))?;
    Ok(Exit::Ok)
}

async fn show(arguments: &RolloutShowArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    if let Some(every) = arguments.watch {
        let look = async || {
            let page = admin.ask(&path(&arguments.name), FetchOptions::get()).await?.page()?;
            Ok(drawn(&page, terminal))
        };
        return watched(every, terminal, look).await;
    }
    let answer = admin.ask(&path(&arguments.name), FetchOptions::get()).await?;
    if answer.status == http::StatusCode::NOT_FOUND && ProblemDocument::read(&answer).is_some() {
        return not_found(&admin, &answer, arguments.output(), terminal).await;
    }
    let page = answer.page()?;
    match arguments.output() {
        ActOutput::Json => out::print_json(&page)?,
        ActOutput::Text => out::print(&drawn(&page, terminal))?,
    }
    Ok(Exit::Ok)
}

/// A rollout, or a release of a static weight.
fn drawn(page: &Value, terminal: Terminal) -> String {
    if RolloutRow::is(page) {
        return staged_shown(&RolloutRow::read(page), columns(), terminal.stdout);
    }
    shown(&ReleaseRow::read(page), columns(), terminal.stdout)
}

fn columns() -> usize {
    Size::of_stdout().map_or(Size::USUAL.columns, |size| size.columns)
}
