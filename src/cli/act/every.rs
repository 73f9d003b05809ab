//! `revive --every-kill`: lifts each kill that people made, one act each.

use anyhow::anyhow;
use serde_json::Value;

use super::kill::missing_reason;
use super::outcome::report;
use super::question::{ask, can_ask, is_yes, reason_to_revive};
use super::send::ActOrder;
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::args::ReviveArguments;
use crate::cli::kill_row::KillRow;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::journal::ScopeFields;
use crate::route::KillScope;

/// Kills that are shown before the question.
const SHOWN_MAX: usize = 20;

/// Lifts each kill that people made. What cannot be lifted does not keep the others killed.
pub(super) async fn revive(
    admin: &AdminEndpoint,
    arguments: &ReviveArguments,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let answer = admin.ask("/v1/kill", FetchOptions::get()).await?;
    let page = answer.page()?;
    let kills = page["kills"].as_array().ok_or_else(|| anyhow!("{} answers without kills", answer.place))?;
    let (by_file, by_people): (Vec<&Value>, Vec<&Value>) = kills.iter().partition(|kill| kill["source"] == "file");
    for kill in &by_file {
        out::print_error(&format!("  stays, by the file: {}", KillRow::read(kill).sentence()));
    }
    let scopes: Vec<KillScope> = by_people.iter().filter_map(|kill| scope(kill)).collect();
    if scopes.is_empty() {
        out::print_error("nothing is killed by people");
        return Ok(Exit::Ok);
    }
    if can_ask() {
        show(&by_people);
    }
    let Some(reason) = reason_to_revive(arguments.reason.as_ref(), &out::count(scopes.len(), "kill"), terminal.stderr)
    else {
        out::print_error(&missing_reason(terminal));
        return Ok(Exit::Usage);
    };
    if !arguments.yes && can_ask() {
        let question = format!("Lift {}? yes or no:", out::count(scopes.len(), "kill"));
        if !is_yes(ask(&terminal.stderr.bold(&question)).as_deref()) {
            out::print_error("not revived");
            return Ok(Exit::Refused);
        }
    }
    let mut failed = 0;
    for scope in &scopes {
        let order =
            ActOrder { verb: "revive", scope, reason: &reason, close_streams: None, expect: None, resume: false };
        let answer = order.send(admin).await?;
        if report(&order, &answer, arguments.output(), terminal)? != Exit::Ok {
            failed += 1;
        }
    }
    if failed > 0 {
        out::print_error(&terminal.stderr.red(&format!("{failed} of {} not lifted", out::count(scopes.len(), "kill"))));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

fn show(kills: &[&Value]) {
    for kill in kills.iter().take(SHOWN_MAX) {
        out::print_error(&format!("  {}", KillRow::read(kill).sentence()));
    }
    let more = kills.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        out::print_error(&format!("  … and {more} more: `pointsman kill` lists them"));
    }
}

fn scope(kill: &Value) -> Option<KillScope> {
    serde_json::from_value::<ScopeFields>(kill["scope"].clone()).ok()?.scope()
}
