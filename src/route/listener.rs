//! Listeners, their limits and the access log, as plain data.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Redirect;
use super::matching::net_contains;

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The unique name; by default the address as written. A reload keeps the listener of the same name.
    pub name: String,
    /// The address to listen on; with port 0 the system chooses the port.
    pub address: SocketAddr,
    /// Its limits.
    pub limits: Limits,
    /// Peers that must send a PROXY header on each connection; other peers must not.
    pub proxy_senders: Vec<IpNet>,
    /// The TLS settings; `None` for cleartext.
    pub tls: Option<TlsSpec>,
    /// The redirect for requests that did not come by `https`; only without `tls`.
    pub redirect: Option<Redirect>,
}

/// `[listener.tls]`, without its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// The oldest accepted version (`min_version`, 1.2).
    pub min_version: TlsVersion,
    /// Whether the server requests a client certificate.
    pub client_auth: Option<ClientAuth>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

impl TlsVersion {
    /// The name in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The handshake fails without a certificate.
    Require,
    /// A client without a certificate has no identity from it.
    Request,
}

impl ClientAuth {
    /// The name in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Request => "request",
        }
    }
}

impl ListenerSpec {
    /// Whether a connection from `peer` must begin with a PROXY header.
    #[must_use]
    pub fn is_proxy_sender(&self, peer: IpAddr) -> bool {
        self.proxy_senders.iter().any(|net| net_contains(net, peer))
    }

    /// The scheme of the requests.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// `[listener.limits]`: each limit has a default and a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on this listener (`connections`, 20000).
    pub connections: u32,
    /// Open connections of one client address (`connections_per_ip`, 1024); trusted proxies are exempt.
    pub connections_per_ip: u32,
    /// New connections a second of one client address (`connection_rate_per_ip`, 2000 a second, burst the same).
    pub connection_rate_per_ip: u32,
    /// Bytes of a header list, names and values (`header_bytes`, 16 KiB, at most 64 KiB): 431.
    pub header_bytes: u32,
    /// Fields in a header list (`headers`, 100): 431.
    pub headers: u32,
    /// Bytes of the request target (`uri_bytes`, 8 KiB): 414.
    pub uri_bytes: u32,
    /// Requests in flight on this listener (`requests`, 10000): 503 with `Retry-After`.
    pub requests: u32,
    /// Requests in flight of one client address while more than half of `requests` is in use (`requests_per_ip`, a
    /// quarter of `requests`): 503 with `Retry-After`; trusted proxies are exempt.
    pub requests_per_ip: u32,
    /// Concurrent HTTP/2 streams a connection (`h2_streams`, 100).
    pub h2_streams: u32,
    /// HTTP/2 resets a second and connection (`h2_resets`, 100).
    pub h2_resets: u32,
    /// HTTP/2 resets a second of one client address, over all its connections (`h2_resets_per_ip`, 500, burst the
    /// same); trusted proxies are exempt.
    pub h2_resets_per_ip: u32,
    /// HTTP/2 pings a second and connection (`h2_pings`, 50).
    pub h2_pings: u32,
    /// HTTP/2 SETTINGS frames a second and connection (`h2_settings`, 20).
    pub h2_settings: u32,
    /// CONTINUATION frames a header block (`h2_continuations`, 16).
    pub h2_continuations: u32,
    /// Time limit of the TLS handshake (`handshake_timeout`, 10 s).
    pub handshake_timeout: Duration,
    /// Time limit for reading a request head (`header_timeout`, 10 s): 408.
    pub header_timeout: Duration,
    /// Time that a connection stays open without a request (`idle_timeout`, 60 s).
    pub idle_timeout: Duration,
    /// Time without a byte of a body in either direction (`stall_timeout`, 30 s): 408 or reset.
    pub stall_timeout: Duration,
    /// Minimum rate of a request body after 5 s, in bytes per second (`body_rate`, 240).
    pub body_rate: u32,
    /// The policy for `%2f`, `%5c` and `\` in paths (`encoded_slash = "keep" | "reject"`, keep).
    pub encoded_slash: super::EncodedSlash,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_ip: 1024,
            connection_rate_per_ip: 2000,
            header_bytes: 16 * 1024,
            headers: 100,
            uri_bytes: 8 * 1024,
            requests: 10_000,
            requests_per_ip: 2_500,
            h2_streams: 100,
            h2_resets: 100,
            h2_resets_per_ip: 500,
            h2_pings: 50,
            h2_settings: 20,
            h2_continuations: 16,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_secs(30),
            body_rate: 240,
            encoded_slash: super::EncodedSlash::Keep,
        }
    }
}

/// `[access_log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// The destination of the lines.
    pub sink: LogSink,
    /// The format; by default short on a terminal and JSON elsewhere.
    pub format: Option<LogFormat>,
    /// The share of successful requests that are written, 0 to 1; failures are always written.
    pub sample: f64,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { sink: LogSink::Stdout, format: None, sample: 1.0 }
    }
}

/// The destination of access log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSink {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// The format of an access log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// The common log format.
    Common,
    /// A short line for people.
    Short,
}
