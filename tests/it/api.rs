//! The admin API: who may make which call, browsers, bodies, and the Unix socket.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use pointsman::clock::Clock;
use serde_json::Value;

use crate::harness::{Proxy, connect_from, until};

mod acting;
mod document;
mod edits;
mod history;
mod places;
mod rollouts;
mod secured;
mod sessions;
mod staged;
mod stream;

/// Two variants, and a tenant to kill.
pub const SHOP: &str = r#"
[upstream.v1]
endpoints = ["http://127.0.0.1:1"]
[upstream.v2]
endpoints = ["http://127.0.0.1:2"]
[[route]]
name = "shop"
match = { path = "/*" }
sticky = ["client_ip"]
stable = "v1"
canary = { upstream = "v2", weight = 25 }
"#;

/// A complete response, and whether the connection ended.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last part of the `type` of a problem.
    #[track_caller]
    pub fn problem(&self) -> String {
        let value = self.json();
        assert_eq!(value["status"], self.status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert!(value["help"].as_str().is_some_and(|help| !help.is_empty()), "{self:?}");
        value["type"].as_str().unwrap().strip_prefix("urn:pointsman:problem:").unwrap().to_owned()
    }
}

/// Sends a request and reads until the connection ends.
pub fn exchange(stream: impl Read + Write, request: &str) -> Reply {
    try_exchange(stream, request).expect("a response")
}

