//! HTTP/2 in and out: every combination with HTTP/1.1, and everything that a peer can do wrong or in excess.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};

use crate::harness::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::harness::h2_client::{End, send_all};
use crate::harness::upstream::hash;
use crate::harness::{Broken, H2, ONE_ROUTE, PATIENCE, Proxy, RefusingAddress, Upstream, until};
use crate::process::Running;

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

fn to_h2c(upstream: &Upstream) -> Proxy {
    Proxy::with("main", upstream).start(&ONE_ROUTE.replace("http://", "h2c://"))
}

fn trailers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn bodies_and_trailers_pass_in_every_combination() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    let body: Vec<u8> = (0..300_000_usize).map(|n| n.to_le_bytes()[n % 2]).collect();
    for (proxy, version) in [(Proxy::to(&h1), "HTTP/1.1"), (to_h2c(&h2c), "HTTP/2.0")] {
        let mut client = H2::connect(proxy.address());
        let got = client.get("/a?b").json();
        assert_eq!((&got["version"], &got["method"]), (&version.into(), &"GET".into()));
        assert!(got["target"].as_str().unwrap().ends_with("/a?b"), "{got}");

        let request = H2::request("POST", "/").header("te", "trailers").header("trailer", "x-sum").body(()).unwrap();
        let answer = client.send(request, &[&body[..1000], &body[1000..]], Some(trailers(&[("x-sum", "42")])));
        let got = answer.json();
        assert_eq!(
            (got["body_bytes"].as_u64(), got["body_hash"].as_str()),
            (Some(300_000), Some(hash(&body).as_str()))
        );
        assert_eq!(got["trailers"], serde_json::json!([["x-sum", "42"]]), "{version}");
        if version == "HTTP/2.0" {
            assert_eq!(answer.trailers.expect("trailers come back")["x-sum"], "42");
        }

        let sized = H2::request("PUT", "/").header("content-length", "5").body(()).unwrap();
        assert_eq!(client.send(sized, &[b"sized"], None).json()["body"], "sized");

        let mut plain = proxy.connect();
        let got = plain.post("/", "", &body).json();
        assert_eq!((got["version"].as_str(), got["body_hash"].as_str()), (Some(version), Some(hash(&body).as_str())));
        plain.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
        let answer = plain.read_response();
        assert_eq!(answer.json()["trailers"], serde_json::json!([["x-sum", "7"]]), "{version}");
        drop((client, plain));
        proxy.settles();
    }
}

#[test]
fn head_204_and_304_have_no_body_and_http1_trailers_reach_http2() {
    let h2c = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, request, mut respond| {
        Box::pin(async move {
            let status = if request.method() == "HEAD" { 200 } else { 204 };
            let response = Response::builder().status(status);
            let response = if status == 200 { response.header("content-length", "10") } else { response };
            respond.send_response(response.body(()).unwrap(), true).unwrap();
        })
    });
    let proxy = to_h2c(&h2c);
    let mut client = H2::connect(proxy.address());
    for method in ["HEAD", "GET"] {
        let answer = client.send(H2::request(method, "/").body(()).unwrap(), &[], None);
        assert_eq!(
            (answer.status, answer.body.len(), answer.reset),
            (if method == "HEAD" { 200 } else { 204 }, 0, None)
        );
    }
    let mut plain = proxy.connect();
    plain.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = plain.read_response_to("HEAD");
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("10")));
    assert_eq!(plain.get("/", "").status, 204, "the connection goes on");

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\
                   content-length: 3\r\nx-forwarded-for: 1\r\n\r\n";
    let upstream = Upstream::answering(chunked);
    let proxy = Proxy::to(&upstream);
    let mut client = H2::connect(proxy.address());
    let request = H2::request("GET", "/").header("te", "trailers").body(()).unwrap();
    let answer = client.send(request, &[], None);
    assert_eq!((answer.body.as_slice(), answer.reset), (&b"abc"[..], None));
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.trailers, Some(trailers(&[("x-sum", "9")])), "framing does not pass in trailers");
}

#[test]
fn many_streams_of_one_connection_are_served_at_once() {
    let (h1, h2c) = (Upstream::echo().delay(Duration::from_millis(20)), Upstream::h2c());
    for proxy in [Proxy::to(&h1), to_h2c(&h2c)] {
        let mut client = H2::connect(proxy.address());
        // In the first exchange the client learns how many streams are allowed.
        assert_eq!(client.get("/").status, 200);
        for _ in 0..3 {
            let open: Vec<_> = (0..100)
                .map(|n| client.open(H2::request("GET", &format!("/{n}")).body(()).unwrap(), End::Now).0)
                .collect();
            for (n, response) in open.into_iter().enumerate() {
                let got = client.finish(response).json();
                assert!(got["target"].as_str().unwrap().ends_with(&format!("/{n}")), "{got}");
            }
        }
        drop(client);
        proxy.settles();
        assert_eq!(proxy.metric_sum("pointsman_requests_total"), 301.0);
    }
    assert!(h1.accepted() <= 100 && h2c.accepted() <= 3, "{} and {}", h1.accepted(), h2c.accepted());
}

