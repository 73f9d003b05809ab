//! Uploads and `timeout.request`: the timeout runs from the end of a request's body, and a slow client never counts
//! against the service.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;

use crate::harness::h2_client::End;
use crate::harness::{H2, Proxy, Raw, Upstream};

/// One route to `{scheme}://{main}` with this timeout.
fn text(scheme: &str, request: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [\"{scheme}://{{main}}\"]\n[[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\n\
         stable = \"main\"\ntimeout = {{ request = \"{request}\" }}\n"
    )
}

/// The size of a piece: a few of them are not a slow body yet.
const PIECE: usize = 16 * 1024;

/// Sends a body in pieces with a pause before each.
#[track_caller]
fn send_slowly(client: &mut Raw, pieces: usize, rest: Duration) {
    client.send("POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..pieces {
        std::thread::sleep(rest);
        client.send(format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE)));
    }
    client.send("0\r\n\r\n");
}

#[test]
fn a_steady_upload_may_take_longer_than_timeout_request() {
    // One timeout of each kind of timer; with pauses that are longer than it, and shorter.
    let steady = |scheme: &str, upstream: &Upstream, (request, rest, pieces): (&str, u64, usize)| {
        let proxy = Proxy::with("main", upstream).start(&text(scheme, request));
        let mut client = proxy.connect();
        send_slowly(&mut client, pieces, Duration::from_millis(rest));
        let answer = client.read_response();
        assert_eq!(answer.status, 200, "{scheme}, {request}: {}", answer.text());
        assert_eq!(answer.json()["body_bytes"], PIECE * pieces);
        assert_eq!(proxy.logged(1)[0]["termination"], "--");
    };
    std::thread::scope(|scope| {
        for case in [("1500ms", 1800, 2), ("1500ms", 300, 10), ("3s", 3500, 1), ("3s", 500, 8)] {
            scope.spawn(move || steady("http", &Upstream::echo(), case));
        }
        scope.spawn(|| steady("h2c", &Upstream::h2c(), ("1500ms", 1800, 2)));
    });
}

#[test]
fn a_service_that_is_silent_after_the_body_times_out() {
    for (request, rest) in [("150ms", 100), ("2s", 300)] {
        let upstream = Upstream::script(|mut conn| {
            if conn.request().is_ok() {
                conn.wait();
            }
        });
        let proxy = Proxy::with("main", &upstream).start(&text("http", request));
        let mut client = proxy.connect();
        send_slowly(&mut client, 4, Duration::from_millis(rest));
        let answer = client.read_response();
        assert_eq!(answer.status, 504, "{request}");
        let line = &proxy.logged(1)[0];
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("UH"), Some("response_timeout")));
        assert_eq!(upstream.requests(), 1, "all of it was sent");
    }
}

#[test]
fn a_service_that_does_not_read_times_out() {
    for request in ["300ms", "2s"] {
        let (end, ended) = channel::<()>();
        let ended = Mutex::new(ended);
        let upstream = Upstream::script(move |mut conn| {
            if conn.head().is_ok() {
                // Reads no more until the test ends.
                let _ = ended.lock().unwrap().recv();
            }
        });
        let proxy = Proxy::with("main", &upstream).start(&text("http", request));
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let piece = vec![b'x'; 1 << 16];
            // Until the proxy has answered and closes.
            while writer.write_all(&piece).is_ok() {}
        });
        let line = &proxy.logged(1)[0];
        assert_eq!((line["status"].as_u64(), line["detail"].as_str()), (Some(504), Some("response_timeout")), "{line}");
        assert_eq!(line["termination"], "UH");
        stream.shutdown(Shutdown::Both).ok();
        writing.join().unwrap();
        drop(end);
    }
}

#[test]
fn a_stalled_client_gets_408_and_does_not_count_against_the_service() {
    for (request, head) in [
        ("200ms", "Content-Length: 10\r\n\r\nhalf"),
        ("200ms", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("30s", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ] {
        for (scheme, upstream) in [("http", Upstream::echo()), ("h2c", Upstream::h2c())] {
            let setup = Proxy::with("main", &upstream).limits("stall_timeout = \"2s\"");
            let proxy = setup.start(&text(scheme, request));
            let mut client = proxy.connect();
            let answer = client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{head}")).read_response();
            assert_eq!(answer.status, 408, "{scheme}, {request}, {head}");
            let line = &proxy.logged(1)[0];
            assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("CH"), Some("body_too_slow")));
            assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"main\"}"), 0.0);
        }
    }
}

#[test]
fn a_stalled_stream_gets_408() {
    let upstream = Upstream::echo();
    let proxy = Proxy::with("main", &upstream).limits("stall_timeout = \"2s\"").start(&text("http", "200ms"));
    let mut client = H2::connect(proxy.address());
    let (response, mut upload) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Later);
    upload.send_data(Bytes::from_static(b"half"), false).unwrap();
    assert_eq!(client.finish(response).status, 408);
    assert_eq!(proxy.logged(1)[0]["termination"], "CH");
}

#[test]
fn an_early_response_arrives_during_the_upload() {
    let upstream = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
            conn.wait();
        }
    });
    let proxy = Proxy::with("main", &upstream).start(&text("http", "10s"));
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
    assert_eq!(client.read_response().status, 413);
}
