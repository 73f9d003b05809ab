//! The faults that end an exchange, with a table of one row each: the effect on the client, the log and the metrics.
//! `request/error_response.rs` makes the response from a row.

use http::StatusCode;

use crate::compare::Failure;
use crate::telemetry::{EndedBy, GrpcStatus, Refusal};

/// A fault that ends an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The proxy refuses the request.
    Refused(Refusal),
    /// A rate limit of the route.
    RateLimited(LimitRefusal),
    /// The route's priority is low, and the proxy is short of memory or places.
    Shed,
    /// The client closed the connection or the stream before it sent the whole request.
    ClientGone,
    /// The upstream has no endpoint to choose.
    NoEndpoint,
    /// No endpoint of the upstream is usable.
    Ejected,
    /// The active checks of all endpoints of the upstream fail.
    Unhealthy,
    /// The proxy has no memory for the response's body.
    AnswerMemory,
    /// `limits.requests` of the upstream.
    UpstreamRequests,
    /// `limits.connections` of the upstream, or the endpoint accepts no streams on any connection.
    UpstreamConnections,
    /// The endpoint refused the connection or is unreachable.
    ConnectRefused,
    /// The endpoint did not accept the connection in time.
    ConnectTimeout,
    /// The endpoint closed the connection before a response.
    UpstreamReset,
    /// The endpoint sent an invalid or ambiguous response.
    UpstreamProtocol,
    /// The response's head has more fields or bytes than `limits.response_headers` and `response_header_bytes` of the
    /// upstream.
    UpstreamHeaders,
    /// The endpoint sent a TLS record on a cleartext connection.
    UpstreamSpeaksTls,
    /// The endpoint cannot perform the upgrade.
    NoUpgrade,
    /// The endpoint's certificate is not trusted.
    TlsCertificate,
    /// The TLS handshake failed: no TLS, or no common version or cipher suite.
    TlsProtocol,
    /// The endpoint refused the proxy with a TLS alert.
    TlsAlert,
    /// The endpoint did not finish the TLS handshake in time.
    TlsTimeout,
    /// A kill of the variant closed the exchange.
    Killed,
    /// The endpoint did not respond in time.
    ResponseTimeout,
    /// The call did not end within its `grpc-timeout`.
    CallTimeout,
}

/// Which rate limit refuses a request, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitRefusal {
    /// The number of the limit in its route.
    pub(crate) number: u16,
    /// Milliseconds until a request passes, from 1.
    pub(crate) wait_ms: u32,
}

impl LimitRefusal {
    /// Whole seconds until a request passes, from 1.
    pub(crate) const fn wait_seconds(self) -> u32 {
        let seconds = self.wait_ms.div_ceil(1000);
        if seconds == 0 { 1 } else { seconds }
    }
}

/// The row of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultRow {
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// The side that caused the fault.
    pub(crate) blame: EndedBy,
    /// The status of the response to a gRPC call: the nearest code of gRPC.
    pub(crate) grpc: GrpcStatus,
    /// The failure that a comparison records instead of a response. `None`: the fault is not of the upstream.
    pub(crate) failure: Option<Failure>,
    /// The advice to the client.
    pub(crate) advice: Advice,
    /// The error type in `Proxy-Status` (RFC 9209 §2.3).
    pub(crate) proxy_error: &'static str,
    /// The identifier in the log, and the details in `Proxy-Status`.
    pub(crate) detail: &'static str,
    /// The text of the response, for people.
    pub(crate) message: &'static str,
    /// Whether the request counts as a failure of the upstream.
    pub(crate) upstream_failed: bool,
}

/// The advice to the client in an error response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Nothing.
    Nothing,
    /// To retry soon (`Retry-After`): the fault is transient.
    RetryAfter,
    /// To open a new connection, on HTTP/1.1: client and proxy may disagree about the end of the request (RFC 9112
    /// §11.2), so the proxy reads nothing more from this one.
    Close,
}

impl Fault {
    /// The fault's row of the table.
    #[cold]
    pub(crate) const fn row(self) -> FaultRow {
        fault_row(self)
    }

    /// The identifier in the log.
    pub(crate) const fn detail(self) -> &'static str {
        self.row().detail
    }
}

/// Makes a row of the tables below.
#[expect(clippy::too_many_arguments, reason = "one argument for each column")]
const fn row(
    status: StatusCode,
    blame: EndedBy,
    grpc: GrpcStatus,
    failure: Option<Failure>,
    advice: Advice,
    proxy_error: &'static str,
    detail: &'static str,
    message: &'static str,
) -> FaultRow {
    debug_assert!(!matches!(blame, EndedBy::Done), "a fault has a cause");
    let upstream_failed = matches!(blame, EndedBy::Upstream);
    FaultRow { status, blame, grpc, failure, advice, proxy_error, detail, message, upstream_failed }
}

