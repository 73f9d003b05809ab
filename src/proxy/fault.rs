//! What can go wrong with an exchange, and the answer that the client gets: a status, `Proxy-Status` (RFC 9209), the
//! request's id and a short body. Nothing of the inside is told.
#![expect(clippy::match_same_arms, reason = "one line for each kind of fault")]

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};

use super::body::Source;
use super::exchange::Exchange;
use super::grpc;
use super::prepare::values;
use crate::compare::Failure;
use crate::telemetry::{Ender, GrpcStatus, Refusal};

/// `Proxy-Status`.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// `X-Request-Id`.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// We refuse it.
    Refused(Refusal),
    /// The client went away while it was sending.
    ClientGone,
    /// The upstream has no endpoint that could be asked.
    NoEndpoint,
    /// There is no memory for the body of the answer.
    AnswerMemory,
    /// `limits.requests` of the upstream.
    UpstreamRequests,
    /// `limits.connections` of the upstream, or the endpoint takes no streams on any.
    UpstreamConnections,
    /// The endpoint refused the connection or cannot be reached.
    ConnectRefused,
    /// The endpoint did not accept in time.
    ConnectTimeout,
    /// The connection broke before a response.
    UpstreamReset,
    /// What came was not HTTP, or could be read in two ways.
    UpstreamProtocol,
    /// The answer's head has more fields or bytes than `limits.response_headers` and `response_header_bytes` of the upstream.
    UpstreamHeaders,
    /// What came was TLS, where none was expected.
    UpstreamSpeaksTls,
    /// It cannot be upgraded there.
    NoUpgrade,
    /// The endpoint's certificate is not believed.
    TlsCertificate,
    /// The endpoint speaks no TLS, or not as it must.
    TlsProtocol,
    /// The endpoint refused us under TLS.
    TlsAlert,
    /// The endpoint did not shake hands in time.
    TlsTimeout,
    /// A kill closed it while it waited.
    Killed,
    /// No response in time.
    ResponseTimeout,
    /// No response within the `grpc-timeout` of the call.
    CallTimeout,
}

impl Fault {
    /// What it is for a comparison, when it is the upstream's.
    pub(super) const fn failure(self) -> Option<Failure> {
        match self {
            Self::Refused(_) | Self::ClientGone | Self::NoUpgrade | Self::UpstreamRequests | Self::Killed => None,
            Self::AnswerMemory => None,
            Self::NoEndpoint
            | Self::UpstreamConnections
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::TlsAlert
            | Self::TlsTimeout => Some(Failure::Connect),
            Self::ResponseTimeout | Self::CallTimeout => Some(Failure::Timeout),
            Self::UpstreamReset | Self::UpstreamProtocol | Self::UpstreamHeaders | Self::UpstreamSpeaksTls => {
                Some(Failure::Reset)
            }
        }
    }

