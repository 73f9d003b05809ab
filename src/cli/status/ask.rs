//! Asking for the status once.

use std::time::Duration;

use super::page::parsed;
use super::{markdown, table, watch};
use crate::cli::admin::{AdminEndpoint, FetchOptions, Purpose};
use crate::cli::args::{ReportFormat, StatusArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::telemetry::Size;

/// Health checks end a command that takes longer than about three seconds, before it prints the reason.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// Runs `status`.
///
/// # Errors
/// If the proxy does not respond.
pub fn status(arguments: &StatusArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    if arguments.health {
        return health(&admin, terminal);
    }
    if let Some(every) = arguments.watch {
        return watch::watch(&admin, every, terminal);
    }
    let answer = admin.ask_blocking("/status", FetchOptions::get())?;
    let value = answer.page()?;
    let format = if arguments.json { ReportFormat::Json } else { arguments.format };
    match format {
        ReportFormat::Json => out::print_json(&value)?,
        ReportFormat::Md => out::print(&markdown::markdown(&parsed(&answer.place, &value)?))?,
        ReportFormat::Table => {
            let columns = Size::of_stdout().map_or(Size::USUAL.columns, |size| size.columns);
            let size = Size { columns, ..Size::USUAL };
            let rows = if arguments.all { table::Rows::All } else { table::Rows::Most };
            out::print(&table::table(&parsed(&answer.place, &value)?, size, rows, terminal.stdout))?;
        }
    }
    Ok(Exit::Ok)
}

/// One line, and an exit code for health checks.
fn health(admin: &AdminEndpoint, terminal: Terminal) -> anyhow::Result<Exit> {
    let asked = admin.ask_blocking("/healthz", FetchOptions::within(HEALTH_PATIENCE));
    let why = match asked {
        Ok(answer) if answer.status.is_success() => {
            out::print(&format!("{}: {}", terminal.stdout.green("healthy"), answer.place))?;
            return Ok(Exit::Ok);
        }
        Ok(answer) => format!("{} answers {}: {}", answer.place, answer.status.as_u16(), answer.line()),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    out::print_error(&format!("{}: {why}", terminal.stderr.red("unhealthy")));
    Ok(Exit::Failed)
}
