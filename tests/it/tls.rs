//! TLS towards clients: which certificate is presented, which versions and protocols are spoken, what is refused, and
//! what a reload changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pointsman::app::ReloadOutcome;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

use crate::harness::proxy::Setup;
use crate::harness::upstream::hash;
use crate::harness::{Authority, Broken, H2, Pair, Proxy, Raw, Upstream, until};

const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&TLS13];

const TEXT: &str = r#"
[[listener]]
name = "https"
address = "127.0.0.1:0"
[listener.tls]
certificates = ["certs"]
{tls}
[listener.limits]
{limits}
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "redirect"
match = { path = "/redirect" }
redirect = { to = "{scheme}://other.test{path}", status = 308 }
[[route]]
name = "sticky"
match = { path = "/sticky" }
stable = "main"
sticky_cookie = "id"
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;

/// A proxy with certificates for `a.test` (the default), `b.test` and `*.wild.test`.
struct Stage {
    proxy: Proxy,
    authority: Authority,
    a: Pair,
    b: Pair,
    wild: Pair,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(echo: &Upstream) -> Self {
        Self::with(echo, "", "")
    }

    /// With these lines in `[listener.tls]` and `[listener.limits]`.
    fn with(echo: &Upstream, tls: &str, limits: &str) -> Self {
        Self::tuned(echo, tls, limits, |_, _| {})
    }

    /// After `prepare` has changed the proxy's folder.
    fn tuned(echo: &Upstream, tls: &str, limits: &str, prepare: impl FnOnce(&Path, &Authority)) -> Self {
        Self::written(echo, tls, limits, "", prepare)
    }

    /// And with this additional text.
    fn written(echo: &Upstream, tls: &str, limits: &str, more: &str, prepare: impl FnOnce(&Path, &Authority)) -> Self {
        let authority = Authority::new("test root");
        let (a, b) = (authority.leaf(&["a.test"]), authority.leaf(&["b.test"]));
        let wild = authority.leaf(&["*.wild.test", "extra.test"]);
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        a.write(&certs, "a");
        b.write(&certs, "b");
        wild.write(&certs, "wild");
        prepare(folder.path(), &authority);
        let text = format!("{TEXT}{more}").replace("[\"certs\"]", &format!("[\"{}\"]", certs.display()));
        let text = text.replace("{tls}", tls).replace("{limits}", limits);
        let proxy = Setup::default().with("main", echo).place("folder", folder.path().display()).start(&text);
        Self { proxy, authority, a, b, wild, folder }
    }

    fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.authority.trusting_client().make()
    }

    #[track_caller]
    fn connect(&self, name: &str) -> Raw {
        Raw::secured(self.proxy.address(), &self.client(), name)
    }

    fn failures(&self, reason: &str) -> f64 {
        self.proxy.metric(&format!("pointsman_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
    }

    #[track_caller]
    fn fails(&self, reason: &str) {
        until(reason, || (self.failures(reason) > 0.0).then_some(()));
    }

    /// The certificate that a client with this server name gets.
    #[track_caller]
    fn presented(&self, name: &str) -> Vec<u8> {
        let client = self.connect(name);
        client.wire.session().peer_certificates().unwrap()[0].to_vec()
    }
}

fn get(client: &mut Raw, host: &str, path: &str) -> crate::harness::Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).read_response()
}

#[test]
fn both_tls_versions_work_and_are_forwarded() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    for (turn, (version, name, cipher)) in
        [(&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA"), (&TLS13, "TLSv1.3", "TLS_AES_")].into_iter().enumerate()
    {
        let versions = if name == "TLSv1.2" { OLD } else { NEW };
        let client = stage.authority.trusting_client().versions(versions).alpn("http/1.1").make();
        let mut client = Raw::secured(stage.proxy.address(), &client, "a.test");
        assert_eq!(client.wire.session().protocol_version(), Some(version.version));
        assert_eq!(client.wire.session().alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            let answer = get(&mut client, "a.test", "/x");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.echoed("x-forwarded-proto"), ["https"]);
            assert_eq!(answer.echoed("forwarded"), ["for=127.0.0.1;host=a.test;proto=https"]);
        }
        drop(client);
        let lines = stage.proxy.logged(3 * (turn + 1));
        let line = lines.last().unwrap();
        assert_eq!((line["tls_version"].as_str(), line["sni"].as_str()), (Some(name), Some("a.test")));
        assert!(line["tls_cipher"].as_str().unwrap().starts_with(cipher), "{line}");
    }
    for version in ["1.2", "1.3"] {
        let series = format!("pointsman_tls_handshakes_total{{kind=\"full\",version=\"{version}\"}}");
        assert_eq!(stage.proxy.metric(&series), 1.0);
    }
}

