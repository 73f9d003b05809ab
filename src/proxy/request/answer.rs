//! Answer: the response in the form that the client gets.

use std::mem;

use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use http_body_util::Either;

use super::exchange::{Exchange, ExchangeStage, SplitTarget};
use super::forwarding::PROXY_STATUS;
use super::judge;
use super::response_body::{Edge, ResponseBody};
use super::sending::BodySource;
use crate::failover::GiveUpReason;
use crate::fields::Fields;
use crate::proxy::downstream::client_request::ClientResponse;
use crate::proxy::upstream::lease::Lease;
use crate::proxy::upstream::upstream_response::{HopByHop, UpstreamBody, UpstreamResponse, WholeBody};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::strip_hop_by_hop;
use crate::proxy::wire::grpc;
use crate::proxy::worker::budget::BodyTransport;
use crate::route::{Redirect, Respond};
use crate::telemetry::{EndedBy, GrpcStatus};

/// Bodies up to this size may be read at once.
const SMALL_BYTES_MAX: u64 = 16 * 1024;
/// Forbids caches to reuse, without revalidation, the `Set-Cookie` field that the proxy added.
const NO_CACHED_COOKIE: &str = "no-cache=\"set-cookie\"";
const EXPLAIN: HeaderName = HeaderName::from_static("x-pointsman-explain");

/// Turns the upstream's response into the client's, if the budget has memory for its body.
pub(crate) fn answer(exchange: &mut Exchange, target: SplitTarget<'_>) -> Result<ClientResponse<()>, Fault> {
    let SplitTarget { route, split, .. } = target;
    account(exchange)?;
    let UpstreamResponse { head, upgrade, hop_by_hop, may_have_event, .. } = &mut exchange.upstream_response;
    let (hop_by_hop, may_have_event, status) = (*hop_by_hop, *may_have_event, head.status);
    let mut fields = mem::take(&mut head.fields);
    *upgrade = None;
    if hop_by_hop == HopByHop::Possible {
        strip_hop_by_hop(&mut fields);
    }
    if let Some(primary) = &exchange.mirror.primary {
        let took = exchange.attempt.latency.unwrap_or_default();
        primary.head(status, &fields, took, exchange.client.worker.clock.now());
    }
    if may_have_event {
        judge::strip(exchange, &mut fields);
    }
    if !route.response_headers.is_empty() {
        let request_id = exchange.request_id();
        route.response_headers.apply(&mut fields, &exchange.values(&request_id));
    }
    if let (Some(identity), Some(name)) = (&exchange.caller.issued, &split.sticky_cookie) {
        let secure = if exchange.scheme() == "https" { "; Secure" } else { "" };
        let cookie = format!("{name}={identity}; HttpOnly; SameSite=Lax; Path=/{secure}");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            fields.append(&header::SET_COOKIE, &cookie);
            keep_from_caches(&mut fields);
        }
    }
    if exchange.attempt.retry_end() == GiveUpReason::Budget.name() {
        // The upstream's own error, which another try might have replaced (RFC 9209 §2.1.2).
        fields.append(&PROXY_STATUS, &HeaderValue::from_static("pointsman; details=\"budget\""));
    }
    if exchange.attempt.is_last_resort {
        fields.append(&PROXY_STATUS, &HeaderValue::from_static("pointsman; details=\"last_resort\""));
    }
    if let Some(call) = &mut exchange.call {
        call.head(status, &fields);
    }
    if let Some(upload) = &exchange.prepared.upload {
        upload.answered.set(true);
    }
    exchange.sending.source = settle(exchange, status.as_u16());
    Ok(ClientResponse::new(status, fields, ()))
}

/// Keeps the cookie of one caller from others: unless a shared cache may not store the response at all, it must
/// revalidate before it reuses the stored field (RFC 9111 §5.2.2.4).
fn keep_from_caches(fields: &mut Fields) {
    let lines: Vec<&[u8]> = fields.get_all("cache-control").collect();
    let keeps = [&b"no-store"[..], b"private", b"no-cache", NO_CACHED_COOKIE.as_bytes()];
    let kept = |directive: &[u8]| keeps.iter().any(|known| directive.trim_ascii().eq_ignore_ascii_case(known));
    let mut quoted = false;
    let separates = |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    let joined = lines.join(&b", "[..]);
    if joined.split(separates).any(kept) {
        return;
    }
    let all = if joined.trim_ascii().is_empty() {
        HeaderValue::from_static(NO_CACHED_COOKIE)
    } else {
        let all = [&joined[..], b", ", NO_CACHED_COOKIE.as_bytes()].concat();
        HeaderValue::from_bytes(&all).unwrap_or(HeaderValue::from_static(NO_CACHED_COOKIE))
    };
    fields.insert(&header::CACHE_CONTROL, &all);
}

