//! Upgrades: which requests get one, what passes through a tunnel, and how it ends.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use pointsman::app::Stopped;

use crate::harness::frames::{END_STREAM, Fate, Frames, HEADERS, INITIAL_WINDOW_SIZE, block, field, get};
use crate::harness::h2_client::{End, send_all};
use crate::harness::proxy::Setup;
use crate::harness::upstream::Got;
use crate::harness::{Answer, Broken, Conn, H2, Proxy, Raw, RefusingAddress, Upstream, until};

/// One route that allows upgrades, and one that does not.
pub(crate) const ROUTES: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "ws"
match = { path = "/ws/*" }
stable = "main"
limits = { upgrade = ["websocket"] }
timeout = { request = "1m" }
[[route]]
name = "plain"
match = { path = "/*" }
stable = "main"
"#;

/// The fields of a client that asks for a WebSocket (RFC 6455 §1.3).
pub(crate) const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// The upstream agrees (RFC 6455 §4.2.2).
fn switch_for(key: &str) -> String {
    let sum = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    let digit =
        |bits: u32| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[bits as usize]);
    let mut accept = String::new();
    for three in sum.as_ref().chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        accept.extend((0..=three.len()).map(|i| digit(bits >> (18 - 6 * i) & 63)));
    }
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}=\r\nSec-WebSocket-Protocol: superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
}

/// Switches on request unless the path says otherwise; then sends the received bytes back.
pub(crate) fn switcher() -> Upstream {
    Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let asked = got.field("upgrade").is_some();
            let answer = match got.target.as_str() {
                "/ws/refused" => "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
                "/ws/ordinary" => {
                    "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nok"
                }
                "/ws/other" => "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
                "/ws/none" => "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
                "/ws/two" => {
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket, h2c\r\nconnection: upgrade\r\n\r\n"
                }
                "/ws/length" => {
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     content-length: 5\r\n\r\nhello"
                }
                "/ws/chunked" => {
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                }
                "/unasked" => "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
                "/ws/unproven" => {
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                }
                "/ws/early" => return early(conn, &got),
                "/ws/slowly" => return slowly(conn, &got),
                "/ws/speaks" => return speaks(conn, &got),
                _ if asked => return echo(conn, &got),
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain",
            };
            if !conn.send(answer) {
                return;
            }
        }
    })
}

/// The upstream's agreement to a request for a WebSocket.
pub(crate) fn agree(got: &Got) -> String {
    switch_for(got.field("sec-websocket-key").unwrap_or_default())
}

fn echo(mut conn: Conn, got: &Got) {
    conn.send(agree(got));
    while let Ok(bytes) = conn.wire.some() {
        if !conn.send(bytes) {
            return;
        }
    }
    conn.send("bye");
}