const LONG: usize = 32 << 20;
const IN_BETWEEN_MAX: usize = 16 << 20;
/// A sender that has sent nothing for so long is blocked. If it was only slow, the test measures less than it could.
const QUIET: Duration = Duration::from_millis(700);

/// An upstream that sends [`LONG`] bytes for `/long` with reports of its progress, and answers other requests at once.
fn long() -> (Upstream, Receiver<usize>) {
    let (sender, progress) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::script(move |mut conn| {
        let sender = sender.lock().unwrap().clone();
        while let Ok(got) = conn.request() {
            if got.target != "/long" {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort");
                continue;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n"));
            let piece = vec![b'x'; 1 << 16];
            for sent in (0..LONG).step_by(piece.len()) {
                if !conn.send(&piece) {
                    return;
                }
                // The test may have ended.
                let _ = sender.send(sent + piece.len());
            }
        }
    });
    (upstream, progress)
}

#[test]
fn an_unread_stream_blocks_its_upstream_and_no_other_stream() {
    let (upstream, progress) = long();
    let proxy = Proxy::to(&upstream);
    let mut windows = h2::client::Builder::new();
    windows.initial_connection_window_size(4 << 20).initial_window_size(1 << 16);
    let mut client = H2::connect_with(proxy.address(), &windows);
    let (response, _) = client.open(H2::request("GET", "/long").body(()).unwrap(), End::Now);
    let mut sent = progress.recv_timeout(PATIENCE).unwrap();
    while let Ok(now) = progress.recv_timeout(QUIET) {
        sent = now;
    }
    assert!((1..IN_BETWEEN_MAX).contains(&sent), "{sent} bytes were taken while the client read none");
    for _ in 0..20 {
        assert_eq!(client.get("/short").body, b"short");
    }
    let answer = client.finish(response);
    assert_eq!((answer.status, answer.body.len(), answer.reset), (200, LONG, None));
}

#[test]
fn an_unread_upload_blocks_its_sender_and_no_other_stream() {
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::script(move |mut conn| {
        let Ok(mut got) = conn.head() else { return };
        if got.target == "/slow" {
            gone.lock().unwrap().recv().unwrap();
        }
        while let Ok(framed) = conn.wire.framed(&got.headers) {
            let bytes = framed.unwrap_or_default().0.len().to_string();
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{bytes}", bytes.len()));
            match conn.head() {
                Ok(next) => got = next,
                Err(_) => return,
            }
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = H2::connect(proxy.address());
    let (response, mut body) = client.open(H2::request("POST", "/slow").body(()).unwrap(), End::Later);
    let all = Bytes::from(vec![b'x'; LONG]);
    let (mut sent, mut wait) = (0, PATIENCE);
    // Sends while the windows are open.
    client.block_on(async {
        loop {
            body.reserve_capacity(1 << 16);
            let more = std::future::poll_fn(|cx| body.poll_capacity(cx));
            let Ok(Some(Ok(room))) = tokio::time::timeout(wait, more).await else { break };
            wait = QUIET;
            let piece = all.slice(sent..(sent + room).min(LONG));
            sent += piece.len();
            body.send_data(piece, false).unwrap();
        }
    });
    assert!((1..IN_BETWEEN_MAX).contains(&sent), "{sent} bytes were taken while the upstream read none");
    for _ in 0..5 {
        let answer = client.send(H2::request("POST", "/fast").body(()).unwrap(), &[&vec![b'y'; 100_000]], None);
        assert_eq!(answer.body, b"100000", "{answer:?}");
    }
    go.send(()).unwrap();
    let rest = all.slice(sent..);
    client.block_on(async { send_all(&mut body, rest, End::Now).await }).unwrap();
    assert_eq!(client.finish(response).body, LONG.to_string().as_bytes());
}

#[test]
fn split_cookie_fields_are_joined() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    for proxy in [Proxy::to(&h1), to_h2c(&h2c)] {
        let request = H2::request("GET", "/").header("cookie", "a=1").header("x", "y").header("cookie", "b=2");
        let got =
            H2::connect(proxy.address()).send(request.header("cookie", "c=3").body(()).unwrap(), &[], None).json();
        let cookies: Vec<_> = got["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "cookie").collect();
        assert_eq!(cookies, [&serde_json::json!(["cookie", "a=1; b=2; c=3"])]);
    }
}

/// A request with these pseudo-fields, replaced or added, and further fields.
fn fields(replaced: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (name, value) in usual {
        match replaced.iter().find(|(known, _)| *known == name) {
            Some((_, "(none)")) => {}
            Some(pair) => all.push(*pair),
            None => all.push((name, value)),
        }
    }
    all.extend(more);
    frames::block(&all)
}

/// Names and values.
type Pairs = &'static [(&'static str, &'static str)];

/// Pseudo-fields instead of the usual ones, and fields, that must not pass.
const ODD: &[(Pairs, Pairs)] = &[
    (&[], &[("host", "other")]),
    (&[], &[("host", "test"), ("host", "test")]),
    (&[(":authority", "(none)")], &[]),
    (&[(":authority", "(none)")], &[("host", "a"), ("host", "b")]),
    (&[(":authority", "(none)")], &[("host", "a, b")]),
    (&[(":authority", "(none)")], &[("host", "")]),
    (&[(":authority", "")], &[]),
    (&[(":authority", "a b")], &[]),
    (&[(":authority", "a/b")], &[]),
    (&[(":authority", "u@a")], &[]),
    (&[(":authority", "u:p@a")], &[]),
    (&[(":authority", "a:port")], &[]),
    (&[(":authority", "a:99999")], &[]),
    (&[(":authority", "[::1")], &[]),
    (&[(":authority", "\"a\"")], &[]),
    (&[(":authority", "a?b")], &[]),
    (&[(":authority", "a#b")], &[]),
    (&[], &[("te", "gzip")]),
    (&[], &[("te", "trailers, gzip")]),
    (&[], &[("connection", "close")]),
    (&[], &[("keep-alive", "1")]),
    (&[], &[("proxy-connection", "close")]),
    (&[], &[("transfer-encoding", "chunked")]),
    (&[], &[("upgrade", "websocket")]),
    (&[], &[("X-Upper", "1")]),
    (&[], &[("a\"b", "1")]),
    (&[], &[("a b", "1")]),
    (&[], &[("a:b", "1")]),
    (&[], &[("a(b)", "1")]),
    (&[], &[("", "1")]),
    (&[], &[("x", " 1")]),
    (&[], &[("x", "1 ")]),
    (&[], &[("x", "\t1")]),
    (&[], &[("x", "1\t")]),
    (&[], &[("x", "1\r\ny: 2")]),
    (&[], &[("x", "1\n")]),
    (&[], &[("x", "1\0")]),
    (&[], &[("x", "a\x7fb")]),
    (&[(":scheme", "")], &[]),
    (&[(":scheme", "http://localhost/?")], &[]),
    (&[(":scheme", "ftp")], &[]),
    (&[(":scheme", "(none)")], &[]),
    (&[(":method", "GET?")], &[]),
    (&[(":method", "G T")], &[]),
    (&[(":method", "")], &[]),
    (&[(":method", "(none)")], &[]),
    (&[(":path", "")], &[]),
    (&[(":path", "admin")], &[]),
    (&[(":path", "a:80")], &[]),
    (&[(":path", "*")], &[]),
    (&[(":path", "/a b")], &[]),
    (&[(":path", "http://other/x")], &[]),
    (&[(":path", "(none)")], &[]),
    (&[], &[(":path", "/twice")]),
    (&[], &[("x", "1"), (":late", "1")]),
    (&[], &[(":status", "200")]),
    (&[], &[(":unknown", "1")]),
    (&[], &[("content-length", "5")]),
    (&[], &[("content-length", "0"), ("content-length", "0")]),
    (&[], &[("content-length", "+0")]),
    (&[], &[("content-length", "0x0")]),
    (&[], &[("content-length", "")]),
    (&[], &[("content-length", "99999999999999999999")]),
    (&[(":method", "POST")], &[("transfer_encoding", "chunked")]),
    (&[(":method", "POST")], &[("transfer.encoding", "chunked")]),
    (&[(":method", "POST")], &[("transferencoding", "chunked")]),
    (&[(":method", "POST")], &[("content--length", "0")]),
    (&[(":method", "POST")], &[("content_length", "0")]),
];

#[test]
fn heads_that_http1_could_not_carry_are_refused() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    for (replaced, more) in ODD {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, END_STREAM, &fields(replaced, more));
        let fate = client.fate(1);
        let refused = matches!(fate, Fate::Answered(400, _) | Fate::Reset(PROTOCOL_ERROR) | Fate::GoneAway(_));
        assert!(refused, "{replaced:?} {more:?}: {fate:?}");
        assert_eq!(echo.requests(), 0, "{replaced:?} {more:?} reached the upstream: {:?}", echo.got());
    }
    for length in ["9223372036854775808", "9999999999999999999", "18446744073709551614"] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, 0, &fields(&[(":method", "POST")], &[("content-length", length)]));
        let fate = client.fate(1);
        let refused = matches!(fate, Fate::Answered(400, _) | Fate::Reset(PROTOCOL_ERROR));
        assert!(refused && echo.requests() == 0, "{length}: {fate:?}");
    }
    for (method, pseudo) in [("TRACE", fields(&[(":method", "TRACE")], &[])), ("CONNECT", connect())] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, END_STREAM, &pseudo);
        let fate = client.fate(1);
        assert!(matches!(fate, Fate::Answered(405, _)), "{method}: {fate:?}");
    }
    assert_eq!(H2::connect(proxy.address()).get("/").status, 200, "all other clients are served");
    proxy.settles();
}

