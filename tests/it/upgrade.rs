//! Upgrades: who gets one and who does not, what passes through it, and how it ends.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::time::Duration;

use crate::harness::{Answer, Broken, Conn, Proxy, Raw, Upstream, until};

/// One route that allows what is asked for, and one that does not.
const ROUTES: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "ws"
match = { path = "/ws/*" }
stable = "main"
limits = { upgrade = ["websocket"] }
timeout = { request = "2s" }
[[route]]
name = "plain"
match = { path = "/*" }
stable = "main"
"#;

/// What a client that wants a WebSocket says (RFC 6455 §1.3).
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: superchat\r\n\
                      Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// Switches when it is asked to and the path does not say otherwise; then sends back what it gets.
fn switcher() -> Upstream {
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
                "/ws/early" => return early(conn),
                "/ws/speaks" => return speaks(conn),
                _ if asked => return echo(conn),
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain",
            };
            if !conn.send(answer) {
                return;
            }
        }
    })
}

fn echo(mut conn: Conn) {
    conn.send(SWITCH);
    while let Ok(bytes) = conn.wire.some() {
        if !conn.send(bytes) {
            return;
        }
    }
    conn.send("bye");
}

/// Speaks in the same breath as it agrees, after a hint.
fn early(mut conn: Conn) {
    conn.send(format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{SWITCH}HTTP/1.1 103 is no head any more"));
    conn.wait();
}

/// Ends its direction at once and listens on.
fn speaks(mut conn: Conn) {
    conn.send(format!("{SWITCH}first"));
    conn.wire.finish();
    let (rest, _) = conn.wire.rest();
    assert_eq!(rest, b"after the end of the other direction");
}

fn ask(client: &mut Raw, path: &str) -> Answer {
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
    // Reserved bits, no mask where there must be one, what looks like HTTP: none of our business.
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
fn what_the_upstream_says_with_its_head_arrives() {
    let upstream = switcher();
    let proxy = start(&upstream);
    let mut client = proxy.connect();
    let answer = ask(&mut client, "/ws/early");
    assert_eq!((answer.status, answer.early.len()), (101, 1));
    let said = b"HTTP/1.1 103 is no head any more";
    assert_eq!(client.wire.exact(said.len()).unwrap(), said);
}

#[test]
fn what_is_not_allowed_never_reaches_the_upstream_as_an_upgrade() {
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
fn an_upstream_that_does_not_switch_gives_an_ordinary_answer() {
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
    // What was sent behind a request that nobody switched for is the next request.
    let both = format!("GET /ws/refused HTTP/1.1\r\nHost: test\r\n{ASK}\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(both);
    assert_eq!(client.read_response().status, 403);
    assert_eq!(client.read_response().text(), "plain");
    assert_eq!(upstream.got().last().unwrap().target, "/next");
    // And is held to the same rules.
    client.send(format!("GET /ws/refused HTTP/1.1\r\nHost: test\r\n{ASK}\r\n\u{81}\u{85}frame that came too early"));
    assert_eq!(client.read_response().status, 403);
    let answer = client.read_response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    client.ends();
    proxy.settles();
}

#[test]
fn a_switch_to_something_else_is_a_bad_gateway() {
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
fn bytes_behind_the_request_wait_for_the_switch_and_are_no_request() {
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
fn nothing_moves_for_too_long() {
    let upstream = switcher();
    let routes = ROUTES.replace("request = \"2s\"", "idle = \"1s\"");
    let proxy = Proxy::with("main", &upstream).start(&routes);
    let mut client = opened(&proxy, "/ws");
    client.ends();
    proxy.settles();
    let closing = &proxy.logged(2)[1];
    assert_eq!((&closing["termination"], &closing["detail"]), (&"PT".into(), &"idle_timeout".into()));
}

#[test]
fn who_goes_takes_the_other_along() {
    let upstream = switcher();
    let proxy = start(&upstream);
    opened(&proxy, "/ws").reset();
    until("the upstream is let go", || (upstream.open() == 0).then_some(()));
    proxy.settles();
    assert_eq!(proxy.logged(2)[1]["termination"], "CT");
    let resets = Upstream::script(|mut conn| {
        conn.request().unwrap();
        conn.send(SWITCH);
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
fn a_reload_leaves_what_is_open_and_changes_what_comes() {
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
fn a_client_that_goes_before_the_switch_is_noticed() {
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
    drop(client);
    until("the upstream is let go", || (upstream.open() == 0).then_some(()));
    proxy.settles();
    assert_eq!(proxy.logged(1)[0]["termination"], "CH");
    let mut client = proxy.connect();
    client.wire.patience(Duration::from_secs(10));
    client.send(format!("GET /ws HTTP/1.1\r\nHost: test\r\n{ASK}\r\n"));
    arrived.recv().unwrap();
    assert_eq!(client.read_response().status, 504, "the request's time is bounded until the switch");
}
