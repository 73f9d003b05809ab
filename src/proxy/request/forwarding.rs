//! Sets the fields that describe the client to an upstream. `X-Forwarded-*` and `Forwarded` are continued for trusted
//! peers and overwritten for all others; `Via` and `X-Request-Id` are added.

use http::Version;
use http::header::{self, HeaderName, HeaderValue};

use super::exchange::Exchange;
use crate::fields::{Fields, text};
use crate::proxy::downstream::client::ClientFields;
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
    let request_id = exchange.request_id();
    if exchange.request.trusted && exchange.request.field_summary.trusted_only {
        continue_from_peer(exchange);
        exchange.request.head.fields.remove(REQUEST_ID);
        exchange.request.head.fields.append(&header::VIA, &via(exchange));
    } else {
        set_for_client(exchange);
    }
    let (client, head) = (&exchange.client, &mut exchange.request.head);
    if let Some(identity) = client.tls.get().and_then(|secured| secured.identity.as_ref()) {
        head.fields.insert(&FORWARDED_CLIENT_CERT, &identity.forwarded);
    }
    head.fields.append_valid(REQUEST_ID.as_str().as_bytes(), request_id.as_str().as_bytes());
}

/// The proxy's element of `Via`. It is the same for all requests of a connection.
fn via(exchange: &Exchange) -> HeaderValue {
    if exchange.request.head.version == Version::HTTP_2 { VIA_HTTP2 } else { VIA_HTTP1 }
}

/// Sets the fields for a peer that is the client. On one connection they are the same until the host changes: they are
/// added as one block.
fn set_for_client(exchange: &mut Exchange) {
    let known = exchange.client.described.borrow();
    let host = exchange.request.received_host();
    if let Some(known) = known.as_ref().filter(|known| Some(known.fields.part(known.host)) == host) {
        debug_assert!(!exchange.request.head.fields.contains(FORWARDED_FOR), "stripped, or there was none");
        return exchange.request.head.fields.append_all(&known.fields);
    }
    drop(known);
    let made = for_client(exchange);
    exchange.request.head.fields.append_all(&made.fields);
    if exchange.request.host.place.is_some() {
        *exchange.client.described.borrow_mut() = Some(Box::new(made));
    }
}

/// The fields for a peer that is the client.
fn for_client(exchange: &Exchange) -> ClientFields {
    let client = &exchange.client;
    let element = HeaderValue::try_from(last_hop(exchange).element());
    let element = element.unwrap_or(HeaderValue::from_static("for=unknown;proto=http"));
    let mut fields = Fields::new();
    fields.append(&FORWARDED_FOR, &client.peer_text);
    fields.append(&header::FORWARDED, &element);
    fields.append(&FORWARDED_PROTO, &HeaderValue::from_static(client.scheme()));
    fields.append(&FORWARDED_PORT, &client.local_port);
    if let Some(host) = exchange.request.received_host() {
        fields.append_valid(FORWARDED_HOST.as_str().as_bytes(), host);
    }
    fields.append(&header::VIA, &via(exchange));
    fields.shrink();
    let host = fields.span(FORWARDED_HOST).unwrap_or_default();
    ClientFields { fields, host }
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
        host: exchange.request.received_host().and_then(text),
        scheme: client.scheme(),
        port: client.local().port(),
    }
}
