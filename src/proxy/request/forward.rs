//! Forward: sends a request to an endpoint of the upstream and receives the head of its response.
//!
//! A request is sent once. A failed try goes to `follow_up.rs`, which asks the pure rule in `failover/retry.rs` and moves
//! the request on. `upstream_connector.rs` has the endpoint and its connection.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, StatusCode, Version};

use super::ended_try::{self, AfterFailure, EndedTry, TryEnd};
use super::exchange::{ChosenVariant, Exchange, ExchangeStage, PreparedBody};
use super::follow_up;
use super::judge;
use super::kill_streams::Carrier;
use super::response_deadline::ResponseDeadline;
use super::trace;
use super::try_failure::TryFailure;
use super::try_limit::TryLimit;
use super::upstream_connector::UpstreamConnector;
use crate::clock::Timestamp;
use crate::failover::{FailureCause, Reached, Resendable};
use crate::proxy::body::replay::ReplayableBody;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::body::upload::UploadFault;
use crate::proxy::upstream::h1;
use crate::proxy::upstream::h1::connection::SendError;
use crate::proxy::upstream::h1::request_writer::OutgoingRequest;
use crate::proxy::upstream::h2_peer::H2PeerState;
use crate::proxy::upstream::http_version::for_h2;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::pool::UpstreamPool;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::is_agreed;
use crate::proxy::upstream::upstream_head::UpstreamHead;
use crate::proxy::upstream::upstream_response::UpstreamResponse;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{is_ambiguous_response, is_too_large};
use crate::proxy::worker::send_task::SendTask;
use crate::route::{Protocol, RetryCondition, Timeouts, UpstreamLimits};
use crate::telemetry::{Refusal, StatusClass, UnavailableCause, UpstreamMeter};

/// Sends a request and receives the head of its response. The response body is read later, as the client takes it.
pub(super) async fn forward(
    exchange: &mut Exchange,
    body: RequestBody,
    chosen: ChosenVariant,
    timeouts: &Timeouts,
) -> Result<(), Fault> {
    exchange.progress.stage = ExchangeStage::Connect;
    judge::expose(exchange, &chosen);
    let connector = UpstreamConnector::new(exchange, chosen);
    let mut connector = connector.inspect_err(|fault| {
        count_unavailable(exchange, chosen, *fault);
        judge::ended(exchange, *fault);
    })?;
    // Nothing was awaited since the request's head arrived, so the deadline starts at its full length.
    let mut deadline = ResponseDeadline::new(exchange, timeouts.request);
    let sent = {
        let kill = exchange.killable(|| Carrier::Polled);
        let sending = pin!(send(exchange, &mut connector, body, timeouts.per_try));
        deadline.bound(kill.as_ref(), sending).await
    };
    let Err(fault) = sent else {
        let status = exchange.upstream_response.head.status.as_u16();
        answering(exchange, chosen).requests[StatusClass::of(status) as usize].inc();
        return Ok(());
    };
    Err(fail(exchange, chosen, fault))
}

/// The meter of the upstream in use: the connector may have switched to stable's.
#[inline]
fn answering(exchange: &Exchange, chosen: ChosenVariant) -> &UpstreamMeter {
    let id = exchange.routing.chosen.unwrap_or(chosen).upstream;
    exchange.proxy.upstream(&exchange.view, id).meter(exchange.client.worker.index)
}