/// Reads a small body at once if it has arrived, so that the upstream connection is free however slowly the client
/// reads.
fn settle(exchange: &mut Exchange, status: u16) -> BodySource {
    let body = &mut exchange.upstream_response.body;
    let length = body.size_hint().exact().unwrap_or(0);
    // Over HTTP/2, an upstream can send a body where none is allowed (RFC 9110 §6.4.1).
    let bodiless = exchange.request.head.method == http::Method::HEAD || matches!(status, 204 | 304);
    if bodiless && !body.is_end_stream() {
        *body = UpstreamBody::None;
        return BodySource::Own(None);
    }
    let uploads = exchange.prepared.upload.as_ref().is_some_and(|upload| !upload.ended.get());
    if length == 0 || length > SMALL_BYTES_MAX || uploads {
        return BodySource::Upstream(None);
    }
    match body.take_whole(&mut exchange.attempt.lease) {
        WholeBody::Arrived(data) => {
            *body = UpstreamBody::None;
            if let Some(lease) = exchange.attempt.lease.take() {
                lease.finish(exchange.prepared.upload.as_ref(), exchange.client.worker.now_ms());
            }
            exchange.succeed();
            exchange.attempt.flight = None;
            BodySource::Own(Some(data))
        }
        WholeBody::Later(polled) => BodySource::Upstream(polled),
    }
}

/// Reserves the buffers of a body, unless it is small.
fn account(exchange: &mut Exchange) -> Result<(), Fault> {
    let length = exchange.upstream_response.body.size_hint().exact();
    let Some(memory) = &mut exchange.request.memory else { return Ok(()) };
    if length.is_some_and(|length| length <= SMALL_BYTES_MAX) {
        return Ok(());
    }
    let transport = if matches!(exchange.attempt.lease, Some(Lease::Stream(_))) {
        BodyTransport::SharedConnection
    } else {
        BodyTransport::OwnConnection
    };
    let taken = memory.reserve_body(transport, length);
    taken.map_err(|refusal| {
        // No `Retry-After`: the upstream has processed the request.
        exchange.client.worker.meter().refuse(refusal);
        Fault::AnswerMemory
    })
}

pub(super) fn redirect(exchange: &mut Exchange, redirect: &Redirect) -> ClientResponse<()> {
    let request_id = exchange.request_id();
    let location = redirect.to.location(&exchange.values(&request_id));
    let mut response = bodiless(exchange, redirect.status);
    response.fields.append(&header::LOCATION, &location);
    apply_route_edits(exchange, response)
}

/// The configured response of the route.
pub(super) fn respond(exchange: &mut Exchange, respond: &Respond) -> ClientResponse<()> {
    let response = fixed(exchange, respond);
    apply_route_edits(exchange, response)
}

/// The configured response of an access rule.
pub(super) fn close_out(exchange: &mut Exchange, respond: &Respond) -> ClientResponse<()> {
    let response = fixed(exchange, respond);
    let response = apply_route_edits(exchange, response);
    exchange.record_end(EndedBy::Done, "access");
    response
}

/// A response of the proxy without fields and body.
fn bodiless(exchange: &mut Exchange, status: StatusCode) -> ClientResponse<()> {
    exchange.sending.source = BodySource::Own(None);
    ClientResponse::new(status, exchange.client.worker.spare_fields(), ())
}

/// A configured response. For a gRPC call, an error has the form of gRPC.
fn fixed(exchange: &mut Exchange, respond: &Respond) -> ClientResponse<()> {
    let mut response = bodiless(exchange, respond.status);
    if let Some(call) = exchange.call.as_mut().filter(|_| respond.status.as_u16() >= 400) {
        call.status = GrpcStatus::of_http(respond.status);
        response.status = StatusCode::OK;
        grpc::trailers_only(&mut response.fields, call.status, &respond.body);
        return response;
    }
    if !respond.body.is_empty() {
        exchange.sending.source = BodySource::Own(Some(respond.body.clone()));
        response.fields.append(&header::CONTENT_TYPE, &respond.content_type);
    }
    response
}

/// Applies the route's header edits to a response that the proxy made.
fn apply_route_edits(exchange: &mut Exchange, mut response: ClientResponse<()>) -> ClientResponse<()> {
    let view = std::rc::Rc::clone(&exchange.view);
    let rules = &view.snapshot.rules;
    let request_id = exchange.request_id();
    if let Some(route) = exchange.routing.route {
        rules.route(route).response_headers.apply(&mut response.fields, &exchange.values(&request_id));
    }
    exchange.record_end(EndedBy::Done, "");
    response
}

