//! A server's (or a client's own) certificate with its chain and key, as it is presented to peers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::pem::{certificates, private_key};
use super::{CertificateError, provider, sha256_hex};

/// A certificate that has less left than this, and less than a third of its life, should have been renewed.
const SOON: Duration = Duration::from_hours(14 * 24);

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
    /// Reads a chain and its key from PEM, and puts the chain in order: first the certificate of the key, then each
    /// one's issuer. What was odd about the chain is told besides.
    ///
    /// # Errors
    /// When one of them cannot be read, or no certificate is of this key.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<(Self, Vec<CertificateError>), CertificateError> {
        Self::new(&certificates(chain)?, private_key(key)?)
    }

    /// Puts a chain and its key together, like [`Self::read`]. Errors are about the key, what is odd about the chain.
    ///
    /// # Errors
    /// When the key cannot be used, or no certificate is of this key.
    pub fn new(
        chain: &[CertificateDer<'static>],
        key: PrivateKeyDer<'static>,
    ) -> Result<(Self, Vec<CertificateError>), CertificateError> {
        let signing = provider().key_provider.load_private_key(key).map_err(|_| {
            let help = "RSA from 2048 bits, ECDSA on P-256, P-384 and P-521, and Ed25519 are supported";
            CertificateError::new("bad-key", "holds a key that cannot be used", help)
        })?;
        let public = signing.public_key();
        let parsed: Vec<X509Certificate<'_>> =
            chain.iter().filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed)).collect();
        let is_of_key = |one: &X509Certificate<'_>| public.as_ref().is_some_and(|key| key.as_ref() == spki(one));
        let Some(leaf) = parsed.iter().position(is_of_key) else {
            let subject = parsed.first().map(subject).unwrap_or_default();
            let what = format!("holds a key that is not the one of the certificate for {subject}");
            return Err(CertificateError::new(
                "key-mismatch",
                what,
                "a renewed certificate comes with its own key: take both",
            ));
        };
        let (order, flaws) = ordered(&parsed, leaf);
        let names = names(&parsed[leaf]);
        let label = names.first().cloned().unwrap_or_else(|| subject(&parsed[leaf]).trim_matches('`').to_owned());
        let seconds = |time: i64| Duration::from_secs(u64::try_from(time).unwrap_or(0));
        let validity = parsed[leaf].validity();
        let valid = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
        let fingerprint = sha256_hex(&chain[leaf]);
        let chain: Vec<CertificateDer<'static>> = order.into_iter().map(|at| chain[at].clone()).collect();
        let key = Arc::new(CertifiedKey::new(chain, signing));
        Ok((Self { key, names, label, fingerprint, valid }, flaws))
    }

    /// The chain and the key.
    #[must_use]
    pub const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The names that it answers to, in lower case: DNS names (perhaps with `*.`), and addresses as they stand in a
    /// `Host`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What people call it: its first name.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The SHA-256 of the certificate, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether it takes the place of another: it has the same key, or is for one of its names.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let of = |one: &Self| one.key.key.public_key().map(|key| key.to_vec());
        of(self) == of(other) || self.names.iter().any(|name| other.names.contains(name))
    }

    /// From when on it is valid, since the Unix epoch.
    #[must_use]
    pub const fn begins_at(&self) -> Duration {
        self.valid.0
    }

    /// Until when it is valid, since the Unix epoch.
    #[must_use]
    pub const fn expires_at(&self) -> Duration {
        self.valid.1
    }

    /// Whether it is valid at this moment.
    #[must_use]
    pub fn is_valid_at(&self, now: Duration) -> bool {
        self.valid.0 <= now && now <= self.valid.1
    }

    /// What is to be said about its time at this moment, since the Unix epoch.
    #[must_use]
    pub fn validity_problem(&self, now: Duration) -> Option<CertificateError> {
        const RENEW: &str = "renew it; the new one is taken as soon as its files are there";
        let (from, until) = self.valid;
        if now > until {
            let what = format!("holds a certificate that expired on {}", day(until));
            Some(CertificateError::new("certificate-expired", what, RENEW))
        } else if now < from {
            let help = "look at this machine's clock, or wait";
            let what = format!("holds a certificate that is valid from {} on", day(from));
            Some(CertificateError::new("certificate-not-yet-valid", what, help))
        } else {
            let left = until.saturating_sub(now);
            let soon = left < SOON && left < until.saturating_sub(from) / 3;
            let what = format!("holds a certificate that expires on {}", day(until));
            soon.then(|| CertificateError::new("certificate-expires-soon", what, RENEW))
        }
    }
}

/// The day of a moment since the Unix epoch, in UTC.
fn day(at: Duration) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "a day far off".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn spki<'a>(certificate: &X509Certificate<'a>) -> &'a [u8] {
    certificate.tbs_certificate.subject_pki.raw
}

/// A subject as people read it: its first name, else its common name, else all of it.
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

/// The order in which the chain is sent, from the leaf, and what was odd about it.
fn ordered(chain: &[X509Certificate<'_>], leaf: usize) -> (Vec<usize>, Vec<CertificateError>) {
    let mut order = vec![leaf];
    let mut last = leaf;
    // A certificate that issued itself ends the chain.
    while chain[last].issuer().as_raw() != chain[last].subject().as_raw() {
        let issuer = |(at, one): &(usize, &X509Certificate<'_>)| {
            !order.contains(at) && one.subject().as_raw() == chain[last].issuer().as_raw()
        };
        let Some((next, _)) = chain.iter().enumerate().find(issuer) else { break };
        order.push(next);
        last = next;
    }
    let mut flaws = Vec::new();
    if !order.is_sorted() {
        let what =
            format!("holds the chain of {} in the wrong order; it is sent in the right one", subject(&chain[leaf]));
        flaws.push(CertificateError::new(
            "chain-order",
            what,
            "first the server's own certificate, then each one's issuer",
        ));
    }
    if let Some(foreign) = (0..chain.len()).find(|at| !order.contains(at)) {
        let (end, foreign) = (subject(&chain[last]), subject(&chain[foreign]));
        let what = format!("holds {foreign}, which did not issue {end} and is left out");
        flaws.push(CertificateError::new(
            "chain-foreign",
            what,
            "an intermediate certificate is missing, or this one is not needed",
        ));
    }
    (order, flaws)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of names are no hosts")]
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

/// An address as it stands in a `Host`.
fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| format!("[{}]", IpAddr::from(octets)))
}

#[cfg(test)]
mod tests;
