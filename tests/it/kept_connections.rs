//! What a connection of HTTP/1.1 and 1.0 is worth after a local response, an unread body, an expectation, and a request in
//! one of the rarer forms.

use std::io::Write as _;

use crate::harness::proxy::Setup;
use crate::harness::{Proxy, Raw, RefusingAddress, Upstream, until};

/// A route for each kind of local response.
const LOCAL: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[upstream.gone]
endpoints = ["http://{gone}"]
[upstream.mute]
endpoints = ["http://{mute}"]
[[route]]
name = "ok"
match = { path = "/ok" }
stable = "main"
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
limits = { body = "1B" }
[[route]]
name = "limited"
match = { path = "/limited" }
stable = "main"
[[route.rate_limit]]
per = "route"
rate = "1/h"
burst = 1
[[route]]
name = "gone"
match = { path = "/gone" }
stable = "gone"
[[route]]
name = "mute"
match = { path = "/mute" }
stable = "mute"
timeout = { request = "100ms" }
"#;

/// The paths of [`LOCAL`] whose responses are local, and their statuses.
const ANSWERS: [(&str, u16); 7] = [
    ("/a%zz", 400),
    ("/none", 404),
    ("/moved", 308),
    ("/fixed", 403),
    ("/limited", 429),
    ("/gone", 502),
    ("/mute", 504),
];

struct Scene {
    echo: Upstream,
    _mute: Upstream,
    _gone: RefusingAddress,
    proxy: Proxy,
}

fn scene() -> Scene {
    let (echo, gone) = (Upstream::echo(), RefusingAddress::new());
    let mute = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.wait();
        }
    });
    let setup = Setup::default().with("main", &echo).with("mute", &mute).place("gone", gone.address());
    let proxy = setup.start(LOCAL);
    // Takes the one token.
    assert_eq!(proxy.connect().get("/limited", "").status, 200);
    Scene { echo, _mute: mute, _gone: gone, proxy }
}

/// The next request of a connection has its own response, or the connection has ended.
#[track_caller]
fn goes_on(client: &mut Raw, what: &str) -> bool {
    client.offer("GET /ok HTTP/1.1\r\nHost: test\r\nX-Last: 1\r\n\r\n");
    match client.try_response() {
        Ok(answer) => {
            assert_eq!((answer.status, answer.echoed("x-last")), (200, vec!["1".to_owned()]), "{what}");
            true
        }
        Err(_) => false,
    }
}

#[test]
fn a_connection_goes_on_after_every_local_response() {
    let scene = scene();
    let mut client = scene.proxy.connect();
    for round in 0..3 {
        for (path, status) in ANSWERS {
            for request in [
                format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"),
                format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello"),
                format!(
                    "POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                ),
            ] {
                let what = format!("{round}: {request:?}");
                let answer = client.send(&request).read_response();
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                let closes = answer.closes();
                assert!(!closes || request.starts_with("POST") || status == 400, "{what}: no body is in the way");
                assert_eq!(goes_on(&mut client, &what), !closes, "{what}: the end is announced");
                if closes {
                    client = scene.proxy.connect();
                }
            }
            let answer = client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n")).read_response_to("HEAD");
            assert_eq!((answer.status, answer.closes()), (status, status == 400), "HEAD {path}");
            assert_eq!(goes_on(&mut client, path), status != 400, "HEAD {path}");
            if status == 400 {
                client = scene.proxy.connect();
            }
        }
    }
    drop(client);
    scene.proxy.settles();
    assert!(scene.echo.got().iter().all(|got| matches!(got.target.as_str(), "/ok" | "/limited")));
}

#[test]
fn an_unread_body_is_no_request_whatever_its_size() {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    let scene = scene();
    for (path, status) in ANSWERS.into_iter().chain([("/small", 413)]) {
        for chunked in [false, true] {
            // Far more than the proxy reads for a response that needs no body.
            let content = SMUGGLED.repeat(100_000);
            let (head, body) = if chunked {
                let part = format!("{:x}\r\n{SMUGGLED}\r\n", SMUGGLED.len());
                ("Transfer-Encoding: chunked".to_owned(), part.repeat(100_000) + "0\r\n\r\n")
            } else {
                (format!("Content-Length: {}", content.len()), content)
            };
            let what = format!("{path}, chunked: {chunked}");
            let mut client = scene.proxy.connect();
            let mut writer = client.wire.writer();
            let request = format!("POST {path} HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n{body}");
            std::thread::scope(|scope| {
                // The proxy may end the connection before it has all.
                scope.spawn(move || drop(writer.write_all(request.as_bytes())));
                let answer = client.read_response();
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                // A close within the body ends the writer.
                if answer.closes() {
                    let (rest, _) = client.wire.rest();
                    assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&rest));
                }
            });
            if goes_on(&mut client, &what) {
                client.finish();
            }
            let (rest, _) = client.wire.rest();
            assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&rest));
        }
    }
    scene.proxy.settles();
    assert!(scene.echo.got().iter().all(|got| got.target != "/smuggled"));
    assert_eq!(scene.proxy.log_text().matches("/smuggled").count(), 0);
}

#[test]
fn an_expectation_that_is_answered_at_once_gets_no_100() {
    const BODY: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    let scene = scene();
    for (path, status) in [("/none", 404), ("/moved", 308), ("/fixed", 403), ("/small", 413), ("/a%zz", 400)] {
        for sends_the_body in [false, true] {
            let what = format!("{path}, with its body: {sends_the_body}");
            let mut client = scene.proxy.connect();
            let length = BODY.len();
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
            ));
            let answer = client.read_response();
            assert_eq!((answer.status, answer.early.len()), (status, 0), "{what}");
            if sends_the_body {
                client.offer(BODY);
                // The body is read as one, or the connection has ended.
                goes_on(&mut client, &what);
            }
            client.finish();
            let (rest, _) = client.wire.rest();
            assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&rest));
        }
    }
    scene.proxy.settles();
    assert!(scene.echo.got().iter().all(|got| got.target != "/smuggled"));
}

