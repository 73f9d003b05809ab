//! TLS towards upstreams: whose certificates are believed, which name they must be for, and what we present.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error, OtherError, RootCertStore};

use super::trust::{UnknownIssuer, Verifier};
use super::{Certificate, CertificateError, provider};

/// What we offer by ALPN (RFC 7301), best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The roots of this system: where OpenSSL looks, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
///
/// # Errors
/// When there is none.
pub fn system_roots() -> Result<Vec<Vec<u8>>, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let help = "install the system's root certificates (`ca-certificates`), or name a `ca`";
        return Err(CertificateError::new("no-roots", format!("has no root certificates{why}"), help));
    }
    Ok(found.certs.iter().map(|der| der.to_vec()).collect())
}

/// Where [`system_roots`] looks: files and directories.
#[must_use]
pub fn system_places() -> Vec<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let (file, directories) = match (named("SSL_CERT_FILE"), named("SSL_CERT_DIR")) {
        (None, None) => {
            let usual = openssl_probe::probe();
            (usual.cert_file, usual.cert_dir)
        }
        (file, directories) => {
            let all = directories.iter().flat_map(std::env::split_paths);
            (file.map(PathBuf::from), all.filter(|path| !path.as_os_str().is_empty()).collect())
        }
    };
    file.into_iter().chain(directories).collect()
}

/// How connections to an upstream are secured: roots that are believed, and what we present, chain and key in PEM.
///
/// # Errors
/// When no root can be used, or chain and key do not hold.
pub fn client(roots: &[Vec<u8>], presented: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, CertificateError> {
    let mut store = RootCertStore::empty();
    // A system's store may hold one that is odd: it vouches for nobody, and harms nobody.
    let (added, _) = store.add_parsable_certificates(roots.iter().map(|der| CertificateDer::from(der.as_slice())));
    if added == 0 {
        return Err(CertificateError::new(
            "no-roots",
            "holds no certificate that can be a root",
            "name that of an authority",
        ));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
    let inner = inner.build().map_err(|error| defect(&error))?;
    // What vouches for a certificate is left to rustls: see there.
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| defect(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(inner, roots)));
    let mut config = match presented {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let (certificate, _) = Certificate::read(chain, key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certificate.key()))))
        }
    };
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn defect(error: &dyn std::fmt::Display) -> CertificateError {
    CertificateError::new("bad-tls", format!("cannot be used: {error}"), "this is a defect of the build")
}

/// Whether a certificate can be for this name: a DNS name or an IP address.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// How one endpoint is spoken to. Equal when nothing that was verified of a connection could differ.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl EndpointTls {
    /// Under `config`, with a server that must prove to be `name`. Nothing when that is no name.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, name: &str) -> Option<Self> {
        Some(Self { config, name: ServerName::try_from(name.to_owned()).ok()? })
    }

    /// How connections are secured.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Who the server must be.
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

/// Why a certificate was not believed, for the person who has to put it right. `who` presented it.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
pub(super) fn distrust(error: &rustls::CertificateError, who: &str) -> String {
    let at = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        seconds.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
    };
    match error {
        rustls::CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!("the certificate of {who} is for {names}, not {}", expected.to_str())
        }
        rustls::CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of {who} expired at {}", at(*not_after))
        }
        rustls::CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate of {who} is not valid before {}", at(*not_before))
        }
        rustls::CertificateError::BadSignature => {
            format!("the certificate of {who} is not signed by the authority that is believed, but by one of its name")
        }
        rustls::CertificateError::InvalidPurpose | rustls::CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {who} may not be used by a server (extended key usage)")
        }
        rustls::CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | rustls::CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("the certificate of {who} is signed by an algorithm that is not accepted")
        }
        rustls::CertificateError::BadEncoding => format!("the certificate of {who} cannot be read"),
        rustls::CertificateError::Other(OtherError(cause)) => {
            let unknown_issuer = cause.downcast_ref::<UnknownIssuer>().map(ToString::to_string);
            match unknown_issuer.or_else(|| cause.downcast_ref().and_then(overstepped).map(str::to_owned)) {
                Some(words) => format!("the certificate of {who} {words}"),
                None => format!("the certificate of {who} does not hold: {cause}"),
            }
        }
        other => format!("the certificate of {who} does not hold: {}", Error::InvalidCertificate(other.clone())),
    }
}

/// What is wrong with a certificate that is issued by the authority, and still is not believed.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
const fn overstepped(error: &webpki::Error) -> Option<&'static str> {
    use webpki::Error as E;
    Some(match error {
        E::EndEntityUsedAsCa => "is signed by a certificate of an end entity, which may not sign as an authority",
        E::CaUsedAsEndEntity => "is that of an authority, not of a server",
        E::NameConstraintViolation => "is for a name for which its authority may issue none (name constraints)",
        E::PathLenConstraintViolated => "comes by more authorities than one of them allows (path length)",
        E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => "has a chain too long or too tangled to be followed",
        E::UnsupportedCriticalExtension => "has a critical extension that is not understood",
        E::UnsupportedCertVersion => "is not one of X.509 version 3",
        E::EmptyEkuExtension
        | E::ExtensionValueInvalid
        | E::InvalidNetworkMaskConstraint
        | E::InvalidSerialNumber
        | E::MalformedDnsIdentifier
        | E::MalformedExtensions
        | E::MalformedNameConstraint
        | E::SignatureAlgorithmMismatch => "is not made as RFC 5280 wants it",
        _ => return None,
    })
}

/// A name as the verifier tells it, `DnsName("a")` or `IpAddress(…)`, without its kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_without_their_kind() {
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
