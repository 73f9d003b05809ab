//! An act of a person, from the admin API to the controller, and its outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::journal::{Actor, IdempotencyKey, Record};
use crate::release::{ActRefusal, PersonVerb};
use crate::route::{KillScope, SourceLocation};

/// An act of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Who acts.
    pub who: Actor,
    /// What to do.
    pub what: PersonAct,
    /// Why.
    pub reason: String,
    /// The `Idempotency-Key` of the call.
    pub key: Option<IdempotencyKey>,
    /// The journal sequence that the person saw; anything decided since is a conflict.
    pub expect: Option<u64>,
}

/// What a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonAct {
    /// Take a scope out of service, at once.
    Kill {
        /// The scope.
        scope: KillScope,
        /// Close streams in the scope after this; zero leaves them open. `None`: after `kill.close_streams` of the file.
        close_streams: Option<Duration>,
    },
    /// Lift a kill.
    Revive(KillScope),
    /// End the latch of a release that a guard has rolled back, under its revision in effect.
    Resume {
        /// The release: `route:variant`.
        release: String,
    },
    /// Something about a rollout.
    Rollout {
        /// The rollout.
        rollout: String,
        /// What.
        verb: PersonVerb,
        /// The roles of this rollout that the person may approve as.
        roles: Vec<String>,
    },
}

/// What an act did.
#[derive(Clone, Debug, PartialEq)]
pub struct ActOutcome {
    /// Its record.
    pub record: Arc<Record>,
    /// The time from its arrival until every worker used it, in milliseconds; `None` when some did not within a second, and
    /// for a repeated call.
    pub in_force_ms: Option<f64>,
    /// How many workers use it.
    pub workers_in_force: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Whether the record is on the disk.
    pub durable: bool,
    /// Why it is not durable.
    pub not_durable_because: Option<String>,
    /// The same call was made before: this is its record, and nothing was done now.
    pub repeated: bool,
    /// Whether the scope is killed now, by people or by the file: others may have acted since a repeated call.
    pub killed: bool,
    /// A revive lifted the kill by people, and the file still kills the scope here.
    pub still_killed_by: Option<SourceLocation>,
}

/// Why an act did nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum ActError {
    /// There is no such route, variant, shadow, release or rollout.
    Unknown {
        /// What is missing, such as "there is no route `chekout`".
        message: String,
        /// A similar name.
        similar: Option<String>,
    },
    /// The scope has nothing to kill: stable, or a route without variants.
    NothingToKill(String),
    /// The scope is not killed.
    NotKilled(KillScope),
    /// The file makes this kill: only an edit of the file lifts it.
    KilledByFile {
        /// The scope.
        scope: KillScope,
        /// File and line of the kill.
        place: SourceLocation,
    },
    /// The release is not rolled back.
    NotRolledBack {
        /// The release: `route:variant`.
        release: String,
        /// The word for its state, such as `watching`.
        state: &'static str,
    },
    /// A rollout does not take the act.
    Rollout {
        /// The rollout.
        rollout: String,
        /// Why.
        refusal: ActRefusal,
    },
    /// A change of this rollout waits for the disk.
    InFlight(String),
    /// Others acted since `expect`: their records, at most 20.
    Stale(Vec<Arc<Record>>),
    /// The same `Idempotency-Key` was used for another call, or by another identity.
    KeyReused,
    /// The journal cannot be written, and this act raises exposure.
    NotRecorded(String),
    /// Too many kills are in force.
    TooMany(usize),
    /// The proxy is stopping.
    Stopping,
}

/// Receives the outcome of an act.
pub type ActReply = oneshot::Sender<Result<ActOutcome, ActError>>;
