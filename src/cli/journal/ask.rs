//! `journal`: the records of a running proxy, or of its files.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::filter::RecordFilter;
use super::follow::follow;
use super::offline::records;
use super::pages::{newest, pages};
use super::printer::RecordPrinter;
use super::replay::replayed;
use super::verify::verified;
use crate::cli::admin::{AdminEndpoint, FetchOptions, Purpose};
use crate::cli::args::{ActOutput, JournalArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
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
    let output = if arguments.json { ActOutput::Json } else { ActOutput::Text };
    let mut shown = Shown { filter: &filter, limit: limit(arguments), newest: VecDeque::new(), printer: &printer };
    if let Some(dir) = &arguments.dir {
        if arguments.verify {
            return verified(dir, output, terminal);
        }
        if arguments.replay {
            return replayed(dir, &filter, output, terminal);
        }
        let notes = records(dir, &mut |record| shown.take(record))?;
        shown.end()?;
        let (lines, records) = (notes.unreadable, notes.set_aside);
        let lines = (lines > 0).then(|| format!("{} cannot be read", count(lines, "line")));
        let aside = (records > 0)
            .then(|| format!("{} read from files that were set aside because of damage", count(records, "record")));
        for note in lines.into_iter().chain(aside) {
            out::print_error(&terminal.stderr.yellow(&format!("note: {note}: --verify shows what is wrong")));
        }
        return Ok(Exit::Ok);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin = arguments.admin.find(Purpose::Read)?;
    if arguments.verify || arguments.replay {
        let dir = runtime.block_on(state_dir(&admin))?;
        if arguments.replay {
            return replayed(&dir, &filter, output, terminal);
        }
        return verified(&dir, output, terminal);
    }
    runtime.block_on(async {
        let limit = shown.limit;
        // Of the newest ones alone, no others are read.
        let last = if filter.is_open() && limit.is_some() { newest(&admin).await.unwrap_or(0) } else { 0 };
        let after = last.saturating_sub(limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(u64::MAX));
        let Some(last) = pages(&admin, after, &mut |record| shown.take(record)).await? else { return Ok(Exit::Ok) };
        if shown.end()? && arguments.follow {
            let mut each = |record: &Value| if filter.wants(record) { printer.print(record) } else { Ok(true) };
            tokio::select! {
                ended = tokio::signal::ctrl_c() => ended?,
                ended = follow(&admin, Some(last), &mut each) => return Ok(ended?.exit(terminal)),
            }
        }
        Ok(Exit::Ok)
    })
}

fn count(number: u64, one: &str) -> String {
    out::count(usize::try_from(number).unwrap_or(usize::MAX), one)
}

/// The state folder of the running proxy.
async fn state_dir(admin: &AdminEndpoint) -> anyhow::Result<PathBuf> {
    let answer = admin.ask("/v1/status", FetchOptions::get()).await?;
    let page = answer.page()?;
    let dir = page["journal"]["dir"].as_str().filter(|dir| !dir.is_empty());
    let dir = dir.ok_or_else(|| anyhow!("{} has no journal; --dir DIR names a state directory", answer.place))?;
    let help =
        "it is read from this machine's disk; run the command where the proxy runs, or copy the folder: --dir DIR";
    // A relative path is that of the proxy's working directory.
    let cwd = page["pid"].as_u64().map(|pid| Path::new("/proc").join(pid.to_string()).join("cwd"));
    let seen = cwd.map_or_else(|| dir.into(), |cwd| cwd.join(dir));
    ensure!(seen.is_dir(), "the proxy's state directory {dir} is not here\n  = help: {help}");
    Ok(seen)
}

fn filter(arguments: &JournalArguments) -> RecordFilter {
    let wall = SignedDuration::try_from(Clock.wall()).unwrap_or(SignedDuration::MAX);
    let now = Timestamp::UNIX_EPOCH.checked_add(wall).unwrap_or(Timestamp::MAX);
    let (who, rollout) = (arguments.who.clone(), arguments.rollout.clone());
    RecordFilter { since: arguments.since.map(|since| since.moment(now)), who, rollout }
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
