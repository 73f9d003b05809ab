//! What guards learn of a request. Judged is its first try on its variant, once: a later success hides nothing, and a try
//! that only met the end of an idle connection, or a refused stream, is none if another one follows on the variant.
//!
//! Nothing here decides anything about the request.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::exchange::{ChosenVariant, Exchange};
use super::judged::{Judged, JudgedStep};
use super::judged_requests::JudgedRequest;
use crate::clock::Timestamp;
use crate::fields::Fields;
use crate::proxy::upstream::upgrade_request::is_agreed;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::EVENT;
use crate::route::{Counted, KeyHash, RouteId, TryOutcome};
use crate::telemetry::{Fallback, GrpcStatus, GuardTicket, GuardWatch, HeadWait, ReportedSignals};

/// A tunnel that the upstream resets within this time is an error.
const TUNNEL_ERROR_WITHIN: Duration = Duration::from_secs(10);

/// Counts a request whose variant a weight has chosen.
#[inline]
pub(super) fn expose(exchange: &mut Exchange, chosen: &ChosenVariant) {
    let decision = &chosen.decision;
    if decision.counted != Counted::Yes {
        return;
    }
    let Some((route, watch)) = watch(exchange) else { return };
    let worker = &exchange.client.worker;
    // Without sticky keys each request is a caller.
    let random = || KeyHash::of(worker.random.borrow_mut().u64(..));
    let Some(ticket) = watch.expose_decided(worker.index, decision, random) else { return };
    let (watch, sent_at, upload, reported) = (watch.id(), None, None, ReportedSignals::default());
    let place = exchange.proxy.judged.insert(JudgedRequest { watch, route, ticket, sent_at, upload, reported });
    exchange.judged = Judged { place: Some(place), step: JudgedStep::Sent };
    if chosen.fallback == Fallback::Yes {
        failed(exchange, Some(Fault::NoEndpoint));
    }
}

/// The request goes to the upstream, on an open connection.
#[inline]
pub(super) fn sent(exchange: &mut Exchange, sent_at: Timestamp) {
    if exchange.judged.step != JudgedStep::Sent {
        return;
    }
    if watch(exchange).is_some_and(|(_, watch)| watch.is_timed()) {
        with_request(exchange, |request| {
            request.sent_at = Some(sent_at);
            request.upload.clone_from(&exchange.prepared.upload);
        });
    }
}

/// The head of a response has come.
#[inline]
pub(super) fn answered(exchange: &mut Exchange) {
    if exchange.judged.step != JudgedStep::Sent {
        return;
    }
    let took = end_wait(exchange, HeadWait::Client);
    let status = exchange.upstream_response.head.status;
    if exchange.call.is_some() || exchange.upgrade.requested().is_some() || status.as_u16() >= 500 {
        return answered_otherwise(exchange, took);
    }
    exchange.judged.step = JudgedStep::Answered;
    let Some((_, watch)) = watch(exchange) else { return };
    with_request(exchange, |request| {
        watch.succeed(exchange.client.worker.index, &request.ticket, took.unwrap_or_default());
    });
    if watch.counts_statuses() {
        report(exchange, TryOutcome { status: status.as_u16(), ..TryOutcome::default() });
    }
    if exchange.upstream_response.may_have_event {
        report_events(exchange, exchange.upstream_response.head.fields.get_all(&EVENT));
    }
}

