//! What the data plane counts for guards: exposures of the open slot, marks of keys, and events.

mod failure_run;
mod guard_memory;
mod guard_watch;
mod key_table;
mod slot_counts;
#[cfg(test)]
mod tests;
mod watched_callers;

pub use failure_run::{FailureRun, RunView};
pub use guard_memory::{EventQueues, GuardMemory, WatchedEvent, WatchedKind};
pub use guard_watch::{GuardTicket, GuardWatch, HeadWait, LOST_AFTER, ReportedSignals, StableAnswers, WatchView};
pub use key_table::{KeyTable, TableMemory};
pub use watched_callers::WatchedCallers;
