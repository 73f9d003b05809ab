//! Records that wait for the disk. The queue never blocks the controller, and has a bound: when the disk does not take
//! records for so long that they do not fit, what they add up to is kept in their place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chain::parse;
use super::line::{fit, line};
use super::record::{Actor, Deed, IdempotencyKey, LatchScope, Record, ReleaseDeed, ReleaseVerb, RolloutDeed};
use super::rollout_states::{REFUSED, RolloutStates};
use super::standing::LATCHES_MAX;
use crate::clock::Clock;
use crate::route::KillScope;

/// How many records wait.
const WAITING_MAX: usize = 1_024;
/// How many records are written at once.
const BATCH_MAX: usize = 256;

/// The longest scope of a kill, or release with its revision, as JSON, in bytes: names have at most 256 characters.
const SCOPE_MAX: usize = 4 * 1024;

/// A record without its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// When it was decided: RFC 3339 with milliseconds, UTC.
    pub at: String,
    /// Who decided.
    pub who: Actor,
    /// What was decided.
    pub what: Deed,
    /// Why.
    pub reason: Option<String>,
    /// The `Idempotency-Key` of the call.
    pub key: Option<IdempotencyKey>,
    /// The hash of the configuration in effect.
    pub config: String,
    /// The generation in effect.
    pub generation: u64,
}

/// What the writer reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalProgress {
    /// All records up to this sequence number are on the disk.
    Durable(u64),
    /// A revive, a resume or a raise of a rollout with this sequence number was refused: the disk did not take it, and it will
    /// not be tried again.
    /// In its place the journal gets a record that says so.
    Refused {
        /// The sequence number.
        seq: u64,
        /// Why, with what to do.
        why: String,
    },
    /// The journal cannot be written. The writer keeps the records and tries again. Sent again when the reason changes.
    Failed {
        /// Why, with what to do.
        why: String,
    },
    /// The journal can be written again.
    Recovered,
    /// The notifications that wait could not be saved. It is tried again. Sent once until they are saved.
    OutboxNotSaved {
        /// Why, with what to do.
        why: String,
    },
    /// The evidence of guards could not be saved. It is tried again with the next that is given. Sent once until one is
    /// saved.
    EvidenceNotSaved {
        /// Why, with what to do.
        why: String,
    },
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRecorded(pub String);

impl std::fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The queue between controller and writer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    seq: u64,
    /// What records add up to that did not fit. They were decided before all of `records`.
    lost: Option<Lost>,
    records: VecDeque<Arc<Record>>,
    /// The newest evidence of guards that is not written.
    evidence: Option<Vec<u8>>,
    /// The newest notifications that wait, which are not written.
    outbox: Option<Vec<u8>>,
    failure: Option<String>,
    stop: bool,
    abandoned: bool,
    ended: bool,
}

/// From when on what is saved beside the records may be written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct SavedFrom {
    /// The evidence of guards.
    pub evidence: Instant,
    /// The notifications that wait.
    pub outbox: Instant,
}

/// What records add up to that were never written.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// The last kill of each scope.
    pub kills: BTreeMap<KillScope, Arc<Record>>,
    /// The last rollback of each release: the newest 1 000.
    pub latches: BTreeMap<LatchScope, Arc<Record>>,
    /// Where rollouts stand after them.
    pub rollouts: RolloutStates,
    /// The revives, resumes and raises among them: they are refused.
    pub refused: Vec<u64>,
    /// How many records.
    pub count: u64,
    /// The last sequence number.
    pub seq: u64,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Work {
    Records(Vec<Arc<Record>>),
    Lost(Lost),
    Nothing,
}

impl Pending {
    /// A queue after the record `seq`.
    pub fn after(seq: u64) -> Self {
        Self { queue: Mutex::new(Queue { seq, ..Queue::default() }), changed: Condvar::new() }
    }

    /// Takes a record, and gives it the next sequence number.
    ///
    /// # Errors
    /// It is a revive, a resume or a raise, and the journal cannot be written or is far behind; or it fits in no line.
    pub fn add(&self, draft: Draft) -> Result<Arc<Record>, NotRecorded> {
        let mut queue = self.lock();
        let record = fit(draft.record(queue.seq + 1)).map_err(NotRecorded)?;
        is_readable(&record).map_err(NotRecorded)?;
        if record.what.raises() {
            queue.may_raise().map_err(NotRecorded)?;
        }
        if queue.records.len() >= WAITING_MAX {
            queue.give_up();
        }
        let record = Arc::new(record);
        queue.seq = record.seq;
        queue.records.push_back(Arc::clone(&record));
        debug_assert!(queue.records.len() <= WAITING_MAX, "what waits has a bound");
        self.changed.notify_all();
        Ok(record)
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.records.is_empty() && queue.lost.is_none()
    }

