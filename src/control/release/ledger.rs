//! The journal as the controller sees it: it numbers records, hands them to the journal's thread, and knows how far
//! that has written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::journal::{
    Deed, Draft, IdempotencyKey, JournalProgress, JournalWriter, LatchScope, NotRecorded, Record, StateLock, rfc3339,
};
use crate::route::KillScope;

/// How many records with an `Idempotency-Key` are remembered.
const KEYS_MAX: usize = 1_000;
/// How long they are.
const KEYS_FOR: Duration = Duration::from_hours(24);

/// How far the journal is written. The journal's thread sets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct Written {
    /// The last sequence number that is on the disk.
    pub durable_seq: u64,
    /// Why the journal cannot be written now.
    pub failure: Option<String>,
    /// How often that began.
    pub failures: u64,
    /// The revives and resumes that the disk did not take, with the reason; the controller removes them.
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
        /// Held as long as this process writes.
        lock: StateLock,
    },
    /// Another process holds it, or the folder cannot have a lock. Kills and rollbacks are in force without being durable,
    /// and are recorded when this process gets it: the last of each scope, with its number here.
    Theirs { seq: u64, kept: BTreeMap<KeptScope, (u64, Draft)> },
}

/// What a record takes out of service or lowers, that is kept until it can be written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KeptScope {
    Killed(KillScope),
    Latched(LatchScope),
    /// Where a rollout stands.
    Rollout(String),
}

impl KeptScope {
    fn of(deed: &Deed) -> Option<Self> {
        match deed {
            Deed::Kill { scope, .. } => scope.scope().map(Self::Killed),
            Deed::Release(_) => deed.latched().map(Self::Latched),
            Deed::Rollout(lowered) if !deed.raises() && !lowered.state.is_null() => {
                Some(Self::Rollout(lowered.rollout.clone()))
            }
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Revive { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Rollout(_)
            | Deed::Checkpoint { .. } => None,
        }
    }
}

/// The part of a [`Ledger`] that writes: given up in a hand-over.
#[derive(Debug)]
pub(in crate::control) struct Pen {
    pub writer: JournalWriter,
    pub lock: StateLock,
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
            JournalProgress::OutboxNotSaved { why } => {
                tracing::warn!(
                    "notifications that wait are not saved: {why}; they are sent, and lost if the process ends before"
                );
            }
            JournalProgress::EvidenceNotSaved { why } => {
                tracing::warn!(
                    "the evidence of guards and the time of rollouts in their stages are not saved: {why}; a start goes on \
                     from what was saved before"
                );
            }
        }
    }
}