/// Records that the upstream has given no response. Returns whose fault it is.
#[cold]
fn fail(exchange: &mut Exchange, chosen: ChosenVariant, fault: Fault) -> Fault {
    let fault = blame(&exchange.prepared, fault);
    answering(exchange, chosen).requests[StatusClass::None as usize].inc();
    let connects = exchange.progress.stage == ExchangeStage::Connect;
    if connects && exchange.attempt.waited.get() {
        // The upstream's limit took its time: the endpoint has not failed.
    } else if connects
        && matches!(fault, Fault::ResponseTimeout | Fault::CallTimeout)
        && let Some(flight) = &exchange.attempt.flight
    {
        // A deadline that fires while connecting counts as a failed connection. That of a call is the client's.
        flight.record_connect_timeout();
        if fault == Fault::ResponseTimeout {
            exchange.charge(FailureCause::ConnectTimeout);
        }
    } else if fault == Fault::ResponseTimeout && exchange.attempt.failed_tries().is_empty() {
        // After an earlier try, the time that is over is not that of this endpoint alone.
        exchange.charge(FailureCause::Timeout);
    }
    judge::ended(exchange, fault);
    let row = fault.row();
    if row.upstream_failed {
        answering(exchange, chosen).failures.inc();
    }
    count_unavailable(exchange, chosen, fault);
    exchange.release_upstream();
    exchange.attempt.flight = None;
    trace::end_attempt(exchange, row.detail);
    if let (Some(primary), Some(failure)) = (&exchange.mirror.primary, row.failure) {
        primary.fail(failure, exchange.client.worker.clock.now().duration_since(exchange.request.began));
    }
    fault
}

/// A failed upload is the fault of the client, even if it looks like a failure of the upstream.
fn blame(sent: &PreparedBody, fault: Fault) -> Fault {
    match sent.upload.as_ref().and_then(|upload| upload.failed.get()) {
        Some(UploadFault::Refused(refusal)) => Fault::Refused(refusal),
        Some(UploadFault::Gone) => Fault::ClientGone,
        None => fault,
    }
}

/// Counts a 503 of the proxy by its cause.
#[cold]
fn count_unavailable(exchange: &Exchange, chosen: ChosenVariant, fault: Fault) {
    let cause = if fault == Fault::NoEndpoint {
        UnavailableCause::NoEndpoint
    } else if fault == Fault::Ejected {
        UnavailableCause::Ejected
    } else if fault == Fault::Unhealthy {
        UnavailableCause::Unhealthy
    } else if matches!(fault, Fault::UpstreamRequests | Fault::UpstreamConnections) {
        UnavailableCause::Limits
    } else {
        return;
    };
    answering(exchange, chosen).unavailable[cause as usize].inc();
}

/// Sends a request, and sends it again if the retry rule allows it.
async fn send(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    mut body: RequestBody,
    per_try: Option<Duration>,
) -> Result<(), Fault> {
    loop {
        let (lease, reused) = match connector.connect_at_once(exchange) {
            Ok(lease) => (lease, true),
            // Boxed, as are the futures below: few requests need them, and all would have their size.
            Err(reuse) => Box::pin(connector.connect(exchange, reuse)).await?,
        };
        let begun = begin_try(exchange, connector, &mut body, lease, reused)?;
        let limit = TryLimit::new(exchange, per_try);
        let sent = attempt(exchange, &mut body, limit).await;
        let Some(ended) = end_try(exchange, connector, sent, begun) else {
            if is_agreed(exchange.upgrade.requested(), &exchange.upstream_response.head)? {
                Box::pin(switch(exchange)).await?;
            }
            return Ok(());
        };
        match Box::pin(ended_try::move_on(exchange, connector, mem::take(&mut body), ended)).await? {
            AfterFailure::Again(again) => body = again,
            AfterFailure::Stands => return Ok(()),
        }
    }
}

/// A try under way.
struct BegunTry {
    sent_at: Timestamp,
    /// The connection came from the pool.
    reused: bool,
    /// The request has no body.
    bodiless: bool,
    replayable: Option<ReplayableBody>,
    /// The HTTP/2 connection.
    peer: Option<Rc<H2PeerState>>,
}

