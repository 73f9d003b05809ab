//! A record as a line of the journal, and the hash of a line.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::record::{Deed, Record};

/// The longest line, in bytes, without its line feed. A longer one is damage, so that a reader's memory has a bound.
pub const LINE_MAX: usize = 1024 * 1024;

/// Why a checkpoint was made: the file before is full.
pub(super) const FULL: &str = "the file before is full";

/// The longest reason in a checkpoint that would otherwise be too long, in characters.
const SHORT_REASON: usize = 64;

/// SHA-256 of a line without its line feed, in hex.
#[must_use]
pub fn hash(line: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, line).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The line of a record, without its line feed. What makes a record longer than [`LINE_MAX`] is left out: the details of
/// a reload; of a checkpoint first the idempotency keys, then the ends of long reasons. Never a scope.
///
/// # Errors
/// The record is too long even so, or it has no JSON form.
pub(super) fn line(record: &Record) -> Result<Vec<u8>, String> {
    let whole = json(record)?;
    if whole.len() <= LINE_MAX {
        return Ok(whole);
    }
    let mut shorter = record.clone();
    while shorten(&mut shorter) {
        let line = json(&shorter)?;
        if line.len() <= LINE_MAX {
            return Ok(line);
        }
    }
    Err(format!("record {} has {} bytes, at most {LINE_MAX} fit in a line", record.seq, whole.len()))
}

fn json(record: &Record) -> Result<Vec<u8>, String> {
    let line =
        serde_json::to_vec(record).map_err(|error| format!("record {} has no JSON form: {error}", record.seq))?;
    debug_assert!(!line.contains(&b'\n'), "JSON escapes line feeds");
    Ok(line)
}

/// Leaves out the next part that can be spared; `false` when there is none.
fn shorten(record: &mut Record) -> bool {
    match &mut record.what {
        Deed::Reload { summary, diagnostics, .. } if !summary.is_empty() || !diagnostics.is_null() => {
            summary.clear();
            *diagnostics = Value::Null;
            true
        }
        Deed::Checkpoint { keys, .. } if !keys.is_empty() => {
            // Half of them at a time, the oldest first.
            keys.drain(..keys.len().div_ceil(2));
            true
        }
        Deed::Checkpoint { kills, .. } if kills.iter().any(|kill| kill.key.is_some() || is_long(kill)) => {
            for kill in kills {
                kill.key = None;
                kill.reason = kill.reason.take().map(|reason| reason.chars().take(SHORT_REASON).collect());
            }
            true
        }
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Checkpoint { .. } => false,
    }
}

fn is_long(record: &Record) -> bool {
    record.reason.as_ref().is_some_and(|reason| reason.chars().nth(SHORT_REASON).is_some())
}
