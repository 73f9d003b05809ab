//! An open connection to an upstream, with any protocol, and its guard: the count of open connections.

use std::sync::Arc;

use crate::clock::Clock;
use crate::net::{ConnectionSlots, Socket};
use crate::proxy::worker::Worker;
use crate::telemetry::UpstreamSeries;

/// Counts an open upstream connection until it is dropped, and then releases its slot.
pub(crate) struct ConnectionGuard {
    worker: usize,
    series: Arc<UpstreamSeries>,
}

/// A new connection.
pub(crate) struct OpenConnection {
    pub(crate) socket: Socket,
    pub(crate) guard: ConnectionGuard,
}

impl ConnectionGuard {
    /// Takes a slot, if fewer than `limit` connections are open.
    pub(super) fn take(worker: &Worker, series: Arc<UpstreamSeries>, limit: u32) -> Option<Self> {
        let is_free = series.slots.take(&worker.releases, limit);
        is_free.then(|| Self::with_slot(worker, series))
    }

    /// Counts one more connection of this worker, which has a slot.
    pub(super) fn with_slot(worker: &Worker, series: Arc<UpstreamSeries>) -> Self {
        series.meters.of(worker.index).connections.add(1);
        Self { worker: worker.index, series }
    }

    /// The slots of its upstream.
    #[inline]
    pub(super) fn slots(&self) -> &ConnectionSlots {
        &self.series.slots
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.series.meters.of(self.worker).connections.add(-1);
        self.series.slots.release(self.worker, Clock.now());
    }
}
