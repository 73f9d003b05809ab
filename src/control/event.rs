//! Events: everything that happens to the proxy reaches the controller as one of these, through one channel. They are
//! grouped by what they are about; each group has a file with its handlers: `files/reload.rs`, `net/resolved.rs` and
//! `system/lifecycle.rs`.

use std::sync::Arc;

use super::files::LoadResult;
use super::outcome::{ReloadCause, ReloadOutcome};
use super::resolver::LookupResult;
use crate::drain::Phase;

/// Receives the outcome of a reload.
pub type ReloadReply = Box<dyn FnOnce(&ReloadOutcome) + Send>;

/// Something that happened.
pub enum Event {
    /// To the files of the configuration.
    Files(FilesEvent),
    /// To the names of upstreams.
    Resolver(ResolverEvent),
    /// To the process and what the system gives it.
    Process(ProcessEvent),
}

/// A step of a reload.
pub enum FilesEvent {
    /// The files should be read again.
    Reload(ReloadCause, Option<ReloadReply>),
    /// They were read.
    Loaded(Box<LoadResult>),
    /// The workers were waited for; so many decide with the new generation.
    Adopted(usize),
}

/// News about names.
pub enum ResolverEvent {
    /// A name was looked up.
    Resolved(String, LookupResult),
    /// A worker could not connect to an address of this name.
    Unreachable(Arc<str>),
    /// The system's files of names have changed.
    NamesChanged,
}

/// A signal, a step of a stop or of a hand-over, or the time for a look at the process.
pub enum ProcessEvent {
    /// `SIGHUP`: read again, and open the log anew.
    Hangup,
    /// `SIGTERM` or `SIGINT`: drain; the second one ends at once.
    Terminate,
    /// Drain, however often it is said.
    Stop,
    /// End at once.
    Abandon,
    /// The next phase of a stop is due.
    Due(Phase),
    /// `SIGUSR2`: start the new binary and let it take over.
    HandOver,
    /// The new process serves with these of the sockets that it was offered, or does not serve.
    HandedOver(Result<Vec<usize>, String>),
    /// Close listening sockets that are no longer accepted from.
    Close,
    /// Look after the workers.
    Housekeeping {
        /// How many have ended.
        ended: usize,
    },
}
