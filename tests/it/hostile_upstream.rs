//! Upstreams that misbehave: a client never gets their bytes as something else, and never the response of another
//! client.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use crate::harness::{Broken, Proxy, Upstream, until};

/// Invalid responses, and their reason in the log.
const NO_ANSWERS: &[(&str, &str, &str)] = &[
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "chunked twice in two fields",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "chunked, then gzip",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "gzip, then chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    ("an unknown coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\n\r\nok", "upstream_protocol"),
    (
        "chunked with a length",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "a length with chunked",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "two lengths that differ",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "upstream_protocol",
    ),
    ("two equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", "upstream_protocol"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "upstream_protocol"),
    ("a length with a sign", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", "upstream_protocol"),
    ("a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", "upstream_protocol"),
    ("a length of 2^63", "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775808\r\n\r\nok", "upstream_protocol"),
    ("a length of 2^64 - 2", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551614\r\n\r\nok", "upstream_protocol"),
    ("an underscore alias", "HTTP/1.1 200 OK\r\ntransfer_encoding: chunked\r\n\r\n0\r\n\r\n", "upstream_protocol"),
    (
        "an alias beside a length",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer.encoding: chunked\r\n\r\nok",
        "upstream_protocol",
    ),
    ("an alias of the length", "HTTP/1.1 200 OK\r\ncontent.length: 2\r\n\r\nok", "upstream_protocol"),
    (
        "chunked on HTTP/1.0",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "upstream_protocol",
    ),
    ("bare LF before the status line", "\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("bare LF after the status line", "HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("bare LF after a field", "HTTP/1.1 200 OK\r\ncontent-length: 0\n\r\n", "upstream_protocol"),
    ("bare LF at the end", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\n", "upstream_protocol"),
    ("bare LF everywhere", "HTTP/1.1 200 OK\ncontent-length: 0\n\n", "upstream_protocol"),
    (
        "bare LF in an informational head",
        "HTTP/1.1 103 Early Hints\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "upstream_protocol",
    ),
    (
        "an unasked 101",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "upstream_protocol",
    ),
    ("a status of 99", "HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("a status of 999", "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("a version of 3.0", "HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("garbage", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "upstream_protocol"),
    ("a greeting of TLS", "\x16\x03\x01\x02\0\x01\0\x01", "upstream_speaks_tls"),
    ("an alert of TLS", "\x15\x03\x01\0\x02\x02\x46", "upstream_speaks_tls"),
    ("binary garbage", "\x16\x01\x03\x02\0\x01\0\x01", "upstream_protocol"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("CR in a value", "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("a blank before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n", "upstream_protocol"),
    ("obs-fold", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
    ("nothing at all", "", "upstream_reset"),
    ("half a head", "HTTP/1.1 200 OK\r\ncontent-le", "upstream_reset"),
];

#[test]
fn invalid_responses_are_502() {
    let next = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::script({
        let next = Arc::clone(&next);
        move |mut conn| {
            // On a pooled connection, the response could belong to either request.
            if conn.request().is_ok() {
                let (_, bytes, _) = NO_ANSWERS[next.load(SeqCst)];
                conn.send(bytes);
                conn.wire.finish();
                conn.wait();
            }
        }
    });
    let proxy = Proxy::to(&upstream);
    for (i, (what, _, detail)) in NO_ANSWERS.iter().enumerate() {
        next.store(i, SeqCst);
        let mut client = proxy.connect();
        client.send(format!("POST /{i} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.try_response().unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
        assert_eq!(answer.status, 502, "{what}: {}", answer.text());
        let expected = if *detail == "upstream_reset" { "connection_terminated" } else { "http_protocol_error" };
        assert!(answer.field("proxy-status").is_some_and(|text| text.contains(expected)), "{what}: {answer:?}");
    }
    proxy.settles();
    for (line, (what, _, detail)) in proxy.logged(NO_ANSWERS.len()).iter().zip(NO_ANSWERS) {
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("UH"), Some(*detail)), "{what}");
    }
    until("its connections end", || (upstream.open() == 0).then_some(()));
}

#[test]
fn endless_response_heads_are_502() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\n");
            while conn.send("x-filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n") {}
        }
    });
    let proxy = Proxy::to(&upstream);
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 502);
    proxy.settles();
    assert_eq!(proxy.logged(1)[0]["detail"], "upstream_response_headers");
    until("its connection ends", || (upstream.open() == 0).then_some(()));
}

#[test]
fn a_flood_of_informational_responses_is_bounded() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: </{}>\r\n\r\n", "a".repeat(1000));
            for _ in 0..10_000 {
                if !conn.send(&hint) {
                    return;
                }
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = client.read_response();
    assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
    // The responses that passed were complete: the strict reader has read them.
    assert!(answer.early.iter().all(|(status, fields)| *status == 103 && fields.len() == 1));
    drop(client);
    proxy.settles();
}

#[test]
fn broken_bodies_are_never_complete() {
    let cases = [
        ("a length that is not reached", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"),
        ("chunks without an end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("a chunk without its end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhello"),
        ("a last chunk without an end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        ("a chunk size that is none", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
        (
            "a chunk size that overflows",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n",
        ),
        (
            "a chunk size that ends in a bare LF",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\nhello\r\n0\r\n\r\n",
        ),
        (
            "a trailer that ends in a bare LF",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\ny: 2\r\n\r\n",
        ),
        ("an end in bare LF", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\n"),
        ("chunks split by bare LF", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\nx\r\n0\r\n\r\n"),
    ];
    for reset in [false, true] {
        for (what, bytes) in cases {
            let (seen, closing): (_, Receiver<()>) = channel();
            let closing = Mutex::new(closing);
            let upstream = Upstream::script(move |mut conn| {
                if conn.request().is_ok() {
                    conn.send(bytes);
                    // The client has read the received bytes.
                    let _ = closing.lock().unwrap().recv();
                    if reset {
                        conn.reset();
                    }
                }
            });
            let proxy = Proxy::to(&upstream);
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            let (_, status, fields) = client.head().unwrap();
            assert_eq!(status, 200, "{what}");
            seen.send(()).unwrap();
            let body = client.wire.framed(&fields);
            assert!(matches!(body, Err(Broken::Closed | Broken::Reset)), "{what}, reset: {reset}: {body:?}");
            proxy.settles();
            let line = &proxy.logged(1)[0];
            assert_eq!(
                (line["status"].as_u64(), line["termination"].as_str()),
                (Some(200), Some("UB")),
                "{what}: {line}"
            );
            assert_eq!(line["detail"], "upstream_reset", "{what}");
        }
    }
}

#[test]
fn extra_bytes_after_a_response_poison_nothing() {
    let split = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let upstream = Upstream::answering(split);
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for i in 0..200 {
        let answer = client.get(&format!("/{i}"), "");
        assert_eq!((answer.status, answer.text()), (200, "good".to_owned()), "request {i}");
    }
    drop(client);
    proxy.settles();
    assert!(!proxy.log_text().contains("upstream_protocol"));
}

#[test]
fn unsolicited_responses_poison_nothing() {
    let (sent, arrived) = channel();
    let upstream = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
            sent.send(()).unwrap();
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for i in 0..200 {
        assert_eq!(client.get(&format!("/{i}"), "").text(), "good", "request {i}");
        // It has arrived before the next request: the connection must not be used again.
        arrived.recv().unwrap();
    }
    assert_eq!(upstream.accepted(), 200);
}

#[test]
fn bodies_of_bodiless_responses_poison_nothing() {
    for status in ["204 No Content", "304 Not Modified"] {
        let answer = format!("HTTP/1.1 {status}\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
        let upstream = Upstream::answering(answer);
        let proxy = Proxy::to(&upstream);
        let mut client = proxy.connect();
        for i in 0..100 {
            assert_eq!(client.get(&format!("/{i}"), "").status.to_string(), status[..3], "request {i}");
        }
    }
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for i in 0..100 {
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").read_response_to("HEAD");
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("4")), "request {i}");
    }
}

#[test]
fn pooled_connections_that_close_lose_no_request() {
    // Every connection answers a few requests and is then closed without notice.
    for reset in [false, true] {
        let upstream = Upstream::script(move |mut conn| {
            for _ in 0..=(conn.number % 3) {
                if conn.request().is_err() {
                    return;
                }
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
            if reset {
                conn.reset();
            }
        });
        let proxy = Proxy::to(&upstream);
        let mut client = proxy.connect();
        for i in 0..500 {
            let answer = client.get(&format!("/{i}"), "");
            assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "request {i}, reset: {reset}");
        }
        drop(client);
        proxy.settles();
        assert!(upstream.accepted() > 100, "connections were not closed");
        assert_eq!(upstream.requests(), 500, "a request was processed twice");
    }
}

#[test]
fn a_request_whose_response_has_begun_is_not_retried() {
    // On a reused connection, a request without a body is sent again if no byte of a response arrived.
    for begun in ["HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "HTTP/1.1 2"] {
        let upstream = Upstream::script(move |mut conn| {
            if conn.request().is_ok() {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                if conn.request().is_ok() {
                    conn.send(begun);
                }
            }
        });
        let once = format!("{}retry = {{ attempts = 0 }}\n", crate::harness::ONE_ROUTE);
        let proxy = Proxy::with("main", &upstream).start(&once);
        let mut client = proxy.connect();
        assert_eq!(client.get("/first", "").status, 200, "{begun:?}");
        let answer = client.get("/second", "");
        assert_eq!(answer.status, 502, "{begun:?}");
        assert!(answer.early.len() <= 1, "{begun:?}: {:?}", answer.early);
        assert_eq!((upstream.requests(), upstream.accepted()), (2, 1), "{begun:?}: it was sent twice");
        let line = &proxy.logged(2)[1];
        assert_eq!(line["detail"], "upstream_reset", "{begun:?}: {line}");
    }
}

#[test]
fn chunk_sizes_padded_with_blanks_pass() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0005  \r\nhello\r\n0 ;x=y\r\n\r\n");
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for i in 0..3 {
        assert_eq!(client.get(&format!("/{i}"), "").text(), "hello");
    }
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn ambiguous_framing_of_http2_responses_is_502() {
    use h2::server::Builder;
    let names =
        ["transfer_encoding", "transfer.encoding", "content_length", "content-length", "content-length", "x-fine"];
    let values = ["chunked", "chunked", "2", "9223372036854775808", "2", "chunked"];
    let upstream = Upstream::h2c_script(&Builder::new(), move |_, _, request, mut respond| {
        Box::pin(async move {
            let case: usize = request.uri().path()[1..].parse().unwrap();
            let mut response = http::Response::builder().header(names[case], values[case]);
            if case == 4 {
                response = response.header(names[case], values[case]);
            }
            // The proxy may have reset it.
            if let Ok(mut stream) = respond.send_response(response.body(()).unwrap(), false) {
                let _ = stream.send_data(bytes::Bytes::from_static(b"ok"), true);
            }
        })
    });
    let proxy = Proxy::with("main", &upstream).start(&crate::harness::ONE_ROUTE.replace("http://", "h2c://"));
    let mut client = proxy.connect();
    for (case, name) in names.iter().enumerate() {
        let answer = client.get(&format!("/{case}"), "");
        assert_eq!(answer.status, if *name == "x-fine" { 200 } else { 502 }, "{name}: {}", values[case]);
    }
}

#[test]
fn posts_are_not_sent_twice() {
    // The request is read, then the connection breaks: it is unknown whether it was processed.
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            drop(conn.request());
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    assert_eq!(client.post("/first", "", b"x").status, 200);
    assert_eq!(client.post("/second", "", b"x").status, 502);
    assert_eq!(client.post("/third", "", b"x").status, 200);
    let targets: Vec<String> = upstream.got().into_iter().map(|got| got.target).collect();
    assert_eq!(targets, ["/first", "/second", "/third"]);
}

#[test]
fn responses_before_the_body_is_read_pass() {
    let upstream = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
            conn.wire.finish();
            conn.wait();
        }
    });
    let proxy = Proxy::to(&upstream);
    for i in 0..20 {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nbeginning");
        let answer = client.read_response();
        assert_eq!((answer.status, answer.text()), (403, "no".to_owned()), "request {i}");
        // The rest of the body is never taken for a request.
        client.offer(b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100));
        client.finish();
        let (rest, _) = client.wire.rest();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
    proxy.settles();
    assert!(!proxy.log_text().contains("/smuggled"));
    until("its connections end", || (upstream.open() == 0).then_some(()));
}

#[test]
fn a_response_midway_through_a_large_upload_passes() {
    let upstream = Upstream::script(|mut conn| {
        if conn.head().is_ok() && conn.wire.exact(100_000).is_ok() {
            conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
            // It stops reading and keeps the connection.
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").send(vec![b'x'; 100_000]);
    let answer = client.read_response();
    assert_eq!((answer.status, answer.text()), (413, "no".to_owned()));
    drop(client);
    proxy.settles();
    until("its connections end", || (upstream.open() == 0).then_some(()));
}
