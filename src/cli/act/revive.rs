//! `revive`: raises exposure, so what comes back is shown before, and what stays killed afterwards.

use super::effect::{EffectOf, effect};
use super::every;
use super::kill::missing_reason;
use super::names::missing_route;
use super::outcome::{report, report_resume};
use super::question::{ask, can_ask, is_yes, reason_to_revive};
use super::send::{ActOrder, killed, seen, status};
use super::standing::StandingKills;
use crate::cli::admin::{AdminEndpoint, Purpose};
use crate::cli::args::{ActOutput, ReviveArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::route::KillScope;

/// Runs `revive`.
///
/// # Errors
/// No proxy answers.
pub fn revive(arguments: &ReviveArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let error = terminal.stderr.red("error");
    let scope = arguments.scope.scope();
    if scope.is_none() && !arguments.every_kill {
        let help = "`pointsman kill` lists what is killed; write --all, --route, --variant, --rollout, --tenant, --shadow or \
                    --every-kill";
        out::print_error(&format!("{error}: a scope is missing\n  = help: {help}"));
        return Ok(Exit::Usage);
    }
    let admin = arguments.admin.find(Purpose::Act)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match scope {
            Some(scope) => one(&admin, arguments, &scope, terminal).await,
            None => every::revive(&admin, arguments, terminal).await,
        }
    })
}

/// Lifts one kill.
async fn one(
    admin: &AdminEndpoint,
    arguments: &ReviveArguments,
    scope: &KillScope,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    if let Some(why) = missing_route(admin, scope).await {
        out::print_error(&format!("{}: {why}", terminal.stderr.red("error")));
        return Ok(Exit::Usage);
    }
    let mut expect = None;
    if can_ask() {
        // What is decided after this is shown before the act is done.
        expect = seen(admin).await;
        for line in status(admin).await.iter().flat_map(|page| effect(page, scope, EffectOf::Revive)) {
            out::print_error(&format!("  {line}"));
        }
    }
    let Some(reason) = reason_to_revive(arguments.reason.as_ref(), &scope.to_string(), terminal.stderr) else {
        out::print_error(&missing_reason(terminal));
        return Ok(Exit::Usage);
    };
    if scope.route().is_none() && !arguments.yes && can_ask() {
        let answer = ask(&terminal.stderr.bold(&format!("Revive {scope}? yes or no:")));
        if !is_yes(answer.as_deref()) {
            out::print_error("not revived");
            return Ok(Exit::Refused);
        }
    }
    let order =
        ActOrder { verb: "revive", scope, reason: &reason, close_streams: None, expect, resume: arguments.resume };
    let answer = order.send(admin).await?;
    let mut exit = report(&order, &answer, arguments.output(), terminal)?;
    if arguments.resume && exit == Exit::Ok {
        exit = report_resume(&answer, arguments.output(), terminal)?;
    }
    if exit == Exit::Ok && arguments.output() == ActOutput::Text {
        let kills = killed(admin).await.map(|page| StandingKills::read(&page).others(scope));
        if let Some(by) = kills.and_then(|kills| kills.that_concern(scope)) {
            out::print_error(&terminal.stderr.yellow(&format!("still killed by: {by}")));
        }
    }
    Ok(exit)
}