/// Sends bytes together with its agreement, after an early hint.
fn early(mut conn: Conn, got: &Got) {
    let agrees = agree(got);
    conn.send(format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{agrees}HTTP/1.1 103 is no head any more"));
    conn.wait();
}

/// The same, a byte at a time.
fn slowly(mut conn: Conn, got: &Got) {
    let agrees = agree(got) + "HTTP/1.1 103 is no head any more";
    agrees.as_bytes().chunks(1).all(|byte| conn.send(byte));
    conn.wait();
}

/// Ends its direction at once and keeps reading.
fn speaks(mut conn: Conn, got: &Got) {
    conn.send(agree(got) + "first");
    conn.wire.finish();
    let (rest, _) = conn.wire.rest();
    assert_eq!(rest, b"after the end of the other direction");
}

pub(crate) fn ask(client: &mut Raw, path: &str) -> Answer {
    client.get(path, ASK)
}

#[track_caller]
fn opened(proxy: &Proxy, path: &str) -> Raw {
    let mut client = proxy.connect();
    let answer = ask(&mut client, path);
    assert_eq!(answer.status, 101, "{}", answer.text());
    client
}

fn start(upstream: &Upstream) -> Proxy {
    Proxy::with("main", upstream).start(ROUTES)
}

const OPEN: &str = "pointsman_upgrades_open{route=\"ws\",variant=\"stable\"}";

#[test]
fn a_websocket_opens_carries_bytes_and_ends() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = proxy.connect();
    let answer = ask(&mut client, "/ws/a?b=c");
    assert_eq!(answer.status, 101);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "superchat"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    assert!(answer.fields("content-length").is_empty() && answer.fields("transfer-encoding").is_empty());
    let got = &upstream.got()[0];
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ] {
        assert_eq!(got.field(name), Some(value), "{name}");
    }
    assert_eq!(got.target, "/ws/a?b=c");
    let opening = &proxy.logged(1)[0];
    assert_eq!((&opening["event"], &opening["status"]), (&"open".into(), &101.into()));
    assert_eq!(proxy.metric(OPEN), 1.0);
    assert_eq!(
        proxy
            .metric("pointsman_requests_total{reason=\"stable\",route=\"ws\",status_class=\"1xx\",variant=\"stable\"}"),
        1.0
    );
    // Reserved bits, a missing mask, bytes that look like HTTP: the proxy does not interpret them.
    let odd = b"\xf7\x00\xff\xff\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(client.send(odd).wire.exact(odd.len()).unwrap(), odd);
    }
    assert_eq!(client.finish().wire.rest(), (b"bye".to_vec(), Broken::Closed), "the other direction was still open");
    proxy.settles();
    let closing = &proxy.logged(2)[1];
    assert_eq!((&closing["event"], &closing["termination"]), (&"close".into(), &"--".into()));
    assert_eq!(closing["detail"], "client_closed");
    let bytes = 3 * odd.len();
    assert_eq!((&closing["request_bytes"], &closing["response_bytes"]), (&bytes.into(), &(bytes + 3).into()));
    assert_eq!(closing["request_id"], opening["request_id"]);
    assert_eq!(proxy.metric(OPEN), 0.0);
    assert_eq!(proxy.metric("pointsman_upgrades_total{route=\"ws\",variant=\"stable\"}"), 1.0);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn an_upstream_may_end_its_direction_alone() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = opened(&proxy, "/ws/speaks");
    assert_eq!(client.wire.rest(), (b"first".to_vec(), Broken::Closed));
    client.send("after the end of the other direction").finish();
    proxy.settles();
    assert_eq!(proxy.logged(2)[1]["detail"], "upstream_closed");
}

#[test]
fn bytes_sent_with_the_upstreams_head_arrive() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let said = b"HTTP/1.1 103 is no head any more";
    for (path, hints) in [("/ws/early", 1), ("/ws/slowly", 0)] {
        let mut client = proxy.connect();
        let answer = ask(&mut client, path);
        assert_eq!((answer.status, answer.early.len()), (101, hints), "{path}");
        assert_eq!(client.wire.exact(said.len()).unwrap(), said, "{path}");
        let mut client = h2(&proxy);
        let (response, stream) = connect(&mut client, path, "websocket");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(exact(&client, &mut response.into_body(), said.len()), said, "{path}");
        drop(stream);
    }
}

#[test]
fn upgrades_that_are_not_allowed_never_reach_the_upstream() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let asks = [
        ("GET", "/plain", ASK, ""),
        ("GET", "/ws", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket/13\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: \r\n", ""),
        ("GET", "/ws", "Upgrade: websocket\r\n", ""),
        ("GET", "/ws", "Connection: keep-alive\r\nUpgrade: websocket\r\n", ""),
        ("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n", "hi"),
        (
            "GET",
            "/ws",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        ("POST", "/ws", ASK, ""),
        ("OPTIONS", "/ws", ASK, ""),
    ];
    let mut client = proxy.connect();
    for (method, path, lines, body) in asks {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n{body}"));
        let answer = client.read_response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "plain"), "{method} {lines}");
    }
    let got = upstream.got();
    assert_eq!(got.len(), asks.len());
    for (got, asked) in got.iter().zip(asks) {
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(got.field(name), None, "{asked:?}");
        }
    }
    let mut old = proxy.connect();
    let answer = old.send(format!("GET /ws HTTP/1.0\r\nHost: test\r\n{ASK}\r\n")).read_response();
    assert_eq!((answer.status, upstream.got().pop().unwrap().field("upgrade")), (200, None));
    drop((client, old));
    proxy.settles();
    assert_eq!(proxy.metric_sum("pointsman_upgrades_total"), 0.0);
}

