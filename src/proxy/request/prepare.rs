//! Prepare: the request in the form that the upstream gets.

use std::borrow::Cow;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};
use http_body::Body;

use super::exchange::{Exchange, SplitTarget};
use super::forwarding;
use crate::proxy::body::request_body::{BodyBounds, ClientBody, RequestBody};
use crate::proxy::body::upload::Upload;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{strip_aliases, strip_hop_by_hop};
use crate::proxy::wire::raw_query::RawQuery;
use crate::proxy::worker::budget::BodyWindow;
use crate::route::{Route, Split};
use crate::telemetry::Refusal;

const NO_BYTES: HeaderValue = HeaderValue::from_static("0");

/// Turns the client's request into the upstream's request.
pub(super) fn prepare(
    exchange: &mut Exchange,
    parts: &mut request::Parts,
    body: hyper::body::Incoming,
    target: SplitTarget<'_>,
) -> Result<RequestBody, Fault> {
    let SplitTarget { route, split, matched } = target;
    if exchange.request.field_summary.hop_by_hop {
        strip_hop_by_hop(&mut parts.headers);
    }
    let body = take_body(exchange, &mut parts.headers, body, route)?;
    if matches!(body, RequestBody::Empty) && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        // Some servers reject these methods without a length (RFC 9110 §8.6).
        parts.headers.insert(header::CONTENT_LENGTH, NO_BYTES);
    }
    let h2 = parts.version == Version::HTTP_2;
    if h2 && exchange.request.field_summary.cookie_lines {
        join_cookies(&mut parts.headers);
    }
    forwarding::add(exchange, &mut parts.headers);
    set_host(exchange, split, parts);
    if !route.request_headers.is_empty() {
        edit(exchange, route, &mut parts.headers);
    }
    if let Some(asked) = exchange.upgrade.requested() {
        asked.set_headers(&mut parts.headers);
        // Before the proxy reads a tunnel's stream, the client may fill its window: reserve it.
        exchange.prepared.ahead = ahead(exchange, None)?;
    }
    set_target(exchange, split, matched, &mut parts.uri)?;
    parts.version = Version::HTTP_11;
    let query = parts.extensions.remove::<RawQuery>();
    parts.extensions.clear();
    if let Some(query) = query {
        parts.extensions.insert(query);
    }
    Ok(body)
}

/// Sets `Host`. A host of the route takes precedence over the target's authority, and that over the received field.
fn set_host(exchange: &Exchange, split: &Split, parts: &mut request::Parts) {
    if split.rewrite.host.is_none() && parts.uri.authority().is_none() && parts.headers.contains_key(header::HOST) {
        return;
    }
    if let Some(host) = split.rewrite.host.as_ref().or(exchange.request.host.value.as_ref()) {
        parts.headers.insert(header::HOST, host.clone());
    }
}

fn take_body(
    exchange: &mut Exchange,
    headers: &mut HeaderMap,
    body: hyper::body::Incoming,
    route: &Route,
) -> Result<RequestBody, Fault> {
    if body.is_end_stream() {
        return Ok(RequestBody::Empty);
    }
    let (length, bytes_max) = (body.size_hint().exact(), route.limits.body_bytes);
    if bytes_max.is_some_and(|max| length.is_some_and(|length| length > max)) {
        return Err(Fault::Refused(Refusal::BodyTooLarge));
    }
    match length {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        // An HTTP/1.1 upstream needs one of the two fields to find the end of the body.
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
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
    let (client, version) = (Rc::clone(&exchange.client), exchange.request.version);
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
    if exchange.request.version != Version::HTTP_2 {
        return Ok(None);
    }
    exchange.client.receive_window().reserve(length).map(Some).map_err(Fault::Refused)
}

/// Joins `Cookie` fields: HTTP/2 allows several, HTTP/1.1 only one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn edit(exchange: &mut Exchange, route: &Route, headers: &mut HeaderMap) {
    let edits = &route.request_headers;
    if exchange.request.field_summary.underscore {
        let aliases = strip_aliases(headers, |meant| edits.names(meant));
        exchange.client.worker.meter().alias_headers_dropped.add(aliases);
    }
    let request_id = exchange.request_id();
    edits.apply(headers, &exchange.values(&request_id));
}

/// An admitted request can be forwarded, so only a rewrite can make it invalid.
const UNFIT: Fault = Fault::Refused(Refusal::Internal);

/// Sets the target in origin-form. The path is the normalized one that was matched.
fn set_target(exchange: &Exchange, split: &Split, matched: usize, uri: &mut Uri) -> Result<(), Fault> {
    debug_assert!(*uri == exchange.request.uri, "no stage before changes the target");
    let path = split.rewrite.path(exchange.path(), matched).map_err(|_| UNFIT)?;
    let unchanged = exchange.request.normal_path.is_none() && matches!(path, Cow::Borrowed(_));
    let path_and_query = match (uri.path_and_query(), uri.query()) {
        (Some(_), _) if unchanged && uri.authority().is_none() => return Ok(()),
        (Some(given), _) if unchanged => given.clone(),
        (_, Some(query)) => parse(&format!("{path}?{query}"))?,
        (_, None) => parse(&path)?,
    };
    *uri = Uri::from(path_and_query);
    Ok(())
}

fn parse(path_and_query: &str) -> Result<PathAndQuery, Fault> {
    path_and_query.parse().map_err(|_| UNFIT)
}