#[test]
fn expectations_that_ask_for_nothing_get_nothing() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    // HTTP/1.0 has no 100 (RFC 9110 §10.1.1).
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    );
    let answer = client.read_response();
    assert_eq!((answer.status, answer.early.len(), answer.json()["body"].as_str()), (200, 0, Some("hello")));
    // Without a body there is nothing to wait for.
    let mut client = proxy.connect();
    for lines in ["", "Content-Length: 0\r\n"] {
        let answer = client.get("/", &format!("Expect: 100-continue\r\n{lines}"));
        assert_eq!((answer.status, answer.early.len()), (200, 0), "{lines:?}");
    }
    // In chunks, in capitals, and the next request after it.
    for _ in 0..3 {
        client.send("PUT / HTTP/1.1\r\nHost: test\r\nexpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(client.head().map(|(_, status, _)| status), Ok(100));
        client.send("5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.read_response().json()["body"], "hello");
        assert_eq!(client.read_response().json()["target"], "/next");
    }
}

#[test]
fn a_half_close_before_the_body_that_was_asked_for_ends_the_request() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().map(|(_, status, _)| status), Ok(100));
    client.finish();
    let answer = client.try_response();
    assert!(!matches!(&answer, Ok(answer) if answer.status < 400), "{answer:?}");
    proxy.settles();
    assert_eq!(echo.requests(), 0);
}

#[test]
fn an_early_response_leaves_the_rest_of_the_upload_a_body() {
    const BODY: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    // Answers behind the head, and reads the body afterwards.
    let early = Upstream::script(|mut conn| {
        while let Ok(got) = conn.head() {
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", got.target.len(), got.target));
            if conn.wire.framed(&got.headers).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::to(&early);
    for chunked in [false, true] {
        let (lines, body) = if chunked {
            ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()))
        } else {
            (format!("Content-Length: {}", BODY.len()), BODY.to_owned())
        };
        let mut client = proxy.connect();
        client.send(format!("POST /upload HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n{}", &body[..5]));
        assert_eq!(client.read_response().text(), "/upload");
        client.offer(&body[5..]).offer("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
        // Either the connection has ended, or the next response is that of the next request.
        if let Ok(answer) = client.try_response() {
            assert_eq!(answer.text(), "/next", "chunked: {chunked}");
        }
        drop(client);
        proxy.settles();
        assert_eq!(proxy.log_text().matches("/smuggled").count(), 0);
    }
}

#[test]
fn rarer_forms_of_requests_reach_the_upstream_in_origin_form() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for (request, target) in [
        ("GET http://test/a?b=c HTTP/1.1\r\nHost: test\r\n\r\n", "/a?b=c"),
        ("GET http://test HTTP/1.1\r\nHost: test\r\n\r\n", "/"),
        ("GET http://test?b HTTP/1.1\r\nHost: test\r\n\r\n", "/?b"),
        ("GET HTTP://test/a HTTP/1.1\r\nHost: test\r\n\r\n", "/a"),
        ("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", "*"),
        ("OPTIONS /a HTTP/1.1\r\nHost: test\r\n\r\n", "/a"),
        ("\r\nGET /after-an-empty-line HTTP/1.1\r\nHost: test\r\n\r\n", "/after-an-empty-line"),
        ("GET / HTTP/1.1\r\nhOsT:test\r\n\r\n", "/"),
        ("GET / HTTP/1.1\r\nX:   padded \t \r\nHost:\t test \t\r\n\r\n", "/"),
        ("GET /?\"<>\\^`{|}\u{e4} HTTP/1.1\r\nHost: test\r\n\r\n", "/?\"<>\\^`{|}\u{e4}"),
    ] {
        let answer = client.send(request).read_response();
        let got = answer.json();
        assert_eq!((answer.status, got["target"].as_str()), (200, Some(target)), "{request:?}");
        assert_eq!(answer.echoed("host"), ["test"], "{request:?}");
        if request.contains("padded") {
            assert_eq!(answer.echoed("x"), ["padded"]);
        }
    }
    drop(client);
    proxy.settles();
}

#[test]
fn a_response_up_to_the_end_of_its_connection_ends_that_of_an_http_1_0_client() {
    let old = Upstream::answering_once("HTTP/1.0 200 OK\r\n\r\nhello");
    let proxy = Proxy::to(&old);
    for lines in ["", "Connection: keep-alive\r\n"] {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.0\r\nHost: test\r\n{lines}\r\n"));
        let answer = client.read_response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{lines:?}");
        assert!(answer.fields("transfer-encoding").is_empty(), "{lines:?}");
        client.ends();
    }
    until("its connections end", || (old.open() == 0).then_some(()));
    proxy.settles();
}

#[test]
fn http_1_0_clients_may_keep_their_connection_and_pipeline() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let keep = |number| format!("GET /{number} HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: test\r\n\r\n");
    client.send((0..50).map(keep).collect::<String>() + "GET /last HTTP/1.0\r\nHost: test\r\n\r\n");
    for number in 0..50 {
        let answer = client.read_response();
        assert_eq!(answer.json()["target"], format!("/{number}"));
        assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")));
    }
    assert_eq!(client.read_response().json()["target"], "/last");
    client.ends();
    proxy.settles();
    assert_eq!(echo.requests(), 51);
}
