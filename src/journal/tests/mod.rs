//! Tests of the journal as a whole: on a disk, through crashes at every step, and with every kind of damage.

mod crash;
mod damage;
mod disk;
mod evidence;
mod latches;
mod outbox;
mod rollouts;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::memory_files::MemoryFiles;
use super::pending::Pending;
use super::writing::{WriteFault, Writing};
use super::{
    Actor, Deed, Draft, Folded, IdempotencyKey, JournalFiles, JournalProgress, LatchScope, Opened, Record, ReleaseDeed,
    ReleaseVerb, RolloutDeed, ScopeFields, WriterLimits, open, peek,
};
use crate::clock::Clock;
use crate::route::KillScope;

/// How often a writer tries before a test gives up.
const ATTEMPTS_MAX: u32 = 100;

/// What a test lets people and guards do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Kill(u8),
    Revive(u8),
    Rollback(u8),
    Resume(u8),
    /// A rollout enters a stage.
    Raise(u8),
    /// A rollout is held at 0.
    Lower(u8),
    /// A rollout is rolled back.
    Stop(u8),
    Reload,
}

/// What is out of service, and what has a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stopped {
    Killed(KillScope),
    Latched(LatchScope),
    Rollout(String),
}

/// A script with kills, revives, rollbacks, resumes, decisions about rollouts, and repetitions of all.
const SCRIPT: &[Act] = &[
    Act::Reload,
    Act::Kill(1),
    Act::Rollback(1),
    Act::Kill(2),
    Act::Revive(1),
    Act::Rollback(2),
    Act::Reload,
    Act::Kill(3),
    Act::Kill(1),
    Act::Resume(1),
    Act::Revive(2),
    Act::Rollback(3),
    Act::Rollback(1),
    Act::Revive(3),
    Act::Resume(3),
    Act::Kill(2),
    Act::Kill(2),
    Act::Rollback(1),
    Act::Revive(1),
    Act::Raise(0),
    Act::Raise(1),
    Act::Raise(3),
    Act::Lower(3),
    Act::Kill(5),
    Act::Raise(2),
    Act::Raise(6),
    Act::Stop(1),
    Act::Raise(5),
];

/// A scope of each kind.
fn scope(number: u8) -> KillScope {
    match number % 6 {
        0 => KillScope::All,
        1 => KillScope::Route(format!("r{number}")),
        2 => KillScope::Variant { route: "search".to_owned(), variant: format!("v{number}") },
        3 => KillScope::Tenant(format!("t{number} \" \n é")),
        4 => KillScope::Shadow(format!("s{number}")),
        _ => KillScope::Rollout(format!("ro{number}")),
    }
}

/// A release; two numbers share one, under other revisions.
fn release(number: u8) -> LatchScope {
    LatchScope { release: format!("search:v{}", number % 2), revision: format!("ranker={number}") }
}

fn killed(number: u8) -> Stopped {
    Stopped::Killed(scope(number))
}

fn latched(number: u8) -> Stopped {
    Stopped::Latched(release(number))
}

/// The rollout of a number, and the weight of its stage, in percent: three numbers are three rollouts, three more are
/// their next stages.
fn rollout(number: u8) -> (String, f64) {
    (format!("ro{} é", number % 3), f64::from(number / 3) * 10.0 + 1.0)
}

fn rolled_out(number: u8) -> Stopped {
    Stopped::Rollout(rollout(number).0)
}

