//! Bodies to and from an HTTP/1.1 upstream: uploads of every size and framing, responses during uploads, slow readers;
//! and idle connections that the upstream ends.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::harness::h2_client::{End, send_all};
use crate::harness::upstream::{Conn, hash};
use crate::harness::{Broken, H2, ONE_ROUTE, PATIENCE, Proxy, Raw, Upstream, until};

/// Open connections to the upstream.
const OPEN: &str = "pointsman_upstream_connections{upstream=\"main\"}";

/// A body that differs in every part.
fn body(bytes: usize) -> Vec<u8> {
    (0..u32::try_from(bytes).unwrap()).map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

/// A request with this body in chunks, and a trailer.
fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(50_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nx-sum: 1\r\n\r\n");
    bytes
}

#[test]
fn uploads_of_every_size_arrive_exactly() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let (mut http1, mut http2) = (proxy.connect(), H2::connect(proxy.address()));
    let trailers: HeaderMap = [(http::HeaderName::from_static("x-sum"), "1".parse().unwrap())].into_iter().collect();
    for size in [0, 1, 16 * 1024, 10 << 20] {
        let body = body(size);
        let (hash, length) = (hash(&body), size.to_string());
        let check = |what: &str, answer: &serde_json::Value, framing: &str| {
            let found = (answer["body_bytes"].as_u64(), answer["body_hash"].as_str());
            assert_eq!(found, (Some(size as u64), Some(hash.as_str())), "{what}, {size} bytes");
            let got = echo.got().pop().unwrap();
            let framed = (got.field("content-length"), got.field("transfer-encoding"));
            let expected = if framing == "length" { (Some(length.as_str()), None) } else { (None, Some("chunked")) };
            assert_eq!(framed, expected, "{what}, {size} bytes");
            let trailers: Vec<_> = got.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let expected: &[_] = if framing == "length" { &[] } else { &[("x-sum", "1")] };
            assert_eq!(trailers, expected, "{what}, {size} bytes");
        };
        check("HTTP/1.1 with a length", &http1.post("/", "", &body).json(), "length");
        check("HTTP/1.1 in chunks", &http1.send(chunked("/", &body)).read_response().json(), "chunks");
        let with_length = H2::request("POST", "/").header("content-length", size).body(()).unwrap();
        check("HTTP/2 with a length", &http2.send(with_length, &[&body], None).json(), "length");
        let without = H2::request("POST", "/").body(()).unwrap();
        check("HTTP/2 without a length", &http2.send(without, &[&body], Some(trailers.clone())).json(), "chunks");
    }
    assert_eq!((echo.accepted(), echo.requests()), (1, 16), "one connection carries them all, each once");
}

#[test]
fn an_expectation_over_http2_is_met() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = H2::connect(proxy.address());
    for _ in 0..3 {
        let request = H2::request("POST", "/").header("expect", "100-continue").body(()).unwrap();
        let answer = client.send(request, &[b"hello"], None);
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("hello")));
    }
    assert_eq!(echo.accepted(), 1, "no 100 is left on the connection");
}

/// Answers at once, and sends each byte back as it arrives.
fn duplex() -> Upstream {
    Upstream::script(|mut conn| {
        while conn.head().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut size = usize::MAX;
            while size > 0 {
                let line = String::from_utf8(conn.wire.line().unwrap()).unwrap();
                size = usize::from_str_radix(&line, 16).unwrap();
                let piece = conn.wire.exact(size + 2).unwrap();
                conn.send([format!("{size:x}\r\n").as_bytes(), &piece].concat());
            }
        }
    })
}