#[test]
fn an_upstream_that_does_not_switch_gives_an_ordinary_response() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = proxy.connect();
    for (path, status, body) in [("/ws/refused", 403, "no"), ("/ws/ordinary", 200, "ok"), ("/ws/refused", 403, "no")] {
        let answer = ask(&mut client, path);
        assert_eq!((answer.status, answer.text().as_str(), answer.closes()), (status, body, false));
        assert!(answer.fields("upgrade").is_empty() && answer.fields("connection").is_empty());
        assert_eq!(client.get("/", "").text(), "plain", "the connection goes on");
    }
    assert_eq!(upstream.accepted(), 1, "and so does the upstream's");
    // Bytes behind a request without a switch are the next request.
    let both = format!("GET /ws/refused HTTP/1.1\r\nHost: test\r\n{ASK}\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(both);
    assert_eq!(client.read_response().status, 403);
    assert_eq!(client.read_response().text(), "plain");
    assert_eq!(upstream.got().last().unwrap().target, "/next");
    // And the same rules apply to it.
    client.send(format!("GET /ws/refused HTTP/1.1\r\nHost: test\r\n{ASK}\r\n\u{81}\u{85}frame that came too early"));
    assert_eq!(client.read_response().status, 403);
    let answer = client.read_response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    client.ends();
    proxy.settles();
}

#[test]
fn a_switch_to_another_protocol_is_502() {
    let upstream = switcher();
    let proxy = start(&upstream);
    for path in ["/ws/other", "/ws/none", "/ws/two", "/ws/length", "/ws/chunked", "/unasked"] {
        let mut client = proxy.connect();
        let answer = ask(&mut client, path);
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.field("proxy-status").unwrap().contains("http_protocol_error"), "{path}");
        assert_eq!(client.get("/", "").text(), "plain", "the client's connection goes on after {path}");
    }
    proxy.settles();
    until("their connections are closed", || {
        (proxy.metric("pointsman_upstream_connections{upstream=\"main\"}") <= 1.0).then_some(())
    });
}

#[test]
fn bytes_after_the_request_wait_for_the_switch_and_are_not_a_request() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let behind = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    for split in [0, 1, behind.len()] {
        let mut client = proxy.connect();
        client.send(format!("GET /ws HTTP/1.1\r\nHost: test\r\n{ASK}\r\n{}", &behind[..split]));
        assert_eq!(client.read_response().status, 101);
        client.send(&behind[split..]);
        assert_eq!(client.wire.exact(behind.len()).unwrap(), behind.as_bytes());
        assert!(client.finish().wire.rest().0 == b"bye");
    }
    // Behind ordinary requests too.
    let mut client = proxy.connect();
    client.send(format!("GET /one HTTP/1.1\r\nHost: test\r\n\r\nGET /ws HTTP/1.1\r\nHost: test\r\n{ASK}\r\n{behind}"));
    assert_eq!(client.read_response().text(), "plain");
    assert_eq!(client.read_response().status, 101);
    assert_eq!(client.wire.exact(behind.len()).unwrap(), behind.as_bytes());
    drop(client);
    proxy.settles();
    assert!(upstream.got().iter().all(|got| got.target != "/smuggled"));
}

#[test]
fn an_idle_tunnel_times_out() {
    let upstream = switcher();
    let routes = ROUTES.replace("request = \"1m\"", "idle = \"1s\"");
    let proxy = Proxy::with("main", &upstream).start(&routes);
    let mut client = opened(&proxy, "/ws");
    client.ends();
    proxy.settles();
    let closing = &proxy.logged(2)[1];
    assert_eq!((&closing["termination"], &closing["detail"]), (&"PT".into(), &"idle_timeout".into()));
}

#[test]
fn a_reset_of_one_side_ends_the_other() {
    let upstream = switcher();
    let proxy = start(&upstream);
    opened(&proxy, "/ws").reset();
    until("the upstream's connection ends", || (upstream.open() == 0).then_some(()));
    proxy.settles();
    assert_eq!(proxy.logged(2)[1]["termination"], "CT");
    let resets = Upstream::script(|mut conn| {
        let got = conn.request().unwrap();
        conn.send(agree(&got));
        drop(conn.wire.exact(1));
        conn.reset();
    });
    let proxy = start(&resets);
    let mut client = opened(&proxy, "/ws");
    client.send("x").ends();
    proxy.settles();
    assert_eq!(proxy.logged(2)[1]["termination"], "UT");
}

