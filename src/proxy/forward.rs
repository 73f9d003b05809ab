//! Forward: to one of the upstream's endpoints and back with the head of its answer.
//!
//! A request is sent once. It is sent again only on a connection of its own, when the pooled one had died: when nothing
//! of it was written, or when it may be repeated (idempotent, no body) and nothing of an answer was read.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::balance;
use super::body::RequestBody;
use super::connect::{self, Reuse};
use super::exchange::{Chosen, Exchange, Stage, UploadFault};
use super::fault::Fault;
use super::fields::is_ambiguous_response;
use super::lease::{Flight, Lease};
use super::pool::{EndpointPool, UpstreamPool};
use super::prepare::for_h2;
use super::timers::Deadline;
use crate::route::{Protocol, Route};
use crate::telemetry::StatusClass;

/// From this limit on, a worker may use up half of its share without looking at the others.
const LOOK_BELOW: u32 = 1024;
/// Pooled connections that may turn out dead before a request gives up.
const STALE_MAX: u32 = 4;

/// Sends a request and gives the answer's head; its body follows as it is pulled.
pub(super) async fn forward(
    exchange: &mut Exchange,
    request: Request<RequestBody>,
    (route, chosen): (&Route, Chosen),
) -> Result<Response<Incoming>, Fault> {
    let worker = Rc::clone(&exchange.client.worker);
    let upstream = Rc::clone(exchange.local.upstream(chosen.upstream, &worker));
    exchange.stage = Stage::Connect;
    within_limits(exchange, &upstream)?;
    let endpoint = balance::pick(&upstream, &worker.random, || chosen.key).ok_or(Fault::NoEndpoint)?;
    exchange.endpoint = Some(endpoint.endpoint.address);
    exchange.flight = Some(Flight::new(&worker, &upstream, &endpoint));
    // Nothing was awaited since the request's head: the whole bound is left.
    let (patience, late) = patience(exchange, route.timeouts.request);
    let mut deadline = Deadline::new(&worker, patience);
    let sent = deadline.bound(pin!(send(exchange, (&upstream, &endpoint), request))).await;
    let meter = upstream.meter(worker.index);
    let result = sent.unwrap_or(Err(late)).map_err(|fault| blame(exchange, fault));
    match &result {
        Ok(response) => meter.requests[StatusClass::of(response.status().as_u16()) as usize].inc(),
        Err(fault) => {
            meter.requests[StatusClass::None as usize].inc();
            let ours = matches!(fault, Fault::Refused(_) | Fault::ClientGone | Fault::UpstreamConnections);
            if !ours {
                meter.failures.inc();
            }
            exchange.lease = None;
            exchange.flight = None;
        }
    }
    result
}

/// How long the answer's head may take, and what it is when it does not come: the route's bound or that of the call,
/// whichever ends first.
fn patience(exchange: &Exchange, usual: Option<Duration>) -> (Option<Duration>, Fault) {
    let of_call = exchange.call.as_ref().and_then(|call| call.deadline);
    let of_call = of_call.map(|deadline| deadline.saturating_duration_since(exchange.began));
    match (of_call, usual) {
        (Some(of_call), usual) if usual.is_none_or(|usual| of_call < usual) => (Some(of_call), Fault::CallTimeout),
        (Some(_) | None, usual) => (usual, Fault::ResponseTimeout),
    }
}

/// `limits.requests` of the upstream: of all workers together.
fn within_limits(exchange: &Exchange, upstream: &UpstreamPool) -> Result<(), Fault> {
    let worker = &exchange.client.worker;
    let limit = upstream.upstream.limits.requests;
    let meter = upstream.meter(worker.index);
    let share = i64::from(limit) / i64::try_from(worker.workers * 2).unwrap_or(2);
    let free = limit >= LOOK_BELOW && meter.in_flight.value() < share;
    if free || upstream.sum(|meter| meter.in_flight.value()) < i64::from(limit) {
        return Ok(());
    }
    meter.over_requests.inc();
    Err(Fault::UpstreamRequests)
}

/// A broken upload is the client's doing, whatever it looked like from the upstream's side.
fn blame(exchange: &Exchange, fault: Fault) -> Fault {
    match exchange.upload.as_ref().and_then(|upload| upload.failed.get()) {
        Some(UploadFault::Refused(refusal)) => Fault::Refused(refusal),
        Some(UploadFault::Gone) => Fault::ClientGone,
        None => fault,
    }
}

