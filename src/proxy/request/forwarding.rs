//! Sets the fields that describe the client to an upstream. `X-Forwarded-*` and `Forwarded` are continued for trusted
//! peers and overwritten for all others; `Via` and `X-Request-Id` are added.

use http::Version;
use http::header::{self, HeaderName, HeaderValue};

use super::exchange::{Exchange, ReceivedRequest};
use crate::fields::Fields;
use crate::proxy::worker::request_id::RequestId;
use crate::route::LastHop;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const VIA_HTTP1: HeaderValue = HeaderValue::from_static("1.1 pointsman");
const VIA_HTTP2: HeaderValue = HeaderValue::from_static("2.0 pointsman");

/// Sets the fields. Those of an untrusted peer were stripped, so that none of them is there.
pub(crate) fn add(exchange: &mut Exchange) {
    exchange.request.id(&exchange.client);
    if exchange.request.trusted && exchange.request.field_summary.trusted_only {
        continue_from_peer(exchange);
        exchange.request.head.fields.remove(REQUEST_ID);
        exchange.request.head.fields.append(&header::VIA, &via(exchange));
        if let Some(forwarded) = forwarded_cert(exchange).cloned() {
            exchange.request.head.fields.insert(&FORWARDED_CLIENT_CERT, &forwarded);
        }
        let ReceivedRequest { head, request_id, .. } = &mut exchange.request;
        append_id(&mut head.fields, request_id.as_ref());
    } else {
        set_for_client(exchange);
    }
}

/// The description of the client's verified certificate.
fn forwarded_cert(exchange: &Exchange) -> Option<&HeaderValue> {
    exchange.client.tls.get().and_then(|secured| secured.identity.as_ref()).map(|identity| &identity.forwarded)
}

fn append_id(fields: &mut Fields, id: Option<&RequestId>) {
    debug_assert!(id.is_some(), "`add` creates the id");
    fields.append_valid(REQUEST_ID.as_str().as_bytes(), id.map_or(b"-", RequestId::as_bytes));
}

/// The proxy's element of `Via`. It is the same for all requests of a connection.
fn via(exchange: &Exchange) -> HeaderValue {
    if exchange.request.head.version == Version::HTTP_2 { VIA_HTTP2 } else { VIA_HTTP1 }
}

/// Sets the fields for a peer that is the client. On one connection they are the same until the host changes, but for the
/// request id: they are added as one block, and the id is written into it.
fn set_for_client(exchange: &mut Exchange) {
    debug_assert!(!exchange.request.head.fields.contains(FORWARDED_FOR), "stripped, or there was none");
    if let Some(host) = &exchange.request.host
        && host.fields.get().is_none()
    {
        let _ = host.fields.set(for_client(exchange));
    }
    let hostless = exchange.request.host.is_none().then(|| for_client(exchange));
    let ReceivedRequest { head, host, request_id, .. } = &mut exchange.request;
    if let Some(block) = host.as_ref().and_then(|host| host.fields.get()).or(hostless.as_ref()) {
        head.fields.append_all(block);
    }
    if !request_id.as_ref().is_some_and(|id| head.fields.set_last(id.as_bytes())) {
        head.fields.remove(REQUEST_ID);
        append_id(&mut head.fields, request_id.as_ref());
    }
}

/// The fields for a peer that is the client. The last one has room for an id.
#[cold]
fn for_client(exchange: &Exchange) -> Fields {
    let client = &exchange.client;
    let element = HeaderValue::try_from(last_hop(exchange).element());
    let element = element.unwrap_or(HeaderValue::from_static("for=unknown;proto=http"));
    let mut fields = Fields::new();
    fields.append(&FORWARDED_FOR, &client.peer_text);
    fields.append(&header::FORWARDED, &element);
    fields.append(&FORWARDED_PROTO, &HeaderValue::from_static(client.scheme()));
    fields.append(&FORWARDED_PORT, &client.local_port);
    if let Some(host) = exchange.request.received_host() {
        fields.append_valid(FORWARDED_HOST.as_str().as_bytes(), host.as_bytes());
    }
    fields.append(&header::VIA, &via(exchange));
    if let Some(forwarded) = forwarded_cert(exchange) {
        fields.append(&FORWARDED_CLIENT_CERT, forwarded);
    }
    fields.append_valid(REQUEST_ID.as_str().as_bytes(), &[b'0'; RequestId::BYTES]);
    fields.shrink();
    fields
}

/// Continues the fields of a trusted peer.
fn continue_from_peer(exchange: &mut Exchange) {
    let (client, identity) = (&exchange.client, &exchange.view.snapshot.rules.identity);
    let passed = identity.forwarding_fields(&exchange.request.head.fields, last_hop(exchange));
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
        exchange.request.head.fields.remove(&name);
        if let Some(value) = value {
            exchange.request.head.fields.append(&name, &value);
        }
    }
}

fn last_hop(exchange: &Exchange) -> LastHop<'_> {
    let client = &exchange.client;
    LastHop {
        peer: client.peer.ip(),
        host: exchange.request.received_host(),
        scheme: client.scheme(),
        port: client.local().port(),
    }
}