/// The head of a response that is an error, an answer to a gRPC call or to an upgrade.
#[cold]
fn answered_otherwise(exchange: &mut Exchange, took: Option<Duration>) {
    let response = &exchange.upstream_response;
    let (head, status) = (&response.head, response.head.status);
    if response.may_have_event {
        report_events(exchange, head.fields.get_all(&EVENT));
    }
    let grpc = exchange.call.as_ref().and_then(|_| {
        // Without a status in its head, a response with a body has it in its trailers.
        let of_head = GrpcStatus::of_fields(&head.fields);
        let of_http = || (status != StatusCode::OK).then(|| GrpcStatus::of_http(status));
        of_head.or_else(of_http).or_else(|| response.body.is_end_stream().then_some(GrpcStatus::UNSEEN))
    });
    let requested = exchange.upgrade.requested();
    let not_opened = requested.is_some() && is_agreed(requested, head).is_ok_and(|agreed| !agreed && is_opened(status));
    let is_error = status.as_u16() >= 500 || grpc.is_some_and(GrpcStatus::is_error) || not_opened;
    let outcome = TryOutcome { status: status.as_u16(), grpc: grpc.and_then(GrpcStatus::code), is_error };
    if is_error {
        return fail(exchange, outcome);
    }
    let is_called = exchange.call.is_some() && grpc.is_none();
    exchange.judged.step = if is_called { JudgedStep::Called } else { JudgedStep::Answered };
    report(exchange, outcome);
    with_watch(exchange, |watch, worker, ticket| {
        watch.record_time(worker, ticket, took.unwrap_or_default());
        if !is_called {
            watch.record_success(worker, ticket);
        }
    });
}

/// Whether a client that asked for an upgrade takes this status for an open tunnel, or for none without a reason.
fn is_opened(status: StatusCode) -> bool {
    status.is_success()
}

/// A try ended that says nothing about the variant, and another one follows on it: that one is the first.
#[cold]
pub(super) fn begin_again(exchange: &mut Exchange) {
    with_request(exchange, |request| request.sent_at = None);
}

/// Another try follows a response that is not passed on: what comes is not judged.
#[cold]
pub(super) fn replaced(exchange: &mut Exchange) {
    if exchange.judged.step != JudgedStep::Sent {
        exchange.judged.step = JudgedStep::Over;
    }
}

/// No try was made on the variant, and none will be: what comes is not judged.
#[cold]
pub(super) fn untried(exchange: &mut Exchange) {
    exchange.judged.step = JudgedStep::Over;
}

/// The try failed, or what it began to answer broke.
#[cold]
pub(super) fn failed(exchange: &mut Exchange, fault: Option<Fault>) {
    let row = fault.filter(|_| exchange.judged.step == JudgedStep::Sent).map(Fault::row);
    let grpc = row.filter(|_| exchange.call.is_some()).and_then(|row| row.grpc.code());
    fail(exchange, TryOutcome { status: row.map_or(0, |row| row.status.as_u16()), grpc, is_error: true });
}

/// The exchange has no response of an upstream: by a fault of the upstream, or because the request or its client ended it.
#[cold]
pub(super) fn ended(exchange: &mut Exchange, fault: Fault) {
    let by_upstream = !matches!(
        fault,
        Fault::Refused(_)
            | Fault::RateLimited(_)
            | Fault::Shed
            | Fault::ClientGone
            | Fault::Killed
            | Fault::AnswerMemory
    );
    if by_upstream { failed(exchange, Some(fault)) } else { abandoned(exchange) }
}

/// The body of the response is complete; without trailers, a gRPC call has no status.
#[inline]
pub(super) fn completed(exchange: &mut Exchange) {
    if exchange.judged.step == JudgedStep::Called {
        called(exchange, GrpcStatus::UNSEEN);
    }
}

/// The trailers of the response have come. What they have for the guards is removed.
#[cold]
pub(super) fn trailed(exchange: &mut Exchange, trailers: &mut HeaderMap) {
    if watch(exchange).is_none() {
        return;
    }
    if exchange.judged.step != JudgedStep::Over {
        report_events(exchange, trailers.get_all(&EVENT).iter().map(HeaderValue::as_bytes));
    }
    if exchange.judged.step == JudgedStep::Called {
        called(exchange, GrpcStatus::of_map(trailers).unwrap_or(GrpcStatus::UNSEEN));
    }
    trailers.remove(&EVENT);
}

