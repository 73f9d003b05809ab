//! Messages for failed TLS handshakes with servers.

use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

use super::client::rejection;
use crate::net::tls_error;

/// The type of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHandshakeFailure {
    /// The certificate of the server was rejected.
    Certificate,
    /// The server does not speak TLS, or violated the protocol.
    Protocol,
    /// The server sent an alert.
    Alert,
}

/// Whether the configuration has a client certificate for a server that requests one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnCertificate {
    /// There is one.
    Configured,
    /// There is none.
    Absent,
}

/// The parts of a handshake that messages name.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// The server.
    pub server: &'a str,
    /// Whether it can get a client certificate.
    pub own_certificate: OwnCertificate,
    /// The owner of the `tls` table, such as `the upstream`.
    pub owner: &'a str,
    /// The protocols offered by ALPN, such as `HTTP/2`.
    pub protocols: &'a str,
}

impl Handshake<'_> {
    /// The type of a failure, and a message.
    #[must_use]
    pub fn describe(&self, error: &io::Error) -> (ClientHandshakeFailure, String) {
        let server = self.server;
        let protocol = |text: String| (ClientHandshakeFailure::Protocol, text);
        let certificate = |text: String| (ClientHandshakeFailure::Certificate, text);
        match tls_error(error) {
            Some(Error::InvalidCertificate(error)) => certificate(rejection(error, server)),
            Some(Error::NoCertificatesPresented) => certificate(format!("{server} presented no certificate")),
            Some(Error::AlertReceived(alert)) => (ClientHandshakeFailure::Alert, self.describe_alert(*alert)),
            Some(Error::InvalidMessage(_)) => {
                protocol(format!("{server} does not speak TLS, or violates the protocol"))
            }
            Some(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)) => {
                protocol(format!("{server} speaks neither TLS 1.2 nor TLS 1.3"))
            }
            Some(other) => protocol(format!("{server} broke the TLS handshake: {other}")),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                protocol(format!("{server} closed the connection in the TLS handshake"))
            }
            None => protocol(format!("the connection to {server} broke in the TLS handshake: {error}")),
        }
    }

    /// The message for a server that rejects the client after the handshake: in TLS 1.3, a server checks the client
    /// certificate only then.
    #[must_use]
    pub fn describe_late_refusal(&self) -> String {
        let why = match self.own_certificate {
            OwnCertificate::Configured => "it does not accept our client certificate".to_owned(),
            OwnCertificate::Absent => self.needs_certificate(),
        };
        format!("{} rejected us after the TLS handshake: {why}", self.server)
    }

    fn needs_certificate(&self) -> String {
        format!("it requires a client certificate (`tls.client_cert` of {})", self.owner)
    }

    fn describe_alert(&self, alert: AlertDescription) -> String {
        let Self { server, own_certificate, owner, protocols } = *self;
        match (alert, certificate_problem(alert), own_certificate) {
            (AlertDescription::CertificateRequired, ..) => {
                format!("{server} rejected us: {}", self.needs_certificate())
            }
            (AlertDescription::HandshakeFailure, ..) => {
                format!(
                    "{server} rejected the TLS handshake: no version or cipher in common, or {}",
                    self.needs_certificate()
                )
            }
            (AlertDescription::UnrecognisedName, ..) => {
                format!("{server} has no certificate for the name in SNI (`tls.server_name` of {owner})")
            }
            (AlertDescription::ProtocolVersion, ..) => format!("{server} speaks neither TLS 1.2 nor TLS 1.3"),
            (AlertDescription::NoApplicationProtocol, ..) => {
                format!("{server} does not speak {protocols} (ALPN)")
            }
            (_, Some(why), OwnCertificate::Configured) => {
                format!("{server} rejected us: it does not accept our client certificate, {why}")
            }
            // Without a client certificate, the client has signed nothing: the alert has another cause.
            (other @ AlertDescription::DecryptError, Some(_), OwnCertificate::Absent) | (other, None, _) => {
                format!("{server} rejected the TLS handshake with the alert {other:?}")
            }
            (_, Some(_), OwnCertificate::Absent) => format!("{server} rejected us: {}", self.needs_certificate()),
        }
    }
}

/// The problem that an alert reports about the client certificate (RFC 8446 §6.2); `None` if it concerns something
/// else.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
const fn certificate_problem(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "because it does not trust the authority that issued it",
        AlertDescription::DecryptError => "because its signature is wrong",
        AlertDescription::CertificateExpired => "which it reports as expired or not yet valid",
        AlertDescription::CertificateRevoked => "which it reports as revoked",
        AlertDescription::UnsupportedCertificate => "which is of a type that it does not support",
        AlertDescription::AccessDenied => "whose name has no access",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => "for a reason that it does not give",
        _ => return None,
    })
}
