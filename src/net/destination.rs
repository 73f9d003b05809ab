//! Where a connection goes, and how it begins.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Where a connection goes, and how it begins.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(super) address: Address,
    pub(super) proxy_header: Option<Vec<u8>>,
    pub(super) tls: Option<TlsTarget>,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Known(SocketAddr),
    /// A name or an IP address; what a name stands for is looked up with each attempt.
    Host(String, u16),
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub(super) struct TlsTarget {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl Destination {
    /// This address.
    #[must_use]
    pub const fn address(address: SocketAddr) -> Self {
        Self { address: Address::Known(address), proxy_header: None, tls: None }
    }

    /// This host: a name, which is looked up with each attempt, or an IP address.
    #[must_use]
    pub fn host(host: &str, port: u16) -> Self {
        Self { address: Address::Host(host.to_owned(), port), proxy_header: None, tls: None }
    }

    /// The connection begins with this header of the PROXY protocol, ahead of TLS.
    #[must_use]
    pub fn with_proxy_header(self, header: Vec<u8>) -> Self {
        Self { proxy_header: Some(header), ..self }
    }

    /// TLS is spoken under `config`, which also says what ALPN offers, with a server that proves to be `server_name`.
    #[must_use]
    pub fn with_tls(self, config: Arc<ClientConfig>, server_name: ServerName<'static>) -> Self {
        Self { tls: Some(TlsTarget { config, server_name }), ..self }
    }
}
