//! The ticks of guards.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, timeout};

use crate::control::event::{Event, ReleaseEvent};
use crate::control::state::ControlState;
use crate::snapshot::Snapshot;

/// How often guards judge.
const TICK: Duration = Duration::from_millis(100);
/// How often they judge while all workers rest and nothing but the end of a slot is awaited: no event can come.
const SETTLE_TICK: Duration = Duration::from_secs(2);

/// Sends an event once guards have something to judge, or rollouts have something to wait for. Before the first exposure
/// a tick is one load a worker. There are few ticks while all workers rest, and none once guards and rollouts wait for nothing.
pub(in crate::control) async fn send_guard_ticks(
    state: Arc<ControlState>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    events: mpsc::Sender<Event>,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Before the event: what was counted before the rest is judged by this tick.
        let is_at_rest = state.counts.registry.is_at_rest();
        let is_needed = state.counts.registry.guard_memory.events.is_used() || state.release.has_rollouts();
        if is_needed && events.send(Event::Release(ReleaseEvent::GuardsDue)).await.is_err() {
            return;
        }
        let is_settling = state.release.is_settling();
        if state.release.has_rollouts() || state.release.is_judging() || (is_settling && !is_at_rest) {
            continue;
        }
        let work = state.wait_for_work(&mut snapshots);
        if is_settling {
            let _ = timeout(SETTLE_TICK, work).await;
        } else {
            work.await;
        }
    }
}
