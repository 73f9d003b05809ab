//! Forward: sends a request to an endpoint of the upstream and receives the head of its response.
//!
//! A request is sent once. After a failure, the pure rule in `retry.rs` decides whether it is sent again.
//! `upstream_connector.rs` chooses the endpoint, and another one if that cannot be connected to.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::exchange::{ChosenVariant, Exchange, ExchangeStage, PreparedBody};
use super::kill_streams::{Carrier, unless_killed};
use super::response_deadline::ResponseDeadline;
use super::trace;
use super::upstream_connector::UpstreamConnector;
use crate::proxy::body::replay::ReplayableRequest;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::body::upload::UploadFault;
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::http_version::{for_h1, for_h2, is_chunked};
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::{ConnectTarget, UpstreamPool};
use crate::proxy::upstream::tls;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::{UpgradeRequest, is_agreed};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{is_ambiguous_response, is_too_large};
use crate::proxy::worker::send_task::SendTask;
use crate::retry::{self, FailedAttempt, Reached, Resendable, Retry};
use crate::route::{Protocol, UpstreamLimits};
use crate::telemetry::StatusClass;

/// Sends a request and returns the head of its response. The response body is read later, as the client takes it.
pub(super) async fn forward(
    exchange: &mut Exchange,
    mut request: Request<RequestBody>,
    chosen: ChosenVariant,
    timeout: Option<Duration>,
) -> Result<Response<Incoming>, Fault> {
    let worker = Rc::clone(&exchange.client.worker);
    exchange.progress.stage = ExchangeStage::Connect;
    let connector = UpstreamConnector::new(exchange, &mut request, chosen)?;
    // Nothing was awaited since the request's head arrived, so the deadline starts at its full length.
    let mut deadline = ResponseDeadline::new(exchange, timeout);
    let kill = exchange.killable(|| Carrier::Polled);
    let sent = deadline.bound(pin!(unless_killed(kill, pin!(send(exchange, connector, request))))).await;
    // The connector may have switched to stable's upstream.
    let upstream =
        Rc::clone(exchange.proxy.upstream(&exchange.view, exchange.routing.chosen.unwrap_or(chosen).upstream));
    let meter = upstream.meter(worker.index);
    let result = sent.unwrap_or_else(Err).map_err(|fault| blame(&exchange.prepared, fault));
    match &result {
        Ok(response) => meter.requests[StatusClass::of(response.status().as_u16()) as usize].inc(),
        Err(fault) => {
            meter.requests[StatusClass::None as usize].inc();
            // A deadline that fires while connecting counts as a failed connection: others avoid the endpoint too.
            if exchange.progress.stage == ExchangeStage::Connect
                && matches!(fault, Fault::ResponseTimeout | Fault::CallTimeout)
                && let Some(flight) = &exchange.attempt.flight
            {
                flight.record_connect_timeout(Fault::ConnectTimeout);
            }
            let row = fault.row();
            if row.upstream_failed {
                meter.failures.inc();
            }
            exchange.release_upstream();
            exchange.attempt.flight = None;
            trace::end_attempt(exchange, row.detail);
            if let (Some(primary), Some(failure)) = (&exchange.mirror.primary, row.failure) {
                primary.fail(failure, worker.clock.now().duration_since(exchange.request.began));
            }
        }
    }
    result
}

/// A failed upload is the fault of the client, even if it looks like a failure of the upstream.
fn blame(sent: &PreparedBody, fault: Fault) -> Fault {
    match sent.upload.as_ref().and_then(|upload| upload.failed.get()) {
        Some(UploadFault::Refused(refusal)) => Fault::Refused(refusal),
        Some(UploadFault::Gone) => Fault::ClientGone,
        None => fault,
    }
}

