//! Copies that end before their response does: the other side sees it at once, and nothing is left of them.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;

use super::{Figures, SHADOWED, gate, setup};
use crate::harness::h2_client::{End, send_all};
use crate::harness::{Broken, H2, Proxy, Upstream, until};

const LARGE: usize = 12 * 1024 * 1024;

fn cut_after(timeout: &str) -> String {
    SHADOWED.replace("methods =", &format!("max_body = \"16MiB\"\ntimeout = \"{timeout}\"\nmethods ="))
}

fn main_upstream() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
}

fn pass(gate: &Mutex<Receiver<()>>) {
    // An error means that the gate is open for good.
    let _ = gate.lock().unwrap().recv();
}

#[test]
fn endless_responses_are_not_read_further() {
    const COPIES: u32 = 64;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let dark = Upstream::script(move |mut conn| {
        let _ = conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
        while conn.send(&chunk) {
            counted.fetch_add(chunk.len(), SeqCst);
        }
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("20s"));
    let mut client = proxy.connect();
    for _ in 0..COPIES {
        assert_eq!(client.get("/", "").text(), "ok");
    }
    let figures = Figures::settled(&proxy, 1);
    assert!(figures.dropped.is_empty(), "{figures:?}");
    until("all of their connections are closed", || (dark.open() == 0).then_some(()));
    assert_eq!(f64::from(u32::try_from(dark.accepted()).unwrap()), figures.sent, "none was used again");
    assert!(proxy.metric_sum("pointsman_shadow_weight_actual_ratio") < 1.0, "such responses cost too much");
    // The sockets' own buffers come on top of the bytes that are read.
    let each = sent.load(SeqCst) / usize::try_from(dark.accepted()).unwrap();
    assert!(each < 16 * 1024 * 1024, "{each} bytes of a response were taken");
}

#[test]
fn a_response_with_a_large_content_length_is_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let dark = Upstream::script(move |mut conn| {
        let _ = conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        while conn.send([b'x'; 0x4000]) {
            counted.fetch_add(0x4000, SeqCst);
        }
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("20s"));
    let mut client = proxy.connect();
    for number in 1..=8 {
        assert_eq!(client.get("/", "").text(), "ok");
        assert_eq!(Figures::settled(&proxy, number).sent, f64::from(number));
    }
    until("all of their connections are closed", || (dark.open() == 0).then_some(()));
    assert_eq!(proxy.metric_sum("pointsman_shadow_weight_actual_ratio"), 1.0, "it costs little");
    assert!(sent.load(SeqCst) < 8 * 16 * 1024 * 1024);
}

#[test]
fn a_stalled_response_closes_its_connection() {
    let dark = Upstream::script(|mut conn| {
        let _ = conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        conn.wait();
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("100ms"));
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").text(), "ok");
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.dropped("timeout"), 1.0, "{figures:?}");
    until("its connection is closed", || (dark.open() == 0).then_some(()));
}

#[test]
fn an_unread_body_is_not_sent_further() {
    let (open, opened) = gate();
    let (sender, endings) = channel();
    let sender = Mutex::new(sender);
    let dark = Upstream::script(move |mut conn| {
        pass(&opened);
        let _ = sender.lock().unwrap().send(conn.request().map(|got| got.body.len()));
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("200ms"));
    assert_eq!(proxy.connect().post("/", "", &vec![b'x'; LARGE]).text(), "ok");
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.dropped("timeout"), 1.0, "{figures:?}");
    assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);
    open.send(()).unwrap();
    let ended = endings.recv_timeout(crate::harness::PATIENCE).unwrap();
    assert!(matches!(ended, Err(Broken::Closed | Broken::Reset)), "the rest of the body arrived: {ended:?}");
}

#[test]
fn an_early_response_blocks_no_other_copy() {
    let (open, opened) = gate();
    let dark = Upstream::script(move |mut conn| {
        let _ = conn.head();
        conn.send("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno");
        pass(&opened);
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("5s"));
    let mut client = proxy.connect();
    assert_eq!(client.post("/", "", &vec![b'x'; LARGE]).text(), "ok");
    Figures::settled(&proxy, 1);
    assert_eq!(client.get("/", "").text(), "ok");
    let figures = Figures::settled(&proxy, 2);
    assert_eq!((figures.sent, figures.dropped.len()), (2.0, 0), "{figures:?}");
    assert_eq!(dark.accepted(), 2, "a connection in the middle of a body is not used again");
    drop(open);
}

#[test]
fn an_endless_response_to_an_unread_body_is_cut_on_both_sides() {
    let (open, opened) = gate();
    let (sender, endings) = channel();
    let sender = Mutex::new(sender);
    let dark = Upstream::script(move |mut conn| {
        let head = conn.head().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while conn.send("5\r\nhello\r\n") {}
        pass(&opened);
        let _ = sender.lock().unwrap().send(conn.wire.framed(&head.headers).map(|body| body.is_some()));
    });
    let main = main_upstream();
    let proxy = setup(&main, &dark).start(&cut_after("20s"));
    assert_eq!(proxy.connect().post("/", "", &vec![b'x'; LARGE]).text(), "ok");
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.sent, 1.0, "{figures:?}");
    drop(open);
    let ended = endings.recv_timeout(crate::harness::PATIENCE).unwrap();
    assert!(matches!(ended, Err(Broken::Closed | Broken::Reset)), "the rest of the body arrived: {ended:?}");
}

