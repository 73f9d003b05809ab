//! A request for WebSocket, in the form of HTTP/1.1, `Upgrade` (RFC 6455, RFC 9110 §7.8), or of HTTP/2, an extended
//! CONNECT (RFC 8441).

use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::ext::Protocol;

use super::upstream_head::UpstreamHead;
use super::websocket;
use crate::fields::Fields;
use crate::proxy::downstream::h2::tunnel::OpeningStream;
use crate::proxy::wire::fault::Fault;
use crate::telemetry::Refusal;

const WEBSOCKET: &str = "websocket";
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// A request for WebSocket.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    /// The key for the upstream: the client's, or the proxy's own if the client uses HTTP/2.
    key: Option<HeaderValue>,
    /// The client's HTTP/2 stream. `None` on HTTP/1.1, where the connection itself switches.
    stream: Option<OpeningStream>,
}

/// Whether a head asks to switch to WebSocket, and to nothing else.
pub(crate) fn is_websocket(fields: &Fields) -> bool {
    let mut protocols = fields.get_all("upgrade");
    let one = protocols.next().is_some_and(|value| value.eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let listed =
        |value: &[u8]| value.split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    one && protocols.next().is_none() && fields.get_all("connection").any(listed)
}

/// Sets the fields that ask to switch to WebSocket.
pub(crate) fn set_upgrade_fields(fields: &mut Fields) {
    fields.insert(&header::CONNECTION, &UPGRADE);
    fields.insert(&header::UPGRADE, &HeaderValue::from_static(WEBSOCKET));
}

impl UpgradeRequest {
    /// A request by `Upgrade`.
    pub(crate) fn by_upgrade(fields: &Fields) -> Self {
        Self { key: websocket::key(fields), stream: None }
    }

    /// A request by an extended CONNECT for this protocol.
    pub(crate) fn by_connect(protocol: &str, stream: OpeningStream) -> Result<Self, Refusal> {
        if !protocol.eq_ignore_ascii_case(WEBSOCKET) {
            return Err(Refusal::Upgrade);
        }
        Ok(Self { key: Some(websocket::new_key()), stream: Some(stream) })
    }

    /// Whether the client uses an HTTP/2 stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// The client's HTTP/2 stream, if it uses one.
    pub(crate) fn into_stream(self) -> Option<OpeningStream> {
        self.stream
    }

    /// The accept value for an HTTP/1.1 client.
    pub(crate) fn accept(&self) -> Option<HeaderValue> {
        self.key.as_ref().map(websocket::accept)
    }

    /// Sets the fields of a request to an HTTP/1.1 upstream.
    pub(crate) fn set_fields(&self, fields: &mut Fields) {
        set_upgrade_fields(fields);
        if let (Some(_), Some(key)) = (&self.stream, &self.key) {
            fields.insert(&header::SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Checks that a connection can carry the request. `takes`: whether an HTTP/2 upstream accepts an extended CONNECT;
    /// `None` on HTTP/1.1.
    pub(crate) fn check_connection(&self, takes: Option<bool>) -> Result<(), Fault> {
        match (takes, &self.key) {
            // An HTTP/2 upstream sends no accept value, and without a key the proxy cannot compute one (RFC 6455
            // §4.2.1).
            (Some(_), None) => Err(Fault::Refused(Refusal::MalformedHead)),
            (Some(false), Some(_)) => Err(Fault::NoUpgrade),
            (None, _) | (Some(true), Some(_)) => Ok(()),
        }
    }

    /// Whether the `101` of an HTTP/1.1 upstream is valid: it switches to WebSocket, and states no body.
    fn is_agreed(&self, fields: &Fields) -> bool {
        let accepted = match (&self.stream, &self.key) {
            // The key is the proxy's own, so the client cannot check the accept value.
            (Some(_), Some(key)) => websocket::is_accepted(key, fields),
            (None, _) | (_, None) => true,
        };
        accepted
            && is_websocket(fields)
            && !fields.contains("transfer-encoding")
            && fields.get_all("content-length").all(|length| length == b"0")
    }
}

/// Turns a request with `Upgrade` into an extended CONNECT.
pub(crate) fn for_h2<B>(request: &mut Request<B>) {
    if request.headers_mut().remove(header::UPGRADE).is_none() {
        return;
    }
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
}

/// Whether the upstream switched to WebSocket. An unrequested switch, a switch to another protocol and an invalid one
/// are faults.
pub(crate) fn is_agreed(upgrade: Option<&UpgradeRequest>, response: &UpstreamHead) -> Result<bool, Fault> {
    let (status, http2) = (response.status, response.version == Version::HTTP_2);
    let Some(upgrade) = upgrade.filter(|_| !(http2 && status == StatusCode::SWITCHING_PROTOCOLS)) else {
        return if status == StatusCode::SWITCHING_PROTOCOLS { Err(Fault::UpstreamProtocol) } else { Ok(false) };
    };
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return if upgrade.is_agreed(&response.fields) { Ok(true) } else { Err(Fault::UpstreamProtocol) };
    }
    // On HTTP/2 any 2xx switches, intended or not; 200 is the only valid one. An HTTP/2 client cannot get a 2xx without
    // a switch either.
    let agreed = http2 && status == StatusCode::OK;
    let mistaken = status.is_success() && (http2 || upgrade.stream.is_some());
    if mistaken && !agreed { Err(Fault::UpstreamProtocol) } else { Ok(agreed) }
}
