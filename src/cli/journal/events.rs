//! `events`: records as they are made, for programs.

use serde_json::Value;

use super::follow::follow;
use super::pages::{newest, pages};
use super::printer::RecordPrinter;
use crate::cli::Exit;
use crate::cli::admin::Purpose;
use crate::cli::args::EventsArguments;
use crate::cli::paint::Terminal;

/// Runs `events`.
///
/// # Errors
/// No proxy answers at first.
pub fn events(arguments: &EventsArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let printer = if arguments.table { RecordPrinter::table(terminal.stdout) } else { RecordPrinter::json() };
    let mut each = |record: &Value| printer.print(record);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if !arguments.follow {
            pages(&admin, arguments.after.unwrap_or(0), &mut each).await?;
            return Ok(Exit::Ok);
        }
        // The number of now: a stream that breaks before its first event continues there.
        let after = match arguments.after {
            Some(after) => Some(after),
            None => newest(&admin).await,
        };
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended?,
            ended = follow(&admin, after, &mut each) => return Ok(ended?.exit(terminal)),
        }
        Ok(Exit::Ok)
    })
}
