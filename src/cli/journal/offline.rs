//! The journal in its files, without a proxy.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::journal::{DiskFiles, records_after};

/// Records of a page.
const PAGE: usize = 1_000;

/// What is to be known of the records that were read.
#[derive(Debug, Default)]
pub(super) struct ReadNotes {
    /// How many lines are no records.
    pub(super) unreadable: u64,
    /// How many records are in files that were set aside because of damage.
    pub(super) set_aside: u64,
}

/// Passes each record in this state folder to `each`, until it returns false.
///
/// # Errors
/// The folder or a file cannot be read.
pub(super) fn records(dir: &Path, each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>) -> anyhow::Result<ReadNotes> {
    let files = DiskFiles::new(dir);
    let mut after = 0;
    let mut notes = ReadNotes::default();
    loop {
        let page = records_after(&files, after, PAGE);
        let page = page.with_context(|| format!("cannot read the journal in {}", dir.display()))?;
        notes.unreadable = notes.unreadable.max(page.unreadable);
        notes.set_aside += page.set_aside;
        for record in &page.records {
            if !each(&serde_json::to_value(record)?)? {
                return Ok(notes);
            }
        }
        match page.records.last() {
            Some(last) if page.has_more => after = last.seq,
            Some(_) | None => return Ok(notes),
        }
    }
}
