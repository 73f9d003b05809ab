//! HTTP/1.1 and 1.0 in and out in normal use: what passes, and how it is changed.

use std::time::Duration;

use crate::harness::upstream::hash;
use crate::harness::{ONE_ROUTE, Proxy, Raw, RefusingAddress, Upstream, field, until};

#[test]
fn a_request_passes() {
    let echo = Upstream::echo().named("one");
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let answer = client.get("/a/b?c=d", "X-Mine: 1\r\n");
    assert_eq!(answer.status, 200);
    let got = answer.json();
    assert_eq!(got["name"], "one");
    assert_eq!(got["target"], "/a/b?c=d");
    assert_eq!(answer.echoed("x-mine"), ["1"]);
    let answer = client.post("/upload", "", b"hello");
    assert_eq!(answer.json()["body"], "hello");
    drop(client);
    proxy.settles();
    let lines = proxy.logged(2);
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0]["termination"], "--");
    assert_eq!(lines[1]["request_bytes"], 5);
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), 2.0);
}

#[test]
fn fields_pass_unchanged_and_in_their_order() {
    let echo = Upstream::echo().lines("Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Empty:\r\n");
    let proxy = Proxy::to(&echo);
    let lines = "Accept: a\r\nX-Latin: \u{e4}\r\nX-Empty:\r\nAccept: b\r\nX-Tab: a\tb\r\nCookie: a=b; c=d\r\n";
    let answer = proxy.connect().get("/", lines);
    assert_eq!(answer.echoed("accept"), ["a", "b"]);
    assert_eq!(answer.echoed("x-latin"), ["\u{e4}"]);
    assert_eq!(answer.echoed("x-empty"), [""]);
    assert_eq!(answer.echoed("x-tab"), ["a\tb"]);
    assert_eq!(answer.echoed("cookie"), ["a=b; c=d"]);
    assert_eq!(answer.fields("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.field("x-empty"), Some(""));
}

#[test]
fn errors_of_upstreams_pass_unchanged() {
    let echo = Upstream::echo().status(503);
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for status in [503, 500, 404, 418, 299] {
        echo.answer_with(status);
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.json()["name"].as_str()), (status, Some("echo")));
        assert!(answer.field("proxy-status").is_none(), "the proxy reports an error of its own");
    }
    drop(client);
    proxy.settles();
    assert!(proxy.logged(5).iter().all(|line| line["termination"] == "--"));
}

#[test]
fn every_method_passes_with_its_body() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "get"] {
        for head in
            ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"]
        {
            client.send(format!("{method} /{method} HTTP/1.1\r\nHost: test\r\n{head}"));
            let answer = client.read_response();
            assert_eq!(answer.status, 200, "{method} {head:?}");
            assert_eq!(answer.json()["method"], method);
            assert_eq!(answer.json()["body"], "hello", "{method} {head:?}");
        }
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read_response().json()["target"], "*");
}