    /// The last sequence number that was given.
    pub fn seq(&self) -> u64 {
        self.lock().seq
    }

    /// Why the journal cannot be written.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Sets why the journal cannot be written; returns whether that is news.
    pub fn set_failure(&self, failure: Option<String>) -> bool {
        let mut queue = self.lock();
        let is_news = queue.failure != failure;
        queue.failure = failure;
        is_news
    }

    /// Takes what is to be written next.
    pub fn take(&self) -> Work {
        let mut queue = self.lock();
        if let Some(lost) = queue.lost.take() {
            return Work::Lost(lost);
        }
        let count = queue.records.len().min(BATCH_MAX);
        if count == 0 { Work::Nothing } else { Work::Records(queue.records.drain(..count).collect()) }
    }

    /// Refuses the revives, resumes and raises that wait; returns their numbers.
    pub fn refuse(&self, why: &str) -> Vec<u64> {
        let mut queue = self.lock();
        let mut refused = queue.lost.as_mut().map(|lost| std::mem::take(&mut lost.refused)).unwrap_or_default();
        for record in &mut queue.records {
            if let Some(replaced) = refusal(record, why) {
                refused.push(replaced.seq);
                *record = Arc::new(replaced);
            }
        }
        refused
    }

    /// Takes evidence, in the place of any that is not written.
    pub fn set_evidence(&self, evidence: Vec<u8>) {
        self.lock().evidence = Some(evidence);
        self.changed.notify_all();
    }

    /// Takes the evidence that is to be written.
    pub fn take_evidence(&self) -> Option<Vec<u8>> {
        self.lock().evidence.take()
    }

    /// Takes an outbox, in the place of any that is not written.
    pub fn set_outbox(&self, outbox: Vec<u8>) {
        self.lock().outbox = Some(outbox);
        self.changed.notify_all();
    }

    /// Takes the outbox that is to be written.
    pub fn take_outbox(&self) -> Option<Vec<u8>> {
        self.lock().outbox.take()
    }

    /// The disk did not take this outbox: it is tried again, unless there is a newer one, or the writer is to end.
    pub fn put_back_outbox(&self, outbox: Vec<u8>) {
        let mut queue = self.lock();
        if !queue.stop {
            queue.outbox.get_or_insert(outbox);
        }
    }

    /// Waits until there is something to write; `false` at the end. What is saved is not written before its time, but at
    /// the end.
    pub fn wait(&self, from: SavedFrom, clock: Clock) -> bool {
        let mut queue = self.lock();
        loop {
            let (has_records, stop) = (!queue.records.is_empty() || queue.lost.is_some(), queue.stop);
            let evidence = queue.evidence.is_some().then_some(from.evidence);
            let outbox = queue.outbox.is_some().then_some(from.outbox);
            let due = evidence.into_iter().chain(outbox).min();
            let left = due.map(|due| due.saturating_duration_since(clock.now()));
            if has_records || stop || left == Some(Duration::ZERO) {
                return has_records || due.is_some();
            }
            queue = match left {
                Some(left) => self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits for the next attempt; `false` when the writer is to end.
    pub fn wait_for(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |queue| !queue.stop);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Whether the writer is to end.
    pub fn is_stopping(&self) -> bool {
        self.lock().stop
    }

    /// The writer is to end when all is written, or cannot be.
    pub fn finish(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Ends the writer when all is written, or cannot be. When that takes longer than `timeout`, it begins no other write,
    /// and this returns `false`.
    pub fn stop(&self, timeout: Duration) -> bool {
        self.finish();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |queue| !queue.ended);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.abandoned = !queue.ended;
        queue.ended
    }

    /// Whether the writer must begin no other write.
    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// The writer has ended.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn may_raise(&self) -> Result<(), String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.lost.is_some() || self.records.len() >= WAITING_MAX {
            return Err(format!("{} records wait for the disk; examine the disk of the state folder", self.waiting()));
        }
        Ok(())
    }

    fn waiting(&self) -> u64 {
        let records = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        records + self.lost.as_ref().map_or(0, |lost| lost.count)
    }

    /// Puts what the waiting records add up to in their place.
    fn give_up(&mut self) {
        let mut lost = self.lost.take().unwrap_or_default();
        for record in self.records.drain(..) {
            lost.count += 1;
            lost.seq = record.seq;
            match &record.what {
                Deed::Kill { scope, .. } => {
                    if let Some(scope) = scope.scope() {
                        lost.kills.insert(scope, record);
                    }
                }
                Deed::Revive { .. } => lost.refused.push(record.seq),
                Deed::Release(_) | Deed::Rollout(_) if record.what.raises() => lost.refused.push(record.seq),
                Deed::Release(_) => lost.latch(record),
                Deed::Rollout(_) => {
                    lost.rollouts.take(&record);
                }
                Deed::Start { .. }
                | Deed::Reload { .. }
                | Deed::Refused { .. }
                | Deed::Endpoint { .. }
                | Deed::Checkpoint { .. } => {}
            }
        }
        self.lost = Some(lost);
    }
}

impl Lost {
    /// Keeps a rollback; other records change nothing.
    fn latch(&mut self, record: Arc<Record>) {
        let Some(scope) = record.what.latched() else { return };
        self.latches.insert(scope, record);
        if self.latches.len() > LATCHES_MAX {
            let oldest = self.latches.iter().min_by_key(|(_, record)| record.seq).map(|(scope, _)| scope.clone());
            oldest.and_then(|scope| self.latches.remove(&scope));
        }
    }
}

impl Draft {
    /// The record of what is in no journal: number 0.
    #[must_use]
    pub fn unrecorded(self) -> Record {
        self.record(0)
    }

