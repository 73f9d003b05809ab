//! The response to a fault: a status, `Proxy-Status` (RFC 9209), the request id and a short body, or a gRPC status. It
//! reveals nothing about upstreams.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::exchange::Exchange;
use super::forwarding::{PROXY_STATUS, REQUEST_ID};
use super::screening::Screening;
use super::sending::BodySource;
use crate::failover::GiveUpReason;
use crate::fields::Fields;
use crate::proxy::downstream::client_request::ClientResponse;
use crate::proxy::wire::fault::{Advice, Fault, FaultRow, LimitRefusal};
use crate::proxy::wire::grpc;
use crate::proxy::worker::request_id::RequestId;
use crate::route::RateLimit;
use crate::telemetry::Refusal;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit");
/// When a client of gRPC may try again, in milliseconds.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The response to a fault.
pub(crate) fn answer(exchange: &mut Exchange, fault: Fault) -> ClientResponse<()> {
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
    if exchange.request.head.version != Version::HTTP_2 && row.advice == Advice::Close {
        exchange.client.closing.set(true);
    }
    let id = exchange.request_id();
    exchange.forget_upstream_response();
    let mut response = match &mut exchange.call {
        Some(call) => {
            call.status = row.grpc;
            let mut fields = exchange.client.worker.spare_fields();
            grpc::trailers_only(&mut fields, call.status, row.message.as_bytes());
            exchange.sending.source = BodySource::Own(None);
            ClientResponse::new(StatusCode::OK, fields, ())
        }
        None => plain(exchange, &row, &id),
    };
    let fields = &mut response.fields;
    if let Some((limit, refusal)) = refused_by {
        describe_limit(fields, limit, refusal);
        if exchange.call.is_some() {
            fields.insert_number(&PUSHBACK, u64::from(refusal.wait_ms));
        }
    }
    edit(exchange, fields, &id);
    insert(fields, &REQUEST_ID, id.as_str());
    let budget = if exchange.attempt.retry_end() == GiveUpReason::Budget.name() { ", budget" } else { "" };
    let details = format!("pointsman; error={}; details=\"{}{budget}\"", row.proxy_error, row.detail);
    insert(fields, &PROXY_STATUS, &details);
    if row.advice == Advice::RetryAfter {
        fields.insert_number(&header::RETRY_AFTER, 1);
    }
    if fault == Fault::Refused(Refusal::Method) {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        fields.insert(&header::ALLOW, &allowed);
    }
    if matches!(fault, Fault::Refused(Refusal::Memory | Refusal::MemoryPerIp))
        && exchange.request.head.version == Version::HTTP_2
    {
        // A body would occupy memory, which has run out, until the client opens its window.
        exchange.sending.source = BodySource::Own(None);
        response.fields.remove("content-type");
    }
    response
}

/// When to try again, and the quota (draft-ietf-httpapi-ratelimit-headers-10).
fn describe_limit(fields: &mut Fields, limit: &RateLimit, refusal: LimitRefusal) {
    let (name, seconds) = (&limit.name, refusal.wait_seconds());
    fields.insert_number(&header::RETRY_AFTER, u64::from(seconds));
    let window = limit.rate.per.as_secs().max(1);
    insert(fields, &POLICY, &format!("\"{name}\";q={};w={window}", limit.rate.requests));
    insert(fields, &REMAINING, &format!("\"{name}\";r=0;t={seconds}"));
}

/// Applies the route's header edits, but keeps the fields that describe the error.
fn edit(exchange: &Exchange, fields: &mut Fields, id: &RequestId) {
    let Some(route) = exchange.routing.route else { return };
    let edits = &exchange.view.snapshot.rules.route(route).response_headers;
    if edits.is_empty() {
        return;
    }
    let own = fields.clone();
    edits.apply(fields, &exchange.values(id));
    for (name, _) in own.iter() {
        fields.retain(|other, _| other != name);
    }
    for (name, value) in own.iter() {
        fields.append_valid(name, value);
    }
}

fn plain(exchange: &mut Exchange, row: &FaultRow, id: &RequestId) -> ClientResponse<()> {
    let (status, id) = (row.status, id.as_str());
    let (kind, body) = if exchange.request.field_summary.json {
        let body = serde_json::json!({
            "status": status.as_u16(), "error": row.detail, "message": row.message, "request_id": id,
        });
        ("application/json", format!("{body}\n"))
    } else {
        let reason = status.canonical_reason().unwrap_or("Error");
        let body = format!("{} {reason}\n{}\nRequest id: {id}\n", status.as_u16(), row.message);
        ("text/plain; charset=utf-8", body)
    };
    let mut fields = exchange.client.worker.spare_fields();
    fields.append(&header::CONTENT_TYPE, &HeaderValue::from_static(kind));
    fields.append(&header::CACHE_CONTROL, &HeaderValue::from_static("no-store"));
    exchange.sending.source = BodySource::Own(Some(Bytes::from(body)));
    ClientResponse::new(status, fields, ())
}

fn insert(fields: &mut Fields, name: &HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.insert(name, &value);
    }
}
