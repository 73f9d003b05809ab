//! Hostile HTTP/1.1 clients: requests that are ambiguous, not HTTP, or too expensive. Each gets one response, one count
//! and one line in the log; it does not reach the upstream and does not disturb other clients.

use crate::harness::{Proxy, Upstream};

/// A bad request, the status of its response and the reason in the metrics.
struct Bad {
    what: &'static str,
    bytes: Vec<u8>,
    status: u16,
    reason: &'static str,
}

fn bad(what: &'static str, bytes: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Bad {
    Bad { what, bytes: bytes.into(), status, reason }
}

/// The request after a bad one on its connection: a response to it proves that bytes of the bad one were taken for an
/// end.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

/// Sends each to one proxy, always on a new connection with a second request behind it.
#[track_caller]
fn check(cases: &[Bad]) {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut bystander = proxy.connect();
    for (i, case) in cases.iter().enumerate() {
        let before = proxy.refused(case.reason);
        let mut client = proxy.connect();
        client.offer(&case.bytes).offer(SMUGGLED);
        let answer = client.try_response();
        let answer = answer.unwrap_or_else(|broken| panic!("{}: {broken:?}", case.what));
        assert_eq!(answer.status, case.status, "{}: {}", case.what, answer.text());
        assert!(answer.closes(), "{}: the connection stays open", case.what);
        let proxy_status = answer.field("proxy-status").unwrap_or_default();
        assert!(proxy_status.starts_with("pointsman; error="), "{}: {proxy_status}", case.what);
        let (rest, _) = client.wire.rest();
        assert!(rest.is_empty(), "{}: a second answer: {:?}", case.what, String::from_utf8_lossy(&rest));
        assert_eq!(proxy.refused(case.reason), before + 1.0, "{}: not counted as {}", case.what, case.reason);
        assert_eq!(echo.requests(), i as u64, "{}: the request reached the upstream", case.what);
        assert_eq!(bystander.get("/", "").status, 200, "{}: other clients are served", case.what);
    }
    drop(bystander);
    proxy.settles();
    let lines = proxy.logged(cases.len() * 2);
    let refused: Vec<_> = lines.iter().filter(|line| line["status"] != 200).collect();
    for (case, line) in cases.iter().zip(refused) {
        assert_eq!(line["status"], case.status, "{}: {line}", case.what);
        assert_eq!(line["detail"], case.reason, "{}: {line}", case.what);
        let termination = line["termination"].as_str().unwrap_or_default();
        assert!(matches!(termination, "PR" | "PD"), "{}: {line}", case.what);
    }
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), cases.len() as f64 * 2.0);
}

/// A GET with these field lines.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

/// A POST with these field lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\n{lines}\r\n{body}")
}

