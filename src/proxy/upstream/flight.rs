//! One request in flight at an endpoint: it is counted until it is dropped, and its outcome is recorded at the endpoint's
//! health. While the endpoint is well, a success writes nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::balance::Picked;
use super::pool::{EndpointPool, UpstreamPool};
use crate::failover::{EndpointHealth, FailedTry, FailureCause, Transition, UpstreamHealth};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::route::Balance;

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
    /// For how long the try keeps its place in the balancer's score after its end: the endpoint has refused it. 0: it has
    /// not.
    keeps_ms: Cell<u32>,
}

impl InFlightGuard {
    /// Counts one more request in flight at the endpoint that was picked.
    pub(crate) fn new(worker: &Rc<Worker>, upstream: &Rc<UpstreamPool>, picked: Picked) -> Self {
        let endpoint = &upstream.endpoints[picked.at];
        endpoint.load.begin();
        if upstream.other_workers > 0 {
            upstream.report.list(endpoint);
        }
        upstream.meter(worker.index).in_flight.add(1);
        let (epoch, is_judged, is_trial) = (endpoint.endpoint.health.epoch(), Cell::new(false), picked.is_trial);
        let (worker, upstream, endpoint) = (Rc::clone(worker), Rc::clone(upstream), Rc::clone(endpoint));
        let (is_begun, keeps_ms) = (Cell::new(false), Cell::new(0));
        Self { worker, upstream, endpoint, epoch, is_begun, is_judged, is_trial, keeps_ms }
    }

    /// The proxy connects to the endpoint now.
    #[inline]
    pub(crate) fn begin(&self) {
        self.is_begun.set(true);
    }

    /// The endpoint has refused the try: it keeps its place in the score for this time, within bounds.
    #[cold]
    pub(crate) fn refuse(&self, for_ms: u64) {
        self.keeps_ms.set(u32::try_from(for_ms).unwrap_or(u32::MAX).max(1));
    }

    /// The head of a response has come after this time, or a failure that costs as much.
    #[inline]
    pub(crate) fn observe(&self, took: Duration) {
        if self.upstream.upstream.balance == Balance::PeakEwma {
            self.endpoint.load.latency.observe(took.as_secs_f64() * 1000.0, self.worker.process_ms());
        }
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
            Transition::Drained | Transition::Undrained | Transition::Unhealthy | Transition::Healthy => {}
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.endpoint.load.end();
        if self.upstream.other_workers > 0 {
            self.upstream.report.list(&self.endpoint);
        }
        if self.keeps_ms.get() > 0 {
            let for_ms = u64::from(self.keeps_ms.get());
            self.upstream.report.keep_place(&self.endpoint, for_ms, self.worker.process_ms());
        }
        self.upstream.meter(self.worker.index).in_flight.add(-1);
        if self.is_trial && !self.is_judged.get() {
            // Another request may try the endpoint at once.
            UpstreamHealth::release(self.health());
        }
    }
}
