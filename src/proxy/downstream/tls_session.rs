//! What a client's TLS handshake has settled for its connection.

use std::sync::Arc;

use crate::tls::{ClientIdentity, Server};

/// What a handshake has settled.
#[derive(Debug)]
pub(crate) struct TlsSession {
    pub(crate) server: Arc<Server>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite, as IANA calls it.
    pub(crate) cipher: &'static str,
    /// The host that the client asked for, in lower case.
    pub(crate) sni: Option<Box<str>>,
    /// What was agreed upon by ALPN, if anything was.
    pub(crate) protocol: Option<DownstreamProtocol>,
    /// Who the client has proved to be.
    pub(crate) identity: Option<ClientIdentity>,
}

/// What ALPN (RFC 7301) has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownstreamProtocol {
    Http1,
    Http2,
}

impl TlsSession {
    /// Whether a request for this host, in normal form, belongs on another connection (RFC 9110 §15.5.20). A client
    /// that named no host when it connected could not do better.
    pub(crate) fn is_misdirected(&self, host: &str) -> bool {
        self.sni.as_deref().is_some_and(|sni| self.server.is_misdirected(sni, host))
    }
}
