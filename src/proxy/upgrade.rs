//! Upgrades: a request that asks its connection to become a WebSocket (RFC 6455, RFC 9110 §7.8), or its stream (RFC 8441).
//! Where the route allows that, the wish is passed on in the upstream's way of asking; when the upstream agrees, a
//! [`Tunnel`] follows. Everything else is an ordinary answer, and every other `Upgrade` is dropped with the hop-by-hop
//! fields: to ignore it is what RFC 9110 lets a server do.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::body::Source;
use super::exchange::{Exchange, Stage, Upload};
use super::fault::Fault;
use super::lease::Lease;
use super::request_body::RequestBody;
use super::tunnel::{Side, Tunnel};
use super::websocket;
use crate::route::Route;
use crate::telemetry::Refusal;

const WEBSOCKET: &str = "websocket";
/// What the log says of an `Upgrade` that the route does not allow.
const NOT_PASSED: &str = "upgrade_not_allowed";
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// What a request asks for besides an answer.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the upstream proves with that it has understood: the client's, or ours where the client needs none.
    key: Option<HeaderValue>,
    /// The stream of HTTP/2 that is asked for; on HTTP/1.1 it is the connection.
    stream: Option<OnUpgrade>,
}

/// An extended CONNECT stands for a GET: as that it is matched, decided, forwarded and told. Any other CONNECT is refused.
pub(super) fn connect(exchange: &mut Exchange, parts: &mut request::Parts) -> Result<(), Refusal> {
    let protocol = parts.extensions.remove::<Protocol>().ok_or(Refusal::Method)?;
    if !protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
        return Err(Refusal::Upgrade);
    }
    let stream = Some(parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::Method)?);
    exchange.asked = Some(Box::new(Asked { key: Some(websocket::new_key()), stream }));
    (parts.method, exchange.method) = (Method::GET, Method::GET);
    Ok(())
}

/// Notes whether this request asks for what its route allows: a GET of HTTP/1.1 without a body that names one protocol.
/// A stream cannot become anything else than what it asks for.
pub(super) fn ask(exchange: &mut Exchange, parts: &request::Parts, route: &Route) -> Result<(), Fault> {
    let allowed = route.limits.websocket && route.split().is_some();
    if exchange.asked.is_some() {
        return if allowed { Ok(()) } else { Err(Fault::Refused(Refusal::Method)) };
    }
    // Most requests have no field that is for this connection only.
    let asks = exchange.survey.hop_by_hop
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && !exchange.has_body
        && is_websocket(&parts.headers);
    if asks && !allowed {
        // It goes on as an ordinary request: the line of the log says what became of the wish.
        exchange.ending.detail = NOT_PASSED;
    } else if asks {
        exchange.asked = Some(Box::new(Asked { key: websocket::key(&parts.headers), stream: None }));
    }
    Ok(())
}

/// Whether a head names WebSocket, and nothing else, as what to switch to.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let one = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let listed = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    one && protocols.next().is_none() && headers.get_all(header::CONNECTION).iter().any(listed)
}