/// Sends a request, and sends it again if the retry rule allows it.
async fn send(
    exchange: &mut Exchange,
    mut connector: UpstreamConnector,
    mut request: Request<RequestBody>,
) -> Result<Response<Incoming>, Fault> {
    let idempotent = retry::is_idempotent(request.method());
    let worker = Rc::clone(&exchange.client.worker);
    let mut declined: Option<Rc<H2PeerState>> = None;
    loop {
        let (lease, reused) = connector.connect(exchange, &mut request, declined.as_ref()).await?;
        let upgrade = exchange.upgrade.requested();
        let replayable = keep(&mut request, upgrade, &lease, connector.pool().protocol(), reused && idempotent)?;
        let peer = lease.h2_peer();
        if let Some(upgrade) = upgrade {
            upgrade.check_connection(peer.as_ref().map(|peer| peer.takes_extended_connect()))?;
        }
        announce(exchange, &lease, &request);
        exchange.progress.stage = ExchangeStage::Head;
        // A pooled connection is ready at once, so the start of the request is exact enough and saves a clock read.
        let sent_at = if reused { exchange.request.began } else { worker.clock.now() };
        // The lease is in the exchange before the await: if this future is dropped, the exchange releases it.
        exchange.attempt.lease = Some(lease);
        let mut failure = match attempt(exchange, request).await {
            Ok(mut response) => {
                if let Some(replayable) = replayable {
                    // There is no retry after the response head, so the kept pieces of the body can go.
                    replayable.discard();
                }
                receive(exchange, &connector.upstream, &response, sent_at)?;
                let requested = exchange.upgrade.requested();
                if is_agreed(requested, &response)? {
                    // Boxed: few requests upgrade, and all would have the size of this future.
                    let tunnel_end =
                        Box::pin(TunnelEnd::take_over(&mut exchange.attempt.lease, requested, &mut response)).await?;
                    exchange.upgrade.switch(tunnel_end);
                }
                return Ok(response);
            }
            Err(failure) => failure,
        };
        end_attempt(exchange, &connector, failure.fault)?;
        let resendable = replayable.as_ref().map_or(Resendable::No, ReplayableRequest::resendable);
        let failed = FailedAttempt { reached: failure.reached, reused, idempotent, resendable };
        let next = retry::next(failed, connector.tries(declined.as_ref()));
        if failure.reached == Reached::Unprocessed {
            // The next attempt avoids this connection, which may refuse its streams again.
            declined = declined.or(peer);
        }
        request = failure.resent(replayable, next)?;
        connector.apply_retry(exchange, &mut request, next, failure.fault)?;
    }
}

/// Ends a failed attempt: drops its connection and records its span.
fn end_attempt(exchange: &mut Exchange, connector: &UpstreamConnector, fault: Fault) -> Result<(), Fault> {
    if exchange.attempt.lease.take().is_some_and(|lease| lease.is_tls_refusal()) {
        let target = ConnectTarget { upstream: &connector.upstream, endpoint: &connector.endpoint };
        tls::record_refusal(&exchange.client.worker, target);
        return Err(Fault::TlsAlert);
    }
    trace::end_attempt(exchange, fault.detail());
    Ok(())
}

/// Records and validates the head of a response.
#[inline]
fn receive(
    exchange: &mut Exchange,
    upstream: &UpstreamPool,
    response: &Response<Incoming>,
    sent_at: Instant,
) -> Result<(), Fault> {
    let took = record_head(exchange, sent_at, response.status());
    upstream.meter(exchange.client.worker.index).latency.record(took);
    inspect(response, &upstream.upstream.limits)
}

/// Records the arrival of a response head; returns the time since the request was sent.
fn record_head(exchange: &mut Exchange, sent_at: Instant, status: StatusCode) -> Duration {
    let now = exchange.client.worker.clock.now();
    let took = now.duration_since(sent_at);
    exchange.attempt.head_at = Some(now);
    exchange.attempt.latency = Some(took);
    if let Some(memory) = &mut exchange.request.memory {
        memory.release_head();
    }
    if let Some(upload) = &exchange.prepared.upload {
        upload.response_started();
    }
    if let Some(trace) = &mut exchange.trace {
        trace.set_status(status.as_u16());
    }
    took
}

/// Brings the request into the form of the connection's protocol, and keeps a copy of it if it may be sent again:
/// on a stream, which the upstream may refuse without processing it, or if the request is repeatable.
fn keep(
    request: &mut Request<RequestBody>,
    upgrade: Option<&UpgradeRequest>,
    lease: &Lease,
    protocol: Protocol,
    repeatable: bool,
) -> Result<Option<ReplayableRequest>, Fault> {
    match lease {
        Lease::Stream(_) if protocol == Protocol::Https => for_h2(request, Scheme::HTTPS),
        Lease::Stream(_) => for_h2(request, Scheme::HTTP),
        Lease::Whole { .. } if request.version() == Version::HTTP_2 => for_h1(request, upgrade)?,
        Lease::Whole { .. } if repeatable && matches!(request.body(), RequestBody::Empty) => {}
        Lease::Whole { .. } => return Ok(None),
    }
    Ok(Some(ReplayableRequest::capture(request)))
}