impl Ledger {
    /// A journal that another process holds, for this reason; the last record that was read from it is `seq`.
    pub fn of_another_process(seq: u64, why: String) -> Self {
        let written = Written { durable_seq: seq, failure: Some(why), ..Written::default() };
        let pages = Pages::Theirs { seq, kept: BTreeMap::new() };
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
            Pages::Theirs { kept, .. } => {
                let mut kept: Vec<(u64, Draft)> = kept.into_values().collect();
                kept.sort_unstable_by_key(|(seq, _)| *seq);
                kept.into_iter().map(|(_, draft)| draft).collect()
            }
        }
    }

    /// The journal that another process writes has been read to this record.
    pub fn follow_theirs(&mut self, last_seq: u64) {
        if let Pages::Theirs { seq, .. } = &mut self.pages {
            *seq = (*seq).max(last_seq);
            self.written.send_modify(|written| written.durable_seq = written.durable_seq.max(last_seq));
        }
    }

    /// Gives the journal up; what is decided from now on is not recorded.
    pub fn give_up(&mut self) -> Option<Pen> {
        let seq = self.seq();
        match std::mem::replace(&mut self.pages, Pages::Theirs { seq, kept: BTreeMap::new() }) {
            Pages::Ours { writer, lock } => Some(Pen { writer, lock }),
            Pages::Theirs { .. } => None,
        }
    }

    /// The journal cannot be written, for this reason.
    pub fn set_failure(&self, why: String) {
        self.written.send_modify(|written| written.failure = Some(why));
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

    /// Gives the evidence of guards to the journal's thread, which saves it; nothing while another process writes.
    pub fn save_evidence(&self, evidence: Vec<u8>) {
        if let Pages::Ours { writer, .. } = &self.pages {
            writer.save_evidence(evidence);
        }
    }

    /// Gives the notifications that wait to the journal's thread, which saves them; nothing while another process writes.
    pub fn save_outbox(&self, outbox: Vec<u8>) {
        if let Pages::Ours { writer, .. } = &self.pages {
            writer.save_outbox(outbox);
        }
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

    /// How far the journal is written, with the revives that the disk did not take since the last call: both as of the
    /// same moment.
    pub fn take_written(&self) -> Written {
        let mut now = Written::default();
        // Followers need not look at it again.
        self.written.send_if_modified(|written| {
            now = written.clone();
            written.refused.clear();
            false
        });
        now
    }

    /// The record of the call with this key, if it was made in the last 24 hours.
    pub fn record_of(&self, key: &IdempotencyKey, now: Duration) -> Option<&Arc<Record>> {
        let known = |record: &&Arc<Record>| record.key.as_ref().is_some_and(|known| known.key == key.key);
        // Times of this form are in the order of their text.
        let since = rfc3339(now.saturating_sub(KEYS_FOR));
        self.keys.iter().rev().find(known).filter(|record| record.at >= since)
    }

    /// Forgets the key of an act that was not done.
    pub fn forget(&mut self, seq: u64) {
        self.keys.retain(|record| record.seq != seq);
    }

    /// Keeps a kill, a rollback or a lowered rollout of the process before, which its disk did not take, until this process can record it.
    /// Returns its record; `None` when this process has killed or rolled back the same meanwhile.
    pub fn keep(&mut self, record: Record) -> Option<Arc<Record>> {
        let scope = KeptScope::of(&record.what)?;
        if matches!(&self.pages, Pages::Theirs { kept, .. } if kept.contains_key(&scope)) {
            return None;
        }
        let Record { at, who, what, reason, key, config, generation, .. } = record;
        self.append(Draft { at, who, what, reason, key, config, generation }).ok()
    }

    /// Numbers a record and hands it to the journal's thread. Never waits.
    ///
    /// # Errors
    /// It is a revive or a resume, and the journal cannot be written now.
    pub fn append(&mut self, draft: Draft) -> Result<Arc<Record>, NotRecorded> {
        let record = match &mut self.pages {
            Pages::Ours { writer, .. } => writer.append(draft)?,
            Pages::Theirs { .. } if draft.what.raises() => {
                return Err(NotRecorded(self.written.borrow().failure.clone().unwrap_or_default()));
            }
            Pages::Theirs { seq, kept } => {
                *seq += 1;
                if let Some(scope) = KeptScope::of(&draft.what) {
                    kept.insert(scope, (*seq, draft.clone()));
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
    Record { v: what.version(), seq, at, who, what, reason, key, config, generation, prev: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Actor, RolloutDeed, ScopeFields};

    fn kill(at: Duration, tenant: &str) -> Draft {
        let scope = ScopeFields::from(&KillScope::Tenant(tenant.to_owned()));
        let key = Some(IdempotencyKey { key: "k".to_owned(), call: tenant.to_owned() });
        let what = Deed::Kill { scope, close_streams_ms: None };
        Draft { at: rfc3339(at), who: Actor::process(), what, reason: None, key, config: String::new(), generation: 1 }
    }

    #[test]
    fn a_key_is_known_for_a_day() {
        let mut ledger = Ledger::of_another_process(0, "a test".to_owned());
        let at = Duration::from_secs(1_800_000_001);
        let key = ledger.append(kill(at, "a")).expect("a kill is always taken").key.clone().expect("a key");
        assert!(ledger.record_of(&key, at + KEYS_FOR).is_some());
        assert!(ledger.record_of(&key, at + KEYS_FOR + Duration::from_millis(1)).is_none());
    }

    #[test]
    fn while_another_process_writes_rollouts_are_lowered_and_not_raised() {
        let at = rfc3339(Duration::from_secs(1_800_000_001));
        let rollout = |name: &str, act: &str, raises: bool| {
            let deed = RolloutDeed {
                act: act.to_owned(),
                rollout: name.to_owned(),
                revision: "v2=1".to_owned(),
                stage: "beta".to_owned(),
                from: 10.0,
                to: 0.0,
                raises,
                because: "a test".to_owned(),
                role: None,
                routes: Vec::new(),
                evidence: serde_json::Value::Null,
                state: serde_json::json!({ "stage": "beta" }),
            };
            let what = Deed::Rollout(deed);
            let (who, config) = (Actor::process(), String::new());
            Draft { at: at.clone(), who, what, reason: None, key: None, config, generation: 1 }
        };
        let mut ledger = Ledger::of_another_process(7, "a test".to_owned());
        assert!(ledger.append(rollout("a", "enter", true)).is_err(), "nothing is raised");
        let before = rollout("a", "rollback", false);
        let of_before = Record { seq: 5, ..before.clone().unrecorded() };
        assert!(ledger.keep(of_before.clone()).is_some(), "what the process before has not written");
        for draft in [rollout("a", "hold", false), rollout("b", "hold", false), rollout("a", "killed", false)] {
            ledger.append(draft).expect("what lowers is always taken");
        }
        assert_eq!(ledger.keep(of_before), None, "this process has decided since");
        let Pages::Theirs { kept, seq } = &ledger.pages else { panic!("{ledger:?}") };
        let act = |name: &str| match &kept[&KeptScope::Rollout(name.to_owned())] {
            (seq, Draft { what: Deed::Rollout(deed), .. }) => (*seq, deed.act.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!((kept.len(), *seq), (2, 11));
        assert_eq!((act("a"), act("b")), ((11, "killed".to_owned()), (10, "hold".to_owned())));
    }

    #[test]
    fn numbers_go_on_after_what_was_read_and_each_scope_is_kept_once() {
        let mut ledger = Ledger::of_another_process(0, "a test".to_owned());
        ledger.follow_theirs(7);
        let tenants = (0..2_000).map(|n| format!("t{n}")).chain(["t0".to_owned()]);
        for (tenant, seq) in tenants.zip(8..) {
            assert_eq!(ledger.append(kill(Duration::ZERO, &tenant)).expect("taken").seq, seq);
        }
        let Pages::Theirs { kept, .. } = &ledger.pages else { panic!("{ledger:?}") };
        assert_eq!(kept.len(), 2_000);
        assert_eq!(kept[&KeptScope::Killed(KillScope::Tenant("t0".to_owned()))].0, 2_008);
    }
}
