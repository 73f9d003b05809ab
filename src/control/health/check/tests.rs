//! Checks over sockets: good answers, and all ways to answer badly.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::control::health::check_target::CheckSettings;
use crate::route::{EndpointRole, GrpcProbe, HealthCheck, HttpProbe};
use crate::snapshot::EndpointState;

/// Long enough for every answer that comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// For those that do not come.
const BRIEF: Duration = Duration::from_millis(50);

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn http(expect: std::ops::RangeInclusive<u16>) -> HealthProbe {
    HealthProbe::Http(HttpProbe { path: "/healthz".to_owned(), host: None, headers: Vec::new(), expect: vec![expect] })
}

fn grpc(service: &str) -> HealthProbe {
    HealthProbe::Grpc(GrpcProbe { service: service.to_owned(), host: None, headers: Vec::new() })
}

fn target(address: SocketAddr, protocol: Protocol, probe: HealthProbe, timeout: Duration) -> CheckTarget {
    let check = HealthCheck { probe, interval: PATIENCE, timeout, healthy: 1, unhealthy: 1, port: None };
    let text = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.a]\nendpoints = ['http://10.0.0.1:80']\n\
                [[route]]\nname = 'all'\nmatch = { path = '/*' }\nstable = 'a'\n";
    let loaded = crate::config::load_text("routes.toml", text, &|_| None).expect("a file");
    let settings = Arc::new(CheckSettings::new(&check, &loaded.rules.upstreams[0]));
    let endpoint = EndpointState {
        address,
        protocol,
        weight: 1,
        role: EndpointRole::Primary,
        tls: None,
        name: address.to_string().into(),
        looked_up: None,
        health: Arc::default(),
    };
    CheckTarget::new(&endpoint, None, &settings)
}

/// The outcome of a check; one during which this process stood still is made again.
async fn outcome_of(target: &CheckTarget) -> Result<(), String> {
    loop {
        match check(target).await {
            Some(CheckOutcome::Good) => return Ok(()),
            Some(CheckOutcome::Bad(why)) => return Err(why.to_string()),
            None => {}
        }
    }
}

/// Answers each connection with these bytes, then closes it in order, or keeps it open.
fn answering(listener: TcpListener, bytes: &'static [u8], then: Then) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = read_request(&mut stream).await;
            let _ = stream.write_all(bytes).await;
            match then {
                Then::Close => drop(stream.shutdown().await),
                Then::Keep => kept.push(stream),
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Keep,
}

async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            break;
        }
    }
    request
}

#[tokio::test]
async fn the_status_decides() {
    let good = [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], Then::Keep, Ok(())),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Then::Close, Ok(())),
        (b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\n\r\n", Then::Close, Err("answers 302")),
        (b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n", Then::Keep, Err("answers 503")),
        (b"HTTP/1.0 200 OK\r\n\r\nno end", Then::Keep, Ok(())),
    ];
    for (bytes, then, expected) in good {
        let (listener, address) = listen().await;
        let server = answering(listener, bytes, then);
        let outcome = outcome_of(&target(address, Protocol::Http1, http(200..=299), PATIENCE)).await;
        assert_eq!(outcome, expected.map_err(str::to_owned), "{}", String::from_utf8_lossy(bytes));
        server.abort();
    }
    let (listener, address) = listen().await;
    let _server = answering(listener, b"HTTP/1.1 302 Found\r\nlocation: /login\r\n\r\n", Then::Close);
    assert_eq!(outcome_of(&target(address, Protocol::Http1, http(200..=399), PATIENCE)).await, Ok(()), "by default");
}

#[tokio::test]
async fn bad_answers_are_bad_checks_with_a_reason() {
    for (bytes, then, within, expected) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], Then::Keep, PATIENCE, "its answer is no HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", Then::Keep, PATIENCE, "its answer is no HTTP"),
        (b"", Then::Close, PATIENCE, "closes the connection before it answers"),
        (b"HTTP/1.1 200 OK\r\nserv", Then::Close, PATIENCE, "closes the connection within the head of its answer"),
        (b"", Then::Keep, BRIEF, "does not answer within 50ms"),
        (b"HTTP/1.1 200 OK\r\n", Then::Keep, BRIEF, "does not answer within 50ms"),
    ] {
        let (listener, address) = listen().await;
        let server = answering(listener, bytes, then);
        let outcome = outcome_of(&target(address, Protocol::Http1, http(200..=399), within)).await;
        assert_eq!(outcome, Err(expected.to_owned()));
        server.abort();
    }
    let (listener, address) = listen().await;
    drop(listener);
    for probe in [http(200..=399), HealthProbe::Tcp, grpc("")] {
        let outcome = outcome_of(&target(address, Protocol::Http1, probe, PATIENCE)).await;
        assert_eq!(outcome, Err("connection refused".to_owned()));
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    const CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
        let mut sent = stream.write(head).await.unwrap_or_default();
        while let Ok(more) = stream.write(&CHUNK).await {
            sent += more;
        }
        sent
    });
    assert_eq!(outcome_of(&target(address, Protocol::Http1, http(200..=399), PATIENCE)).await, Ok(()));
    let sent = server.await.expect("the connection ends");
    assert!(sent < 64 * 1024 * 1024, "what the buffers of the system hold, not {sent} bytes");
    let (listener, address) = listen().await;
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: and more, and more, and more\r\n").await.is_ok() {}
    });
    let outcome = outcome_of(&target(address, Protocol::Http1, http(200..=399), PATIENCE)).await;
    let expected = ["answers with more than 128 header fields", "answers with a head of more than 65536 bytes"];
    assert!(outcome.as_ref().is_err_and(|why| expected.contains(&why.as_str())), "{outcome:?}");
    endless.await.expect("the connection ends");
}

