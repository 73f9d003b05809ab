//! Prepare: the request in the form that the upstream gets.

use std::borrow::Cow;
use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Version};
use http_body::Body;

use super::exchange::{Exchange, SplitTarget};
use super::forwarding;
use crate::fields::Fields;
use crate::proxy::body::request_body::{BodyBounds, ClientBody, RequestBody};
use crate::proxy::body::upload::Upload;
use crate::proxy::downstream::client_request::IncomingBody;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{strip_aliases, strip_hop_by_hop};
use crate::proxy::worker::budget::BodyWindow;
use crate::route::{Route, Split};
use crate::telemetry::Refusal;

/// Turns the client's request into the upstream's request.
pub(super) fn prepare(
    exchange: &mut Exchange,
    body: IncomingBody,
    target: SplitTarget<'_>,
) -> Result<RequestBody, Fault> {
    let SplitTarget { route, split, matched } = target;
    if exchange.request.field_summary.hop_by_hop {
        strip_hop_by_hop(&mut exchange.request.head.fields);
    }
    let body = take_body(exchange, body, route)?;
    let head = &mut exchange.request.head;
    if matches!(body, RequestBody::Empty) && matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        // Some servers reject these methods without a length (RFC 9110 §8.6).
        head.fields.insert_number(&header::CONTENT_LENGTH, 0);
    }
    if head.version == Version::HTTP_2 && exchange.request.field_summary.cookie_lines {
        join_cookies(&mut head.fields);
    }
    forwarding::add(exchange);
    set_host(exchange, split);
    if !route.request_headers.is_empty() {
        edit(exchange, route);
    }
    if let Some(asked) = exchange.upgrade.requested() {
        asked.set_fields(&mut exchange.request.head.fields);
        // Before the proxy reads a tunnel's stream, the client may fill its window: reserve it.
        exchange.prepared.ahead = ahead(exchange, None)?;
    }
    set_target(exchange, split, matched)?;
    Ok(body)
}

/// Sets `Host`. A host of the route takes precedence over the target's authority, and that over the received field.
fn set_host(exchange: &mut Exchange, split: &Split) {
    let request = &mut exchange.request;
    let fields = &mut request.head.fields;
    if let Some(host) = &split.rewrite.host {
        fields.insert(&header::HOST, host);
    } else if (request.head.target.has_authority() || !fields.contains("host"))
        && let Some(host) = &request.host
    {
        fields.remove("host");
        fields.append_valid(header::HOST.as_str().as_bytes(), host.received().as_bytes());
    }
}

fn take_body(exchange: &mut Exchange, body: IncomingBody, route: &Route) -> Result<RequestBody, Fault> {
    if body.is_end_stream() {
        return Ok(RequestBody::Empty);
    }
    let (length, bytes_max) = (body.size_hint().exact(), route.limits.body_bytes);
    if bytes_max.is_some_and(|max| length.is_some_and(|length| length > max)) {
        return Err(Fault::Refused(Refusal::BodyTooLarge));
    }
    match length {
        // On HTTP/1.1 the field is there, and the scanner has read the length from it.
        Some(_)
            if exchange.request.head.version != Version::HTTP_2 && exchange.request.field_summary.content_length => {}
        Some(length) => exchange.request.head.fields.insert_number(&header::CONTENT_LENGTH, length),
        // An HTTP/1.1 upstream needs one of the two fields to find the end of the body.
        None => {
            let chunked = HeaderValue::from_static("chunked");
            exchange.request.head.fields.insert(&header::TRANSFER_ENCODING, &chunked);
        }
    }
    let room = exchange
        .request
        .memory
        .as_ref()
        .map(|memory| memory.reserve_upload(length))
        .transpose()
        .map_err(Fault::Refused)?;
    let upload = Upload::new(ahead(exchange, length)?, room);
    exchange.prepared.upload = Some(Rc::clone(&upload));
    let (client, version) = (Rc::clone(&exchange.client), exchange.request.head.version);
    let body = ClientBody::new(body, client, upload, version, bounds(exchange, route));
    Ok(RequestBody::Client(Box::new(body)))
}

/// The bounds on a request body. A gRPC call may be idle between messages, up to the route's idle timeout.
fn bounds(exchange: &Exchange, route: &Route) -> BodyBounds {
    let limits = &exchange.client.listener.spec.limits;
    let (stall, rate) = match &exchange.call {
        Some(_) => (route.timeouts.idle, 0),
        None => (Some(limits.stall_timeout), u64::from(limits.body_rate)),
    };
    BodyBounds { bytes_max: route.limits.body_bytes, stall, rate }
}

/// Reserves the client's flow-control window for the body (HTTP/2).
fn ahead(exchange: &Exchange, length: Option<u64>) -> Result<Option<BodyWindow>, Fault> {
    if exchange.request.head.version != Version::HTTP_2 {
        return Ok(None);
    }
    exchange.client.receive_window().reserve(length).map(Some).map_err(Fault::Refused)
}

/// Joins `Cookie` fields: HTTP/2 allows several, HTTP/1.1 only one (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut Fields) {
    let all: Vec<&[u8]> = fields.get_all("cookie").collect();
    if all.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        fields.insert(&header::COOKIE, &joined);
    }
}

fn edit(exchange: &mut Exchange, route: &Route) {
    let edits = &route.request_headers;
    if exchange.request.field_summary.underscore {
        let aliases = strip_aliases(&mut exchange.request.head.fields, |meant| edits.names(meant));
        exchange.client.worker.meter().alias_headers_dropped.add(aliases);
    }
    let request_id = exchange.request_id();
    // The values of placeholders lie in the head. Places in it stay right in the copy.
    let worker = Rc::clone(&exchange.client.worker);
    let mut fields = worker.spare_fields();
    fields.clone_from(&exchange.request.head.fields);
    edits.apply(&mut fields, &exchange.values(&request_id));
    worker.take_back_fields(std::mem::replace(&mut exchange.request.head.fields, fields));
}

/// An admitted request can be forwarded, so only a rewrite can make it invalid.
const UNFIT: Fault = Fault::Refused(Refusal::Internal);

/// Sets the path that is sent: the normalized one that was matched, or what a rewrite makes of it.
fn set_target(exchange: &mut Exchange, split: &Split, matched: usize) -> Result<(), Fault> {
    let is_as_received = exchange.request.normal_path.is_none();
    if is_as_received && split.rewrite.keeps_path() {
        return Ok(());
    }
    let path = split.rewrite.path(exchange.path(), matched).map_err(|_| UNFIT)?;
    if is_as_received && matches!(path, Cow::Borrowed(_)) {
        return Ok(());
    }
    let _: PathAndQuery = path.parse().map_err(|_| UNFIT)?;
    let path = path.into_owned();
    exchange.request.head.rewrite_path(&path);
    Ok(())
}