/// How an HTTP/2 upstream treats copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It sends without an end.
    Endless,
    /// It sends half of a response.
    Stops,
    /// It sends nothing and reads nothing.
    Deaf,
    /// It answers and reads nothing.
    Early,
}

/// Treats copies in this manner, and reports how their streams end.
fn treating(manner: Manner) -> (Upstream, Receiver<Reason>) {
    let (sender, endings) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
        let sender = sender.lock().unwrap().clone();
        Box::pin(async move {
            // Kept unread: its windows stay unchanged.
            let _request = request;
            let reason = if manner == Manner::Deaf {
                poll_fn(|cx| respond.poll_reset(cx)).await
            } else {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let piece = Bytes::from_static(&[b'x'; 16 * 1024]);
                if manner == Manner::Stops {
                    let _ = send_all(&mut stream, piece.clone(), End::Later).await;
                }
                if manner == Manner::Endless {
                    while send_all(&mut stream, piece.clone(), End::Later).await.is_ok() {}
                }
                poll_fn(|cx| stream.poll_reset(cx)).await
            };
            let _ = sender.send(reason.unwrap_or(Reason::CONNECT_ERROR));
        })
    });
    (upstream, endings)
}

#[test]
fn a_stream_is_reset_and_its_connection_stays() {
    let main = main_upstream();
    for (manner, body) in
        [(Manner::Endless, 0), (Manner::Stops, 0), (Manner::Deaf, 0), (Manner::Deaf, LARGE), (Manner::Early, LARGE)]
    {
        let (dark, endings) = treating(manner);
        let timeout = if manner == Manner::Endless { "20s" } else { "500ms" };
        let proxy = Proxy::with("main", &main).with("dark", &dark).place("scheme", "h2c").start(&cut_after(timeout));
        let mut client = proxy.connect();
        for _ in 0..2 {
            // After failures only some requests are copied, and on a busy machine some copies end earlier.
            let reason = until("a stream is reset", || {
                assert_eq!(client.post("/", "", &vec![b'x'; body]).text(), "ok");
                Figures::settled(&proxy, 1);
                endings.recv_timeout(Duration::from_millis(200)).ok()
            });
            assert_eq!(reason, Reason::CANCEL, "{manner:?} with {body}");
        }
        assert_eq!(dark.accepted(), 1, "{manner:?} with {body}");
        assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);
    }
}

#[test]
fn the_end_of_a_copy_ends_no_request() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let main = Upstream::h2c_script(&h2::server::Builder::new(), move |_, _, request, mut respond| {
        let opened = Arc::clone(&opened);
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            // A request that is answered before it has arrived complete is not copied.
            while body.data().await.is_some() {}
            if head.uri.path() == "/late" {
                opened.notified().await;
            }
            // A proxy that has closed needs no response.
            let _ = respond.send_response(Response::new(()), true);
        })
    });
    let dark = Upstream::script(|mut conn| {
        let _ = conn.request();
        conn.wait();
    });
    let text = cut_after("2s").replace("http://{main}", "h2c://{main}");
    let proxy = setup(&main, &dark).start(&text);
    let mut client = H2::connect(proxy.address());
    let request = H2::request("POST", "/").body(()).unwrap();
    assert_eq!(client.send(request, &[b"body"], None).status, 200);
    until("its copy is under way", || (dark.requests() == 1).then_some(()));
    let (response, _) = client.open(H2::request("DELETE", "/late").body(()).unwrap(), End::Now);
    until("it is under way", || (proxy.metric("pointsman_requests_in_flight") == 1.0).then_some(()));
    until("the copy ends", || (Figures::of(&proxy).dropped("timeout") == 1.0).then_some(()));
    gate.notify_one();
    assert_eq!(client.finish(response).status, 200);
}