#[test]
fn the_hybrid_key_exchange_is_chosen() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let client = stage.connect("a.test");
    let group = client.wire.session().negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn http2_is_chosen_by_alpn() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let client = stage.authority.trusting_client().alpn("h2").alpn("http/1.1").make();
    let mut h2 = H2::secured(stage.proxy.address(), &client, "a.test");
    for _ in 0..3 {
        let request = http::Request::builder().uri("https://a.test/x").body(()).unwrap();
        let answer = h2.send(request, &[], None);
        assert_eq!(answer.status, 200, "{}", answer.error);
        let got = answer.json();
        assert!(got["headers"].to_string().contains("proto=https"), "{got}");
    }
    let body = vec![7; 3 << 20];
    let request = http::Request::builder().method("POST").uri("https://a.test/x").body(()).unwrap();
    let answer = h2.send(request, &[&body], None);
    assert_eq!(answer.json()["body_hash"], hash(&body));
    let nothing = stage.authority.trusting_client().alpn("acme-tls/1").make();
    assert!(Raw::try_secured(stage.proxy.address(), &nothing, "a.test").is_err());
    stage.fails("alpn");
}

#[test]
fn a_certificate_is_chosen_by_name() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    for (name, pair) in [
        ("a.test", &stage.a),
        ("b.test", &stage.b),
        ("B.Test", &stage.b),
        ("x.wild.test", &stage.wild),
        ("extra.test", &stage.wild),
    ] {
        assert_eq!(stage.presented(name), pair.der().to_vec(), "{name}");
    }
    // A client with an unknown server name, or with none, gets the default and does not trust it.
    for stranger in ["c.test", "x.y.wild.test", "wild.test", "127.0.0.1"] {
        assert!(Raw::try_secured(stage.proxy.address(), &stage.client(), stranger).is_err(), "{stranger}");
    }
    until("alerts", || (stage.failures("alert") == 4.0).then_some(()));
    let status = stage.proxy.app().status();
    let certificates = status["listeners"][0]["tls"]["certificates"].as_array().unwrap().clone();
    let names: Vec<&str> = certificates.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["a.test", "b.test", "*.wild.test"]);
    assert!(certificates[0]["expires_at"].as_str().unwrap().starts_with("2100-01-01"), "{certificates:?}");
    let left = stage.proxy.metric("pointsman_tls_certificate_expiry_seconds{listener=\"https\",name=\"a.test\"}");
    assert!(left > 1e9, "{left}");
}

#[test]
fn the_scheme_reaches_every_feature() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut client = stage.connect("a.test");
    let answer = get(&mut client, "a.test", "/redirect");
    assert_eq!(answer.field("location"), Some("https://other.test/redirect"));
    let answer = get(&mut client, "a.test", "/sticky");
    let cookie = answer.field("set-cookie").unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[test]
fn a_request_for_the_host_of_another_certificate_is_misdirected() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut client = stage.connect("x.wild.test");
    for (host, status) in [
        ("x.wild.test", 200),
        ("y.wild.test:8443", 200),
        ("extra.test", 200),
        ("absent.test", 200),
        ("a.test", 421),
        ("B.test.", 421),
    ] {
        let answer = get(&mut client, host, "/");
        assert_eq!(answer.status, status, "{host}");
        if status == 421 {
            let reported = answer.field("proxy-status").unwrap();
            assert!(reported.contains("error=destination_not_found; details=\"misdirected\""), "{reported}");
        }
    }
    assert_eq!(stage.proxy.metric("pointsman_refused_total{reason=\"misdirected\"}"), 2.0);
}

