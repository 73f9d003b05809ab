//! When samples are taken: at the end of each slot, on a thread that may block. At rest there are none.

use std::sync::Arc;

use tokio::sync::watch;

use super::kept::SampleMoment;
use super::sampler::sample;
use crate::control::state::ControlState;
use crate::snapshot::Snapshot;

/// Takes samples as long as the control plane runs. There are none while all workers rest and nothing is judged: the first one
/// after that takes the time between for one without requests.
pub(in crate::control) async fn sample_regularly(
    state: Arc<ControlState>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
) {
    let (mut since_ms, mut is_failing) = (0, false);
    loop {
        tokio::time::sleep(state.history.until_due(state.uptime_ms())).await;
        // Before the sample: what was counted before the rest is in it.
        let is_at_rest = state.counts.registry.is_at_rest();
        let (sampled, moment) = (Arc::clone(&state), SampleMoment { since_ms, now_ms: state.uptime_ms() });
        match tokio::task::spawn_blocking(move || sample(&sampled, moment)).await {
            Ok(()) => is_failing = false,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                if !is_failing {
                    tracing::error!(%error, "charts get no points: their sampling fails");
                }
                is_failing = true;
            }
        }
        let release = &state.release;
        if is_at_rest && !release.has_rollouts() && !release.is_settling() && !release.is_judging() {
            state.history.begin_rest();
            wait_for_traffic(&state, &mut snapshots).await;
            since_ms = state.uptime_ms();
            state.history.end_rest(since_ms);
        }
    }
}

/// Waits until a worker does not rest, or there is another snapshot.
async fn wait_for_traffic(state: &ControlState, snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
    tokio::select! {
        biased;
        () = state.counts.registry.roused() => {}
        // An error: the controller has ended, and so does this task with the runtime.
        _ = snapshots.changed() => {}
    }
}
