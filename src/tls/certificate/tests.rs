//! Valid chains and keys, and common mistakes.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

struct Made {
    pem: String,
    key: String,
}

struct Authority {
    pem: String,
    params: CertificateParams,
    key: KeyPair,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let made = match above {
        None => params.self_signed(&key).unwrap(),
        Some(above) => params.signed_by(&key, &Issuer::from_params(&above.params, &above.key)).unwrap(),
    };
    Authority { pem: made.pem(), params, key }
}

fn leaf(names: &[&str], by: &Authority) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    let key = KeyPair::generate().unwrap();
    let made = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap();
    Made { pem: made.pem(), key: key.serialize_pem() }
}

fn read(chain: &[&str], key: &str) -> Result<(Certificate, Vec<&'static str>), (&'static str, String)> {
    let read = Certificate::read(chain.concat().as_bytes(), key.as_bytes());
    read.map(|(one, warnings)| (one, warnings.iter().map(|error| error.code).collect()))
        .map_err(|error| (error.code, error.problem))
}

#[test]
fn a_chain_is_sorted_and_unrelated_certificates_are_not_sent() {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let other = authority("other", None);
    let made = leaf(&["a.test", "*.B.test", "127.0.0.1", "::1"], &middle);
    let (whole, warnings) = read(&[&made.pem, &middle.pem, &root.pem], &made.key).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(whole.names(), ["a.test", "*.b.test", "127.0.0.1", "[::1]"]);
    assert_eq!((whole.label(), whole.key().cert.len()), ("a.test", 3));
    for (chain, codes) in [
        (vec![&root.pem, &middle.pem, &made.pem], vec!["chain-order"]),
        (vec![&middle.pem, &made.pem, &root.pem], vec!["chain-order"]),
    ] {
        let chain: Vec<&str> = chain.into_iter().map(String::as_str).collect();
        let (sorted, warnings) = read(&chain, &made.key).unwrap();
        assert_eq!(sorted.key().cert, whole.key().cert);
        assert_eq!(warnings, codes);
    }
    let (short, warnings) = read(&[&made.pem, &root.pem], &made.key).unwrap();
    assert_eq!((short.key().cert.len(), warnings), (1, vec!["chain-foreign"]), "the middle is missing");
    let (short, warnings) = read(&[&made.pem, &middle.pem, &other.pem], &made.key).unwrap();
    assert_eq!((short.key().cert.len(), warnings), (2, vec!["chain-foreign"]));
}

#[test]
fn bad_files_are_refused_with_a_reason() {
    let root = authority("root", None);
    let (made, other) = (leaf(&["a.test"], &root), leaf(&["b.test"], &root));
    let half = &made.pem[..made.pem.len() / 2];
    let mut lines: Vec<&str> = made.pem.lines().collect();
    lines.remove(3);
    let missing_line = lines.join("\n");
    let damaged = made.pem.replacen("MII", "M!I", 1);
    for (chain, key, code, words) in [
        (half, made.key.as_str(), "bad-pem", "is cut short: `-----END CERTIFICATE-----` is missing"),
        (&missing_line, &made.key, "bad-certificate", "the first"),
        (&damaged, &made.key, "bad-pem", "is damaged"),
        ("", &made.key, "no-certificate", "contains no certificate"),
        (&made.key, &made.key, "no-certificate", "contains no certificate"),
        (&made.pem, &made.pem, "bad-key", "contains no private key"),
        (&made.pem, &made.key[..40], "bad-pem", "is cut short"),
        (&made.pem, &other.key, "key-mismatch", "does not match the certificate for"),
        (&made.pem, &format!("{}{}", made.key, other.key), "bad-key", "more than one"),
        (&made.pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----", "encrypted-key", "an encrypted key"),
        (&made.pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "bad-key", "cannot be used"),
    ] {
        let (found, what) = read(&[chain], key).expect_err(words);
        assert_eq!(found, code, "{what}");
        assert!(what.contains(words), "{what}");
    }
}

#[test]
fn its_validity_is_checked() {
    let root = authority("root", None);
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2024, 4, 1);
    let key = KeyPair::generate().unwrap();
    let made = params.signed_by(&key, &Issuer::from_params(&root.params, &root.key)).unwrap();
    let (one, _) = Certificate::read(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let day = |days: u64| Duration::from_hours((19_723 + days) * 24) + Duration::from_secs(1);
    for (days, code) in [
        (0, None),
        (70, None),
        (80, Some("certificate-expires-soon")),
        (91, Some("certificate-expired")),
        (92, Some("certificate-expired")),
    ] {
        assert_eq!(one.validity_problem(day(days)).map(|error| error.code), code, "after {days} days");
    }
    assert!(one.is_valid_at(day(1)) && !one.is_valid_at(day(91)));
    let before = Duration::from_hours(19_722 * 24);
    assert_eq!(one.validity_problem(before).map(|error| error.code), Some("certificate-not-yet-valid"));
    let expired = one.validity_problem(day(93)).map(|error| error.problem);
    assert_eq!(expired.as_deref(), Some("contains a certificate that expired on 2024-04-01"));
}
