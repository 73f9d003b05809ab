//! HTTP/2 to upstreams: as many streams as the upstream allows, more connections when they run out, unprocessed streams
//! sent again, and windows that fill a long path.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, SETTINGS, field, frame,
    get,
};
use crate::harness::h2_client::{End, send_all};
use crate::harness::h2c::whole;
use crate::harness::proxy::Setup;
use crate::harness::{Broken, H2, ONE_ROUTE, PATIENCE, Proxy, Upstream, until};

/// 1 Gbit/s for 20 ms.
const LONG_PATH_BYTES: usize = 2_500_000;

fn to_h2c(upstream: &Upstream) -> Proxy {
    Proxy::with("main", upstream).start(&ONE_ROUTE.replace("http://", "h2c://"))
}

#[test]
fn no_connection_gets_more_streams_than_the_upstream_allows() {
    let open: Arc<Mutex<HashMap<u64, (u32, u32)>>> = Arc::default();
    let seen = Arc::clone(&open);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(3);
    let upstream = Upstream::h2c_script(&builder, move |_, connection, _, mut respond| {
        let open = Arc::clone(&open);
        Box::pin(async move {
            {
                let mut open = open.lock().unwrap();
                let (now, most) = open.entry(connection).or_default();
                *now += 1;
                *most = (*most).max(*now);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            open.lock().unwrap().entry(connection).or_default().0 -= 1;
            respond.send_response(Response::new(()), true).unwrap();
        })
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    for _ in 0..3 {
        let all: Vec<_> = (0..20).map(|_| client.open(H2::request("GET", "/").body(()).unwrap(), End::Now).0).collect();
        for response in all {
            assert_eq!(client.finish(response).status, 200);
        }
    }
    let most: Vec<u32> = seen.lock().unwrap().values().map(|(_, most)| *most).collect();
    assert!(most.len() >= 7 && most.iter().all(|most| *most <= 3), "streams of each connection: {most:?}");
    assert_eq!(
        proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"),
        0.0,
        "none was refused"
    );
    assert!(most.len() <= 14, "connections are used again: {}", most.len());
}

#[test]
fn a_refused_stream_is_sent_again_once_with_its_body() {
    let tries = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tries);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, connection, request, mut respond| {
        let number = tries.fetch_add(1, SeqCst);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            if path == "/always" || (path == "/once" && number.is_multiple_of(2)) {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let got = whole(connection, request).await.unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            send_all(&mut body, got.body.into(), End::Now).await.unwrap();
        })
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    for pieces in [&[][..], &[&b"one body"[..]], &[b"of", b" three ", b"pieces"]] {
        let answer = client.send(H2::request("POST", "/once").body(()).unwrap(), pieces, None);
        assert_eq!((answer.status, answer.body), (200, pieces.concat()), "a POST too: it was not processed");
    }
    assert_eq!(counted.load(SeqCst), 6);
    let answer = client.send(H2::request("POST", "/always").body(()).unwrap(), &[b"x"], None);
    assert_eq!((answer.status, counted.load(SeqCst)), (502, 8), "twice, and no more: {answer:?}");
    assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), 4.0);
}