/// The table of faults. Columns: status, blame, gRPC's status, failure for a comparison, advice; and in the second line
/// the error type of RFC 9209, the detail, the message.
#[rustfmt::skip] // Columns.
const fn fault_row(fault: Fault) -> FaultRow {
    use {Advice::{Nothing, RetryAfter}, EndedBy::{Client, Proxy, Upstream}, Failure::{Connect, Reset, Timeout}};
    use {Fault as F, GrpcStatus as G, StatusCode as S};
    match fault {
        F::Refused(refusal) => refusal_row(refusal),
        F::RateLimited(_)      => row(S::TOO_MANY_REQUESTS,   Proxy,    G::RESOURCE_EXHAUSTED, None,         Nothing,
            "http_request_denied", "rate_limited", "Too many requests. Try again later."),
        F::Shed                => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          RetryAfter,
            "connection_limit_reached", "shed", "The server is busy. Try again shortly."),
        F::ClientGone          => row(S::BAD_REQUEST,         Client,   G::CANCELLED,         None,          Nothing,
            "http_request_error", "client_gone", "The request's body did not arrive completely."),
        F::NoEndpoint          => FaultRow { upstream_failed: true, ..row(
            S::SERVICE_UNAVAILABLE, Proxy, G::UNAVAILABLE, Some(Connect), Nothing,
            "destination_unavailable", "no_endpoint", "The service has no instance at the moment.") },
        F::Ejected             => FaultRow { upstream_failed: true, ..row(
            S::SERVICE_UNAVAILABLE, Proxy, G::UNAVAILABLE, Some(Connect), Nothing,
            "destination_unavailable", "ejected", "No instance of the service responds well at the moment.") },
        F::Unhealthy           => FaultRow { upstream_failed: true, ..row(
            S::SERVICE_UNAVAILABLE, Proxy, G::UNAVAILABLE, Some(Connect), Nothing,
            "destination_unavailable", "unhealthy", "No instance of the service is healthy at the moment.") },
        F::AnswerMemory        => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          Nothing,
            "proxy_internal_response", "answer_memory",
            "The service responded, but the proxy has no memory for its response."),
        F::UpstreamRequests    => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          RetryAfter,
            "connection_limit_reached", "upstream_requests", "The service is busy. Try again shortly."),
        F::UpstreamConnections => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       Some(Connect), RetryAfter,
            "connection_limit_reached", "upstream_connections", "The service is busy. Try again shortly."),
        F::ConnectRefused      => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_refused", "connect_refused", "The service could not be reached."),
        F::ConnectTimeout      => row(S::GATEWAY_TIMEOUT,     Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_timeout", "connect_timeout", "The service did not respond in time."),
        F::UpstreamReset       => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "connection_terminated", "upstream_reset", "The service closed the connection before it responded."),
        F::UpstreamProtocol    => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "http_protocol_error", "upstream_protocol", "The service sent an invalid response."),
        F::UpstreamHeaders     => row(S::BAD_GATEWAY,         Upstream, G::RESOURCE_EXHAUSTED, Some(Reset),  Nothing,
            "http_response_header_section_size", "upstream_response_headers",
            "The service's response has more header fields or bytes than \
                upstream.limits.response_headers and response_header_bytes allow."),
        F::UpstreamSpeaksTls   => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "http_protocol_error", "upstream_speaks_tls", "The service sent an invalid response."),
        F::NoUpgrade           => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       None,          Nothing,
            "http_upgrade_failed", "upstream_no_upgrade", "The service does not accept the upgrade."),
        F::TlsCertificate      => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_certificate_error", "tls_certificate", "The TLS connection to the service could not be established."),
        F::TlsProtocol         => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_protocol_error", "tls_protocol", "The TLS connection to the service could not be established."),
        F::TlsAlert            => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_alert_received", "tls_alert", "The TLS connection to the service could not be established."),
        F::TlsTimeout          => row(S::GATEWAY_TIMEOUT,     Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_timeout", "tls_timeout", "The service did not respond in time."),
        F::Killed              => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          RetryAfter,
            "destination_unavailable", "killed", "The service is being replaced. Try again."),
        F::ResponseTimeout     => row(S::GATEWAY_TIMEOUT,     Upstream, G::DEADLINE_EXCEEDED, Some(Timeout), Nothing,
            "http_response_timeout", "response_timeout", "The service did not respond in time."),
        F::CallTimeout         => row(S::GATEWAY_TIMEOUT,     Upstream, G::DEADLINE_EXCEEDED, Some(Timeout), Nothing,
            "http_response_timeout", "call_timeout", "The call's deadline has passed."),
    }
}