/// How one attempt failed.
struct Failure {
    fault: Fault,
    /// The request, if nothing of it was written.
    unsent: Option<Request<RequestBody>>,
    reached: Reached,
}

impl Failure {
    fn of(error: &hyper::Error, unsent: Option<Request<RequestBody>>) -> Self {
        let garbage = error.is_parse() || error.is_parse_status() || error.is_parse_too_large();
        let read = if garbage { Fault::UpstreamProtocol } else { Fault::UpstreamReset };
        let fault = if error.is_parse_too_large() { Fault::UpstreamHeaders } else { read };
        let reached = match &unsent {
            Some(_) => Reached::Unsent,
            None if is_unprocessed(error) => Reached::Unprocessed,
            None if garbage => Reached::Answered,
            None if error.is_user() => Reached::Aborted,
            None => Reached::Unanswered,
        };
        Self { fault, unsent, reached }
    }

    /// The request to send again.
    ///
    /// # Errors
    /// The fault of the attempt, if the request is not sent again.
    fn resent(&mut self, replayable: Option<ReplayableRequest>, next: Retry) -> Result<Request<RequestBody>, Fault> {
        if next == Retry::GiveUp {
            return Err(self.fault);
        }
        self.unsent.take().or_else(|| replayable.map(ReplayableRequest::into_request)).ok_or(self.fault)
    }
}

/// Whether the upstream said that it did not process the stream: by `REFUSED_STREAM` (RFC 9113 §8.7), or by a GOAWAY
/// with a lower last stream id (§6.8), which h2 reports as a remote GOAWAY error of the stream.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (refused || cause.is_go_away())
    })
}

/// Announces the request to the byte stream of an HTTP/1.1 connection, which writes its original query and trailers,
/// scans its response, and forwards informational responses.
fn announce(exchange: &Exchange, lease: &Lease, request: &Request<RequestBody>) {
    let Lease::Whole { connection, .. } = lease else { return };
    connection.state.upgrade_requested.set(exchange.upgrade.requested().is_some());
    connection.state.begin(request);
    if let Some(upload) = exchange.prepared.upload.as_ref().filter(|_| is_chunked(request)) {
        upload.set_trailers(&connection.state.trailing);
    }
    if exchange.request.version == Version::HTTP_11 {
        connection.state.forward_informational(&exchange.client.informational);
    }
}

async fn attempt(exchange: &mut Exchange, request: Request<RequestBody>) -> Result<Response<Incoming>, Failure> {
    match &mut exchange.attempt.lease {
        Some(Lease::Whole { connection, .. }) => {
            connection.sender.try_send_request(request).await.map_err(|mut error| {
                let unsent = error.take_message();
                let mut failure = Failure::of(error.error(), unsent);
                if connection.state.is_broken() {
                    failure.fault = Fault::UpstreamProtocol;
                }
                // After the first byte of a response there is no retry: the client may have seen a part of it.
                if failure.reached == Reached::Unanswered && connection.state.is_answered() {
                    failure.reached = Reached::Answered;
                }
                let speaks_tls = failure.fault == Fault::UpstreamProtocol && connection.state.has_received_tls();
                if speaks_tls { Failure { fault: Fault::UpstreamSpeaksTls, ..failure } } else { failure }
            })
        }
        Some(Lease::Stream(stream)) => {
            if let Some(upload) = &exchange.prepared.upload {
                upload.set_send_task(SendTask::new(&exchange.client.worker.last_started));
            }
            stream.sender.try_send_request(request).await.map_err(|mut error| {
                let unsent = error.take_message();
                Failure::of(error.error(), unsent)
            })
        }
        None => Err(Failure { fault: Fault::UpstreamReset, unsent: None, reached: Reached::Unanswered }),
    }
}

/// Rejects an ambiguous response head, and over HTTP/2 one that is too large. Over HTTP/1.1 hyper does not parse a head
/// beyond the limit.
fn inspect(response: &Response<Incoming>, limits: &UpstreamLimits) -> Result<(), Fault> {
    let http2 = response.version() == Version::HTTP_2;
    if http2 && is_too_large(response.headers(), limits) {
        return Err(Fault::UpstreamHeaders);
    }
    let odd = response.status().as_u16() >= 600;
    let ambiguous = is_ambiguous_response(response.version(), response.headers());
    if odd || ambiguous { Err(Fault::UpstreamProtocol) } else { Ok(()) }
}