fn connect() -> Vec<u8> {
    frames::block(&[(":method", "CONNECT"), (":authority", "test:80")])
}

#[test]
fn unusual_valid_heads_pass_unchanged() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let rows: &[(Pairs, Pairs, Pairs)] = &[
        (&[], &[("host", "test")], &[("host", "test")]),
        (&[(":authority", "(none)")], &[("host", "alone:81")], &[("host", "alone:81")]),
        (&[(":authority", "[::1]:8080")], &[], &[("host", "[::1]:8080")]),
        (&[], &[("te", "trailers")], &[("te", "trailers")]),
        (&[(":scheme", "https")], &[], &[("x-forwarded-proto", "http")]),
        (&[], &[("x", "a b\tc\u{e4}")], &[("x", "a b\tc\u{e4}")]),
        (&[], &[("a!#$%&'*+-.^_`|~9", "1")], &[("a!#$%&'*+-.^_`|~9", "1")]),
        (&[], &[("x", "")], &[("x", "")]),
        (&[(":method", "PURGE")], &[], &[]),
        (&[(":path", "/a?b=c?d&e=%20'")], &[], &[]),
    ];
    for (replaced, more, expected) in rows {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, END_STREAM, &fields(replaced, more));
        let fate = client.fate(1);
        assert!(matches!(fate, Fate::Answered(200, _)), "{replaced:?} {more:?}: {fate:?}");
        let got = echo.got().pop().unwrap();
        for (name, value) in *expected {
            assert_eq!(got.field(name), Some(*value), "{replaced:?} {more:?}");
        }
        for (name, value) in *replaced {
            match *name {
                ":method" => assert_eq!(got.method, *value),
                ":path" => assert_eq!(got.target, *value),
                _ => {}
            }
        }
    }
}