#[test]
fn a_large_message_passes_in_both_directions_with_bounded_buffers() {
    const BYTES: usize = 64 << 20;
    let upstream = switcher();
    let proxy = start(&upstream);
    let client = opened(&proxy, "/ws");
    let message: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    let Raw { mut wire } = client;
    let mut writer = wire.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut writer, &message).unwrap());
        assert!(wire.exact(BYTES).unwrap() == message);
    });
    drop((wire, writer));
    proxy.settles();
    assert_eq!(proxy.logged(2)[1]["request_bytes"], BYTES);
}

#[test]
fn a_reload_keeps_open_tunnels_and_applies_to_new_ones() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = opened(&proxy, "/ws");
    proxy.rewrite(&ROUTES.replace("limits = { upgrade = [\"websocket\"] }", ""));
    assert_eq!(ask(&mut proxy.connect(), "/ws").status, 200);
    assert_eq!(client.send("still here").wire.exact(10).unwrap(), b"still here");
    drop(client);
    proxy.settles();
}

#[test]
fn a_client_that_closes_before_the_switch_is_noticed() {
    let (arrival, arrived) = std::sync::mpsc::channel();
    let arrival = std::sync::Mutex::new(arrival);
    let upstream = Upstream::script(move |mut conn| {
        conn.request().unwrap();
        arrival.lock().unwrap().send(()).unwrap();
        conn.wait();
    });
    let proxy = start(&upstream);
    let mut client = proxy.connect();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: test\r\n{ASK}\r\n"));
    arrived.recv().unwrap();
    client.reset();
    until("the upstream's connection ends", || (upstream.open() == 0).then_some(()));
    proxy.settles();
    assert_eq!(proxy.logged(1)[0]["termination"], "CH");
    let proxy = Proxy::with("main", &upstream).start(&ROUTES.replace("request = \"1m\"", "request = \"1s\""));
    let mut client = proxy.connect();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: test\r\n{ASK}\r\n"));
    arrived.recv().unwrap();
    assert_eq!(client.read_response().status, 504, "the request timeout applies until the switch");
}

/// An extended CONNECT over HTTP/2 (RFC 8441).
#[track_caller]
pub(crate) fn connect(
    client: &mut H2,
    path: &str,
    protocol: &'static str,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let (response, stream) = client.open(extended(path, protocol), End::Later);
    (client.block_on(response).unwrap(), stream)
}

fn extended(path: &str, protocol: &'static str) -> Request<()> {
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let mut request = H2::request("CONNECT", path).extension(h2::ext::Protocol::from_static(protocol));
    for (name, value) in fields {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

/// A client that knows the proxy's settings.
fn h2(proxy: &Proxy) -> H2 {
    let mut client = H2::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    client
}

#[track_caller]
fn exact(client: &H2, body: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.block_on(async {
        while bytes.len() < count {
            let data = body.data().await.expect("the stream continues").unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            bytes.extend_from_slice(&data);
        }
    });
    bytes
}

#[test]
fn an_http2_stream_becomes_an_http1_websocket() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = h2(&proxy);
    let (response, mut stream) = connect(&mut client, "/ws/a?b=c", "websocket");
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("sec-websocket-accept", None),
        ("upgrade", None),
        ("connection", None),
        ("sec-websocket-protocol", Some("superchat")),
        ("sec-websocket-extensions", Some("permessage-deflate")),
    ] {
        assert_eq!(response.headers().get(name).map(|value| value.to_str().unwrap()), value, "{name}");
    }
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.method.as_str(), got.target.as_str()), ("GET", "/ws/a?b=c"));
    assert_eq!((got.field("connection"), got.field("upgrade")), (Some("Upgrade"), Some("websocket")));
    assert_eq!(got.field("sec-websocket-key").unwrap().len(), 24);
    assert_eq!(got.field("sec-websocket-protocol"), Some("chat, superchat"));
    let mut body = response.into_body();
    for _ in 0..3 {
        client.block_on(send_all(&mut stream, Bytes::from_static(b"\xf7hello"), End::Later)).unwrap();
        assert_eq!(exact(&client, &mut body, 6), b"\xf7hello");
    }
    assert_eq!(proxy.metric(OPEN), 1.0);
    client.block_on(send_all(&mut stream, Bytes::new(), End::Now)).unwrap();
    assert_eq!(exact(&client, &mut body, 3), b"bye");
    let ended = client.block_on(body.data()).is_none_or(|data| data.unwrap().is_empty());
    assert!(ended && body.is_end_stream(), "the other end arrives too");
    let lines = proxy.logged(3);
    let (opening, closing) = (&lines[1], &lines[2]);
    assert_eq!(
        (&opening["event"], &opening["method"], &opening["status"]),
        (&"open".into(), &"GET".into(), &200.into())
    );
    assert_eq!((&closing["event"], &closing["termination"]), (&"close".into(), &"--".into()));
    assert_eq!((&closing["request_bytes"], &closing["response_bytes"]), (&18.into(), &21.into()));
    assert_eq!(client.get("/").status, 200, "the connection stays");
    drop(client);
    proxy.settles();
}