#[test]
fn cleartext_on_a_tls_port_gets_a_cleartext_error() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut client = stage.proxy.connect();
    let answer = client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").read_response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    assert!(answer.text().contains("https"), "{}", answer.text());
    client.ends();
    assert!(stage.proxy.app().urls().iter().all(|(_, url)| url.starts_with("https://")));
    for header in [&b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let answer = stage.proxy.connect().offer(header).read_response();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("listener.proxy_protocol.from"), "{}", answer.text());
    }
    assert_eq!(stage.proxy.refused("proxy_header_unexpected"), 2.0);
    assert_eq!(stage.failures("cleartext"), 3.0);
    assert_eq!(stage.proxy.metric("pointsman_refused_total{reason=\"cleartext\"}"), 1.0);
    assert_eq!(stage.proxy.logged(3)[0]["detail"], "cleartext");
    assert_eq!(echo.requests(), 0);
}

/// A `ClientHello` of TLS 1.1, with one cipher suite that it knew.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(&body);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(&message);
    record
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    let echo = Upstream::echo();
    let stage = Stage::with(&echo, "", "handshake_timeout = \"300ms\"");
    let say = |bytes: &[u8]| {
        let mut client = stage.proxy.connect();
        client.offer(bytes);
        let (rest, _) = client.wire.rest();
        rest
    };
    let alert = say(&old_hello());
    assert_eq!((alert[0], alert[5]), (0x15, 2), "a fatal alert: {alert:02x?}");
    assert!(matches!(alert[6], 40 | 70), "handshake_failure or protocol_version: {alert:02x?}");
    stage.fails("incompatible");
    for garbage in [&b"\x00\x01\x02\x03\x04\x05\x06\x07"[..], b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x00\x02"] {
        say(garbage);
    }
    until("garbage", || (stage.failures("malformed") == 3.0).then_some(()));
    // No byte at all, and half a hello: both time out.
    say(b"");
    say(&old_hello()[..20]);
    until("stalled ones", || (stage.failures("timeout") == 2.0).then_some(()));
    drop(stage.proxy.connect());
    stage.fails("closed");
    stage.proxy.settles();
    assert_eq!(get(&mut stage.connect("a.test"), "a.test", "/").status, 200, "other clients are not disturbed");
}

#[test]
fn the_oldest_tls_version_is_configurable() {
    let echo = Upstream::echo();
    let stage = Stage::with(&echo, "min_version = \"1.3\"", "");
    let old = stage.authority.trusting_client().versions(OLD).make();
    assert!(Raw::try_secured(stage.proxy.address(), &old, "a.test").is_err());
    stage.fails("incompatible");
    assert_eq!(get(&mut stage.connect("a.test"), "a.test", "/").status, 200);
}

#[test]
fn an_illegal_name_is_refused() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    // The name of a valid hello is overwritten with bytes that no name has.
    for illegal in ["a t.st", "a..tes", "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}"] {
        let mut session = crate::harness::certs::session(&stage.client(), "a.test");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        let at = hello.windows(6).position(|bytes| bytes == b"a.test").unwrap();
        hello[at..at + 6].copy_from_slice(illegal.as_bytes());
        let mut client = stage.proxy.connect();
        client.offer(&hello);
        let (answer, _) = client.wire.rest();
        assert_eq!(answer.first(), Some(&0x15), "an alert: {illegal:?} {answer:02x?}");
    }
    until("counted", || (stage.failures("malformed") == 3.0).then_some(()));
}

#[test]
fn sessions_are_resumed_also_across_a_reload() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    for versions in [OLD, NEW] {
        let client = stage.authority.trusting_client().versions(versions).make();
        let kind = || {
            let mut raw = Raw::secured(stage.proxy.address(), &client, "a.test");
            assert_eq!(get(&mut raw, "a.test", "/").status, 200);
            raw.wire.session().handshake_kind()
        };
        assert!(matches!(kind(), Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)));
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
        stage.authority.leaf(&["b.test"]).write(&stage.certs(), "b");
        assert!(matches!(stage.proxy.app().reload(), ReloadOutcome::Applied { .. } | ReloadOutcome::Unchanged { .. }));
        assert_eq!(kind(), Some(HandshakeKind::Resumed), "the ticket keys are kept");
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    let echo = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", got.body.len());
            if !conn.send([head.as_bytes(), &got.body].concat()) {
                return;
            }
        }
    });
    let stage = Stage::new(&echo);
    let mut client = stage.connect("a.test");
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    for _ in 0..2 {
        let mut sender = stage.connect("a.test");
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = sender.send([head.as_bytes(), &body].concat()).read_response();
        assert_eq!(hash(&answer.body), hash(&body));
    }
    assert_eq!(get(&mut client, "a.test", "/").status, 200);
}

