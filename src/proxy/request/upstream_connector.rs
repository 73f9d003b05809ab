//! Connects a request to an endpoint of its upstream. `follow_up.rs` moves it on after a failed try.

use std::rc::Rc;

use super::exchange::{ChosenVariant, Exchange, ExchangeStage};
use super::follow_up;
use super::judge;
use super::trace;
use super::try_failure::TryFailure;
use crate::compare::Failure;
use crate::failover::{CheckedHealth, Sender, Tries, Unconnected, is_safe};
use crate::proxy::upstream::balance::{self, EndpointSet, EndpointWish, Picked, TriedEndpoints};
use crate::proxy::upstream::connect::{self, Reuse};
use crate::proxy::upstream::connection_queue::WhenFull;
use crate::proxy::upstream::flight::InFlightGuard;
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::http_version::name_host;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::{ConnectTarget, EndpointPool, UpstreamPool};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::head::Head;
use crate::proxy::worker::Worker;
use crate::route::{RetryCondition, VariantId};
use crate::telemetry::{Fallback, StatusClass};

/// Limit on pooled connections to one endpoint that may turn out dead; after that a new one is opened.
const STALE_MAX: u32 = 4;

/// The endpoint that a request goes to, and its tries so far.
pub(crate) struct UpstreamConnector {
    pub(crate) upstream: Rc<UpstreamPool>,
    pub(crate) endpoint: Rc<EndpointPool>,
    /// Index of the endpoint in the upstream.
    pub(super) at: usize,
    /// With a PROXY header, a connection names its client: a pool for this client only.
    own: Option<Rc<EndpointPool>>,
    /// Endpoints that failed.
    pub(super) tried: TriedEndpoints,
    /// Attempts to connect to this endpoint.
    tries: u32,
    /// The tries so far, for the retry rule.
    pub(super) past: Tries,
    /// The connection that declined a stream; no other try uses it.
    pub(super) declined: Option<Rc<H2PeerState>>,
    /// The last try was refused by the endpoint without processing it.
    pub(super) was_refused: bool,
    /// The HTTP/2 connection that broke under the last try.
    pub(super) broken: Option<Rc<H2PeerState>>,
    /// How often the request was sent.
    pub(super) sent: u32,
    sender: Sender,
    /// The request has no host: the address of the endpoint becomes its host.
    hostless: bool,
}

impl UpstreamConnector {
    /// Chooses the first endpoint.
    pub(crate) fn new(exchange: &mut Exchange, chosen: ChosenVariant) -> Result<Self, Fault> {
        let worker = Rc::clone(&exchange.client.worker);
        let upstream = Rc::clone(exchange.proxy.upstream(&exchange.view, chosen.upstream));
        let sender = if is_safe(&exchange.request.head.method) { Sender::Safe } else { Sender::Unsafe };
        if balance::none_reachable(&upstream, &worker, sender)
            && let Some(stable) = stable_fallback(exchange, Some(RetryCondition::Connect))
        {
            // All endpoints of the variant refused connections a moment ago: go to stable without another attempt.
            let meter = upstream.meter(worker.index);
            meter.failures.inc();
            meter.rescues.inc();
            meter.requests[StatusClass::None as usize].inc();
            // Another request tries it, or it has accepted a connection since: this request says nothing about it.
            let is_unhealthy = |one: &Rc<EndpointPool>| one.endpoint.health.checked() == CheckedHealth::Unhealthy;
            let may_be_back = |one: &Rc<EndpointPool>| {
                one.is_being_tried() || (one.endpoint.health.unconnected_tries() == 0 && !is_unhealthy(one))
            };
            if upstream.endpoints.iter().any(may_be_back) {
                judge::untried(exchange);
            } else {
                judge::failed(exchange, Some(Fault::ConnectRefused));
            }
            exchange.fall_back(stable, Some(Failure::Connect));
            return Self::new(exchange, stable);
        }
        within_limits(exchange, &upstream)?;
        upstream.health.requests.add_request(worker.index, worker.process_ms() / 1000);
        let tried = TriedEndpoints::default();
        let wish = EndpointWish { tried: &tried, sender, from: EndpointSet::Usable };
        let picked = match balance::pick(&upstream, &worker, wish, || chosen.key) {
            Some(picked) => picked,
            None => match last_resort(exchange, &upstream, wish, chosen) {
                Ok(picked) => picked,
                Err(fault) => {
                    let is_out_by_hand = |one: &Rc<EndpointPool>| {
                        one.endpoint.health.is_drained() || one.endpoint.health.is_ejected_by_hand()
                    };
                    if !upstream.endpoints.is_empty() && upstream.endpoints.iter().all(is_out_by_hand) {
                        // A person has taken it out of service: that says nothing about the variant.
                        judge::untried(exchange);
                    }
                    // A variant without a usable endpoint, also where `rescue` does not name `connect`.
                    let stable = stable_fallback(exchange, None).filter(|_| is_rescuable(exchange)).ok_or(fault)?;
                    upstream.meter(worker.index).rescues.inc();
                    judge::failed(exchange, Some(fault));
                    exchange.fall_back(stable, Some(Failure::Connect));
                    return Self::new(exchange, stable);
                }
            },
        };
        let endpoint = Rc::clone(&upstream.endpoints[picked.at]);
        let hostless = !exchange.request.head.fields.contains("host");
        let (at, past) = (picked.at, Tries::default());
        let mut connector = Self {
            upstream,
            endpoint,
            at,
            own: None,
            tried,
            tries: 0,
            past,
            declined: None,
            was_refused: false,
            broken: None,
            sent: 0,
            sender,
            hostless,
        };
        connector.occupy(exchange, picked);
        Ok(connector)
    }

