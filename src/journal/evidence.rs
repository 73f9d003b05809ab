//! `evidence.json`: the evidence of guards and the time of rollouts in their stages as of a second ago, so that they outlive
//! the process. Its content is that of release control: here it is bytes with a sum. Without it guards and stages begin anew;
//! no weight is higher than that of the last record.

use std::io::{ErrorKind, Read as _};

use super::files::JournalFiles;
use super::names::EVIDENCE;
use super::sum::{SUMMED, with_sum, without_sum};

/// The longest evidence, in bytes. Longer evidence is not saved and reported once: a start goes on from what was saved before.
pub const EVIDENCE_MAX: usize = 4 * 1024 * 1024;

/// What is before the evidence: the version of the form.
const BEGIN: &[u8] = b"{\"v\":1,\"evidence\":";

/// The text of the file with this evidence, which is JSON.
///
/// # Errors
/// It is longer than [`EVIDENCE_MAX`].
pub(super) fn to_file(evidence: &[u8]) -> Result<Vec<u8>, String> {
    if evidence.len() > EVIDENCE_MAX {
        return Err(format!("{EVIDENCE}: it has {} bytes, at most {EVIDENCE_MAX} are possible", evidence.len()));
    }
    let text = with_sum([BEGIN, evidence].concat());
    debug_assert!(text.len() == BEGIN.len() + evidence.len() + SUMMED, "nothing else is in it");
    Ok(text)
}

/// The evidence in the text of the file.
///
/// # Errors
/// The file was changed or cut, is too long, or is of another version.
fn parse(text: &[u8]) -> Result<Vec<u8>, String> {
    if text.len() > EVIDENCE_MAX + BEGIN.len() + SUMMED {
        return Err(format!("it is longer than {EVIDENCE_MAX} bytes"));
    }
    let evidence = without_sum(text)?.strip_prefix(BEGIN);
    Ok(evidence.ok_or("another version of the program wrote it")?.to_vec())
}

/// The evidence that a process before has saved, or why there is none although there is a file.
pub(super) fn read_evidence(files: &dyn JournalFiles) -> Result<Option<Vec<u8>>, String> {
    let limit = u64::try_from(EVIDENCE_MAX + BEGIN.len() + SUMMED + 1).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    let read = match files.read(EVIDENCE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
        Ok(file) => file.take(limit).read_to_end(&mut text),
    };
    let evidence = read.map_err(|error| error.to_string()).and_then(|_| parse(&text));
    evidence.map(Some).map_err(|why| format!("{EVIDENCE} is not usable, and guards begin without evidence: {why}"))
}