#[test]
fn a_body_that_ends_without_a_close_notify_is_cut_short() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = stage.connect("a.test");
        client.send(format!("POST /cut HTTP/1.1\r\nHost: a.test\r\n{head}\r\n\r\n3\r\nabc\r\n"));
        client.wire.finish();
        let (_, broken) = client.wire.rest();
        assert!(matches!(broken, Broken::Reset | Broken::Closed));
    }
    stage.proxy.settles();
    assert_eq!(echo.requests(), 0, "no upstream takes them as complete");
    for line in stage.proxy.logged(2) {
        assert!(line["termination"].as_str().unwrap().starts_with('C'), "{line}");
    }
}

#[test]
fn an_idle_connection_hibernates_and_wakes() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut client = stage.connect("a.test");
    assert_eq!(get(&mut client, "a.test", "/").status, 200);
    // Idle connections hibernate after a second; a slow client is the stimulus of this test.
    std::thread::sleep(Duration::from_millis(1_500));
    for _ in 0..2 {
        assert_eq!(get(&mut client, "a.test", "/").status, 200);
    }
    client.wire.notify_close();
    client.ends();
    stage.proxy.settles();
}

#[test]
fn a_client_that_sends_close_notify_after_its_request_is_answered() {
    let echo = Upstream::echo().delay(Duration::from_millis(20));
    let stage = Stage::new(&echo);
    for requests in [1, 3] {
        let mut client = stage.connect("a.test");
        client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(requests));
        client.wire.notify_close();
        for _ in 0..requests {
            assert_eq!(client.read_response().json()["target"], "/a");
        }
        client.ends();
    }
    stage.proxy.settles();
    assert_eq!(echo.requests(), 4);
}

#[test]
fn a_drain_sends_connection_close_and_close_notify() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut client = stage.connect("a.test");
    assert_eq!(get(&mut client, "a.test", "/").status, 200);
    stage.proxy.app().stop();
    until("the drain", || (stage.proxy.app().status()["phase"] == "draining").then_some(()));
    let answer = get(&mut client, "a.test", "/");
    assert_eq!((answer.status, answer.closes()), (200, true));
    client.ends();
}

fn summary(outcome: &ReloadOutcome) -> String {
    match outcome {
        ReloadOutcome::Applied { summary, .. } => summary.join("; "),
        ReloadOutcome::Unchanged { .. } => String::new(),
        ReloadOutcome::Rejected(rejection) => panic!("{}", rejection.text),
    }
}

#[test]
fn a_renewed_certificate_is_used_and_connections_stay() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let mut before = stage.connect("a.test");
    assert_eq!(get(&mut before, "a.test", "/").status, 200);
    let renewed = stage.authority.leaf(&["a.test"]);
    renewed.write(&stage.certs(), "a");
    until("the new certificate", || (stage.presented("a.test") == renewed.der().to_vec()).then_some(()));
    assert_eq!(stage.presented("b.test"), stage.b.der().to_vec());
    assert_eq!(get(&mut before, "a.test", "/").status, 200, "the connection goes on");
    let added = stage.authority.leaf(&["new.test"]);
    added.write(&stage.certs(), "new");
    until("an added one", || {
        let known = stage.proxy.app().status()["listeners"][0]["tls"]["certificates"].as_array()?.len();
        (known == 4).then_some(())
    });
    assert_eq!(stage.presented("new.test"), added.der().to_vec());
}

