//! Opens a journal: reads the files of a state folder and folds them, before anything is served.

use std::io::{self, ErrorKind, Read as _};
use std::sync::Arc;
use std::time::Duration;

use super::damage::DamageKind;
use super::evidence::read_evidence;
use super::files::JournalFiles;
use super::fold::{Fold, Folded, fold_file};
use super::names::{CURRENT, SAVED, rotated_seq};
use super::resume::{NewFile, Resume, Tail};
use super::saved_outbox::{is_outbox_of_journal, take_outbox};
use super::saved_state::{SAVED_STATE_MAX, SavedState};
use super::standing::KEYS_FOR;
use super::trouble::trouble;

/// How often files are looked for again when a writer renames them meanwhile.
const ATTEMPTS_MAX: u32 = 3;

/// What a state folder says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// The folder, for messages.
    pub place: String,
    /// The state.
    pub folded: Folded,
    /// The evidence of guards that a process before has saved: what it gave to
    /// [`JournalWriter::save_evidence`](super::JournalWriter::save_evidence). `None` when there is none, or it is damaged.
    pub evidence: Option<Vec<u8>>,
    /// The notifications that wait, as a process before has saved them: what it gave to
    /// [`JournalWriter::save_outbox`](super::JournalWriter::save_outbox). Only a journal that is held has it.
    pub outbox: Option<Vec<u8>>,
    /// There was no journal and no saved state.
    pub is_fresh: bool,
    /// Why nothing can be written, with what to do: the folder cannot be read, or a newer version wrote the journal.
    pub failure: Option<String>,
}

/// A journal that this process may write to: it has the folder's lock, or the folder cannot have one.
#[derive(Debug)]
pub struct HeldJournal {
    /// What the folder says.
    pub opened: Opened,
    pub(super) files: Arc<dyn JournalFiles>,
    pub(super) resume: Resume,
}

/// Reads the journal without changing anything; another process may write to it meanwhile. `now` is the wall clock
/// since the Unix epoch, `host` the name of this machine.
#[must_use]
pub fn peek(files: &dyn JournalFiles, now: Duration, host: &str) -> Opened {
    read(files, now, host).0
}

/// Reads the journal to go on with it. What was read is durable afterwards. Never fails: what is wrong with the folder
/// is in the result. The caller holds the lock of the folder.
#[must_use]
pub fn open(files: Arc<dyn JournalFiles>, now: Duration, host: &str) -> HeldJournal {
    // What a process that was killed wrote may be in memory only: a power failure must not undo what is read here.
    let synced = match files.sync(CURRENT) {
        Err(error) if error.kind() != ErrorKind::NotFound => Some(trouble(&files.place(), &error)),
        Ok(()) | Err(_) => None,
    };
    let (mut opened, resume) = read(&*files, now, host);
    opened.folded.notes.extend(synced);
    opened.outbox = take_outbox(&*files, &mut |note| opened.folded.notes.push(note));
    HeldJournal { opened, files, resume }
}

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |name| name.trim().to_owned())
}