    /// The status that the client gets.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal_status(refusal),
            Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::NoEndpoint | Self::UpstreamRequests | Self::UpstreamConnections => StatusCode::SERVICE_UNAVAILABLE,
            Self::AnswerMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::Killed => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectRefused
            | Self::UpstreamReset
            | Self::UpstreamProtocol
            | Self::UpstreamHeaders
            | Self::UpstreamSpeaksTls
            | Self::NoUpgrade => StatusCode::BAD_GATEWAY,
            Self::TlsCertificate | Self::TlsProtocol | Self::TlsAlert => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::TlsTimeout | Self::ResponseTimeout | Self::CallTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    /// RFC 9209 §2.3.
    const fn proxy_error(self) -> &'static str {
        match self {
            Self::Refused(Refusal::Loop) => "proxy_loop_detected",
            Self::Refused(Refusal::Internal) => "proxy_internal_error",
            Self::Refused(Refusal::NoRoute | Refusal::Misdirected) => "destination_not_found",
            Self::Refused(refusal) if refusal_passes(refusal) => "connection_limit_reached",
            Self::Refused(_) => "http_request_error",
            Self::ClientGone => "http_request_error",
            Self::NoEndpoint | Self::Killed => "destination_unavailable",
            Self::UpstreamRequests | Self::UpstreamConnections => "connection_limit_reached",
            Self::AnswerMemory => "proxy_internal_response",
            Self::ConnectRefused => "connection_refused",
            Self::ConnectTimeout | Self::TlsTimeout => "connection_timeout",
            Self::TlsCertificate => "tls_certificate_error",
            Self::TlsProtocol => "tls_protocol_error",
            Self::TlsAlert => "tls_alert_received",
            Self::UpstreamReset => "connection_terminated",
            Self::UpstreamProtocol | Self::UpstreamSpeaksTls => "http_protocol_error",
            Self::UpstreamHeaders => "http_response_header_section_size",
            Self::NoUpgrade => "http_upgrade_failed",
            Self::ResponseTimeout | Self::CallTimeout => "http_response_timeout",
        }
    }

    /// The word in the log.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.name(),
            Self::ClientGone => "client_gone",
            Self::NoEndpoint => "no_endpoint",
            Self::Killed => "killed",
            Self::AnswerMemory => "answer_memory",
            Self::UpstreamRequests => "upstream_requests",
            Self::UpstreamConnections => "upstream_connections",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamHeaders => "upstream_response_headers",
            Self::UpstreamSpeaksTls => "upstream_speaks_tls",
            Self::NoUpgrade => "upstream_no_upgrade",
            Self::TlsCertificate => "tls_certificate",
            Self::TlsProtocol => "tls_protocol",
            Self::TlsAlert => "tls_alert",
            Self::TlsTimeout => "tls_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::CallTimeout => "call_timeout",
        }
    }

    /// What the client's user reads.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal_sentence(refusal),
            Self::ClientGone => "The request's body did not arrive whole.",
            Self::NoEndpoint => "The service has no instance at the moment.",
            Self::UpstreamRequests | Self::UpstreamConnections => "The service is busy. Try again shortly.",
            Self::AnswerMemory => "The service has answered, and there is no memory here for its answer.",
            Self::Killed => "The service was exchanged meanwhile. Try again.",
            Self::ConnectRefused => "The service could not be reached.",
            Self::TlsCertificate | Self::TlsProtocol | Self::TlsAlert => {
                "No secure connection to the service could be made."
            }
            Self::UpstreamReset => "The service broke off before it answered.",
            Self::NoUpgrade => "The service takes no such connections.",
            Self::UpstreamProtocol | Self::UpstreamSpeaksTls => "The service gave an answer that cannot be understood.",
            Self::UpstreamHeaders => {
                "The service's answer has more header fields or bytes than upstream.limits.response_headers and \
                 response_header_bytes let through."
            }
            Self::ConnectTimeout | Self::TlsTimeout | Self::ResponseTimeout => "The service did not answer in time.",
            Self::CallTimeout => grpc::TOO_LATE,
        }
    }

    /// Who is to blame.
    const fn ender(self) -> Ender {
        match self {
            Self::Refused(Refusal::BodyTooSlow | Refusal::HeaderTimeout) | Self::ClientGone => Ender::Client,
            Self::Refused(_) | Self::UpstreamRequests | Self::UpstreamConnections | Self::NoEndpoint => Ender::Proxy,
            Self::AnswerMemory => Ender::Proxy,
            Self::Killed => Ender::Proxy,
            Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::TlsAlert
            | Self::TlsTimeout
            | Self::UpstreamReset
            | Self::UpstreamProtocol
            | Self::UpstreamHeaders
            | Self::UpstreamSpeaksTls
            | Self::NoUpgrade
            | Self::ResponseTimeout
            | Self::CallTimeout => Ender::Upstream,
        }
    }

    /// gRPC's status code: what it says of its own codes, else its mapping of HTTP's.
    const fn grpc_status(self) -> GrpcStatus {
        match self {
            Self::Refused(Refusal::NoRoute | Refusal::Method | Refusal::Upgrade) => GrpcStatus::UNIMPLEMENTED,
            Self::Refused(Refusal::BodyTooLarge | Refusal::HeadersTooLarge) => GrpcStatus::RESOURCE_EXHAUSTED,
            Self::UpstreamHeaders => GrpcStatus::RESOURCE_EXHAUSTED,
            Self::Refused(refusal) if refusal_passes(refusal) => GrpcStatus::UNAVAILABLE,
            Self::Refused(_) => GrpcStatus::INTERNAL,
            Self::ClientGone => GrpcStatus::CANCELLED,
            Self::ResponseTimeout | Self::CallTimeout => GrpcStatus::DEADLINE_EXCEEDED,
            Self::NoEndpoint
            | Self::Killed
            | Self::AnswerMemory
            | Self::UpstreamRequests
            | Self::UpstreamConnections
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::TlsAlert
            | Self::TlsTimeout
            | Self::UpstreamProtocol
            | Self::UpstreamSpeaksTls
            | Self::NoUpgrade
            | Self::UpstreamReset => GrpcStatus::UNAVAILABLE,
        }
    }

    /// Whether the sender's notion of the connection may differ from ours, so that nothing more is read from it.
    const fn is_distrusted(self) -> bool {
        use Refusal::{BadFraming, BadHost, BadPath, Cleartext, MalformedHead, Method, ProxyHeaderUnexpected};
        let Self::Refused(refusal) = self else { return false };
        matches!(refusal, BadFraming | BadHost | BadPath | Cleartext | MalformedHead | Method | ProxyHeaderUnexpected)
    }

    /// Whether a short wait may help.
    const fn passes(self) -> bool {
        if let Self::Refused(refusal) = self {
            return refusal_passes(refusal);
        }
        matches!(self, Self::UpstreamRequests | Self::UpstreamConnections | Self::Killed)
    }
}

