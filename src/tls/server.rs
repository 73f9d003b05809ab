//! What a listener presents: its certificates by name, the versions and protocols that it speaks, and whom it asks for a
//! certificate in turn.

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

/// In the order of our preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A certificate that a listener serves.
#[derive(Clone, Debug)]
pub struct ServedCertificate {
    /// The certificate.
    pub certificate: Arc<Certificate>,
    /// Why it is not the one that its files hold now.
    pub stale: Option<Stale>,
}

/// Why a certificate is kept that is not the one of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The file that does not hold.
    pub file: String,
    /// What is wrong with it, as the rest of a sentence that begins with the file's name.
    pub why: String,
    /// From when on it holds as it is, since the Unix epoch; nothing where waiting does not help.
    pub until: Option<Duration>,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {}: {}", self.file, self.why)
    }
}

/// Whose certificates clients may present.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The roots.
    pub roots: Arc<RootCertStore>,
    /// A hash of the file that they stand in: a session is not resumed under other roots.
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
    /// Puts a listener's TLS together. The first certificate is presented to whoever names no host, or one that no
    /// certificate is for.
    ///
    /// # Errors
    /// When there is no certificate, or no client could ever be verified.
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
                "names no certificate",
                "name a directory, or a cert and its key",
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
        // Sessions live with the clients, under keys that change every six hours: nothing is kept here for them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| bad(&error))?;
        Ok(Self { config: Arc::new(config), set, spec, authority: hash })
    }

    /// The same with the ticket keys of `old`, so that sessions begun there are resumed here. Not when clients are asked
    /// for other certificates now: a resumed session does not present any.
    #[must_use]
    pub fn inheriting(&self, old: &Self) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        if self.spec.client_auth == old.spec.client_auth && self.authority == old.authority {
            config.ticketer = Arc::clone(&old.config.ticketer);
        }
        let (set, authority) = (Arc::clone(&self.set), self.authority.clone());
        Self { config: Arc::new(config), set, spec: self.spec, authority }
    }

    /// Whether it presents and asks for the same.
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

    /// What a handshake is made with.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Its certificates; the first is the default.
    #[must_use]
    pub fn served(&self) -> &[ServedCertificate] {
        &self.set.served
    }

    /// Whether a request for `host` came on a connection that was made to `sni` and should have been made anew: another
    /// certificate is for it, and none that the connection can have got. Both in lower case.
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
            theirs.contains(at) || self.set.served.get(*at).is_some_and(|one| is_for(&one.certificate, host))
        };
        !ours.iter().any(covers)
    }

    /// The certificates that are not those of their files, with what is wrong there.
    pub fn stale_certificates(&self) -> impl Iterator<Item = String> {
        let stale = self.served().iter().filter_map(|one| Some((one.certificate.label(), one.stale.as_ref()?)));
        stale.map(|(label, why)| format!("{label} ({why})"))
    }

    /// The first moment, since the Unix epoch, from which a file holds that was put aside.
    #[must_use]
    pub fn next_retry_at(&self) -> Option<Duration> {
        self.served().iter().filter_map(|one| one.stale.as_ref()?.until).min()
    }

    /// What changed, in words for the log of a reload. A certificate is known by its fingerprint: several may be for
    /// one name, such as RSA beside ECDSA.
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
                    lines.push(format!("certificate {label} holds again: its file is good"));
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

    /// Those of its certificates that `other` does not serve.
    fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a ServedCertificate> {
        self.served().iter().filter(|one| !other.served().iter().any(|theirs| theirs.is(one)))
    }

    /// The seconds that a certificate has left; negative when it has expired.
    #[must_use]
    pub fn seconds_left(certificate: &Certificate, now: Duration) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        seconds(certificate.expires_at()).saturating_sub(seconds(now))
    }
}

impl ServedCertificate {
    /// Whether both are the same certificate.
    fn is(&self, other: &Self) -> bool {
        self.certificate.fingerprint() == other.certificate.fingerprint()
    }
}

/// Whether a certificate is for this host, by name or wildcard.
fn is_for(certificate: &Certificate, host: &str) -> bool {
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
        // Of several for one name, such as RSA beside ECDSA, the first that the client can verify.
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys().find(fits).or_else(|| keys().next()).cloned()
    }
}
