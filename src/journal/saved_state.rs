//! `snapshot.json`: the kills and latches in force as of a record, so that they outlive a damaged or missing journal. It is
//! one JSON object with a sum.

use serde::{Deserialize, Serialize};

use super::line::{shorten_kills, shorten_latches};
use super::record::{JOURNAL_VERSION, Record};
use super::sum::{SUMMED, with_sum, without_sum};

/// The longest file, in bytes.
pub(super) const SAVED_STATE_MAX: usize = 16 * 1024 * 1024;

/// The version of a state without latches.
const WITHOUT_LATCHES: u32 = 1;

/// The state as of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// The version of the format: 1 without latches, which a program that knows version 1 alone can read.
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
}

impl SavedState {
    /// The state as of the record with this number and hash.
    #[must_use]
    pub fn new(seq: u64, head: &str, kills: Vec<Record>, latches: Vec<Record>) -> Self {
        let v = if latches.is_empty() { WITHOUT_LATCHES } else { JOURNAL_VERSION };
        Self { v, seq, head: head.to_owned(), kills, latches }
    }

    /// The text of the file. Where it would be too long, the evidence of latches is cut to its sentence, then long reasons
    /// are cut.
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
                shorten_kills(&mut shorter.kills);
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
