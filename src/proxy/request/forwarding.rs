//! Sets the fields that describe the client to an upstream. `X-Forwarded-*` and `Forwarded` are continued for trusted
//! peers and overwritten for all others; `Via` and `X-Request-Id` are added.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use crate::route::LastHop;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Capacity for the fields that are added.
const FIELDS_ADDED: usize = 8;
const VIA_HTTP1: HeaderValue = HeaderValue::from_static("1.1 pointsman");
const VIA_HTTP2: HeaderValue = HeaderValue::from_static("2.0 pointsman");

pub(crate) fn add(exchange: &mut Exchange, headers: &mut HeaderMap) {
    let request_id = exchange.request_id();
    headers.reserve(FIELDS_ADDED);
    if exchange.request.trusted && exchange.request.field_summary.trusted_only {
        continue_from_peer(exchange, headers);
    } else {
        set_for_client(exchange, headers);
    }
    let client = &exchange.client;
    if let Some(identity) = client.tls.get().and_then(|secured| secured.identity.as_ref()) {
        headers.insert(FORWARDED_CLIENT_CERT, identity.forwarded.clone());
    }
    headers.append(header::VIA, if exchange.request.version == Version::HTTP_2 { VIA_HTTP2 } else { VIA_HTTP1 });
    headers.insert(REQUEST_ID, request_id);
}

/// Sets the fields for a peer that is the client.
fn set_for_client(exchange: &Exchange, headers: &mut HeaderMap) {
    let client = &exchange.client;
    headers.insert(FORWARDED_FOR, client.peer_text.clone());
    headers.insert(header::FORWARDED, element(exchange));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    headers.insert(FORWARDED_PORT, client.local_port.clone());
    if let Some(host) = &exchange.request.host.value {
        headers.insert(FORWARDED_HOST, host.clone());
    }
}

/// Continues the fields of a trusted peer.
fn continue_from_peer(exchange: &Exchange, headers: &mut HeaderMap) {
    let (client, identity) = (&exchange.client, &exchange.view.snapshot.rules.identity);
    let passed = identity.forwarding_fields(headers, last_hop(exchange));
    let fields = [
        (FORWARDED_FOR, HeaderValue::try_from(passed.x_for).ok()),
        (header::FORWARDED, HeaderValue::try_from(passed.forwarded).ok()),
        (FORWARDED_PROTO, Some(HeaderValue::from_static(passed.proto))),
        (FORWARDED_HOST, passed.host.and_then(|host| HeaderValue::try_from(host).ok())),
        (
            FORWARDED_PORT,
            Some(if passed.port == client.local().port() {
                client.local_port.clone()
            } else {
                HeaderValue::from(passed.port)
            }),
        ),
    ];
    for (name, value) in fields {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

fn last_hop(exchange: &Exchange) -> LastHop<'_> {
    let client = &exchange.client;
    LastHop {
        peer: client.peer.ip(),
        host: exchange.request.host.value.as_ref().and_then(|host| host.to_str().ok()),
        scheme: client.scheme(),
        port: client.local().port(),
    }
}

/// The proxy's element of `Forwarded` (RFC 7239), cached until the host changes.
fn element(exchange: &Exchange) -> HeaderValue {
    let (client, host) = (&exchange.client, exchange.request.host.value.as_ref());
    let known = client.forwarded.borrow();
    if let Some((for_host, value)) = &*known
        && Some(for_host) == host
    {
        return value.clone();
    }
    drop(known);
    let value = HeaderValue::try_from(last_hop(exchange).element())
        .unwrap_or(HeaderValue::from_static("for=unknown;proto=http"));
    // A copy: the given value is a slice of the buffer of the head, and would keep that buffer in memory.
    if let Some(host) = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok()) {
        *client.forwarded.borrow_mut() = Some((host, value.clone()));
    }
    value
}