#[test]
fn an_extended_connect_that_is_not_allowed_is_refused() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = h2(&proxy);
    for (path, protocol, status) in [
        ("/plain", "websocket", 405),
        ("/ws", "webtransport", 501),
        ("/plain", "connect-udp", 501),
        ("/ws/refused", "websocket", 403),
        ("/ws/ordinary", "websocket", 502),
        ("/ws/other", "websocket", 502),
        ("/ws/none", "websocket", 502),
        ("/ws/length", "websocket", 502),
        ("/ws/unproven", "websocket", 502),
        ("/ws", "websocket", 200),
    ] {
        let (response, stream) = connect(&mut client, path, protocol);
        assert_eq!(response.status(), status, "{path} {protocol}");
        drop((response, stream));
    }
    assert_eq!(proxy.refused("upgrade"), 2.0);
    assert_eq!(proxy.refused("method"), 1.0);
    drop(client);
    proxy.settles();
    assert!(upstream.got().iter().all(|got| got.method == "GET"));
}

/// For CONNECT, every 2xx announces a tunnel (RFC 9110 §9.3.6): an error in gRPC's form would be one.
#[test]
fn a_connect_without_a_tunnel_never_succeeds() {
    let dead = RefusingAddress::new();
    let proxy = Setup::default().place("main", dead.address()).start(ROUTES);
    let grpc = ("content-type", "application/grpc");
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Type: application/grpc\r\n\r\n");
    assert_eq!(client.read_response().status, 405);
    let plain = block(&[(":method", "CONNECT"), (":authority", "a:443"), grpc]);
    let extended = |path, protocol| {
        let pseudo = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":authority", "test")];
        [block(&pseudo), block(&[(":path", path), grpc])].concat()
    };
    let ordinary = |method| {
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", "/x")];
        [block(&pseudo), block(&[grpc])].concat()
    };
    for (head, status) in [
        (plain, 405),
        (extended("/ws", "websocket"), 502),
        (extended("/plain", "websocket"), 405),
        (extended("/ws", "connect-udp"), 501),
        (ordinary("GET"), 502),
        (ordinary("POST"), 200),
    ] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.headers(1, 0, &head);
        let fate = client.fate(1);
        assert!(matches!(fate, Fate::Answered(answered, _) if answered == status), "{status}: {fate:?}");
    }
}

#[test]
fn a_reset_stream_ends_its_tunnel_and_vice_versa() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = h2(&proxy);
    let (response, mut stream) = connect(&mut client, "/ws", "websocket");
    stream.send_reset(h2::Reason::CANCEL);
    drop((response, stream));
    until("the tunnel ends", || (proxy.metric(OPEN) == 0.0).then_some(()));
    until("the upstream's connection ends", || (upstream.open() <= 1).then_some(()));
    assert_eq!(proxy.logged(3)[2]["termination"], "CT");
    let resets = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let Some(key) = got.field("sec-websocket-key") else {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                continue;
            };
            conn.send(switch_for(key));
            drop(conn.wire.exact(1));
            return conn.reset();
        }
    });
    let proxy = start(&resets);
    let mut client = h2(&proxy);
    let (response, mut stream) = connect(&mut client, "/ws", "websocket");
    client.block_on(send_all(&mut stream, Bytes::from_static(b"x"), End::Later)).unwrap();
    let mut body = response.into_body();
    let ended = client.block_on(body.data()).expect("a reset, not an end").unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::CANCEL));
    drop((client, stream, body));
    proxy.settles();
    assert_eq!(proxy.logged(3)[2]["termination"], "UT");
}

