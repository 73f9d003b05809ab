//! One request in flight at an endpoint: it is counted until it is dropped, and its outcome is recorded at the endpoint's
//! health. While the endpoint is well, a success writes nothing.

use std::cell::Cell;
use std::rc::Rc;

use super::balance::Picked;
use super::pool::{EndpointPool, UpstreamPool};
use crate::failover::{EndpointHealth, FailedTry, FailureCause, Transition, UpstreamHealth};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;

/// Counts a request in flight until it is dropped.
pub(crate) struct InFlightGuard {
    worker: Rc<Worker>,
    upstream: Rc<UpstreamPool>,
    endpoint: Rc<EndpointPool>,
    /// The epoch of the endpoint's health when the try began.
    epoch: u32,
    /// The proxy connects to the endpoint, or has connected: before, nothing is charged to it.
    is_begun: Cell<bool>,
    /// The outcome is recorded.
    is_judged: Cell<bool>,
    /// It is the one request that tries an ejected endpoint.
    pub(crate) is_trial: bool,
}

impl InFlightGuard {
    /// Counts one more request in flight at the endpoint that was picked.
    pub(crate) fn new(worker: &Rc<Worker>, upstream: &Rc<UpstreamPool>, picked: Picked) -> Self {
        let endpoint = &upstream.endpoints[picked.at];
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        upstream.meter(worker.index).in_flight.add(1);
        let (epoch, is_judged, is_trial) = (endpoint.endpoint.health.epoch(), Cell::new(false), picked.is_trial);
        let (worker, upstream, endpoint) = (Rc::clone(worker), Rc::clone(upstream), Rc::clone(endpoint));
        Self { worker, upstream, endpoint, epoch, is_begun: Cell::new(false), is_judged, is_trial }
    }

    /// The proxy connects to the endpoint now.
    #[inline]
    pub(crate) fn begin(&self) {
        self.is_begun.set(true);
    }

    /// Records that the request's time limit passed while the proxy connected to the endpoint: others avoid it too.
    pub(crate) fn record_connect_timeout(&self) {
        if self.is_begun.get() {
            self.upstream.meter(self.worker.index).connect_failures.inc();
            self.upstream.record_connect_failure(&self.endpoint, Fault::ConnectTimeout, &self.worker);
        }
    }

    /// The upstream of the request.
    pub(crate) fn upstream(&self) -> &UpstreamPool {
        &self.upstream
    }

    fn health(&self) -> &EndpointHealth {
        &self.endpoint.endpoint.health
    }

    /// Records that the endpoint has responded well.
    #[inline]
    pub(crate) fn succeed(&self) {
        let counts_shares = self.upstream.upstream.outlier.failure_percent > 0;
        if counts_shares || !self.health().is_quiet() {
            self.record_success();
        }
    }

    #[cold]
    fn record_success(&self) {
        if self.is_judged.replace(true) {
            return;
        }
        if self.upstream.upstream.outlier.failure_percent > 0 {
            let recent = self.health().recent(self.worker.workers);
            recent.add_request(self.worker.index, self.worker.process_ms() / 1000);
        }
        if !self.health().is_quiet() {
            let now_ms = self.worker.uptime_ms();
            self.log(self.upstream.health.record_success(self.health(), self.epoch, now_ms));
        }
    }

    /// Records that the endpoint has failed.
    #[cold]
    pub(crate) fn fail(&self, cause: FailureCause) {
        if !self.is_begun.get() || self.is_judged.replace(true) {
            return;
        }
        let (settings, at) = (&self.upstream.upstream.outlier, self.worker.moment());
        let failed = FailedTry { cause, epoch: self.epoch };
        self.log(self.upstream.health.record_failure(self.health(), failed, settings, at));
        if settings.failure_percent > 0 {
            let (recent, second) = (self.health().recent(self.worker.workers), self.worker.process_ms() / 1000);
            recent.add_request(self.worker.index, second);
            recent.add_failure(self.worker.index, second);
            self.log(self.upstream.health.record_share(self.health(), recent, settings, at));
        }
    }

    /// Logs a change of the endpoint. Each is reported once, by the worker that caused it.
    fn log(&self, change: Option<Transition>) {
        let Some(change) = change else { return };
        let (upstream, endpoint) = (&self.upstream.upstream.name, &self.endpoint.endpoint);
        let (name, address) = (&endpoint.name, endpoint.address);
        match change {
            Transition::Ejected { cause, for_ms, nth } => {
                let cause = cause.name();
                tracing::warn!(upstream, endpoint = %name, %address, cause, for_ms, nth, "endpoint ejected");
            }
            Transition::Failing { cause, kept } => {
                let (cause, kept) = (cause.name(), kept.name());
                tracing::warn!(upstream, endpoint = %name, %address, cause, kept, "endpoint failing, but not ejected");
            }
            Transition::Admitted => tracing::info!(upstream, endpoint = %name, %address, "endpoint admitted again"),
            Transition::Recovered => tracing::info!(upstream, endpoint = %name, %address, "endpoint fails no longer"),
            Transition::Drained | Transition::Undrained => {}
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        debug_assert!(self.endpoint.in_flight.get() > 0, "a request in flight is counted");
        self.endpoint.in_flight.set(self.endpoint.in_flight.get().saturating_sub(1));
        self.upstream.meter(self.worker.index).in_flight.add(-1);
        if self.is_trial && !self.is_judged.get() {
            // Another request may try the endpoint at once.
            UpstreamHealth::release(self.health());
        }
    }
}