fn read(files: &dyn JournalFiles, now: Duration, host: &str) -> (Opened, Resume) {
    // The saved state first: a writer that goes on meanwhile makes the journal newer than it, never older.
    let (saved, saved_note) = read_saved(files);
    let has_saved = saved.is_some() || saved_note.is_some();
    let mut attempt = 1;
    let read = loop {
        let mut fold = Fold::new(saved.clone());
        match read_newest(files, &mut fold) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS_MAX => attempt += 1,
            result => break Read { fold, result },
        }
    };
    let Read { mut fold, result } = read;
    let newest = result.unwrap_or_else(|error| {
        fold.damage_of_file(DamageKind::Unreadable(trouble(&files.place(), &error)));
        Newest::default()
    });
    fold.set_file(&newest.name);
    if let Some(note) = saved_note {
        fold.note(note);
        if newest.name.is_empty() {
            fold.damage_of_file(DamageKind::Missing);
        }
    } else if newest.name.is_empty() && !has_saved && is_outbox_of_journal(files) {
        fold.damage_of_file(DamageKind::Missing);
    }
    note_machine(&mut fold, host);
    let evidence = read_evidence(files).unwrap_or_else(|why| {
        fold.note(why);
        None
    });
    let first_seq = fold.first_seq().unwrap_or(0);
    let (config, generation) = fold.context();
    let (folded, standing) = fold.finish_with_standing(now.saturating_sub(KEYS_FOR));
    let closed = folded.damage.as_ref().filter(|damage| damage.kind.forbids_writing()).map(ToString::to_string);
    let is_current = newest.name == CURRENT;
    let new_file = match &folded.damage {
        Some(damage) => Some(NewFile::Damaged(damage.to_string())),
        // A rotation was not finished.
        None if !newest.name.is_empty() && !is_current => Some(NewFile::Full),
        None => None,
    };
    let tail = Tail {
        len: is_current.then_some(newest.len),
        first_seq,
        checkpoint_len: 0,
        seq: folded.last_seq,
        head: folded.head.clone(),
        config,
        generation,
    };
    let opened = Opened {
        place: files.place(),
        is_fresh: newest.name.is_empty() && !has_saved && folded.damage.is_none(),
        failure: closed.clone(),
        evidence,
        outbox: None,
        folded,
    };
    // The last record may be a kill or a rollback that a crash kept out of the saved state.
    let Folded { kills, latches, rollouts, .. } = &opened.folded;
    let is_any = !kills.is_empty() || !latches.is_empty() || !rollouts.is_empty();
    let is_save_due = saved.as_ref().map_or(is_any, |saved| saved.seq < tail.seq);
    (opened, Resume { tail, standing, new_file, is_save_due, closed })
}

struct Read {
    fold: Fold,
    result: io::Result<Newest>,
}

/// The newest file; its name is empty when there is none.
#[derive(Default)]
struct Newest {
    name: String,
    /// The length of its complete lines.
    len: u64,
}

/// Folds the newest file: `journal.jsonl`, or when a rotation was not finished, the last full one.
fn read_newest(files: &dyn JournalFiles, fold: &mut Fold) -> io::Result<Newest> {
    let names = files.list()?;
    let name = if names.iter().any(|name| name == CURRENT) {
        CURRENT.to_owned()
    } else {
        let Some(full) = newest_full(&names) else { return Ok(Newest::default()) };
        full.clone()
    };
    let len = fold_file(fold, files.read(&name)?)?;
    if len == 0
        && let Some(full) = newest_full(&names).filter(|full| **full != name)
    {
        // It always begins with a checkpoint: another program emptied it.
        fold_file(fold, files.read(full)?)?;
        fold.damage_of_file(DamageKind::NoBeginning);
    }
    Ok(Newest { name, len })
}

fn newest_full(names: &[String]) -> Option<&String> {
    names.iter().filter(|name| rotated_seq(name).is_some()).max_by_key(|name| rotated_seq(name))
}

/// The saved state, or why there is none although there is a file.
fn read_saved(files: &dyn JournalFiles) -> (Option<SavedState>, Option<String>) {
    let mut bytes = Vec::new();
    let read = match files.read(SAVED) {
        Err(error) if error.kind() == ErrorKind::NotFound => return (None, None),
        Err(error) => Err(error),
        Ok(file) => {
            file.take(u64::try_from(SAVED_STATE_MAX).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)
        }
    };
    match read.map_err(|error| error.to_string()).and_then(|_| SavedState::parse(&bytes)) {
        Ok(saved) => (Some(saved), None),
        Err(why) => (None, Some(format!("{SAVED} is not usable and is written anew: {why}"))),
    }
}

fn note_machine(fold: &mut Fold, host: &str) {
    let other = fold.host().filter(|found| !host.is_empty() && !found.is_empty() && *found != host).map(str::to_owned);
    if let Some(other) = other {
        fold.note(format!(
            "the last start recorded in the journal was on the machine {other}, this one is {host}: if the folder is a copy, the \
             kills of the other machine are in force here"
        ));
    }
}
