//! Reads certificates and private keys from PEM (RFC 7468).

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CertificateError;

/// The certificates of a file, in its order.
///
/// # Errors
/// There is none, or one is truncated or damaged.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let sections = sections(pem)?;
    let found: Vec<_> = sections
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if found.is_empty() {
        return Err(CertificateError::new(
            "no-certificate",
            "contains no certificate",
            "a certificate begins with `-----BEGIN CERTIFICATE-----`; convert DER with `openssl x509 -inform der`",
        ));
    }
    for (at, der) in found.iter().enumerate() {
        if !matches!(X509Certificate::from_der(der), Ok(([], _))) {
            let problem = format!("contains a certificate that cannot be parsed (the {})", ordinal(at));
            return Err(CertificateError::new(
                "bad-certificate",
                problem,
                "copy it again: bytes are missing or changed",
            ));
        }
    }
    Ok(found)
}

/// The private key of a file.
///
/// # Errors
/// There is none or more than one, or it is encrypted or truncated.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let help = "Pointsman cannot ask for a passphrase: store the key without one (`openssl pkey -in … -out …`)";
        return Err(CertificateError::new("encrypted-key", "contains an encrypted key", help));
    }
    let mut keys = sections(pem)?.into_iter().filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => {
            Err(CertificateError::new("bad-key", "contains more than one private key", "keep one key per file"))
        }
        (None, _) => {
            let help = "a key begins with `-----BEGIN PRIVATE KEY-----`, or says RSA or EC before PRIVATE";
            Err(CertificateError::new("bad-key", "contains no private key", help))
        }
    }
}

/// The certificates of a file as trusted roots.
///
/// # Errors
/// There is none, or one cannot be a root.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let mut store = RootCertStore::empty();
    for (at, certificate) in certificates(pem)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            let problem = format!("contains a certificate that cannot be a root (the {}): {error}", ordinal(at));
            CertificateError::new(
                "bad-certificate",
                problem,
                "use the certificate of the authority that issues the others",
            )
        })?;
    }
    Ok(store)
}

fn sections(pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, CertificateError> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(pem_error)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other messages of the library are good enough")]
fn pem_error(error: Error) -> CertificateError {
    const AGAIN: &str =
        "copy the file again; to replace it in one step, write a temporary file next to it and rename that";
    match error {
        Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(&end_marker);
            let kind = marker.trim().trim_matches('-').trim_start_matches("END ");
            CertificateError::new("bad-pem", format!("is cut short: `-----END {kind}-----` is missing"), AGAIN)
        }
        Error::Base64Decode(_) => {
            CertificateError::new("bad-pem", "is damaged: the text between the markers is not base64", AGAIN)
        }
        other => CertificateError::new("bad-pem", format!("is not PEM: {other}"), AGAIN),
    }
}

/// `first`, `second`, `third`, `4th`, ….
pub(super) fn ordinal(at: usize) -> String {
    match at {
        0 => "first".to_owned(),
        1 => "second".to_owned(),
        2 => "third".to_owned(),
        more => format!("{}th", more + 1),
    }
}