#[test]
fn a_response_streams_while_its_request_does() {
    let upstream = duplex();
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().map(|(_, status, _)| status), Ok(200), "the response begins before the body");
    let piece = body(10_000);
    for round in 0..50 {
        client.send(format!("{:x}\r\n", piece.len())).send(&piece).send("\r\n");
        assert_eq!(read_chunks(&mut client, piece.len()), piece, "round {round}");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.wire.line().unwrap(), b"0");
    assert_eq!(client.wire.line().unwrap(), b"");
    let mut client = H2::connect(proxy.address());
    let (response, mut upload) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Later);
    let response = client.block_on(response).unwrap();
    assert_eq!(response.status(), 200);
    let mut download = response.into_body();
    for round in 0..50 {
        client.block_on(send_all(&mut upload, Bytes::from(piece.clone()), End::Later)).unwrap();
        let mut back = Vec::new();
        client.block_on(async {
            while back.len() < piece.len() {
                let data = download.data().await.expect("the stream continues").unwrap();
                download.flow_control().release_capacity(data.len()).unwrap();
                back.extend_from_slice(&data);
            }
        });
        assert_eq!(back, piece, "round {round}");
    }
    client.block_on(send_all(&mut upload, Bytes::new(), End::Now)).unwrap();
    let last = client.block_on(download.data());
    assert!(last.is_none_or(|data| data.unwrap().is_empty()) && download.is_end_stream());
    assert_eq!(upstream.accepted(), 1, "the connection is used again");
}

/// Reads chunks until they have this many bytes.
#[track_caller]
fn read_chunks(client: &mut Raw, bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < bytes {
        let size = usize::from_str_radix(&String::from_utf8(client.wire.line().unwrap()).unwrap(), 16).unwrap();
        assert!(size > 0, "the response ends after {} bytes", body.len());
        body.extend_from_slice(&client.wire.exact(size).unwrap());
        assert_eq!(client.wire.line().unwrap(), b"");
    }
    body
}

/// How an upstream ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// In order; it reads on.
    Finish,
    /// At once, with unread bytes in its buffer.
    Close,
}

/// Reads a part of each upload and refuses it. Answers requests without a body.
fn refusing(ending: Ending) -> Upstream {
    Upstream::script(move |mut conn: Conn| {
        let Ok(got) = conn.head() else { return };
        if got.method == "GET" {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            return;
        }
        if conn.wire.exact(100_000).is_ok() {
            conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
        }
        if ending == Ending::Finish {
            conn.wire.finish();
            conn.wait();
        }
    })
}

#[test]
fn an_upload_that_is_refused_midway_gets_its_refusal() {
    let piece = body(200_000);
    for ending in [Ending::Finish, Ending::Close] {
        let upstream = refusing(ending);
        let proxy = Proxy::to(&upstream);
        for round in 0..10 {
            let mut client = proxy.connect();
            client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").offer(&piece);
            let answer = client.read_response();
            assert_eq!((answer.status, answer.text().as_str()), (413, "no"), "{ending:?}, round {round}");
            assert!(answer.closes(), "{ending:?}, round {round}: the connection ends after it");
            // The rest of the body is no request.
            client.offer(b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100)).finish();
            let (rest, _) = client.wire.rest();
            assert!(rest.is_empty(), "{ending:?}, round {round}: {:?}", String::from_utf8_lossy(&rest));
            assert_eq!(proxy.connect().get("/", "").text(), "ok", "{ending:?}, round {round}");
        }
        let mut client = H2::connect(proxy.address());
        for round in 0..10 {
            let request = H2::request("POST", "/").header("content-length", 100_000_000).body(()).unwrap();
            let (response, mut upload) = client.open(request, End::Later);
            // The proxy may reset the stream while it is written.
            let _ = client.block_on(send_all(&mut upload, Bytes::from(piece.clone()), End::Later));
            let answer = client.finish(response);
            assert_eq!((answer.status, &answer.body[..]), (413, &b"no"[..]), "{ending:?}, round {round}: {answer:?}");
            assert_eq!(client.get("/").body, b"ok", "{ending:?}, round {round}");
        }
        drop(client);
        proxy.settles();
        until("the upstream's connections end", || (upstream.open() == 0).then_some(()));
    }
}

/// Connections of [`idle_connections_that_the_upstream_ends_are_closed`].
const IDLE: usize = 10;