/// Begins a try: the exchange has the connection from now on.
#[inline]
fn begin_try(
    exchange: &mut Exchange,
    connector: &mut UpstreamConnector,
    body: &mut RequestBody,
    lease: Lease,
    reused: bool,
) -> Result<BegunTry, Fault> {
    let replayable = keep(exchange, body, &lease);
    let bodiless = matches!(body, RequestBody::Empty);
    let peer = lease.h2_peer();
    if let Some(upgrade) = exchange.upgrade.requested() {
        upgrade.check_connection(peer.as_ref().map(|peer| peer.takes_extended_connect()))?;
    }
    exchange.progress.stage = ExchangeStage::Head;
    // A pooled connection is ready at once, so the start of the request is exact enough and saves a clock read.
    let is_first = exchange.attempt.number == 1;
    connector.sent += 1;
    let clock = &exchange.client.worker.clock;
    let sent_at =
        if reused && is_first && !exchange.attempt.waited.get() { exchange.request.began } else { clock.now() };
    judge::sent(exchange, sent_at);
    // The lease is in the exchange before the await: if this future is dropped, the exchange releases it.
    exchange.attempt.lease = Some(lease);
    Ok(BegunTry { sent_at, reused, bodiless, replayable, peer })
}

/// Ends a try. Returns how it ended if it did not succeed.
#[inline]
fn end_try(
    exchange: &mut Exchange,
    connector: &UpstreamConnector,
    sent: Result<(), SendError>,
    begun: BegunTry,
) -> Option<Box<EndedTry>> {
    let BegunTry { sent_at, reused, bodiless, replayable, peer } = begun;
    let received = match sent {
        Ok(()) => receive(exchange, &connector.upstream, sent_at),
        Err(error) => Err(Box::new(TryEnd::Failed(failure_of(error)))),
    };
    let Err(end) = received else {
        if let Some(replayable) = replayable {
            // There is no retry after the response head, so the kept pieces of the body can go.
            replayable.discard();
        }
        return None;
    };
    let unkept = if bodiless { Resendable::Bodiless } else { Resendable::No };
    let resendable = replayable.as_ref().map_or(unkept, ReplayableBody::resendable);
    Some(Box::new(EndedTry { end, reused, resendable, replayable, peer }))
}

/// Takes the connection or stream over, after the endpoint has agreed to the upgrade.
async fn switch(exchange: &mut Exchange) -> Result<(), Fault> {
    let Exchange { upgrade, attempt, upstream_response, .. } = exchange;
    let tunnel_end = TunnelEnd::take_over(&mut attempt.lease, upgrade.requested(), upstream_response).await?;
    exchange.upgrade.switch(tunnel_end);
    exchange.succeed();
    Ok(())
}

/// Records and validates the head of a response.
#[inline]
fn receive(exchange: &mut Exchange, upstream: &UpstreamPool, sent_at: Timestamp) -> Result<(), Box<TryEnd>> {
    let status = exchange.upstream_response.head.status;
    let took = record_head(exchange, sent_at, status);
    upstream.meter(exchange.client.worker.index).latency.record(took);
    if let Err(fault) = inspect(&exchange.upstream_response.head, &upstream.upstream.limits) {
        let failure = TryFailure { reached: Reached::Answered, ..TryFailure::of_fault(fault) };
        // Its stream ends here, not with the next try, which may wait.
        exchange.forget_upstream_response();
        return Err(Box::new(TryEnd::Failed(failure)));
    }
    judge::answered(exchange);
    // A status of gRPC in the head is that of a trailers-only response.
    let is_trailers_only = exchange.call.is_some() && exchange.upstream_response.body.is_end_stream();
    let mut is_failure = status.is_server_error();
    if (status.as_u16() >= 400 || is_trailers_only)
        && let Some(failure) = TryFailure::of_head(
            &exchange.upstream_response.head,
            &upstream.upstream.outlier,
            exchange.call.as_deref().filter(|_| is_trailers_only),
        )
    {
        follow_up::refuse(exchange, &failure);
        is_failure |= failure.keeps_ms().is_some();
        if is_failure {
            exchange.observe_failure();
        }
        if follow_up::matters(exchange, &failure) {
            return Err(Box::new(TryEnd::Answered(failure)));
        }
    }
    if let Some(flight) = &exchange.attempt.flight {
        if is_failure {
            exchange.observe_failure();
        } else {
            flight.observe(took);
        }
        if flight.is_trial {
            // The endpoint is admitted as soon as it responds: a body may take long.
            exchange.succeed();
        }
    }
    Ok(())
}

