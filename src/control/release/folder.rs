//! The state folder: where it is, how it is taken and read.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::Clock;
use crate::control::notify::SavedOutbox;
use crate::journal::{
    Deed, DiskFiles, HeldJournal, JournalFiles, LockError, Opened, Record, StateLock, host_name, open, peek,
    records_after, rfc3339, set_outbox_aside,
};

/// How often the lock is tried again.
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// How many records are read that the outbox does not have.
const MISSED_MAX: usize = 2_000;
/// Of how long ago, at most.
const MISSED_FOR: Duration = Duration::from_hours(24);

/// A journal that this process may write, with the lock of its folder.
pub struct HeldFolder {
    pub(super) journal: HeldJournal,
    /// The records after those whose effect the saved evidence has.
    pub(super) later: Vec<Record>,
    /// The notifications that wait.
    pub(super) outbox: Option<SavedOutbox>,
    /// The records of the last day that are not in that outbox.
    pub(super) missed: Vec<Record>,
    pub(super) lock: StateLock,
}

/// Where and how the journal is opened.
#[derive(Clone)]
pub(in crate::control) struct FolderSettings {
    pub dir: PathBuf,
    pub files: Arc<dyn JournalFiles>,
    /// How long to wait for another process to give the folder up.
    pub lock_wait: Duration,
    pub clock: Clock,
}

impl FolderSettings {
    /// The journal on the disk; tests give other files.
    pub fn new(dir: &Path, files: Option<Arc<dyn JournalFiles>>, lock_wait: Duration, clock: Clock) -> Self {
        let files = files.unwrap_or_else(|| Arc::new(DiskFiles::new(dir)));
        Self { dir: dir.to_owned(), files, lock_wait, clock }
    }

    /// The same with another time to wait.
    pub const fn waiting(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    /// Reads the journal that the process before writes.
    pub async fn read(self) -> Opened {
        let Self { files, clock, .. } = self;
        let read = move || peek(&*files, clock.wall(), &host_name());
        // The task ends with a panic only, which has been printed.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// Takes the folder and reads the journal.
    ///
    /// # Errors
    /// Another process has the folder, or it cannot have a lock: nothing may be written to it.
    pub async fn hold(self) -> Result<HeldFolder, LockError> {
        let lock = self.lock().await?;
        let Self { files, clock, .. } = self;
        let read = tokio::task::spawn_blocking(move || {
            let mut journal = open(Arc::clone(&files), clock.wall(), &host_name());
            let saved = journal.opened.evidence.as_deref();
            let later = saved.and_then(last_record).map(|last| decided_after(&*files, last));
            let outbox = read_outbox(&*files, &mut journal.opened);
            let missed = outbox.as_ref().map(|outbox| missed(&*files, outbox.last_taken(), clock.wall()));
            (journal, later.unwrap_or_default(), outbox, missed.unwrap_or_default())
        });
        match read.await {
            Ok((journal, later, outbox, missed)) => Ok(HeldFolder { journal, later, outbox, missed, lock }),
            Err(error) => Err(LockError::Unusable(format!("reading the journal failed: {error}"))),
        }
    }

    async fn lock(&self) -> Result<StateLock, LockError> {
        let deadline = self.clock.now() + self.lock_wait;
        let mut is_said = false;
        loop {
            let dir = self.dir.clone();
            let taken = tokio::task::spawn_blocking(move || {
                // Where this fails, taking the lock fails too, with the reason.
                let _ = DiskFiles::create_dir(&dir);
                StateLock::take(&dir)
            });
            match taken.await {
                Ok(Ok(lock)) => return Ok(lock),
                Ok(Err(unusable @ LockError::Unusable(_))) => return Err(unusable),
                Err(error) => return Err(LockError::Unusable(format!("taking the lock failed: {error}"))),
                Ok(Err(held)) if self.clock.now() >= deadline => return Err(held),
                Ok(Err(held)) => {
                    if !std::mem::replace(&mut is_said, true) {
                        let seconds = self.lock_wait.as_secs_f32();
                        tracing::warn!("waiting for at most {seconds} s: {held}");
                    }
                    tokio::time::sleep(LOCK_EVERY).await;
                }
            }
        }
    }
}

/// The notifications that wait. What cannot be read is set aside, with a note.
fn read_outbox(files: &dyn JournalFiles, opened: &mut Opened) -> Option<SavedOutbox> {
    let saved = opened.outbox.take()?;
    SavedOutbox::read(&saved)
        .inspect_err(|why| {
            opened.folded.notes.push(set_outbox_aside(files, why));
        })
        .ok()
}

/// The number of the last record whose effect the saved evidence has, if it says so.
fn last_record(evidence: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Evidence {
        last: u64,
    }
    serde_json::from_slice::<Evidence>(evidence).ok().map(|evidence| evidence.last).filter(|last| *last < u64::MAX)
}

/// The decisions about releases after this record: of a moment, unless the disk did not take the evidence for longer. Of
/// more than [`MISSED_MAX`] the newest.
fn decided_after(files: &dyn JournalFiles, after: u64) -> Vec<Record> {
    let is_decision = |record: &Record| matches!(record.what, Deed::Release(_) | Deed::Rollout(_));
    let (mut found, mut last) = (VecDeque::new(), after);
    while let Ok(page) = records_after(files, last, MISSED_MAX) {
        last = page.records.last().map_or(last, |record| record.seq);
        found.extend(page.records.into_iter().filter(is_decision));
        while found.len() > MISSED_MAX {
            found.pop_front();
        }
        if !page.has_more {
            break;
        }
    }
    found.into()
}

/// The records after this one of the last day: the newest [`MISSED_MAX`].
fn missed(files: &dyn JournalFiles, after: u64, now: Duration) -> Vec<Record> {
    let since = rfc3339(now.saturating_sub(MISSED_FOR));
    let (mut found, mut last) = (VecDeque::new(), after);
    while let Ok(page) = records_after(files, last, MISSED_MAX) {
        last = page.records.last().map_or(last, |record| record.seq);
        // Times of this form are in the order of their text.
        found.extend(page.records.into_iter().filter(|record| record.at >= since));
        while found.len() > MISSED_MAX {
            found.pop_front();
        }
        if !page.has_more {
            break;
        }
    }
    found.into()
}
