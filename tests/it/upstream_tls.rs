//! TLS towards upstreams: what is verified, what is negotiated, and how failures are reported.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::proxy::Setup;
use crate::harness::upstream::Got;
use crate::harness::{H2, Proxy, Raw, Upstream, until};
use crate::process::{Running, command};

/// An authority, and certificates of it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    pub cert: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self::named(&format!("authority {}", NUMBER.fetch_add(1, SeqCst)))
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn issue(&self, name: &str) -> Pair {
        self.issue_until(name, 4000)
    }

    pub fn issue_until(&self, name: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        sign(&params, &self.issuer)
    }

    /// A certificate for this name, signed by an intermediate of ours that comes with it.
    fn issue_by(&self, mut between: CertificateParams, name: &str) -> Pair {
        between.distinguished_name.push(DnType::CommonName, "between");
        let Pair { cert, key } = sign(&between, &self.issuer);
        let leaf = sign(&CertificateParams::new(vec![name.to_owned()]).unwrap(), &Issuer::new(between, key));
        Pair { cert: leaf.cert + &cert, ..leaf }
    }

    pub fn roots(&self) -> RootCertStore {
        pointsman::tls::roots(self.pem.as_bytes()).unwrap()
    }
}

fn sign(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { cert: params.signed_by(&key, issuer).unwrap().pem(), key }
}

/// How a connection ends when the upstream behind has closed its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// In order, as TLS requires.
    Notified,
    /// Without notice.
    Cut,
}

/// Terminates TLS in front of an upstream.
pub struct Front {
    pub address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    fn new(pair: &Pair, alpn: &'static [u8], behind: &Upstream) -> Self {
        Self::with(&config(pair, None), (alpn, behind.address(), Close::Notified))
    }

