//! The command: asks for the link, and prints or opens it.

use serde_json::json;

use super::browser;
use super::link::{DashboardLink, LinkHost, LinkOutcome};
use crate::cli::act::refused;
use crate::cli::admin::Purpose;
use crate::cli::args::{ActOutput, DashboardArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};

/// Runs `dashboard`.
///
/// # Errors
/// No proxy answers, or it has no dashboard.
pub fn dashboard(arguments: &DashboardArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Act)?;
    let host = arguments.host.as_deref().map_or(LinkHost::Own, LinkHost::Named);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = match runtime.block_on(DashboardLink::ask(&admin, host))? {
        LinkOutcome::Made(link) => link,
        LinkOutcome::Refused(answer) => {
            if let (ActOutput::Json, Some(document)) = (arguments.output(), answer.json()) {
                out::print_json(&document)?;
            }
            return refused(&answer, arguments.output(), terminal);
        }
    };
    let opened = arguments.open.then(|| browser::open(&link.url));
    if arguments.output() == ActOutput::Json {
        let is_open = opened.as_ref().is_some_and(Result::is_ok);
        out::print_json(
            &json!({ "url": link.url, "expires_in_s": link.expires_in_s, "name": link.who, "opened": is_open }),
        )?;
        return Ok(Exit::Ok);
    }
    match opened {
        Some(Ok(())) => out::print_error(&format!("opened in the browser: {}", link.terms())),
        failed => {
            if let Some(Err(why)) = failed {
                out::print_error(&format!("{}: {why}; open this link instead:", terminal.stderr.yellow("not opened")));
            }
            // The link alone is on standard output: a script can take it from there.
            out::print(&link.url)?;
            out::print_error(&terminal.stderr.dim(&link.terms()));
        }
    }
    Ok(Exit::Ok)
}