#[test]
fn bodies_of_get_and_head_arrive_whole_on_a_pipeline() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let mut pipeline = String::new();
    for i in 0..10 {
        let method = if i % 2 == 0 { "GET" } else { "HEAD" };
        let head = format!("{method} /{i} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let body = format!("a\r\nbody {i:05}\r\n0\r\n\r\n");
        pipeline.extend([head, body]);
    }
    client.send(pipeline);
    for i in 0..10 {
        let answer = client.read_response_to(if i % 2 == 0 { "GET" } else { "HEAD" });
        assert_eq!(answer.status, 200);
        if i % 2 == 0 {
            assert_eq!(answer.json()["target"], format!("/{i}"));
            assert_eq!(answer.json()["body"], format!("body {i:05}"));
        }
    }
    let got = echo.got();
    assert_eq!(got.len(), 10);
    for (i, got) in got.iter().enumerate() {
        assert_eq!(
            (got.target.as_str(), got.body.as_slice()),
            (format!("/{i}").as_str(), format!("body {i:05}").as_bytes())
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let all: Vec<String> = (0..200).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(all.concat());
    for i in 0..200 {
        assert_eq!(client.read_response().json()["target"], format!("/{i}"));
    }
    // Byte by byte the result is the same.
    for byte in
        b"GET /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: test\r\n\r\n"
    {
        client.send([*byte]);
    }
    assert_eq!(client.read_response().json()["body"], "abc");
    assert_eq!(client.read_response().json()["target"], "/next");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for _ in 0..100 {
        let answer = client.get("/", "");
        assert!(answer.field("connection").is_none());
    }
    assert_eq!(echo.accepted(), 1);
    assert_eq!(proxy.metric("pointsman_connections_accepted_total"), 1.0);
    let answer = client.get("/", "Connection: close\r\n");
    assert!(answer.closes());
    client.ends();
    proxy.settles();
    assert_eq!(echo.accepted(), 1, "the client's close reached the pool");
}

#[test]
fn http_1_0_clients_get_responses_that_they_can_read() {
    let chunked = Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let proxy = Proxy::to(&chunked);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()));
    assert!(answer.fields("transfer-encoding").is_empty(), "HTTP/1.0 has no chunks");
    client.ends();
    assert_eq!(chunked.got()[0].version, "HTTP/1.1");
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.read_response();
        assert_eq!(answer.field("connection").map(str::to_lowercase).as_deref(), Some("keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_response().status, 200, "HTTP/1.0 needs no Host");
}

#[test]
fn an_http_1_0_response_is_read_to_the_end_of_its_connection() {
    let old = Upstream::answering_once("HTTP/1.0 200 OK\r\n\r\nhello");
    let proxy = Proxy::to(&old);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let answer = client.get("/", "");
        assert_eq!((answer.version.as_str(), answer.text()), ("1.1", "hello".to_owned()));
    }
}

#[test]
fn responses_without_a_body_have_none() {
    let proxy_to = |answer: &str| {
        let upstream = Upstream::answering(answer);
        let proxy = Proxy::to(&upstream);
        (upstream, proxy)
    };
    let (_upstream, proxy) = proxy_to("HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.field("content-length")), (204, None));
        assert!(answer.fields("transfer-encoding").is_empty());
    }
    let (_upstream, proxy) = proxy_to("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 100\r\n\r\n");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.field("etag")), (304, Some("\"a\"")));
        assert!(answer.fields("transfer-encoding").is_empty());
    }
    let (_upstream, proxy) = proxy_to("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").read_response_to("HEAD");
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("1000")));
    }
    let (_upstream, proxy) = proxy_to("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").read_response_to("HEAD").status, 200);
    }
    let (_upstream, proxy) = proxy_to("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/", "").field("content-length"), Some("0"));
    }
}

#[test]
fn early_hints_pass() {
    let hinting = Upstream::script(|mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
            conn.send(
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\nconnection: x\r\n\r\n",
            );
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::to(&hinting);
    let mut client = proxy.connect();
    for _ in 0..20 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
        let hints: Vec<_> = answer.early.iter().filter(|(status, _)| *status == 103).collect();
        assert_eq!(hints.len(), 2, "{:?}", answer.early);
        assert_eq!(field(&hints[0].1, "link"), Some("</a.css>"));
        assert!(field(&hints[1].1, "connection").is_none());
    }
    // HTTP/1.0 has none of it.
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert!(client.read_response().early.is_empty());
}

#[test]
fn early_hints_arrive_before_the_response() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let hinting = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
            let _ = gone.lock().unwrap().recv();
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::to(&hinting);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.head().map(|(_, status, _)| status), Ok(103));
        go.send(()).unwrap();
        assert_eq!(client.read_response().status, 200);
    }
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn expect_100_continue_asks_for_the_body() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(EXPECTING);
        assert_eq!(client.head().map(|(_, status, _)| status), Ok(100), "100 Continue does not wait for the upstream");
        client.send("hello");
        let answer = client.read_response();
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("hello")));
        assert!(answer.early.is_empty(), "a second 100");
        // A client that does not wait is valid too.
        client.send([EXPECTING.as_bytes(), b"hello"].concat());
        assert_eq!(client.read_response().json()["body"], "hello");
    }
}

