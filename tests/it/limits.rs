//! Limits of the listener and of routes on HTTP/1.1: time, rate, size and number. The timeouts are short to keep the
//! tests fast; unit tests of the timers check that nothing happens early.

use std::time::Duration;

use crate::harness::{Broken, ONE_ROUTE, Proxy, Upstream, until};

#[test]
fn a_slow_head_is_answered_408() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("header_timeout = \"300ms\"").start(ONE_ROUTE);
    let mut bystander = proxy.connect();
    assert_eq!(bystander.get("/", "").status, 200);
    for head in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: test\r\nX: "] {
        let mut client = proxy.connect();
        client.send(head);
        let answer = client.try_response().unwrap_or_else(|broken| panic!("{head:?}: {broken:?}"));
        assert_eq!(answer.status, 408, "{head:?}");
        assert!(answer.closes());
        client.ends();
        assert_eq!(bystander.get("/", "").status, 200);
    }
    drop(bystander);
    proxy.settles();
    assert_eq!(proxy.refused("header_timeout"), 3.0);
    let lines = proxy.logged(7);
    let timed_out: Vec<_> = lines.iter().filter(|line| line["status"] == 408).collect();
    assert_eq!(timed_out.len(), 3);
    assert!(timed_out.iter().all(|line| line["termination"] == "CR" && line["detail"] == "header_timeout"));
}

#[test]
fn a_head_that_trickles_is_answered_408() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("header_timeout = \"300ms\"").start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX: ");
    // Single bytes do not move the deadline.
    until("the head's deadline", || {
        client.offer("y");
        client.wire.has_bytes().then_some(())
    });
    assert_eq!(client.read_response().status, 408);
}

#[test]
fn a_silent_connection_is_closed() {
    let echo = Upstream::echo();
    let limits = "header_timeout = \"300ms\"\nidle_timeout = \"300ms\"";
    let proxy = Proxy::with("main", &echo).limits(limits).start(ONE_ROUTE);
    proxy.connect().ends();
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/", "").status, 200);
    idle.ends();
    proxy.settles();
    assert_eq!(proxy.logged(1)[0]["termination"], "--");
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("stall_timeout = \"300ms\"").start(ONE_ROUTE);
    for head in ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{head}"));
        let answer = client.read_response();
        assert_eq!(answer.status, 408, "{}", answer.text());
        client.ends();
    }
    proxy.settles();
    assert_eq!(proxy.refused("body_too_slow"), 2.0);
    assert_eq!(echo.requests(), 0);
    for line in proxy.logged(2) {
        assert_eq!(line["termination"].as_str().map(|letters| &letters[..1]), Some("C"), "{line}");
        assert_eq!(line["detail"], "body_too_slow");
    }
    until("the upstream's connections end", || (echo.open() == 0).then_some(()));
}

/// More than all buffers on the way take.
const LARGE: usize = 30_000_000;

#[test]
fn a_slow_upstream_does_not_count_against_its_client() {
    let slow = Upstream::script(|mut conn| {
        drop(conn.head());
        // Longer than the client may stall, with the buffers of the proxy and of the kernel full.
        std::thread::sleep(Duration::from_millis(2500));
        match conn.wire.exact(LARGE) {
            Ok(_) => conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Err(broken) => panic!("{broken:?}"),
        };
    });
    let proxy = Proxy::with("main", &slow).limits("stall_timeout = \"1s\"").start(ONE_ROUTE);
    let mut client = proxy.connect();
    let answer = client.post("/", "", &vec![b'x'; LARGE]);
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    assert_eq!(proxy.refused("body_too_slow"), 0.0);
}

#[test]
fn a_reader_that_stalls_is_cut() {
    let large = Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
            let piece = vec![b'x'; 1 << 20];
            while conn.send(&piece) {}
        }
    });
    let proxy = Proxy::with("main", &large).limits("stall_timeout = \"500ms\"").start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let (_, status, _) = client.head().unwrap();
    assert_eq!(status, 200);
    until("the reader is cut", || (proxy.refused("reader_stalled") == 1.0).then_some(()));
    proxy.settles();
    let line = &proxy.logged(1)[0];
    assert_eq!(line["termination"], "CB", "{line}");
    until("the upstream's connection ends", || (large.open() == 0).then_some(()));
    drop(client);
}

#[test]
fn bodies_beyond_the_limit_are_413() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&format!("{ONE_ROUTE}[route.limits]\nbody = \"1KiB\"\n"));
    let body = vec![b'x'; 1024];
    assert_eq!(proxy.connect().post("/", "", &body).json()["body_bytes"], 1024);
    let over = vec![b'x'; 1025];
    let answer = proxy.connect().post("/", "", &over);
    assert_eq!((answer.status, answer.closes()), (413, true));
    let mut chunked = proxy.connect();
    chunked.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    chunked.offer("400\r\n").offer(&body).offer("\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(chunked.read_response().status, 413);
    chunked.ends();
    proxy.settles();
    assert_eq!(proxy.refused("body_too_large"), 2.0);
    assert_eq!(echo.requests(), 1, "the upstream got a body that is too large as a complete one");
}