/// Whether there is too much to do at the moment, of everybody's or of this client's.
const fn refusal_passes(refusal: Refusal) -> bool {
    use Refusal::{Memory, MemoryPerIp, Requests, RequestsPerIp};
    matches!(refusal, Requests | RequestsPerIp | Memory | MemoryPerIp)
}

const fn refusal_status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::MalformedHead | Refusal::BadFraming | Refusal::BadHost | Refusal::BadPath | Refusal::Cleartext => {
            StatusCode::BAD_REQUEST
        }
        Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::Upgrade => StatusCode::NOT_IMPLEMENTED,
        Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
        Refusal::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::HeaderTimeout | Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Connections
        | Refusal::ConnectionsPerIp
        | Refusal::ConnectionRate
        | Refusal::Requests
        | Refusal::RequestsPerIp
        | Refusal::Memory
        | Refusal::MemoryPerIp => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::H2Resets
        | Refusal::H2ResetsPerIp
        | Refusal::ReaderShed
        | Refusal::H2Pings
        | Refusal::H2Settings
        | Refusal::H2Continuations
        | Refusal::H2Protocol
        | Refusal::ReaderStalled
        | Refusal::ProxyHeaderMissing
        | Refusal::ProxyHeaderMalformed
        | Refusal::ProxyHeaderUnexpected => StatusCode::BAD_REQUEST,
        Refusal::Loop => StatusCode::LOOP_DETECTED,
        Refusal::NoRoute => StatusCode::NOT_FOUND,
        Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn refusal_sentence(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MalformedHead => "The request is not valid HTTP.",
        Refusal::BadFraming => "The request's length can be read in more than one way, or its body is malformed.",
        Refusal::BadHost => "The request must name exactly one valid host.",
        Refusal::BadPath => "The request's path is not valid.",
        Refusal::Cleartext => "TLS is spoken here: ask again with https.",
        Refusal::ProxyHeaderUnexpected => {
            "A PROXY header came from an address that listener.proxy_protocol.from does not name."
        }
        Refusal::Misdirected => "This host is not served on this connection. Ask again on a new one.",
        Refusal::Method => "This method is not served here.",
        Refusal::Upgrade => "This protocol is not spoken here.",
        Refusal::UriTooLong => "The request's target is too long.",
        Refusal::HeadersTooLarge => "The request's header fields are too large or too many.",
        Refusal::HeaderTimeout => "The request did not arrive in time.",
        Refusal::BodyTooSlow => "The request's body arrived too slowly.",
        Refusal::BodyTooLarge => "The request's body is too large.",
        Refusal::Connections
        | Refusal::ConnectionsPerIp
        | Refusal::ConnectionRate
        | Refusal::Requests
        | Refusal::RequestsPerIp
        | Refusal::Memory
        | Refusal::MemoryPerIp => "Too much is going on here. Try again shortly.",
        Refusal::H2Resets
        | Refusal::H2ResetsPerIp
        | Refusal::ReaderShed
        | Refusal::H2Pings
        | Refusal::H2Settings
        | Refusal::H2Continuations
        | Refusal::H2Protocol
        | Refusal::ReaderStalled
        | Refusal::ProxyHeaderMissing
        | Refusal::ProxyHeaderMalformed => "The connection's behaviour is not acceptable.",
        Refusal::Loop => "The request has come round in a loop.",
        Refusal::NoRoute => "Nothing is served here under this host and path.",
        Refusal::Internal => "Something went wrong here.",
    }
}