#[test]
fn a_refused_expectation_does_not_confuse_responses() {
    let refusing = Upstream::script(|mut conn| {
        // 417 or 413 without reading the body, then a close; a request without an expectation is answered.
        let Ok(got) = conn.head() else { return };
        if got.field("expect").is_some() || got.target == "/refuse" {
            let status = if conn.number % 2 == 0 { "417 Expectation Failed" } else { "413 Too Large" };
            conn.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
            conn.wire.finish();
            conn.wait();
        } else {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    let proxy = Proxy::to(&refusing);
    for i in 0..50 {
        let mut client = proxy.connect();
        client.send(EXPECTING.replace("POST /", "POST /refuse"));
        let answer = client.read_response();
        assert!(matches!(answer.status, 413 | 417), "{i}: {}", answer.status);
        if !answer.closes() {
            // The client sends the body when it was asked for, and continues.
            if answer.early.iter().any(|(status, _)| *status == 100) {
                client.send("hello");
            }
        }
        let mut next = proxy.connect();
        assert_eq!(next.get("/", "").text(), "ok", "{i}");
    }
    proxy.settles();
    proxy.logged(100);
}

#[test]
fn large_bodies_stream_both_ways() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let body: Vec<u8> = (0..5_000_000_u32).map(|i| (i.wrapping_mul(0x9e37_79b9)).to_be_bytes()[0]).collect();
    let answer = proxy.connect().post("/", "", &body);
    assert_eq!(answer.json()["body_bytes"], body.len());
    assert_eq!(answer.json()["body_hash"], hash(&body));
    let given = body.clone();
    let sending = Upstream::script(move |mut conn| {
        let mut chunked = false;
        while conn.request().is_ok() {
            if chunked {
                conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                for piece in given.chunks(77_777) {
                    conn.send(format!("{:x}\r\n", piece.len()));
                    conn.send(piece);
                    conn.send("\r\n");
                }
                conn.send("0\r\n\r\n");
            } else {
                conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", given.len()));
                conn.send(&given);
            }
            chunked = !chunked;
        }
    });
    let proxy = Proxy::to(&sending);
    let mut client = proxy.connect();
    for _ in 0..4 {
        assert!(client.get("/", "").body == body, "a body was changed");
    }
}

#[test]
fn bytes_pass_before_a_body_is_complete() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let slow = Upstream::script(move |mut conn| {
        let Ok(_) = conn.head() else { return };
        // The first chunk of the request has arrived before the second is sent.
        assert_eq!(conn.wire.line().unwrap(), b"5");
        conn.wire.exact(7).unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        let _ = gone.lock().unwrap().recv();
        conn.send("6\r\nsecond\r\n0\r\n\r\n");
        conn.wait();
    });
    let proxy = Proxy::to(&slow);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    assert_eq!(client.head().map(|(_, status, _)| status), Ok(200));
    assert_eq!(client.wire.line().unwrap(), b"5");
    assert_eq!(client.wire.exact(7).unwrap(), b"first\r\n");
    go.send(()).unwrap();
    assert_eq!(client.wire.line().unwrap(), b"6");
}

#[test]
fn clients_that_reset_cancel_their_requests() {
    for waiting in [true, false] {
        let upstream = Upstream::script(move |mut conn| {
            let Ok(_) = conn.request() else { return };
            if !waiting {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
            }
            conn.wait();
        });
        let what = format!("waiting for the head: {waiting}");
        let proxy = Proxy::to(&upstream);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        until("the request arrives", || (upstream.requests() == 1).then_some(()));
        if !waiting {
            assert_eq!(client.head().map(|(_, status, _)| status), Ok(200));
        }
        client.reset();
        until("the upstream's connection ends", || (upstream.open() == 0).then_some(()));
        proxy.settles();
        let line = &proxy.logged(1)[0];
        let expected = if waiting { "CH" } else { "CB" };
        assert_eq!(line["termination"], expected, "{what}: {line}");
        assert_eq!(proxy.metric_sum("pointsman_requests_total"), 1.0, "{what}");
        assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"main\"}"), 0.0, "{what}");
    }
}

#[test]
fn clients_that_close_are_noticed_when_they_are_written_to() {
    // The end of the client's bytes can be a half-close or a close: only a write shows which.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::script(move |mut conn| {
        let Ok(_) = conn.request() else { return };
        let _ = gone.lock().unwrap().recv();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n");
        while conn.send([b'x'; 10_000]) {}
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request arrives", || (upstream.requests() == 1).then_some(()));
    drop(client);
    go.send(()).unwrap();
    until("the upstream's connection ends", || (upstream.open() == 0).then_some(()));
    proxy.settles();
    assert_eq!(proxy.logged(1)[0]["termination"], "CB");
    assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"main\"}"), 0.0);
}

#[test]
fn clients_that_close_within_a_body_never_complete_it() {
    for reset in [false, true] {
        for body in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let echo = Upstream::echo();
            let proxy = Proxy::to(&echo);
            let mut client = proxy.connect();
            client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{body}"));
            until("the request arrives", || (echo.accepted() == 1).then_some(()));
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            until("the upstream's connection ends", || (echo.open() == 0).then_some(()));
            proxy.settles();
            assert_eq!(echo.requests(), 0, "a partial body was taken for a complete one");
            let line = &proxy.logged(1)[0];
            assert_eq!(line["termination"].as_str().map(|letters| &letters[..1]), Some("C"), "{line}");
            assert_eq!(line["detail"], "client_gone", "{line}");
        }
    }
}