/// An HTTP/2 upstream that accepts extended CONNECTs and sends the received bytes back.
fn connecting() -> Upstream {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    Upstream::h2c_script(&builder, |shared, number, request, mut respond| {
        Box::pin(async move {
            let protocol = request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
            let (parts, mut body) = request.into_parts();
            let headers = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
            let got = Got {
                connection: number,
                method: format!("{} {}", parts.method, protocol.unwrap_or_default()),
                target: parts.uri.to_string(),
                headers: headers.collect(),
                ..Got::default()
            };
            shared.remember(got);
            let status = match parts.uri.path() {
                "/ws/refused" => 403,
                "/ws/created" => 201,
                _ => 200,
            };
            let response = Response::builder().status(status).header("sec-websocket-protocol", "superchat").body(());
            let ends = status != 200 || parts.method != http::Method::CONNECT;
            let Ok(mut stream) = respond.send_response(response.unwrap(), ends) else { return };
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                if send_all(&mut stream, data, End::Later).await.is_err() {
                    return;
                }
            }
            let _ = send_all(&mut stream, Bytes::from_static(b"bye"), End::Now).await;
        })
    })
}

#[test]
fn an_http2_upstream_gets_an_extended_connect() {
    let upstream = connecting();
    let proxy = Proxy::with("main", &upstream).start(&ROUTES.replace("http://", "h2c://"));
    let mut client = proxy.connect();
    let answer = ask(&mut client, "/ws/a?b=c");
    assert_eq!(answer.status, 101);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "superchat"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.method.as_str(), got.target.as_str()), ("CONNECT websocket", "http://test/ws/a?b=c"));
    assert_eq!((got.field("sec-websocket-key"), got.field("sec-websocket-version")), (None, Some("13")));
    for _ in 0..3 {
        assert_eq!(client.send("hello").wire.exact(5).unwrap(), b"hello");
    }
    assert_eq!(client.finish().wire.rest(), (b"bye".to_vec(), Broken::Closed));
    for (path, status) in [("/ws/refused", 403), ("/ws/created", 502)] {
        let answer = ask(&mut proxy.connect(), path);
        assert_eq!(answer.status, status, "{path}");
    }
    let keyless = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(proxy.connect().get("/ws", keyless).status, 400, "there is nothing to answer it with");
    // And through HTTP/2 on both sides.
    let mut client = h2(&proxy);
    let (response, mut stream) = connect(&mut client, "/ws", "websocket");
    assert_eq!(
        (response.status(), response.headers().contains_key("sec-websocket-accept")),
        (http::StatusCode::OK, false)
    );
    let mut body = response.into_body();
    client.block_on(send_all(&mut stream, Bytes::from_static(b"hello"), End::Now)).unwrap();
    assert_eq!(exact(&client, &mut body, 8), b"hellobye");
    drop(client);
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"main\"}"), 0.0);
}

#[test]
fn an_http2_upstream_without_extended_connect_is_not_asked() {
    let upstream = Upstream::h2c();
    let proxy = Proxy::with("main", &upstream).start(&ROUTES.replace("http://", "h2c://"));
    let answer = ask(&mut proxy.connect(), "/ws");
    assert_eq!(answer.status, 502);
    let proxy_status = answer.field("proxy-status").unwrap();
    assert!(
        proxy_status.contains("http_upgrade_failed") && proxy_status.contains("upstream_no_upgrade"),
        "{proxy_status}"
    );
    assert_eq!(upstream.requests(), 0);
    proxy.settles();
}

/// Routes whose canary takes all callers with `x-canary`, with this in `[kill]`.
fn split_with(kill: &str) -> String {
    format!(
        "[identity]\ntenant = [\"header:x-tenant\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [upstream.main]\nendpoints = [\"http://{{main}}\"]\n[upstream.other]\nendpoints = [\"http://{{other}}\"]\n\
         [[route]]\nname = \"ws\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n\
         limits = {{ upgrade = [\"websocket\"] }}\ncanary = {{ upstream = \"other\", weight = 0 }}\n\
         [[route.target]]\nheader = {{ x-canary = \"1\" }}\nserve = \"canary\"\n{kill}\n"
    )
}

