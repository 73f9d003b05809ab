//! A handshake with a server that failed, in words that the person who has to put it right understands.

use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

use super::client::distrust;
use crate::net::tls_error;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHandshakeFailure {
    /// The certificate was not believed.
    Certificate,
    /// What came was not TLS, or not as it must be.
    Protocol,
    /// The other side refused us, with an alert.
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

/// A handshake, as far as it matters for words.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// The server.
    pub server: &'a str,
    /// What it gets to see of us.
    pub own_certificate: OwnCertificate,
    /// Whose `tls` says so, such as `the upstream`.
    pub owner: &'a str,
    /// What it was asked to speak inside, such as `HTTP/2`.
    pub protocols: &'a str,
}

impl Handshake<'_> {
    /// What went wrong.
    #[must_use]
    pub fn describe(&self, error: &io::Error) -> (ClientHandshakeFailure, String) {
        let server = self.server;
        let protocol = |text: String| (ClientHandshakeFailure::Protocol, text);
        let certificate = |text: String| (ClientHandshakeFailure::Certificate, text);
        match tls_error(error) {
            Some(Error::InvalidCertificate(error)) => certificate(distrust(error, server)),
            Some(Error::NoCertificatesPresented) => certificate(format!("{server} presented no certificate")),
            Some(Error::AlertReceived(alert)) => (ClientHandshakeFailure::Alert, self.alerted(*alert)),
            Some(Error::InvalidMessage(_)) => protocol(format!("{server} does not speak TLS, or not as it must")),
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

    /// That we were refused when we had finished already, as it is in TLS 1.3: the server looks at our certificate then.
    #[must_use]
    pub fn describe_late_refusal(&self) -> String {
        let why = match self.own_certificate {
            OwnCertificate::Configured => "it does not take our client certificate".to_owned(),
            OwnCertificate::Absent => self.wants(),
        };
        format!("{} refused us after the TLS handshake: {why}", self.server)
    }

    fn wants(&self) -> String {
        format!("it wants a client certificate (`tls.client_cert` of {})", self.owner)
    }

    fn alerted(&self, alert: AlertDescription) -> String {
        let Self { server, own_certificate, owner, protocols } = *self;
        match (alert, unfit(alert), own_certificate) {
            (AlertDescription::CertificateRequired, ..) => format!("{server} refused us: {}", self.wants()),
            (AlertDescription::HandshakeFailure, ..) => {
                format!("{server} refused the TLS handshake: no version or cipher in common, or {}", self.wants())
            }
            (AlertDescription::UnrecognisedName, ..) => {
                format!("{server} has no certificate for the name that it was asked for (`tls.server_name` of {owner})")
            }
            (AlertDescription::ProtocolVersion, ..) => format!("{server} speaks neither TLS 1.2 nor TLS 1.3"),
            (AlertDescription::NoApplicationProtocol, ..) => {
                format!("{server} does not speak {protocols} (ALPN)")
            }
            (_, Some(why), OwnCertificate::Configured) => {
                format!("{server} refused us: it does not take our client certificate, {why}")
            }
            // It is not about us: we have signed nothing.
            (other @ AlertDescription::DecryptError, Some(_), OwnCertificate::Absent) | (other, None, _) => {
                format!("{server} refused the TLS handshake with the alert {other:?}")
            }
            (_, Some(_), OwnCertificate::Absent) => format!("{server} refused us: {}", self.wants()),
        }
    }
}

/// What an alert says of our own certificate (RFC 8446 §6.2), where it can be about that.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
const fn unfit(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "and believes another authority than the one that issued it",
        AlertDescription::DecryptError => "its signature does not hold there",
        AlertDescription::CertificateExpired => "which has expired or is not valid yet, as it says",
        AlertDescription::CertificateRevoked => "which is revoked, as it says",
        AlertDescription::UnsupportedCertificate => "which is not of a kind that it supports",
        AlertDescription::AccessDenied => "which names nobody who is let in",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => "and does not say why",
        _ => return None,
    })
}
