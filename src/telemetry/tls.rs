//! Meters of TLS with clients.

use super::Counter;

/// Why a handshake with a client failed; the label of `pointsman_tls_handshake_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client sent an alert, for instance because it does not trust the certificate.
    Alert,
    /// No protocol in common (ALPN).
    Alpn,
    /// A client certificate is required and was not sent.
    CertificateMissing,
    /// The client certificate was rejected.
    CertificateRefused,
    /// Cleartext HTTP.
    Cleartext,
    /// The client closed the connection.
    Closed,
    /// The proxy is stopping.
    Draining,
    /// No version, cipher suite, group or signature scheme in common.
    Incompatible,
    /// An internal error.
    Internal,
    /// Not TLS, or malformed TLS.
    Malformed,
    /// It took too long (`handshake_timeout`).
    Timeout,
}

impl HandshakeFailure {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 11] = [
        Self::Alert,
        Self::Alpn,
        Self::CertificateMissing,
        Self::CertificateRefused,
        Self::Cleartext,
        Self::Closed,
        Self::Draining,
        Self::Incompatible,
        Self::Internal,
        Self::Malformed,
        Self::Timeout,
    ];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Alpn => "alpn",
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateRefused => "certificate_refused",
            Self::Cleartext => "cleartext",
            Self::Closed => "closed",
            Self::Draining => "draining",
            Self::Incompatible => "incompatible",
            Self::Internal => "internal",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
        }
    }
}

/// The TLS counters of a worker.
#[derive(Debug, Default)]
pub struct TlsMeter {
    /// Handshakes by version (1.2, 1.3), full and resumed.
    pub handshakes: [[Counter; 2]; 2],
    /// Handshakes that failed, by [`HandshakeFailure`].
    pub failures: [Counter; HandshakeFailure::ALL.len()],
}
