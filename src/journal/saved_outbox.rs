//! `outbox.json`: the notifications that wait for their receivers. Its content is that of the notifications: here it is bytes
//! with a sum. One that cannot be read is set aside.

use std::io::{ErrorKind, Read as _};

use super::files::JournalFiles;
use super::names::{OUTBOX, OUTBOX_DAMAGED};
use super::sum::{SUMMED, with_sum, without_sum};

/// The longest outbox, in bytes.
pub const OUTBOX_MAX: usize = 4 * 1024 * 1024;

/// What is before the outbox: the version of the form.
const BEGIN: &[u8] = b"{\"v\":1,\"outbox\":";
/// The same of an outbox that was saved before the first record of a new folder.
const BEGIN_FIRST: &[u8] = b"{\"v\":1,\"first\":true,\"outbox\":";

/// Whether a record is in the folder that an outbox is saved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutboxPlace {
    BeforeRecords,
    BesideJournal,
}

/// The text of the file with this outbox, which is JSON.
///
/// # Errors
/// It is longer than [`OUTBOX_MAX`].
pub(super) fn outbox_file(outbox: &[u8], place: OutboxPlace) -> Result<Vec<u8>, String> {
    if outbox.len() > OUTBOX_MAX {
        return Err(format!("{OUTBOX}: it has {} bytes, at most {OUTBOX_MAX} are possible", outbox.len()));
    }
    let begin = match place {
        OutboxPlace::BeforeRecords => BEGIN_FIRST,
        OutboxPlace::BesideJournal => BEGIN,
    };
    let text = with_sum([begin, outbox].concat());
    debug_assert!(text.len() == begin.len() + outbox.len() + SUMMED, "nothing else is in it");
    Ok(text)
}

/// The outbox in the text of the file.
///
/// # Errors
/// The file was changed or cut, is too long, or is of another version.
fn parse(text: &[u8]) -> Result<Vec<u8>, String> {
    if text.len() > OUTBOX_MAX + BEGIN_FIRST.len() + SUMMED {
        return Err(format!("it is longer than {OUTBOX_MAX} bytes"));
    }
    let text = without_sum(text)?;
    let outbox = text.strip_prefix(BEGIN).or_else(|| text.strip_prefix(BEGIN_FIRST));
    Ok(outbox.ok_or("another version of the program wrote it")?.to_vec())
}

/// The outbox that a process before has saved. One that cannot be read is set aside, and `note` says so.
pub(super) fn take_outbox(files: &dyn JournalFiles, note: &mut dyn FnMut(String)) -> Option<Vec<u8>> {
    let limit = u64::try_from(OUTBOX_MAX + BEGIN_FIRST.len() + SUMMED + 1).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    let read = match files.read(OUTBOX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(error),
        Ok(file) => file.take(limit).read_to_end(&mut text),
    };
    match read.map_err(|error| error.to_string()).and_then(|_| parse(&text)) {
        Ok(outbox) => Some(outbox),
        Err(why) => {
            note(set_outbox_aside(files, &why));
            None
        }
    }
}

/// Keeps an outbox that cannot be read, for this reason, under another name. Returns a note.
#[must_use]
pub fn set_outbox_aside(files: &dyn JournalFiles, why: &str) -> String {
    let aside = match files.rename(OUTBOX, OUTBOX_DAMAGED) {
        Ok(()) => format!("it is kept as {OUTBOX_DAMAGED}"),
        Err(error) => format!("it cannot be set aside: {error}"),
    };
    format!("{OUTBOX} is not usable, and notifications that waited in it are not sent: {why}; {aside}")
}

/// Whether there is an outbox that was saved beside a journal.
pub(super) fn is_outbox_of_journal(files: &dyn JournalFiles) -> bool {
    let mut begin = Vec::new();
    let limit = u64::try_from(BEGIN_FIRST.len()).unwrap_or(u64::MAX);
    let read = files.read(OUTBOX).and_then(|file| file.take(limit).read_to_end(&mut begin));
    // One that is damaged was saved too.
    read.is_ok() && begin != BEGIN_FIRST
}