#[test]
fn a_kill_closes_tunnels_of_a_killed_variant() {
    let (stable, canary) = (switcher(), switcher());
    let setup = Proxy::with("main", &stable).with("other", &canary);
    let proxy = setup.start(&split_with(""));
    let open = |lines: &str| {
        let mut client = proxy.connect();
        assert_eq!(client.get("/ws", &format!("{ASK}{lines}")).status, 101);
        client
    };
    let mut on_stable = open("");
    let mut on_canary = open("X-Canary: 1\r\n");
    let mut of_acme = open("X-Canary: 1\r\nX-Tenant: acme\r\n");
    let mut other = h2(&proxy);
    let (request, mut stream) = {
        let mut request = extended("/ws", "websocket");
        request.headers_mut().insert("x-canary", "1".parse().unwrap());
        other.open(request, End::Later)
    };
    let response = other.block_on(request).unwrap();
    assert_eq!(response.status(), 200);
    let echoes = |client: &mut Raw| {
        assert_eq!(client.send("hello").wire.exact(5).unwrap(), b"hello");
    };
    // A kill without `close_streams` leaves them, and so does a change of weights.
    proxy.rewrite(&split_with("[kill]\nvariants = [\"ws:canary\"]").replace("weight = 0", "weight = 50"));
    [&mut on_stable, &mut on_canary, &mut of_acme].into_iter().for_each(echoes);
    // A kill that is revoked in time leaves them too.
    proxy.rewrite(&split_with("[kill]\nall = true\nclose_streams = \"1h\""));
    proxy.rewrite(&split_with(""));
    [&mut on_stable, &mut on_canary, &mut of_acme].into_iter().for_each(echoes);
    proxy.rewrite(&split_with("[kill]\ntenants = [\"acme\"]\nclose_streams = \"100ms\""));
    of_acme.ends();
    [&mut on_stable, &mut on_canary].into_iter().for_each(echoes);
    assert_eq!(proxy.metric("pointsman_killed_streams_total"), 1.0);
    proxy.rewrite(&split_with("[kill]\nvariants = [\"ws:canary\"]\nclose_streams = \"100ms\""));
    on_canary.ends();
    let mut body = response.into_body();
    let reset = other.block_on(body.data()).expect("a reset, not an end").unwrap_err();
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    stream.send_reset(h2::Reason::CANCEL);
    echoes(&mut on_stable);
    assert_eq!(proxy.metric("pointsman_killed_streams_total"), 3.0);
    let closed = until("the ends are logged", || {
        let lines: Vec<_> = proxy.log_lines().into_iter().filter(|line| line["detail"] == "killed").collect();
        (lines.len() == 3).then_some(lines)
    });
    assert!(closed.iter().all(|line| line["termination"] == "PT" && line["variant"] == "canary"), "{closed:#?}");
    drop((on_stable, other, body, stream));
    proxy.settles();
}

#[test]
fn a_kill_closes_long_responses_of_a_killed_variant() {
    let streaming = || {
        Upstream::script(|mut conn| {
            if conn.request().is_ok() {
                conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
                conn.wait();
            }
        })
    };
    let (stable, canary) = (streaming(), streaming());
    let proxy = Proxy::with("main", &stable).with("other", &canary).start(&split_with(""));
    let mut clients = ["", "X-Canary: 1\r\n"].map(|lines| {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        assert_eq!(client.head().unwrap().1, 200);
        assert_eq!(client.wire.exact(10).unwrap(), b"5\r\nhello\r\n");
        client
    });
    proxy.rewrite(&split_with("[kill]\nroutes = [\"ws\"]\nclose_streams = \"50ms\""));
    clients[1].ends();
    until("the upstream's connection ends", || (canary.open() == 0).then_some(()));
    assert_eq!((stable.open(), clients[0].wire.has_bytes()), (1, false), "stable is never killed");
    // No byte is written to it, so that a close alone would not show.
    clients.into_iter().for_each(Raw::reset);
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_killed_streams_total"), 1.0);
    let lines = proxy.logged(2);
    assert!(lines.iter().any(|line| line["termination"] == "PB" && line["detail"] == "killed"), "{lines:#?}");
}

