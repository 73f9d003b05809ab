//! Figures for a recorder of the embedding program: passed on every few seconds and once at the end, on a thread that may
//! take its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::scrape;
use crate::control::ledger::Ledger;
use crate::telemetry::exposition::FigurePusher;

/// How often figures are passed on.
const PUSH_EVERY: Duration = Duration::from_secs(5);
/// What the last time may take.
const LAST_PUSH_MAX: Duration = Duration::from_secs(2);

/// Passes figures on for as long as the control plane runs.
pub(in crate::control) async fn push_regularly(pusher: Arc<FigurePusher>, ledger: Arc<Ledger>) {
    let mut ticks = tokio::time::interval(PUSH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        push(&pusher, &ledger).await;
    }
}

/// Passes the last figures on. A recorder that hangs does not keep the process from ending.
pub(in crate::control) async fn push_last(pusher: &Arc<FigurePusher>, ledger: &Arc<Ledger>) {
    if tokio::time::timeout(LAST_PUSH_MAX, push(pusher, ledger)).await.is_err() {
        tracing::warn!("the recorder of the embedding program did not take the last figures in time");
    }
}

async fn push(pusher: &Arc<FigurePusher>, ledger: &Arc<Ledger>) {
    let (pusher, ledger) = (Arc::clone(pusher), Arc::clone(ledger));
    let push = move || scrape::facts(&ledger, |scrape| pusher.push(scrape));
    if let Err(error) = tokio::task::spawn_blocking(push).await {
        tracing::error!(%error, "the recorder of the embedding program failed");
    }
}
