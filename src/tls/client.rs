//! TLS connections to upstreams: the trusted roots, the name that a certificate must have, and the client certificate.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error, OtherError, RootCertStore};

use super::trust::{UnknownIssuer, Verifier};
use super::{Certificate, CertificateError, provider};
use crate::route::ClientCert;

/// The protocols offered by ALPN (RFC 7301), in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The root certificates of the system: those of OpenSSL, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
///
/// # Errors
/// There is no root certificate.
pub fn system_roots() -> Result<Vec<Vec<u8>>, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let help = "install the system's root certificates (`ca-certificates`), or name a `ca`";
        return Err(CertificateError::new("no-roots", format!("has no root certificates{why}"), help));
    }
    Ok(found.certs.iter().map(|der| der.to_vec()).collect())
}

/// The files and directories that [`system_roots`] reads.
#[must_use]
pub fn system_root_paths() -> Vec<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let (file, directories) = match (named("SSL_CERT_FILE"), named("SSL_CERT_DIR")) {
        (None, None) => {
            let probed = openssl_probe::probe();
            (probed.cert_file, probed.cert_dir)
        }
        (file, directories) => {
            let all = directories.iter().flat_map(std::env::split_paths);
            (file.map(PathBuf::from), all.filter(|path| !path.as_os_str().is_empty()).collect())
        }
    };
    file.into_iter().chain(directories).collect()
}

/// The TLS configuration for connections to an upstream, with its trusted roots (DER) and its client certificate.
///
/// # Errors
/// No root can be used, or the client certificate is invalid.
pub fn client(roots: &[Vec<u8>], client_cert: Option<&ClientCert>) -> Result<Arc<ClientConfig>, CertificateError> {
    let mut store = RootCertStore::empty();
    // Roots that cannot be parsed are skipped: the stores of some systems have such entries.
    let (added, _) = store.add_parsable_certificates(roots.iter().map(|der| CertificateDer::from(der.as_slice())));
    if added == 0 {
        return Err(CertificateError::new(
            "no-roots",
            "contains no certificate that can be a root",
            "use the certificate of an authority",
        ));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
    let inner = inner.build().map_err(|error| defect(&error))?;
    // "Dangerous" only in name: `Verifier` leaves the decision to rustls, and adds names to its errors.
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| defect(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(inner, roots)));
    let mut config = match client_cert {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let (certificate, _) = Certificate::read(&pem.chain, &pem.key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certificate.key()))))
        }
    };
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn defect(error: &dyn std::fmt::Display) -> CertificateError {
    CertificateError::new("bad-tls", format!("cannot be used: {error}"), "this is a bug in the build of Pointsman")
}

/// Whether a certificate can have this name: a DNS name or an IP address.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// The TLS parameters for one endpoint. Two are equal if a connection under one is verified as under the other.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl EndpointTls {
    /// Connects under `config`; the certificate of the server must have `name`. `None` if that is not a valid name.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, name: &str) -> Option<Self> {
        Some(Self { config, name: ServerName::try_from(name.to_owned()).ok()? })
    }

    /// The same name under the configuration of another.
    #[must_use]
    pub fn under(&self, other: &Self) -> Self {
        Self { config: Arc::clone(&other.config), name: self.name.clone() }
    }

    /// The TLS configuration.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the certificate of the server must have.
    #[must_use]
    pub const fn name(&self) -> &ServerName<'static> {
        &self.name
    }
}

impl PartialEq for EndpointTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for EndpointTls {}

impl Hash for EndpointTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A message that says why a server certificate was rejected. `server` is its name.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
pub(super) fn rejection(error: &rustls::CertificateError, server: &str) -> String {
    let at = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        seconds.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
    };
    match error {
        rustls::CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("the certificate of {server} is for {names}, not {}", expected.to_str())
        }
        rustls::CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of {server} expired at {}", at(*not_after))
        }
        rustls::CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate of {server} is not valid before {}", at(*not_before))
        }
        rustls::CertificateError::BadSignature => {
            format!(
                "the certificate of {server} is signed by an authority that has the same name as a trusted one, but another key"
            )
        }
        rustls::CertificateError::InvalidPurpose | rustls::CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {server} may not be used by a server (extended key usage)")
        }
        rustls::CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | rustls::CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("the certificate of {server} is signed by an algorithm that is not accepted")
        }
        rustls::CertificateError::BadEncoding => format!("the certificate of {server} cannot be read"),
        rustls::CertificateError::Other(OtherError(cause)) => {
            let unknown_issuer = cause.downcast_ref::<UnknownIssuer>().map(ToString::to_string);
            match unknown_issuer.or_else(|| cause.downcast_ref().and_then(violated_constraint).map(str::to_owned)) {
                Some(words) => format!("the certificate of {server} {words}"),
                None => format!("the certificate of {server} is not valid: {cause}"),
            }
        }
        other => format!("the certificate of {server} is not valid: {}", Error::InvalidCertificate(other.clone())),
    }
}

/// The constraint that a certificate of a trusted authority violates.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
const fn violated_constraint(error: &webpki::Error) -> Option<&'static str> {
    use webpki::Error as E;
    Some(match error {
        E::EndEntityUsedAsCa => "is signed by a certificate of an end entity, which may not sign as an authority",
        E::CaUsedAsEndEntity => "is that of an authority, not of a server",
        E::NameConstraintViolation => "is for a name for which its authority may issue none (name constraints)",
        E::PathLenConstraintViolated => "has a longer chain than one of its authorities allows (path length)",
        E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => "has a chain that is too long or too complex to verify",
        E::UnsupportedCriticalExtension => "has a critical extension that is not supported",
        E::UnsupportedCertVersion => "is not one of X.509 version 3",
        E::EmptyEkuExtension
        | E::ExtensionValueInvalid
        | E::InvalidNetworkMaskConstraint
        | E::InvalidSerialNumber
        | E::MalformedDnsIdentifier
        | E::MalformedExtensions
        | E::MalformedNameConstraint
        | E::SignatureAlgorithmMismatch => "violates RFC 5280",
        _ => return None,
    })
}

/// Removes the type from a name of the verifier, such as `DnsName("a")` or `IpAddress(…)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_their_type() {
        assert_eq!(bare("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare("IpAddress(10.0.0.1)"), "10.0.0.1");
        assert_eq!(bare("odd"), "odd");
    }

    #[test]
    fn roots_must_be_certificates() {
        assert_eq!(client(&[b"nonsense".to_vec()], None).unwrap_err().code, "no-roots");
        assert!(is_server_name("a.example") && is_server_name("10.0.0.1") && is_server_name("::1"));
        assert!(!is_server_name("a b") && !is_server_name("") && !is_server_name("https://a"));
    }
}
