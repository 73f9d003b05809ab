//! Reads records from a sequence number on, over full files, in bounded memory.

use std::io;

use super::files::JournalFiles;
use super::lines::{LineRead, Lines};
use super::names::{CURRENT, rotated_seq};
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

/// Reads the files in order with `read`; again when a writer has begun a new file meanwhile, as records may then be in a
/// file that was not read.
///
/// # Errors
/// The folder or a file cannot be read.
pub(super) fn read_in_order<T>(
    files: &dyn JournalFiles,
    mut read: impl FnMut(&[String]) -> io::Result<T>,
) -> io::Result<T> {
    let mut ordered = in_order(files)?;
    for _ in 1..ATTEMPTS_MAX {
        let result = read(&ordered);
        let now = in_order(files)?;
        if now == ordered {
            return result;
        }
        ordered = now;
    }
    read(&ordered)
}

/// At most `limit` records with numbers above `after`, without checkpoints. Records that are older than the oldest file
/// are gone.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn records_after(files: &dyn JournalFiles, after: u64, limit: usize) -> io::Result<ReadPage> {
    read_in_order(files, |ordered| page(files, ordered, after, limit))
}

fn page(files: &dyn JournalFiles, ordered: &[String], after: u64, limit: usize) -> io::Result<ReadPage> {
    let mut page = ReadPage::default();
    let mut bytes = 0;
    for (at, name) in ordered.iter().enumerate() {
        // All records of this file are older than the first of the next.
        let next = ordered.get(at + 1).and_then(|next| rotated_seq(next));
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
            if record.seq <= after || matches!(record.what, Deed::Checkpoint { .. }) {
                continue;
            }
            if page.records.len() >= limit || (bytes + lines.line().len() > PAGE_BYTES_MAX && !page.records.is_empty())
            {
                page.has_more = true;
                return Ok(page);
            }
            bytes += lines.line().len();
            page.records.push(record);
        }
    }
    Ok(page)
}
