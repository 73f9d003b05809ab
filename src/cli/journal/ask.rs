//! `journal`: the records of a running proxy, page by page.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::filter::RecordFilter;
use super::follow::follow;
use super::pages::{newest, pages};
use super::printer::RecordPrinter;
use crate::cli::Exit;
use crate::cli::admin::Purpose;
use crate::cli::args::JournalArguments;
use crate::cli::paint::Terminal;
use crate::clock::Clock;

/// Records that are shown where no option says how many.
const SHOWN: usize = 50;

/// Runs `journal`.
///
/// # Errors
/// No proxy answers.
pub fn journal(arguments: &JournalArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let filter = filter(arguments);
    let printer = if arguments.json { RecordPrinter::json() } else { RecordPrinter::table(terminal.stdout) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = arguments.admin.find(Purpose::Read)?;
    runtime.block_on(async {
        let limit = limit(arguments);
        let mut shown = Shown { filter: &filter, limit, newest: VecDeque::new(), printer: &printer };
        // Of the newest ones alone, no others are read.
        let last = if filter.is_open() && limit.is_some() { newest(&admin).await.unwrap_or(0) } else { 0 };
        let after = last.saturating_sub(limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(u64::MAX));
        let Some(last) = pages(&admin, after, &mut |record| shown.take(record)).await? else { return Ok(Exit::Ok) };
        if shown.end()? && arguments.follow {
            let mut each = |record: &Value| if filter.wants(record) { printer.print(record) } else { Ok(true) };
            tokio::select! {
                ended = tokio::signal::ctrl_c() => ended?,
                ended = follow(&admin, Some(last), &mut each) => ended?,
            }
        }
        Ok(Exit::Ok)
    })
}

fn filter(arguments: &JournalArguments) -> RecordFilter {
    let wall = SignedDuration::try_from(Clock.wall()).unwrap_or(SignedDuration::MAX);
    let now = Timestamp::UNIX_EPOCH.checked_add(wall).unwrap_or(Timestamp::MAX);
    RecordFilter { since: arguments.since.map(|since| since.moment(now)), who: arguments.who.clone() }
}

/// How many records are shown; without a number they are shown as they are read.
fn limit(arguments: &JournalArguments) -> Option<usize> {
    arguments.limit.or_else(|| arguments.since.is_none().then_some(SHOWN))
}

/// The records that are shown: as they come, or the newest of all.
struct Shown<'a> {
    filter: &'a RecordFilter,
    limit: Option<usize>,
    newest: VecDeque<Value>,
    printer: &'a RecordPrinter,
}

impl Shown<'_> {
    /// Takes a record. Returns whether the output still has a reader.
    fn take(&mut self, record: &Value) -> anyhow::Result<bool> {
        if !self.filter.wants(record) {
            return Ok(true);
        }
        let Some(limit) = self.limit else { return self.printer.print(record) };
        self.newest.push_back(record.clone());
        if self.newest.len() > limit {
            self.newest.pop_front();
        }
        Ok(true)
    }

    /// Prints what was kept. Returns whether the output still has a reader.
    fn end(&mut self) -> anyhow::Result<bool> {
        for record in std::mem::take(&mut self.newest) {
            if !self.printer.print(&record)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
