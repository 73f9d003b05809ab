//! The TLS session of a client's connection.

use std::sync::Arc;

use crate::tls::{ClientIdentity, Server};

/// The result of a client's TLS handshake.
#[derive(Debug)]
pub(crate) struct TlsSession {
    pub(crate) server: Arc<Server>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite, with its name at IANA.
    pub(crate) cipher: &'static str,
    /// The SNI host name, in lower case.
    pub(crate) sni: Option<Box<str>>,
    /// The protocol negotiated by ALPN, if any.
    pub(crate) protocol: Option<DownstreamProtocol>,
    /// The identity in the client's verified certificate.
    pub(crate) identity: Option<ClientIdentity>,
}

/// The protocol of a client's connection, by ALPN (RFC 7301) or by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownstreamProtocol {
    Http1,
    Http2,
}

impl TlsSession {
    /// Whether a request for this host, in normal form, belongs on another connection (RFC 9110 §15.5.20). Never for a
    /// client without SNI.
    pub(crate) fn is_misdirected(&self, host: &str) -> bool {
        self.sni.as_deref().is_some_and(|sni| self.server.is_misdirected(sni, host))
    }
}
