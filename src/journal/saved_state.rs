//! `snapshot.json`: the kills and latches in force and where rollouts stand as of a record, so that they outlive a damaged or missing journal. It is
//! one JSON object with a sum.

use serde::{Deserialize, Serialize};

use super::line::{shorten_latches, shorten_reasons};
use super::record::{JOURNAL_VERSION, Record, version_of_state};
use super::sum::{SUMMED, with_sum, without_sum};

/// The longest file, in bytes.
pub(super) const SAVED_STATE_MAX: usize = 16 * 1024 * 1024;

/// The state as of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// The version of the format: the lowest that has all of this.
    pub v: u32,
    /// The sequence number of the last record that is included.
    pub seq: u64,
    /// The hash of that record's line.
    pub head: String,
    /// The kills in force, each the record of its kill.
    pub kills: Vec<Record>,
    /// The latches in force, each the record of its rollback.
    #[serde(default)]
    pub latches: Vec<Record>,
    /// Where rollouts stand, each its newest record, without evidence.
    #[serde(default)]
    pub rollouts: Vec<Record>,
}

impl SavedState {
    /// The state as of the record with this number and hash.
    #[must_use]
    pub fn new(seq: u64, head: &str, kills: Vec<Record>, latches: Vec<Record>) -> Self {
        let v = version_of_state(&kills, &latches, &[]);
        Self { v, seq, head: head.to_owned(), kills, latches, rollouts: Vec::new() }
    }

    /// It, with where rollouts stand.
    #[must_use]
    pub fn with_rollouts(self, rollouts: Vec<Record>) -> Self {
        let v = version_of_state(&self.kills, &self.latches, &rollouts);
        Self { v, rollouts, ..self }
    }

    /// The text of the file. Where it would be too long, the evidence of latches is cut to its sentence, then long reasons
    /// are cut. Never a state.
    ///
    /// # Errors
    /// It is too long even so, or it has no JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let text = |state: &Self| serde_json::to_vec(state).map_err(|error| error.to_string());
        let is_long = |bytes: &[u8]| bytes.len() + SUMMED > SAVED_STATE_MAX;
        let mut bytes = text(self)?;
        if is_long(&bytes) {
            let mut shorter = self.clone();
            shorten_latches(&mut shorter.latches);
            bytes = text(&shorter)?;
            if is_long(&bytes) {
                shorten_reasons(&mut shorter.kills);
                shorten_reasons(&mut shorter.rollouts);
                bytes = text(&shorter)?;
            }
        }
        if is_long(&bytes) {
            return Err(format!("the saved state has {} bytes, at most {SAVED_STATE_MAX} are possible", bytes.len()));
        }
        let brace = bytes.pop();
        debug_assert_eq!(brace, Some(b'}'), "it is an object");
        Ok(with_sum(bytes))
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Why it is not a saved state, such as a wrong sum.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        without_sum(bytes)?;
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.v > JOURNAL_VERSION {
            return Err(format!("it has version {}, this program knows versions up to {JOURNAL_VERSION}", state.v));
        }
        Ok(state)
    }
}
