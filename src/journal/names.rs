//! The names of the files in the state folder.

/// The file that records are added to.
pub(super) const CURRENT: &str = "journal.jsonl";
/// The kills in force.
pub(super) const SAVED: &str = "snapshot.json";

/// The name of a full file that begins with this sequence number.
pub(super) fn rotated(first_seq: u64) -> String {
    format!("journal-{first_seq}.jsonl")
}

/// The sequence number in the name of a full file; `None` for all other names.
pub(super) fn rotated_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|seq| is_number && rotated(*seq) == name)
}

/// The name for a damaged file; `attempt` from 1 makes it one that is not used.
pub(super) fn damaged(first_seq: u64, attempt: u32) -> String {
    if attempt <= 1 {
        format!("journal-{first_seq}.damaged.jsonl")
    } else {
        format!("journal-{first_seq}.damaged-{attempt}.jsonl")
    }
}

/// Whether a file was set aside because it is damaged.
pub(super) fn is_damaged(name: &str) -> bool {
    let end = name.strip_prefix("journal-").and_then(|rest| rest.split_once(".damaged"));
    end.is_some_and(|(seq, end)| {
        let attempt = end.strip_suffix(".jsonl").map(|attempt| attempt.trim_start_matches('-'));
        is_number(seq) && attempt.is_some_and(|attempt| attempt.is_empty() || is_number(attempt))
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