#[test]
fn a_target_with_a_fragment_is_refused() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.headers(1, END_STREAM, &fields(&[(":path", "/a#/../b")], &[]));
    client.fate(1);
    assert!(echo.got().iter().all(|got| got.target == "/a"), "{:?}", echo.got());
}

#[test]
fn a_body_that_differs_from_content_length_is_never_complete() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    for (length, data) in [("0", &b"x"[..]), ("5", b"abc"), ("5", b"abcdefgh"), ("2", b"")] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, 0, &fields(&[(":method", "POST")], &[("content-length", length)]));
        client.send(DATA, END_STREAM, 1, data);
        let fate = client.fate(1);
        let refused = matches!(fate, Fate::Answered(400, _) | Fate::Reset(PROTOCOL_ERROR) | Fate::GoneAway(_));
        // With `content-length: 0` the request is complete before DATA arrives: the response may come first.
        let refused = refused || (length == "0" && matches!(fate, Fate::Answered(200, _)));
        assert!(refused, "{length} promised, {} sent: {fate:?}", data.len());
    }
    let got = echo.got();
    let other = got.iter().find(|got| got.field("content-length") != Some("0") || !got.body.is_empty());
    assert!(other.is_none(), "{other:?}");
    proxy.settles();
}

#[test]
fn trailers_carry_no_framing_and_no_identity() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    for (proxy, upstream) in [(Proxy::to(&h1), &h1), (to_h2c(&h2c), &h2c)] {
        let sent = [
            ("x-kept", "1"),
            ("content-length", "9"),
            ("content.length", "9"),
            ("transfer_encoding", "chunked"),
            ("host", "evil"),
            ("x-forwarded-for", "1"),
            ("cookie", "a=b"),
        ];
        let mut client = Frames::connect(proxy.address(), &[]);
        let announced = ("trailer", "x-kept, content-length, host, x-forwarded-for, cookie");
        client.headers(1, 0, &fields(&[(":method", "POST")], &[announced]));
        client.send(DATA, 0, 1, b"body");
        client.headers(1, END_STREAM, &frames::block(&sent));
        let fate = client.fate(1);
        assert!(matches!(fate, Fate::Answered(200, _)), "{fate:?}");
        let got = upstream.got().pop().unwrap();
        assert_eq!(got.trailers, [("x-kept".to_owned(), "1".to_owned())]);

        let before = upstream.requests();
        for bad in [[("X-Upper", "1")], [("x", "1\r\n")], [("a b", "1")]] {
            let mut client = Frames::connect(proxy.address(), &[]);
            client.headers(1, 0, &fields(&[(":method", "POST")], &[]));
            client.send(DATA, 0, 1, b"body");
            client.headers(1, END_STREAM, &frames::block(&bad));
            let fate = client.fate(1);
            assert!(!matches!(fate, Fate::Answered(200, _)), "{bad:?}: {fate:?}");
        }
        assert_eq!(upstream.requests(), before, "{:?}", upstream.got());
    }
}

