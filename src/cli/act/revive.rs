//! `revive`: raises exposure, so what comes back is shown before.

use super::effect::{Direction, effect};
use super::kill::missing_reason;
use super::outcome::report;
use super::question::{ask, can_ask, is_yes};
use super::send::{ActOrder, seen, status};
use crate::cli::admin::Purpose;
use crate::cli::args::ReviveArguments;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};

/// Runs `revive`.
///
/// # Errors
/// No proxy answers.
pub fn revive(arguments: &ReviveArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let error = terminal.stderr.red("error");
    let Some(scope) = arguments.scope.scope() else {
        let help = "`pointsman kill` lists what is killed; write --all, --route, --variant, --tenant or --shadow";
        out::print_error(&format!("{error}: a scope is missing\n  = help: {help}"));
        return Ok(Exit::Usage);
    };
    let admin = arguments.admin.find(Purpose::Act)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut expect = None;
        if can_ask() {
            // What is decided after this is shown before the act is done.
            expect = seen(&admin).await;
            for line in status(&admin).await.iter().flat_map(|page| effect(page, &scope, Direction::Revive)) {
                out::print_error(&format!("  {line}"));
            }
        }
        let reason = match &arguments.reason {
            Some(reason) => Some(reason.clone()),
            None if can_ask() => ask(&terminal.stderr.bold(&format!("Why revive {scope}? A reason, for the journal:"))),
            None => None,
        };
        let Some(reason) = reason else {
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
        let order = ActOrder { verb: "revive", scope: &scope, reason: &reason, close_streams: None, expect };
        let answer = order.send(&admin).await?;
        report(&order, &answer, arguments.output(), terminal)
    })
}