    pub fn with(config: &ServerConfig, behind: (&'static [u8], SocketAddr, Close)) -> Self {
        Self::in_turn(config, &[behind])
    }

    /// Each connection gets the next upstream, and all after them the last.
    fn in_turn(config: &ServerConfig, behind: &[(&'static [u8], SocketAddr, Close)]) -> Self {
        let of = |(alpn, behind, close): &(&'static [u8], SocketAddr, Close)| {
            let mut config = config.clone();
            // Without a protocol it negotiates none.
            config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
            (TlsAcceptor::from(Arc::new(config)), *behind, *close)
        };
        let all: Vec<_> = behind.iter().map(of).collect();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    let last = all.len() - 1;
                    for number in 0.. {
                        let Ok((stream, _)) = listener.accept().await else { return };
                        let (acceptor, behind, close) = &all[last.min(number)];
                        tokio::spawn(relay(acceptor.clone(), stream, *behind, *close));
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn relay(acceptor: TlsAcceptor, stream: TcpStream, behind: SocketAddr, close: Close) {
    let Ok(secured) = acceptor.accept(stream).await else { return };
    let plain = TcpStream::connect(behind).await.unwrap();
    let (mut from_proxy, mut to_proxy) = tokio::io::split(secured);
    let (mut from_upstream, mut to_upstream) = plain.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_proxy, &mut to_upstream).await });
    let _ = tokio::io::copy(&mut from_upstream, &mut to_proxy).await;
    let _ = to_proxy.flush().await;
    if close == Close::Notified {
        let _ = to_proxy.shutdown().await;
    }
    up.abort();
}

pub fn config(pair: &Pair, clients: Option<RootCertStore>) -> ServerConfig {
    config_of(pair, clients, rustls::ALL_VERSIONS)
}

fn config_of(
    pair: &Pair,
    clients: Option<RootCertStore>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let chain = pointsman::tls::certificates(pair.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(pair.key.serialize_der()).unwrap();
    let provider = pointsman::tls::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    builder.with_single_cert(chain, key).unwrap()
}

/// A route to `https://{front}` with these lines in `[upstream.main.tls]`.
fn text(lines: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [\"https://{{front}}\"]\nconnect_timeout = \"1m\"\n[upstream.main.tls]\n{lines}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n"
    )
}

/// Files that live as long as the test.
pub fn files(all: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in all {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn setup(front: SocketAddr, dir: &Path) -> Setup {
    Setup::default().place("front", front).place("files", dir.display())
}

/// An HTTP/2 connection refuses the stream, and the next connection speaks HTTP/1.1.
#[test]
fn a_retried_websocket_takes_the_protocol_of_its_connection() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let here = "[[route]]\nname = \"here\"\nmatch = { path = \"/here\" }\nrespond = { status = 204 }\n";
    let tls = "[upstream.main.tls]\nca = \"{files}/ca.pem\"\n[[route]]\nname = \"ws\"";
    let text = crate::upgrade::ROUTES.replace("http://{main}", "https://{front}");
    let text = text.replacen("[[route]]\nname = \"ws\"", tls, 1) + here;
    for version in [1, 2] {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let refusing = Upstream::h2c_script(&builder, |shared, _, request, mut respond| {
            Box::pin(async move {
                shared.remember(Got { method: request.method().to_string(), ..Got::default() });
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            })
        });
        let behind = crate::upgrade::switcher();
        let turns = [(&b"h2"[..], refusing.address(), Close::Cut), (b"http/1.1", behind.address(), Close::Cut)];
        let front = Front::in_turn(&config(&authority.issue("127.0.0.1"), None), &turns);
        let proxy = setup(front.address, dir.path()).start(&text);
        let key = if version == 1 {
            let answer = crate::upgrade::ask(&mut proxy.connect(), "/ws/a?b=c");
            assert_eq!(answer.status, 101, "{answer:?}");
            assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            Some("dGhlIHNhbXBsZSBub25jZQ==")
        } else {
            let mut client = H2::connect(proxy.address());
            assert_eq!(client.get("/here").status, 204);
            let (response, _stream) = crate::upgrade::connect(&mut client, "/ws/a?b=c", "websocket");
            assert_eq!(response.status(), 200);
            None
        };
        assert_eq!(refusing.got()[0].method, "CONNECT", "it was asked for on HTTP/2 first");
        let got = &behind.got()[0];
        assert_eq!((got.method.as_str(), got.target.as_str(), got.version.as_str()), ("GET", "/ws/a?b=c", "HTTP/1.1"));
        assert_eq!((got.field("connection"), got.field("upgrade")), (Some("Upgrade"), Some("websocket")));
        assert_eq!((got.field("host"), got.field("sec-websocket-version")), (Some("test"), Some("13")));
        assert!(got.field("sec-websocket-key").is_some_and(|value| key.is_none_or(|key| value == key)), "{got:?}");
    }
}

#[test]
fn the_protocol_is_negotiated() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let body = vec![7; 300_000];
    for (alpn, behind, version) in
        [(&b"http/1.1"[..], Upstream::echo(), "HTTP/1.1"), (b"h2", Upstream::h2c(), "HTTP/2.0")]
    {
        for (name, line) in [("127.0.0.1", ""), ("a.test", "server_name = \"a.test\"")] {
            let front = Front::new(&authority.issue(name), alpn, &behind);
            let proxy = setup(front.address, dir.path()).start(&text(&format!("ca = \"{{files}}/ca.pem\"\n{line}")));
            let mut client = proxy.connect();
            let got = client.post("/x?y", "", &body).json();
            assert_eq!((got["version"].as_str(), got["body_bytes"].as_u64()), (Some(version), Some(300_000)));
            if version == "HTTP/2.0" {
                assert_eq!(got["target"], "https://test/x?y");
            }
            let mut client = H2::connect(proxy.address());
            for _ in 0..5 {
                assert_eq!(client.get("/").json()["version"], version);
            }
            assert_eq!(proxy.metric("pointsman_upstream_connects_total{upstream=\"main\"}"), 1.0, "it is used again");
            assert_eq!(proxy.metric("pointsman_upstream_tls_handshakes_total{upstream=\"main\"}"), 1.0);
            assert!(proxy.status()["upstreams"][0]["last_tls_failure"].is_null());
        }
    }
}

/// What the client, the metrics, the log and `/status` report when TLS fails.
#[track_caller]
fn fails(proxy: &Proxy, status: u16, error: &str, kind: &str, cause: &[&str]) {
    let answer = proxy.connect().get("/", "");
    let reported = answer.field("proxy-status").unwrap_or_default().to_owned();
    let last = proxy.status()["upstreams"][0]["last_tls_failure"]["cause"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.status, status, "{reported}: {last}");
    assert!(reported.starts_with(&format!("pointsman; error={error};")), "{reported}: {last}");
    assert!(!answer.text().contains("test"), "no internals: {}", answer.text());
    let series = format!("pointsman_upstream_tls_failures_total{{cause=\"{kind}\",upstream=\"main\"}}");
    assert_eq!(proxy.metric(&series), 1.0, "{last}");
    for words in cause {
        assert!(last.contains(words), "{words:?} in {last:?}");
    }
    assert!(!last.contains("Error"), "the words of a library: {last}");
}

#[test]
fn a_certificate_error_is_reported() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = files(&[("ca.pem", &authority.pem)]);
    let behind = Upstream::echo();
    let lines = "ca = \"{files}/ca.pem\"\nserver_name = \"b.test\"";
    for (pair, words) in [
        (authority.issue("a.test"), "is for a.test, not b.test"),
        (authority.issue_until("b.test", 2002), "expired at 2002-01-01"),
        (other.issue("b.test"), "which is not trusted: `ca` contains CN="),
    ] {
        let front = Front::new(&pair, b"http/1.1", &behind);
        let proxy = setup(front.address, dir.path()).start(&text(lines));
        let who = format!("the certificate of {} ", front.address);
        fails(&proxy, 502, "tls_certificate_error", "certificate", &[&who, words]);
        assert_eq!(proxy.logged(1)[0]["detail"], "tls_certificate");
    }
    assert_eq!(behind.got().len(), 0, "nothing was sent");
}

#[test]
fn a_constraint_of_an_authority_is_reported() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let behind = Upstream::echo();
    let lines = "ca = \"{files}/ca.pem\"\nserver_name = \"b.test\"";
    let between = || CertificateParams::new(Vec::new()).unwrap();
    let (mut narrow, mut last) = (between(), between());
    narrow.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    narrow.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("a.test".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let mut misused = CertificateParams::new(vec!["b.test".to_owned()]).unwrap();
    misused.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let whole = authority.issue_by(last, "b.test");
    for (pair, words) in [
        (authority.issue_by(between(), "b.test"), "is signed by a certificate of an end entity"),
        (authority.issue_by(narrow, "b.test"), "is for a name for which its authority may issue none"),
        (sign(&misused, &authority.issuer), "may not be used by a server"),
    ] {
        let front = Front::new(&pair, b"http/1.1", &behind);
        let proxy = setup(front.address, dir.path()).start(&text(lines));
        let who = format!("the certificate of {} ", front.address);
        fails(&proxy, 502, "tls_certificate_error", "certificate", &[&who, words]);
    }
    let front = Front::new(&whole, b"http/1.1", &behind);
    assert_eq!(setup(front.address, dir.path()).start(&text(lines)).connect().get("/", "").status, 200);
}

#[test]
fn a_peer_without_tls_is_reported() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let lines = "ca = \"{files}/ca.pem\"";
    let plain = Upstream::answering_once("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let eager = Upstream::script(|mut conn| {
        conn.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        conn.wait();
    });
    let proxy = setup(eager.address(), dir.path()).start(&text(lines));
    fails(&proxy, 502, "tls_protocol_error", "protocol", &["does not speak TLS"]);
    drop(plain);

    let rude = Upstream::script(drop);
    let proxy = setup(rude.address(), dir.path()).start(&text(lines));
    fails(&proxy, 502, "tls_protocol_error", "protocol", &["TLS handshake"]);

    let silent = Upstream::script(crate::harness::Conn::wait);
    let hasty = text(lines).replace("\"1m\"", "\"200ms\"");
    let proxy = setup(silent.address(), dir.path()).start(&hasty);
    fails(&proxy, 504, "connection_timeout", "timeout", &["did not finish the TLS handshake within 200ms"]);
}

#[test]
fn a_client_certificate_is_presented_and_a_missing_one_is_reported() {
    let authority = Authority::new();
    let ours = authority.issue("edge.test");
    let dir = files(&[("ca.pem", &authority.pem), ("edge.pem", &ours.cert), ("edge.key", &ours.key.serialize_pem())]);
    for (alpn, behind) in [(&b"http/1.1"[..], Upstream::echo()), (b"h2", Upstream::h2c())] {
        let config = config(&authority.issue("127.0.0.1"), Some(authority.roots()));
        let front = Front::with(&config, (alpn, behind.address(), Close::Notified));
        let proxy = setup(front.address, dir.path()).start(&text("ca = \"{files}/ca.pem\""));
        fails(&proxy, 502, "tls_alert_received", "alert", &["requires a client certificate"]);
        let lines = "ca = \"{files}/ca.pem\"\n\
                     client_cert = { cert = \"{files}/edge.pem\", key = \"{files}/edge.key\" }";
        proxy.rewrite(&text(lines));
        assert_eq!(proxy.connect().get("/", "").status, 200);
    }
}

#[test]
fn a_refused_client_certificate_is_reported_in_both_versions() {
    let (authority, other) = (Authority::named("clients"), Authority::new());
    let ours = authority.issue("edge.test");
    let dir = files(&[("ca.pem", &authority.pem), ("edge.pem", &ours.cert), ("edge.key", &ours.key.serialize_pem())]);
    let behind = Upstream::echo();
    let lines = "ca = \"{files}/ca.pem\"\n\
                 client_cert = { cert = \"{files}/edge.pem\", key = \"{files}/edge.key\" }";
    let twin = Authority::named("clients");
    for (version, believed, words) in [
        (&rustls::version::TLS12, &other, "does not trust the authority that issued it"),
        (&rustls::version::TLS12, &twin, "its signature is wrong"),
        (&rustls::version::TLS13, &other, "after the TLS handshake"),
        (&rustls::version::TLS13, &twin, "after the TLS handshake"),
    ] {
        let config = config_of(&authority.issue("127.0.0.1"), Some(believed.roots()), &[version]);
        let front = Front::with(&config, (b"http/1.1", behind.address(), Close::Notified));
        let proxy = setup(front.address, dir.path()).start(&text(lines));
        let words = ["does not accept our client certificate", words];
        fails(&proxy, 502, "tls_alert_received", "alert", &words);
    }
}

#[test]
fn a_replaced_authority_applies_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let dir = files(&[("ca.pem", &old.pem)]);
    let behind = Upstream::echo();
    let front = Front::new(&new.issue("127.0.0.1"), b"http/1.1", &behind);
    let proxy = setup(front.address, dir.path()).start(&text("ca = \"{files}/ca.pem\""));
    fails(&proxy, 502, "tls_certificate_error", "certificate", &["not trusted"]);
    std::fs::write(dir.path().join("ca.pem"), &new.pem).unwrap();
    until("the new one is read", || (proxy.connect().get("/", "").status == 200).then_some(()));
    std::fs::write(dir.path().join("ca.pem"), "broken").unwrap();
    let rejected = until("the broken one is refused", || {
        drop(proxy.app().reload());
        let status = proxy.status();
        (status["last_reload"]["outcome"] == "rejected").then_some(status)
    });
    assert!(rejected["last_reload"].to_string().contains("ca.pem"), "{rejected}");
    assert_eq!(proxy.connect().get("/", "").status, 200, "the old one holds");
    assert_eq!(proxy.metric("pointsman_upstream_tls_handshakes_total{upstream=\"main\"}"), 1.0, "its connection too");
}