#[test]
fn pseudo_fields_in_trailers_are_an_error_of_their_stream() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    let literal = |name: &str, value: &str| frames::block(&[("x-sum", "1"), (name, value)]);
    for (proxy, upstream) in [(Proxy::to(&h1), &h1), (to_h2c(&h2c), &h2c)] {
        let bad = [
            frames::block(&[(":path", "/evil"), ("x-sum", "1")]),
            literal(":method", "GET"),
            literal(":status", "200"),
            literal(":authority", "evil"),
            // By their index: static, and dynamic, where the head of this stream has put its authority.
            b"\x84".to_vec(),
            b"\x00\x05x-sum\x011\x87".to_vec(),
            b"\x04\x05/evil".to_vec(),
            b"\xbe".to_vec(),
            b"\x7e\x04evil".to_vec(),
        ];
        let mut client = Frames::connect(proxy.address(), &[]);
        let mut stream = 1;
        for block in &bad {
            // One frame, several frames, several writes.
            for pieces in 0..3 {
                let head = b"\x83\x86\x84\x41\x04test";
                client.headers(stream, 0, head);
                client.send(DATA, 0, stream, b"body");
                match pieces {
                    0 => drop(client.headers(stream, END_STREAM, block)),
                    1 => {
                        client.send(HEADERS, END_STREAM, stream, &block[..1]);
                        client.send(CONTINUATION, END_HEADERS, stream, &block[1..]);
                    }
                    _ => {
                        for byte in frame(HEADERS, END_HEADERS | END_STREAM, stream, block) {
                            client.write(&[byte]);
                        }
                    }
                }
                assert_eq!(client.fate(stream), Fate::Reset(PROTOCOL_ERROR), "{block:02x?} in form {pieces}");
                stream += 2;
            }
        }
        assert_eq!(upstream.requests(), 0, "{:?}", upstream.got());
        // The connection stays, and valid trailers pass on it.
        client.headers(stream, 0, &fields(&[(":method", "POST")], &[]));
        client.send(DATA, 0, stream, b"body");
        client.headers(stream, END_STREAM, b"\x40\x05x-sum\x011");
        assert!(matches!(client.fate(stream), Fate::Answered(200, _)));
        client.headers(stream + 2, 0, &fields(&[(":method", "POST")], &[]));
        client.headers(stream + 2, END_STREAM, b"\xbe");
        until("the request arrives", || (upstream.requests() == 2).then_some(()));
        for got in upstream.got() {
            assert_eq!(got.trailers, [("x-sum".to_owned(), "1".to_owned())]);
        }
    }
}

#[test]
fn heads_beyond_the_limits_are_431_and_414() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let crumbs = vec![("cookie", "a=b"); 101];
    let big = "x".repeat(6000);
    let large = [("x-1", big.as_str()), ("x-2", &big), ("x-3", &big)];
    for more in [&many[..], &crumbs, &large] {
        let mut client = Frames::connect(proxy.address(), &[]);
        let block = fields(&[], more);
        let mut pieces = block.chunks(16_000).peekable();
        let first = pieces.next().unwrap();
        client.send(HEADERS, END_STREAM | if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, first);
        while let Some(piece) = pieces.next() {
            client.send(CONTINUATION, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece);
        }
        let fate = client.fate(1);
        assert!(matches!(fate, Fate::Answered(431, _)), "{} fields: {fate:?}", more.len());
    }
    let mut client = Frames::connect(proxy.address(), &[]);
    let path = format!("/{}", "x".repeat(9000));
    client.headers(1, END_STREAM, &fields(&[(":path", &path)], &[]));
    let fate = client.fate(1);
    assert!(matches!(fate, Fate::Answered(414, _)), "{fate:?}");
    assert_eq!(echo.requests(), 0);
}

/// A flood on one connection: the frames that are repeated, and why they are refused.
struct Flood {
    reason: &'static str,
    prepare: fn(&mut Frames),
    again: fn(u32) -> Vec<u8>,
}

const FLOODS: [Flood; 7] = [
    Flood {
        reason: "h2_resets",
        prepare: |_| {},
        again: |n| {
            let stream = 2 * n + 1;
            let head = frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &frames::get("test", "/"));
            [head, frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        },
    },
    Flood { reason: "h2_pings", prepare: |_| {}, again: |_| frames::frame(PING, 0, 0, &[0; 8]) },
    Flood { reason: "h2_settings", prepare: |_| {}, again: |_| frames::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]) },
    Flood {
        reason: "h2_continuations",
        prepare: |client| {
            client.send(HEADERS, END_STREAM, 1, &frames::get("test", "/"));
        },
        again: |_| frames::frame(CONTINUATION, 0, 1, &[]),
    },
    Flood {
        reason: "h2_protocol",
        prepare: |client| {
            client.headers(1, 0, &fields(&[(":method", "POST"), (":path", "/open")], &[]));
        },
        again: |_| frames::frame(DATA, 0, 1, &[]),
    },
    // PRIORITY, and an unknown type.
    Flood { reason: "h2_protocol", prepare: |_| {}, again: |_| frames::frame(2, 0, 1, &[0; 5]) },
    Flood { reason: "h2_protocol", prepare: |_| {}, again: |_| frames::frame(77, 0, 0, &[]) },
];

