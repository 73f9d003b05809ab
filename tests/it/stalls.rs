//! Peers that stop in the middle: readers that do not read, senders that do not send, heads that do not end, upstreams
//! that refuse. Each of them affects only itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use h2::Reason;
use http::{HeaderMap, Response};

use crate::harness::frames::{self, END_HEADERS, END_STREAM, Fate, Frames, INITIAL_WINDOW_SIZE};
use crate::harness::{H2, ONE_ROUTE, Proxy, Raw, Upstream, until};

fn get() -> Vec<u8> {
    frames::block(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")])
}

fn post() -> Vec<u8> {
    frames::block(&[(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")])
}

#[test]
fn an_unread_response_is_reset_and_other_streams_continue() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("stall_timeout = \"300ms\"\nbody_rate = 0").start(ONE_ROUTE);
    let mut client = Frames::connect(proxy.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    client.headers(1, END_STREAM, &get());
    assert_eq!(client.fate(1), Fate::Reset(u32::from(Reason::CANCEL)));
    assert_eq!(proxy.refused("reader_stalled"), 1.0);
    let line = &proxy.logged(1)[0];
    assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("CB"), Some("reader_stalled")));
    let mut patient = H2::connect(proxy.address());
    assert_eq!(patient.get("/").status, 200);
}

#[test]
fn a_stalled_upload_is_408_and_does_not_count_against_the_upstream() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("stall_timeout = \"300ms\"").start(ONE_ROUTE);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.headers(1, 0, &post());
    let fate = client.fate(1);
    assert!(matches!(fate, Fate::Answered(408, _)), "{fate:?}");
    assert_eq!(proxy.logged(1)[0]["detail"], "body_too_slow");
    assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"main\"}"), 0.0);
}

#[test]
fn an_idle_connection_that_ignores_goaway_is_closed() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("idle_timeout = \"300ms\"").start(ONE_ROUTE);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.polite = false;
    client.headers(1, END_STREAM, &get());
    assert!(matches!(client.fate(1), Fate::Answered(200, _)));
    assert_eq!(client.end(), Some(0), "it gets GOAWAY, and is closed as it ignores it");
}

#[test]
fn an_endless_head_closes_its_connection() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("header_timeout = \"300ms\"").start(ONE_ROUTE);
    let block = get();
    // A HEADERS frame without END_HEADERS, and half a HEADERS frame.
    let begun = frames::frame(frames::HEADERS, END_STREAM, 1, &block);
    let half = &frames::frame(frames::HEADERS, END_STREAM | END_HEADERS, 1, &block)[..12];
    for bytes in [&begun[..], half] {
        let mut client = Frames::connect(proxy.address(), &[]);
        // An acknowledgement would break into the block.
        client.polite = false;
        client.write(bytes);
        client.end();
    }
    assert_eq!(proxy.refused("header_timeout"), 2.0);
}

/// Under way: a request that is never answered, and the first half of another one.
fn half_a_head_behind_a_request(proxy: &Proxy, mute: &Upstream) -> (Frames, Vec<u8>) {
    let head = frames::frame(frames::HEADERS, END_STREAM | END_HEADERS, 3, &frames::get("test", "/none"));
    let mut client = Frames::connect(proxy.address(), &[]);
    // An acknowledgement would break into the head.
    client.polite = false;
    let waits = frames::frame(frames::HEADERS, END_STREAM | END_HEADERS, 1, &frames::get("test", "/mute"));
    let before = mute.accepted();
    assert!(client.write(&[&waits, &head[..12]].concat()));
    until("the first has arrived, and the bytes behind it were read", || (mute.accepted() > before).then_some(()));
    (client, head[12..].to_vec())
}

fn mute() -> (Upstream, String) {
    let mute = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.wait();
        }
    });
    (mute, ONE_ROUTE.replace("/*", "/mute"))
}

#[test]
fn half_a_head_times_out_while_other_streams_continue() {
    let (mute, route) = mute();
    let proxy = Proxy::with("main", &mute).limits("header_timeout = \"300ms\"").start(&route);
    let (mut client, _rest) = half_a_head_behind_a_request(&proxy, &mute);
    client.end();
    assert_eq!(proxy.refused("header_timeout"), 1.0);
}