/// The table of refusals, with the same columns. The detail is the refusal's name, the label of its metric.
#[rustfmt::skip] // Columns.
const fn refusal_row(refusal: Refusal) -> FaultRow {
    use {Advice::{Close, Nothing, RetryAfter}, EndedBy::{Client, Proxy}};
    use {GrpcStatus as G, Refusal as R, StatusCode as S};
    let name = refusal.name();
    match refusal {
        R::MalformedHead           => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "The request is not valid HTTP."),
        R::BadFraming              => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name,
            "The request's length is ambiguous, or its body is malformed."),
        R::BadHost                 => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "The request must name exactly one valid host."),
        R::BadPath                 => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "The request's path is not valid."),
        R::Method                  => row(S::METHOD_NOT_ALLOWED,  Proxy,  G::UNIMPLEMENTED,      None, Close,
            "http_request_error", name, "This method is not supported."),
        R::Upgrade                 => row(S::NOT_IMPLEMENTED,     Proxy,  G::UNIMPLEMENTED,      None, Nothing,
            "http_request_error", name, "This protocol is not supported."),
        R::UriTooLong              => row(S::URI_TOO_LONG,        Proxy,  G::INTERNAL,           None, Nothing,
            "http_request_error", name, "The request's target is too long."),
        R::HeadersTooLarge         => row(S::REQUEST_HEADER_FIELDS_TOO_LARGE, Proxy, G::RESOURCE_EXHAUSTED, None, Nothing,
            "http_request_error", name, "The request's header fields are too large or too many."),
        R::HeaderTimeout           => row(S::REQUEST_TIMEOUT,     Client, G::INTERNAL,           None, Nothing,
            "http_request_error", name, "The request did not arrive in time."),
        R::BodyTooLarge            => row(S::PAYLOAD_TOO_LARGE,   Proxy,  G::RESOURCE_EXHAUSTED, None, Nothing,
            "http_request_error", name, "The request's body is too large."),
        R::BodyTooSlow             => row(S::REQUEST_TIMEOUT,     Client, G::INTERNAL,           None, Nothing,
            "http_request_error", name, "The request's body arrived too slowly."),
        R::ReaderStalled | R::ReaderShed | R::H2Resets | R::H2ResetsPerIp | R::H2Pings
        | R::H2Settings | R::H2Continuations | R::H2Protocol | R::ProxyHeaderMissing
        | R::ProxyHeaderMalformed  => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Nothing,
            "http_request_error", name, "The client violates the protocol or a limit."),
        R::Connections | R::ConnectionsPerIp
        | R::ConnectionRate        => row(S::SERVICE_UNAVAILABLE, Proxy,  G::INTERNAL,           None, Nothing,
            "http_request_error", name, "The server is overloaded. Try again shortly."),
        R::Requests | R::RequestsPerIp | R::Memory
        | R::MemoryPerIp           => row(S::SERVICE_UNAVAILABLE, Proxy,  G::UNAVAILABLE,        None, RetryAfter,
            "connection_limit_reached", name, "The server is overloaded. Try again shortly."),
        R::ProxyHeaderUnexpected   => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name,
            "A PROXY header came from an address that listener.proxy_protocol.from does not list."),
        R::Cleartext               => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "This port requires TLS: use https."),
        R::Misdirected             => row(S::MISDIRECTED_REQUEST, Proxy,  G::INTERNAL,           None, Nothing,
            "destination_not_found", name, "This connection does not serve this host. Open a new connection."),
        R::Loop                    => row(S::LOOP_DETECTED,       Proxy,  G::INTERNAL,           None, Nothing,
            "proxy_loop_detected", name, "The request came back to this proxy in a loop."),
        R::NoRoute                 => row(S::NOT_FOUND,           Proxy,  G::UNIMPLEMENTED,      None, Nothing,
            "destination_not_found", name, "No route serves this host and path."),
        R::Internal                => row(S::INTERNAL_SERVER_ERROR, Proxy, G::INTERNAL,          None, Nothing,
            "proxy_internal_error", name, "The proxy failed."),
    }
}

#[cfg(test)]
mod tests;
