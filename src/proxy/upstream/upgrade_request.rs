//! What a request asks for besides an answer, to become a WebSocket, and how that is asked: by `Upgrade` in HTTP/1.1
//! (RFC 6455, RFC 9110 §7.8), by an extended CONNECT in HTTP/2 (RFC 8441).

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::websocket;
use crate::proxy::wire::fault::Fault;
use crate::telemetry::Refusal;

const WEBSOCKET: &str = "websocket";
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// What a request asks for besides an answer.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    /// What the upstream proves with that it has understood: the client's, or ours where the client needs none.
    key: Option<HeaderValue>,
    /// The stream of HTTP/2 that is asked for; on HTTP/1.1 it is the connection.
    stream: Option<OnUpgrade>,
}

/// Whether a head names WebSocket, and nothing else, as what to switch to.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let one = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let listed = |value: &HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    one && protocols.next().is_none() && headers.get_all(header::CONNECTION).iter().any(listed)
}

/// Names WebSocket as what to switch to.
pub(crate) fn set_upgrade_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

impl UpgradeRequest {
    /// Asked for by `Upgrade`.
    pub(crate) fn by_upgrade(headers: &HeaderMap) -> Self {
        Self { key: websocket::key(headers), stream: None }
    }

    /// Asked for by an extended CONNECT. Any other CONNECT is refused.
    pub(crate) fn by_connect(parts: &mut request::Parts) -> Result<Self, Refusal> {
        let protocol = parts.extensions.remove::<Protocol>().ok_or(Refusal::Method)?;
        if !protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
            return Err(Refusal::Upgrade);
        }
        let stream = Some(parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::Method)?);
        Ok(Self { key: Some(websocket::new_key()), stream })
    }

    /// Whether a stream of HTTP/2 is asked for.
    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// The stream of HTTP/2 that is asked for, if it is one.
    pub(crate) fn into_stream(self) -> Option<OnUpgrade> {
        self.stream
    }

    /// What answers the key of an HTTP/1.1 client.
    pub(crate) fn accept(&self) -> Option<HeaderValue> {
        self.key.as_ref().map(websocket::accept)
    }

    /// Asks the upstream, in the form of HTTP/1.1.
    pub(crate) fn set_headers(&self, headers: &mut HeaderMap) {
        set_upgrade_headers(headers);
        if let (Some(_), Some(key)) = (&self.stream, &self.key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Whether a connection can be asked. `takes` is what a connection of HTTP/2 has said of it.
    pub(crate) fn check_connection(&self, takes: Option<bool>) -> Result<(), Fault> {
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
            // The proxy has made the key: the client cannot check the answer to it.
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
pub(crate) fn for_h2<B>(request: &mut Request<B>) {
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
pub(crate) fn for_h1<B>(request: &mut Request<B>, upgrade: Option<&UpgradeRequest>) -> Result<(), Fault> {
    if request.method() != Method::CONNECT {
        return Ok(());
    }
    let key = upgrade.and_then(|upgrade| upgrade.key.clone()).ok_or(Fault::NoUpgrade)?;
    *request.method_mut() = Method::GET;
    request.extensions_mut().remove::<Protocol>();
    set_upgrade_headers(request.headers_mut());
    request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
    Ok(())
}

/// Whether the upstream has switched. A switch is a fault when none was asked for, when it is to another protocol, and
/// when its form is not valid.
pub(crate) fn is_agreed(upgrade: Option<&UpgradeRequest>, response: &Response<Incoming>) -> Result<bool, Fault> {
    let (status, http2) = (response.status(), response.version() == Version::HTTP_2);
    let Some(upgrade) = upgrade.filter(|_| !(http2 && status == StatusCode::SWITCHING_PROTOCOLS)) else {
        return if status == StatusCode::SWITCHING_PROTOCOLS { Err(Fault::UpstreamProtocol) } else { Ok(false) };
    };
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return if upgrade.is_agreed(response.headers()) { Ok(true) } else { Err(Fault::UpstreamProtocol) };
    }
    // On HTTP/2 every success is the switch, whether it was one for the upstream or not.
    let agreed = http2 && status == StatusCode::OK;
    let mistaken = status.is_success() && (http2 || upgrade.stream.is_some());
    if mistaken && !agreed { Err(Fault::UpstreamProtocol) } else { Ok(agreed) }
}