#[test]
fn a_kill_closes_unread_responses_and_waiting_requests() {
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let canary = Upstream::script(move |mut conn| {
        let Ok(got) = conn.head() else { return };
        if got.target == "/waits" {
            return conn.wait();
        }
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 16];
        while conn.send(&piece) {
            sent.fetch_add(1 << 16, SeqCst);
        }
    });
    let stable = switcher();
    let proxy = Proxy::with("main", &stable).with("other", &canary).start(&split_with(""));
    let ask = |path: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Canary: 1\r\n\r\n"));
        client
    };
    let mut stalled = ask("/");
    assert_eq!(stalled.head().unwrap().1, 200);
    let mut stream = Frames::connect(proxy.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    stream.headers(1, END_STREAM, &[get("test", "/"), field(b"x-canary", b"1")].concat());
    while stream.next().unwrap().kind != HEADERS {}
    let mut waits = ask("/waits");
    until("all are under way", || (canary.open() == 3 && seen.load(SeqCst) > 1 << 20).then_some(()));
    proxy.rewrite(&split_with("[kill]\nroutes = [\"ws\"]\nclose_streams = \"500ms\""));
    assert_eq!(stream.fate(1), Fate::Reset(u32::from(h2::Reason::CANCEL)));
    assert_eq!(waits.read_response().status, 503);
    until("the upstream's connection ends", || (canary.open() == 0).then_some(()));
    let lines = until("the ends are logged", || {
        let lines: Vec<_> = proxy.log_lines().into_iter().filter(|line| line["detail"] == "killed").collect();
        (lines.len() == 3).then_some(lines)
    });
    let mut endings: Vec<_> = lines.iter().filter_map(|line| line["termination"].as_str()).collect();
    endings.sort_unstable();
    assert_eq!(endings, ["PB", "PB", "PH"]);
    drop((stalled, stream, waits));
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_killed_streams_total"), 3.0);
}

#[test]
fn a_drain_leaves_tunnels_until_its_deadline() {
    let upstream = switcher();
    let setup = Proxy::with("main", &upstream).tuned(|options| options.drain_deadline = Duration::from_secs(5));
    let proxy = setup.start(ROUTES);
    let mut client = opened(&proxy, "/ws");
    let mut other = h2(&proxy);
    let (response, mut stream) = connect(&mut other, "/ws", "websocket");
    let mut body = response.into_body();
    proxy.app().stop();
    until("the listener refuses connections", || std::net::TcpStream::connect(proxy.address()).is_err().then_some(()));
    assert_eq!(client.send("hello").wire.exact(5).unwrap(), b"hello");
    other.block_on(send_all(&mut stream, Bytes::from_static(b"hello"), End::Later)).unwrap();
    assert_eq!(exact(&other, &mut body, 5), b"hello");
    client.ends();
    assert!(other.block_on(body.data()).is_none_or(|data| data.is_err()), "it does not end in order");
    let mut log = std::fs::File::open(proxy.dir().join("access.log")).unwrap();
    assert_eq!(proxy.stop(), Stopped::Forced);
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    let cut = text.lines().filter(|line| line.contains("\"drain_deadline\"") && line.contains("\"PT\"")).count();
    assert_eq!(cut, 2, "{text}");
}

#[test]
fn many_tunnels_leave_no_memory_or_descriptors() {
    const TIMES: usize = 10_000;
    let upstream = switcher();
    let quiet = format!("[access_log]\nsink = \"off\"\n{ROUTES}");
    let proxy = Proxy::with("main", &upstream).limits("connection_rate_per_ip = 1000000").start_alone(&quiet);
    let held = || (proxy.metric("process_resident_memory_bytes"), proxy.metric("process_open_fds"));
    let mut before = (0.0, 0.0);
    for n in 0..TIMES {
        if n == TIMES / 10 {
            before = held();
        }
        let mut client = Raw::connect(proxy.address);
        assert_eq!(ask(&mut client, "/ws").status, 101);
        assert_eq!(client.send("hello").wire.exact(5).unwrap(), b"hello");
        if n % 2 == 0 {
            client.finish().wire.rest();
        } else {
            client.reset();
        }
    }
    until("all have closed", || (proxy.metric(OPEN) == 0.0).then_some(()));
    until("the upstream's connections end", || (upstream.open() == 0).then_some(()));
    let after = held();
    assert!(after.0 - before.0 < 8e6, "{} bytes more after {TIMES} times", after.0 - before.0);
    assert!(after.1 <= before.1 + 4.0, "{} descriptors, {} before", after.1, before.1);
}
