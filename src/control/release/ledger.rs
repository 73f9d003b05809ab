//! The journal as the controller sees it: numbers the records, hands them to the journal's thread, and knows which are
//! on the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::journal::{Actor, Deed, IdempotencyKey, JOURNAL_VERSION, Record};

/// How many records with an `Idempotency-Key` are remembered.
const KEYS_MAX: usize = 1_000;

/// What is decided, before it has a number.
#[derive(Clone, Debug)]
pub(in crate::control) struct ReleaseDecision {
    pub who: Actor,
    pub what: Deed,
    pub reason: Option<String>,
    pub key: Option<IdempotencyKey>,
}

/// The configuration in effect, and the time.
#[derive(Clone, Debug)]
pub(in crate::control) struct Circumstances {
    /// RFC 3339.
    pub at: String,
    /// The hash of the configuration.
    pub config: String,
    pub generation: u64,
}

/// How far the journal is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct Written {
    /// The last sequence number that is on the disk.
    pub durable_seq: u64,
    /// Why the journal cannot be written now.
    pub failure: Option<String>,
}

/// The journal as the controller sees it.
#[derive(Debug)]
pub(in crate::control) struct Ledger {
    /// The last sequence number that was given.
    seq: u64,
    keys: VecDeque<Arc<Record>>,
    written: watch::Sender<Written>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { seq: 0, keys: VecDeque::new(), written: watch::channel(Written::default()).0 }
    }
}

impl Ledger {
    /// The last sequence number that was given.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// How far the journal is written.
    pub fn written(&self) -> Written {
        self.written.borrow().clone()
    }

    /// Follows how far the journal is written.
    pub fn follow(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    /// The record of the call with this key, if it was made before.
    pub fn record_of(&self, key: &IdempotencyKey) -> Option<&Arc<Record>> {
        self.keys.iter().rev().find(|record| record.key.as_ref().is_some_and(|known| known.key == key.key))
    }

    /// Makes the next record. It is not written yet.
    pub fn number(&mut self, decision: ReleaseDecision, circumstances: Circumstances) -> Arc<Record> {
        let ReleaseDecision { who, what, reason, key } = decision;
        let Circumstances { at, config, generation } = circumstances;
        self.seq += 1;
        // The journal's thread adds the hash of the line before.
        let (v, seq, prev) = (JOURNAL_VERSION, self.seq, String::new());
        let record = Arc::new(Record { v, seq, at, who, what, reason, key, config, generation, prev });
        if record.key.is_some() {
            if self.keys.len() == KEYS_MAX {
                self.keys.pop_front();
            }
            self.keys.push_back(Arc::clone(&record));
        }
        record
    }

    /// Hands a record to the journal's thread.
    pub fn write(&mut self, record: &Arc<Record>) {
        let seq = record.seq;
        self.written.send_modify(|written| written.durable_seq = seq);
    }
}
