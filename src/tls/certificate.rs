//! A certificate with its chain and key, as a listener or a client presents it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::pem::{certificates, private_key};
use super::{CertificateError, provider, sha256_hex};

/// A certificate expires soon if less than this time and less than a third of its lifetime are left.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

/// A certificate with its chain and key.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    label: String,
    fingerprint: String,
    valid: (Duration, Duration),
}

impl Certificate {
    /// Reads a chain and its key from PEM, and sorts the chain: first the certificate of the key, then the issuer of
    /// each certificate. Also returns warnings about the chain.
    ///
    /// # Errors
    /// One of the files cannot be parsed, or no certificate matches the key.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<(Self, Vec<CertificateError>), CertificateError> {
        Self::new(&certificates(chain)?, private_key(key)?)
    }

    /// Combines a chain and its key, like [`Self::read`]. Errors concern the key, warnings the chain.
    ///
    /// # Errors
    /// The key cannot be used, or no certificate matches it.
    pub fn new(
        chain: &[CertificateDer<'static>],
        key: PrivateKeyDer<'static>,
    ) -> Result<(Self, Vec<CertificateError>), CertificateError> {
        let signing = provider().key_provider.load_private_key(key).map_err(|_| {
            let help = "RSA from 2048 bits, ECDSA on P-256, P-384 and P-521, and Ed25519 are supported";
            CertificateError::new("bad-key", "contains a key that cannot be used", help)
        })?;
        let public = signing.public_key();
        let parsed: Vec<X509Certificate<'_>> =
            chain.iter().filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed)).collect();
        let matches_key = |one: &X509Certificate<'_>| public.as_ref().is_some_and(|key| key.as_ref() == spki(one));
        let Some(leaf) = parsed.iter().position(matches_key) else {
            let subject = parsed.first().map(subject).unwrap_or_default();
            let problem = format!("contains a key that does not match the certificate for {subject}");
            return Err(CertificateError::new(
                "key-mismatch",
                problem,
                "a renewed certificate has a new key: copy both files",
            ));
        };
        let (order, warnings) = sort_chain(&parsed, leaf);
        let names = names(&parsed[leaf]);
        let label = names.first().cloned().unwrap_or_else(|| subject(&parsed[leaf]).trim_matches('`').to_owned());
        let seconds = |time: i64| Duration::from_secs(u64::try_from(time).unwrap_or(0));
        let validity = parsed[leaf].validity();
        let valid = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
        let fingerprint = sha256_hex(&chain[leaf]);
        let chain: Vec<CertificateDer<'static>> = order.into_iter().map(|at| chain[at].clone()).collect();
        let key = Arc::new(CertifiedKey::new(chain, signing));
        Ok((Self { key, names, label, fingerprint, valid }, warnings))
    }

    /// The chain and the key.
    #[must_use]
    pub const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The names of the certificate, in lower case: DNS names (some with `*.`), and addresses in the form of a `Host`
    /// header.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A short name for messages: the first name of the certificate, or its subject.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The SHA-256 of the certificate, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether this certificate replaces `other`: it has the same key, or one of the same names.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let of = |one: &Self| one.key.key.public_key().map(|key| key.to_vec());
        of(self) == of(other) || self.names.iter().any(|name| other.names.contains(name))
    }

    /// The start of its validity, since the Unix epoch.
    #[must_use]
    pub const fn begins_at(&self) -> Duration {
        self.valid.0
    }

    /// The end of its validity, since the Unix epoch.
    #[must_use]
    pub const fn expires_at(&self) -> Duration {
        self.valid.1
    }

    /// Whether the certificate is valid at `now`, since the Unix epoch.
    #[must_use]
    pub fn is_valid_at(&self, now: Duration) -> bool {
        self.valid.0 <= now && now <= self.valid.1
    }

    /// A warning if the certificate is expired, not yet valid or expires soon at `now`, since the Unix epoch.
    #[must_use]
    pub fn validity_problem(&self, now: Duration) -> Option<CertificateError> {
        const RENEW: &str = "renew it; Pointsman loads the new certificate when its files change";
        let (from, until) = self.valid;
        if now > until {
            let problem = format!("contains a certificate that expired on {}", day(until));
            Some(CertificateError::new("certificate-expired", problem, RENEW))
        } else if now < from {
            let help = "check the clock of this machine, or wait";
            let problem = format!("contains a certificate that is not valid before {}", day(from));
            Some(CertificateError::new("certificate-not-yet-valid", problem, help))
        } else {
            let left = until.saturating_sub(now);
            let soon = left < EXPIRES_SOON && left < until.saturating_sub(from) / 3;
            let problem = format!("contains a certificate that expires on {}", day(until));
            soon.then(|| CertificateError::new("certificate-expires-soon", problem, RENEW))
        }
    }
}

/// The date of a time since the Unix epoch, in UTC.
fn day(at: Duration) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown date".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn spki<'a>(certificate: &X509Certificate<'a>) -> &'a [u8] {
    certificate.tbs_certificate.subject_pki.raw
}

/// The subject for messages: the first name, else the common name, else the whole subject.
fn subject(certificate: &X509Certificate<'_>) -> String {
    if let Some(name) = names(certificate).first() {
        return format!("`{}`", name.escape_debug());
    }
    let name = certificate.subject();
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    match common {
        Some(common) => format!("`{}`", common.escape_debug()),
        None => format!("`{}`", name.to_string().escape_debug()),
    }
}

/// The order in which the chain is sent, from the leaf, and warnings about it.
fn sort_chain(chain: &[X509Certificate<'_>], leaf: usize) -> (Vec<usize>, Vec<CertificateError>) {
    let mut order = vec![leaf];
    let mut last = leaf;
    // A self-signed certificate ends the chain.
    while chain[last].issuer().as_raw() != chain[last].subject().as_raw() {
        let issuer = |(at, one): &(usize, &X509Certificate<'_>)| {
            !order.contains(at) && one.subject().as_raw() == chain[last].issuer().as_raw()
        };
        let Some((next, _)) = chain.iter().enumerate().find(issuer) else { break };
        order.push(next);
        last = next;
    }
    let mut warnings = Vec::new();
    if !order.is_sorted() {
        let problem = format!(
            "contains the chain of {} in the wrong order; Pointsman sends it in the right order",
            subject(&chain[leaf])
        );
        warnings.push(CertificateError::new(
            "chain-order",
            problem,
            "write the certificate of the server first, then the issuer of each certificate",
        ));
    }
    if let Some(unrelated) = (0..chain.len()).find(|at| !order.contains(at)) {
        let (end, unrelated) = (subject(&chain[last]), subject(&chain[unrelated]));
        let problem = format!("contains {unrelated}, which did not issue {end} and is not sent");
        warnings.push(CertificateError::new(
            "chain-foreign",
            problem,
            "an intermediate certificate is missing, or this one is superfluous",
        ));
    }
    (order, warnings)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other types of names are not hosts")]
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let all = extension.value.general_names.iter();
    all.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    })
    .collect()
}

/// An address in the form of a `Host` header.
fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| format!("[{}]", IpAddr::from(octets)))
}

#[cfg(test)]
mod tests;
