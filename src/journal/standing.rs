//! What records leave behind: kills and latches in force, where rollouts stand, and the records that answer a repeated call.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::record::{Deed, LatchScope, Record, ReleaseVerb};
use super::rollout_states::RolloutStates;
use crate::route::KillScope;

/// How many records with an `Idempotency-Key` are kept.
const KEYS_MAX: usize = 1_000;

/// How many latches are kept: the newest.
pub(super) const LATCHES_MAX: usize = 1_000;

/// How long a record with an `Idempotency-Key` is kept.
pub(super) const KEYS_FOR: Duration = Duration::from_hours(24);

/// The state that records make.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    kills: BTreeMap<KillScope, Record>,
    latches: BTreeMap<LatchScope, Record>,
    rollouts: RolloutStates,
    keys: VecDeque<Record>,
}

/// Whether a record changed the kills or the latches in force, or where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InForce {
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

    /// The latches in force, each the record of its rollback, in the order of their numbers.
    pub fn latches(&self) -> Vec<Record> {
        let mut latches: Vec<Record> = self.latches.values().cloned().collect();
        latches.sort_by_key(|record| record.seq);
        latches
    }

    /// Where rollouts stand, each its newest record without evidence, in the order of their numbers.
    pub fn rollouts(&self) -> Vec<Record> {
        self.rollouts.records()
    }

    /// The newest records with an `Idempotency-Key`, decided at `since` (since the Unix epoch) or later.
    pub fn keys(&self, since: Duration) -> Vec<Record> {
        self.keys.iter().filter(|record| decided_at(record).is_none_or(|at| at >= since)).cloned().collect()
    }

    /// Applies a record.
    pub fn apply(&mut self, record: &Record) -> InForce {
        self.keep_key(record);
        match &record.what {
            Deed::Kill { scope, .. } => self.kill(scope.scope(), record),
            Deed::Revive { scope } => {
                let was_killed = scope.scope().and_then(|scope| self.kills.remove(&scope)).is_some();
                if was_killed { InForce::Changed } else { InForce::Same }
            }
            Deed::Release(deed) => match deed.act {
                ReleaseVerb::Rollback => self.latch(record),
                ReleaseVerb::Resume if self.latches.remove(&deed.scope()).is_some() => InForce::Changed,
                ReleaseVerb::Warn
                | ReleaseVerb::Hold
                | ReleaseVerb::Unhold
                | ReleaseVerb::Resume
                | ReleaseVerb::Refused => InForce::Same,
            },
            Deed::Rollout(_) => self.add_rollouts(std::slice::from_ref(record)),
            Deed::Checkpoint { kills, keys, latches, rollouts, .. } => {
                let before = std::mem::take(self);
                self.add_kills(kills);
                self.add_latches(latches);
                self.add_rollouts(rollouts);
                for record in keys {
                    self.keep_key(record);
                }
                let is_same =
                    (&self.kills, &self.latches, &self.rollouts) == (&before.kills, &before.latches, &before.rollouts);
                if is_same { InForce::Same } else { InForce::Changed }
            }
            Deed::Start { .. } | Deed::Reload { .. } | Deed::Refused { .. } | Deed::Endpoint { .. } => InForce::Same,
        }
    }

    /// Applies a record behind damage: what it kills is killed, what it rolls back is latched, what it lowers is lowered, and
    /// nothing is revived, resumed or raised.
    pub fn apply_behind_damage(&mut self, record: &Record) {
        self.keep_key(record);
        match &record.what {
            Deed::Kill { scope, .. } => {
                self.kill(scope.scope(), record);
            }
            Deed::Release(_) => {
                self.latch(record);
            }
            Deed::Rollout(_) => self.rollouts.take_behind_damage(record),
            Deed::Checkpoint { kills, keys, latches, rollouts, .. } => {
                self.add_kills(kills);
                self.add_latches(latches);
                self.lower_rollouts(rollouts);
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

    /// Adds latches to those in force. Where a release is latched already, the later record stays.
    pub fn add_latches(&mut self, latches: &[Record]) {
        for record in latches {
            self.latch(record);
        }
    }

    /// Adds where rollouts stand. Where a later record of the same is known, it stays.
    pub fn add_rollouts(&mut self, rollouts: &[Record]) -> InForce {
        let mut in_force = InForce::Same;
        for record in rollouts {
            if self.rollouts.take(record) {
                in_force = InForce::Changed;
            }
        }
        in_force
    }

    /// Adds where rollouts stand by a list that does not continue an intact chain: the lower state stays.
    pub fn lower_rollouts(&mut self, rollouts: &[Record]) {
        self.rollouts.lower_all(rollouts);
    }

    /// Latches what a rollback names; other records change nothing.
    fn latch(&mut self, record: &Record) -> InForce {
        let Some(scope) = record.what.latched() else { return InForce::Same };
        if self.latches.get(&scope).is_some_and(|known| known.seq >= record.seq) {
            return InForce::Same;
        }
        self.latches.insert(scope, record.clone());
        if self.latches.len() > LATCHES_MAX {
            let oldest = self.latches.iter().min_by_key(|(_, record)| record.seq).map(|(scope, _)| scope.clone());
            oldest.and_then(|scope| self.latches.remove(&scope));
        }
        debug_assert!(self.latches.len() <= LATCHES_MAX, "latches have a bound");
        InForce::Changed
    }

    fn kill(&mut self, scope: Option<KillScope>, record: &Record) -> InForce {
        let Some(scope) = scope else { return InForce::Same };
        if self.kills.get(&scope).is_some_and(|known| known.seq >= record.seq) {
            return InForce::Same;
        }
        self.kills.insert(scope, record.clone());
        InForce::Changed
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
