//! `kill`: sent first, explained later. Only a question that a person has to answer stands before the call.

use super::effect::{Direction, effect};
use super::list;
use super::outcome::report;
use super::question::{ask, can_ask, is_yes};
use super::send::{ActOrder, status};
use crate::cli::admin::{AdminEndpoint, Purpose};
use crate::cli::args::KillArguments;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
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
        let is_shown = is_asked(arguments, &scope);
        if is_shown {
            show_effect(&admin, &scope).await;
        }
        let Answered::Go(reason) = questions(arguments, &scope, terminal) else { return Ok(Exit::Refused) };
        let Some(reason) = reason else {
            out::print_error(&missing_reason(terminal));
            return Ok(Exit::Usage);
        };
        let close_streams = arguments.close_streams;
        let order = ActOrder { verb: "kill", scope: &scope, reason: &reason, close_streams, expect: None };
        let answer = order.send(&admin).await?;
        let exit = report(&order, &answer, arguments.output(), terminal)?;
        if exit == Exit::Ok && !is_shown && can_ask() {
            show_effect(&admin, &scope).await;
        }
        Ok(exit)
    })
}

/// Shows who moves. A proxy that does not answer at once is no reason to wait.
async fn show_effect(admin: &AdminEndpoint, scope: &KillScope) {
    for line in status(admin).await.iter().flat_map(|page| effect(page, scope, Direction::Kill)) {
        out::print_error(&format!("  {line}"));
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
