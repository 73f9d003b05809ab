//! What records leave behind: kills in force, and the records that answer a repeated call.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::record::{Deed, Record};
use crate::route::KillScope;

/// How many records with an `Idempotency-Key` are kept.
const KEYS_MAX: usize = 1_000;

/// How long a record with an `Idempotency-Key` is kept.
pub(super) const KEYS_FOR: Duration = Duration::from_hours(24);

/// The state that records make.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    kills: BTreeMap<KillScope, Record>,
    keys: VecDeque<Record>,
}

/// Whether a record changed the kills in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kills {
    Changed,
    Same,
}

impl Standing {
    /// The kills in force, each the record of its kill, in the order of their numbers.
    pub fn kills(&self) -> Vec<Record> {
        let mut kills: Vec<Record> = self.kills.values().cloned().collect();
        kills.sort_by_key(|record| record.seq);
        kills
    }

    /// The newest records with an `Idempotency-Key`, decided at `since` (since the Unix epoch) or later.
    pub fn keys(&self, since: Duration) -> Vec<Record> {
        self.keys.iter().filter(|record| decided_at(record).is_none_or(|at| at >= since)).cloned().collect()
    }

    /// Applies a record.
    pub fn apply(&mut self, record: &Record) -> Kills {
        self.keep_key(record);
        match &record.what {
            Deed::Kill { scope, .. } => self.kill(scope.scope(), record),
            Deed::Revive { scope } => {
                let was_killed = scope.scope().and_then(|scope| self.kills.remove(&scope)).is_some();
                if was_killed { Kills::Changed } else { Kills::Same }
            }
            Deed::Checkpoint { kills, keys, .. } => {
                let before = std::mem::take(&mut self.kills);
                self.add_kills(kills);
                self.keys.clear();
                for record in keys {
                    self.keep_key(record);
                }
                if self.kills == before { Kills::Same } else { Kills::Changed }
            }
            Deed::Start { .. } | Deed::Reload { .. } | Deed::Refused { .. } | Deed::Endpoint { .. } => Kills::Same,
        }
    }

    /// Applies a record behind damage: what it kills is killed, and nothing is revived.
    pub fn apply_kills_only(&mut self, record: &Record) {
        self.keep_key(record);
        match &record.what {
            Deed::Kill { .. } => drop(self.apply(record)),
            Deed::Checkpoint { kills, keys, .. } => {
                self.add_kills(kills);
                for record in keys {
                    self.keep_key(record);
                }
            }
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Revive { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. } => {}
        }
    }

    /// Adds kills to those in force. Where a scope is killed already, the later record stays.
    pub fn add_kills(&mut self, kills: &[Record]) {
        for record in kills {
            if let Deed::Kill { scope, .. } = &record.what {
                self.kill(scope.scope(), record);
            }
        }
    }

    fn kill(&mut self, scope: Option<KillScope>, record: &Record) -> Kills {
        let Some(scope) = scope else { return Kills::Same };
        if self.kills.get(&scope).is_some_and(|known| known.seq >= record.seq) {
            return Kills::Same;
        }
        self.kills.insert(scope, record.clone());
        Kills::Changed
    }

    fn keep_key(&mut self, record: &Record) {
        let is_known = |known: &Record| known.seq == record.seq && known.key == record.key;
        if record.key.is_none() || self.keys.back().is_some_and(is_known) {
            return;
        }
        if self.keys.len() == KEYS_MAX {
            self.keys.pop_front();
        }
        self.keys.push_back(record.clone());
        debug_assert!(self.keys.len() <= KEYS_MAX, "keys have a bound");
    }
}

/// When a record was decided, since the Unix epoch; `None` when its time cannot be read.
fn decided_at(record: &Record) -> Option<Duration> {
    let at: jiff::Timestamp = record.at.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or(0)))
}