#[test]
fn the_last_good_certificate_is_kept_by_name() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let other = stage.authority.leaf(&["a.test"]);
    let expired = stage.authority.leaf_until(&["a.test"], 2020);
    let kept = "pointsman_tls_certificate_stale{listener=\"https\",name=\"a.test\"}";
    for (what, cert, key) in [
        ("is cut short", &stage.a.cert[..100], stage.a.key.as_str()),
        ("does not match the certificate for", &stage.a.cert, &other.key),
        ("contains no certificate", "", &stage.a.key),
        ("expired", &expired.cert, &expired.key),
    ] {
        std::fs::write(stage.certs().join("a.crt"), cert).unwrap();
        std::fs::write(stage.certs().join("a.key"), key).unwrap();
        let renewed = stage.authority.leaf(&["b.test"]);
        renewed.write(&stage.certs(), "b");
        until(what, || {
            summary(&stage.proxy.app().reload());
            let status = stage.proxy.app().status();
            let why = status["listeners"][0]["tls"]["certificates"][0]["kept_because"].clone();
            (why.as_str().is_some_and(|why| why.contains(what))).then_some(())
        });
        assert_eq!(stage.presented("a.test"), stage.a.der().to_vec(), "{what}");
        assert_eq!(stage.presented("b.test"), renewed.der().to_vec(), "the other name is updated");
        assert_eq!(stage.proxy.metric(kept), 1.0);
    }
    // A key that is missing, and one that is back.
    std::fs::remove_file(stage.certs().join("a.key")).unwrap();
    std::fs::write(stage.certs().join("a.crt"), &stage.a.cert).unwrap();
    until("a missing key", || {
        summary(&stage.proxy.app().reload());
        let status = stage.proxy.app().status().to_string();
        status.contains("cannot be read: there is no such file").then_some(())
    });
    stage.a.write(&stage.certs(), "a");
    until("all are valid", || {
        summary(&stage.proxy.app().reload());
        (stage.proxy.metric(kept) == 0.0).then_some(())
    });
    assert_eq!(stage.presented("a.test"), stage.a.der().to_vec());
}

#[test]
fn the_summary_reports_the_certificates() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let said = |line: &str| {
        until(line, || {
            let outcome = stage.proxy.app().reload();
            let last = stage.proxy.app().status()["last_reload"].to_string();
            (summary(&outcome).contains(line) || last.contains(line)).then_some(())
        });
    };
    stage.authority.leaf(&["new.test"]).write(&stage.certs(), "new");
    said("listener https: certificate new.test added");
    stage.authority.leaf(&["new.test"]).write(&stage.certs(), "new");
    said("listener https: certificate new.test renewed");
    std::fs::write(stage.certs().join("new.crt"), "").unwrap();
    said("listener https: certificate new.test kept: its new file contains no certificate");
    std::fs::remove_file(stage.certs().join("new.crt")).unwrap();
    std::fs::remove_file(stage.certs().join("new.key")).unwrap();
    said("listener https: certificate new.test removed");
}

#[test]
fn certificates_are_renewed_under_load() {
    let echo = Upstream::echo();
    let stage = Stage::new(&echo);
    let (address, client) = (stage.proxy.address(), stage.client());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let asked = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    let mut raw = Raw::secured(address, &client, "a.test");
                    for _ in 0..5 {
                        assert_eq!(get(&mut raw, "a.test", "/").status, 200);
                        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                }
            });
        }
        for turn in 0..10 {
            let renewed = stage.authority.leaf(&["a.test"]);
            renewed.write(&stage.certs(), "a");
            if turn % 3 == 1 {
                std::fs::write(stage.certs().join("a.crt"), "broken").unwrap();
            }
            summary(&stage.proxy.app().reload());
        }
        until("requests", || (asked.load(std::sync::atomic::Ordering::SeqCst) > 100).then_some(()));
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

