//! RetiredSnapshots snapshots: kept until nobody else holds them, so that the last one to let go of 100 000 routes is never a
//! worker in the middle of its requests.

use std::sync::Arc;

use crate::snapshot::Snapshot;

/// Snapshots that are no longer published.
#[derive(Debug, Default)]
pub(super) struct RetiredSnapshots(Vec<Arc<Snapshot>>);

impl RetiredSnapshots {
    /// Keeps one.
    pub fn add(&mut self, snapshot: Arc<Snapshot>) {
        self.0.push(snapshot);
    }

    /// Frees those that nobody holds any more, on a thread that may take its time.
    pub fn drop_unused(&mut self) {
        let (held, free): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|snapshot| Arc::strong_count(snapshot) > 1);
        self.0 = held;
        if !free.is_empty() {
            tokio::task::spawn_blocking(move || drop(free));
        }
    }
}