#[test]
fn floods_close_only_their_own_connection() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut neighbour = H2::connect(proxy.address());
    let mut refused = 0.0;
    for flood in &FLOODS {
        let before = proxy.refused(flood.reason);
        let mut client = Frames::connect(proxy.address(), &[]);
        client.polite = false;
        (flood.prepare)(&mut client);
        let took = (0..5000).take_while(|n| client.write(&(flood.again)(*n))).count();
        client.end();
        until(&format!("{} is counted", flood.reason), || (proxy.refused(flood.reason) > before).then_some(()));
        assert_eq!(proxy.refused(flood.reason), before + 1.0, "once per connection: {}", flood.reason);
        refused += 1.0;
        assert!(took <= 5000);
        assert_eq!(neighbour.get("/").status, 200, "a neighbour is served after {}", flood.reason);
    }
    assert_eq!(proxy.metric("pointsman_connections_closed_total"), refused);
    drop(neighbour);
    proxy.settles();
}

#[test]
fn ordinary_use_does_not_count_as_a_flood() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = Frames::connect(proxy.address(), &[]);
    for n in 0..20_u8 {
        client.send(PING, 0, 0, &[n; 8]);
    }
    client.send(SETTINGS, 0, 0, &[]);
    client.headers(1, 0, &fields(&[(":method", "POST")], &[]));
    for _ in 0..50 {
        client.send(DATA, 0, 1, b"");
        client.send(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    }
    client.send(DATA, END_STREAM, 1, b"end");
    let fate = client.fate(1);
    assert!(matches!(fate, Fate::Answered(200, _)), "{fate:?}");
}

#[test]
fn a_bomb_of_references_costs_little_memory() {
    let echo = Upstream::echo();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "schema = 1\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [access_log]\nsink = \"off\"\n{}",
        ONE_ROUTE.replace("{main}", &echo.address().to_string())
    );
    std::fs::write(dir.path().join("routes.toml"), text).unwrap();
    let mut process = Running::start(dir.path(), &["run", "--workers", "1"]);
    let at = |word: String| word.trim_start_matches("http://").parse::<std::net::SocketAddr>().unwrap();
    let address = at(process.word_after("listener"));
    let admin = at(process.word_after("admin"));
    let resident = || {
        let (status, text) = crate::process::ask(&admin.to_string(), "GET /metrics HTTP/1.1");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line.expect("the resident memory").parse::<f64>().unwrap()
    };
    assert_eq!(H2::connect(address).get("/").status, 200);
    let before = resident();
    let mut bombs = Vec::new();
    for _ in 0..20 {
        // Without a window, no response can be sent.
        let mut client = Frames::connect(address, &[(INITIAL_WINDOW_SIZE, 0)]);
        // A cookie field that enters the table, then references to it of one byte each.
        let mut first = frames::get("test", "/");
        first.extend([0x60, 4]);
        first.extend(b"a=bc");
        let references = [frames::get("test", "/"), vec![0xbe; 400]].concat();
        let mut bytes = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
        for stream in (3..200).step_by(2) {
            bytes.extend(frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &references));
        }
        client.write(&bytes);
        bombs.push(client);
    }
    // Earlier requests have been handled when a later one of the same kind is answered.
    for client in &mut bombs {
        client.send(PING, 0, 0, b"finished");
        while client.next().is_some_and(|frame| frame.kind != PING) {}
    }
    let grown = resident() - before;
    assert!(grown < 40e6, "{grown} bytes for {} kB", 20 * 99 * 480 / 1000);
    assert_eq!(H2::connect(address).get("/").status, 200);
    drop(bombs);
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

/// An h2c upstream that reports the resets of its streams.
fn watching_for_resets() -> (Upstream, Receiver<Reason>) {
    let (sender, events): (Sender<Reason>, Receiver<Reason>) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
        let sender = sender.lock().unwrap().clone();
        Box::pin(async move {
            if request.uri().path() != "/wait" {
                respond.send_response(Response::new(()), true).unwrap();
                return;
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"begun"), false).unwrap();
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            if let Ok(reason) = reason {
                sender.send(reason).unwrap();
            }
        })
    });
    (upstream, events)
}

