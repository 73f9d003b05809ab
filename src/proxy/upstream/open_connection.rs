//! An open connection to an upstream, with any protocol, and its guard: the count of open connections.

use std::sync::Arc;

use bytes::Bytes;

use crate::net::Socket;
use crate::telemetry::UpstreamSeries;

/// Counts an open upstream connection until it is dropped.
pub(crate) struct ConnectionGuard {
    worker: usize,
    series: Arc<UpstreamSeries>,
}

/// A new connection.
pub(super) struct OpenConnection {
    pub(super) socket: Socket,
    pub(super) guard: ConnectionGuard,
}

/// A connection that switched to another protocol than HTTP.
pub(crate) struct SwitchedConnection {
    pub(super) socket: Socket,
    /// Bytes that hyper read after the response's head.
    pub(super) read_ahead: Bytes,
    pub(super) guard: ConnectionGuard,
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
