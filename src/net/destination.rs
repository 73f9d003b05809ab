//! The destination of a connection: address, PROXY header and TLS settings.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// The destination of a connection.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(super) address: Address,
    pub(super) proxy_header: Option<Vec<u8>>,
    pub(super) tls: Option<TlsTarget>,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Known(SocketAddr),
    /// A host name or an IP address, and a port. A name is resolved for each attempt.
    Host(String, u16),
}

/// The TLS settings of a destination.
#[derive(Clone, Debug)]
pub(super) struct TlsTarget {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl Destination {
    /// A destination with this address.
    #[must_use]
    pub const fn address(address: SocketAddr) -> Self {
        Self { address: Address::Known(address), proxy_header: None, tls: None }
    }

    /// A destination with this host: a name, which is resolved for each attempt, or an IP address.
    #[must_use]
    pub fn host(host: &str, port: u16) -> Self {
        Self { address: Address::Host(host.to_owned(), port), proxy_header: None, tls: None }
    }

    /// Sets the PROXY header, which is sent before TLS.
    #[must_use]
    pub fn with_proxy_header(self, header: Vec<u8>) -> Self {
        Self { proxy_header: Some(header), ..self }
    }

    /// Sets TLS with `config`, which includes the ALPN protocols. The server's certificate must be valid for
    /// `server_name`.
    #[must_use]
    pub fn with_tls(self, config: Arc<ClientConfig>, server_name: ServerName<'static>) -> Self {
        Self { tls: Some(TlsTarget { config, server_name }), ..self }
    }
}
