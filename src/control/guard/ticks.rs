//! The ticks of guards.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::control::event::{Event, ReleaseEvent};
use crate::control::state::ControlState;

/// How often guards judge.
const TICK: Duration = Duration::from_millis(100);

/// Sends an event once guards have something to judge, or rollouts have something to wait for. Before the first exposure a tick is one load a worker.
pub(in crate::control) async fn send_guard_ticks(state: Arc<ControlState>, events: mpsc::Sender<Event>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_needed = state.counts.registry.guard_memory.events.is_used() || state.release.has_rollouts();
        if is_needed && events.send(Event::Release(ReleaseEvent::GuardsDue)).await.is_err() {
            return;
        }
    }
}
