//! Upgrade: a request that asks for a WebSocket. If the route allows it, the request is forwarded in the form of the
//! upstream's protocol; if the upstream agrees, a [`Tunnel`] follows. Otherwise the response is an ordinary one. Any
//! other `Upgrade` is removed with the hop-by-hop fields, as RFC 9110 §7.8 allows.

use std::rc::Rc;

use http::{Method, StatusCode, Version};
use http_body_util::{Either, Empty};

use super::exchange::{Exchange, ExchangeStage};
use super::response_body::Edge;
use super::tunnel::Tunnel;
use super::upgrade_state::Upgrade;
use crate::proxy::body::upload::Upload;
use crate::proxy::downstream::client_request::ClientResponse;
use crate::proxy::downstream::h2::tunnel::OpeningStream;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::{UpgradeRequest, is_websocket, set_upgrade_fields};
use crate::proxy::wire::fault::Fault;
use crate::route::Route;
use crate::telemetry::Refusal;

/// The detail in the log for an `Upgrade` that the route does not allow.
const NOT_PASSED: &str = "upgrade_not_allowed";

/// Checks whether the request asks for an upgrade that the route allows: an HTTP/1.1 GET without a body that names one
/// protocol. A CONNECT on an HTTP/2 stream has no other meaning, so it is rejected where the route does not allow it.
pub(crate) fn check(exchange: &mut Exchange, route: &Route) -> Result<(), Fault> {
    let allowed = route.limits.websocket && route.split().is_some();
    if exchange.upgrade.requested().is_some() {
        return if allowed { Ok(()) } else { Err(Fault::Refused(Refusal::Method)) };
    }
    // Cheap checks first: most requests have no hop-by-hop fields.
    let asks = exchange.request.field_summary.hop_by_hop
        && exchange.request.head.version == Version::HTTP_11
        && exchange.request.head.method == Method::GET
        && !exchange.request.has_body
        && is_websocket(&exchange.request.head.fields);
    if asks && !allowed {
        // The request is forwarded without its `Upgrade`; the log has the reason.
        exchange.progress.detail = NOT_PASSED;
    } else if asks {
        exchange.upgrade = Upgrade::request(UpgradeRequest::by_upgrade(&exchange.request.head.fields));
    }
    Ok(())
}

/// Whether the client would mistake this response for an open tunnel: to a CONNECT, any success means that
/// (RFC 9110 §9.3.6).
pub(super) fn is_mistakable(exchange: &Exchange, status: StatusCode) -> bool {
    exchange.upgrade.requested().is_some_and(UpgradeRequest::is_stream) && status.is_success()
}

/// Makes the exchange a tunnel. Returns the response head in the form of the client's protocol, and the HTTP/2 stream
/// that becomes the tunnel, if there is one.
pub(crate) fn switch(
    exchange: &mut Exchange,
    response: ClientResponse<()>,
) -> (ClientResponse<Edge>, Option<OpeningStream>) {
    let ClientResponse { mut status, mut fields, .. } = response;
    fields.remove("content-length");
    if exchange.request.head.version == Version::HTTP_2 {
        fields.remove("sec-websocket-accept");
        status = StatusCode::OK;
    } else {
        set_upgrade_fields(&mut fields);
    }
    exchange.response.status = status.as_u16();
    let now = exchange.attempt.head_at.unwrap_or_else(|| exchange.client.worker.clock.now());
    exchange.response.first_byte = Some(now.duration_since(exchange.request.began));
    exchange.progress.stage = ExchangeStage::Tunnel;
    exchange.prepared.upload = Some(Rc::new(Upload::default()));
    let stream = exchange.upgrade.open();
    (ClientResponse::new(status, fields, Either::Right(Empty::new())), stream)
}

/// Opens the tunnel between the client's connection, or its HTTP/2 stream, and the upstream. It starts when the
/// response head is written.
pub(crate) fn open(exchange: Box<Exchange>, upstream: Box<TunnelEnd>, stream: Option<OpeningStream>) {
    let client = Rc::clone(&exchange.client);
    let tunnel = Box::new(Tunnel::new(exchange, upstream));
    match stream {
        None => {
            client
                .successor
                .set(Some(Box::new(|socket, first| Box::pin(tunnel.run(TunnelEnd::connection(socket, first, None))))));
        }
        Some(stream) => drop(tokio::task::spawn_local(async move {
            // `None` means that the client left before the response head was written: there is nothing to do.
            if let Some(stream) = stream.await {
                tunnel.run(TunnelEnd::client_stream(stream)).await;
            }
        })),
    }
}
