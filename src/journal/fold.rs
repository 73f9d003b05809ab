//! The fold: the lines of a journal become state. The law: never a kill or a latch fewer than the last durable record leaves
//! in force, and never a state of a rollout that serves more than the last durable record allows. Behind damage kills and
//! rollbacks still apply, revives and raises do not, and what the saved state has is added.

use std::io::{self, Read};
use std::time::Duration;

use super::chain::Chain;
use super::damage::{Damage, DamageKind};
use super::lines::{LineRead, Lines};
use super::record::{Deed, Record};
use super::saved_state::SavedState;
use super::standing::Standing;

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// The kills in force, each the record of its kill, in the order of their numbers.
    pub kills: Vec<Record>,
    /// The latches in force, each the record of its rollback, in the order of their numbers: the newest 1 000.
    pub latches: Vec<Record>,
    /// Where rollouts stand: of each its newest record that has a state, without evidence, in the order of their numbers. It is
    /// the newest 1 000, of those that have left the file (`archive`) too; those are left out first. Behind damage it is the
    /// lowest state that can be read: a start holds at 0 what it has, whatever it says.
    pub rollouts: Vec<Record>,
    /// The newest records of the last 24 hours that have an `Idempotency-Key`, at most 1 000.
    pub keys: Vec<Record>,
    /// The last sequence number; 0 when there is none.
    pub last_seq: u64,
    /// The hash of the last line; empty when there is none.
    pub head: String,
    /// When the last record was decided: RFC 3339.
    pub last_at: Option<String>,
    /// What is wrong, where it begins.
    pub damage: Option<Damage>,
    /// What an operator may want to know, such as a last line that was cut off by a crash.
    pub notes: Vec<String>,
}

/// Folds line after line.
#[derive(Debug, Default)]
pub(super) struct Fold {
    chain: Chain,
    standing: Standing,
    saved: Option<SavedState>,
    is_saved_met: bool,
    first_seq: Option<u64>,
    lines: u64,
    last_at: Option<String>,
    config: String,
    generation: u64,
    host: Option<String>,
    damage: Option<Damage>,
    notes: Vec<String>,
}

impl Fold {
    /// A fold whose end is compared with the saved state.
    pub fn new(saved: Option<SavedState>) -> Self {
        Self { saved, ..Self::default() }
    }

    /// Takes the next line, without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        let read = self.chain.read(line);
        self.lines += 1;
        if let Some(fault) = read.fault {
            self.damage(fault);
        }
        if self.first_seq.is_none() {
            self.first_seq = read.record.as_ref().map(|record| record.seq);
        }
        if let Some(record) = read.record {
            self.meet_saved(&record.prev);
            self.apply(record);
        }
    }

    /// Takes a line that is longer than [`super::LINE_MAX`].
    pub fn too_long(&mut self) {
        self.chain.pass_over();
        self.lines += 1;
        self.damage(DamageKind::TooLong);
    }

    /// Takes the end of the file: a line without a line feed, which a crash cut off before it was durable.
    pub fn torn(&mut self, bytes: u64) {
        if bytes > 0 {
            self.notes.push(format!(
                "line {} is not complete ({bytes} bytes): a crash cut it off before it was durable; it is left out",
                self.lines + 1
            ));
        }
    }

    /// Reports damage that is not of a line.
    pub fn damage_of_file(&mut self, kind: DamageKind) {
        if self.damage.is_none() {
            self.damage = Some(Damage { kind, file: String::new(), line: 0 });
        }
    }

    /// The sequence number of the first line.
    pub const fn first_seq(&self) -> Option<u64> {
        self.first_seq
    }

    /// The name of the machine in the last record of a start.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The configuration and the generation of the last record.
    pub fn context(&self) -> (String, u64) {
        (self.config.clone(), self.generation)
    }

    /// Names the file in damage that was found.
    pub fn set_file(&mut self, name: &str) {
        if let Some(damage) = &mut self.damage {
            name.clone_into(&mut damage.file);
        }
    }

    /// Adds a note.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The result. Idempotency keys from before `keys_since` (since the Unix epoch) are left out.
    pub fn finish(self, keys_since: Duration) -> Folded {
        self.finish_with_standing(keys_since).0
    }

    /// The result, and the state for a writer that goes on from here.
    pub fn finish_with_standing(mut self, keys_since: Duration) -> (Folded, Standing) {
        if let Some(saved) = self.saved.take() {
            self.compare_with(&saved);
            if self.damage.is_some() {
                self.standing.add_kills(&saved.kills);
                self.standing.add_latches(&saved.latches);
                self.standing.lower_rollouts(&saved.rollouts);
                // A number that was given once is not given again.
                self.chain.at_least(saved.seq);
            }
        }
        let folded = Folded {
            kills: self.standing.kills(),
            latches: self.standing.latches(),
            rollouts: self.standing.rollouts(),
            keys: self.standing.keys(keys_since),
            last_seq: self.chain.seq(),
            head: self.chain.head().to_owned(),
            last_at: self.last_at,
            damage: self.damage,
            notes: self.notes,
        };
        (folded, self.standing)
    }

    fn apply(&mut self, record: Record) {
        if self.damage.is_some() {
            self.standing.apply_behind_damage(&record);
        } else {
            self.standing.apply(&record);
        }
        if let Deed::Start { host, .. } = &record.what {
            self.host = Some(host.clone());
        }
        self.config = record.config;
        self.generation = record.generation;
        self.last_at = Some(record.at);
    }

    fn damage(&mut self, kind: DamageKind) {
        if self.damage.is_none() {
            self.damage = Some(Damage { kind, file: String::new(), line: self.lines });
        }
    }

    /// Notes whether the line just read, or the one before it, is the last of the saved state.
    fn meet_saved(&mut self, prev: &str) {
        let Some(saved) = &self.saved else { return };
        let meets = self.chain.seq() == saved.seq && (self.chain.head() == saved.head || prev == saved.head);
        self.is_saved_met = self.is_saved_met || meets;
    }

    fn compare_with(&mut self, saved: &SavedState) {
        let last = self.chain.seq();
        if self.lines == 0 {
            self.damage_of_file(DamageKind::Missing);
        } else if saved.seq > last {
            self.damage_of_file(DamageKind::EndsBefore { saved: saved.seq, last });
        } else if !self.is_saved_met && self.first_seq.is_none_or(|first| first <= saved.seq) {
            self.damage_of_file(DamageKind::Differs(saved.seq));
        }
    }
}

/// Folds a file; returns the length of its complete lines, in bytes.
///
/// # Errors
/// The file cannot be read. What was read before counts.
pub(super) fn fold_file(fold: &mut Fold, file: impl Read) -> io::Result<u64> {
    let mut lines = Lines::new(file);
    let mut len = 0;
    while let Some(read) = lines.read()? {
        match read {
            LineRead::Whole => fold.line(lines.line()),
            LineRead::TooLong => fold.too_long(),
            LineRead::Torn(bytes) => {
                fold.torn(bytes);
                break;
            }
        }
        len = lines.end();
    }
    Ok(len)
}

/// Folds the text of a journal. What follows the last line feed is cut off. `saved` is the saved state beside it;
/// idempotency keys from before `keys_since` (since the Unix epoch) are left out.
#[must_use]
pub fn fold(text: &[u8], saved: Option<SavedState>, keys_since: Duration) -> Folded {
    let mut fold = Fold::new(saved);
    if let Err(error) = fold_file(&mut fold, text) {
        fold.damage_of_file(DamageKind::Unreadable(error.to_string()));
    }
    fold.finish(keys_since)
}
