//! The TLS configuration of a listener: certificates by name, versions, protocols, and client authentication.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::SupportedProtocolVersion;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::{Certificate, CertificateError, CertificateNames, provider};
use crate::route::{ClientAuth, TlsSpec, TlsVersion};

/// The protocols of ALPN, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A certificate of a listener.
#[derive(Clone, Debug)]
pub struct ServedCertificate {
    /// The certificate.
    pub certificate: Arc<Certificate>,
    /// Why the certificate is not the current one of its files; `None` if it is.
    pub stale: Option<Stale>,
}

/// Why a listener keeps an old certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The invalid file.
    pub file: String,
    /// Its problem, as the rest of a sentence that begins with the name of the file.
    pub why: String,
    /// When the file becomes valid without a change, since the Unix epoch; `None` if it never does.
    pub until: Option<Duration>,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {}: {}", self.file, self.why)
    }
}

/// The authorities that issue client certificates.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The roots.
    pub roots: Arc<RootCertStore>,
    /// The hash of their file. A session is not resumed under other roots.
    pub hash: String,
}

/// The TLS side of a listener.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    set: Arc<Set>,
    spec: TlsSpec,
    authority: Option<String>,
}

/// A listener's certificates.
#[derive(Debug)]
struct Set {
    served: Vec<ServedCertificate>,
    names: CertificateNames,
}