#[tokio::test]
async fn the_body_is_outside_the_time_limit() {
    let (listener, address) = listen().await;
    let server = answering(listener, b"HTTP/1.1 200 OK\r\n\r\nno end", Then::Keep);
    let (target, mut rest) = (target(address, Protocol::Http1, http(200..=299), PATIENCE), None);
    assert_eq!(ask(&target, &mut rest).await, Ok(()));
    let rest = rest.expect("a body that is not read yet");
    let began = Instant::now();
    rest.finish().await;
    assert!(began.elapsed() >= Duration::from_millis(100), "its end is waited for after the verdict");
    server.abort();
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let (listener, address) = listen().await;
    let target = target(address, Protocol::Http1, HealthProbe::Tcp, PATIENCE);
    assert_eq!(outcome_of(&target).await, Ok(()));
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).await.expect("its end");
    assert!(sent.is_empty(), "nothing is sent");
}

#[test]
fn a_process_that_stood_still_has_seen_nothing() {
    let (late, within) = (Err("does not answer within 1s".to_owned()), Duration::from_secs(1));
    assert_eq!(
        outcome(late.clone(), Duration::from_millis(1_400), within),
        Some(CheckOutcome::Bad("does not answer within 1s".into()))
    );
    assert_eq!(outcome(late, Duration::from_millis(1_600), within), None);
    assert_eq!(outcome(Ok(()), Duration::from_secs(9), within), Some(CheckOutcome::Good));
}

/// What an HTTP/2 endpoint does with a request.
#[derive(Clone, Copy)]
enum H2Reply {
    /// This status, and an open body.
    Status(u16),
    /// The status of `grpc.health.v1`.
    Serving(u8),
    /// Trailers alone, with this code.
    Code(&'static str),
    /// More than 8 KiB.
    Long,
}

/// Serves HTTP/2; each connection gets the next reply, and all after them the last. Returns what was asked.
fn serving_h2(listener: TcpListener, replies: &'static [H2Reply]) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for at in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let reply = replies[at.min(replies.len() - 1)];
            kept.push(tokio::spawn(reply_over_h2(stream, reply)));
        }
    })
}

async fn reply_over_h2(stream: TcpStream, reply: H2Reply) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut open = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let grpc = |status: &'static str| {
            let response = Response::builder().header("content-type", "application/grpc");
            if status.is_empty() { response } else { response.header("grpc-status", status) }
        };
        match reply {
            H2Reply::Status(status) => {
                assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/healthz"));
                let response = Response::builder().status(status).body(()).expect("a response");
                open.push(respond.send_response(response, false).expect("sent"));
            }
            H2Reply::Serving(status) => {
                assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/grpc.health.v1.Health/Check"));
                let mut body = respond.send_response(grpc("").body(()).expect("a response"), false).expect("sent");
                let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
                body.send_data(message, false).expect("sent");
                let trailers: HeaderMap =
                    [(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]
                        .into_iter()
                        .collect();
                body.send_trailers(trailers).expect("sent");
            }
            H2Reply::Code(code) => {
                respond.send_response(grpc(code).body(()).expect("a response"), true).expect("sent");
            }
            H2Reply::Long => {
                let mut body = respond.send_response(grpc("").body(()).expect("a response"), false).expect("sent");
                body.send_data(Bytes::from(vec![0; 100_000]), false).expect("sent");
                open.push(body);
            }
        }
    }
}

#[tokio::test]
async fn http2_is_asked_with_prior_knowledge() {
    let (listener, address) = listen().await;
    let _server = serving_h2(listener, &[H2Reply::Status(200), H2Reply::Status(500)]);
    let target = target(address, Protocol::H2c, http(200..=399), PATIENCE);
    assert_eq!(outcome_of(&target).await, Ok(()));
    assert_eq!(outcome_of(&target).await, Err("answers 500".to_owned()));
}

#[tokio::test]
async fn goaway_before_the_answer_is_a_bad_check() {
    // SETTINGS, and GOAWAY with the last stream 0 and ENHANCE_YOUR_CALM.
    const BYTES: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
    let (listener, address) = listen().await;
    let _server = answering(listener, BYTES, Then::Keep);
    let outcome = outcome_of(&target(address, Protocol::H2c, http(200..=399), PATIENCE)).await;
    assert_eq!(outcome, Err("closes the connection (GOAWAY, ENHANCE_YOUR_CALM)".to_owned()));
}

#[tokio::test]
async fn grpc_health_says_whether_it_serves() {
    let (listener, address) = listen().await;
    let replies = &[
        H2Reply::Serving(2),
        H2Reply::Serving(1),
        H2Reply::Serving(3),
        H2Reply::Code("12"),
        H2Reply::Code("14"),
        H2Reply::Long,
    ];
    let _server = serving_h2(listener, replies);
    let target = target(address, Protocol::H2c, grpc("shop"), PATIENCE);
    for expected in [
        Err("says NOT_SERVING"),
        Ok(()),
        Err("says SERVICE_UNKNOWN"),
        Err("answers grpc-status 12 (UNIMPLEMENTED): it has no grpc.health.v1.Health"),
        Err("answers grpc-status 14 (UNAVAILABLE)"),
        Err("answers with more than 8192 bytes"),
    ] {
        assert_eq!(outcome_of(&target).await, expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn an_endpoint_of_http1_is_no_http2() {
    let (listener, address) = listen().await;
    let _server = answering(listener, b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", Then::Keep);
    let outcome = outcome_of(&target(address, Protocol::H2c, http(200..=399), PATIENCE)).await;
    assert_eq!(outcome, Err("its answer is no HTTP/2".to_owned()));
}
