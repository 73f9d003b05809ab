//! What the access log says of a request.

use std::net::SocketAddr;
use std::time::Duration;

/// Who ended a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Nobody: it ended as it should.
    Done,
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// The proxy itself.
    Proxy,
}

/// Who ended a request and at which stage: two letters in the spirit of `HAProxy`. `--` is a request that ended well;
/// `C`, `U`, `P` say who ended it early; the second letter says when: `R` reading the request, `D` deciding (no route,
/// a limit, a local answer), `C` connecting, `H` waiting for the response's head, `B` in the response's body, `T` in the tunnel
/// that an upgrade has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Who.
    pub ender: EndedBy,
    /// At which stage: `-`, `R`, `D`, `C`, `H`, `B` or `T`.
    pub stage: char,
}

/// What a line tells of, when it is not a request: an upgraded connection is told of twice, a copy once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// It has opened: nothing was carried yet.
    Open,
    /// It has closed.
    Close,
    /// A copy for a shadow has ended: the request itself has a line of its own.
    Shadow,
}

impl AccessEvent {
    /// Its word in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Shadow => "shadow",
        }
    }
}

/// The TLS under a request, as it is logged.
#[derive(Clone, Copy, Debug)]
pub struct TlsEntry<'a> {
    /// `TLSv1.3` or the like.
    pub version: &'a str,
    /// The cipher suite.
    pub cipher: &'a str,
    /// The host that the client named when it connected.
    pub sni: Option<&'a str>,
    /// The subject of its certificate.
    pub client: Option<&'a str>,
}

/// One request, as it is logged.
#[derive(Clone, Debug)]
pub struct AccessEntry<'a> {
    /// Since the Unix epoch, when the request's head had been read.
    pub at: Duration,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address after trusted hops.
    pub client_ip: std::net::IpAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Who told the peer's address in a PROXY header.
    pub sender: Option<SocketAddr>,
    /// The method.
    pub method: &'a str,
    /// The host in normal form.
    pub host: &'a str,
    /// The path in normal form, never the query.
    pub path: &'a str,
    /// `HTTP/1.1` or the like.
    pub protocol: &'a str,
    /// The listener's name.
    pub listener: &'a str,
    /// How it came under TLS.
    pub tls: Option<TlsEntry<'a>>,
    /// The status sent; 0 when none was.
    pub status: u16,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From the request's head to the last byte.
    pub total: Duration,
    /// From the request's head to the response's head.
    pub first_byte: Option<Duration>,
    /// From sending to the upstream to its response's head.
    pub upstream_latency: Option<Duration>,
    /// The route.
    pub route: Option<&'a str>,
    /// The variant.
    pub variant: Option<&'a str>,
    /// The variant's place in its route: stable is 0.
    pub variant_number: u16,
    /// Why (with `+fallback` where it applies).
    pub reason: Option<&'a str>,
    /// The bucket.
    pub bucket: Option<u32>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// Why its token names nobody, when it has one that does not hold.
    pub token: Option<&'a str>,
    /// The generation that it ran under.
    pub generation: u64,
    /// The upstream.
    pub upstream: Option<&'a str>,
    /// The endpoint's address.
    pub endpoint: Option<SocketAddr>,
    /// How often it was sent to an upstream.
    pub attempts: u32,
    /// How it ended.
    pub termination: Termination,
    /// Why it ended so, in a word (a [`super::Refusal`]'s name, `upstream_reset`, …); empty when it ended well.
    pub detail: &'a str,
    /// What a gRPC call ended with, if a status was seen.
    pub grpc_status: Option<u8>,
    /// Which end of an upgraded connection this line tells of; none for all other requests.
    pub event: Option<AccessEvent>,
    /// The trace id of an incoming `traceparent`.
    pub trace_id: Option<&'a str>,
}

/// What the lines of a request and of its copies say alike.
#[derive(Clone, Copy, Debug)]
pub struct RequestEntry<'a> {
    /// Since the Unix epoch, when it began.
    pub at: Duration,
    /// The request id.
    pub request_id: &'a str,
    /// The client's address after trusted hops.
    pub client_ip: std::net::IpAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The method.
    pub method: &'a str,
    /// The host in normal form.
    pub host: &'a str,
    /// The path in normal form, never the query.
    pub path: &'a str,
    /// The version of HTTP.
    pub version: http::Version,
    /// The listener's name.
    pub listener: &'a str,
    /// The route.
    pub route: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The generation that it ran under.
    pub generation: u64,
    /// The trace id.
    pub trace_id: Option<&'a str>,
}

impl<'a> AccessEntry<'a> {
    /// The line of a request that has not been answered.
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
            termination: Termination { ender: EndedBy::Done, stage: '-' },
            detail: "",
            grpc_status: None,
            event: None,
            trace_id: request.trace_id,
        }
    }
}

/// What the log calls a version.
const fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