/// Records the arrival of a response head; returns the time since the request was sent.
fn record_head(exchange: &mut Exchange, sent_at: Timestamp, status: StatusCode) -> Duration {
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

/// Keeps of the body what another try needs and the sender takes: on a stream, which the upstream may refuse without
/// processing it, all of it; on a connection, a body that the route's policy keeps.
fn keep(exchange: &Exchange, body: &mut RequestBody, lease: &Lease) -> Option<ReplayableBody> {
    let limit = match lease {
        Lease::Whole { .. } if matches!(body, RequestBody::Empty) => None,
        Lease::Whole { .. } => follow_up::kept_body(exchange),
        Lease::Stream(_) => Some(follow_up::body_buffer(exchange)),
    };
    limit.map(|limit| ReplayableBody::capture(body, limit))
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

/// What an error of a try is to the endpoint's health and to the retry rule.
fn failure_of(error: SendError) -> TryFailure {
    let SendError { fault, reached } = error;
    let failure = TryFailure { reached, ..TryFailure::of_fault(fault) };
    match reached {
        Reached::Unsent => TryFailure { condition: Some(RetryCondition::Connect), ..failure },
        Reached::Unprocessed => {
            TryFailure { condition: Some(RetryCondition::RefusedStream), cause: None, why: "refused_stream", ..failure }
        }
        Reached::Aborted => TryFailure { condition: None, cause: None, ..failure },
        Reached::Unanswered | Reached::Answered => failure,
    }
}

/// Sends the request once, within the limit. If nothing of it was written, its body is as before.
async fn attempt(exchange: &mut Exchange, body: &mut RequestBody, mut limit: TryLimit) -> Result<(), SendError> {
    let head = &exchange.request.head;
    match &mut exchange.attempt.lease {
        Some(Lease::Whole { connection, .. }) => {
            let takes_informational = head.version == Version::HTTP_11;
            let informational = takes_informational.then_some(&*exchange.client.informational);
            let mut request = OutgoingRequest { head, body };
            h1::send::begin(connection, &request)?;
            poll_fn(|cx| match h1::send::poll(connection, cx, &mut request, informational) {
                Poll::Pending => limit.poll(cx).map(Err),
                sent @ Poll::Ready(_) => sent,
            })
            .await?;
            exchange.upstream_response.set_connection(connection)
        }
        Some(Lease::Stream(stream)) => {
            let worker = &exchange.client.worker;
            if let Some(upload) = &exchange.prepared.upload {
                upload.set_send_task(SendTask::new(&worker.last_started));
            }
            let is_tls = exchange.attempt.endpoint.as_ref().is_some_and(|one| one.protocol() == Protocol::Https);
            let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
            // `prepare` has checked the target.
            let request = for_h2(head, mem::take(body), scheme)
                .map_err(|_| SendError { fault: Fault::Refused(Refusal::Internal), reached: Reached::Aborted })?;
            let mut sending = pin!(stream.sender.try_send_request(request));
            let sent = poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Pending => limit.poll(cx).map(Err),
                Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            });
            match sent.await? {
                Ok(response) => {
                    exchange.upstream_response = UpstreamResponse::on_stream(response, worker.spare_fields());
                    Ok(())
                }
                Err(mut error) => {
                    let unsent = error.take_message();
                    let reached = if unsent.is_some() { Reached::Unsent } else { reached(error.error()) };
                    *body = unsent.map(Request::into_body).unwrap_or_default();
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
fn inspect(head: &UpstreamHead, limits: &UpstreamLimits) -> Result<(), Fault> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    if is_too_large(&head.fields, limits) {
        return Err(Fault::UpstreamHeaders);
    }
    let odd = head.status.as_u16() >= 600;
    if odd || is_ambiguous_response(head.version, &head.fields) { Err(Fault::UpstreamProtocol) } else { Ok(()) }
}
