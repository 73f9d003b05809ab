//! The responses of the admin listener, byte by byte, compared with `tests/golden/files/admin-answers.txt`: every path
//! with every method and the relevant headers, and unusual or wrong heads. Values that differ between two runs (times,
//! ports, folders) are masked. `BLESS=1 cargo test --test it admin_answers` writes the file again; read the difference
//! before you commit it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use regex::Regex;

use crate::harness::{Proxy, Raw, Upstream, until};

const GOLDEN: &str = "tests/golden/files/admin-answers.txt";

const SHOP: &str = r#"
[upstream.v1]
endpoints = ["http://{v1}"]
revision = "1.2.3"
[upstream.v2]
endpoints = ["http://{v2}"]
[[route]]
name = "shop"
match = { path = "/shop/*" }
stable = "v1"
sticky = []
canary = { upstream = "v2", weight = 25 }
shadow = { upstream = "v2", weight = 50, compare = { keep = 0 } }
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://example.com/", status = 308 }
"#;

const PATHS: [&str; 19] = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/status",
    "/explain",
    "/shadow",
    "/reload",
    "/status/",
    "/status?format=text",
    "/healthz?",
    "/explain?host=localhost&path=/shop/x&method=POST",
    "/explain?hots=x",
    "/nothing",
    "/status/routes",
    "//",
    "//status",
    "/st%61tus",
    "/STATUS",
];

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"];

