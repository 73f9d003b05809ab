//! Tests of the journal as a whole: on a disk, through crashes at every step, and with every kind of damage.

mod crash;
mod damage;
mod disk;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::memory_files::MemoryFiles;
use super::pending::Pending;
use super::writing::{WriteFault, Writing};
use super::{
    Actor, Deed, Draft, Folded, IdempotencyKey, JournalFiles, JournalProgress, Opened, Record, ScopeFields,
    WriterLimits, open, peek,
};
use crate::clock::Clock;
use crate::route::KillScope;

/// How often a writer tries before a test gives up.
const ATTEMPTS_MAX: u32 = 100;

/// What a test lets people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Kill(u8),
    Revive(u8),
    Reload,
}

/// A script with kills, revives and repetitions of both.
const SCRIPT: &[Act] = &[
    Act::Reload,
    Act::Kill(1),
    Act::Kill(2),
    Act::Revive(1),
    Act::Reload,
    Act::Kill(3),
    Act::Kill(1),
    Act::Revive(2),
    Act::Revive(3),
    Act::Kill(2),
    Act::Kill(2),
    Act::Reload,
    Act::Revive(1),
];

/// A scope of each kind.
fn scope(number: u8) -> KillScope {
    match number % 5 {
        0 => KillScope::All,
        1 => KillScope::Route(format!("r{number}")),
        2 => KillScope::Variant { route: "search".to_owned(), variant: format!("v{number}") },
        3 => KillScope::Tenant(format!("t{number} \" \n é")),
        _ => KillScope::Shadow(format!("s{number}")),
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
        Act::Reload => Deed::Reload {
            cause: "watch".to_owned(),
            outcome: "applied".to_owned(),
            summary: vec!["route `a`: weight 5 → 10".to_owned()],
            diagnostics: serde_json::Value::Null,
        },
    }
}

/// Limits with which every few records begin a new file, and no pause.
fn small() -> WriterLimits {
    let none = Duration::ZERO;
    WriterLimits { file_bytes_max: 900, files_max: 2, pause_min: none, pause_max: none }
}

/// The kills that acts leave in force, each with the number of its record; acts are numbered.
fn replay(acts: impl IntoIterator<Item = (u64, Act)>) -> BTreeMap<KillScope, u64> {
    let mut kills = BTreeMap::new();
    for (seq, act) in acts {
        match act {
            Act::Kill(number) => drop(kills.insert(scope(number), seq)),
            Act::Revive(number) => drop(kills.remove(&scope(number))),
            Act::Reload => {}
        }
    }
    kills
}

fn numbered(script: &[Act]) -> impl Iterator<Item = (u64, Act)> {
    (1..).zip(script.iter().copied())
}

/// The kills of a folded journal.
fn kills(folded: &Folded) -> BTreeMap<KillScope, u64> {
    folded.kills.iter().map(|record| (scope_of(record), record.seq)).collect()
}

fn scope_of(record: &Record) -> KillScope {
    let Deed::Kill { scope, .. } = &record.what else { panic!("{record:?} is no kill") };
    scope.scope().expect("one scope")
}

/// What happened in a run of the writer.
#[derive(Debug, Default)]
struct Happened {
    /// The last sequence number that was reported durable.
    durable: Cell<u64>,
    /// The revives that were refused.
    refused: RefCell<BTreeSet<u64>>,
    failures: Cell<u32>,
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

    /// Lets people do this, one to three at a time; returns what was taken, by number.
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
                // A revive is refused while the disk fails.
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
