//! An open connection to an upstream, whatever is spoken on it.

use std::sync::Arc;

use bytes::Bytes;

use crate::net::Socket;
use crate::telemetry::UpstreamSeries;

/// An open upstream connection, counted until it is dropped.
pub(crate) struct Open {
    worker: usize,
    series: Arc<UpstreamSeries>,
}

/// A connection that speaks something else than HTTP from now on, and what was read of it behind the answer's head.
pub(crate) type Switched = (Socket, Bytes, Open);

impl Open {
    /// One more connection of this worker.
    pub(crate) fn new(worker: usize, series: Arc<UpstreamSeries>) -> Self {
        series.meters.of(worker).connections.add(1);
        Self { worker, series }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.series.meters.of(self.worker).connections.add(-1);
    }
}
