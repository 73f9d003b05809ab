//! Where a writer goes on.

use super::standing::Standing;

/// The end of the journal, and what a writer has to do before it adds to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resume {
    /// The end of the chain.
    pub tail: Tail,
    /// The state that the records made.
    pub standing: Standing,
    /// A new file is begun first, for this reason.
    pub new_file: Option<NewFile>,
    /// The saved state is written anew.
    pub is_save_due: bool,
    /// Why nothing may be written: the journal is of a newer version, or could not be read.
    pub closed: Option<String>,
}

/// The end of the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// The length of the complete lines of `journal.jsonl`; `None` when there is no such file.
    pub len: Option<u64>,
    /// The sequence number of its first line.
    pub first_seq: u64,
    /// The length of its checkpoint; 0 when it has none, or was begun by another process.
    pub checkpoint_len: u64,
    /// The last sequence number.
    pub seq: u64,
    /// The hash of the last line.
    pub head: String,
    /// The configuration of the last record.
    pub config: String,
    /// The generation of the last record.
    pub generation: u64,
}

/// Why a new file is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewFile {
    /// The one before is full.
    Full,
    /// The one before is damaged, and is set aside: what is wrong with it.
    Damaged(String),
}
