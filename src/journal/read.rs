//! Reads records from a sequence number on, over full files, in bounded memory.

use std::io;

use super::files::JournalFiles;
use super::lines::{LineRead, Lines};
use super::names::{CURRENT, damaged_seq, rotated_seq};
use super::record::{Deed, Record};

/// How many bytes of lines a page has at most, beyond its first record.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often files are looked for again when a writer renames them meanwhile.
const ATTEMPTS_MAX: u32 = 3;

/// Records in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadPage {
    /// The records.
    pub records: Vec<Record>,
    /// There are more on the disk: ask again from the last one on.
    pub has_more: bool,
    /// How many lines were left out as they are no records: a verification says which.
    pub unreadable: u64,
    /// How many of the records are in files that were set aside because of damage.
    pub set_aside: u64,
}

/// The files that hold records, in order: full ones, then `journal.jsonl`.
///
/// # Errors
/// The folder cannot be read.
fn in_order(files: &dyn JournalFiles) -> io::Result<Vec<String>> {
    let names = files.list()?;
    let mut full: Vec<u64> = names.iter().filter_map(|name| rotated_seq(name)).collect();
    full.sort_unstable();
    let mut ordered: Vec<String> = full.into_iter().map(super::names::rotated).collect();
    ordered.extend(names.into_iter().find(|name| name == CURRENT));
    Ok(ordered)
}

/// The files that hold records, and those that were set aside as they are damaged: each of these before the file that
/// begins with what was read of it.
///
/// # Errors
/// The folder cannot be read.
fn with_set_aside(files: &dyn JournalFiles) -> io::Result<Vec<String>> {
    let mut aside: Vec<(u64, String)> =
        files.list()?.into_iter().filter_map(|name| Some((damaged_seq(&name)?, name))).collect();
    aside.sort_unstable();
    let mut ordered = Vec::new();
    let mut aside = aside.into_iter().peekable();
    for name in in_order(files)? {
        let begins = rotated_seq(&name).unwrap_or(u64::MAX);
        while let Some((_, damaged)) = aside.next_if(|(seq, _)| *seq <= begins) {
            ordered.push(damaged);
        }
        ordered.push(name);
    }
    ordered.extend(aside.map(|(_, name)| name));
    Ok(ordered)
}

/// Reads the files in order with `read`; again when a writer has begun a new file meanwhile, as records may then be in a
/// file that was not read.
///
/// # Errors
/// The folder or a file cannot be read.
pub(super) fn read_in_order<T>(
    files: &dyn JournalFiles,
    read: impl FnMut(&[String]) -> io::Result<T>,
) -> io::Result<T> {
    read_listed(files, in_order, read)
}

fn read_listed<T>(
    files: &dyn JournalFiles,
    list: fn(&dyn JournalFiles) -> io::Result<Vec<String>>,
    mut read: impl FnMut(&[String]) -> io::Result<T>,
) -> io::Result<T> {
    let mut ordered = list(files)?;
    for _ in 1..ATTEMPTS_MAX {
        let result = read(&ordered);
        let now = list(files)?;
        if now == ordered {
            return result;
        }
        ordered = now;
    }
    read(&ordered)
}

/// At most `limit` records with numbers above `after`, without checkpoints, by rising numbers. Records that are older than
/// the oldest file are gone. Of a file that was set aside because of damage, those that can be read.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn records_after(files: &dyn JournalFiles, after: u64, limit: usize) -> io::Result<ReadPage> {
    read_listed(files, with_set_aside, |ordered| page(files, ordered, after, limit))
}

fn page(files: &dyn JournalFiles, ordered: &[String], after: u64, limit: usize) -> io::Result<ReadPage> {
    let mut page = ReadPage::default();
    let mut bytes = 0;
    for (at, name) in ordered.iter().enumerate() {
        // All records of this file are older than the first of the next.
        let next = ordered.get(at + 1).and_then(|next| rotated_seq(next).or(damaged_seq(next)));
        let is_aside = damaged_seq(name).is_some();
        if next.is_some_and(|next| next <= after) {
            continue;
        }
        let mut lines = Lines::new(files.read(name)?);
        while let Some(read) = lines.read()? {
            let record = match read {
                LineRead::Whole => serde_json::from_slice::<Record>(lines.line()).ok(),
                LineRead::TooLong => None,
                // A writer is about to complete it.
                LineRead::Torn(_) => break,
            };
            let Some(record) = record else {
                page.unreadable += 1;
                continue;
            };
            // Behind damage a number may be there twice.
            let last = page.records.last().map_or(after, |last| last.seq);
            if record.seq <= last || matches!(record.what, Deed::Checkpoint { .. }) {
                continue;
            }
            if page.records.len() >= limit || (bytes + lines.line().len() > PAGE_BYTES_MAX && !page.records.is_empty())
            {
                page.has_more = true;
                return Ok(page);
            }
            bytes += lines.line().len();
            page.set_aside += u64::from(is_aside);
            page.records.push(record);
        }
    }
    Ok(page)
}
