//! The names of the files in the state folder.

/// The file that records are added to.
pub(super) const CURRENT: &str = "journal.jsonl";
/// The kills and latches in force.
pub(super) const SAVED: &str = "snapshot.json";
/// The evidence of guards.
pub(super) const EVIDENCE: &str = "evidence.json";

/// The notifications that wait for their receivers.
pub(super) const OUTBOX: &str = "outbox.json";
/// The name of an outbox that was set aside because it cannot be read.
pub(super) const OUTBOX_DAMAGED: &str = "outbox.damaged.json";

/// The name of a full file that begins with this sequence number.
pub(super) fn rotated(first_seq: u64) -> String {
    format!("journal-{first_seq}.jsonl")
}

/// The sequence number in the name of a full file; `None` for all other names.
pub(super) fn rotated_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
    digits.parse().ok().filter(|seq| rotated(*seq) == name)
}

/// The name for a damaged file; `attempt` from 1 makes it one that is not used.
pub(super) fn damaged(first_seq: u64, attempt: u32) -> String {
    if attempt <= 1 {
        format!("journal-{first_seq}.damaged.jsonl")
    } else {
        format!("journal-{first_seq}.damaged-{attempt}.jsonl")
    }
}

/// The sequence number in the name of a file that was set aside because it is damaged; `None` for all other names.
pub(super) fn damaged_seq(name: &str) -> Option<u64> {
    let (seq, end) = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?.split_once(".damaged")?;
    let seq = seq.parse().ok()?;
    let attempt = if end.is_empty() { 1 } else { end.strip_prefix('-')?.parse().ok()? };
    Some(seq).filter(|seq| damaged(*seq, attempt) == name)
}
