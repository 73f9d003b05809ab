//! An open connection to an upstream, with any protocol, and its guard: the count of open connections.

use std::sync::Arc;

use crate::net::Socket;
use crate::telemetry::UpstreamSeries;

/// Counts an open upstream connection until it is dropped.
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
    /// Counts one more connection of this worker.
    pub(crate) fn new(worker: usize, series: Arc<UpstreamSeries>) -> Self {
        series.meters.of(worker).connections.add(1);
        Self { worker, series }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.series.meters.of(self.worker).connections.add(-1);
    }
}
