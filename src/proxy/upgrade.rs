//! Upgrades: a request that asks its connection to become a WebSocket (RFC 6455, RFC 9110 §7.8). Where the route allows
//! that, the wish is passed on; when the upstream agrees, a [`Tunnel`] follows. Everything else is an ordinary answer, and
//! every other `Upgrade` is dropped with the hop-by-hop fields: to ignore it is what RFC 9110 lets a server do.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, Version, request};
use http_body_util::Empty;

use super::body::Source;
use super::exchange::{Exchange, Stage, Upload};
use super::fault::Fault;
use super::lease::Lease;
use super::tunnel::{Side, Tunnel};
use crate::route::Route;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// What a request asks for besides an answer.
#[derive(Debug)]
pub(super) struct Asked;

/// Notes whether this request asks for what its route allows: a GET of HTTP/1.1 without a body that names one protocol.
pub(super) fn ask(exchange: &mut Exchange, parts: &request::Parts, route: &Route) {
    // Most requests have no field that is for this connection only.
    let may = exchange.survey.hop_by_hop && route.limits.websocket && route.split().is_some();
    if may
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && !exchange.has_body
        && is_websocket(&parts.headers)
    {
        exchange.asked = Some(Asked);
    }
}

/// Whether a head names WebSocket, and nothing else, as what to switch to.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let one = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let listed = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    one && protocols.next().is_none() && headers.get_all(header::CONNECTION).iter().any(listed)
}

/// Asks the upstream.
pub(super) fn dress(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Whether an upstream that switches does so to what it was asked for, and says nothing of a body.
pub(super) fn is_agreed(headers: &HeaderMap) -> bool {
    let bodiless = |length: &HeaderValue| length == "0";
    is_websocket(headers)
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get_all(header::CONTENT_LENGTH).iter().all(bodiless)
}

/// Takes the connection over whose upstream has switched.
pub(super) async fn take_over(exchange: &mut Exchange) -> Result<(), Fault> {
    let lost = Fault::UpstreamReset;
    let Some(Lease::Whole { connection, .. }) = exchange.lease.take() else { return Err(lost) };
    let (socket, first, open) = connection.task.await.ok().flatten().ok_or(lost)?;
    exchange.far = Some(Box::new(Side::far(socket, first, open)));
    Ok(())
}

/// The answer's own fields, when it switches: hop-by-hop ones are ours to say.
pub(super) fn agree(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    dress(headers);
}

/// Opens the tunnel: it begins when the head of the answer has left.
pub(super) fn open(mut exchange: Box<Exchange>, far: Box<Side>, response: Response<Source>) -> Response<Empty<Bytes>> {
    let (mut parts, _) = response.into_parts();
    parts.version = Version::HTTP_11;
    exchange.status = parts.status.as_u16();
    let now = exchange.head_at.unwrap_or_else(|| exchange.client.worker.clock.now());
    exchange.first_byte = Some(now.duration_since(exchange.began));
    exchange.stage = Stage::Tunnel;
    exchange.upload = Some(Rc::new(Upload::default()));
    exchange.opens();
    let client = Rc::clone(&exchange.client);
    client.tunnel.set(Some(Box::new(Tunnel::new(exchange, far))));
    Response::from_parts(parts, Empty::new())
}