/// The same; `None` when the connection ends without a response, as around the end of a process.
pub fn try_exchange(mut stream: impl Read + Write, request: &str) -> Option<Reply> {
    // The proxy may answer and close before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    Some(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// A call, with further lines that each end in CRLF.
pub fn call(method: &str, path: &str, lines: &str, body: &str) -> String {
    let host = if lines.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let media =
        if method == "POST" && !lines.contains("Content-Type:") { "Content-Type: application/json\r\n" } else { "" };
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    format!("{method} {path} HTTP/1.1\r\n{host}{media}{lines}{length}Connection: close\r\n\r\n{body}")
}

pub fn over_tcp(proxy: &Proxy, request: &str) -> Reply {
    exchange(TcpStream::connect(proxy.admin()).unwrap(), request)
}

/// The path of the socket.
pub fn socket(proxy: &Proxy) -> PathBuf {
    proxy.dir().join("state/run/admin.sock")
}

pub fn over_socket(proxy: &Proxy, request: &str) -> Reply {
    exchange(UnixStream::connect(socket(proxy)).unwrap(), request)
}

/// A file of tokens: the secret of each is its name.
pub fn tokens(rows: &[(&str, &str, &str)]) -> String {
    rows.iter().fold(String::new(), |mut file, (name, role, more)| {
        let sha256 = digest(&SHA256, name.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(file, "[[token]]\nname = \"{name}\"\nroles = [\"{role}\"]\nsha256 = \"{sha256}\"\n{more}");
        file
    })
}

/// A token of each role.
pub fn all_tokens() -> String {
    tokens(&[
        ("viewer", "viewer", ""),
        ("operator", "operator", ""),
        ("metrics", "metrics", ""),
        ("flags", "flags", ""),
        ("lead", "approver:lead", ""),
        ("expired", "operator", "expires = 2020-01-01"),
    ])
}

/// [`SHOP`] with tokens.
pub fn with_tokens() -> Proxy {
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\n";
    Proxy::workers(1).file("tokens.toml", &all_tokens()).start(&format!("{admin}{SHOP}"))
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Each call with its least role, and its status when it is admitted. Acting calls get a body without a scope.
const CALLS: [(&str, &str, &str, u16); 43] = [
    ("GET", "/", "viewer", 200),
    ("GET", "/metrics", "metrics", 200),
    ("GET", "/healthz", "none", 200),
    ("GET", "/readyz", "none", 200),
    ("GET", "/status", "viewer", 200),
    ("GET", "/explain", "viewer", 200),
    ("GET", "/shadow", "viewer", 200),
    ("POST", "/reload", "reload", 200),
    ("GET", "/v1/status", "viewer", 200),
    ("GET", "/v1/kill", "viewer", 200),
    ("POST", "/v1/kill", "operator", 400),
    ("POST", "/v1/revive", "operator", 400),
    ("GET", "/v1/rollouts", "viewer", 200),
    ("GET", "/v1/rollouts/{name}", "viewer", 404),
    ("POST", "/v1/rollouts/{name}/approve", "approver", 404),
    ("POST", "/v1/rollouts/{name}/hold", "operator", 404),
    ("POST", "/v1/rollouts/{name}/resume", "operator", 404),
    ("POST", "/v1/rollouts/{name}/rollback", "operator", 404),
    ("POST", "/v1/rollouts/{name}/goto", "operator", 404),
    ("POST", "/v1/rollouts/{name}/restart", "operator", 404),
    ("POST", "/v1/rollouts/{name}/rehearse", "operator", 404),
    ("GET", "/v1/routes", "viewer", 200),
    ("GET", "/v1/notify", "viewer", 200),
    ("POST", "/v1/notify/test", "operator", 400),
    ("GET", "/v1/upstreams", "viewer", 200),
    ("POST", "/v1/upstreams/{upstream}/endpoints/{endpoint}/drain", "operator", 404),
    ("POST", "/v1/upstreams/{upstream}/endpoints/{endpoint}/undrain", "operator", 404),
    ("POST", "/v1/upstreams/{upstream}/endpoints/{endpoint}/eject", "operator", 404),
    ("POST", "/v1/upstreams/{upstream}/endpoints/{endpoint}/admit", "operator", 404),
    ("GET", "/v1/shadows", "viewer", 200),
    ("GET", "/v1/experiments", "viewer", 200),
    ("GET", "/v1/limits", "viewer", 200),
    ("GET", "/v1/config", "viewer", 200),
    ("POST", "/v1/config/check", "operator", 400),
    ("POST", "/v1/config/reload", "reload", 200),
    ("GET", "/v1/journal", "viewer", 200),
    ("HEAD", "/v1/events", "viewer", 200),
    ("GET", "/v1/openapi.json", "viewer", 200),
    ("GET", "/v1/history", "viewer", 400),
    ("GET", "/v1/session", "viewer", 200),
    ("POST", "/v1/session", "none", 400),
    ("POST", "/v1/session/link", "viewer", 400),
    ("POST", "/v1/session/end", "none", 400),
];

#[test]
fn the_table_of_this_test_has_every_call() {
    let proxy = Proxy::start(SHOP);
    let index = over_tcp(&proxy, &call("GET", "/", "", "")).body;
    let listed: Vec<String> =
        index.lines().skip(2).map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).filter(|line| line.contains('/')).collect();
    let known: Vec<String> =
        CALLS.iter().map(|(method, path, ..)| format!("{} {path}", method.replace("HEAD", "GET"))).collect();
    for line in &listed {
        assert!(known.iter().any(|known| known == line), "{line} has no row here");
    }
    assert_eq!(
        listed.iter().filter(|line| line.starts_with("GET") || line.starts_with("POST")).count(),
        known.len(),
        "{index}"
    );
}

fn walk(proxy: &Proxy, expected: impl Fn(&str, u16) -> u16, ask: impl Fn(&Proxy, &str) -> Reply, lines: &str) {
    for (method, path, least, admitted) in CALLS {
        let body = if least == "reload" { "{}" } else { r#"{"reason": "a test"}"# };
        let body = if method == "POST" { body } else { "" };
        let reply = ask(proxy, &call(method, path, lines, body));
        assert_eq!(reply.status, expected(least, admitted), "{method} {path} {lines}: {reply:?}");
        if reply.status == 401 {
            assert!(reply.head.contains("www-authenticate: Bearer realm=\"pointsman\""), "{reply:?}");
        }
    }
}

#[test]
fn without_tokens_each_call_is_open_to_those_that_it_is_for() {
    let proxy = Proxy::start(SHOP);
    let acts = |least: &str| ["operator", "approver"].contains(&least);
    walk(&proxy, |least, admitted| if acts(least) { 403 } else { admitted }, over_tcp, "");
    // The user of the proxy does all, but approves nothing.
    walk(&proxy, |least, admitted| if least == "approver" { 403 } else { admitted }, over_socket, "");
}

#[test]
fn with_tokens_each_call_needs_its_role() {
    let proxy = with_tokens();
    walk(&proxy, |least, admitted| if least == "none" { admitted } else { 401 }, over_tcp, "");
    walk(&proxy, |least, admitted| if least == "approver" { 403 } else { admitted }, over_socket, "");
    let rank = |role: &str| ["none", "metrics", "viewer", "reload", "operator"].iter().position(|known| *known == role);
    for (token, highest) in
        [("viewer", "viewer"), ("operator", "operator"), ("metrics", "metrics"), ("flags", "none"), ("lead", "viewer")]
    {
        let may = |least: &str| if least == "approver" { token == "lead" } else { rank(least) <= rank(highest) };
        let expected = |least: &str, admitted| if may(least) { admitted } else { 403 };
        walk(&proxy, expected, over_tcp, &bearer(token));
        walk(&proxy, expected, over_socket, &bearer(token));
    }
}

#[test]
fn tokens_that_are_not_valid_are_refused_and_say_why() {
    let proxy = with_tokens();
    for (lines, kind, challenge) in [
        (String::new(), "token-missing", "Bearer realm=\"pointsman\"\r\n"),
        (bearer("wrong"), "token-unknown", "the token is not known"),
        (bearer("expired"), "token-expired", "the token has expired"),
        ("Authorization: Basic dmlld2VyOg==\r\n".to_owned(), "token-unknown", "the token is not known"),
    ] {
        let reply = over_tcp(&proxy, &call("GET", "/v1/status", &lines, ""));
        assert_eq!((reply.status, reply.problem().as_str()), (401, kind));
        assert!(format!("{}\r\n", reply.head).contains(challenge), "{reply:?}");
    }
    let text = over_tcp(&proxy, &call("GET", "/status", "", ""));
    assert!(text.status == 401 && text.head.contains("text/plain"), "the first calls answer with text: {text:?}");
}

#[test]
fn the_sixth_failure_waits_and_no_other_client_does() {
    let proxy = with_tokens();
    let wrong = call("GET", "/v1/status", &bearer("wrong"), "");
    (0..5).for_each(|_| assert_eq!(over_tcp(&proxy, &wrong).status, 401));
    let waits = |request: &str, from: u8| {
        let start = Clock.now();
        let status = exchange(connect_from(from, proxy.admin()), request).status;
        (status, Clock.now() - start >= Duration::from_secs(1))
    };
    assert_eq!(waits(&wrong, 1), (401, true));
    // On a busy machine an answer may take a second by itself.
    let mut others = 2..;
    until("another address does not wait", || (waits(&wrong, others.next()?) == (401, false)).then_some(()));
    let valid = call("GET", "/v1/kill", &bearer("viewer"), "");
    until("a valid token does not wait", || (waits(&valid, 1) == (200, false)).then_some(()));
}

#[test]
fn an_edit_of_the_tokens_counts_at_once() {
    let proxy = with_tokens();
    let ask = |token| over_tcp(&proxy, &call("GET", "/v1/kill", &bearer(token), "")).status;
    assert_eq!((ask("viewer"), ask("fresh")), (200, 401));
    std::fs::write(proxy.dir().join("tokens.toml"), tokens(&[("fresh", "viewer", "")])).unwrap();
    assert_ne!(proxy.app().reload().name(), "rejected");
    assert_eq!((ask("viewer"), ask("fresh")), (401, 200));
}

#[test]
fn pages_of_browsers_cannot_act() {
    let proxy = with_tokens();
    let kill =
        |lines: &str| over_tcp(&proxy, &call("POST", "/v1/kill", &format!("{}{lines}", bearer("operator")), "{}"));
    let host = kill("Host: evil.example\r\n");
    assert_eq!(host.problem(), "host-not-served");
    assert!(host.json()["help"].as_str().unwrap().ends_with("hosts = [\"evil.example\"]"), "{host:?}");
    for line in
        ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
    {
        assert_eq!(kill(&format!("{line}\r\n")).problem(), "other-site", "{line}");
    }
    for line in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data",
    ] {
        assert_eq!(kill(&format!("{line}\r\n")).problem(), "media-type", "{line}");
    }
    let own = kill("Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(own.problem(), "bad-body", "the page of this address is let through");
    for field in
        ["content-security-policy: default-src 'none'", "referrer-policy: no-referrer", "cache-control: no-store"]
    {
        assert!(own.head.contains(field), "{field}: {own:?}");
    }
    assert!(!own.head.contains("access-control-"), "{own:?}");
}

#[test]
fn a_listed_host_is_served() {
    let proxy = Proxy::start(&format!("[admin]\naddress = \"127.0.0.1:0\"\nhosts = [\"edge.example\"]\n{SHOP}"));
    let ask = |host: &str| over_tcp(&proxy, &call("GET", "/v1/kill", &format!("Host: {host}\r\n"), "")).status;
    assert_eq!((ask("edge.example"), ask("EDGE.example:9900"), ask("other.example")), (200, 200, 403));
}

#[test]
fn bodies_are_bounded_and_strict() {
    let proxy = Proxy::start(SHOP);
    let ask = |lines: &str, body: &str| over_socket(&proxy, &call("POST", "/v1/kill", lines, body));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(1024 * 1024));
    for (body, kind) in [
        ("", "bad-body"),
        ("{", "bad-body"),
        ("[]", "bad-body"),
        (deep.as_str(), "bad-body"),
        (large.as_str(), "body-too-large"),
        (r#"{"route": "shop", "reason": "x", "route": "shop"}"#, "bad-body"),
        (r#"{"route": "shop", "reason": "x", "force": true}"#, "bad-body"),
    ] {
        assert_eq!(ask("", body).problem(), kind, "{}", body.get(..60).unwrap_or(body));
    }
    let unknown = ask("", r#"{"rout": "shop", "reason": "x"}"#);
    assert!(unknown.json()["detail"].as_str().unwrap().contains("expected one of `all`, `route`"), "{unknown:?}");
    assert_eq!(ask("Idempotency-Key: a b\r\n", "{}").problem(), "bad-idempotency-key");
    let head = "POST /v1/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n";
    let announced = exchange(UnixStream::connect(socket(&proxy)).unwrap(), head);
    assert_eq!(announced.problem(), "body-too-large", "nothing of the body was read");
}

#[test]
fn the_socket_is_private_and_follows_the_file() {
    let proxy = Proxy::start(SHOP);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(socket(&proxy)), 0o600);
    assert_eq!(mode(proxy.dir().join("state/run")), 0o700);
    assert_eq!(proxy.status()["admin_socket"]["trouble"], Value::Null);

    let elsewhere = proxy.dir().join("other.sock");
    let admin = |line: &str| format!("[admin]\naddress = \"127.0.0.1:0\"\n{line}\n{SHOP}");
    proxy.rewrite(&admin("socket = \"other.sock\""));
    until("the socket moves", || (elsewhere.exists() && !socket(&proxy).exists()).then_some(()));
    assert_eq!(exchange(UnixStream::connect(&elsewhere).unwrap(), &call("GET", "/v1/kill", "", "")).status, 200);

    proxy.rewrite(&admin("socket = \"off\""));
    until("the socket is off", || (!elsewhere.exists()).then_some(()));
    assert_eq!(proxy.status()["admin_socket"]["path"], Value::Null);

    proxy.rewrite(&admin("socket = \"nowhere/admin.sock\""));
    let trouble = proxy.status()["admin_socket"]["trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("the folder does not exist"), "{trouble}");
    std::fs::create_dir(proxy.dir().join("nowhere")).unwrap();
    let nowhere = proxy.dir().join("nowhere/admin.sock");
    until("the socket is tried again", || UnixStream::connect(&nowhere).ok());
    std::fs::remove_file(&nowhere).unwrap();
    until("a removed socket comes back", || UnixStream::connect(&nowhere).ok());
    proxy.stop();
    assert!(!nowhere.exists(), "its file goes with the proxy");
}