/// Sends, again if the pooled connection was dead.
async fn send(
    exchange: &mut Exchange,
    (upstream, endpoint): (&Rc<UpstreamPool>, &Rc<EndpointPool>),
    mut request: Request<RequestBody>,
) -> Result<Response<Incoming>, Fault> {
    if !request.headers().contains_key(header::HOST)
        && let Ok(host) = HeaderValue::try_from(endpoint.endpoint.address.to_string())
    {
        // HTTP/1.0 may name none, HTTP/1.1 must (RFC 9112 §3.2).
        request.headers_mut().insert(header::HOST, host);
    }
    let replayable = is_replayable(&request);
    if endpoint.protocol() == Protocol::H2c {
        for_h2(&mut request);
    }
    let worker = Rc::clone(&exchange.client.worker);
    let meter = upstream.meter(worker.index);
    loop {
        let reuse = if exchange.attempts < STALE_MAX { Reuse::Allowed } else { Reuse::GivenUp };
        exchange.attempts += 1;
        let (lease, reused) = connect::lease(&worker, (upstream, endpoint), reuse).await?;
        let copy = (reused && replayable).then(|| copy(&request));
        exchange.stage = Stage::Head;
        let asked = if reused { exchange.began } else { worker.clock.now() };
        exchange.lease = Some(lease);
        match attempt(exchange, request).await {
            Ok(response) => {
                let now = worker.clock.now();
                let took = now.duration_since(asked);
                exchange.head_at = Some(now);
                exchange.upstream_latency = Some(took);
                if let Some(held) = &mut exchange.held {
                    held.forget_head();
                }
                meter.latency.record(took);
                return inspect(response, endpoint.protocol());
            }
            Err(failure) => {
                exchange.lease = None;
                let fault = failure.fault;
                match failure.unsent.or(if failure.silent { copy } else { None }) {
                    Some(again) if reused => request = again,
                    Some(_) | None => return Err(fault),
                }
                meter.retries.inc();
            }
        }
    }
}

/// Whether it may be sent again when nobody knows whether the first try was processed: an idempotent method (RFC 9110
/// §9.2.2) without a body.
fn is_replayable(request: &Request<RequestBody>) -> bool {
    matches!(request.body(), RequestBody::Empty)
        && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// The same request again. Only for requests without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// What one try came to.
struct Failure {
    fault: Fault,
    /// The request, when nothing of it was written.
    unsent: Option<Request<RequestBody>>,
    /// Nothing of an answer was read.
    silent: bool,
}

impl Failure {
    fn of(error: &hyper::Error, unsent: Option<Request<RequestBody>>) -> Self {
        let garbage = error.is_parse() || error.is_parse_status() || error.is_parse_too_large();
        let fault = if garbage { Fault::UpstreamProtocol } else { Fault::UpstreamReset };
        Self { fault, unsent, silent: !garbage && !error.is_user() }
    }
}

async fn attempt(exchange: &mut Exchange, request: Request<RequestBody>) -> Result<Response<Incoming>, Failure> {
    let lost = Failure { fault: Fault::UpstreamReset, unsent: None, silent: true };
    match &mut exchange.lease {
        Some(Lease::Whole { connection, .. }) => {
            if exchange.version == Version::HTTP_11 {
                connection.hints.go_to(&exchange.client);
            }
            connection.sender.try_send_request(request).await.map_err(|mut error| {
                let unsent = error.take_message();
                Failure::of(error.error(), unsent)
            })
        }
        Some(Lease::Stream(stream)) => stream.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            Failure::of(error.error(), unsent)
        }),
        None => Err(lost),
    }
}

/// An answer that can be read in two ways, or that nobody asked for, is none.
fn inspect(response: Response<Incoming>, protocol: Protocol) -> Result<Response<Incoming>, Fault> {
    let status = response.status();
    let odd = status == StatusCode::SWITCHING_PROTOCOLS || status.as_u16() >= 600;
    let ambiguous = protocol == Protocol::Http1
        && response.version() != Version::HTTP_2
        && is_ambiguous_response(response.headers());
    if odd || ambiguous { Err(Fault::UpstreamProtocol) } else { Ok(response) }
}
