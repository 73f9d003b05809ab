//! Upgrade: a request that asks its connection, or its stream, to become a WebSocket. Where the route allows that, the
//! request is passed on in the upstream's form; when the upstream agrees, a [`Tunnel`] follows. Everything else is an
//! ordinary answer, and every other `Upgrade` is dropped with the hop-by-hop fields: to ignore it is what RFC 9110 lets a
//! server do.

use std::rc::Rc;

use bytes::Bytes;
use http::header;
use http::{Method, Response, StatusCode, Version, request};
use http_body_util::Empty;
use hyper::upgrade::OnUpgrade;

use super::exchange::{Exchange, ExchangeStage};
use super::response_body::BodySource;
use super::tunnel::Tunnel;
use super::upgrade_state::Upgrade;
use crate::proxy::body::upload::Upload;
use crate::proxy::upstream::tunnel_end::TunnelEnd;
use crate::proxy::upstream::upgrade_request::{UpgradeRequest, is_websocket, set_upgrade_headers};
use crate::proxy::wire::fault::Fault;
use crate::route::Route;
use crate::telemetry::Refusal;

/// What the log says of an `Upgrade` that the route does not allow.
const NOT_PASSED: &str = "upgrade_not_allowed";

/// Notes whether this request asks for what its route allows: a GET of HTTP/1.1 without a body that names one protocol.
/// A stream cannot become anything else than what it asks for.
pub(crate) fn ask(exchange: &mut Exchange, parts: &request::Parts, route: &Route) -> Result<(), Fault> {
    let allowed = route.limits.websocket && route.split().is_some();
    if exchange.upgrade.requested().is_some() {
        return if allowed { Ok(()) } else { Err(Fault::Refused(Refusal::Method)) };
    }
    // Most requests have no field that is for this connection only.
    let asks = exchange.request.field_summary.hop_by_hop
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && !exchange.request.has_body
        && is_websocket(&parts.headers);
    if asks && !allowed {
        // The request goes on as an ordinary one. Its line in the log names the reason.
        exchange.progress.detail = NOT_PASSED;
    } else if asks {
        exchange.upgrade = Upgrade::request(UpgradeRequest::by_upgrade(&parts.headers));
    }
    Ok(())
}

/// Whether the client would take this answer for the beginning of a tunnel though it is none: on a stream that asks for
/// one, every success says so (RFC 9110 §9.3.6).
pub(super) fn is_mistakable(exchange: &Exchange, status: StatusCode) -> bool {
    exchange.upgrade.requested().is_some_and(UpgradeRequest::is_stream) && status.is_success()
}

/// Makes the exchange a tunnel. Gives the head of the answer in the client's form, with the hop-by-hop fields of that,
/// and the stream of HTTP/2 that becomes the tunnel, if it is one.
pub(crate) fn switch(
    exchange: &mut Exchange,
    response: Response<BodySource>,
) -> (Response<Empty<Bytes>>, Option<OnUpgrade>) {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if exchange.request.version == Version::HTTP_2 {
        parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        parts.status = StatusCode::OK;
    } else {
        set_upgrade_headers(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    exchange.response.status = parts.status.as_u16();
    let now = exchange.attempt.head_at.unwrap_or_else(|| exchange.client.worker.clock.now());
    exchange.response.first_byte = Some(now.duration_since(exchange.request.began));
    exchange.progress.stage = ExchangeStage::Tunnel;
    exchange.prepared.upload = Some(Rc::new(Upload::default()));
    let stream = exchange.upgrade.open();
    (Response::from_parts(parts, Empty::new()), stream)
}

/// Opens the tunnel between the client's connection, or its `stream` of HTTP/2, and the upstream's side: it begins when
/// the head of the answer has left.
pub(crate) fn open(exchange: Box<Exchange>, upstream: Box<TunnelEnd>, stream: Option<OnUpgrade>) {
    let client = Rc::clone(&exchange.client);
    let tunnel = Box::new(Tunnel::new(exchange, upstream));
    match stream {
        None => {
            client
                .successor
                .set(Some(Box::new(|socket, first| Box::pin(tunnel.run(TunnelEnd::connection(socket, first, None))))));
        }
        Some(stream) => drop(tokio::task::spawn_local(async move {
            // It fails when the client has gone before the answer's head had left: then nothing is left to do.
            if let Ok(upgraded) = stream.await {
                tunnel.run(TunnelEnd::stream(upgraded)).await;
            }
        })),
    }
}
