//! An upstream as plain data: endpoints, balance, limits.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its unique name.
    pub name: String,
    /// What is deployed there.
    pub revision: Option<String>,
    /// Where it runs; never empty.
    pub endpoints: Vec<EndpointSpec>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Bound on connecting.
    pub connect_timeout: Duration,
    /// Bounds on use.
    pub limits: UpstreamLimits,
    /// Whether each connection begins with a PROXY header that names the client, and in which version.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How its `https://` endpoints are secured; there when it has any.
    pub tls: Option<ClientTls>,
}

/// How those to whom we connect are verified: `[upstream.NAME.tls]` and `[traces.tls]`, with what their files held.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The certificates of the authorities that are believed, in DER.
    pub roots: Arc<[Vec<u8>]>,
    /// The name that certificates must be for; the host of the URL when not given.
    pub server_name: Option<String>,
    /// What we present when asked.
    pub client_cert: Option<ClientCert>,
}

/// A certificate of our own, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The certificate and its chain.
    pub chain: Arc<[u8]>,
    /// Its private key.
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
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCert")
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// One endpoint as written.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    /// How to speak to it.
    pub protocol: Protocol,
    /// Its host.
    pub host: EndpointHost,
    /// Its port.
    pub port: u16,
    /// Its weight among its siblings, from 1; a name that has several addresses gives each of them this weight.
    pub weight: u32,
}

impl fmt::Display for EndpointSpec {
    /// As it is written, with its weight where it has one of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.scheme();
        match &self.host {
            EndpointHost::Ip(IpAddr::V6(ip)) => write!(f, "{scheme}://[{ip}]:{}", self.port)?,
            EndpointHost::Ip(ip) => write!(f, "{scheme}://{ip}:{}", self.port)?,
            EndpointHost::Name(name) => write!(f, "{scheme}://{name}:{}", self.port)?,
        }
        if self.weight == 1 { Ok(()) } else { write!(f, " (weight {})", self.weight) }
    }
}

/// A host as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// An address.
    Ip(IpAddr),
    /// A name to resolve.
    Name(String),
}

/// `[dns]`: how the names of endpoints are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    /// An answer is not used for longer, whatever its time to live.
    pub max_ttl: Duration,
    /// How long readiness waits at the start for names that have no address.
    pub start_patience: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self { max_ttl: Duration::from_secs(30), start_patience: Duration::from_secs(10) }
    }
}

/// How to speak to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 in the clear (`http://`).
    Http1,
    /// HTTP/2 in the clear with prior knowledge (`h2c://`).
    H2c,
    /// HTTP/2 or HTTP/1.1 over TLS, as the two sides agree by ALPN (`https://`).
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

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Power of two choices by requests in flight over weight.
    #[default]
    LeastRequest,
    /// Smooth weighted round robin.
    RoundRobin,
    /// Bounded-load consistent hash on the sticky key (else the client's address).
    Hash,
}

/// `limits` of an upstream; connections and requests are process-wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Open connections.
    pub connections: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Header fields of one answer.
    pub response_headers: u32,
    /// Bytes of one answer's head.
    pub response_header_bytes: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self { connections: 1024, requests: 4096, response_headers: 256, response_header_bytes: 64 * 1024 }
    }
}