    /// The connection pool to use.
    pub(crate) fn pool(&self) -> &Rc<EndpointPool> {
        self.own.as_ref().unwrap_or(&self.endpoint)
    }

    /// Makes an endpoint that of the next try.
    pub(super) fn select(&mut self, exchange: &mut Exchange, picked: Picked) {
        (self.at, self.endpoint) = (picked.at, Rc::clone(&self.upstream.endpoints[picked.at]));
        self.occupy(exchange, picked);
    }

    /// Counts the next try at its endpoint.
    #[inline]
    fn occupy(&mut self, exchange: &mut Exchange, picked: Picked) {
        let (attempt, client) = (&mut exchange.attempt, &exchange.client);
        attempt.endpoint = Some(Rc::clone(&self.endpoint));
        attempt.flight = Some(InFlightGuard::new(&client.worker, &self.upstream, picked));
        let names = self.upstream.upstream.proxy_protocol.is_some();
        self.own = names.then(|| Rc::new(self.endpoint.with_proxy_addresses(client.proxy_addresses())));
        self.tries = 0;
        if self.hostless {
            exchange.request.head.fields.remove("host");
            name_host(&mut exchange.request.head, self.endpoint.endpoint.address);
        }
    }

    /// An untried endpoint. Stable gets any that is not drained where none is usable, if `set` allows it.
    pub(super) fn pick_other(
        &self,
        exchange: &mut Exchange,
        chosen: ChosenVariant,
        set: EndpointSet,
    ) -> Option<Picked> {
        let worker = Rc::clone(&exchange.client.worker);
        let worker = &*worker;
        let wish = EndpointWish { tried: &self.tried, sender: self.sender, from: EndpointSet::Usable };
        let usable = balance::pick(&self.upstream, worker, wish, || chosen.key);
        match set {
            EndpointSet::All if usable.is_none() => last_resort(exchange, &self.upstream, wish, chosen).ok(),
            EndpointSet::All | EndpointSet::Usable => usable,
        }
    }

    /// The request is named after the endpoint again.
    pub(super) fn forget_host(&self, head: &mut Head) {
        if self.hostless {
            head.fields.remove("host");
        }
    }

    /// Begins an attempt to connect; returns a pooled connection or stream, if there is one. Otherwise
    /// [`Self::connect`] goes on. Not a future: most attempts end here.
    #[inline]
    pub(crate) fn connect_at_once(&mut self, exchange: &mut Exchange) -> Result<Lease, Reuse> {
        let reuse = self.begin_attempt(exchange);
        let lease = connect::pooled(self.pool(), &reuse, WhenFull::Wait(&exchange.attempt.waited)).ok_or(reuse)?;
        self.endpoint.record_connect_success(&self.upstream, &exchange.client.worker);
        Ok(lease)
    }

    /// Begins an attempt to connect; returns the connections that it may reuse.
    #[inline]
    fn begin_attempt(&mut self, exchange: &mut Exchange) -> Reuse {
        let reuse = match &self.declined {
            _ if self.tries >= STALE_MAX => Reuse::Never,
            Some(peer) => Reuse::Except(Rc::clone(peer)),
            None => Reuse::Allowed,
        };
        self.tries += 1;
        exchange.progress.stage = ExchangeStage::Connect;
        if let Some(flight) = &exchange.attempt.flight {
            flight.begin();
        }
        exchange.attempt.number += 1;
        trace::start_attempt(exchange);
        reuse
    }