fn dress(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

impl Asked {
    /// Asks the upstream, in the form of HTTP/1.1.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        dress(headers);
        if let (Some(_), Some(key)) = (&self.stream, &self.key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Whether a connection can be asked. `takes` is what a connection of HTTP/2 has said of it.
    pub(super) fn may_go(&self, takes: Option<bool>) -> Result<(), Fault> {
        match (takes, &self.key) {
            // Without a key there is nothing to answer an HTTP/1.1 client with (RFC 6455 §4.2.1).
            (Some(_), None) => Err(Fault::Refused(Refusal::MalformedHead)),
            (Some(false), Some(_)) => Err(Fault::NoUpgrade),
            (None, _) | (Some(true), Some(_)) => Ok(()),
        }
    }

    /// Whether an upstream of HTTP/1.1 that switches does so to what it was asked for, and says nothing of a body.
    fn is_agreed(&self, headers: &HeaderMap) -> bool {
        let proven = match (&self.stream, &self.key) {
            // Nobody else looks at the answer to a key of ours.
            (Some(_), Some(key)) => websocket::is_accepted(key, headers),
            (None, _) | (_, None) => true,
        };
        proven
            && is_websocket(headers)
            && !headers.contains_key(header::TRANSFER_ENCODING)
            && headers.get_all(header::CONTENT_LENGTH).iter().all(|length| length == "0")
    }
}

/// Gives a request that asks to switch the form of HTTP/2.
pub(super) fn for_h2(request: &mut Request<RequestBody>) {
    if request.headers_mut().remove(header::UPGRADE).is_none() {
        return;
    }
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
}

/// Gives what [`for_h2`] has changed the form of HTTP/1.1 again. There, a CONNECT would ask for a tunnel to anywhere: none
/// is ever sent.
pub(super) fn for_h1(request: &mut Request<RequestBody>, asked: Option<&Asked>) -> Result<(), Fault> {
    if request.method() != Method::CONNECT {
        return Ok(());
    }
    let key = asked.and_then(|asked| asked.key.clone()).ok_or(Fault::NoUpgrade)?;
    *request.method_mut() = Method::GET;
    request.extensions_mut().remove::<Protocol>();
    dress(request.headers_mut());
    request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
    Ok(())
}

/// Whether the upstream has switched. It is a fault when it did so though nobody asked, or to something else, or in a way
/// that cannot be.
pub(super) fn is_agreed(asked: Option<&Asked>, response: &Response<Incoming>) -> Result<bool, Fault> {
    let (status, http2) = (response.status(), response.version() == Version::HTTP_2);
    let Some(asked) = asked.filter(|_| !(http2 && status == StatusCode::SWITCHING_PROTOCOLS)) else {
        return if status == StatusCode::SWITCHING_PROTOCOLS { Err(Fault::UpstreamProtocol) } else { Ok(false) };
    };
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return if asked.is_agreed(response.headers()) { Ok(true) } else { Err(Fault::UpstreamProtocol) };
    }
    // On HTTP/2 every success is the switch, whether it was one for the upstream or not.
    let agreed = http2 && status == StatusCode::OK;
    let mistaken = status.is_success() && (http2 || asked.stream.is_some());
    if mistaken && !agreed { Err(Fault::UpstreamProtocol) } else { Ok(agreed) }
}

/// Whether the client would take this for the beginning of a tunnel though there is none: on a stream that asks for one,
/// every success says so (RFC 9110 §9.3.6).
pub(super) fn is_mistakable(exchange: &Exchange, status: StatusCode) -> bool {
    let asks = exchange.asked.as_ref().is_some_and(|asked| asked.stream.is_some());
    asks && exchange.far.is_none() && status.is_success()
}

/// Takes over the connection, or the stream, whose upstream has switched. The answer has the form of HTTP/1.1 then.
pub(super) async fn take_over(exchange: &mut Exchange, response: &mut Response<Incoming>) -> Result<(), Fault> {
    let lost = Fault::UpstreamReset;
    let side = match &mut exchange.lease {
        Some(Lease::Whole { .. }) => {
            let Some(Lease::Whole { connection, .. }) = exchange.lease.take() else { return Err(lost) };
            let (socket, first, open) = connection.task.await.ok().flatten().ok_or(lost)?;
            Side::connection(socket, first, Some(open))
        }
        // The lease stays: the stream takes up its place for as long as the tunnel lasts.
        Some(Lease::Stream(_)) => {
            let upgraded = hyper::upgrade::on(&mut *response).await.map_err(|_| lost)?;
            let key = exchange.asked.as_ref().and_then(|asked| asked.key.as_ref());
            let accept = key.map(websocket::accept).ok_or(lost)?;
            response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            Side::stream(upgraded)
        }
        None => return Err(lost),
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    exchange.far = Some(Box::new(side));
    Ok(())
}

/// The head of an answer that switches, in the client's form: hop-by-hop fields are ours to say.
pub(super) fn agree(exchange: &Exchange, (status, headers): (&mut StatusCode, &mut HeaderMap)) {
    headers.remove(header::CONTENT_LENGTH);
    if exchange.version == Version::HTTP_2 {
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        *status = StatusCode::OK;
    } else {
        dress(headers);
    }
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
    let stream = exchange.asked.take().and_then(|asked| asked.stream);
    let client = Rc::clone(&exchange.client);
    let tunnel = Box::new(Tunnel::new(exchange, far));
    match stream {
        None => client.tunnel.set(Some(tunnel)),
        Some(stream) => drop(tokio::task::spawn_local(async move {
            // It fails when the client has gone before the answer's head had left: then nothing is left to do.
            if let Ok(upgraded) = stream.await {
                tunnel.run(Side::stream(upgraded)).await;
            }
        })),
    }
    Response::from_parts(parts, Empty::new())
}
