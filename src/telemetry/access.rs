//! The fields of an access log line.

use std::net::SocketAddr;
use std::time::Duration;

use crate::route::SourceLocation;

/// The party that ended a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The request ended normally.
    Done,
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// The proxy itself.
    Proxy,
}

/// The party that ended a request, and the stage: two letters, similar to `HAProxy`. `--` is a normal end; `C`, `U`,
/// `P` are the client, the upstream and the proxy. The stages are `R` reading the request, `D` deciding (no route, a
/// limit, a local response), `C` connecting, `H` waiting for the response head, `B` in the response body, `T` in the
/// tunnel of an upgraded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The party.
    pub ender: EndedBy,
    /// The stage: `-`, `R`, `D`, `C`, `H`, `B` or `T`.
    pub stage: char,
}

/// The event of a line that is not for a plain request. An upgraded connection has two lines, a copy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// An upgraded connection has opened; no data has been transferred.
    Open,
    /// An upgraded connection has closed.
    Close,
    /// A copy for a shadow has ended; its request has a line of its own.
    Shadow,
}

impl AccessEvent {
    /// Its name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Shadow => "shadow",
        }
    }
}

/// The TLS connection of a request.
#[derive(Clone, Copy, Debug)]
pub struct TlsEntry<'a> {
    /// The TLS version, such as `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite.
    pub cipher: &'a str,
    /// The server name that the client sent (SNI).
    pub sni: Option<&'a str>,
    /// The subject of the client certificate.
    pub client: Option<&'a str>,
}

/// A try that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryEntry {
    /// The endpoint's address.
    pub endpoint: SocketAddr,
    /// Why it failed, in a word (`connect_refused`, `reset`, …).
    pub why: &'static str,
}

/// The log entry of a request.
#[derive(Clone, Debug)]
pub struct AccessEntry<'a> {
    /// When the request head had been read, since the Unix epoch.
    pub at: Duration,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address after trusted hops.
    pub client_ip: std::net::IpAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The sender of the PROXY header that named the peer.
    pub sender: Option<SocketAddr>,
    /// The method.
    pub method: &'a str,
    /// The normalised host.
    pub host: &'a str,
    /// The normalised path, without the query.
    pub path: &'a str,
    /// The HTTP version, such as `HTTP/1.1`.
    pub protocol: &'a str,
    /// The listener's name.
    pub listener: &'a str,
    /// The TLS connection, if there is one.
    pub tls: Option<TlsEntry<'a>>,
    /// The status sent; 0 when no head was sent.
    pub status: u16,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From the request head to the last byte.
    pub total: Duration,
    /// From the request head to the response head.
    pub first_byte: Option<Duration>,
    /// From sending the request to the upstream to its response head.
    pub upstream_latency: Option<Duration>,
    /// The route.
    pub route: Option<&'a str>,
    /// The variant.
    pub variant: Option<&'a str>,
    /// The index of the variant in its route; stable is 0.
    pub variant_number: u16,
    /// The reason of the decision (with `+fallback` where it applies).
    pub reason: Option<&'a str>,
    /// The bucket.
    pub bucket: Option<u32>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// Why its token was rejected, if it was.
    pub token: Option<&'a str>,
    /// The generation of the configuration.
    pub generation: u64,
    /// The upstream.
    pub upstream: Option<&'a str>,
    /// The endpoint's address.
    pub endpoint: Option<SocketAddr>,
    /// Number of attempts.
    pub attempts: u32,
    /// The attempts that have failed, in order.
    pub tries: &'a [TryEntry],
    /// Why no further attempt was made after a failed one (`method`, `budget`, …); empty when that does not apply.
    pub retry_end: &'static str,
    /// No endpoint of stable was usable: it tried one that is ejected.
    pub is_last_resort: bool,
    /// How it ended.
    pub termination: Termination,
    /// The cause, in a word (a [`super::Refusal`]'s name, `upstream_reset`, …); empty for a normal end.
    pub detail: &'a str,
    /// The rate limit that refused it.
    pub limit: Option<&'a str>,
    /// The access rule that answered it.
    pub rule: Option<SourceLocation>,
    /// The gRPC status, if one was seen.
    pub grpc_status: Option<u8>,
    /// The event; `None` for a plain request.
    pub event: Option<AccessEvent>,
    /// The trace id of an incoming `traceparent`.
    pub trace_id: Option<&'a str>,
}

/// The fields that the lines of a request and of its copies share.
#[derive(Clone, Copy, Debug)]
pub struct RequestEntry<'a> {
    /// When it started, since the Unix epoch.
    pub at: Duration,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address after trusted hops.
    pub client_ip: std::net::IpAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The method.
    pub method: &'a str,
    /// The normalised host.
    pub host: &'a str,
    /// The normalised path, without the query.
    pub path: &'a str,
    /// The HTTP version.
    pub version: http::Version,
    /// The listener's name.
    pub listener: &'a str,
    /// The route.
    pub route: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The generation of the configuration.
    pub generation: u64,
    /// The trace id.
    pub trace_id: Option<&'a str>,
}

impl<'a> AccessEntry<'a> {
    /// The entry of a request without a response yet.
    #[must_use]
    #[inline]
    pub fn of(request: RequestEntry<'a>) -> Self {
        Self {
            at: request.at,
            request_id: request.request_id,
            client_ip: request.client_ip,
            peer: request.peer,
            sender: None,
            method: request.method,
            host: request.host,
            path: request.path,
            protocol: protocol(request.version),
            listener: request.listener,
            tls: None,
            status: 0,
            request_bytes: 0,
            response_bytes: 0,
            total: Duration::ZERO,
            first_byte: None,
            upstream_latency: None,
            route: request.route,
            variant: None,
            variant_number: 0,
            reason: None,
            bucket: None,
            tenant: request.tenant,
            token: None,
            generation: request.generation,
            upstream: None,
            endpoint: None,
            attempts: 0,
            tries: &[],
            retry_end: "",
            is_last_resort: false,
            termination: Termination { ender: EndedBy::Done, stage: '-' },
            detail: "",
            limit: None,
            rule: None,
            grpc_status: None,
            event: None,
            trace_id: request.trace_id,
        }
    }
}

/// The name of an HTTP version in the log.
const fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