/// The response of the second try begins before much of the body was sent: the rest of the buffered body is still sent.
#[test]
fn an_early_response_does_not_truncate_a_resent_body() {
    let (begun, refusals) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicU64::new(0)));
    let (heard, refused) = (Arc::clone(&begun), Arc::clone(&refusals));
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1000);
    let upstream = Upstream::h2c_script(&builder, move |_, connection, mut request, mut respond| {
        let (begun, refused) = (Arc::clone(&heard), Arc::clone(&refused));
        Box::pin(async move {
            if connection == 0 {
                let mut got = 0;
                while got < 40_000 {
                    let data = request.body_mut().data().await.unwrap().unwrap();
                    request.body_mut().flow_control().release_capacity(data.len()).unwrap();
                    got += data.len();
                }
                refused.fetch_add(1, SeqCst);
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            begun.notified().await;
            let got = whole(connection, request).await.unwrap();
            send_all(&mut body, got.body.into(), End::Now).await.unwrap();
        })
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let bytes: Vec<u8> = (0..60_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    for (piece_bytes, length) in [(16_000, None), (16_000, Some(bytes.len())), (50, None)] {
        let mut request = H2::request("POST", "/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (response, mut upload) = client.open(request.body(()).unwrap(), End::Later);
        client.block_on(async {
            for piece in bytes.chunks(piece_bytes) {
                send_all(&mut upload, Bytes::copy_from_slice(piece), End::Later).await.unwrap();
            }
            send_all(&mut upload, Bytes::new(), End::Now).await.unwrap();
        });
        let response = client.block_on(response).unwrap();
        assert_eq!(response.status(), 200);
        begun.notify_one();
        let got = client.block_on(async {
            let (mut body, mut got) = (response.into_body(), Vec::new());
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
            }
            got
        });
        assert_eq!(got.len(), bytes.len(), "in pieces of {piece_bytes}");
        assert!(got == bytes, "every byte in its place");
    }
    assert_eq!(refusals.load(SeqCst), 3, "each was sent again");
}

#[test]
fn a_body_too_large_to_buffer_is_not_sent_again() {
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, mut request, mut respond| {
        Box::pin(async move {
            let mut got = 0;
            while got < 100_000 {
                let data = request.body_mut().data().await.unwrap().unwrap();
                request.body_mut().flow_control().release_capacity(data.len()).unwrap();
                got += data.len();
            }
            respond.send_reset(Reason::REFUSED_STREAM);
        })
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let answer = client.send(H2::request("PUT", "/").body(()).unwrap(), &[&vec![7; 100_000]], None);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), 0.0);
}

/// The first connection answers its first stream and sends GOAWAY; the others answer all.
#[test]
fn after_goaway_no_stream_is_opened_and_unprocessed_requests_are_sent_again() {
    let upstream = Upstream::script(|mut conn| {
        let number = conn.number;
        conn.wire.exact(24).unwrap();
        conn.send(frame(SETTINGS, 0, 0, &[]));
        let mut streams = 0_u32;
        loop {
            let Ok(head) = conn.wire.exact(9) else { return };
            conn.wire.exact(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).unwrap();
            if head[3] != HEADERS {
                continue;
            }
            streams += 1;
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let answer =
                [frame(HEADERS, END_HEADERS, id, &[0x88]), frame(DATA, END_STREAM, id, number.to_string().as_bytes())];
            match (number, streams) {
                (0, 1) => {}
                // The second stream has arrived: it is not processed, and the first is answered after the GOAWAY.
                (0, 2) => {
                    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
                    let first = [frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(DATA, END_STREAM, 1, b"0")];
                    conn.send([goaway, first.concat()].concat());
                }
                (0, _) => panic!("a stream after GOAWAY"),
                (_, _) => drop(conn.send(answer.concat())),
            }
        }
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let (first, _) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Now);
    until("the first has arrived", || {
        proxy.metrics().contains("pointsman_upstream_in_flight{upstream=\"main\"} 1\n").then_some(())
    });
    let (second, _) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Now);
    assert_eq!(client.finish(second).body, b"1", "sent again on another connection");
    assert_eq!(client.finish(first).body, b"0", "answered on its own connection");
    for _ in 0..10 {
        assert_eq!(client.get("/").body, b"1");
    }
    assert_eq!(upstream.accepted(), 2);
}

/// Begins a response; the rest is sent when its beginning has been read.
fn beginning(then: Vec<u8>) -> (Upstream, Sender<()>) {
    let (read, was_read): (_, Receiver<()>) = channel();
    let was_read = Mutex::new(was_read);
    let upstream = Upstream::script(move |mut conn| {
        conn.wire.exact(24).unwrap();
        conn.send(frame(SETTINGS, 0, 0, &[]));
        loop {
            let Ok(head) = conn.wire.exact(9) else { return };
            conn.wire.exact(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).unwrap();
            if head[3] == HEADERS {
                break;
            }
        }
        conn.send([frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(DATA, 0, 1, b"half")].concat());
        was_read.lock().unwrap().recv().unwrap();
        conn.send(&then);
        conn.wait();
    });
    (upstream, read)
}

#[test]
fn a_response_abandoned_by_its_upstream_is_never_complete() {
    let leaves = |code: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
    let resets = |code: u8| frame(RST_STREAM, 0, 1, &[0, 0, 0, code]);
    for (what, then) in [
        ("it leaves", leaves(0)),
        ("it leaves with a reason", leaves(2)),
        ("it leaves, then resets", [leaves(0), resets(0)].concat()),
        ("it leaves, then resets with a reason", [leaves(0), resets(7)].concat()),
        ("it resets, then leaves", [resets(0), leaves(0)].concat()),
        ("it resets", resets(0)),
        ("a status in its trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01x\x011\x88")),
        ("a path in its trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, &field(b":path", b"/"))),
        ("an indexed method in its trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82")),
    ] {
        let (upstream, read) = beginning(then.clone());
        let proxy = to_h2c(&upstream);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let (_, status, fields) = client.head().unwrap();
        assert_eq!(status, 200, "{what}");
        read.send(()).unwrap();
        let body = client.wire.framed(&fields);
        assert!(matches!(body, Err(Broken::Closed | Broken::Reset)), "{what}: {body:?}");
        let line = &proxy.logged(1)[0];
        assert_eq!((&line["termination"], &line["detail"]), (&"UB".into(), &"upstream_reset".into()), "{what}: {line}");

        let (upstream, read) = beginning(then);
        let proxy = to_h2c(&upstream);
        let mut client = H2::connect(proxy.address());
        let (response, _) = client.open(H2::request("GET", "/").body(()).unwrap(), End::Now);
        let mut body = client.block_on(response).unwrap().into_body();
        assert_eq!(client.block_on(body.data()).unwrap().unwrap(), "half", "{what}");
        read.send(()).unwrap();
        let rest = client.block_on(body.data());
        assert!(rest.as_ref().is_some_and(|rest| rest.as_ref().is_err_and(h2::Error::is_reset)), "{what}: {rest:?}");
        let line = &proxy.logged(1)[0];
        assert_eq!((&line["termination"], &line["detail"]), (&"UB".into(), &"upstream_reset".into()), "{what}: {line}");
    }
}

#[test]
fn one_stream_fills_the_windows_both_ways() {
    let room = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&room);
    let mut builder = h2::server::Builder::new();
    builder.max_send_buffer_size(16 << 20);
    let upstream = Upstream::h2c_script(&builder, move |_, _, mut request, mut respond| {
        let room = Arc::clone(&room);
        Box::pin(async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            if request.method() == "POST" {
                // The response pauses while the client looks at its window: its end would end the upload.
                return while request.body_mut().data().await.is_some_and(|piece| piece.is_ok()) {};
            }
            room.store(granted(&mut body).await as u64, SeqCst);
            send_all(&mut body, Bytes::from_static(b"x"), End::Now).await.unwrap();
        })
    });
    let proxy = to_h2c(&upstream);
    let mut builder = h2::client::Builder::new();
    builder.max_send_buffer_size(16 << 20);
    let mut client = H2::connect_with(proxy.address(), &builder);
    assert_eq!(client.get("/").body, b"x");
    let down = usize::try_from(seen.load(SeqCst)).unwrap();
    let (_response, mut upload) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Later);
    let up = client.block_on(granted(&mut upload));
    // Half of a window may be in transit while the other half is being given back.
    assert!(down >= 2 * LONG_PATH_BYTES, "from upstreams: {down} bytes");
    assert!(up >= 2 * LONG_PATH_BYTES, "from clients: {up} bytes");
}

