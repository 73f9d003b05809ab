//! The response to a fault: a status, `Proxy-Status` (RFC 9209), the request id and a short body, or a gRPC status. It
//! reveals nothing about upstreams.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, Version};

use super::exchange::Exchange;
use super::forwarding::{PROXY_STATUS, REQUEST_ID};
use super::response_body::BodySource;
use super::screening::Screening;
use crate::failover::GiveUpReason;
use crate::proxy::wire::fault::{Advice, Fault, FaultRow, LimitRefusal};
use crate::proxy::wire::grpc;
use crate::route::RateLimit;
use crate::telemetry::Refusal;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit");
/// When a client of gRPC may try again, in milliseconds.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The response to a fault.
pub(crate) fn answer(exchange: &mut Exchange, fault: Fault) -> Response<BodySource> {
    if let Fault::Refused(refusal) = fault {
        exchange.client.worker.meter().refuse(refusal);
    }
    let mut row = fault.row();
    let view = std::rc::Rc::clone(&exchange.view);
    let mut refused_by = None;
    if let (Fault::RateLimited(refusal), Some(route)) = (fault, exchange.routing.route) {
        exchange.progress.screening = Screening::Limit(refusal.number);
        let limits = &view.snapshot.rules.route(route).rate_limits;
        refused_by = limits.get(usize::from(refusal.number)).map(|limit| (limit, refusal));
    }
    if let Some((limit, _)) = refused_by {
        row.status = limit.status;
    }
    exchange.record_end(row.blame, row.detail);
    if exchange.request.version != Version::HTTP_2 && row.advice == Advice::Close {
        exchange.client.closing.set(true);
    }
    let id = exchange.request_id();
    let mut response = match &mut exchange.call {
        Some(call) => {
            call.status = row.grpc;
            let mut response = Response::new(BodySource::Own(None));
            grpc::trailers_only(response.headers_mut(), call.status, row.message.as_bytes());
            response
        }
        None => plain(&row, &id, exchange.request.field_summary.json),
    };
    let headers = response.headers_mut();
    if let Some((limit, refusal)) = refused_by {
        describe_limit(headers, limit, refusal);
        if exchange.call.is_some() {
            headers.insert(PUSHBACK, HeaderValue::from(refusal.wait_ms));
        }
    }
    edit(exchange, headers, &id);
    headers.insert(REQUEST_ID, id);
    let budget = if exchange.attempt.retry_end() == GiveUpReason::Budget.name() { ", budget" } else { "" };
    let details = format!("pointsman; error={}; details=\"{}{budget}\"", row.proxy_error, row.detail);
    insert(headers, PROXY_STATUS, &details);
    if row.advice == Advice::RetryAfter {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if fault == Fault::Refused(Refusal::Method) {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    if matches!(fault, Fault::Refused(Refusal::Memory | Refusal::MemoryPerIp))
        && exchange.request.version == Version::HTTP_2
    {
        // A body would occupy memory, which has run out, until the client opens its window.
        *response.body_mut() = BodySource::Own(None);
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// When to try again, and the quota (draft-ietf-httpapi-ratelimit-headers-10).
fn describe_limit(headers: &mut HeaderMap, limit: &RateLimit, refusal: LimitRefusal) {
    let (name, seconds) = (&limit.name, refusal.wait_seconds());
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    let window = limit.rate.per.as_secs().max(1);
    insert(headers, POLICY, &format!("\"{name}\";q={};w={window}", limit.rate.requests));
    insert(headers, REMAINING, &format!("\"{name}\";r=0;t={seconds}"));
}

/// Applies the route's header edits, but keeps the fields that describe the error.
fn edit(exchange: &Exchange, headers: &mut HeaderMap, id: &HeaderValue) {
    let Some(route) = exchange.routing.route else { return };
    let edits = &exchange.view.snapshot.rules.route(route).response_headers;
    if edits.is_empty() {
        return;
    }
    let own = headers.clone();
    edits.apply(headers, &exchange.values(id));
    for (name, value) in &own {
        headers.insert(name, value.clone());
    }
}

fn plain(row: &FaultRow, id: &HeaderValue, json: bool) -> Response<BodySource> {
    let (status, id) = (row.status, id.to_str().unwrap_or(""));
    let (kind, body) = if json {
        let body = serde_json::json!({
            "status": status.as_u16(), "error": row.detail, "message": row.message, "request_id": id,
        });
        ("application/json", format!("{body}\n"))
    } else {
        let reason = status.canonical_reason().unwrap_or("Error");
        let body = format!("{} {reason}\n{}\nRequest id: {id}\n", status.as_u16(), row.message);
        ("text/plain; charset=utf-8", body)
    };
    let mut response = Response::new(BodySource::Own(Some(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
