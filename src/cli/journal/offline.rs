//! The journal in its files, without a proxy.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::journal::{DiskFiles, records_after};

/// Records of a page.
const PAGE: usize = 1_000;

/// Passes each record in this state folder to `each`, until it returns false. Returns how many lines are no records.
///
/// # Errors
/// The folder or a file cannot be read.
pub(super) fn records(dir: &Path, each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>) -> anyhow::Result<u64> {
    let files = DiskFiles::new(dir);
    let mut after = 0;
    let mut unreadable = 0;
    loop {
        let page = records_after(&files, after, PAGE);
        let page = page.with_context(|| format!("cannot read the journal in {}", dir.display()))?;
        unreadable = unreadable.max(page.unreadable);
        for record in &page.records {
            if !each(&serde_json::to_value(record)?)? {
                return Ok(unreadable);
            }
        }
        match page.records.last() {
            Some(last) if page.has_more => after = last.seq,
            Some(_) | None => return Ok(unreadable),
        }
    }
}
