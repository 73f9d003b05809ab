//! What can go wrong with an exchange, and one row for each fault: what the client, the log and the figures get of it.
//! `request/error_response.rs` makes the answer out of a row.

use http::StatusCode;

use crate::compare::Failure;
use crate::telemetry::{EndedBy, GrpcStatus, Refusal};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
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

/// The row of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultRow {
    /// The status that the client gets.
    pub(crate) status: StatusCode,
    /// Who is to blame.
    pub(crate) blame: EndedBy,
    /// The status that the client of a gRPC call gets: the nearest of gRPC's own codes.
    pub(crate) grpc: GrpcStatus,
    /// What a comparison records in the place of an answer. `None`: the fault says nothing of the upstream.
    pub(crate) failure: Option<Failure>,
    /// What the client is advised to do.
    pub(crate) advice: Advice,
    /// The error type in `Proxy-Status` (RFC 9209 §2.3).
    pub(crate) proxy_error: &'static str,
    /// The word in the log, and the details in `Proxy-Status`.
    pub(crate) detail: &'static str,
    /// The text for the client's user.
    pub(crate) message: &'static str,
    /// The request counts as a failure of the upstream.
    pub(crate) upstream_failed: bool,
}

/// What the client is advised to do after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Nothing.
    Nothing,
    /// To try again soon (`Retry-After`): the fault is over in a moment.
    RetryAfter,
    /// To open a new connection, on HTTP/1.1: its notion of where the request ends may differ from ours (RFC 9112
    /// §11.2), so nothing more is read from this one.
    Close,
}

impl Fault {
    /// Its row.
    #[cold]
    pub(crate) const fn row(self) -> FaultRow {
        fault_row(self)
    }

    /// The word in the log.
    pub(crate) const fn detail(self) -> &'static str {
        self.row().detail
    }
}

/// A row of the tables below.
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
        F::ClientGone          => row(S::BAD_REQUEST,         Client,   G::CANCELLED,         None,          Nothing,
            "http_request_error", "client_gone", "The request's body did not arrive whole."),
        F::NoEndpoint          => FaultRow { upstream_failed: true, ..row(
            S::SERVICE_UNAVAILABLE, Proxy, G::UNAVAILABLE, Some(Connect), Nothing,
            "destination_unavailable", "no_endpoint", "The service has no instance at the moment.") },
        F::AnswerMemory        => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          Nothing,
            "proxy_internal_response", "answer_memory",
            "The service has answered, and there is no memory here for its answer."),
        F::UpstreamRequests    => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          RetryAfter,
            "connection_limit_reached", "upstream_requests", "The service is busy. Try again shortly."),
        F::UpstreamConnections => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       Some(Connect), RetryAfter,
            "connection_limit_reached", "upstream_connections", "The service is busy. Try again shortly."),
        F::ConnectRefused      => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_refused", "connect_refused", "The service could not be reached."),
        F::ConnectTimeout      => row(S::GATEWAY_TIMEOUT,     Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_timeout", "connect_timeout", "The service did not answer in time."),
        F::UpstreamReset       => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "connection_terminated", "upstream_reset", "The service broke off before it answered."),
        F::UpstreamProtocol    => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "http_protocol_error", "upstream_protocol", "The service gave an answer that cannot be understood."),
        F::UpstreamHeaders     => row(S::BAD_GATEWAY,         Upstream, G::RESOURCE_EXHAUSTED, Some(Reset),  Nothing,
            "http_response_header_section_size", "upstream_response_headers",
            "The service's answer has more header fields or bytes than \
                upstream.limits.response_headers and response_header_bytes let through."),
        F::UpstreamSpeaksTls   => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Reset),   Nothing,
            "http_protocol_error", "upstream_speaks_tls", "The service gave an answer that cannot be understood."),
        F::NoUpgrade           => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       None,          Nothing,
            "http_upgrade_failed", "upstream_no_upgrade", "The service takes no such connections."),
        F::TlsCertificate      => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_certificate_error", "tls_certificate", "No secure connection to the service could be made."),
        F::TlsProtocol         => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_protocol_error", "tls_protocol", "No secure connection to the service could be made."),
        F::TlsAlert            => row(S::BAD_GATEWAY,         Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "tls_alert_received", "tls_alert", "No secure connection to the service could be made."),
        F::TlsTimeout          => row(S::GATEWAY_TIMEOUT,     Upstream, G::UNAVAILABLE,       Some(Connect), Nothing,
            "connection_timeout", "tls_timeout", "The service did not answer in time."),
        F::Killed              => row(S::SERVICE_UNAVAILABLE, Proxy,    G::UNAVAILABLE,       None,          RetryAfter,
            "destination_unavailable", "killed", "The service was exchanged meanwhile. Try again."),
        F::ResponseTimeout     => row(S::GATEWAY_TIMEOUT,     Upstream, G::DEADLINE_EXCEEDED, Some(Timeout), Nothing,
            "http_response_timeout", "response_timeout", "The service did not answer in time."),
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
            "The request's length can be read in more than one way, or its body is malformed."),
        R::BadHost                 => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "The request must name exactly one valid host."),
        R::BadPath                 => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "The request's path is not valid."),
        R::Method                  => row(S::METHOD_NOT_ALLOWED,  Proxy,  G::UNIMPLEMENTED,      None, Close,
            "http_request_error", name, "This method is not served here."),
        R::Upgrade                 => row(S::NOT_IMPLEMENTED,     Proxy,  G::UNIMPLEMENTED,      None, Nothing,
            "http_request_error", name, "This protocol is not spoken here."),
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
            "http_request_error", name, "The connection's behaviour is not acceptable."),
        R::Connections | R::ConnectionsPerIp
        | R::ConnectionRate        => row(S::SERVICE_UNAVAILABLE, Proxy,  G::INTERNAL,           None, Nothing,
            "http_request_error", name, "Too much is going on here. Try again shortly."),
        R::Requests | R::RequestsPerIp | R::Memory
        | R::MemoryPerIp           => row(S::SERVICE_UNAVAILABLE, Proxy,  G::UNAVAILABLE,        None, RetryAfter,
            "connection_limit_reached", name, "Too much is going on here. Try again shortly."),
        R::ProxyHeaderUnexpected   => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name,
            "A PROXY header came from an address that listener.proxy_protocol.from does not name."),
        R::Cleartext               => row(S::BAD_REQUEST,         Proxy,  G::INTERNAL,           None, Close,
            "http_request_error", name, "TLS is spoken here: ask again with https."),
        R::Misdirected             => row(S::MISDIRECTED_REQUEST, Proxy,  G::INTERNAL,           None, Nothing,
            "destination_not_found", name, "This host is not served on this connection. Ask again on a new one."),
        R::Loop                    => row(S::LOOP_DETECTED,       Proxy,  G::INTERNAL,           None, Nothing,
            "proxy_loop_detected", name, "The request has come round in a loop."),
        R::NoRoute                 => row(S::NOT_FOUND,           Proxy,  G::UNIMPLEMENTED,      None, Nothing,
            "destination_not_found", name, "Nothing is served here under this host and path."),
        R::Internal                => row(S::INTERNAL_SERVER_ERROR, Proxy, G::INTERNAL,          None, Nothing,
            "proxy_internal_error", name, "Something went wrong here."),
    }
}

#[cfg(test)]
mod tests;