/// Field lines, and their names in the golden file.
const HEADERS: [(&str, &str); 7] = [
    ("", "Host: localhost\r\n"),
    ("foreign Host", "Host: evil.example\r\n"),
    ("foreign Origin", "Host: localhost\r\nOrigin: https://evil.example\r\n"),
    ("own Origin", "Host: localhost\r\nOrigin: http://localhost\r\n"),
    ("cross-site", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"),
    ("takes text", "Host: localhost\r\nAccept: text/plain\r\n"),
    ("takes JSON", "Host: localhost\r\nAccept: application/json, text/plain\r\n"),
];

/// Unusual or wrong heads, and their names in the golden file. A body follows its head at once. `GET /healthz` follows
/// on the same connection.
const HEADS: [(&str, &str); 23] = [
    ("HTTP/1.0", "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    ("HTTP/1.0 that stays", "GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"),
    ("HTTP/1.0 without a host", "GET /healthz HTTP/1.0\r\n\r\n"),
    ("without a host", "GET /healthz HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
    ("that closes", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    ("absolute form", "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n"),
    ("a method of its own", "BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("a method in small letters", "get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("HTTP/2.0", "GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    ("no request line", "hello\r\n\r\n"),
    ("a space in the path", "GET /heal thz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("an upgrade", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("GET with a body", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
    ("GET /metrics with a body", "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
    ("POST with a body", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
    (
        "POST with a chunked body",
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "POST with JSON",
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    ),
    ("a refused body", "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
    ("two lengths", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("no number as length", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"),
];

/// The head of a body that comes later or never, and its name in the golden file.
const LATE_BODIES: [(&str, &str); 5] = [
    ("a body that is late", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"),
    ("a chunked body that is late", "POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a huge body that is late", "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"),
    ("a refused body that is late", "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"),
    (
        "a body that waits for 100",
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ),
];

/// The largest head that is read.
const HEAD_BYTES_MAX: usize = 8_192 + 100 * 4_096;
const FIELDS_MAX: usize = 64;

/// Each response with the requests that got it.
#[derive(Default)]
struct Answers {
    all: Vec<(String, Vec<String>)>,
    masks: Vec<(Regex, &'static str)>,
    /// Heads whose response varies in length, without their method.
    varying: BTreeSet<String>,
}

impl Answers {
    fn new(dir: &std::path::Path) -> Self {
        let dir = regex::escape(&dir.to_string_lossy());
        let version = regex::escape(env!("CARGO_PKG_VERSION"));
        let masks = [
            (dir, "DIR"),
            (format!("(Pointsman |\"version\": \"){version}"), "${1}VERSION"),
            // Of the metrics, only the families are kept. The system decides which process metrics exist.
            (r"(?m)^(?:# HELP|# TYPE process_|pointsman_|process_).*\n".to_owned(), ""),
            (r"\b127\.0\.0\.1:\d+".to_owned(), "ADDRESS"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z".to_owned(), "TIME"),
            (r#"("hash": ")[^"]+"#.to_owned(), "${1}HASH"),
            // A part of the machine's memory.
            (r#"("held_bytes_max": )\d+"#.to_owned(), "${1}N"),
            (r#"("(?:pid|uptime_s|took_ms|durable_seq)": )\d+"#.to_owned(), "${1}N"),
        ];
        let masks = masks.into_iter().map(|(pattern, with)| (Regex::new(&pattern).unwrap(), with)).collect();
        Self { masks, ..Self::default() }
    }

    fn masked(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, (mask, with)| mask.replace_all(&text, *with).into_owned())
    }

    /// Reads the response to this head, unmodified.
    fn read(&mut self, client: &mut Raw, head: &str) -> String {
        let (method, rest) = head.split_once(' ').unwrap_or((head, ""));
        let mut text = match client.wire.line() {
            Ok(line) => String::from_utf8(line).unwrap() + "\n",
            Err(broken) => return format!("{broken:?}\n"),
        };
        let fields = client.wire.fields().unwrap();
        let body = match method {
            "HEAD" => String::new(),
            _ => client.wire.framed(&fields).unwrap().map_or("until the end".to_owned(), |(body, trailers)| {
                assert_eq!(trailers, []);
                String::from_utf8(body).unwrap()
            }),
        };
        let masked = self.masked(&body);
        if masked != body {
            self.varying.insert(rest.to_owned());
        }
        for (name, value) in &fields {
            let value = match &**name {
                "date" => "DATE",
                "content-length" if masked != body || (method == "HEAD" && self.varying.contains(rest)) => "N",
                _ => value,
            };
            let _ = writeln!(text, "{name}: {value}");
        }
        masked.lines().for_each(|line| text.extend(["> ", line, "\n"]));
        text
    }

    /// Sends one request, and another one on its connection.
    fn ask(&mut self, proxy: &Proxy, name: String, head: &str) {
        let mut client = Raw::connect(proxy.admin());
        client.send(head);
        let mut answer = self.read(&mut client, head);
        client.offer("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        match client.try_response() {
            Ok(next) => assert_eq!((next.status, &*next.body), (200, &b"ok\n"[..]), "{name}"),
            Err(_) => answer.push_str("then the connection ends\n"),
        }
        self.note(name, answer);
    }

    fn note(&mut self, name: String, answer: String) {
        match self.all.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, names)) => names.push(name),
            None => self.all.push((answer, vec![name])),
        }
    }

    fn to_text(&self) -> String {
        let answers = self.all.iter().map(|(answer, names)| format!("=== {}\n{answer}", names.join("\n=== ")));
        answers.collect::<Vec<_>>().join("\n")
    }
}

/// A proxy that reads its files only on request.
fn proxy(upstreams: &[Upstream; 2]) -> Proxy {
    let setup = Proxy::with("v1", &upstreams[0]).with("v2", &upstreams[1]);
    let setup = setup.tuned(|options| {
        options.poll_interval = None;
        options.drain_delay = Duration::from_mins(10);
    });
    setup.start(SHOP)
}

fn every_path(answers: &mut Answers, proxy: &Proxy) {
    for path in PATHS {
        for method in METHODS {
            for (called, lines) in HEADERS {
                let name = if called.is_empty() { String::new() } else { format!(" ({called})") };
                let head = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
                answers.ask(proxy, format!("{method} {path}{name}"), &head);
            }
        }
    }
}

fn unusual_heads(answers: &mut Answers, proxy: &Proxy) {
    for (called, head) in HEADS {
        answers.ask(proxy, called.to_owned(), head);
    }
    for (called, head) in LATE_BODIES {
        let mut client = Raw::connect(proxy.admin());
        client.send(head);
        let mut answer = answers.read(&mut client, head);
        // Bytes that come now are not part of a response: the connection must end.
        client.offer("hello").ends();
        answer.push_str("then the connection ends\n");
        answers.note(called.to_owned(), answer);
    }
    let fields = |count: usize| "X-Field: 1\r\n".repeat(count - 1);
    let start = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    for count in [FIELDS_MAX, FIELDS_MAX + 1] {
        answers.ask(proxy, format!("{count} fields"), &format!("{start}{}\r\n", fields(count)));
    }
    let padded = |length: usize, end: &str| {
        let start = format!("{start}X-Field: ");
        format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
    };
    answers.ask(proxy, "a large head".to_owned(), &padded(HEAD_BYTES_MAX - 1, "\r\n\r\n"));
    answers.ask(proxy, "a head without an end".to_owned(), &padded(HEAD_BYTES_MAX, ""));
}

fn reloads(answers: &mut Answers, proxy: &Proxy) {
    let requests = [
        ("", "POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (" (takes text)", "POST /reload HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n"),
    ];
    for (called, head) in requests {
        proxy.write(&SHOP.replace("weight = 25", "weight = 101"));
        answers.ask(proxy, format!("POST /reload of a bad file{called}"), head);
        let weight = if called.is_empty() { "weight = 30" } else { "weight = 35" };
        proxy.write(&SHOP.replace("weight = 25", weight));
        answers.ask(proxy, format!("POST /reload of a good file{called}"), head);
        answers.ask(proxy, format!("POST /reload of the same file{called}"), head);
    }
    answers.ask(proxy, "GET /status after reloads".to_owned(), "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    proxy.app().stop();
    until("the proxy begins to stop", || (proxy.status()["phase"] == "lame").then_some(()));
    for (called, head) in requests {
        answers.ask(proxy, format!("POST /reload while it stops{called}"), head);
    }
    for path in ["/healthz", "/readyz", "/"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        answers.ask(proxy, format!("GET {path} while it stops"), &head);
    }
}

#[test]
fn admin_responses_match_the_golden_file() {
    let upstreams = [Upstream::echo(), Upstream::echo()];
    let proxy = proxy(&upstreams);
    let mut answers = Answers::new(proxy.dir());
    every_path(&mut answers, &proxy);
    unusual_heads(&mut answers, &proxy);
    reloads(&mut answers, &proxy);
    let actual = answers.to_text();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(GOLDEN, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let differs = actual.lines().zip(expected.lines()).position(|(actual, expected)| actual != expected);
    let at = differs.unwrap_or(actual.lines().count().min(expected.lines().count()));
    let around = |text: &str| text.lines().skip(at.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n");
    assert!(
        actual == expected,
        "{GOLDEN}, line {}:\n{}\n---- but should be\n{}",
        at + 1,
        around(&actual),
        around(&expected)
    );
}
