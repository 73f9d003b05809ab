//! What outlives the process beside the records, written once a second: the evidence of guards, and how far the rollouts
//! are in their stages. Nothing of it can raise a weight above what a record allows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rollouts::ActiveRollouts;
use crate::release::{RolloutState, StageProgress};

/// The version of the form.
const VERSION: u32 = 2;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedProgress {
    /// The version. The first form had the evidence of guards alone, by route, and no version.
    v: u32,
    /// The number of the last record whose effect it has. A form that does not say it has all.
    #[serde(default = "all")]
    last: u64,
    pub guards: Value,
    pub rollouts: BTreeMap<String, SavedRollout>,
}

const fn all() -> u64 {
    u64::MAX
}

/// How far a rollout is, since a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::control) struct SavedRollout {
    /// The number of the record whose state this goes on from.
    seq: u64,
    reached: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ramp_run_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fall_run_ms: Option<u64>,
    progress: StageProgress,
}

impl SavedRollout {
    fn of(seq: u64, state: &RolloutState) -> Self {
        Self {
            seq,
            reached: state.reached,
            ramp_run_ms: state.ramp.map(|ramp| ramp.run_ms),
            fall_run_ms: state.fall.map(|fall| fall.run_ms),
            progress: state.progress.clone(),
        }
    }

    /// Goes on from here. A ramp goes no further than its end, and a weight that was reached is one of the ramp.
    fn restore(&self, state: &mut RolloutState) {
        state.progress = self.progress.clone();
        if let (Some(ramp), Some(run_ms)) = (&mut state.ramp, self.ramp_run_ms) {
            ramp.run_ms = run_ms.min(ramp.over_ms);
            state.reached = state.reached.max(self.reached.min(ramp.weight().millionths()));
        } else if state.ramp.is_some() && self.ramp_run_ms.is_none() {
            // The ramp was over.
            let end = state.ramp.take().map_or(state.reached, |ramp| ramp.to);
            state.reached = self.reached.min(end);
        }
        match (&mut state.fall, self.fall_run_ms) {
            (Some(fall), Some(run_ms)) => fall.run_ms = run_ms.min(fall.over_ms).max(fall.run_ms),
            (Some(_), None) => state.fall = None,
            (None, _) => {}
        }
    }
}

impl ActiveRollouts {
    pub(super) fn to_saved(&self) -> BTreeMap<String, SavedRollout> {
        let one = |(name, active): (&String, &super::rollouts::ActiveRollout)| {
            let seq = active.record.as_ref().map(|record| record.seq).filter(|seq| *seq > 0)?;
            Some((name.clone(), SavedRollout::of(seq, &active.state)))
        };
        self.iter().filter_map(one).collect()
    }

    /// Goes on with what a process before has saved, where no later record is known.
    pub(super) fn restore_progress(&mut self, saved: &BTreeMap<String, SavedRollout>) {
        for (name, saved) in saved {
            if let Some(active) = self.get_mut(name)
                && active.record.as_ref().is_some_and(|record| record.seq == saved.seq)
            {
                saved.restore(&mut active.state);
            }
        }
    }
}

impl SavedProgress {
    /// The file with these.
    pub const fn new(guards: Value, rollouts: BTreeMap<String, SavedRollout>, last: u64) -> Self {
        Self { v: VERSION, last, guards, rollouts }
    }

    /// Reads the file. The first form is the evidence of guards alone.
    ///
    /// # Errors
    /// It is of a later version, or no JSON.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(saved) if saved.v <= VERSION => Ok(saved),
            Ok(Self { v, .. }) => Err(format!("it has version {v}, this program knows versions up to {VERSION}")),
            Err(_) => {
                let guards = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
                Ok(Self::new(guards, BTreeMap::new(), all()))
            }
        }
    }
}