#[test]
fn a_new_system_root_applies_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let behind = Upstream::echo();
    let front = Front::new(&new.issue("127.0.0.1"), b"http/1.1", &behind);
    let rules = format!(
        "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n{}",
        text("").replace("{front}", &front.address.to_string())
    );
    let dir = files(&[("roots.pem", &old.pem), ("routes.toml", &rules)]);
    let mut command = command(dir.path(), &["run"]);
    command.env("SSL_CERT_FILE", dir.path().join("roots.pem"));
    command.env_remove("SSL_CERT_DIR");
    let mut process = Running::watch(command);
    let address: SocketAddr = process.word_after("listener").trim_start_matches("http://").parse().unwrap();
    assert_eq!(Raw::connect(address).get("/", "").status, 502, "it is not trusted");
    std::fs::write(dir.path().join("roots.next"), format!("{}{}", old.pem, new.pem)).unwrap();
    std::fs::rename(dir.path().join("roots.next"), dir.path().join("roots.pem")).unwrap();
    until("the new root is trusted", || (Raw::connect(address).get("/", "").status == 200).then_some(()));
}

#[test]
fn a_truncated_body_is_never_complete() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let behind = Upstream::answering_once("HTTP/1.1 200 OK\r\n\r\nthe first half");
    for (close, whole) in [(Close::Notified, true), (Close::Cut, false)] {
        let config = config(&authority.issue("127.0.0.1"), None);
        let front = Front::with(&config, (b"http/1.1", behind.address(), close));
        let proxy = setup(front.address, dir.path()).start(&text("ca = \"{files}/ca.pem\""));
        let answer = H2::connect(proxy.address()).get("/");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"the first half"[..]));
        assert_eq!(answer.reset.is_none(), whole, "{answer:?}");
        let line = &proxy.logged(1)[0];
        assert_eq!(line["termination"], if whole { "--" } else { "UB" }, "{line}");
    }
}

#[test]
fn a_new_protocol_is_followed_and_idle_connections_are_checked() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let behind = Upstream::echo().delay(Duration::from_millis(30));
    let front = Front::new(&authority.issue("127.0.0.1"), b"http/1.1", &behind);
    let proxy = setup(front.address, dir.path()).start(&text("ca = \"{files}/ca.pem\""));
    let mut client = H2::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    let all: Vec<_> = (0..20)
        .map(|_| client.open(H2::request("GET", "/").body(()).unwrap(), crate::harness::h2_client::End::Now).0)
        .collect();
    for response in all {
        assert_eq!(client.finish(response).status, 200, "many at once, each on its own connection");
    }
    assert!(proxy.metric("pointsman_upstream_connects_total{upstream=\"main\"}") > 10.0);
}