#[test]
fn a_closed_client_ends_a_request_without_a_timeout() {
    let mute = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.wait();
        }
    });
    let toml = ONE_ROUTE.replace("[[route]]", "[[route]]\ntimeout = { request = \"0s\" }");
    let proxy = Proxy::with("main", &mute).limits("idle_timeout = \"500ms\"").start(&toml);
    let mut gone = proxy.connect();
    gone.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the upstream has it", || (mute.accepted() == 1).then_some(()));
    drop(gone);
    until("the upstream's connection ends", || (mute.open() == 0).then_some(()));
    proxy.settles();
}

#[test]
fn half_closed_clients_are_answered() {
    const GET: &str = "GET /a HTTP/1.1\r\nHost: test\r\n\r\n";
    const SIZED: &str = "POST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &str = "PUT /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const OLD: &str = "GET /d HTTP/1.0\r\nHost: test\r\n\r\n";
    const UPGRADE: &str = "GET /e HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let echo = Upstream::echo().delay(Duration::from_millis(20));
    let proxy = Proxy::to(&echo);
    let mut answered = 0;
    for requests in [
        &[GET][..],
        &[SIZED],
        &[CHUNKED],
        &[OLD],
        &[UPGRADE],
        &[GET, SIZED, CHUNKED, GET, UPGRADE, GET],
        &[GET, "GET /half HTTP/1.1\r\nHo"],
    ] {
        // The end comes with the request, or when the upstream has it.
        for later in [false, true] {
            let whole = requests.iter().filter(|request| !request.contains("/half"));
            let mut client = proxy.connect();
            client.send(requests.concat());
            if later {
                until("the request arrives", || (echo.requests() > answered).then_some(()));
            }
            client.finish();
            for request in whole {
                let answer = client.read_response();
                assert_eq!(answer.status, 200, "{request:?} of {requests:?}");
                assert_eq!(answer.json()["target"], request.split(' ').nth(1).unwrap(), "{requests:?}");
                answered += 1;
            }
            client.ends();
        }
    }
    proxy.settles();
    let lines = proxy.logged(usize::try_from(answered).unwrap());
    assert!(lines.iter().all(|line| line["termination"] == "--"), "{lines:?}");
    assert_eq!(echo.requests(), answered);
}

#[test]
fn half_closed_clients_get_long_responses_complete() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let answer = [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let upstream = Upstream::answering(answer);
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "fixed"
match = { path = "/fixed" }
respond = { status = 200, body = "fixed" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;
    let proxy = Proxy::with("main", &upstream).start(toml);
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /fixed HTTP/1.1\r\nHost: test\r\n\r\n").finish();
        // The client reads nothing before all buffers on the way are full.
        until("the answer has begun", || client.wire.has_bytes().then_some(()));
        assert!(client.read_response().body == body);
        assert_eq!(client.read_response().text(), "fixed");
        client.ends();
    }
    proxy.settles();
}

#[test]
fn a_half_close_inside_a_message_is_an_error() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    for part in [
        "GET / HTTP/1.1\r\nHost: te",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r",
    ] {
        let mut client = proxy.connect();
        client.send(part).finish();
        let answer = client.try_response();
        assert!(!matches!(&answer, Ok(answer) if answer.status < 400), "{part:?}: {answer:?}");
    }
    proxy.settles();
    assert_eq!(echo.requests(), 0);
}

#[test]
fn an_unreachable_upstream_is_502_and_recovers() {
    let upstream = RefusingAddress::new();
    let proxy =
        crate::harness::proxy::Setup::default().place("main", upstream.address()).start(crate::harness::ONE_ROUTE);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 502);
    let listener = upstream.listen();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut upstream = Raw { wire: crate::harness::Wire::new(stream) };
        upstream.wire.line().unwrap();
        upstream.wire.fields().unwrap();
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    assert_eq!(client.get("/", "").status, 200);
    serving.join().unwrap();
}

#[test]
fn many_clients_at_once_get_their_own_responses() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).workers(2).start(crate::harness::ONE_ROUTE);
    std::thread::scope(|scope| {
        for client in 0..16 {
            let address = proxy.address();
            scope.spawn(move || {
                let mut raw = Raw::connect(address);
                for i in 0..100 {
                    let body = format!("{client}-{i}");
                    let answer = raw.post(&format!("/{client}/{i}"), "", body.as_bytes());
                    assert_eq!(answer.json()["target"], format!("/{client}/{i}"));
                    assert_eq!(answer.json()["body"], body);
                }
            });
        }
    });
    proxy.settles();
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), 1600.0);
    assert_eq!(echo.requests(), 1600);
    proxy.logged(1600);
}