    /// Goes on after [`Self::connect_at_once`]: returns a connection, and whether it was used before. Sends nothing of
    /// the request.
    pub(crate) async fn connect(&mut self, exchange: &mut Exchange, mut reuse: Reuse) -> Result<(Lease, bool), Fault> {
        let worker = Rc::clone(&exchange.client.worker);
        loop {
            let target = ConnectTarget { upstream: &self.upstream, endpoint: self.pool() };
            match connect::lease(&worker, target, reuse, WhenFull::Wait(&exchange.attempt.waited)).await {
                Ok(leased) => {
                    self.endpoint.record_connect_success(&self.upstream, &worker);
                    return Ok(leased);
                }
                Err(fault) => {
                    judge::failed(exchange, Some(fault));
                    // Boxed: few connections fail, and all would have the size of this future.
                    Box::pin(follow_up::after_no_connection(exchange, self, fault)).await?;
                }
            }
            reuse = self.begin_attempt(exchange);
        }
    }

    /// Whether a failure to connect is that of the endpoint or of the upstream's connection limit. An endpoint that
    /// accepts no streams on a new connection sets `full_until_ms`.
    pub(super) fn classify(&self, failure: &TryFailure, worker: &Worker) -> Unconnected {
        let full = worker.now_ms() < self.pool().full_until_ms.get();
        let is_limit = failure.fault == Some(Fault::UpstreamConnections) && !full;
        if is_limit { Unconnected::Upstream } else { Unconnected::Endpoint }
    }

    /// Stable's fault when no endpoint is left: its own, unless more than one endpoint is known to fail.
    pub(super) fn final_fault(&self, fault: Fault) -> Fault {
        let all = &self.upstream.endpoints;
        let fails = |endpoint: &Rc<EndpointPool>| {
            let health = &endpoint.endpoint.health;
            !health.is_usable() || health.is_failing()
        };
        if all.len() > 1 && self.upstream.health.has_unusable() && all.iter().all(fails) {
            none_usable(&self.upstream)
        } else {
            fault
        }
    }
}

/// An endpoint where none is usable. A variant gets none: stable answers for it, or nothing does.
#[cold]
fn last_resort(
    exchange: &mut Exchange,
    upstream: &UpstreamPool,
    wish: EndpointWish<'_>,
    chosen: ChosenVariant,
) -> Result<Picked, Fault> {
    let worker = &exchange.client.worker;
    let is_any = upstream.endpoints.iter().any(|endpoint| !endpoint.endpoint.health.is_drained());
    if !is_any {
        return Err(Fault::NoEndpoint);
    }
    if chosen.variant != VariantId::STABLE && chosen.fallback == Fallback::No {
        return Err(none_usable(upstream));
    }
    let wish = EndpointWish { from: EndpointSet::All, ..wish };
    let picked = balance::pick(upstream, worker, wish, || chosen.key).ok_or_else(|| none_usable(upstream))?;
    upstream.meter(worker.index).last_resorts.inc();
    exchange.attempt.is_last_resort = true;
    Ok(picked)
}

/// The fault where no endpoint is usable: the active checks of all that are not drained fail, or some are ejected.
fn none_usable(upstream: &UpstreamPool) -> Fault {
    let all = upstream.endpoints.iter().map(|one| &one.endpoint.health);
    let mut in_service = all.filter(|health| !health.is_drained()).peekable();
    if in_service.peek().is_none() {
        Fault::NoEndpoint
    } else if in_service.all(|health| health.checked() == CheckedHealth::Unhealthy) {
        Fault::Unhealthy
    } else {
        Fault::Ejected
    }
}

/// Stable's upstream, if stable may answer for the chosen variant; with a condition, only where `rescue` names it.
pub(super) fn stable_fallback(exchange: &Exchange, condition: Option<RetryCondition>) -> Option<ChosenVariant> {
    let chosen = exchange.routing.chosen.filter(|chosen| chosen.variant != VariantId::STABLE)?;
    let split = exchange.view.snapshot.rules.route(exchange.routing.route?).split()?;
    let variant = split.variants.get(usize::from(chosen.variant.0))?;
    if condition.is_some_and(|condition| !variant.rescue.on.contains(condition)) {
        return None;
    }
    let upstream = split.variants.first()?.upstream;
    let other = chosen.fallback == Fallback::No && upstream != chosen.upstream && exchange.view.usable(upstream);
    other.then_some(ChosenVariant { upstream, fallback: Fallback::Yes, ..chosen })
}

/// Whether stable may answer for the chosen variant at all.
fn is_rescuable(exchange: &Exchange) -> bool {
    let variant = exchange.routing.route.zip(exchange.routing.chosen).and_then(|(route, chosen)| {
        exchange.view.snapshot.rules.route(route).split()?.variants.get(usize::from(chosen.variant.0))
    });
    variant.is_some_and(|variant| !variant.rescue.is_off())
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
