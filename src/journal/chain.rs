//! The chain: a line continues it when it is a record, its `prev` is the hash of the line before it, and its sequence
//! number is the next one. A checkpoint has the number of the last record that it includes.

use serde::Deserialize;

use super::damage::DamageKind;
use super::line::{LINE_MAX, hash};
use super::record::{Deed, JOURNAL_VERSION, LatchScope, Record};
use super::rollout_states::{kept_rollouts_fault, rollout_fault};

/// The largest sequence number: the largest integer that every reader of JSON reads exactly.
pub(super) const SEQ_MAX: u64 = 1 << 53;

/// Behind a fault, a number that is further ahead than this is not believed.
const JUMP_MAX: u64 = 1_000_000;

/// Reads lines in order, and checks that each continues the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    begun: bool,
    seq: u64,
    head: String,
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct ReadLine {
    /// The record, where there is one; also of a line that does not continue the chain.
    pub record: Option<Record>,
    /// Why the line does not continue the chain.
    pub fault: Option<DamageKind>,
}

/// What is read of a line that is no record of this version.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl Chain {
    /// The sequence number of the last line.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the last line; empty before the first.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Reads the next line, without its line feed.
    pub fn read(&mut self, line: &[u8]) -> ReadLine {
        let (record, fault) = match parse(line) {
            Ok(record) => {
                let fault = self.fault_of(&record);
                (Some(record), fault)
            }
            Err(fault) => (None, Some(fault)),
        };
        let next = self.seq.saturating_add(1).min(SEQ_MAX);
        self.seq = match &record {
            Some(record) if fault.is_none() => record.seq,
            Some(record) if record.seq > self.seq && record.seq - self.seq <= JUMP_MAX => record.seq,
            Some(_) | None => next,
        };
        self.begun = true;
        self.head = hash(line);
        debug_assert!(self.seq <= SEQ_MAX, "sequence numbers stay exact");
        ReadLine { record, fault }
    }

    /// Continues with numbers above `seq`.
    pub fn at_least(&mut self, seq: u64) {
        self.seq = self.seq.max(seq.min(SEQ_MAX));
    }

    /// Passes over a line that is too long to be read.
    pub fn pass_over(&mut self) {
        self.seq = self.seq.saturating_add(1).min(SEQ_MAX);
        self.begun = true;
        self.head = String::new();
    }

    fn fault_of(&self, record: &Record) -> Option<DamageKind> {
        if record.v > JOURNAL_VERSION {
            return Some(DamageKind::NewerVersion(record.v));
        }
        let is_checkpoint = matches!(record.what, Deed::Checkpoint { .. });
        if !self.begun {
            let begins = is_checkpoint || (record.seq == 1 && record.prev.is_empty());
            return (!begins).then_some(DamageKind::NoBeginning);
        }
        if record.prev != self.head {
            return Some(DamageKind::BrokenChain);
        }
        let expected = if is_checkpoint { self.seq } else { self.seq + 1 };
        let continues = record.seq == expected || (is_checkpoint && record.seq > expected);
        (!continues).then_some(DamageKind::Gap { expected, found: record.seq })
    }
}

/// The record of a line; its place in the chain is not checked.
pub(super) fn parse(line: &[u8]) -> Result<Record, DamageKind> {
    if line.len() > LINE_MAX {
        return Err(DamageKind::TooLong);
    }
    let record = serde_json::from_slice::<Record>(line).map_err(|error| not_a_record(line, &error))?;
    let why = if record.v == 0 {
        Some("its version is 0")
    } else if record.seq == 0 && !matches!(record.what, Deed::Checkpoint { .. }) {
        Some("its sequence number is 0")
    } else if record.seq > SEQ_MAX {
        Some("its sequence number is too large")
    } else if !are_scopes_valid(&record.what) {
        Some("it does not name exactly one scope")
    } else if !are_latches_valid(&record.what) {
        Some("it does not name the release")
    } else {
        fault_of_rollouts(&record.what)
    };
    match why {
        None => Ok(record),
        Some(_) if record.v > JOURNAL_VERSION => Err(DamageKind::NewerVersion(record.v)),
        Some(why) => Err(DamageKind::NotARecord(why.to_owned())),
    }
}

fn not_a_record(line: &[u8], error: &serde_json::Error) -> DamageKind {
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { v }) if v > JOURNAL_VERSION => DamageKind::NewerVersion(v),
        Ok(_) | Err(_) => DamageKind::NotARecord(error.to_string()),
    }
}

fn are_scopes_valid(deed: &Deed) -> bool {
    match deed {
        Deed::Start { .. } | Deed::Reload { .. } | Deed::Endpoint { .. } | Deed::Release(_) | Deed::Rollout(_) => true,
        Deed::Kill { scope, .. } | Deed::Revive { scope } | Deed::Refused { scope, .. } => scope.scope().is_some(),
        Deed::Checkpoint { kills, .. } => kills.iter().all(|kill| {
            let Deed::Kill { scope, .. } = &kill.what else { return false };
            scope.scope().is_some()
        }),
    }
}

fn fault_of_rollouts(deed: &Deed) -> Option<&'static str> {
    match deed {
        Deed::Rollout(deed) => rollout_fault(deed),
        Deed::Checkpoint { rollouts, .. } => kept_rollouts_fault(rollouts),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_) => None,
    }
}

fn are_latches_valid(deed: &Deed) -> bool {
    match deed {
        Deed::Release(deed) => !deed.release.is_empty(),
        Deed::Checkpoint { latches, .. } => {
            let is_valid = |latch: LatchScope| !latch.release.is_empty();
            latches.iter().all(|latch| latch.what.latched().is_some_and(is_valid))
        }
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_) => true,
    }
}
