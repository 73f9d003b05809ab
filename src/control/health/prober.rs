//! The prober: one task of the control thread that makes the active checks of all upstreams, and writes their verdicts
//! straight to the endpoints. It follows the published snapshots, and stops when the process drains.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::check::check;
use super::check_book::{CheckBook, CheckStep, EndedCheck};
use super::schedule::CheckId;
use crate::control::state::ControlState;
use crate::drain::{DrainWatch, Phase};
use crate::failover::CheckOutcome;
use crate::snapshot::Snapshot;

/// How long the task waits at most before it looks again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The checks under way, and those that wait.
struct Prober {
    state: Arc<ControlState>,
    book: CheckBook,
    tasks: JoinSet<Option<CheckOutcome>>,
    under_way: HashMap<Id, CheckId>,
    handles: HashMap<CheckId, AbortHandle>,
}

/// Makes active checks until the process drains.
pub(in crate::control) async fn run_checks(
    state: Arc<ControlState>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut drained: DrainWatch,
) {
    let (book, tasks) = (CheckBook::default(), JoinSet::new());
    let mut prober = Prober { state, book, tasks, under_way: HashMap::new(), handles: HashMap::new() };
    let first = Arc::clone(&snapshots.borrow_and_update());
    prober.follow(&first);
    drop(first);
    loop {
        let wait = prober.begin_due();
        let ended = tokio::select! {
            biased;
            () = drained.reached(Phase::Draining) => return,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let next = Arc::clone(&snapshots.borrow_and_update());
                prober.follow(&next);
                None
            }
            ended = prober.tasks.join_next_with_id(), if !prober.tasks.is_empty() => ended,
            () = tokio::time::sleep_until(Instant::now() + wait) => None,
        };
        if let Some(ended) = ended {
            prober.end(ended);
        }
    }
}

impl Prober {
    /// Takes over the checks of a snapshot; those that it no longer has stop at once.
    fn follow(&mut self, snapshot: &Snapshot) {
        for gone in self.book.follow(snapshot, self.state.uptime_ms()) {
            if let Some(handle) = self.handles.remove(&gone) {
                handle.abort();
            }
        }
    }

    /// Begins the checks that are due, and returns how long nothing is.
    fn begin_due(&mut self) -> Duration {
        let now_ms = self.state.uptime_ms();
        loop {
            match self.book.next(now_ms) {
                CheckStep::Make(begun) => {
                    let target = begun.target;
                    let handle = self.tasks.spawn(async move { check(&target).await });
                    self.under_way.insert(handle.id(), begun.id);
                    self.handles.insert(begun.id, handle);
                }
                CheckStep::WaitUntil(ms) => {
                    return Duration::from_millis(ms.saturating_sub(now_ms)).min(LONGEST_WAIT);
                }
                CheckStep::Wait => return LONGEST_WAIT,
            }
        }
    }

    /// A check has ended, or was stopped.
    fn end(&mut self, ended: Result<(Id, Option<CheckOutcome>), JoinError>) {
        let (task, outcome) = ended.unwrap_or_else(|error| (error.id(), None));
        let Some(id) = self.under_way.remove(&task) else { return };
        self.handles.remove(&id);
        let now_ms = self.state.uptime_ms();
        self.book.end(id, &EndedCheck { outcome, now_ms, draw: fastrand::f64() });
    }
}
