//! TLS of the admin listener: HTTP/1.1 only, and the name in a verified client certificate as an identity.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock::Clock;
use crate::tls::{ClientIdentity, Server};

/// The TLS configuration of the admin listener.
#[derive(Clone)]
pub(super) struct AdminTls(Arc<ServerConfig>);

impl std::fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminTls")
    }
}

/// A connection after its handshake.
pub(super) struct AcceptedTls {
    pub stream: TlsStream<TcpStream>,
    /// The common name in the verified certificate of the client.
    pub certificate: Option<String>,
}

impl AdminTls {
    /// The configuration of this server, without HTTP/2.
    pub fn of(server: &Server) -> Self {
        let mut config = ServerConfig::clone(server.config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Performs the handshake; `None` when it fails or takes too long.
    pub async fn accept(&self, stream: TcpStream, timeout: Duration) -> Option<AcceptedTls> {
        let accept = TlsAcceptor::from(Arc::clone(&self.0)).accept(stream);
        let stream = match tokio::time::timeout(timeout, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake with the admin listener failed");
                return None;
            }
            Err(_) => return None,
        };
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let identity = leaf.and_then(|leaf| ClientIdentity::of(leaf));
        // A resumed session has the certificate that was verified at its beginning; it may have expired since.
        let is_valid = identity.as_ref().is_some_and(|identity| identity.expires_at >= Clock.wall());
        if leaf.is_some() && !is_valid {
            return None;
        }
        Some(AcceptedTls { stream, certificate: identity.and_then(|identity| identity.certificate.cn) })
    }
}
