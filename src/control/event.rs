//! Events: everything that happens to the proxy reaches the controller as one of these, through one channel. Each group
//! has a file with its handlers: `files/reload.rs`, `resolver/events.rs`, `release/perform.rs`, `health/perform.rs`,
//! `notify/perform.rs` and `system/lifecycle.rs`.

use std::sync::Arc;

use super::admin::SocketCheck;
use super::files::LoadResult;
use super::gate::Replied;
use super::health::{EndpointAct, EndpointActReply, ProbeResult};
use super::notify::NotifyEvent;
use super::outcome::{ReloadCause, ReloadOutcome};
use super::release::{Act, ActReply, HeldFolder, RehearsedRollback};
use super::resolver::LookupResult;
use crate::drain::Phase;
use crate::journal::{Actor, LockError, Record};

/// Receives the outcome of a reload, and the sequence number of its record in the journal, if it has one.
pub type ReloadReply = Box<dyn FnOnce(&ReloadOutcome, Option<u64>) + Send>;

/// An event.
pub enum Event {
    /// Files of the configuration.
    Files(FilesEvent),
    /// Names of upstreams.
    Resolver(ResolverEvent),
    /// Release control: kills and the journal.
    Release(ReleaseEvent),
    /// The health of endpoints: acts of people, and tries.
    Health(HealthEvent),
    /// Notifications.
    Notify(NotifyEvent),
    /// The process: signals, shutdown, hand-over.
    Process(ProcessEvent),
}

/// A reload that a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadRequest {
    /// Who asks.
    pub who: Actor,
    /// Why.
    pub reason: Option<String>,
}

/// A step of a reload.
pub enum FilesEvent {
    /// Reload the files.
    Reload(ReloadCause, Option<ReloadReply>),
    /// A person asks for a reload.
    Asked(ReloadRequest, ReloadReply),
    /// The files were loaded.
    Loaded(Box<LoadResult>),
    /// The wait for the workers has ended; the number of workers that use the new generation.
    Adopted(usize),
}

/// An event of name resolution.
pub enum ResolverEvent {
    /// The result of a lookup.
    Resolved(String, LookupResult),
    /// A worker could not connect to an address of this name.
    Unreachable(Arc<str>),
    /// `/etc/hosts` or `/etc/resolv.conf` has changed.
    NamesChanged,
}

/// An event of release control.
pub enum ReleaseEvent {
    /// A person acts.
    Act(Box<Act>, ActReply),
    /// The journal's thread has reported.
    Written,
    /// The process that took over has decided this; this one follows, for what it still serves.
    OfSuccessor(Box<Record>),
    /// The state folder is ours, after another process held it or it could not have a lock; or why not.
    Held(Result<Box<HeldFolder>, LockError>),
    /// The process before has said farewell.
    TakenOver {
        /// Its kills that are not on the disk.
        undurable: Vec<Record>,
        /// The state folder is ours, or why not.
        held: Result<Box<HeldFolder>, LockError>,
    },
    /// The time is up for the disk to take the record of a revive, by its number.
    ReviveDue(u64),
    /// Guards watch a route that has traffic: what they count is read, and judged.
    GuardsDue,
    /// A rollback that was rehearsed is measured.
    Rehearsed(Box<RehearsedRollback>),
    /// A program has answered the question of a gate or a guard.
    Replied(Box<Replied>),
}

/// An event of endpoints' health.
pub enum HealthEvent {
    /// A person acts on an endpoint.
    Act(Box<EndpointAct>, EndpointActReply),
    /// Some endpoint is ejected or drained: tries may be due.
    ProbesDue,
    /// A try of an endpoint has ended.
    Probed(Box<ProbeResult>),
}

/// A signal, a step of a shutdown or a hand-over, or the tick for housekeeping.
pub enum ProcessEvent {
    /// `SIGHUP`: reload, and reopen the access log.
    Hangup,
    /// `SIGTERM` or `SIGINT`: drain; a second one stops at once.
    Terminate,
    /// Drain; repeated calls change nothing.
    Stop,
    /// Stop at once.
    Abandon,
    /// The time of the next drain phase has come.
    Due(Phase),
    /// `SIGUSR2`: start the new binary and let it take over.
    HandOver,
    /// The hand-over has ended: the indexes of the sockets that the new process uses, or the reason for the failure.
    HandedOver(Result<Vec<usize>, String>),
    /// The journal is written and given up: the new process may take it. The indexes of the sockets that it uses.
    JournalPassed(Vec<usize>),
    /// The Unix socket of the admin listener was checked; `None` when that failed.
    SocketChecked(Option<Box<SocketCheck>>),
    /// Close the listening sockets that are no longer accepted from.
    Close,
    /// Check the workers, the certificates and the access log.
    Housekeeping {
        /// Number of worker threads that have ended.
        ended: usize,
    },
}
