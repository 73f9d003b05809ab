//! What one worker is asked to release: idle connections of upstreams whose limit is reached, while requests of any
//! worker wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The upstreams of which a worker shall close idle connections. Any thread asks, and the worker answers.
#[derive(Debug)]
pub struct ReleaseRequests {
    /// The number of the worker.
    pub worker: usize,
    /// Each name once, so the list has at most as many entries as there are upstreams.
    names: Mutex<Vec<Arc<str>>>,
    bell: Notify,
}

impl ReleaseRequests {
    /// Those of a worker.
    #[must_use]
    pub fn new(worker: usize) -> Self {
        Self { worker, names: Mutex::default(), bell: Notify::new() }
    }

    /// Asks for the idle connections of an upstream.
    pub(super) fn ask(&self, upstream: &Arc<str>) {
        let mut names = self.names();
        if !names.contains(upstream) {
            names.push(Arc::clone(upstream));
        }
        drop(names);
        self.bell.notify_one();
    }

    /// Waits for the next upstreams. Cancel safe, for one task.
    pub async fn next(&self) -> Vec<Arc<str>> {
        loop {
            let names = std::mem::take(&mut *self.names());
            if !names.is_empty() {
                return names;
            }
            // A notification that came before is kept: `ask` adds the name first.
            self.bell.notified().await;
        }
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
