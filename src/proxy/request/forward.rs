//! Forward: sends a request to an endpoint of the upstream and receives the head of its response.
//!
//! A request is sent once. After a failure, the pure rule in `retry.rs` decides whether it is sent again.
//! `upstream_connector.rs` chooses the endpoint, and another one if that cannot be connected to.

use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, StatusCode, Version, response};

use super::exchange::{ChosenVariant, Exchange, ExchangeStage, PreparedBody};
use super::kill_streams::{Carrier, unless_killed};
use super::response_deadline::ResponseDeadline;
use super::trace;
use super::upstream_connector::UpstreamConnector;
use crate::proxy::body::replay::ReplayableRequest;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::body::upload::UploadFault;
use crate::proxy::upstream::h1;
use crate::proxy::upstream::h1::connection::SendError;
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::http_version::{for_h1, for_h2};
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::{ConnectTarget, UpstreamPool};
use crate::proxy::upstream::tls;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::{UpgradeRequest, is_agreed};
use crate::proxy::upstream::upstream_response::UpstreamResponse;
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
) -> Result<UpstreamResponse, Fault> {
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
        Ok(response) => meter.requests[StatusClass::of(response.head.status.as_u16()) as usize].inc(),
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
) -> Result<UpstreamResponse, Fault> {
    let idempotent = retry::is_idempotent(request.method());
    let worker = Rc::clone(&exchange.client.worker);
    let mut declined: Option<Rc<H2PeerState>> = None;
    loop {
        let (lease, reused) = connector.connect(exchange, &mut request, declined.as_ref()).await?;
        let upgrade = exchange.upgrade.requested();
        let replayable = convert(&mut request, upgrade, &lease, connector.pool().protocol())?;
        let bodiless = matches!(request.body(), RequestBody::Empty);
        let peer = lease.h2_peer();
        if let Some(upgrade) = upgrade {
            upgrade.check_connection(peer.as_ref().map(|peer| peer.takes_extended_connect()))?;
        }
        exchange.progress.stage = ExchangeStage::Head;
        // A pooled connection is ready at once, so the start of the request is exact enough and saves a clock read.
        let sent_at = if reused { exchange.request.began } else { worker.clock.now() };
        // The lease is in the exchange before the await: if this future is dropped, the exchange releases it.
        exchange.attempt.lease = Some(lease);
        let failure = match attempt(exchange, &mut request).await {
            Ok(mut response) => {
                if let Some(replayable) = replayable {
                    // There is no retry after the response head, so the kept pieces of the body can go.
                    replayable.discard();
                }
                receive(exchange, &connector.upstream, &response.head, sent_at)?;
                let requested = exchange.upgrade.requested();
                if is_agreed(requested, &response.head)? {
                    // Boxed: few requests upgrade, and all would have the size of this future.
                    let tunnel_end =
                        Box::pin(TunnelEnd::take_over(&mut exchange.attempt.lease, requested, &mut response.head))
                            .await?;
                    exchange.upgrade.switch(tunnel_end);
                }
                return Ok(response);
            }
            Err(failure) => failure,
        };
        end_attempt(exchange, &connector, failure.fault)?;
        let unkept = if bodiless { Resendable::Bodiless } else { Resendable::No };
        let resendable = replayable.as_ref().map_or(unkept, ReplayableRequest::resendable);
        let failed = FailedAttempt { reached: failure.reached, reused, idempotent, resendable };
        let next = retry::next(failed, connector.tries(declined.as_ref()));
        if failure.reached == Reached::Unprocessed {
            // The next attempt avoids this connection, which may refuse its streams again.
            declined = declined.or(peer);
        }
        if let Some(replayable) = replayable.filter(|_| next != Retry::GiveUp && failure.reached != Reached::Unsent) {
            request = replayable.into_request();
        }
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
    head: &response::Parts,
    sent_at: Instant,
) -> Result<(), Fault> {
    let took = record_head(exchange, sent_at, head.status);
    upstream.meter(exchange.client.worker.index).latency.record(took);
    inspect(head, &upstream.upstream.limits)
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

/// Brings the request into the form of the connection's protocol. On a stream, which the upstream may refuse without
/// processing it, also keeps a copy of it: hyper takes the request.
fn convert(
    request: &mut Request<RequestBody>,
    upgrade: Option<&UpgradeRequest>,
    lease: &Lease,
    protocol: Protocol,
) -> Result<Option<ReplayableRequest>, Fault> {
    match lease {
        Lease::Whole { .. } => {
            if request.version() == Version::HTTP_2 {
                for_h1(request, upgrade)?;
            }
            return Ok(None);
        }
        Lease::Stream(_) if protocol == Protocol::Https => for_h2(request, Scheme::HTTPS),
        Lease::Stream(_) => for_h2(request, Scheme::HTTP),
    }
    Ok(Some(ReplayableRequest::capture(request)))
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

/// Sends the request once. If nothing of it was written, it is as before.
async fn attempt(exchange: &mut Exchange, request: &mut Request<RequestBody>) -> Result<UpstreamResponse, SendError> {
    match &mut exchange.attempt.lease {
        Some(Lease::Whole { connection, .. }) => {
            let takes_informational = exchange.request.version == Version::HTTP_11;
            let informational = takes_informational.then_some(&*exchange.client.informational);
            let (head, body) = h1::send::send(connection, request, informational).await?;
            Ok(UpstreamResponse::on_connection(head, body))
        }
        Some(Lease::Stream(stream)) => {
            if let Some(upload) = &exchange.prepared.upload {
                upload.set_send_task(SendTask::new(&exchange.client.worker.last_started));
            }
            match stream.sender.try_send_request(mem::take(request)).await {
                Ok(response) => Ok(UpstreamResponse::on_stream(response)),
                Err(mut error) => {
                    let unsent = error.take_message();
                    let reached = if unsent.is_some() { Reached::Unsent } else { reached(error.error()) };
                    *request = unsent.unwrap_or_default();
                    Err(SendError { fault: stream_fault(error.error()), reached })
                }
            }
        }
        None => Err(SendError { fault: Fault::UpstreamReset, reached: Reached::Unanswered }),
    }
}

/// The fault of a failed stream.
fn stream_fault(error: &hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        Fault::UpstreamHeaders
    } else if error.is_parse() || error.is_parse_status() {
        Fault::UpstreamProtocol
    } else {
        Fault::UpstreamReset
    }
}

/// How far a request came on a stream that hyper took it for.
fn reached(error: &hyper::Error) -> Reached {
    if is_unprocessed(error) {
        Reached::Unprocessed
    } else if stream_fault(error) != Fault::UpstreamReset {
        Reached::Answered
    } else if error.is_user() {
        Reached::Aborted
    } else {
        Reached::Unanswered
    }
}

/// Rejects an ambiguous or too large head of a response over HTTP/2. Over HTTP/1.1 the scanner has done so.
fn inspect(head: &response::Parts, limits: &UpstreamLimits) -> Result<(), Fault> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    if is_too_large(&head.headers, limits) {
        return Err(Fault::UpstreamHeaders);
    }
    let odd = head.status.as_u16() >= 600;
    if odd || is_ambiguous_response(head.version, &head.headers) { Err(Fault::UpstreamProtocol) } else { Ok(()) }
}
