//! Connects a request to an endpoint of its upstream. A failed connection costs the request only time: nothing of it
//! was sent, so it goes to another endpoint, whatever its method is. If no endpoint of a variant can be connected to,
//! stable answers. The request still counts for the variant, and the failure is the variant's.

use std::rc::Rc;

use http::header::HOST;
use http::{Request, Version};

use super::exchange::{ChosenVariant, Exchange, UpstreamAttempt};
use super::trace;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::downstream::client::Client;
use crate::proxy::upstream::balance::{self, TriedEndpoints};
use crate::proxy::upstream::connect::{self, Reuse};
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::http_version::{for_h1, name_host};
use crate::proxy::upstream::lease::{InFlightGuard, Lease};
use crate::proxy::upstream::pool::{ConnectTarget, EndpointPool, UpstreamPool};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::retry::{self, Retry, Tries, Unconnected};
use crate::route::{Rescue, VariantId};
use crate::telemetry::{Fallback, StatusClass};

/// Limit on pooled connections to one endpoint that may turn out dead; after that a new one is opened.
const STALE_MAX: u32 = 4;

/// The endpoint that a request goes to, and the endpoints that failed.
pub(crate) struct UpstreamConnector {
    pub(crate) upstream: Rc<UpstreamPool>,
    pub(crate) endpoint: Rc<EndpointPool>,
    /// Index of the endpoint in the upstream.
    at: usize,
    /// With a PROXY header, a connection names its client: a pool for this client only.
    own: Option<Rc<EndpointPool>>,
    /// Endpoints that could not be connected to.
    tried: TriedEndpoints,
    /// Attempts to connect to this endpoint.
    tries: u32,
    /// The request has no host: the address of the endpoint becomes its host.
    hostless: bool,
}

impl UpstreamConnector {
    /// Chooses the first endpoint.
    pub(crate) fn new(
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
        chosen: ChosenVariant,
    ) -> Result<Self, Fault> {
        let worker = Rc::clone(&exchange.client.worker);
        let upstream = Rc::clone(exchange.proxy.upstream(&exchange.view, chosen.upstream));
        if balance::all_unreachable(&upstream, &worker)
            && let Some(stable) = stable_fallback(exchange)
        {
            // All endpoints of the variant refused connections a moment ago: go to stable without another attempt.
            let meter = upstream.meter(worker.index);
            meter.failures.inc();
            meter.requests[StatusClass::None as usize].inc();
            exchange.fall_back(stable, Fault::ConnectRefused);
            return Self::new(exchange, request, stable);
        }
        within_limits(exchange, &upstream)?;
        let tried = TriedEndpoints::default();
        let at = balance::pick(&upstream, &worker, &tried, || chosen.key).ok_or(Fault::NoEndpoint)?;
        let endpoint = Rc::clone(&upstream.endpoints[at]);
        let hostless = !request.headers().contains_key(HOST);
        let mut connector = Self { upstream, endpoint, at, own: None, tried, tries: 0, hostless };
        connector.select_endpoint(&mut exchange.attempt, &exchange.client, request);
        Ok(connector)
    }

    /// The connection pool to use.
    pub(crate) fn pool(&self) -> &Rc<EndpointPool> {
        self.own.as_ref().unwrap_or(&self.endpoint)
    }

    /// Makes the current endpoint that of the attempt.
    fn select_endpoint(&mut self, attempt: &mut UpstreamAttempt, client: &Client, request: &mut Request<RequestBody>) {
        attempt.endpoint = Some(self.endpoint.endpoint.address);
        attempt.flight = Some(InFlightGuard::new(&client.worker, &self.upstream, &self.endpoint));
        let names = self.upstream.upstream.proxy_protocol.is_some();
        self.own = names.then(|| Rc::new(self.endpoint.with_proxy_addresses(client.proxy_addresses())));
        self.tries = 0;
        if self.hostless {
            request.headers_mut().remove(HOST);
            name_host(request, self.endpoint.endpoint.address);
        }
    }

    /// Returns a connection, and whether it was used before. Sends nothing of the request.
    pub(crate) async fn connect(
        &mut self,
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
        declined: Option<&Rc<H2PeerState>>,
    ) -> Result<(Lease, bool), Fault> {
        let worker = Rc::clone(&exchange.client.worker);
        loop {
            let reuse = match declined {
                _ if self.tries >= STALE_MAX => Reuse::Never,
                Some(peer) => Reuse::Except(Rc::clone(peer)),
                None => Reuse::Allowed,
            };
            self.tries += 1;
            exchange.attempt.number += 1;
            trace::start_attempt(exchange, request.headers_mut());
            let target = ConnectTarget { upstream: &self.upstream, endpoint: self.pool() };
            match connect::lease(&worker, target, reuse).await {
                Ok(leased) => {
                    self.endpoint.record_connect_success(&self.upstream, &worker);
                    return Ok(leased);
                }
                Err(fault) => {
                    let next = retry::unconnected(self.classify(fault, &worker), self.tries(declined));
                    self.apply_retry(exchange, request, next, fault)?;
                }
            }
        }
    }