#[test]
fn a_reset_of_the_client_cancels_the_upstreams_request() {
    let (upstream, events) = watching_for_resets();
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let (response, mut stream) = client.open(H2::request("GET", "/wait").body(()).unwrap(), End::Now);
    let response = client.block_on(response).unwrap();
    assert_eq!(response.status(), 200);
    stream.send_reset(Reason::CANCEL);
    drop((stream, response));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(Reason::CANCEL));
    assert_eq!(client.get("/").status, 200, "other streams continue");
    assert_eq!(upstream.accepted(), 1, "and so does the upstream's connection");
    let lines = proxy.logged(2);
    assert_eq!((lines[0]["termination"].as_str(), lines[0]["detail"].as_str()), (Some("CB"), Some("client_gone")));

    let (gone, went) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_ok() {
            gone.lock().unwrap().send("asked").unwrap();
            conn.wait();
            gone.lock().unwrap().send("cut").unwrap();
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = H2::connect(proxy.address());
    let (response, mut stream) = client.open(H2::request("GET", "/").body(()).unwrap(), End::Now);
    assert_eq!(went.recv(), Ok("asked"));
    stream.send_reset(Reason::CANCEL);
    assert_eq!(went.recv_timeout(PATIENCE), Ok("cut"));
    drop(response);
    assert_eq!(proxy.logged(1)[0]["termination"], "CH");
}

/// Upstreams with HTTP/1.1 and HTTP/2 that report the begin of a body, and whether it arrived complete.
fn watching_uploads() -> [(Proxy, Upstream, Receiver<&'static str>); 2] {
    let (sender, events): (Sender<&str>, _) = channel();
    let sender = Mutex::new(sender);
    let plain = Upstream::script(move |mut conn| {
        if conn.head().is_ok() && conn.wire.exact("4\r\nhalf\r\n".len()).is_ok() {
            sender.lock().unwrap().send("begun").unwrap();
            let (rest, _) = conn.wire.rest();
            sender.lock().unwrap().send(if rest.is_empty() { "cut" } else { "whole" }).unwrap();
        }
    });
    let (sender, h2c_events): (Sender<&str>, _) = channel();
    let sender = Mutex::new(sender);
    let h2c = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, respond| {
        let sender = sender.lock().unwrap().clone();
        Box::pin(async move {
            let mut body = request.into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "half");
            sender.send("begun").unwrap();
            sender.send(if matches!(body.data().await, Some(Err(_))) { "cut" } else { "whole" }).unwrap();
            drop(respond);
        })
    });
    [(Proxy::to(&plain), plain, events), (to_h2c(&h2c), h2c, h2c_events)]
}

#[test]
fn an_abandoned_upload_is_never_complete() {
    let leaves = frame(GOAWAY, 0, 0, &[0; 8]);
    let resets = frame(RST_STREAM, 0, 1, &[0; 4]);
    let post = frames::block(&[(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")]);
    for (what, then) in [
        ("it leaves and goes", leaves.clone()),
        ("it leaves, then resets", [leaves.clone(), resets.clone()].concat()),
        ("it resets, then leaves", [resets.clone(), leaves.clone()].concat()),
        ("it resets", resets),
    ] {
        for (proxy, upstream, events) in watching_uploads() {
            let mut client = Frames::connect(proxy.address(), &[]);
            client.headers(1, 0, &post);
            client.send(DATA, 0, 1, b"half");
            assert_eq!(events.recv_timeout(PATIENCE), Ok("begun"), "{what}");
            client.write(&then);
            if then == leaves {
                drop(client);
            }
            assert_eq!(events.recv_timeout(PATIENCE), Ok("cut"), "{what}");
            let line = &proxy.logged(1)[0];
            assert_eq!(line["detail"], "client_gone", "{what}: {line}");
            drop((proxy, upstream));
        }
    }
    // A client that sends GOAWAY may finish its open streams (RFC 9113 §6.8).
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.headers(1, 0, &post);
    client.write(&[frame(DATA, 0, 1, b"half"), leaves, frame(DATA, END_STREAM, 1, b"more")].concat());
    assert!(matches!(client.fate(1), Fate::Answered(200, _)));
    assert_eq!(echo.got()[0].body, b"halfmore");
}

#[test]
fn an_abandoned_upload_after_its_response_is_never_complete() {
    let resets = frame(RST_STREAM, 0, 1, &[0; 4]);
    for then in [resets.clone(), [frame(GOAWAY, 0, 0, &[0; 8]), resets].concat()] {
        let (sender, events): (Sender<bool>, _) = channel();
        let sender = Mutex::new(sender);
        let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
            let sender = sender.lock().unwrap().clone();
            Box::pin(async move {
                let mut body = request.into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "half");
                respond.send_response(Response::new(()), true).unwrap();
                sender.send(matches!(body.data().await, Some(Err(_)))).unwrap();
            })
        });
        let proxy = to_h2c(&upstream);
        let mut client = Frames::connect(proxy.address(), &[]);
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
        client.headers(1, 0, &frames::block(&post));
        client.send(DATA, 0, 1, b"half");
        assert_eq!(client.fate(1), Fate::Answered(200, Vec::new()));
        client.write(&then);
        assert_eq!(events.recv_timeout(PATIENCE), Ok(true), "the upstream sees an error instead of the end");
    }
}