/// The upstream closes the first connection when all requests wait for it, and never answers a second one.
#[test]
fn requests_that_wait_for_one_connect_share_its_result() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = ONE_ROUTE.replace("http://", "h2c://").replace("[[route]]", "connect_timeout = \"60s\"\n[[route]]");
    let proxy = Setup::default().place("main", upstream.local_addr().unwrap()).start(&text);
    let mut clients: Vec<_> = (0..12).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    until("all requests wait", || (proxy.metric("pointsman_requests_in_flight") == 12.0).then_some(()));
    drop(upstream.accept().unwrap());
    for client in &mut clients {
        assert_eq!(client.read_response().status, 502);
    }
    assert_eq!(proxy.metric("pointsman_upstream_connects_total{upstream=\"main\"}"), 1.0);
    drop(clients);
    let details: Vec<_> = proxy.logged(12).iter().map(|line| line["detail"].clone()).collect();
    assert!(details.iter().all(|detail| *detail == details[0]), "{details:?}");
    proxy.settles();
}

/// The upstream accepts connections and never sends a byte.
#[test]
fn a_connect_that_times_out_is_504() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = ONE_ROUTE.replace("http://", "h2c://").replace("[[route]]", "connect_timeout = \"300ms\"\n[[route]]");
    let proxy = Setup::default().place("main", mute.local_addr().unwrap()).start(&text);
    assert_eq!(proxy.connect().get("/", "").status, 504);
    assert_eq!(proxy.logged(1)[0]["detail"], "connect_timeout");
    proxy.settles();
}