    fn record(self, seq: u64) -> Record {
        let Self { at, who, what, reason, key, config, generation } = self;
        Record { v: what.version(), seq, at, who, what, reason, key, config, generation, prev: String::new() }
    }
}

/// Checks that a reader takes the record, and that many of its kind fit in a checkpoint.
fn is_readable(record: &Record) -> Result<(), String> {
    let read = parse(&line(record)?).map_err(|fault| fault.to_string())?;
    if let Deed::Kill { scope, .. } | Deed::Revive { scope } = &record.what {
        let bytes = serde_json::to_vec(scope).map_or(0, |json| json.len());
        if bytes > SCOPE_MAX {
            return Err(format!("the scope has {bytes} bytes, at most {SCOPE_MAX} are possible: use a shorter name"));
        }
        debug_assert_eq!(read.what, record.what, "a scope is read as it was written");
    }
    if let Deed::Release(deed) = &record.what {
        let bytes = serde_json::to_vec(&[&deed.release, &deed.revision]).map_or(0, |json| json.len());
        if bytes > SCOPE_MAX {
            let why = "use shorter names and revisions";
            return Err(format!("release and revision have {bytes} bytes, at most {SCOPE_MAX} are possible: {why}"));
        }
    }
    Ok(())
}

/// The record in the place of a revive, a resume or a raise that was refused; `None` for all others. That of a raise has no
/// state: the one before holds.
pub(super) fn refusal(record: &Record, why: &str) -> Option<Record> {
    let what = match &record.what {
        Deed::Revive { scope } => Deed::Refused { scope: scope.clone(), because: why.to_owned() },
        Deed::Release(deed) if deed.act == ReleaseVerb::Resume => {
            Deed::Release(ReleaseDeed { act: ReleaseVerb::Refused, because: Some(why.to_owned()), ..deed.clone() })
        }
        Deed::Rollout(deed) if deed.raises => Deed::Rollout(refused_raise(deed, why)),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_)
        | Deed::Release(_)
        | Deed::Checkpoint { .. } => return None,
    };
    // Without its key: the same call is to be tried again.
    Some(Record { what, key: None, ..record.clone() })
}

/// What is recorded in the place of a raise of a rollout: the weight and the state stay.
fn refused_raise(deed: &RolloutDeed, why: &str) -> RolloutDeed {
    let RolloutDeed { act, rollout, revision, stage, from, to, role, routes, .. } = deed.clone();
    let because = format!("{act} ({from} % to {to} %) was refused: {why}");
    let (evidence, state) = (Value::Null, Value::Null);
    RolloutDeed {
        act: REFUSED.to_owned(),
        rollout,
        revision,
        stage,
        from,
        to: from,
        raises: false,
        because,
        role,
        routes,
        evidence,
        state,
    }
}
