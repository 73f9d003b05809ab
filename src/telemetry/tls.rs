//! What is counted of TLS with clients.

use super::Counter;

/// Why a handshake with a client failed; the label of `pointsman_tls_handshake_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client does not want our certificate, or says so of something else.
    Alert,
    /// No protocol in common (ALPN).
    Alpn,
    /// A client certificate is wanted, and there was none.
    CertificateMissing,
    /// The client's certificate is not accepted.
    CertificateRefused,
    /// Cleartext HTTP.
    Cleartext,
    /// The client went away.
    Closed,
    /// The proxy is stopping.
    Draining,
    /// No version, cipher suite, group or signature scheme in common.
    Incompatible,
    /// The fault is here.
    Internal,
    /// What came is not TLS, or breaks its rules.
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

/// What a worker counts of TLS with clients.
#[derive(Debug, Default)]
pub struct TlsMeter {
    /// Handshakes by version (1.2, 1.3), full and resumed.
    pub handshakes: [[Counter; 2]; 2],
    /// Handshakes that failed, by [`HandshakeFailure`].
    pub failures: [Counter; HandshakeFailure::ALL.len()],
}
