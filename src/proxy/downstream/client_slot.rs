//! Counts an open connection for its listener and its client address.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::proxy::worker::Worker;
use crate::proxy::worker::share::{self, Share};
use crate::snapshot::Listener;
use crate::telemetry::Refusal;

/// Counts one more connection of `ip`, within its limits. Connections of trusted proxies have no limits and no share.
pub(super) fn admit(worker: &Worker, listener: &Listener, ip: IpAddr) -> Result<Option<Rc<Share>>, Refusal> {
    if worker.trusts(ip.to_canonical()) {
        return Ok(None);
    }
    let ip = share::client_key(ip);
    let now = worker.clock.instant().saturating_duration_since(worker.registry.started);
    let requests = worker.client_limits.admit_connection(ip, &listener.spec.limits, now)?;
    Ok(Some(worker.client_shares.add_connection(ip, requests)))
}

/// An open connection, counted until it is dropped.
pub(crate) struct ClientSlot {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) share: Option<Rc<Share>>,
}

impl ClientSlot {
    /// Counts one more connection of this listener.
    pub(crate) fn new(worker: Rc<Worker>, listener: Arc<Listener>, share: Option<Rc<Share>>) -> Self {
        listener.meters.of(worker.index).connections.add(1);
        Self { worker, listener, share }
    }

    /// Counts the connection for a client that is known only after its PROXY header.
    pub(crate) fn set_client(&mut self, ip: IpAddr) -> Result<(), Refusal> {
        self.share = admit(&self.worker, &self.listener, ip)?;
        Ok(())
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.worker.meter().closed.inc();
        self.listener.meters.of(self.worker.index).connections.add(-1);
        if let Some(share) = self.share.take() {
            self.worker.client_limits.release_connection(share.ip());
            self.worker.client_shares.remove_connection(&share);
        }
    }
}