#[test]
fn a_truncated_response_resets_the_stream() {
    let broken = [
        Upstream::answering_once("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
        Upstream::answering_once("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        Upstream::answering_once("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n"),
    ];
    let resetting = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, _, mut respond| {
        Box::pin(async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::task::yield_now().await;
            body.send_reset(Reason::INTERNAL_ERROR);
        })
    });
    let mut proxies: Vec<Proxy> = broken.iter().map(Proxy::to).collect();
    proxies.push(to_h2c(&resetting));
    for (n, proxy) in proxies.iter().enumerate() {
        let mut client = H2::connect(proxy.address());
        let answer = client.get("/");
        assert!(answer.reset.is_some(), "upstream {n}: {answer:?}");
        let mut plain = proxy.connect();
        plain.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        match plain.try_response() {
            Err(Broken::Closed | Broken::Reset) => {}
            // A reset may overtake the head.
            Ok(answer) if answer.status == 502 => {}
            other => panic!("upstream {n}: {other:?}"),
        }
        for line in proxy.logged(2) {
            let termination = line["termination"].as_str().unwrap();
            assert!(termination == "UB" || termination == "UH", "upstream {n}: {line}");
        }
    }
}

#[test]
fn grpc_passes_and_errors_have_a_grpc_status() {
    let h2c = Upstream::h2c_script(
        &h2::server::Builder::new(),
        |_, number, request: Request<h2::RecvStream>, mut respond| {
            Box::pin(async move {
                assert_eq!(request.headers()["te"], "trailers");
                let found = request.uri().path() == "/pkg.Service/Found";
                let got = crate::harness::h2c::whole(number, request).await.unwrap();
                let response = Response::builder().header("content-type", "application/grpc");
                if !found {
                    let response = response.header("grpc-status", "5").header("grpc-message", "no such thing");
                    respond.send_response(response.body(()).unwrap(), true).unwrap();
                    return;
                }
                let mut body = respond.send_response(response.body(()).unwrap(), false).unwrap();
                send_all(&mut body, got.body.into(), End::Later).await.unwrap();
                body.send_trailers(trailers(&[("grpc-status", "0"), ("grpc-message", "fine")])).unwrap();
            })
        },
    );
    let routes = "[upstream.main]\nendpoints = [\"h2c://{main}\"]\n[upstream.gone]\nendpoints = [\"h2c://{gone}\"]\n\
                  [[route]]\nname = \"service\"\nmatch = { path = \"/pkg.Service/*\" }\nstable = \"main\"\n\
                  [[route]]\nname = \"gone\"\nmatch = { path = \"/pkg.Gone/*\" }\nstable = \"gone\"\n";
    let refusing = RefusingAddress::new();
    let proxy = Proxy::with("main", &h2c).place("gone", refusing.address()).start(routes);
    let mut client = H2::connect(proxy.address());
    let mut call = |path: &str| {
        let request = H2::request("POST", path).header("content-type", "application/grpc").header("te", "trailers");
        client.send(request.body(()).unwrap(), &[b"\0\0\0\0\x03abc"], None)
    };
    let answer = call("/pkg.Service/Found");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\0\0\0\0\x03abc"[..]));
    assert_eq!(answer.trailers, Some(trailers(&[("grpc-status", "0"), ("grpc-message", "fine")])));
    let answer = call("/pkg.Service/Lost");
    assert_eq!((answer.status, answer.field("grpc-status"), answer.body.len()), (200, Some("5"), 0));
    assert_eq!(answer.trailers, None, "trailers only, in the head");
    for (path, status) in [("/pkg.Unknown/X", "12"), ("/pkg.Gone/X", "14")] {
        let answer = call(path);
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some(status)), "{path}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/grpc"));
        assert!(answer.field("proxy-status").is_some() && answer.field("x-request-id").is_some(), "{answer:?}");
    }
    drop(client);
    proxy.settles();
}

#[test]
fn provoked_resets_close_the_connection() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.polite = false;
    // More data than the window of a closed stream allows, repeatedly.
    for n in 0..2000_u32 {
        let stream = 2 * n + 1;
        let head =
            frames::frame(HEADERS, END_HEADERS, stream, &fields(&[(":method", "POST")], &[("content-length", "1")]));
        if !client.write(&[head, frames::frame(DATA, 0, stream, b"too much")].concat()) {
            break;
        }
    }
    let code = client.end();
    assert!(matches!(code, None | Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{code:?}");
    assert_eq!(H2::connect(proxy.address()).get("/").status, 200);
    proxy.settles();
}
