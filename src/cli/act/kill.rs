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
        let Answered::Go(reason) = questions(&admin, arguments, &scope, terminal).await else {
            return Ok(Exit::Refused);
        };
        let Some(reason) = reason else {
            out::print_error(&missing_reason(terminal));
            return Ok(Exit::Usage);
        };
        let close_streams = arguments.close_streams;
        let order = ActOrder { verb: "kill", scope: &scope, reason: &reason, close_streams, expect: None };
        let answer = order.send(&admin).await?;
        report(&order, &answer, arguments.output(), terminal)
    })
}

/// What a person answered.
enum Answered {
    /// No.
    No,
    /// Yes, or nothing was asked; with the reason, if there is one.
    Go(Option<String>),
}

/// Asks for what is missing: a reason, and a yes when more than one route is concerned.
async fn questions(
    admin: &AdminEndpoint,
    arguments: &KillArguments,
    scope: &KillScope,
    terminal: Terminal,
) -> Answered {
    let needs_yes = scope.route().is_none() && !arguments.yes;
    if (arguments.reason.is_some() && !needs_yes) || !can_ask() {
        return Answered::Go(arguments.reason.clone());
    }
    // A proxy that does not answer at once is no reason to wait.
    let effect = status(admin).await.map(|status| effect(&status, scope, Direction::Kill)).unwrap_or_default();
    for line in &effect {
        out::print_error(&format!("  {line}"));
    }
    let reason = match &arguments.reason {
        Some(reason) => Some(reason.clone()),
        None => ask(&terminal.stderr.bold(&format!("Why kill {scope}? A reason, for the journal:"))),
    };
    if reason.is_some()
        && needs_yes
        && !is_yes(ask(&terminal.stderr.bold(&format!("Kill {scope}? yes or no:"))).as_deref())
    {
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