fn rollout_deed(act: Act) -> RolloutDeed {
    let (act, number, phase) = match act {
        Act::Raise(number) => ("enter", number, "running"),
        Act::Lower(number) => ("hold", number, "held"),
        Act::Stop(number) => ("rollback", number, "rolled_back"),
        Act::Kill(_) | Act::Revive(_) | Act::Rollback(_) | Act::Resume(_) | Act::Reload => {
            panic!("{act:?} is not about a rollout")
        }
    };
    let (rollout, weight) = rollout(number);
    let (raises, stage) = (act == "enter", format!("s{}", number / 3));
    let (from, to) = if raises { (0.5, weight) } else { (weight, 0.0) };
    RolloutDeed {
        act: act.to_owned(),
        rollout,
        revision: "v2=1".to_owned(),
        state: json!({ "stage": stage, "phase": { "is": phase }, "reached": to }),
        stage,
        from,
        to,
        raises,
        because: "a \n test".to_owned(),
        role: None,
        routes: Vec::new(),
        evidence: json!({ "facts": [1.5] }),
    }
}

fn draft(what: Deed) -> Draft {
    Draft {
        at: "2026-11-29T12:00:00.000Z".to_owned(),
        who: Actor::process(),
        what,
        reason: Some("a test".to_owned()),
        key: None,
        config: "c0ffee".to_owned(),
        generation: 7,
    }
}

fn deed(act: Act) -> Deed {
    match act {
        Act::Kill(number) => Deed::Kill { scope: ScopeFields::from(&scope(number)), close_streams_ms: None },
        Act::Revive(number) => Deed::Revive { scope: ScopeFields::from(&scope(number)) },
        Act::Rollback(number) => release_deed(ReleaseVerb::Rollback, number),
        Act::Resume(number) => release_deed(ReleaseVerb::Resume, number),
        Act::Raise(_) | Act::Lower(_) | Act::Stop(_) => Deed::Rollout(rollout_deed(act)),
        Act::Reload => Deed::Reload {
            cause: "watch".to_owned(),
            outcome: "applied".to_owned(),
            summary: vec!["route `a`: weight 5 → 10".to_owned()],
            diagnostics: Value::Null,
        },
    }
}

fn release_deed(act: ReleaseVerb, number: u8) -> Deed {
    let LatchScope { release, revision } = release(number);
    let evidence = match act {
        ReleaseVerb::Rollback | ReleaseVerb::Warn => {
            json!({ "sentence": "errors 3 × stable \n é", "counts": [1.5, 2] })
        }
        ReleaseVerb::Hold | ReleaseVerb::Unhold | ReleaseVerb::Resume | ReleaseVerb::Refused => Value::Null,
    };
    Deed::Release(ReleaseDeed { act, release, revision, because: None, evidence })
}

/// Limits with which every few records begin a new file, and no pause.
fn small() -> WriterLimits {
    let none = Duration::ZERO;
    WriterLimits { file_bytes_max: 900, files_max: 2, pause_min: none, pause_max: none, evidence_pause: none }
}

/// The kills, latches and states of rollouts that acts leave in force, each with the number of its record; acts are numbered.
fn replay(acts: impl IntoIterator<Item = (u64, Act)>) -> BTreeMap<Stopped, u64> {
    let mut stopped = BTreeMap::new();
    for (seq, act) in acts {
        match act {
            Act::Kill(number) => drop(stopped.insert(killed(number), seq)),
            Act::Revive(number) => drop(stopped.remove(&killed(number))),
            Act::Rollback(number) => drop(stopped.insert(latched(number), seq)),
            Act::Resume(number) => drop(stopped.remove(&latched(number))),
            Act::Raise(number) | Act::Lower(number) | Act::Stop(number) => {
                stopped.insert(rolled_out(number), seq);
            }
            Act::Reload => {}
        }
    }
    stopped
}

fn numbered(script: &[Act]) -> impl Iterator<Item = (u64, Act)> {
    (1..).zip(script.iter().copied())
}

/// The kills, latches and states of rollouts of a folded journal.
fn in_force(folded: &Folded) -> BTreeMap<Stopped, u64> {
    folded
        .kills
        .iter()
        .chain(&folded.latches)
        .chain(&folded.rollouts)
        .map(|record| (stopped(record), record.seq))
        .collect()
}

