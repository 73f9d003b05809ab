//! Pushes the metrics to a recorder of the embedding program: every few seconds and once at the end, on a blocking
//! thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::MissedTickBehavior;

use super::metrics;
use crate::control::state::ControlState;
use crate::telemetry::exposition::FigurePusher;

/// Interval of pushes.
const PUSH_EVERY: Duration = Duration::from_secs(5);
/// Time limit of the last push.
const LAST_PUSH_MAX: Duration = Duration::from_secs(2);

/// Pushes as long as the control plane runs.
pub(in crate::control) async fn push_regularly(pusher: Arc<FigurePusher>, state: Arc<ControlState>) {
    let mut ticks = tokio::time::interval(PUSH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let result = push(&pusher, &state).await;
        log_change(failing, &result);
        failing = result.is_err();
    }
}

/// Pushes once more. A recorder that hangs does not keep the process from ending.
pub(in crate::control) async fn push_last(pusher: &Arc<FigurePusher>, state: &Arc<ControlState>) {
    let Ok(result) = tokio::time::timeout(LAST_PUSH_MAX, push(pusher, state)).await else {
        tracing::warn!("the recorder of the embedding program did not take the last metrics in time");
        return;
    };
    log_change(false, &result);
}

async fn push(pusher: &Arc<FigurePusher>, state: &Arc<ControlState>) -> Result<(), JoinError> {
    let (pusher, state) = (Arc::clone(pusher), Arc::clone(state));
    let push = move || {
        // Begin first, then collect: the last push must have the newest values.
        let push = pusher.begin();
        metrics::collect(&state, |scrape| push.figures(scrape));
    };
    tokio::task::spawn_blocking(push).await
}

/// Logs the first failure of a streak, and the first push that succeeds after one.
fn log_change(was_failing: bool, result: &Result<(), JoinError>) {
    match (was_failing, result) {
        (false, Err(error)) => tracing::error!(%error, "the recorder of the embedding program fails"),
        (true, Ok(())) => tracing::info!("the recorder of the embedding program works again"),
        (true, Err(_)) | (false, Ok(())) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[tokio::test]
    async fn the_first_failure_of_a_streak_and_its_end_are_logged() {
        let mut log = tempfile::tempfile().expect("a file");
        let writer = Arc::new(log.try_clone().expect("a second handle"));
        let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(writer).finish());
        let mut failing = false;
        for fails in [false, true, true, true, false, false, true] {
            let pushed = tokio::task::spawn_blocking(move || assert!(!fails, "out of paper")).await;
            log_change(failing, &pushed);
            failing = pushed.is_err();
        }
        let mut logged = String::new();
        log.rewind().and_then(|()| log.read_to_string(&mut logged)).expect("a text");
        let lines = logged.lines().map(|line| (line.contains("ERROR") && line.contains("out of paper"), line));
        let lines: Vec<_> =
            lines.map(|(fails, line)| if fails { "fails" } else { line.rsplit("program ").next().unwrap() }).collect();
        assert_eq!(lines, ["fails", "works again", "fails"], "{logged}");
    }
}
