//! Retired snapshots: kept until no worker uses them, so that a worker never frees 100 000 routes between its requests.

use std::sync::Arc;

use super::background;
use crate::snapshot::Snapshot;

/// Snapshots that are no longer published.
#[derive(Debug, Default)]
pub(super) struct RetiredSnapshots(Vec<Arc<Snapshot>>);

impl RetiredSnapshots {
    /// Adds a snapshot that was replaced.
    pub fn add(&mut self, snapshot: Arc<Snapshot>) {
        self.0.push(snapshot);
    }

    /// Frees the snapshots that nothing else references, on another thread.
    pub fn drop_unused(&mut self) {
        let (in_use, unused): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|snapshot| Arc::strong_count(snapshot) > 1);
        self.0 = in_use;
        if !unused.is_empty() {
            // Without a thread they are freed here.
            let _ = background::spawn("retire", move || drop(unused));
        }
    }
}
