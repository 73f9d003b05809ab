//! The journal as the controller sees it: it numbers records, hands them to the journal's thread, and knows how far
//! that has written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{
    Deed, Draft, IdempotencyKey, JOURNAL_VERSION, JournalProgress, JournalWriter, NotRecorded, Record, StateLock,
};

/// How many records with an `Idempotency-Key` are remembered.
const KEYS_MAX: usize = 1_000;
/// How many kills wait for a journal that another process holds.
const KEPT_MAX: usize = 1_024;

/// How far the journal is written. The journal's thread sets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct Written {
    /// The last sequence number that is on the disk.
    pub durable_seq: u64,
    /// Why the journal cannot be written now.
    pub failure: Option<String>,
    /// How often that began.
    pub failures: u64,
    /// The revives that the disk did not take, with the reason; the controller removes them.
    pub refused: Vec<RefusedRevive>,
}

/// A revive that the disk did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct RefusedRevive {
    pub seq: u64,
    pub why: String,
}

/// The journal as the controller sees it.
#[derive(Debug)]
pub(in crate::control) struct Ledger {
    pages: Pages,
    keys: VecDeque<Arc<Record>>,
    written: Arc<watch::Sender<Written>>,
}

/// Whether this process writes the journal.
#[derive(Debug)]
enum Pages {
    /// It does.
    Ours {
        writer: JournalWriter,
        /// Held as long as this process writes; a folder that cannot be written has none.
        lock: Option<StateLock>,
    },
    /// Another process holds it. Kills are in force without being durable, and are recorded when this process gets it.
    Theirs { seq: u64, kept: Vec<Draft> },
}

/// The part of a [`Ledger`] that writes: given up in a hand-over.
#[derive(Debug)]
pub(in crate::control) struct Pen {
    pub writer: JournalWriter,
    pub lock: Option<StateLock>,
}

impl Written {
    /// Follows a report of the journal's thread.
    pub fn follow(&mut self, progress: JournalProgress) {
        match progress {
            JournalProgress::Durable(seq) => self.durable_seq = self.durable_seq.max(seq),
            JournalProgress::Refused { seq, why } => self.refused.push(RefusedRevive { seq, why }),
            JournalProgress::Failed { why } => {
                self.failures += u64::from(self.failure.is_none());
                self.failure = Some(why);
            }
            JournalProgress::Recovered => self.failure = None,
        }
    }
}

impl Ledger {
    /// A journal that another process holds, for this reason; the last record that was read from it is `seq`.
    pub fn of_another_process(seq: u64, why: String) -> Self {
        let written = Written { durable_seq: seq, failure: Some(why), ..Written::default() };
        let pages = Pages::Theirs { seq, kept: Vec::new() };
        Self { pages, keys: VecDeque::new(), written: Arc::new(watch::channel(written).0) }
    }

    /// A writer is about to start, after the record `seq`, which is on the disk.
    pub fn begin(&self, seq: u64) {
        self.written.send_modify(|written| {
            *written = Written { durable_seq: seq, failures: written.failures, ..Written::default() };
        });
    }

    /// From now on this process writes. Returns what was decided before, to be recorded.
    pub fn take_over(&mut self, pen: Pen) -> Vec<Draft> {
        let Pen { writer, lock } = pen;
        match std::mem::replace(&mut self.pages, Pages::Ours { writer, lock }) {
            Pages::Ours { .. } => Vec::new(),
            Pages::Theirs { kept, .. } => kept,
        }
    }

    /// Gives the journal up; what is decided from now on is not recorded, for this reason.
    pub fn give_up(&mut self, why: String) -> Option<Pen> {
        let seq = self.seq();
        let before = std::mem::replace(&mut self.pages, Pages::Theirs { seq, kept: Vec::new() });
        self.set_failure(why);
        match before {
            Pages::Ours { writer, lock } => Some(Pen { writer, lock }),
            Pages::Theirs { .. } => None,
        }
    }

