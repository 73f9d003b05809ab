//! `kill`: sent first, explained later. Only a question that a person has to answer stands before the call.

use super::before::killed_before;
use super::effect::{EffectOf, effect};
use super::list;
use super::names::{known_names, missing_route};
use super::outcome::report;
use super::question::{ask, can_ask, is_yes};
use super::send::{ActOrder, status};
use crate::cli::admin::{AdminEndpoint, AdminResponse, Purpose};
use crate::cli::args::{ActOutput, KillArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::compare::escape_controls;
use crate::route::KillScope;

/// Runs `kill`.
///
/// # Errors
/// No proxy answers.
pub fn kill(arguments: &KillArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(scope) = arguments.scope.scope() else {
        let admin = arguments.admin.find(Purpose::Read)?;
        return runtime.block_on(list::list(&admin, arguments.output(), terminal));
    };
    let admin = arguments.admin.find(Purpose::Act)?;
    runtime.block_on(async {
        if let Some(why) = missing_route(&admin, &scope).await {
            out::print_error(&format!("{}: {why}", terminal.stderr.red("error")));
            return Ok(Exit::Usage);
        }
        let is_shown = is_asked(arguments, &scope);
        if is_shown {
            show_effect(&admin, &scope, EffectOf::Kill).await;
        }
        let Answered::Go(reason) = questions(arguments, &scope, terminal) else { return Ok(Exit::Refused) };
        let Some(reason) = reason else {
            out::print_error(&missing_reason(terminal));
            return Ok(Exit::Usage);
        };
        let close_streams = arguments.close_streams;
        let order =
            ActOrder { verb: "kill", scope: &scope, reason: &reason, close_streams, expect: None, resume: false };
        let answer = order.send(&admin).await?;
        let exit = report(&order, &answer, arguments.output(), terminal)?;
        if matches!(exit, Exit::Ok | Exit::NotRecorded) && arguments.output() == ActOutput::Text {
            show_earlier(&admin, &order, &answer).await;
            if !is_shown && can_ask() {
                show_effect(&admin, &scope, EffectOf::Killed).await;
            }
        }
        show_names(&admin, &order, &answer, arguments.output()).await;
        Ok(exit)
    })
}

/// Shows who moves. A proxy that does not answer at once is no reason to wait.
async fn show_effect(admin: &AdminEndpoint, scope: &KillScope, of: EffectOf) {
    for line in status(admin).await.iter().flat_map(|page| effect(page, scope, of)) {
        out::print_error(&format!("  {line}"));
    }
}

/// Lists the names that there are, when there is none such as the one that was typed.
pub(super) async fn show_names(admin: &AdminEndpoint, order: &ActOrder<'_>, answer: &AdminResponse, output: ActOutput) {
    if output == ActOutput::Text
        && let Some(names) = known_names(admin, order.scope, answer).await
    {
        out::print_error(&format!("  {names}"));
    }
}

/// Says that the scope was killed before, if it was.
async fn show_earlier(admin: &AdminEndpoint, order: &ActOrder<'_>, answer: &AdminResponse) {
    let Some(document) = answer.json().filter(|document| document["repeated"] != true) else { return };
    let Some(seq) = document["record"]["seq"].as_u64() else { return };
    if let Some(before) = killed_before(admin, order.scope, seq).await {
        out::print_error(&format!("  {} {before}", escape_controls(&order.scope.to_string())));
    }
}

/// What a person answered.
enum Answered {
    /// No.
    No,
    /// Yes, or nothing was asked; with the reason, if there is one.
    Go(Option<String>),
}

/// Whether the act needs a yes: more than one route is concerned.
fn needs_yes(arguments: &KillArguments, scope: &KillScope) -> bool {
    scope.route().is_none() && !arguments.yes
}

/// Whether a person is asked before the call.
fn is_asked(arguments: &KillArguments, scope: &KillScope) -> bool {
    can_ask() && (arguments.reason.is_none() || needs_yes(arguments, scope))
}

/// Asks for what is missing: a reason, and a yes.
fn questions(arguments: &KillArguments, scope: &KillScope, terminal: Terminal) -> Answered {
    if !is_asked(arguments, scope) {
        return Answered::Go(arguments.reason.clone());
    }
    let question = |words: &str| ask(&terminal.stderr.bold(words));
    let reason = match &arguments.reason {
        Some(reason) => Some(reason.clone()),
        None => question(&format!("Why kill {scope}? A reason, for the journal:")),
    };
    let is_refused =
        || needs_yes(arguments, scope) && !is_yes(question(&format!("Kill {scope}? yes or no:")).as_deref());
    if reason.is_some() && is_refused() {
        out::print_error("not killed");
        return Answered::No;
    }
    Answered::Go(reason)
}

/// The error without a reason.
pub(super) fn missing_reason(terminal: Terminal) -> String {
    let error = terminal.stderr.red("error");
    format!("{error}: a reason is missing\n  = help: add --reason TEXT: the journal keeps it, for those who come later")
}