    /// Whether a failure to connect is that of the endpoint or of the upstream's connection limit. An endpoint that
    /// accepts no streams on a new connection sets `full_until_ms`.
    fn classify(&self, fault: Fault, worker: &Worker) -> Unconnected {
        let full = worker.now_ms() < self.pool().full_until_ms.get();
        if fault == Fault::UpstreamConnections && !full { Unconnected::Upstream } else { Unconnected::Endpoint }
    }

    /// The earlier attempts, for the retry rule.
    pub(crate) fn tries(&self, declined: Option<&Rc<H2PeerState>>) -> Tries {
        Tries { endpoints: self.tried.len(), unprocessed: declined.is_some() }
    }

    /// Follows the retry rule after `fault`.
    ///
    /// # Errors
    /// Returns `fault` if the rule gives up, or if no endpoint is left.
    pub(crate) fn apply_retry(
        &mut self,
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
        next: Retry,
        fault: Fault,
    ) -> Result<(), Fault> {
        match next {
            Retry::SameEndpoint => self.upstream.meter(exchange.client.worker.index).retries.inc(),
            Retry::NextEndpoint | Retry::Fallback => self.change_endpoint(exchange, request, next, fault)?,
            Retry::GiveUp => return Err(fault),
        }
        Ok(())
    }

    /// Switches to another endpoint, or to stable, because this endpoint could not be connected to.
    fn change_endpoint(
        &mut self,
        exchange: &mut Exchange,
        request: &mut Request<RequestBody>,
        next: Retry,
        fault: Fault,
    ) -> Result<(), Fault> {
        let worker = Rc::clone(&exchange.client.worker);
        self.upstream.record_connect_failure(&self.endpoint, fault, &worker);
        self.tried.push(self.at);
        let key = exchange.routing.chosen.map_or(0, |chosen| chosen.key);
        let more = next == Retry::NextEndpoint;
        let other = if more { balance::pick(&self.upstream, &worker, &self.tried, || key) } else { None };
        let stable = if other.is_none() { stable_fallback(exchange) } else { None };
        if other.is_none() && stable.is_none() {
            return Err(fault);
        }
        let meter = self.upstream.meter(worker.index);
        meter.failures.inc();
        trace::end_attempt(exchange, fault.detail());
        if request.version() == Version::HTTP_2 {
            // The next endpoint may use another protocol: start again from the HTTP/1.1 form.
            for_h1(request, exchange.upgrade.requested())?;
        }
        if let Some(at) = other {
            meter.retries.inc();
            (self.at, self.endpoint) = (at, Rc::clone(&self.upstream.endpoints[at]));
            self.select_endpoint(&mut exchange.attempt, &exchange.client, request);
        } else if let Some(chosen) = stable {
            meter.requests[StatusClass::None as usize].inc();
            exchange.fall_back(chosen, fault);
            if self.hostless {
                request.headers_mut().remove(HOST);
            }
            *self = Self::new(exchange, request, chosen)?;
        }
        Ok(())
    }
}

/// Stable's upstream, if stable may answer for the chosen variant.
fn stable_fallback(exchange: &Exchange) -> Option<ChosenVariant> {
    let chosen = exchange.routing.chosen.filter(|chosen| chosen.variant != VariantId::STABLE)?;
    let split = exchange.view.snapshot.rules.route(exchange.routing.route?).split()?;
    split.variants.get(usize::from(chosen.variant.0)).filter(|variant| variant.rescue == Rescue::Connect)?;
    let upstream = split.variants.first()?.upstream;
    let other = chosen.fallback == Fallback::No && upstream != chosen.upstream && exchange.view.usable(upstream);
    other.then_some(ChosenVariant { upstream, fallback: Fallback::Yes, ..chosen })
}

/// Checks `limits.requests` of the upstream, for all workers together.
fn within_limits(exchange: &Exchange, upstream: &UpstreamPool) -> Result<(), Fault> {
    let worker = &exchange.client.worker;
    let limit = upstream.upstream.limits.requests;
    let meter = upstream.meter(worker.index);
    let free = meter.in_flight.value() < worker.share_of(limit);
    if free || upstream.sum(|meter| meter.in_flight.value()) < i64::from(limit) {
        return Ok(());
    }
    meter.over_requests.inc();
    Err(Fault::UpstreamRequests)
}