impl Server {
    /// Creates the TLS configuration of a listener. Clients get the first certificate if they send no SNI, or an
    /// unknown one.
    ///
    /// # Errors
    /// There is no certificate, or the authorities cannot verify any client.
    pub fn new(
        spec: TlsSpec,
        served: Vec<ServedCertificate>,
        authority: Option<Authority>,
    ) -> Result<Self, CertificateError> {
        let bad =
            |error: &dyn std::fmt::Display| CertificateError::new("bad-tls", format!("cannot be used: {error}"), "");
        if served.is_empty() {
            return Err(CertificateError::new(
                "no-certificate",
                "has no certificate",
                "name a directory, or a certificate and its key",
            ));
        }
        let mut names = CertificateNames::default();
        for (at, one) in served.iter().enumerate() {
            one.certificate.names().iter().for_each(|name| names.add(name, at));
        }
        let set = Arc::new(Set { served, names });
        let versions = match spec.min_version {
            TlsVersion::V12 => VERSIONS,
            TlsVersion::V13 => &VERSIONS[..1],
        };
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(versions).map_err(|error| bad(&error))?;
        let hash = authority.as_ref().map(|authority| authority.hash.clone());
        let builder = match (authority, spec.client_auth) {
            (Some(authority), Some(mode)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots, provider());
                let verifier = match mode {
                    ClientAuth::Require => verifier,
                    ClientAuth::Request => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| bad(&error))?)
            }
            (_, _) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::<Set>::clone(&set));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Sessions are resumed by tickets only, whose keys rotate every six hours: the server keeps no session state.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| bad(&error))?;
        Ok(Self { config: Arc::new(config), set, spec, authority: hash })
    }

    /// A copy with the ticket keys of `old`, so that clients can resume their sessions. If client authentication
    /// changed, the copy has new keys: a client does not present its certificate again when it resumes a session.
    #[must_use]
    pub fn inheriting(&self, old: &Self) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        if self.spec.client_auth == old.spec.client_auth && self.authority == old.authority {
            config.ticketer = Arc::clone(&old.config.ticketer);
        }
        let (set, authority) = (Arc::clone(&self.set), self.authority.clone());
        Self { config: Arc::new(config), set, spec: self.spec, authority }
    }

    /// Whether certificates, versions and client authentication are the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&ServedCertificate, &ServedCertificate)| {
            one.certificate.key().cert == other.certificate.key().cert && one.stale == other.stale
        };
        let (ours, theirs) = (&self.set.served, &other.set.served);
        self.spec == other.spec
            && self.authority == other.authority
            && ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(same)
    }

    /// The configuration for rustls.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Its certificates; the first is the default.
    #[must_use]
    pub fn served(&self) -> &[ServedCertificate] {
        &self.set.served
    }

    /// Whether a request for `host` is on the wrong connection (RFC 9110 §15.5.20): a certificate has that name, but
    /// none that the connection to `sni` can have got. Both names are in lower case.
    #[must_use]
    pub fn is_misdirected(&self, sni: &str, host: &str) -> bool {
        let theirs = self.set.names.find(host);
        if sni == host || theirs.is_empty() {
            return false;
        }
        let ours = match self.set.names.find(sni) {
            [] => &[0],
            found => found,
        };
        let covers = |at: &usize| {
            theirs.contains(at) || self.set.served.get(*at).is_some_and(|one| has_name(&one.certificate, host))
        };
        !ours.iter().any(covers)
    }

    /// Descriptions of the old certificates that are kept, with the problems of their files.
    pub fn stale_certificates(&self) -> impl Iterator<Item = String> {
        let stale = self.served().iter().filter_map(|one| Some((one.certificate.label(), one.stale.as_ref()?)));
        stale.map(|(label, why)| format!("{label} ({why})"))
    }

    /// When the first rejected file becomes valid, since the Unix epoch.
    #[must_use]
    pub fn next_retry_at(&self) -> Option<Duration> {
        self.served().iter().filter_map(|one| one.stale.as_ref()?.until).min()
    }

    /// The changes since `old`, for the log of a reload. Certificates are compared by fingerprint: several may have the
    /// same name, such as an RSA and an ECDSA certificate.
    #[must_use]
    pub fn changes(&self, old: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut gone: Vec<&str> = old.without(self).map(|one| one.certificate.label()).collect();
        for new in self.served() {
            let label = new.certificate.label();
            let before = old.served().iter().find(|one| one.is(new));
            match (before, &new.stale) {
                (_, Some(stale)) => lines.push(format!("certificate {label} kept: its new file {}", stale.why)),
                (Some(before), None) if before.stale.is_some() => {
                    lines.push(format!("certificate {label} is current again: its file is valid"));
                }
                (Some(_), None) => {}
                (None, None) => match gone.iter().position(|gone| *gone == label) {
                    Some(at) => {
                        gone.swap_remove(at);
                        lines.push(format!("certificate {label} renewed"));
                    }
                    None => lines.push(format!("certificate {label} added")),
                },
            }
        }
        lines.extend(gone.iter().map(|label| format!("certificate {label} removed")));
        if self.authority != old.authority {
            lines.push("the authority of client certificates changed".to_owned());
        }
        lines
    }

    /// The certificates that `other` does not have.
    fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a ServedCertificate> {
        self.served().iter().filter(|one| !other.served().iter().any(|theirs| theirs.is(one)))
    }

    /// The seconds until a certificate expires; negative after that.
    #[must_use]
    pub fn seconds_left(certificate: &Certificate, now: Duration) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        seconds(certificate.expires_at()).saturating_sub(seconds(now))
    }
}

impl ServedCertificate {
    /// Whether both have the same certificate.
    fn is(&self, other: &Self) -> bool {
        self.certificate.fingerprint() == other.certificate.fingerprint()
    }
}

/// Whether a certificate has this name, exactly or as a wildcard.
fn has_name(certificate: &Certificate, host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    certificate.names().iter().any(|name| match name.strip_prefix("*.") {
        Some(suffix) => parent == Some(suffix),
        None => name == host,
    })
}

impl ResolvesServerCert for Set {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default();
        let found = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.names.find(&name.to_ascii_lowercase())
        } else {
            self.names.find(name)
        };
        let found = if found.is_empty() { &[0] } else { found };
        let keys = || found.iter().filter_map(|at| self.served.get(*at)).map(|one| one.certificate.key());
        // Of several certificates for one name, such as RSA and ECDSA, the first that the client can verify.
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys().find(fits).or_else(|| keys().next()).cloned()
    }
}