/// Sends the response. From here on the body owns the exchange.
pub(crate) fn send(mut exchange: Box<Exchange>, response: ClientResponse<()>) -> ClientResponse<Edge> {
    let ClientResponse { status, mut fields, body: () } = response;
    exchange.response.status = status.as_u16();
    let now = exchange.attempt.head_at.unwrap_or_else(|| exchange.client.worker.clock.now());
    exchange.response.first_byte = Some(now.duration_since(exchange.request.began));
    exchange.progress.stage = ExchangeStage::Body;
    let is_unread = is_unread(&exchange);
    if is_unread && matches!(exchange.sending.source, BodySource::Own(_)) {
        // The rest of the request body must never be parsed as the next request.
        exchange.client.closing.set(true);
    }
    // A client whose request is not read to its end learns that its next one needs another connection.
    if exchange.request.head.version != Version::HTTP_2 && (is_unread || exchange.client.is_last()) {
        fields.insert(&header::CONNECTION, &HeaderValue::from_static("close"));
    }
    let is_head = exchange.request.head.method == http::Method::HEAD;
    if (is_head || matches!(exchange.response.status, 204 | 304))
        && let BodySource::Own(body @ Some(_)) = &mut exchange.sending.source
    {
        let body = body.take().unwrap_or_default();
        if is_head {
            fields.insert_number(&header::CONTENT_LENGTH, body.len() as u64);
        }
    }
    if exchange.request.trusted && exchange.request.field_summary.explain {
        explain(&exchange, &mut fields);
    }
    ClientResponse::new(status, fields, Either::Left(ResponseBody::new(exchange)))
}

fn is_unread(exchange: &Exchange) -> bool {
    exchange.request.head.version != Version::HTTP_2
        && exchange.request.has_body
        && exchange.prepared.upload.as_ref().is_none_or(|upload| !upload.ended.get())
}

/// Adds a line with the reason of the decision, for a trusted peer that sent `x-pointsman-explain: 1`.
fn explain(exchange: &Exchange, fields: &mut Fields) {
    let Some(chosen) = exchange.routing.chosen else { return explain_screening(exchange, fields) };
    let reason = crate::telemetry::ReasonLabel::of(chosen.reason(), chosen.fallback);
    let bucket = chosen.decision.bucket.map_or_else(|| "none".to_owned(), |bucket| bucket.number().to_string());
    let line = format!(
        "route={}; variant={}; reason={}; bucket={bucket}; counted={}; generation={}",
        exchange.route_name().unwrap_or("none"),
        exchange.variant_name().unwrap_or("none"),
        crate::telemetry::ReasonLabel::name(reason.index()),
        chosen.counted(),
        exchange.view.snapshot.generation,
    );
    if let Ok(line) = HeaderValue::try_from(line) {
        fields.insert(&EXPLAIN, &line);
    }
}

/// The same for a request that a rule about callers answered.
fn explain_screening(exchange: &Exchange, fields: &mut Fields) {
    let Some(id) = exchange.routing.route else { return };
    let (rules, screening) = (&exchange.view.snapshot.rules, exchange.progress.screening);
    let route = rules.route(id);
    let by = match (screening.limit(route), screening.rule(route)) {
        (Some(limit), _) => format!("limit={}", limit.name),
        (None, Some(rule)) => format!("rule={}", route.place_of(rule.line)),
        (None, None) => return,
    };
    let line = format!("route={}; {by}; generation={}", route.name, exchange.view.snapshot.generation);
    if let Ok(line) = HeaderValue::try_from(line) {
        fields.insert(&EXPLAIN, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_cache_does_not_reuse_the_cookie() {
        let own = NO_CACHED_COOKIE;
        for (lines, expected) in [
            (&[][..], own.to_owned()),
            (&[""], own.to_owned()),
            (&["public, max-age=60"], format!("public, max-age=60, {own}")),
            (&["public", "s-maxage=60"], format!("public, s-maxage=60, {own}")),
            (&["no-cache=\"x-a\""], format!("no-cache=\"x-a\", {own}")),
            (&["private=\"x-a, no-store, x-b\""], format!("private=\"x-a, no-store, x-b\", {own}")),
            (&["max-age=60, Private"], "max-age=60, Private".to_owned()),
            (&["no-store"], "no-store".to_owned()),
            (&["No-Cache ,max-age=1"], "No-Cache ,max-age=1".to_owned()),
            (&["public, no-cache=\"Set-Cookie\""], "public, no-cache=\"Set-Cookie\"".to_owned()),
        ] {
            let mut fields = Fields::new();
            for line in lines {
                fields.append(&header::CACHE_CONTROL, &HeaderValue::from_static(line));
            }
            keep_from_caches(&mut fields);
            let all: Vec<_> = fields.get_all("cache-control").collect();
            assert_eq!(all, [expected.as_bytes()], "{lines:?}");
        }
    }
}
