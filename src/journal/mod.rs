//! The journal: the durable, hash-chained record of every change. It is the state of kills and latches after a restart, and
//! the audit trail. Records, chain, fold and verification are pure; files are behind a trait, with one writer on a thread of its own.

mod chain;
mod damage;
mod disk_files;
mod evidence;
mod files;
mod fold;
mod line;
mod lines;
mod lock;
#[cfg(test)]
mod memory_files;
mod names;
mod open;
mod pending;
mod read;
mod record;
mod resume;
mod rollout_states;
mod saved_outbox;
mod saved_state;
mod standing;
mod sum;
#[cfg(test)]
mod tests;
mod trouble;
mod verify;
mod writer;
mod writing;

pub use damage::{Damage, DamageKind};
pub use disk_files::DiskFiles;
pub use evidence::EVIDENCE_MAX;
pub use files::JournalFiles;
pub use fold::{Folded, fold};
pub use line::{LINE_MAX, hash};
pub use lock::{LockError, StateLock};
pub use open::{HeldJournal, Opened, host_name, open, peek};
pub use pending::{Draft, JournalProgress, NotRecorded};
pub use read::{ReadPage, records_after};
pub use record::{
    Actor, Deed, IdempotencyKey, JOURNAL_VERSION, LatchScope, Record, ReleaseDeed, ReleaseVerb, RolloutDeed,
    ScopeFields, Via, rfc3339,
};
pub use saved_outbox::{OUTBOX_MAX, set_outbox_aside};
pub use saved_state::SavedState;
pub use verify::{FileVerified, Problem, VerifyReport, verify, verify_bytes};
pub use writer::JournalWriter;
pub use writing::WriterLimits;