/// The answer to an exchange that went wrong.
pub(super) fn answer(exchange: &mut Exchange, fault: Fault) -> Response<Source> {
    if let Fault::Refused(refusal) = fault {
        exchange.client.worker.meter().refuse(refusal);
    }
    exchange.ends(fault.ender(), fault.detail());
    if exchange.version != Version::HTTP_2 && fault.is_distrusted() {
        exchange.client.closing.set(true);
    }
    let id = exchange.request_id();
    let mut response = match &mut exchange.call {
        Some(call) => {
            call.status = fault.grpc_status();
            grpc::trailers_only(call.status, fault.sentence().as_bytes())
        }
        None => plain(fault, &id, exchange.survey.json),
    };
    let headers = response.headers_mut();
    edit(exchange, headers, &id);
    headers.insert(REQUEST_ID, id);
    let details = format!("pointsman; error={}; details=\"{}\"", fault.proxy_error(), fault.detail());
    insert(headers, PROXY_STATUS, &details);
    if fault.passes() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if fault == Fault::Refused(Refusal::Method) {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    if matches!(fault, Fault::Refused(Refusal::Memory | Refusal::MemoryPerIp)) && exchange.version == Version::HTTP_2 {
        // A body would be kept here for as long as the client opens no window for it.
        *response.body_mut() = Source::Own(None);
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// The route's edits hold on errors too. What describes the error itself stays.
fn edit(exchange: &Exchange, headers: &mut HeaderMap, id: &HeaderValue) {
    let Some(route) = exchange.route else { return };
    let edits = &exchange.local.snapshot.rules.route(route).response_headers;
    if edits.is_empty() {
        return;
    }
    let own = headers.clone();
    edits.apply(headers, &values(exchange, id));
    for (name, value) in &own {
        headers.insert(name, value.clone());
    }
}

fn plain(fault: Fault, id: &HeaderValue, json: bool) -> Response<Source> {
    let (status, id) = (fault.status(), id.to_str().unwrap_or(""));
    let (kind, body) = if json {
        let body = serde_json::json!({
            "status": status.as_u16(), "error": fault.detail(), "message": fault.sentence(), "request_id": id,
        });
        ("application/json", format!("{body}\n"))
    } else {
        let reason = status.canonical_reason().unwrap_or("Error");
        let body = format!("{} {reason}\n{}\nRequest id: {id}\n", status.as_u16(), fault.sentence());
        ("text/plain; charset=utf-8", body)
    };
    let mut response = Response::new(Source::Own(Some(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
