//! Where rollouts stand by their records: of each rollout the newest record that has a state. The law: a start takes no state
//! that serves more than the last durable record allows. Behind damage the lower of two states is kept.

use std::collections::BTreeMap;

use serde_json::Value;

use super::record::{Deed, REHEARSED, Record, RolloutDeed};

/// How many rollouts are kept.
const ROLLOUTS_MAX: usize = 1_000;

/// How many bytes their records have together, as JSON: half of what a checkpoint takes.
const STATES_MAX: usize = 8 * 1024 * 1024;

/// The act of a record about a raise that was refused: nothing has changed.
pub(super) const REFUSED: &str = "refused";

/// The act of a record about a rollout that has left the file. Its state is kept, for the same name under the same revision.
const ARCHIVED: &str = "archive";

/// Where rollouts stand, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RolloutStates {
    by_name: BTreeMap<String, KeptState>,
    /// The length of all records.
    bytes: usize,
}

/// The record of a rollout.
#[derive(Clone, Debug, PartialEq)]
struct KeptState {
    /// Without its evidence.
    record: Record,
    /// Its length as JSON.
    bytes: usize,
}

impl RolloutStates {
    /// The records, in the order of their numbers. They have no evidence.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.by_name.values().map(|kept| kept.record.clone()).collect();
        records.sort_by_key(|record| record.seq);
        records
    }

    /// Takes a record of an intact chain; `true` when it changed a state. A record without a state changes none.
    pub fn take(&mut self, record: &Record) -> bool {
        let Some(deed) = with_state(record) else { return false };
        let is_newer = self.known(deed).is_none_or(|known| record.seq > known.seq);
        if is_newer {
            self.keep(deed, record);
        }
        is_newer
    }

    /// Takes a record from behind damage: what raises is not done, and what lowers is.
    pub fn take_behind_damage(&mut self, record: &Record) {
        if with_state(record).is_some_and(|deed| !deed.raises) {
            self.lower(record);
        }
    }

    /// Takes what a list has: a checkpoint behind damage, or the saved state beside a damaged journal. Of two states of a
    /// rollout the lower one stays.
    pub fn lower_all(&mut self, records: &[Record]) {
        for record in records {
            self.lower(record);
        }
    }

    fn lower(&mut self, record: &Record) {
        let Some(deed) = with_state(record) else { return };
        let is_lower = self.known(deed).is_none_or(|known| match &known.what {
            Deed::Rollout(before) => match (is_rolled_back(deed), is_rolled_back(before)) {
                (true, false) => true,
                (false, true) => false,
                (true, true) | (false, false) => {
                    let weights = deed.to.total_cmp(&before.to);
                    weights.is_lt() || (weights.is_eq() && record.seq > known.seq)
                }
            },
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Kill { .. }
            | Deed::Revive { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Release(_)
            | Deed::Checkpoint { .. } => true,
        });
        if is_lower {
            self.keep(deed, record);
        }
    }

    fn known(&self, deed: &RolloutDeed) -> Option<&Record> {
        self.by_name.get(&deed.rollout).map(|kept| &kept.record)
    }

    fn keep(&mut self, deed: &RolloutDeed, record: &Record) {
        let short = Deed::Rollout(RolloutDeed { evidence: Value::Null, ..deed.clone() });
        let record = Record { what: short, ..record.clone() };
        let bytes = serde_json::to_vec(&record).map_or(0, |json| json.len());
        self.bytes += bytes;
        if let Some(before) = self.by_name.insert(deed.rollout.clone(), KeptState { record, bytes }) {
            self.bytes -= before.bytes;
        }
        while self.by_name.len() > ROLLOUTS_MAX || (self.bytes > STATES_MAX && self.by_name.len() > 1) {
            self.forget_one();
        }
        debug_assert!(self.by_name.len() <= ROLLOUTS_MAX, "rollouts have a bound");
    }

    /// Forgets the oldest one that has left the file, or without such, the oldest one.
    fn forget_one(&mut self) {
        let is_in_file = |kept: &KeptState| !matches!(&kept.record.what, Deed::Rollout(deed) if deed.act == ARCHIVED);
        let first = self.by_name.iter().min_by_key(|(_, kept)| (is_in_file(kept), kept.record.seq));
        let Some(name) = first.map(|(name, _)| name.clone()) else { return };
        if let Some(forgotten) = self.by_name.remove(&name) {
            self.bytes -= forgotten.bytes;
        }
    }
}

/// What a record says about a rollout, where it has a state.
fn with_state(record: &Record) -> Option<&RolloutDeed> {
    match &record.what {
        Deed::Rollout(deed) if !deed.state.is_null() => Some(deed),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_)
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. } => None,
    }
}

/// Whether the rollout is rolled back after it, until a person resumes it: that outlives damage as a latch does.
fn is_rolled_back(deed: &RolloutDeed) -> bool {
    deed.state["phase"]["is"] == "rolled_back"
}

/// What is wrong with a record about a rollout.
pub(super) fn rollout_fault(deed: &RolloutDeed) -> Option<&'static str> {
    let is_weight = |weight: f64| (0.0..=100.0).contains(&weight);
    if deed.rollout.is_empty() {
        Some("it does not name the rollout")
    } else if deed.act.is_empty() {
        Some("it does not say what was decided about the rollout")
    } else if !is_weight(deed.from) || !is_weight(deed.to) {
        Some("its weights are not from 0 to 100 percent")
    } else if !(deed.state.is_object()
        || deed.state.is_null() && [REFUSED, REHEARSED, ARCHIVED].contains(&deed.act.as_str()))
    {
        Some("it does not have the state of the rollout")
    } else if deed.act == REFUSED && (deed.raises || !deed.state.is_null()) {
        Some("it refuses and raises")
    } else if deed.act == REHEARSED && (deed.raises || !deed.state.is_null()) {
        Some("it has measured a rehearsal and raises")
    } else {
        None
    }
}

/// What is wrong with the rollouts of a checkpoint.
pub(super) fn kept_rollouts_fault(records: &[Record]) -> Option<&'static str> {
    let fault = |record: &Record| match with_state(record) {
        Some(deed) => rollout_fault(deed),
        None => Some("its rollouts have no state"),
    };
    records.iter().find_map(fault)
}
