//! Known advisories of other proxies that have no better place: `docs/security.md` lists them.

use std::path::Path;
use std::sync::Arc;

use pointsman::clock::Clock;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::harness::certs::session;
use crate::harness::frames::{self, DATA, END_STREAM, Fate, Frames};
use crate::harness::{Authority, H2, ONE_ROUTE, PATIENCE, Proxy, Raw, Upstream, until};

/// CVE-2026-73511: a second field block that does not end the stream, to upstreams of both protocols.
#[test]
fn trailers_that_do_not_end_their_stream() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    let to_h2c = Proxy::with("main", &h2c).start(&ONE_ROUTE.replace("http://", "h2c://"));
    for (proxy, upstream) in [(Proxy::to(&h1), &h1), (to_h2c, &h2c)] {
        for _ in 0..20 {
            let mut client = Frames::connect(proxy.address(), &[]);
            let head = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
            client.headers(1, 0, &frames::block(&head));
            client.send(DATA, 0, 1, b"body");
            client.headers(1, 0, &frames::block(&[("x-trailer", "1")]));
            client.send(DATA, END_STREAM, 1, b"more");
            let fate = client.fate(1);
            assert!(!matches!(fate, Fate::Answered(200, _)), "{fate:?}");
        }
        assert_eq!(upstream.requests(), 0, "an incomplete request was counted as one");
        assert_eq!(H2::connect(proxy.address()).get("/").status, 200, "all other requests are served");
        proxy.settles();
    }
}

/// CVE-2022-0711: a response with this field made a proxy loop.
#[test]
fn set_cookie2_passes_like_any_field() {
    let head = "HTTP/1.1 200 OK\r\nset-cookie2: a=1; version=1\r\nset-cookie2: \r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::answering(head);
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for _ in 0..20 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
        assert_eq!(answer.fields("set-cookie2"), ["a=1; version=1", ""]);
    }
}

const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&TLS13];

/// Two listeners with one certificate for `a.test`; `guarded` requires a client certificate.
const TWO_DOORS: &str = r#"
[[listener]]
name = "open"
address = "127.0.0.1:0"
[listener.tls]
certificates = ["{folder}/certs"]
[[listener]]
name = "guarded"
address = "127.0.0.1:0"
[listener.tls]
certificates = ["{folder}/certs"]
client_auth = { ca = "{folder}/clients.pem" }
"#;

fn two_doors(echo: &Upstream, authority: &Authority, folder: &Path) -> Proxy {
    authority.leaf(&["a.test"]).write(&folder.join("certs"), "a");
    std::fs::write(folder.join("clients.pem"), &Authority::new("clients").pem).unwrap();
    let text = format!("{TWO_DOORS}{ONE_ROUTE}");
    Proxy::with("main", echo).place("folder", folder.display()).start(&text)
}

/// The status of a request through a listener, or none if the connection is refused.
fn ask(proxy: &Proxy, listener: &str, client: &Arc<ClientConfig>) -> Option<u16> {
    let mut raw = Raw::try_secured(proxy.listener(listener).unwrap(), client, "a.test").ok()?;
    raw.offer("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").try_response().ok().map(|answer| answer.status)
}

/// CVE-2024-11738 (RUSTSEC-2024-0399): a client hello in records of one byte each made a server panic.
#[test]
fn a_client_hello_in_pieces_disturbs_no_other_client() {
    let (echo, authority, folder) = (Upstream::echo(), Authority::new("root"), tempfile::tempdir().unwrap());
    let proxy = two_doors(&echo, &authority, folder.path());
    let client = authority.trusting_client().make();
    let mut hello = Vec::new();
    session(&client, "a.test").write_tls(&mut hello).unwrap();
    let pieces: Vec<u8> = hello[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    for _ in 0..5 {
        let mut raw = Raw::connect(proxy.listener("open").unwrap());
        let kind = raw.offer(&pieces).wire.exact(1).unwrap();
        assert!(matches!(kind[..], [0x16 | 0x15]), "neither a hello nor an alert: {kind:02x?}");
    }
    assert_eq!(ask(&proxy, "open", &client), Some(200), "everybody else is served");
    assert_eq!(proxy.refused("internal"), 0.0);
    proxy.settles();
}

/// CVE-2025-23419: a session of an open listener was resumed at a guarded one, which then asked for no certificate.
#[test]
fn no_ticket_skips_a_client_certificate() {
    let (echo, authority, folder) = (Upstream::echo(), Authority::new("root"), tempfile::tempdir().unwrap());
    let proxy = two_doors(&echo, &authority, folder.path());
    for versions in [OLD, NEW] {
        // Sessions are stored by name, so that one of the open listener is offered at the guarded one.
        let client = authority.trusting_client().versions(versions).make();
        for _ in 0..3 {
            assert_eq!(ask(&proxy, "open", &client), Some(200));
        }
        for _ in 0..3 {
            assert_eq!(ask(&proxy, "guarded", &client), None, "let in without a certificate: {versions:?}");
        }
        assert_eq!(ask(&proxy, "open", &client), Some(200));
    }
    let missing = "pointsman_tls_handshake_failures_total{reason=\"certificate_missing\"}";
    until("all of them are counted", || (proxy.metric(missing) == 6.0).then_some(()));
    assert_eq!(echo.requests(), 8);
}

/// RUSTSEC-2023-0053 and similar: a client's chain of a hundred certificates costs almost no time.
#[test]
fn a_long_chain_of_unknown_issuers_is_refused_at_once() {
    let (echo, authority, folder) = (Upstream::echo(), Authority::new("root"), tempfile::tempdir().unwrap());
    let proxy = two_doors(&echo, &authority, folder.path());
    let key = KeyPair::generate().unwrap();
    let named = |name: String| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let mut chain = vec![named("0".to_owned()).self_signed(&key).unwrap().der().clone()];
    for n in 1..100 {
        let above = named((n - 1).to_string());
        chain
            .insert(0, named(n.to_string()).signed_by(&key, &Issuer::from_params(&above, &key)).unwrap().der().clone());
    }
    let mut client = ClientConfig::clone(&authority.trusting_client().make());
    let provider = Arc::clone(client.crypto_provider());
    let own = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
    let presented = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, own));
    client.client_auth_cert_resolver = Arc::new(presented);
    let (client, began) = (Arc::new(client), Clock.now());
    for _ in 0..5 {
        assert_eq!(ask(&proxy, "guarded", &client), None);
    }
    assert!(Clock.now() - began < PATIENCE, "{:?} for five", Clock.now() - began);
    assert_eq!(ask(&proxy, "open", &authority.trusting_client().make()), Some(200), "everybody else is served");
    assert_eq!(echo.requests(), 1);
    proxy.settles();
}
