//! Idle HTTP/1.1 connections to upstreams: a reload leaves none behind, one that has ended does not count at the limit,
//! and a TLS session ends with its alert.

#![expect(clippy::float_cmp, reason = "counts are whole")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::harness::{Conn, PATIENCE, Proxy, Setup, Upstream, until};
use crate::upstream_tls::{Authority, config, files};

const OPEN: &str = "pointsman_upstream_connections{upstream=\"main\"}";

fn rules(endpoints: &str, lines: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [{endpoints}]\n{lines}\n[[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\n\
         stable = \"main\"\n"
    )
}

#[test]
fn a_reload_leaves_no_idle_connection_to_a_replaced_endpoint() {
    let released = Arc::new(AtomicBool::new(false));
    let old = Upstream::script({
        let released = Arc::clone(&released);
        move |mut conn| {
            while let Ok(got) = conn.request() {
                if got.target == "/stream" {
                    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n");
                    return conn.wait();
                }
                until("the test releases the response", || released.load(SeqCst).then_some(()));
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        }
    });
    let new = Upstream::echo();
    let proxy = Proxy::with("old", &old).with("new", &new).start(&rules("\"http://{old}\"", ""));
    // The stream keeps the old endpoint in use for as long as it lasts.
    let mut stream = proxy.connect();
    stream.send("GET /stream HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(stream.head().unwrap().1, 200);
    let mut later = proxy.connect();
    later.send("GET /later HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request is at the old endpoint", || (old.requests() == 2).then_some(()));
    proxy.rewrite(&rules("\"http://{new}\"", ""));
    // The first request after the reload installs the new endpoint.
    assert_eq!(proxy.connect().get("/", "").status, 200);
    assert_eq!(new.requests(), 1);
    released.store(true, SeqCst);
    assert_eq!(later.read_response().text(), "ok");
    until("its connection is closed, and the stream's is open", || (old.open() == 1).then_some(()));
    until("the gauge agrees", || (proxy.metric(OPEN) == 2.0).then_some(()));
}

#[test]
fn a_connection_that_ended_while_idle_does_not_count_at_the_limit() {
    let (ended, has_ended) = channel();
    let ended = Mutex::new(ended);
    let ending = Arc::new(move |mut conn: Conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            conn.wire.finish();
            // The end is in the proxy's socket now.
            ended.lock().unwrap().send(()).unwrap();
        }
    });
    let one = Upstream::script({
        let ending = Arc::clone(&ending);
        move |conn| ending(conn)
    });
    let other = Upstream::script(move |conn| ending(conn));
    let endpoints = "\"http://{one}\", \"http://{other}\"";
    let lines = "balance = \"round_robin\"\nlimits = { connections = 1 }";
    let proxy = Proxy::with("one", &one).with("other", &other).workers(1).start(&rules(endpoints, lines));
    let mut client = proxy.connect();
    for i in 0..20 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "request {i}");
        has_ended.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!((one.requests(), other.requests()), (10, 10));
}

#[test]
fn a_tls_session_ends_with_close_notify() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(config(&authority.issue("127.0.0.1"), None));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            tls.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").unwrap();
        // Without the alert this is an error: the session may have been cut.
        tls.read(&mut byte).map_err(|error| error.kind())
    });
    let tls = "[upstream.main.tls]\nca = \"{files}/ca.pem\"";
    let setup = Setup::default().place("front", address).place("files", dir.path().display());
    let proxy = setup.start(&rules("\"https://{front}\"", tls));
    assert_eq!(proxy.connect().get("/", "").text(), "ok");
    assert_eq!(server.join().unwrap(), Ok(0));
}
