//! `snapshot.json`: the kills in force as of a record, so that they outlive a damaged or missing journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::hash;
use super::record::{JOURNAL_VERSION, Record};

/// The longest file, in bytes.
pub(super) const SAVED_STATE_MAX: u64 = 16 * 1024 * 1024;

/// The state as of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// The version of the format.
    pub v: u32,
    /// The sequence number of the last record that is included.
    pub seq: u64,
    /// The hash of that record's line.
    pub head: String,
    /// The kills in force, each the record of its kill.
    pub kills: Vec<Record>,
    /// Latches of rollbacks: none so far.
    #[serde(default)]
    pub latches: Vec<Value>,
    /// SHA-256 of this object as JSON with an empty `sum`, in hex.
    pub sum: String,
}

impl SavedState {
    /// The state as of the record with this number and hash.
    pub(super) fn new(seq: u64, head: &str, kills: Vec<Record>) -> Self {
        let head = head.to_owned();
        Self { v: JOURNAL_VERSION, seq, head, kills, latches: Vec::new(), sum: String::new() }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// A kill has no JSON form.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let text = |state: &Self| serde_json::to_vec(state).map_err(|error| error.to_string());
        let sum = hash(&text(&Self { sum: String::new(), ..self.clone() })?);
        let mut bytes = text(&Self { sum, ..self.clone() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Why it is not a saved state, such as a wrong sum.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.v > JOURNAL_VERSION {
            return Err(format!("it has version {}, this program knows versions up to {JOURNAL_VERSION}", state.v));
        }
        if state.to_bytes()? != bytes {
            return Err("its content does not match its sum: it was changed".to_owned());
        }
        Ok(state)
    }
}
