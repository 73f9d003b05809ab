//! `snapshot.json`: the kills in force as of a record, so that they outlive a damaged or missing journal.
//!
//! The file is one JSON object. Its last member, `sum`, is the SHA-256 of all bytes before that member, in hex: a changed
//! file is recognised, whatever members a later version adds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::{hash, shorten_kills};
use super::record::{JOURNAL_VERSION, Record};

/// The longest file, in bytes.
pub(super) const SAVED_STATE_MAX: usize = 16 * 1024 * 1024;

/// What is between the summed bytes and the sum.
const SUM: &[u8] = b",\"sum\":\"";
/// What is behind the sum.
const END: &[u8] = b"\"}\n";
/// The length of a sum in hex.
const SUM_LENGTH: usize = 64;

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
}

impl SavedState {
    /// The state as of the record with this number and hash.
    #[must_use]
    pub fn new(seq: u64, head: &str, kills: Vec<Record>) -> Self {
        Self { v: JOURNAL_VERSION, seq, head: head.to_owned(), kills, latches: Vec::new() }
    }

    /// The text of the file. Long reasons are cut where it would be too long.
    ///
    /// # Errors
    /// It is too long even so, or it has no JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let text = |state: &Self| serde_json::to_vec(state).map_err(|error| error.to_string());
        let mut bytes = text(self)?;
        if bytes.len() + SUM_LENGTH * 2 > SAVED_STATE_MAX {
            let mut shorter = self.clone();
            shorten_kills(&mut shorter.kills);
            bytes = text(&shorter)?;
        }
        if bytes.len() + SUM_LENGTH * 2 > SAVED_STATE_MAX {
            return Err(format!("the saved state has {} bytes, at most {SAVED_STATE_MAX} are possible", bytes.len()));
        }
        let brace = bytes.pop();
        debug_assert_eq!(brace, Some(b'}'), "it is an object");
        let sum = hash(&bytes);
        bytes.extend_from_slice(SUM);
        bytes.extend_from_slice(sum.as_bytes());
        bytes.extend_from_slice(END);
        Ok(bytes)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Why it is not a saved state, such as a wrong sum.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let changed = || "its content does not match its sum: it was changed or cut".to_owned();
        let text = bytes.strip_suffix(END).ok_or_else(changed)?;
        let (text, sum) = text.split_at_checked(text.len().wrapping_sub(SUM_LENGTH)).ok_or_else(changed)?;
        let summed = text.strip_suffix(SUM).ok_or_else(changed)?;
        if hash(summed).as_bytes() != sum {
            return Err(changed());
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.v > JOURNAL_VERSION {
            return Err(format!("it has version {}, this program knows versions up to {JOURNAL_VERSION}", state.v));
        }
        Ok(state)
    }
}