#[test]
fn a_head_may_be_as_large_as_all_its_limits_allow() {
    let echo = Upstream::echo();
    let limits = "uri_bytes = \"64KiB\"\nheader_bytes = \"64KiB\"";
    let proxy = Proxy::with("main", &echo).limits(limits).start(ONE_ROUTE);
    let (target, field) = (format!("/{}", "t".repeat(64_000)), format!("x-large: {}\r\n", "y".repeat(64_000)));
    for count in 1..=3 {
        assert_eq!(proxy.connect().get(&target, &field).status, 200);
        assert_eq!(echo.requests(), count);
    }
    assert_eq!(proxy.refused("headers_too_large"), 0.0);
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    for (limits, reason) in [("connections = 2", "connections"), ("connections_per_ip = 2", "connections_per_ip")] {
        let echo = Upstream::echo();
        let proxy = Proxy::with("main", &echo).limits(limits).start(ONE_ROUTE);
        let (mut first, mut second) = (proxy.connect(), proxy.connect());
        assert_eq!((first.get("/", "").status, second.get("/", "").status), (200, 200));
        let mut third = proxy.connect();
        third.offer("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        match third.try_response() {
            Ok(answer) => assert_eq!(answer.status, 503, "{reason}"),
            Err(broken) => assert!(matches!(broken, Broken::Closed | Broken::Reset), "{reason}: {broken:?}"),
        }
        assert_eq!(proxy.refused(reason), 1.0);
        assert_eq!(first.get("/", "").status, 200, "{reason}: other clients are served");
        drop((first, second));
        proxy.settles();
        assert_eq!(proxy.connect().get("/", "").status, 200, "{reason}: room again");
    }
}

#[test]
fn limits_per_address_apply_across_workers() {
    let echo = Upstream::echo();
    let setup = Proxy::with("main", &echo).workers(4).limits("connections_per_ip = 6\nconnection_rate_per_ip = 8");
    let proxy = setup.start(ONE_ROUTE);
    let mut clients: Vec<_> = (0..6).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/", "").status == 200), "whichever worker took it");
    let mut seventh = proxy.connect();
    seventh.offer("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(seventh.try_response().map_or(true, |answer| answer.status == 503));
    assert_eq!(proxy.refused("connections_per_ip"), 1.0);
    drop(clients);
    proxy.settles();
    // One at a time, so that only the rate counts; the bucket had eight tokens, of which seven are used.
    until("connections come too fast", || {
        for _ in 0..10 {
            let mut client = proxy.connect();
            client.offer("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            let _ = client.try_response();
        }
        (proxy.refused("connection_rate") > 0.0).then_some(())
    });
}

#[test]
fn a_body_that_is_far_too_slow_is_answered_408() {
    let echo = Upstream::echo();
    // Single bytes never stall, but they are too slow after the first five seconds.
    let proxy = Proxy::with("main", &echo).limits("body_rate = 1000000").start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    until("the rate's deadline", || {
        client.offer("y");
        client.wire.has_bytes().then_some(())
    });
    assert_eq!(client.read_response().status, 408);
    assert_eq!(proxy.refused("body_too_slow"), 1.0);
}

#[test]
fn requests_beyond_the_limit_are_503() {
    let slow = Upstream::echo().held();
    let proxy = Proxy::with("main", &slow).limits("requests = 1").start(ONE_ROUTE);
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the first is under way", || (slow.requests() == 1).then_some(()));
    let answer = proxy.connect().get("/second", "");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    slow.release();
    assert_eq!(first.read_response().status, 200);
    assert_eq!(proxy.refused("requests"), 1.0);
    drop(first);
    proxy.settles();
}

#[test]
fn the_limits_of_an_upstream_are_503() {
    for limit in ["requests = 1", "connections = 1, pending = 0"] {
        let slow = Upstream::echo().held();
        let toml = ONE_ROUTE.replace("[[route]]", &format!("limits = {{ {limit} }}\n[[route]]"));
        let proxy = Proxy::with("main", &slow).start(&toml);
        let mut first = proxy.connect();
        first.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n");
        until("the first is under way", || (slow.requests() == 1).then_some(()));
        let answer = proxy.connect().get("/second", "");
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")), "{limit}: {}", answer.text());
        slow.release();
        assert_eq!(first.read_response().status, 200);
        assert_eq!(slow.requests(), 1);
        drop(first);
        proxy.settles();
    }
}

#[test]
fn an_upstream_that_never_answers_is_504() {
    let silent = Upstream::script(|mut conn| {
        drop(conn.request());
        conn.wait();
    });
    let proxy = Proxy::with("main", &silent).start(&format!("{ONE_ROUTE}[route.timeout]\nrequest = \"300ms\"\n"));
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/", "");
        assert_eq!(answer.status, 504);
        assert_eq!(
            answer.field("proxy-status"),
            Some("pointsman; error=http_response_timeout; details=\"response_timeout\"")
        );
    }
    drop(client);
    proxy.settles();
    for line in proxy.logged(2) {
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("UH"), Some("response_timeout")));
    }
    until("its connections end", || (silent.open() == 0).then_some(()));
}

#[test]
fn an_upstream_that_stops_in_its_body_is_cut() {
    let stalling = Upstream::script(|mut conn| {
        drop(conn.request());
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        conn.wait();
    });
    let proxy = Proxy::with("main", &stalling).start(&format!("{ONE_ROUTE}[route.timeout]\nidle = \"300ms\"\n"));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let broken = client.try_response();
    assert!(matches!(broken, Err(Broken::Closed | Broken::Reset)), "a body of five was taken for ten: {broken:?}");
    drop(client);
    proxy.settles();
    let line = &proxy.logged(1)[0];
    assert_eq!(line["termination"], "UB", "{line}");
    until("its connection ends", || (stalling.open() == 0).then_some(()));
}
