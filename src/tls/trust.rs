//! Verifies the certificates of servers as rustls does. If the issuer is unknown, the error names the issuer and the
//! trusted authorities.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::client_identity::subject;

/// The most authorities that a message names. A longer list is usually that of the system.
const NAMED_MAX: usize = 4;

/// The issuer of a certificate is not trusted.
#[derive(Debug)]
pub(super) struct UnknownIssuer {
    /// The issuer of the last certificate in the chain of the server; `None` if it cannot be parsed.
    issuer: Option<String>,
    /// The trusted authorities, for messages.
    trusted: Arc<str>,
}

impl fmt::Display for UnknownIssuer {
    /// As the rest of a sentence that begins with the certificate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(f, "is issued by {issuer}, which is not trusted: {}", self.trusted),
            None => write!(f, "is issued by an authority that is not trusted: {}", self.trusted),
        }
    }
}

impl std::error::Error for UnknownIssuer {}

/// Verifies server certificates as rustls does.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Arc<str>,
}

impl Verifier {
    /// Wraps `inner`, which was created from the same roots.
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>, roots: &[Vec<u8>]) -> Self {
        Self { inner, trusted: describe_roots(roots).into() }
    }
}

/// The trusted authorities, for messages.
fn describe_roots(roots: &[Vec<u8>]) -> String {
    if roots.len() > NAMED_MAX {
        return format!("{} authorities are; name another one as `ca`", roots.len());
    }
    let name = |root: &Vec<u8>| X509Certificate::from_der(root).ok().map(|(_, root)| subject(root.subject()));
    let names: Vec<String> = roots.iter().filter_map(name).collect();
    format!("`ca` contains {}", names.join(" and "))
}

fn issuer(chain_end: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(chain_end).ok()?;
    Some(subject(parsed.issuer())).filter(|name| !name.is_empty())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| {
            if error != Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) {
                return error;
            }
            let issuer = issuer(intermediates.last().unwrap_or(end_entity));
            let unknown_issuer = UnknownIssuer { issuer, trusted: Arc::clone(&self.trusted) };
            Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(unknown_issuer))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}