#[test]
fn heads_completed_later_clear_their_deadline_and_no_other() {
    let (mute, route) = mute();
    let limits = "header_timeout = \"2s\"\nidle_timeout = \"2600ms\"";
    let proxy = Proxy::with("main", &mute).limits(limits).start(&route);
    for is_idle in [true, false] {
        let (mut client, mut rest) = half_a_head_behind_a_request(&proxy, &mute);
        let last = 3 + 2 * 12;
        for stream in (5..=last).step_by(2) {
            rest.extend(frames::frame(
                frames::HEADERS,
                END_STREAM | END_HEADERS,
                stream,
                &frames::get("test", "/none"),
            ));
        }
        assert!(client.write(&rest));
        while client.next().is_some_and(|frame| frame.stream != last || frame.flags & END_STREAM == 0) {}
        if is_idle {
            client.send(frames::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
            assert_eq!(client.end(), Some(0), "an idle connection gets GOAWAY");
            assert_eq!(proxy.refused("header_timeout"), 0.0);
            until("the upstream's connection ends", || (mute.open() == 0).then_some(()));
        } else {
            let half = frames::frame(frames::HEADERS, END_STREAM | END_HEADERS, last + 2, &get());
            assert!(client.write(&half[..12]));
            client.end();
            assert_eq!(proxy.refused("header_timeout"), 1.0);
        }
    }
}

#[test]
fn a_refused_stream_is_retried_a_few_times_at_most() {
    for code in [Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR, Reason::CANCEL] {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
            let count = Arc::clone(&count);
            Box::pin(async move {
                if request.uri().path() == "/warm" {
                    respond.send_response(Response::new(()), true).unwrap();
                } else {
                    count.fetch_add(1, SeqCst);
                    respond.send_reset(code);
                }
            })
        });
        let proxy = Proxy::with("main", &upstream).start(&ONE_ROUTE.replace("http://", "h2c://"));
        let mut client = proxy.connect();
        assert_eq!(client.get("/warm", "").status, 200);
        assert_eq!(client.get("/", "").status, 502, "{code:?}");
        let asked = asked.load(SeqCst);
        assert!((1..=6).contains(&asked), "{code:?}: {asked} tries");
        #[expect(clippy::cast_precision_loss, reason = "a few tries")]
        let failed = asked as f64;
        assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"main\"}"), failed, "{code:?}");
    }
}

#[test]
fn a_response_that_is_reset_is_never_complete() {
    for code in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, _, mut respond| {
            Box::pin(async move {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data("half".into(), false).unwrap();
                tokio::task::yield_now().await;
                body.send_reset(code);
            })
        });
        let proxy = Proxy::with("main", &upstream).start(&ONE_ROUTE.replace("http://", "h2c://"));
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        // The head may be lost too, if the reset overtakes it.
        assert!(
            client.try_response().map_or(true, |answer| answer.status == 502),
            "{code:?}: an incomplete response passed as complete"
        );
    }
}

#[test]
fn framing_alone_does_not_keep_a_body_alive() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("stall_timeout = \"300ms\"").start(ONE_ROUTE);
    for begun in ["1;", "0\r\nx: "] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{begun}"));
        until("dribbled extensions and trailers are too slow", || {
            client.offer("y");
            client.wire.has_bytes().then_some(())
        });
        assert_eq!(client.read_response().status, 408, "{begun:?}");
    }
}

#[test]
fn a_partial_head_after_a_request_has_the_header_timeout() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("header_timeout = \"300ms\"").start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(client.read_response().status, 408, "the idle time is a minute");
}

#[test]
fn a_refused_head_after_a_request_gets_its_own_response() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nBAD REQ\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let refused = client.read_response();
    assert_eq!((refused.status, refused.closes()), (400, true));
    assert_eq!(proxy.refused("malformed_head"), 1.0);
    proxy.settles();
    assert_eq!(proxy.logged(2).len(), 2);
}

#[test]
fn http_1_0_requests_without_a_host_get_one() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_response().echoed("host"), [echo.address().to_string()]);
}

#[test]
fn a_bad_host_is_refused_with_an_absolute_target_too() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    for host in ["a b", "u@b/c\""] {
        let mut client = Raw::connect(proxy.address());
        client.send(format!("GET http://test/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read_response().status, 400, "{host}");
    }
    assert_eq!(echo.requests(), 0);
}

#[test]
fn a_forbidden_body_is_dropped() {
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, _, mut respond| {
        Box::pin(async move {
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            let mut body = respond.send_response(response, false).unwrap();
            // The stream may be reset before this.
            let _ = body.send_data("much".into(), true);
        })
    });
    let proxy = Proxy::with("main", &upstream).start(&ONE_ROUTE.replace("http://", "h2c://"));
    let mut client = H2::connect(proxy.address());
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
}

#[test]
fn trailers_of_a_request_carry_no_identity() {
    let echo = Upstream::echo();
    let text = format!("[identity]\nuser = [\"header:x-user-id\"]\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &echo).start(&text);
    let mut client = H2::connect(proxy.address());
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-user-id", "root"), ("x_forwarded_for", "1"), ("content_length", "5"), ("x-sum", "1")] {
        trailers.insert(name, value.parse().unwrap());
    }
    let request = H2::request("POST", "/").header("trailer", "x-user-id, x_forwarded_for, content_length, x-sum");
    let answer = client.send(request.body(()).unwrap(), &[b"body"], Some(trailers));
    let passed = answer.json().to_string();
    assert!(passed.contains("x-sum"), "{passed}");
    for (name, value) in [("x-user-id", "root"), ("x_forwarded_for", "1"), ("content_length", "5")] {
        assert!(!passed.contains(&format!("\"{name}\",\"{value}\"")), "{name} passed: {passed}");
    }
}
