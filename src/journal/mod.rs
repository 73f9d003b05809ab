//! The journal: the durable, hash-chained record of every change. It is the state of kills after a restart, and the audit
//! trail. Records, chain, fold and verification are pure; files are behind a trait, with one writer on a thread of its own.

mod record;

pub use record::{Actor, Deed, IdempotencyKey, JOURNAL_VERSION, Record, ScopeFields, Via, rfc3339};