#[test]
fn ambiguous_framing_is_refused() {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let framing = |what, lines: &str, body: &str| bad(what, post(lines, body), 400, "bad_framing");
    check(&[
        framing("length, then chunked", &format!("Content-Length: 5\r\n{CHUNKED}"), "0\r\n\r\n"),
        framing("chunked, then length", &format!("{CHUNKED}Content-Length: 5\r\n"), "0\r\n\r\n"),
        framing("two lengths that differ", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        framing("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        framing("a list of lengths", "Content-Length: 5, 5\r\n", "hello"),
        framing("a length with a sign", "Content-Length: +5\r\n", "hello"),
        framing("a negative length", "Content-Length: -5\r\n", "hello"),
        framing("a hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        framing("an empty length", "Content-Length:\r\n", "hello"),
        framing("a length with a blank inside", "Content-Length: 5 0\r\n", "hello"),
        framing("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n", "hello"),
        framing("a length of 2^63", "Content-Length: 9223372036854775808\r\n", "hello"),
        framing("a length of 2^64 - 2", "Content-Length: 18446744073709551614\r\n", "hello"),
        framing("a fractional length", "Content-Length: 5.0\r\n", "hello"),
        framing("chunked twice in one field", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        framing("chunked twice in two fields", &format!("{CHUNKED}{CHUNKED}"), "0\r\n\r\n"),
        framing("chunked, then gzip", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        framing("gzip, then chunked", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        framing("identity", "Transfer-Encoding: identity\r\n", ""),
        framing("identity beside chunked", &format!("Transfer-Encoding: identity\r\n{CHUNKED}"), "0\r\n\r\n"),
        framing("an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        framing("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        framing("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
        framing("an empty coding", "Transfer-Encoding:\r\n", "0\r\n\r\n"),
        framing("an underscore alias", "Transfer_Encoding: chunked\r\n", "0\r\n\r\n"),
        framing("an alias of the length", "Content_Length: 5\r\n", "hello"),
        framing("an alias with a dot", "Transfer.Encoding: chunked\r\n", "0\r\n\r\n"),
        framing("an alias with another separator", "Content~Length: 5\r\n", "hello"),
        framing("an alias with more hyphens", "Transfer---Encoding: chunked\r\n", "0\r\n\r\n"),
        bad(
            "chunked on HTTP/1.0",
            format!("POST / HTTP/1.0\r\nHost: test\r\n{CHUNKED}\r\n0\r\n\r\n"),
            400,
            "bad_framing",
        ),
    ]);
}

#[test]
fn malformed_heads_are_refused() {
    let malformed = |what, bytes: &[u8]| bad(what, bytes, 400, "malformed_head");
    check(&[
        malformed("bare LF after the request line", b"GET / HTTP/1.1\nHost: test\r\n\r\n"),
        malformed("bare LF after a field", b"GET / HTTP/1.1\r\nHost: test\n\r\n"),
        malformed("bare LF at the end", b"GET / HTTP/1.1\r\nHost: test\r\n\n"),
        malformed("bare CR in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n"),
        malformed("bare CR in the target", b"GET /a\rb HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("CR CR LF", b"GET / HTTP/1.1\r\nHost: test\r\r\n\r\n"),
        malformed("NUL in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n"),
        malformed("NUL in a name", b"GET / HTTP/1.1\r\nHost: test\r\nX\0: a\r\n\r\n"),
        malformed("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("ESC in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: \x1b[31m\r\n\r\n"),
        malformed("DEL in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: \x7f\r\n\r\n"),
        malformed("obs-fold with a space", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n"),
        malformed("obs-fold with a tab", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n\tb\r\n\r\n"),
        malformed("obs-fold at the first field", b"GET / HTTP/1.1\r\n Host: test\r\n\r\n"),
        malformed("a space before the colon", b"GET / HTTP/1.1\r\nHost : test\r\n\r\n"),
        malformed(
            "a space before the colon of the length",
            b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length : 5\r\n\r\n",
        ),
        malformed("a tab before the colon", b"GET / HTTP/1.1\r\nHost: test\r\nX\t: a\r\n\r\n"),
        malformed("a field without a colon", b"GET / HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n"),
        malformed("an empty name", b"GET / HTTP/1.1\r\nHost: test\r\n: a\r\n\r\n"),
        malformed("a name beyond ASCII", "GET / HTTP/1.1\r\nHost: test\r\nX\u{e4}: a\r\n\r\n".as_bytes()),
        malformed("a name in brackets", b"GET / HTTP/1.1\r\nHost: test\r\n(X): a\r\n\r\n"),
        malformed("two spaces after the method", b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("a tab after the method", b"GET\t/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("a space in the target", b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("a space after the version", b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n"),
        malformed("no version", b"GET /\r\nHost: test\r\n\r\n"),
        malformed("no target", b"GET HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: test\r\n\r\n"),
        malformed("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: test\r\n\r\n"),
        malformed("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: test\r\n\r\n"),
        malformed("http/1.1", b"GET / http/1.1\r\nHost: test\r\n\r\n"),
        malformed("a method in brackets", b"G(T / HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("a long method", format!("{} / HTTP/1.1\r\nHost: test\r\n\r\n", "G".repeat(100)).as_bytes()),
        malformed("a fragment", b"GET /a#b HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("GET *", b"GET * HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("GET admin", b"GET admin HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("GET a:80", b"GET a:80 HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("GET ?a", b"GET ?a HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("another scheme", b"GET ftp://test/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        malformed("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        malformed("a response", b"HTTP/1.1 200 OK\r\nHost: test\r\n\r\n"),
        malformed("half of the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    ]);
}

#[test]
fn missing_and_duplicate_hosts_are_refused() {
    let host = |what, lines: &str| bad(what, format!("GET / HTTP/1.1\r\n{lines}\r\n"), 400, "bad_host");
    check(&[
        host("none", ""),
        host("two that differ", "Host: test\r\nHost: other\r\n"),
        host("two that are the same", "Host: test\r\nHost: test\r\n"),
        host("two in one", "Host: test, other\r\n"),
        host("a blank", "Host: a b\r\n"),
        host("a slash", "Host: a/b\r\n"),
        host("user information", "Host: u@a\r\n"),
        host("a port that is none", "Host: a:port\r\n"),
        host("a port that is too large", "Host: a:70000\r\n"),
        host("an open bracket", "Host: [::1\r\n"),
        host("a closed bracket", "Host: ::1]\r\n"),
        host("quotes", "Host: \"a\"\r\n"),
        host("a backslash", "Host: a\\b\r\n"),
        host("a query", "Host: a?b\r\n"),
        host("a fragment", "Host: a#b\r\n"),
        host("an angle", "Host: <a>\r\n"),
        host("beyond ASCII", "Host: \u{e4}\r\n"),
        host("two colons", "Host: a:1:2\r\n"),
        bad("empty, with HTTP/1.1", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
        bad("two on HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
        bad("user information in the target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_host"),
    ]);
}

#[test]
fn malformed_chunks_are_refused() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let cases: &[(&str, &[u8])] = &[
        ("a size that overflows", b"ffffffffffffffffff\r\n"),
        ("a size of 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("leading zeros without end", b"00000000000000000000000000000005\r\nhello\r\n"),
        ("a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("a blank before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the size", b"5\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
        ("a bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("more data than the size", b"5\r\nhello!\r\n0\r\n\r\n"),
        ("a bare LF at the end", b"5\r\nhello\r\n0\r\n\n"),
        ("a folded trailer", b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"),
        ("a trailer without a colon", b"5\r\nhello\r\n0\r\nA\r\n\r\n"),
        ("a trailer with a NUL", b"5\r\nhello\r\n0\r\nA: \0\r\n\r\n"),
    ];
    for (what, body) in cases {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.offer(body).offer(SMUGGLED);
        let answer = client.try_response().unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let (rest, _) = client.wire.rest();
        assert!(rest.is_empty(), "{what}: a second answer: {:?}", String::from_utf8_lossy(&rest));
    }
    proxy.settles();
    assert_eq!(proxy.refused("bad_framing"), cases.len() as f64);
    assert_eq!(echo.requests(), 0, "the upstream got an incomplete body");
    for line in proxy.logged(cases.len()) {
        assert_eq!((line["status"].as_u64(), line["detail"].as_str()), (Some(400), Some("bad_framing")), "{line}");
    }
}

#[test]
fn endless_chunk_extensions_and_trailers_are_refused() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let one_extension = format!("5;{}", "e".repeat(20_000)).into_bytes();
    let many_extensions = "1;eeeeeeee\r\na\r\n".repeat(3_000).into_bytes();
    let one_trailer = format!("0\r\nA: {}", "x".repeat(70_000)).into_bytes();
    let many_trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(100)).into_bytes();
    for (what, body, status) in [
        ("one extension", one_extension, 400),
        ("many extensions", many_extensions, 400),
        ("one trailer", one_trailer, 431),
        ("many trailers", many_trailers, 431),
    ] {
        let mut client = proxy.connect();
        client.send(head).offer(body);
        let answer = client.try_response().unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        client.ends();
    }
    proxy.settles();
    assert_eq!((proxy.refused("bad_framing"), proxy.refused("headers_too_large")), (2.0, 2.0));
    assert_eq!(echo.requests(), 0);
}

#[test]
fn methods_that_are_not_served_are_refused() {
    check(&[
        bad("CONNECT with an authority", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "method"),
        bad("CONNECT with a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method"),
        bad("TRACE", "TRACE / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405, "method"),
    ]);
}

#[test]
fn paths_without_a_normal_form_are_refused() {
    let path = |what, path: &str| {
        bad(what, format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"), 400, "bad_path")
    };
    check(&[path("an escape that is none", "/%zz"), path("half an escape", "/a%2"), path("an escaped NUL", "/a%00b")]);
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let large = |what, lines: String| bad(what, with(&lines), 431, "headers_too_large");
    let path = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(length));
    check(&[
        large("one large field", format!("X: {}\r\n", "x".repeat(20_000))),
        large("many fields", "X: y\r\n".repeat(101)),
        large("a large name", format!("{}: y\r\n", "x".repeat(20_000))),
        large("many cookies", format!("Cookie: {}\r\n", "a=b; ".repeat(5_000))),
        large("a bomb of a megabyte", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(20_000)),
        bad("a target of 9 KiB", path(9 * 1024), 414, "uri_too_long"),
        bad("a target of a megabyte", path(1024 * 1024), 414, "uri_too_long"),
    ]);
}

#[test]
fn local_responses_never_read_a_body_as_a_request() {
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://test{path}", status = 308 }
[[route]]
name = "fixed"
match = { path = "/fixed" }
respond = { status = 403, body = "no" }
[[route]]
name = "small"
match = { path = "/small" }
stable = "main"
[route.limits]
body = "10B"
"#;
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(toml);
    for (path, status) in [("/moved", 308), ("/fixed", 403), ("/small", 413), ("/none", 404)] {
        // The body is a request itself, sent together with its head, or later.
        for later in [false, true] {
            for chunked in [false, true] {
                let head = if chunked {
                    format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
                } else {
                    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len())
                };
                let body = if chunked {
                    [format!("{:x}\r\n", SMUGGLED.len()).as_bytes(), SMUGGLED, b"\r\n0\r\n\r\n"].concat()
                } else {
                    SMUGGLED.to_vec()
                };
                let what = format!("{path}, later: {later}, chunked: {chunked}");
                let mut client = proxy.connect();
                // Only a chunked body must be read before its size is known.
                if later && !(chunked && status == 413) {
                    client.send(head);
                    let answer = client.read_response();
                    assert_eq!(answer.status, status, "{what}: {}", answer.text());
                    client.offer(body);
                } else {
                    client.send([head.as_bytes(), &body].concat());
                    let answer = client.read_response();
                    assert_eq!(answer.status, status, "{what}: {}", answer.text());
                }
                let mut own = true;
                if client.offer(b"GET /fixed HTTP/1.1\r\nHost: test\r\n\r\n").wire.try_send(b"") {
                    match client.try_response() {
                        // Either the connection has ended, or the next response belongs to the next request.
                        Ok(next) => assert_eq!((next.status, next.text()), (403, "no".to_owned()), "{what}"),
                        Err(_) => own = false,
                    }
                }
                if own {
                    client.finish();
                }
                let (rest, _) = client.wire.rest();
                assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&rest));
            }
        }
    }
    proxy.settles();
    assert_eq!(echo.requests(), 0, "a body was read as a request");
    assert_eq!(proxy.log_text().matches("/smuggled").count(), 0);
}

#[test]
fn hostile_values_stay_in_one_log_line() {
    let toml = r#"
[identity]
tenant = ["header:x-tenant"]
user = ["cookie:uid"]
trusted_proxies = ["127.0.0.0/8"]
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
sticky = ["tenant"]
[route.headers]
request = { set = { x-seen = "{tenant}" } }
response = { set = { x-seen = "{tenant}|{request_id}" } }
"#;
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(toml);
    let mut client = proxy.connect();
    let lines = [
        "User-Agent: \"quotes\" \\ {\"status\":200}\r\n",
        "X-Tenant: a\"b\\c\r\n",
        "X-Tenant: \u{85}\u{2028}\u{9b}31m\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: \"},{\"\r\n",
        "Referer: %0d%0aSet-Cookie: a=b\r\n",
    ];
    for line in lines {
        let answer = client.get("/a%0d%0a%1b%22", line);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        assert!(answer.fields("set-cookie").is_empty());
        assert_eq!(answer.fields("x-seen").len(), 1, "{line}");
    }
    drop(client);
    proxy.settles();
    let logged = proxy.logged(lines.len());
    assert_eq!(logged[1]["tenant"], "a\"b\\c");
    let text = proxy.log_text();
    assert_eq!(text.lines().count(), lines.len());
    let raw = |c: char| c != '\n' && (c.is_control() || c == '\u{2028}');
    assert!(!text.contains(raw), "control characters in the log: {text:?}");
}
