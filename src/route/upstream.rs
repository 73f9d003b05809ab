//! An upstream as plain data: endpoints, balance, limits.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::HealthCheck;

/// One `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The unique name.
    pub name: String,
    /// The deployed revision.
    pub revision: Option<String>,
    /// The endpoints; never empty.
    pub endpoints: Vec<EndpointSpec>,
    /// The load-balancing policy.
    pub balance: Balance,
    /// How long the share of an endpoint grows, from a tenth to the whole, after it is admitted; zero: it has its whole
    /// share at once.
    pub slow_start: Duration,
    /// Time limit of connecting.
    pub connect_timeout: Duration,
    /// Limits.
    pub limits: UpstreamLimits,
    /// When endpoints that fail are ejected.
    pub outlier: OutlierSettings,
    /// The active checks, if there are any.
    pub health: Option<HealthCheck>,
    /// The limit on further tries.
    pub retry_budget: RetryBudgetSettings,
    /// The version of the PROXY header at the start of each connection, if one is sent.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The TLS settings of `https://` endpoints, if there are any.
    pub tls: Option<ClientTls>,
}

/// TLS settings of outgoing connections, with the contents of their files: `[upstream.NAME.tls]` and `[traces.tls]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The certificates of the trusted authorities, in DER.
    pub roots: Arc<[Vec<u8>]>,
    /// The server name that a certificate must have; by default the host of the URL.
    pub server_name: Option<String>,
    /// The client certificate, presented on request.
    pub client_cert: Option<ClientCert>,
}

/// A client certificate, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The certificate and its chain.
    pub chain: Arc<[u8]>,
    /// The private key.
    pub key: Arc<[u8]>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("roots", &self.roots.len())
            .field("server_name", &self.server_name)
            .field("client_cert", &self.client_cert)
            .finish()
    }
}

impl fmt::Debug for ClientCert {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCert")
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// One endpoint as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    /// The protocol.
    pub protocol: Protocol,
    /// The host.
    pub host: EndpointHost,
    /// The port.
    pub port: u16,
    /// The weight relative to other endpoints, from 1; each address of a name gets this weight.
    pub weight: u32,
    /// When it gets requests.
    pub role: EndpointRole,
}

/// When an endpoint gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EndpointRole {
    /// While it is usable.
    #[default]
    Primary,
    /// While no primary is usable.
    Backup,
    /// Never: it is drained by the file. Requests that are under way finish.
    Drained,
}

impl EndpointRole {
    /// The role as text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
            Self::Drained => "drained",
        }
    }
}

impl EndpointSpec {
    /// The URL, with its port.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.protocol.scheme();
        match &self.host {
            EndpointHost::Ip(IpAddr::V6(ip)) => format!("{scheme}://[{ip}]:{}", self.port),
            EndpointHost::Ip(ip) => format!("{scheme}://{ip}:{}", self.port),
            EndpointHost::Name(name) => format!("{scheme}://{name}:{}", self.port),
        }
    }
}

impl fmt::Display for EndpointSpec {
    /// The URL, with its role if it is no primary, and its weight if it is not 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())?;
        match self.role {
            EndpointRole::Primary => {}
            EndpointRole::Backup | EndpointRole::Drained => write!(f, " ({})", self.role.name())?,
        }
        if self.weight == 1 { Ok(()) } else { write!(f, " (weight {})", self.weight) }
    }
}

/// A host as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// An address.
    Ip(IpAddr),
    /// A name to resolve.
    Name(String),
}

/// `[dns]`: the settings for resolving endpoint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The longest time that an answer is used, regardless of its TTL.
    pub max_ttl: Duration,
    /// How long readiness waits at startup for names without an address.
    pub start_patience: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self { max_ttl: Duration::from_secs(30), start_patience: Duration::from_secs(10) }
    }
}

/// The protocol of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 without TLS (`http://`).
    Http1,
    /// HTTP/2 without TLS, with prior knowledge (`h2c://`).
    H2c,
    /// HTTP/2 or HTTP/1.1 over TLS, selected by ALPN (`https://`).
    Https,
}

impl Protocol {
    /// The scheme in `routes.toml`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }
}

/// The load-balancing policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Power of two choices by requests in flight over weight.
    #[default]
    LeastRequest,
    /// Smooth weighted round robin.
    RoundRobin,
    /// Power of two choices by recent latency times requests in flight.
    PeakEwma,
    /// Bounded-load consistent hash on the sticky key (else the client's address).
    Hash,
}

impl Balance {
    /// All policies.
    pub const ALL: [Self; 4] = [Self::LeastRequest, Self::RoundRobin, Self::PeakEwma, Self::Hash];

    /// The policy as in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastRequest => "least_request",
            Self::RoundRobin => "round_robin",
            Self::PeakEwma => "peak_ewma",
            Self::Hash => "hash",
        }
    }
}

/// `limits` of an upstream; connections and requests are process-wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Open connections.
    pub connections: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Header fields of a response.
    pub response_headers: u32,
    /// Bytes of a response head.
    pub response_header_bytes: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        let (response_headers, response_header_bytes) = (256, 64 * 1024);
        Self { connections: 1024, requests: 4096, pending: 128, response_headers, response_header_bytes }
    }
}

/// `outlier` of an upstream: when an endpoint that fails is ejected (passive health).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierSettings {
    /// Failures in a row after which an endpoint is ejected; 0: none is ejected.
    pub consecutive_failures: u32,
    /// The share of failures within 10 s, in percent of at least 20 requests; 0: off.
    pub failure_percent: u32,
    /// The time of the first ejection; each further one in a row is twice as long, up to 300 s.
    pub base_ejection: Duration,
    /// Most endpoints, in percent, that are ejected because they answer badly; at least one where there are two.
    pub max_ejected_percent: u32,
    /// Below this share of usable endpoints, in percent, all serve; 0: while one is usable, only usable ones serve.
    pub panic_percent: u32,
    /// Every 5xx response is a failure, not only 502, 503 and 504.
    pub any_5xx: bool,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 0,
            base_ejection: Duration::from_secs(30),
            max_ejected_percent: 50,
            panic_percent: 0,
            any_5xx: false,
        }
    }
}

/// `retry_budget` of an upstream: tries beyond the first within 10 s, for the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetSettings {
    /// As a share of the requests of these 10 s.
    pub ratio: f64,
    /// And this many for each second, whatever the number of requests.
    pub min_per_second: u32,
}

impl Default for RetryBudgetSettings {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 3 }
    }
}