/// The first connection allows no more streams after one response, the others allow none at all.
#[test]
fn an_upstream_without_streams_does_not_get_a_connection_per_request() {
    let streams_max = |max: u8| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, max]);
    let upstream = Upstream::script(move |mut conn| {
        conn.wire.exact(24).unwrap();
        conn.send(streams_max(if conn.number == 0 { 10 } else { 0 }));
        while let Ok(head) = conn.wire.exact(9) {
            conn.wire.exact(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).unwrap();
            if head[3] == HEADERS {
                let answer = [frame(HEADERS, END_HEADERS, 1, &[0x88]), frame(DATA, END_STREAM, 1, b"ok")];
                conn.send([streams_max(0), answer.concat()].concat());
            }
        }
    });
    let proxy = to_h2c(&upstream);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").text(), "ok");
    for _ in 0..30 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")), "{answer:?}");
        assert!(answer.field("proxy-status").unwrap().contains("upstream_connections"), "{answer:?}");
    }
    let asked = upstream.accepted();
    assert!((2..10).contains(&asked), "{asked} connections for 31 requests");
    until("no connection is kept", || (upstream.open() == 0).then_some(()));
    drop(client);
    proxy.settles();
}

#[test]
fn unread_streams_do_not_block_others_of_their_connection() {
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, connection, request, mut respond| {
        let sent = Arc::clone(&sent);
        Box::pin(async move {
            let mut response = Response::new(());
            response.headers_mut().insert("x-connection", connection.into());
            let mut body = respond.send_response(response, false).unwrap();
            if request.uri().path() == "/read" {
                send_all(&mut body, vec![1; 1 << 20].into(), End::Now).await.unwrap();
                return;
            }
            // Until the windows are full; the stream is reset in the end.
            let piece = Bytes::from_static(&[0; 1 << 14]);
            while send_all(&mut body, piece.clone(), End::Later).await.is_ok() {
                sent.fetch_add(piece.len() as u64, SeqCst);
            }
        })
    });
    let proxy = to_h2c(&upstream);
    let mut stalled = Frames::connect(proxy.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for stream in 0..6 {
        stalled.headers(2 * stream + 1, END_STREAM, &get("test", "/stalled"));
    }
    let mut reader = H2::connect(proxy.address());
    until("unread data fills the windows", || (seen.load(SeqCst) >= 6 * (256 << 10)).then_some(()));
    for _ in 0..10 {
        let answer = reader.get("/read");
        assert_eq!((answer.status, answer.body.len(), answer.field("x-connection")), (200, 1 << 20, Some("0")));
    }
}

/// How many bytes may be sent at once.
async fn granted(stream: &mut h2::SendStream<Bytes>) -> usize {
    stream.reserve_capacity(64 << 20);
    let mut most = 0;
    while most < 2 * LONG_PATH_BYTES {
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        match tokio::time::timeout(PATIENCE, more).await {
            Ok(Some(Ok(capacity))) => most = most.max(capacity),
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    most
}

#[test]
fn an_unread_upload_ends_when_its_client_does() {
    const WINDOW: usize = 65_535;
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
        let sender = sender.lock().unwrap().clone();
        Box::pin(async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            let mut bytes = 0;
            while bytes < WINDOW {
                // No window is given back: more bytes cannot be sent.
                bytes += body.data().await.unwrap().unwrap().len();
            }
            sender.send(None).unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            sender.send(Some(reason.unwrap())).unwrap();
        })
    });
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let (response, mut stream) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Later);
    let response = client.block_on(response).unwrap();
    assert_eq!(response.status(), 200);
    stream.send_data(Bytes::from(vec![b'x'; WINDOW * 3]), false).unwrap();
    assert_eq!(events.recv_timeout(PATIENCE), Ok(None));
    stream.send_reset(Reason::CANCEL);
    assert_eq!(events.recv_timeout(PATIENCE), Ok(Some(Reason::CANCEL)), "the upstream sees that the client has closed");
}
