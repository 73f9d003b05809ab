//! The identity in a verified client certificate: for the conditions of routes, and for upstreams as
//! `X-Forwarded-Client-Cert` (in Envoy's form: `Hash`, `Subject`, `URI`, `DNS`).

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderValue;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::sha256_hex;
use crate::route::VerifiedCert;

/// The identity in a verified client certificate.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The fields that conditions can match.
    pub certificate: VerifiedCert,
    /// Its subject, as in RFC 4514.
    pub subject: String,
    /// The value of `X-Forwarded-Client-Cert`.
    pub forwarded: HeaderValue,
    /// The end of its validity, since the Unix epoch.
    pub expires_at: Duration,
}

impl ClientIdentity {
    /// Reads a certificate; `None` if it cannot be parsed.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let certificate = certificate(&parsed);
        let subject = subject(parsed.subject());
        let mut text = format!("Hash={};Subject={}", sha256_hex(der), quoted(&subject));
        for (key, values) in [("URI", &certificate.uri), ("DNS", &certificate.dns)] {
            for value in values {
                // Writing to a string cannot fail.
                let _ = write!(text, ";{key}={}", plain_or_quoted(value));
            }
        }
        let forwarded = HeaderValue::from_str(&text).ok()?;
        let expires_at = Duration::from_secs(u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0));
        Some(Self { certificate, subject, forwarded, expires_at })
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "conditions do not match other types of names")]
fn certificate(parsed: &X509Certificate<'_>) -> VerifiedCert {
    let sane = |value: &str| (!value.is_empty() && !value.contains(char::is_control)).then(|| value.to_owned());
    // The last common name is the most specific one (RFC 6125 §2.3.1).
    let cn = parsed.subject().iter_common_name().last().and_then(|name| name.as_str().ok()).and_then(sane);
    let mut found = VerifiedCert { cn, ..VerifiedCert::default() };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return found };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => found.dns.extend(sane(name)),
            GeneralName::URI(name) => found.uri.extend(sane(name)),
            GeneralName::RFC822Name(name) => found.email.extend(sane(name)),
            _ => {}
        }
    }
    found
}

/// A name in the form of RFC 4514: the most specific part first, special characters escaped. Visible ASCII only.
pub(super) fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_attributes().collect();
    for attribute in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        let kind = match attribute.attr_type().to_id_string().as_str() {
            "2.5.4.3" => "CN".to_owned(),
            "2.5.4.6" => "C".to_owned(),
            "2.5.4.7" => "L".to_owned(),
            "2.5.4.8" => "ST".to_owned(),
            "2.5.4.10" => "O".to_owned(),
            "2.5.4.11" => "OU".to_owned(),
            "0.9.2342.19200300.100.1.25" => "DC".to_owned(),
            "0.9.2342.19200300.100.1.1" => "UID".to_owned(),
            "1.2.840.113549.1.9.1" => "emailAddress".to_owned(),
            other => other.to_owned(),
        };
        text.push_str(&kind);
        text.push('=');
        for byte in attribute.as_slice() {
            match byte {
                b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' | b'#' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                b' '..=b'~' => text.push(char::from(*byte)),
                _ => {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
        }
    }
    text
}

fn plain_or_quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\');
    if value.bytes().all(plain) { value.to_owned() } else { quoted(value) }
}

/// A quoted string. Bytes that are not visible ASCII are percent-encoded.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn ia5(text: &str) -> Ia5String {
        Ia5String::try_from(text.to_owned()).unwrap()
    }

    fn made(cn: &str, names: Vec<SanType>) -> ClientIdentity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, cn);
        params.subject_alt_names = names;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientIdentity::of(made.der()).unwrap()
    }

    #[test]
    fn the_forwarded_form_is_that_of_envoy() {
        let names = vec![
            SanType::URI(ia5("spiffe://acme/x")),
            SanType::DnsName(ia5("c.test")),
            SanType::DnsName(ia5("a;b=\"c\"")),
            SanType::Rfc822Name(ia5("x@acme.test")),
        ];
        let one = made("till 7", names);
        let forwarded = one.forwarded.to_str().unwrap();
        let (hash, rest) = forwarded.split_once(';').unwrap();
        assert_eq!((&hash[..5], hash.len()), ("Hash=", 69));
        assert_eq!(rest, r#"Subject="CN=till 7,O=Acme\\, Inc.";URI=spiffe://acme/x;DNS=c.test;DNS="a;b=\"c\"""#);
        assert_eq!(one.certificate.cn.as_deref(), Some("till 7"));
        assert_eq!(one.certificate.email, ["x@acme.test"]);
    }

    #[test]
    fn control_characters_never_get_into_a_header() {
        let one = made("a\r\nx: 1\u{e9}", Vec::new());
        let forwarded = one.forwarded.to_str().unwrap();
        assert!(forwarded.ends_with(r#"Subject="CN=a\\0D\\0Ax: 1\\C3\\A9,O=Acme\\, Inc.""#), "{forwarded}");
        assert_eq!(one.certificate.cn, None, "a name has no control characters");
    }
}