/// The upstream has reset a tunnel that opened at the head of the response.
#[cold]
pub(super) fn tunnel_reset(exchange: &mut Exchange) {
    let now = exchange.client.worker.clock.now();
    let is_early = |opened: Timestamp| now.duration_since(opened) < TUNNEL_ERROR_WITHIN;
    if exchange.attempt.head_at.is_some_and(is_early) {
        failed(exchange, None);
    }
}

/// The exchange is dropped. A client that leaves before the head of the response may have waited too long.
#[inline]
pub(super) fn dropped(exchange: &mut Exchange) {
    if let Some(place) = exchange.judged.place {
        if exchange.judged.step == JudgedStep::Sent {
            abandoned(exchange);
        }
        exchange.proxy.judged.remove(place);
    }
}

/// Removes from the head of a response what is for the guards of its route.
#[inline]
pub(super) fn strip(exchange: &Exchange, fields: &mut Fields) {
    if watch(exchange).is_some() {
        fields.remove(&EVENT);
    }
}

#[cold]
fn abandoned(exchange: &mut Exchange) {
    end_wait(exchange, HeadWait::Abandoned);
    exchange.judged.step = JudgedStep::Over;
}

/// The status of a gRPC call is known.
#[cold]
fn called(exchange: &mut Exchange, status: GrpcStatus) {
    let outcome = TryOutcome { status: 0, grpc: status.code(), is_error: status.is_error() };
    if outcome.is_error {
        return fail(exchange, outcome);
    }
    exchange.judged.step = JudgedStep::Over;
    report(exchange, outcome);
    with_watch(exchange, GuardWatch::record_success);
}

/// The try failed. After a response without an error, the failure is a late one.
#[cold]
fn fail(exchange: &mut Exchange, outcome: TryOutcome) {
    let step = std::mem::take(&mut exchange.judged.step);
    if step == JudgedStep::Over {
        return;
    }
    end_wait(exchange, HeadWait::Client);
    report(exchange, outcome);
    with_watch(exchange, if step == JudgedStep::Answered { GuardWatch::fail_late } else { GuardWatch::fail });
}

/// Ends the wait for the head of a response; returns how long it was, if something was awaited.
#[inline]
fn end_wait(exchange: &Exchange, ended: impl FnOnce(Duration) -> HeadWait) -> Option<Duration> {
    let (_, watch) = watch(exchange)?;
    with_request(exchange, |request| {
        let now = exchange.attempt.head_at.unwrap_or_else(|| exchange.client.worker.clock.now());
        let waited = request.waited(now);
        request.sent_at = None;
        if let Some(waited) = waited.filter(|waited| watch.is_slow(*waited)) {
            watch.report_wait(exchange.client.worker.index, &request.ticket, ended(waited), &mut request.reported);
        }
        waited
    })?
}

#[cold]
fn report(exchange: &Exchange, outcome: TryOutcome) {
    let Some((_, watch)) = watch(exchange) else { return };
    with_request(exchange, |request| {
        watch.report(exchange.client.worker.index, &request.ticket, outcome, &mut request.reported);
    });
}

#[cold]
fn report_events<'a>(exchange: &Exchange, lines: impl Iterator<Item = &'a [u8]>) {
    let Some((_, watch)) = watch(exchange) else { return };
    with_request(exchange, |request| {
        for line in lines {
            watch.report_line(exchange.client.worker.index, &request.ticket, line, &mut request.reported);
        }
    });
}

fn with_watch(exchange: &Exchange, record: impl FnOnce(&GuardWatch, usize, &GuardTicket)) {
    let Some((_, watch)) = watch(exchange) else { return };
    with_request(exchange, |request| record(watch, exchange.client.worker.index, &request.ticket));
}

#[inline]
fn with_request<T>(exchange: &Exchange, change: impl FnOnce(&mut JudgedRequest) -> T) -> Option<T> {
    exchange.proxy.judged.with(exchange.judged.place?, change)
}

/// The watch of the route, if guards watch it.
#[inline]
fn watch(exchange: &Exchange) -> Option<(RouteId, &GuardWatch)> {
    let route = exchange.routing.route?;
    Some((route, exchange.view.watch(route)?))
}