/// Waits until all its connections have a request, answers, and ends each when the test says so.
fn ending(end: Arc<Mutex<Receiver<()>>>, ended: Sender<Broken>, reset: Arc<Mutex<Vec<u64>>>) -> Upstream {
    let (together, ended) = (Barrier::new(IDLE), Mutex::new(ended));
    Upstream::script(move |mut conn| {
        let number = conn.number;
        while conn.request().is_ok() {
            if number < IDLE as u64 {
                together.wait();
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            if number >= IDLE as u64 {
                continue;
            }
            let _ = end.lock().unwrap().recv();
            if reset.lock().unwrap().contains(&number) {
                return conn.reset();
            }
            conn.wire.finish();
            let (bytes, broken) = conn.wire.rest();
            assert!(bytes.is_empty(), "a request was sent to a closed connection");
            let _ = ended.lock().unwrap().send(broken);
            return;
        }
    })
}

#[test]
fn idle_connections_that_the_upstream_ends_are_closed() {
    let ((end, may_end), (ended, all_ended)) = (channel(), channel());
    let reset = Arc::new(Mutex::new(vec![1, 3, 5]));
    let upstream = ending(Arc::new(Mutex::new(may_end)), ended, reset);
    let proxy = Proxy::to(&upstream);
    let mut clients: Vec<Raw> = (0..IDLE).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.read_response().text(), "ok");
    }
    assert_eq!(proxy.metric(OPEN), IDLE as f64);
    drop(end);
    for _ in 3..IDLE {
        let broken = all_ended.recv_timeout(PATIENCE).expect("the proxy closes its side");
        assert!(matches!(broken, Broken::Closed | Broken::Reset), "{broken:?}");
    }
    until("the gauge falls", || (proxy.metric(OPEN) == 0.0).then_some(()));
    // A body cannot be sent twice: these need a connection that is open.
    for client in &mut clients {
        assert_eq!(client.post("/", "", b"body").status, 200);
    }
    assert_eq!((upstream.accepted(), upstream.requests()), (IDLE as u64 + 1, 2 * IDLE as u64));
    assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), 0.0);
}

/// The size of the responses, and the number of clients, of [`slow_readers_cost_no_memory`].
const LARGE: usize = 5 << 20;
const READERS: usize = 12;
/// The memory that all unread responses may take: far less than one of five.
const GROWTH_MAX: f64 = 12e6;

#[test]
fn slow_readers_cost_no_memory() {
    let large = Arc::new(body(LARGE));
    let (sent, progress) = channel();
    let upstream = Upstream::script({
        let (large, sent) = (Arc::clone(&large), Mutex::new(sent));
        move |mut conn| {
            let Ok(got) = conn.request() else { return };
            let in_chunks = got.target == "/chunks";
            let framing = match got.target.as_str() {
                "/length" => format!("content-length: {LARGE}\r\n"),
                "/chunks" => "transfer-encoding: chunked\r\n".to_owned(),
                _ => String::new(),
            };
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
            for piece in large.chunks(64 * 1024) {
                let piece = if in_chunks { [b"10000\r\n", piece, b"\r\n"].concat() } else { piece.to_vec() };
                if !conn.send(piece) {
                    return;
                }
                let _ = sent.lock().unwrap().send(());
            }
            if in_chunks {
                conn.send("0\r\n\r\n");
            }
        }
    });
    let quiet = format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &upstream).start_alone(&quiet);
    assert_eq!(Raw::connect(proxy.address).get("/length", "").body.len(), LARGE);
    while progress.try_recv().is_ok() {}
    let before = proxy.metric("process_resident_memory_bytes");
    let mut clients: Vec<Raw> = ["/length", "/chunks", "/end"]
        .into_iter()
        .cycle()
        .take(READERS)
        .map(|path| {
            let mut client = Raw::connect(proxy.address);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
            client
        })
        .collect();
    // Until the upstream cannot send more: a shorter wait would only find less.
    while progress.recv_timeout(Duration::from_millis(500)).is_ok() {}
    let grown = proxy.metric("process_resident_memory_bytes") - before;
    assert!(grown < GROWTH_MAX, "{grown} bytes more for {READERS} unread responses of {LARGE} bytes");
    for (i, client) in clients.iter_mut().enumerate() {
        assert!(client.read_response().body == *large, "response {i} is another one");
    }
}
