//! The answer to an act that is published: it waits, in a task of its own, until every worker uses the act and its
//! record is on the disk, for a second by default.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::act::{ActError, ActOutcome, ActReply};
use super::ledger::Written;
use crate::control::adoption::wait_for_workers;
use crate::control::state::ControlState;
use crate::journal::Record;
use crate::route::{Edition, SourceLocation};
use crate::telemetry;

/// How long a revive waits for the disk. It is not urgent, and disks pause.
pub(super) const REVIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// An act whose caller waits.
pub(in crate::control) struct WaitingCaller {
    pub reply: ActReply,
    /// When the act arrived.
    pub arrived: Instant,
    /// One of the places for acts that wait.
    pub place: Option<OwnedSemaphorePermit>,
    /// How long the answer waits for the workers and for the disk.
    pub patience: Duration,
}

impl WaitingCaller {
    /// Answers that nothing was done.
    pub fn refuse(self, error: ActError) {
        // An error means that the caller has left.
        let _ = self.reply.send(Err(error));
    }
}

/// What is in force, or will be when the workers use it.
pub(in crate::control) struct Published {
    pub record: Arc<Record>,
    pub edition: Edition,
    /// The file kills the same scope.
    pub still_killed_by: Option<SourceLocation>,
    /// The same call was made before.
    pub repeated: bool,
    /// Whether the scope is killed, by people or by the file.
    pub killed: bool,
}

/// Waits and answers.
pub(in crate::control) async fn answer(
    caller: WaitingCaller,
    published: Published,
    state: Arc<ControlState>,
    mut written: watch::Receiver<Written>,
) {
    let WaitingCaller { reply, arrived, place, patience } = caller;
    let Published { record, edition, still_killed_by, repeated, killed } = published;
    // An act without a place does not wait. A revive may have waited for the disk already.
    let now = state.clock.now();
    let deadline = if place.is_some() { now + patience } else { now };
    let workers = state.counts.registry.workers;
    let workers_in_force = wait_for_workers(&state, edition, deadline).await;
    let took = state.clock.now().saturating_duration_since(arrived);
    // When a repeated act came into force is not known any more.
    let in_force_ms = (workers_in_force >= workers && !repeated).then_some(took.as_secs_f64() * 1e3);
    if in_force_ms.is_some() {
        telemetry::control::record_act_in_force(&state.counts.recorder, took);
    }
    let left = deadline.saturating_duration_since(state.clock.now());
    let decided = |now: &Written| now.durable_seq >= record.seq || now.failure.is_some();
    // Written, failed or late: what is known then is the answer.
    let _ = tokio::time::timeout(left, written.wait_for(decided)).await;
    let written = written.borrow().clone();
    let durable = written.durable_seq >= record.seq;
    let late = || match place {
        Some(_) => format!("the disk has not taken the record within {} s", patience.as_secs_f32()),
        None => "too many acts wait for the disk: this one is not waited for".to_owned(),
    };
    let outcome = ActOutcome {
        record,
        in_force_ms,
        workers_in_force,
        workers,
        durable,
        not_durable_because: (!durable).then(|| written.failure.unwrap_or_else(late)),
        repeated,
        killed,
        still_killed_by,
    };
    // An error means that the caller has left.
    let _ = reply.send(Ok(outcome));
}