/// Sends one request with this certificate; the result is 0 if the handshake, or the request after it, fails.
fn ask_with(stage: &Stage, own: Option<&Pair>, versions: &'static [&'static SupportedProtocolVersion]) -> u16 {
    let client = stage.authority.trusting_client().versions(versions);
    let client = match own {
        Some(own) => client.presenting(own),
        None => client,
    };
    let Ok(mut raw) = Raw::try_secured(stage.proxy.address(), &client.make(), "a.test") else { return 0 };
    raw.offer("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    raw.try_response().map_or(0, |answer| answer.status)
}

#[test]
fn client_certificates_are_required_or_requested() {
    let echo = Upstream::echo();
    for mode in ["require", "request"] {
        let tls = format!("client_auth = {{ ca = \"{{folder}}/clients.pem\", mode = \"{mode}\" }}");
        let clients = Authority::new("client root");
        let stage = Stage::tuned(&echo, &tls, "", |folder, _| {
            std::fs::write(folder.join("clients.pem"), &clients.pem).unwrap();
        });
        let (known, stranger) = (clients.client("acme", Vec::new()), stage.authority.client("acme", Vec::new()));
        let expired = clients.expired_client("acme");
        for versions in [OLD, NEW] {
            assert_eq!(ask_with(&stage, Some(&known), versions), 200, "{mode}");
            assert_eq!(ask_with(&stage, None, versions), if mode == "require" { 0 } else { 200 }, "{mode}");
            assert_eq!(ask_with(&stage, Some(&stranger), versions), 0, "{mode}");
            assert_eq!(ask_with(&stage, Some(&expired), versions), 0, "{mode}");
        }
        until("refused ones", || (stage.failures("certificate_refused") == 4.0).then_some(()));
        let missing = if mode == "require" { 2.0 } else { 0.0 };
        until("missing ones", || (stage.failures("certificate_missing") == missing).then_some(()));
    }
}

const IDENTIFIED: &str = r#"
[identity]
tenant = ["client_cert:cn"]
[segment.spiffe]
client_cert = { uri = { prefix = "spiffe://acme/" } }
[[route]]
name = "seen"
match = { path = "/seen" }
stable = "main"
canary = { upstream = "main", weight = 0 }
sticky = ["tenant"]
[[route.target]]
segment = "spiffe"
serve = "canary"
[[route.target]]
client_cert = { cn = ["till-7", "till-8"] }
serve = "canary"
"#;

#[test]
fn a_verified_certificate_is_an_identity_that_no_field_can_forge() {
    let echo = Upstream::echo();
    let tls = "client_auth = { ca = \"{folder}/clients.pem\", mode = \"request\" }";
    let clients = Authority::new("client root");
    let stage = Stage::written(&echo, tls, "", IDENTIFIED, |folder, _| {
        std::fs::write(folder.join("clients.pem"), &clients.pem).unwrap();
    });
    let uri = rcgen::SanType::URI("spiffe://acme/x".to_owned().try_into().unwrap());
    let (spiffe, till) = (clients.client("other", vec![uri]), clients.client("till-7", Vec::new()));
    let other = clients.client("till-9", Vec::new());
    // As the value of a field it would name another caller: it names none.
    let blank = clients.client("till-7 ", Vec::new());
    let cases = [
        (Some(&spiffe), "canary", "other", Some("other")),
        (Some(&till), "canary", "till-7", Some("till-7")),
        (Some(&other), "stable", "till-9", Some("till-9")),
        (Some(&blank), "stable", "till-7 ", None),
        (None, "stable", "", None),
    ];
    for (turn, (own, variant, cn, tenant)) in cases.into_iter().enumerate() {
        let client = stage.authority.trusting_client();
        let client = own.map_or_else(|| stage.authority.trusting_client(), |own| client.presenting(own)).make();
        // The second time the session is resumed, and with it the identity.
        for _ in 0..2 {
            let mut raw = Raw::secured(stage.proxy.address(), &client, "a.test");
            raw.send("GET /seen HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Client-Cert: Hash=1\r\n\r\n");
            let answer = raw.read_response();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let reported = answer.echoed("x-forwarded-client-cert");
            if own.is_none() {
                assert!(reported.is_empty(), "{reported:?}");
                continue;
            }
            assert_eq!(reported.len(), 1, "{reported:?}");
            let subject = format!("Subject=\"CN={cn},O=Acme\\\\, Inc.\"");
            assert!(reported[0].starts_with("Hash=") && reported[0].contains(&subject), "{reported:?}");
        }
        let lines = stage.proxy.logged(2 * (turn + 1));
        let line = lines.last().unwrap();
        assert_eq!(line["tenant"].as_str(), tenant, "{line}");
        assert_eq!(line["variant"], variant, "{line}");
        assert_eq!(line["client_cert"].is_string(), own.is_some(), "{line}");
    }
}