fn stopped(record: &Record) -> Stopped {
    if let Deed::Kill { scope, .. } = &record.what {
        return Stopped::Killed(scope.scope().expect("one scope"));
    }
    if let Deed::Rollout(deed) = &record.what {
        assert!(deed.evidence.is_null() && deed.state.is_object(), "a state, without evidence: {deed:?}");
        return Stopped::Rollout(deed.rollout.clone());
    }
    Stopped::Latched(record.what.latched().expect("a kill or a rollback"))
}

/// What happened in a run of the writer.
#[derive(Debug, Default)]
struct Happened {
    /// The last sequence number that was reported durable.
    durable: Cell<u64>,
    /// The revives and resumes that were refused.
    refused: RefCell<BTreeSet<u64>>,
    failures: Cell<u32>,
    evidence_failures: Cell<u32>,
    outbox_failures: Cell<u32>,
}

impl Happened {
    fn note(&self, progress: &JournalProgress) {
        match progress {
            JournalProgress::Durable(seq) => {
                assert!(*seq > self.durable.get(), "progress goes up");
                self.durable.set(*seq);
            }
            JournalProgress::Refused { seq, .. } => {
                assert!(self.refused.borrow_mut().insert(*seq), "a revive is refused once");
            }
            JournalProgress::Failed { .. } => self.failures.set(self.failures.get() + 1),
            JournalProgress::OutboxNotSaved { .. } => self.outbox_failures.set(self.outbox_failures.get() + 1),
            JournalProgress::EvidenceNotSaved { .. } => self.evidence_failures.set(self.evidence_failures.get() + 1),
            JournalProgress::Recovered => {}
        }
    }
}

/// A writer that a test drives step by step.
struct Run {
    files: MemoryFiles,
    opened: Opened,
    pending: Arc<Pending>,
    writing: Writing,
    happened: Happened,
}

impl Run {
    fn begin(files: &MemoryFiles, limits: WriterLimits) -> Self {
        let held = open(Arc::new(files.clone()), Duration::ZERO, "here");
        let pending = Arc::new(Pending::after(held.resume.tail.seq));
        let writing = Writing::new(held.files, held.resume, limits, Clock, Arc::clone(&pending));
        Self { files: files.clone(), opened: held.opened, pending, writing, happened: Happened::default() }
    }

    /// Writes what is due and what waits; `false` when the machine stops.
    fn write(&mut self) -> bool {
        let report = |progress| self.happened.note(&progress);
        for _ in 0..ATTEMPTS_MAX {
            match self.writing.step(&report) {
                Ok(()) => {
                    self.pending.set_failure(None);
                    if !self.writing.has_work() && self.pending.is_empty() {
                        return true;
                    }
                }
                Err(WriteFault::Changed) => {}
                Err(WriteFault::Disk(why)) => self.writing.fail(&why, &report),
            }
            if self.files.is_down() {
                return false;
            }
        }
        panic!("the writer does not come to an end: {:?}", self.pending.failure());
    }

    /// Lets people and guards do this, one to three at a time; returns what was taken, by number.
    fn play(&mut self, acts: &[Act]) -> Vec<(u64, Act)> {
        let mut taken = Vec::new();
        if !self.write() {
            return taken;
        }
        let mut rest = acts;
        for size in [1, 2, 3].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(size.min(rest.len()));
            for act in now {
                // A revive or a resume is refused while the disk fails.
                if let Ok(record) = self.pending.add(draft(deed(*act))) {
                    taken.push((record.seq, *act));
                }
            }
            if !self.write() {
                break;
            }
            rest = later;
        }
        taken
    }
}

/// What the folder says now.
fn look(files: &MemoryFiles) -> Opened {
    peek(files, Duration::ZERO, "here")
}

/// The journal and the saved state of a script, in one file.
fn written(script: &[Act]) -> MemoryFiles {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    assert_eq!(run.play(script).len(), script.len());
    files
}