    /// The journal cannot be written, for this reason.
    pub fn set_failure(&self, why: String) {
        self.written.send_modify(|written| written.failure = Some(why));
    }

    /// Whether this process writes without the lock of the folder, which could not have one.
    pub const fn lacks_lock(&self) -> bool {
        matches!(self.pages, Pages::Ours { lock: None, .. })
    }

    /// The folder is locked now.
    pub fn set_lock(&mut self, taken: StateLock) {
        if let Pages::Ours { lock, .. } = &mut self.pages {
            *lock = Some(taken);
        }
    }

    /// Whether this process writes the journal.
    pub const fn is_ours(&self) -> bool {
        matches!(self.pages, Pages::Ours { .. })
    }

    /// Writes what waits, for at most `timeout`, and ends the journal's thread.
    pub fn stop(&mut self, timeout: Duration) {
        if let Pages::Ours { writer, .. } = &mut self.pages
            && !writer.stop(timeout)
        {
            tracing::error!("not every record of the journal is on the disk");
        }
    }

    /// Remembers the records of calls that may be repeated.
    pub fn remember(&mut self, records: Vec<Record>) {
        self.keys = records.into_iter().map(Arc::new).collect();
    }

    /// The last sequence number that was given.
    pub fn seq(&self) -> u64 {
        match &self.pages {
            Pages::Ours { writer, .. } => writer.seq(),
            Pages::Theirs { seq, .. } => *seq,
        }
    }

    /// How far the journal is written.
    pub fn written(&self) -> Written {
        self.written.borrow().clone()
    }

    /// Follows how far the journal is written.
    pub fn follow(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    /// What the journal's thread reports to.
    pub fn progress(&self) -> impl Fn(JournalProgress) + Send + 'static {
        let written = Arc::clone(&self.written);
        move |progress| written.send_modify(|written| written.follow(progress))
    }

    /// The revives that the disk did not take since the last call.
    pub fn take_refused(&self) -> Vec<RefusedRevive> {
        let mut refused = Vec::new();
        // Followers need not look at it again.
        self.written.send_if_modified(|written| {
            refused = std::mem::take(&mut written.refused);
            false
        });
        refused
    }

    /// The record of the call with this key, if it was made before.
    pub fn record_of(&self, key: &IdempotencyKey) -> Option<&Arc<Record>> {
        self.keys.iter().rev().find(|record| record.key.as_ref().is_some_and(|known| known.key == key.key))
    }

    /// Forgets the key of an act that was not done.
    pub fn forget(&mut self, seq: u64) {
        self.keys.retain(|record| record.seq != seq);
    }

    /// Numbers a record and hands it to the journal's thread. Never waits.
    ///
    /// # Errors
    /// It is a revive, and the journal cannot be written now.
    pub fn append(&mut self, draft: Draft) -> Result<Arc<Record>, NotRecorded> {
        let record = match &mut self.pages {
            Pages::Ours { writer, .. } => writer.append(draft)?,
            Pages::Theirs { .. } if matches!(draft.what, Deed::Revive { .. }) => {
                return Err(NotRecorded(self.written.borrow().failure.clone().unwrap_or_default()));
            }
            Pages::Theirs { seq, kept } => {
                *seq += 1;
                if kept.len() < KEPT_MAX && matches!(draft.what, Deed::Kill { .. }) {
                    kept.push(draft.clone());
                }
                Arc::new(unwritten(draft, *seq))
            }
        };
        if record.key.is_some() {
            if self.keys.len() >= KEYS_MAX {
                self.keys.pop_front();
            }
            self.keys.push_back(Arc::clone(&record));
        }
        Ok(record)
    }
}

/// A record that is in no journal yet.
fn unwritten(draft: Draft, seq: u64) -> Record {
    let Draft { at, who, what, reason, key, config, generation } = draft;
    Record { v: JOURNAL_VERSION, seq, at, who, what, reason, key, config, generation, prev: String::new() }
}
