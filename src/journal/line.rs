//! A record as a line of the journal, and the hash of a line.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::record::{Deed, Record, RolloutDeed};

/// The longest line, in bytes, without its line feed: a checkpoint with 10 000 kills fits. A longer one is damage, so that a
/// reader's memory has a bound.
pub const LINE_MAX: usize = 16 * 1024 * 1024;

/// The longest record but a checkpoint and a decision about a rollout, as JSON, in bytes.
const RECORD_MAX: usize = 64 * 1024;

/// The longest decision about a rollout, as JSON, in bytes: it has the plan, the state and the facts.
const ROLLOUT_RECORD_MAX: usize = 128 * 1024;

/// The longest decision about a rollout without evidence and reason, as JSON, in bytes: its state is never cut.
const ROLLOUT_STATE_MAX: usize = 64 * 1024;

/// Why a checkpoint was made: the file before is full.
pub(super) const FULL: &str = "the file before is full";

/// The longest reason in a record that would otherwise be too long, in characters.
const SHORT_REASON: usize = 64;

/// The longest sentence of evidence in such a record, in characters.
const SHORT_SENTENCE: usize = 512;

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

/// The line of a record, without its line feed.
///
/// # Errors
/// The record is longer than [`LINE_MAX`], or it has no JSON form.
pub(super) fn line(record: &Record) -> Result<Vec<u8>, String> {
    let line = json(record)?;
    if line.len() > LINE_MAX {
        return Err(format!("record {} has {} bytes, at most {LINE_MAX} fit in a line", record.seq, line.len()));
    }
    Ok(line)
}

/// The record with at most as many bytes as one of its kind may have. What makes it longer is left out: the details of a reload; the counts of
/// evidence, but not its sentence; of a checkpoint first the idempotency keys, the oldest first, then the counts of latches,
/// then the ends of long reasons; of a decision about a rollout its evidence, then the ends of reason and sentence. Never a
/// scope, a release, or the state of a rollout.
///
/// # Errors
/// The record is too long even so, or it has no JSON form.
pub(super) fn fit(mut record: Record) -> Result<Record, String> {
    let max = match &record.what {
        Deed::Checkpoint { .. } => LINE_MAX,
        Deed::Rollout(deed) => {
            check_state(deed)?;
            ROLLOUT_RECORD_MAX
        }
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_) => RECORD_MAX,
    };
    loop {
        let bytes = json(&record)?.len();
        if bytes <= max {
            return Ok(record);
        }
        if !shorten(&mut record) {
            return Err(format!("the record has {bytes} bytes, at most {max} are possible"));
        }
    }
}

/// Checks that the part of a decision about a rollout that is never cut is not too long.
fn check_state(deed: &RolloutDeed) -> Result<(), String> {
    let parts = [&deed.rollout, &deed.revision, &deed.stage];
    let names = serde_json::to_vec(&parts).map_err(|error| error.to_string())?.len();
    let bytes = names + serde_json::to_vec(&deed.state).map_err(|error| error.to_string())?.len();
    if bytes > ROLLOUT_STATE_MAX {
        let start: String = deed.rollout.chars().take(SHORT_REASON).collect();
        return Err(format!(
            "the state of rollout {start} has {bytes} bytes, at most {ROLLOUT_STATE_MAX} are possible: use fewer stages and \
             roles, or shorter names"
        ));
    }
    Ok(())
}

/// Leaves out the idempotency keys of records, and the ends of their long reasons; `false` when there are none.
pub(super) fn shorten_reasons(records: &mut [Record]) -> bool {
    let mut shortened = false;
    for record in records {
        shortened |= shorten_reason(record);
    }
    shortened
}

/// Leaves the sentence alone of the evidence of latches, and the ends of their long reasons out; `false` when there is
/// nothing to leave out.
pub(super) fn shorten_latches(latches: &mut [Record]) -> bool {
    let mut shortened = false;
    for latch in latches {
        shortened |= shorten_evidence(latch) | shorten_reason(latch);
    }
    shortened
}

fn json(record: &Record) -> Result<Vec<u8>, String> {
    let line =
        serde_json::to_vec(record).map_err(|error| format!("record {} has no JSON form: {error}", record.seq))?;
    debug_assert!(!line.contains(&b'\n'), "JSON escapes line feeds");
    Ok(line)
}

/// Leaves out the next part that can be spared; `false` when there is none.
fn shorten(record: &mut Record) -> bool {
    let shortened = match &mut record.what {
        Deed::Reload { diagnostics, .. } if !diagnostics.is_null() => {
            *diagnostics = Value::Null;
            true
        }
        Deed::Reload { summary, .. } if !summary.is_empty() => {
            summary.truncate(summary.len() / 2);
            true
        }
        Deed::Checkpoint { keys, .. } if !keys.is_empty() => {
            keys.drain(..keys.len().div_ceil(2));
            true
        }
        Deed::Checkpoint { kills, latches, rollouts, .. } => {
            shorten_latches(latches) || shorten_reasons(kills) || shorten_reasons(rollouts)
        }
        Deed::Release(_) => shorten_evidence(record),
        Deed::Rollout(deed) if !deed.evidence.is_null() => {
            deed.evidence = Value::Null;
            true
        }
        Deed::Rollout(_) => shorten_reason(record) || shorten_because(record),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. } => false,
    };
    shortened || shorten_reason(record)
}

/// Leaves of the evidence its sentence alone, and of that the beginning.
fn shorten_evidence(record: &mut Record) -> bool {
    let Deed::Release(deed) = &mut record.what else { return false };
    let cut: Option<String> = deed.sentence().map(|sentence| sentence.chars().take(SHORT_SENTENCE).collect());
    let short = cut.map_or(Value::Null, |sentence| json!({ "sentence": sentence }));
    let because = deed.because.take();
    let short_because = because.as_ref().map(|because| because.chars().take(SHORT_SENTENCE).collect());
    let is_shorter = short != deed.evidence || short_because != because;
    (deed.evidence, deed.because) = (short, short_because);
    is_shorter
}

/// Leaves the end of the sentence of a decision about a rollout out.
fn shorten_because(record: &mut Record) -> bool {
    let Deed::Rollout(deed) = &mut record.what else { return false };
    let Some((end, _)) = deed.because.char_indices().nth(SHORT_SENTENCE) else { return false };
    deed.because.truncate(end);
    true
}

fn shorten_reason(record: &mut Record) -> bool {
    let end = record.reason.as_ref().and_then(|reason| Some(reason.char_indices().nth(SHORT_REASON)?.0));
    if let (Some(reason), Some(end)) = (&mut record.reason, end) {
        reason.truncate(end);
    }
    record.key.take().is_some() || end.is_some()
}
