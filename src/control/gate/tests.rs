//! Questions over sockets: answers of every kind, and programs that do not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use http::header::HeaderValue;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::exchange::AskedProgram;
use super::questions::Reporter;
use super::reply::ask;
use super::{Asked, Question, QuestionId, Questions, Replied, Reply};
use crate::clock::Clock;
use crate::control::event::{Event, ReleaseEvent};
use crate::route::{ClientTls, HttpTarget};

/// A limit that no test reaches.
const AMPLE: Duration = Duration::from_mins(1);
/// How long a question waits for an answer that never comes.
const SHORT: Duration = Duration::from_millis(50);
/// An interval that no test waits for.
const NEVER: Duration = Duration::from_hours(1);

const BODY: &str = r#"{"rollout":"r","stage":"beta","revision":"v2=1","weight":10.0,"gate":0}"#;

/// A server of one connection, with the request that it got.
struct Server {
    port: u16,
    task: JoinHandle<String>,
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// A server that answers its first connection with these bytes, and closes it.
async fn server(answer: impl Into<Vec<u8>>) -> Server {
    let (listener, port) = listener().await;
    let answer = answer.into();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = request(&mut stream).await;
        // The client may have read enough.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        request
    });
    Server { port, task }
}

/// Reads a request with its body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.expect("a request");
        assert!(count > 0, "the request is complete");
        read.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8(read.clone()).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            return text;
        }
    }
}

/// An answer with this status line and body.
fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn target(port: u16) -> HttpTarget {
    HttpTarget {
        host: "127.0.0.1".to_owned(),
        port,
        path: "/gate".to_owned(),
        tls: None,
        headers: Vec::new(),
        timeout: AMPLE,
    }
}

fn webhook(target: HttpTarget) -> Asked {
    Asked::Webhook { target, body: BODY.to_owned() }
}

fn query(target: HttpTarget) -> Asked {
    Asked::Prometheus { target: HttpTarget { path: "/".to_owned(), ..target }, query: "up".to_owned() }
}

async fn reply(asked: Asked) -> Reply {
    let peer = AskedProgram::of(&asked).expect("its settings are valid");
    ask(&peer, &asked).await
}

/// Why a question has failed, without host and port.
fn failed(reply: Reply) -> String {
    let Reply::Failed(why) = reply else { panic!("{reply:?}") };
    assert!(why.chars().count() < 600 && !why.contains(char::is_control), "one short line: {why:?}");
    why.split_once(' ').expect("a name, and what it does").1.to_owned()
}

/// What a webhook says that answers so.
async fn said(answer: impl Into<Vec<u8>>) -> Reply {
    reply(webhook(target(server(answer).await.port))).await
}

#[tokio::test]
async fn a_webhook_gets_the_question_and_passes() {
    let server = server(http("200 OK", r#"{"pass": true, "reason": "all green", "build": [7]}"#)).await;
    let bearer = ("authorization".parse().expect("a name"), HeaderValue::from_static("Bearer s3cret-token"));
    let target = HttpTarget { path: "/gate?team=a%20b".to_owned(), headers: vec![bearer], ..target(server.port) };
    assert_eq!(reply(webhook(target)).await, Reply::Webhook { pass: true, reason: "all green".to_owned() });
    let request = server.task.await.expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, BODY);
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "POST /gate?team=a%20b HTTP/1.1");
    let host = format!("host: 127.0.0.1:{}", server.port);
    let agent = concat!("user-agent: pointsman/", env!("CARGO_PKG_VERSION"));
    for line in [&host, agent, "content-type: application/json", "authorization: Bearer s3cret-token"] {
        assert!(lines.contains(&line), "{line}: {head}");
    }
}

#[tokio::test]
async fn a_webhook_blocks_with_its_reason() {
    let reason = |text: &str| Reply::Webhook { pass: false, reason: text.to_owned() };
    assert_eq!(said(http("201 Created", r#"{"pass":false,"reason":"tests fail"}"#)).await, reason("tests fail"));
    assert_eq!(said(http("200 OK", r#"{"pass":false}"#)).await, reason(""));
    let odd = r#"{"pass":false,"reason":" a\u001b[31m\nb\u202e "}"#;
    assert_eq!(said(http("200 OK", odd)).await, reason(r"a\u{1b}[31m\u{a}b\u{202e}"));
    let long = format!(r#"{{"pass":false,"reason":"{}"}}"#, "é".repeat(300));
    assert_eq!(said(http("200 OK", &long)).await, reason(&format!("{}…", "é".repeat(199))));
    let many = format!(r#"{{"pass":false,"reason":"{}"}}"#, "\\u001b".repeat(300));
    let Reply::Webhook { reason, .. } = said(http("200 OK", &many)).await else { panic!("an answer") };
    assert!(reason.chars().count() <= 200 && reason.ends_with("}…"), "{reason}");
}

#[tokio::test]
async fn an_answer_in_another_form_is_no_success() {
    for (answer, why) in [
        (http("200 OK", ""), "answers with 200 OK and nothing else; a gate expects {\"pass\": true}"),
        (http("204 No Content", ""), "answers with 204 No Content and nothing else"),
        (http("200 OK", "ok"), "answers in another form: expected value at line 1 column 1; a gate expects"),
        (http("200 OK", "{}"), "answers in another form: missing field `pass`"),
        (http("200 OK", "null"), "answers in another form: invalid type: null"),
        (
            http("200 OK", r#"{"pass": "true"}"#),
            "answers in another form: invalid type: string \"true\", expected a boolean",
        ),
        (http("200 OK", r#"{"pass": 1}"#), "answers in another form: invalid type: integer `1`"),
        (http("200 OK", r#"{"pass": true, "reason": 5}"#), "answers in another form: invalid type: integer `5`"),
        (http("200 OK", r#"{"pass": false, "pass": true}"#), "answers in another form: duplicate field `pass`"),
        (http("200 OK", r#"{"pass": true} x"#), "answers in another form: trailing characters"),
        (http("200 OK", &"[".repeat(60_000)), "answers in another form: "),
        (http("503 Service Unavailable", "down"), "answers with 503 Service Unavailable"),
        (http("409 Conflict", r#"{"pass": true, "reason": "busy"}"#), "answers with 409 Conflict: busy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\"\xff\"".to_vec(), "answers with bytes that are not UTF-8"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "does not answer in HTTP/1.1: "),
        (Vec::new(), "closed the connection before the answer was complete"),
        (b"HTTP/1.1 200".to_vec(), "closed the connection before the answer was complete"),
    ] {
        let said = failed(said(answer.clone()).await);
        assert!(said.starts_with(why), "{:?}: {said}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_length_that_is_not_true_is_no_success_and_no_wait() {
    let body = r#"{"pass": true}"#;
    let with_length = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(failed(said(with_length(99)).await), "closed the connection before the answer was complete");
    let cut = failed(said(with_length(5)).await);
    assert!(cut.starts_with("answers in another form: EOF while parsing"), "{cut}");
    let twice = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 14\r\n\r\n{body}");
    assert!(failed(said(twice).await).starts_with("does not answer in HTTP/1.1: "));
    // Without a length it ends with the connection; in chunks with the last one.
    let pass = Reply::Webhook { pass: true, reason: String::new() };
    assert_eq!(said(format!("HTTP/1.0 200 OK\r\n\r\n{body}")).await, pass);
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"pass\":\r\n5\r\ntrue}\r\n0\r\n\r\n";
    assert_eq!(said(chunks).await, pass);
    assert_eq!(failed(said(&chunks[..chunks.len() - 5]).await), "closed the connection before the answer was complete");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_its_location() {
    let to = |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let says =
        |to: &str| format!("redirects (302) {to}: redirects are not followed; write the URL that answers itself");
    for (location, shown) in [
        ("https://ci.example.com/gate", "to https://ci.example.com/gate"),
        ("https://user:hunter22@ci.example.com/gate?token=abcdefgh#x", "to https://ci.example.com/gate"),
        ("/login?next=%2Fgate", "to /login"),
        ("//other.example.com/", "to //other.example.com/"),
    ] {
        assert_eq!(failed(said(to(location)).await), says(shown));
    }
    let without = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(failed(said(without).await), says("without a location"));
}

#[tokio::test]
async fn credentials_are_not_repeated() {
    let echo =
        r#"{"pass":false,"reason":"no Bearer s3cret-token-7f3a, no hunter2-password, no T024BE7LD-XXXXXXXXXXXX"}"#;
    let secret = |port: u16| {
        let bearer = ("authorization".parse().expect("a name"), HeaderValue::from_static("Bearer s3cret-token-7f3a"));
        let path = "/hooks/T024BE7LD-XXXXXXXXXXXX?key=hunter2-password".to_owned();
        HttpTarget { path, headers: vec![bearer], ..target(port) }
    };
    let Reply::Webhook { reason, .. } = reply(webhook(secret(server(http("200 OK", echo)).await.port))).await else {
        panic!("an answer")
    };
    assert_eq!(reason, "no ***, no ***, no ***");
    let moved = "HTTP/1.1 308 Moved\r\nLocation: https://ci/hooks/T024BE7LD-XXXXXXXXXXXX?key=hunter2-password\r\n\r\n";
    let why = failed(reply(webhook(secret(server(moved).await.port))).await);
    assert!(why.contains("to https://ci/hooks/***:"), "{why}");
    let bad = http("400 Bad Request", &echo.replace("false", "true"));
    let why = failed(reply(webhook(secret(server(bad).await.port))).await);
    assert_eq!(why, "answers with 400 Bad Request: no ***, no ***, no ***");
}

#[tokio::test]
async fn an_endless_answer_ends_early() {
    const CHUNK: usize = 16 * 1024;
    for length in ["Content-Length: 1073741824\r\n", ""] {
        let (listener, port) = listener().await;
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            // Until the client closes the connection.
            while stream.write_all(&[b' '; CHUNK]).await.is_ok() && counted.load(SeqCst) < 1 << 30 {
                counted.fetch_add(CHUNK as u64, SeqCst);
            }
        });
        assert_eq!(failed(reply(webhook(target(port))).await), "answers with more than 65536 bytes");
        task.await.expect("the server ends");
        // What the buffers of two sockets take.
        assert!(sent.load(SeqCst) < 64 << 20, "{} bytes were sent", sent.load(SeqCst));
    }
}

#[tokio::test]
async fn a_program_that_does_not_answer_in_time_has_failed() {
    let hasty = |port: u16| webhook(HttpTarget { timeout: SHORT, ..target(port) });
    // It accepts, and says nothing.
    let (silent, port) = listener().await;
    assert_eq!(failed(reply(hasty(port)).await), "does not answer within 50ms");
    drop(silent);
    // It never ends its head, its body.
    for head in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"] {
        let (listener, port) = listener().await;
        let drip = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.write_all(head.as_bytes()).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            while stream.write_all(b" ").await.is_ok() {
                ticks.tick().await;
            }
        });
        assert_eq!(failed(reply(hasty(port)).await), "does not answer within 50ms");
        drip.await.expect("the connection is closed");
    }
    // It takes the connection, and no TLS handshake comes back.
    let (silent, port) = listener().await;
    let tls = Some(ClientTls { roots: [untrusted()].into(), server_name: None, client_cert: None });
    let why = failed(reply(webhook(HttpTarget { timeout: SHORT, tls, ..target(port) })).await);
    assert!(why.ends_with("within 50ms"), "{why}");
    drop(silent);
}

#[tokio::test]
async fn a_program_that_cannot_be_reached_has_failed() {
    let (refused, port) = listener().await;
    drop(refused);
    let why = failed(reply(webhook(target(port))).await);
    assert!(why.starts_with("cannot be reached: Connection refused"), "{why}");
    let nowhere = HttpTarget { host: "gate.invalid".to_owned(), ..target(port) };
    let why = failed(reply(webhook(nowhere)).await);
    assert!(why.starts_with("cannot be reached: "), "{why}");
    let (listener, port) = listener().await;
    let reset = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        // Unread input, then closed: a reset.
        stream.readable().await.expect("a request");
        stream.set_zero_linger().expect("set");
    });
    let why = failed(reply(webhook(target(port))).await);
    assert!(why.contains("reset") || why.starts_with("closed the connection"), "{why}");
    reset.await.expect("ended");
}

/// A certificate that no server of these tests has.
fn untrusted() -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["other.test".to_owned()]).expect("a certificate");
    made.cert.der().to_vec()
}

/// A server with a certificate of its own for `gate.test`; the certificate.
pub(in crate::control) async fn tls_server(answer: Vec<u8>) -> (u16, Vec<u8>, JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed(vec!["gate.test".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listener().await;
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        request(&mut stream).await;
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    });
    (port, made.cert.der().to_vec(), task)
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked() {
    let pass = || http("200 OK", r#"{"pass":true}"#);
    let over = |port: u16, roots: Vec<Vec<u8>>, name: Option<&str>| {
        let tls = Some(ClientTls { roots: roots.into(), server_name: name.map(str::to_owned), client_cert: None });
        reply(webhook(HttpTarget { tls, ..target(port) }))
    };
    let (port, root, task) = tls_server(pass()).await;
    assert_eq!(over(port, vec![root], Some("gate.test")).await, Reply::Webhook { pass: true, reason: String::new() });
    task.await.expect("answered");
    // The certificate is of another name.
    let (port, root, _task) = tls_server(pass()).await;
    let why = failed(over(port, vec![root], None).await);
    assert!(why.starts_with("cannot be asked over TLS: ") && why.contains("gate.test"), "{why}");
    // Another authority is trusted.
    let (other, port) = (tls_server(pass()).await.1, tls_server(pass()).await.0);
    let why = failed(over(port, vec![other], Some("gate.test")).await);
    assert!(why.starts_with("cannot be asked over TLS: "), "{why}");
    // It speaks no TLS.
    let (listener, port) = listener().await;
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        stream
    });
    let why = failed(over(port, vec![untrusted()], Some("gate.test")).await);
    assert!(why.contains("does not speak TLS"), "{why}");
    drop(plain);
}

/// What Prometheus says that answers so.
async fn value(answer: impl Into<Vec<u8>>) -> Reply {
    reply(query(target(server(answer).await.port))).await
}

fn success(result_type: &str, result: &str) -> Vec<u8> {
    let data = format!(r#"{{"resultType":"{result_type}","result":{result}}}"#);
    http("200 OK", &format!(r#"{{"status":"success","data":{data},"warnings":["slow"],"infos":["x"]}}"#))
}

#[tokio::test]
async fn one_value_of_prometheus_is_one() {
    for (answer, expected) in [
        (success("scalar", r#"[1435781451.781,"0.25"]"#), 0.25_f64),
        (success("vector", r#"[{"metric":{"job":"a"},"value":[1435781451,"1e-05"]}]"#), 1e-5),
        (success("vector", r#"[{"metric":{},"value":[1435781451.781,"-0"]}]"#), -0.0),
    ] {
        let Reply::Value(value) = value(answer).await else { panic!("a value") };
        assert_eq!(value.to_bits(), expected.to_bits());
    }
}

#[tokio::test]
async fn what_is_not_one_value_says_what_to_write() {
    let vector = |value: &str| success("vector", &format!(r#"[{{"metric":{{}},"value":[1,"{value}"]}}]"#));
    let two = r#"[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"2"]}]"#;
    let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error:\n unexpected end"}"#;
    for (answer, why) in [
        (
            vector("NaN"),
            "answers with NaN, which is not a number: what the query divides by may be 0: write `… or vector(0)`",
        ),
        (vector("+Inf"), "answers with +Inf, which is not a number"),
        (vector("-Inf"), "answers with -Inf, which is not a number"),
        (vector("1,5"), "answers with the value `1,5`, which is not a number"),
        (
            success("vector", "[]"),
            "has no value for the query: no series matches; where that is normal, write `… or vector(0)`",
        ),
        (success("vector", two), "answers with 2 series, one is needed: put `sum(…)` or `max(…)` around the query"),
        (success("vector", r#"[{"metric":{},"histogram":[1,{}]}]"#), "answers with a histogram, a number is needed"),
        (
            success("vector", r#"[{"metric":{},"value":[1,5]}]"#),
            "does not answer as Prometheus does: a sample has no value",
        ),
        (success("vector", "[7]"), "does not answer as Prometheus does: a sample has no value"),
        (success("matrix", "[]"), "answers with a range, a number is needed: put `avg_over_time(…)`"),
        (success("string", r#"[1,"x"]"#), "answers with a result of type string, a number is needed"),
        (success("vector", "{}"), "answers with a result of type vector"),
        (
            http("400 Bad Request", error),
            r#"answers with an error: bad_data: invalid parameter "query": 1:5: parse error:\u{a} unexpected end"#,
        ),
        (http("422 Unprocessable Entity", r#"{"status":"error"}"#), "answers with an error: "),
        (http("200 OK", r#"{"status":"success"}"#), "does not answer as Prometheus does: its status is success"),
        (
            http("200 OK", r#"{"status":"odd","data":{"resultType":"scalar","result":[1,"1"]}}"#),
            "does not answer as Prometheus does: its status is odd",
        ),
        (http("502 Bad Gateway", "<html>"), "answers with 502 Bad Gateway; is it the URL of Prometheus?"),
        (http("500 Internal Server Error", r#"{"status":"success"}"#), "answers with 500 Internal Server Error"),
        (
            http("200 OK", "<html>"),
            "does not answer as Prometheus does: expected value at line 1 column 1; is it the URL",
        ),
        (http("302 Found", ""), "redirects (302) without a location"),
    ] {
        let said = failed(value(answer).await);
        assert!(said.starts_with(why), "{said}");
    }
}

#[tokio::test]
async fn a_query_is_encoded_and_the_path_of_prometheus_is_kept() {
    let ask = async |path: &str, query: &str| {
        let server = server(success("scalar", r#"[1,"1"]"#)).await;
        let target = HttpTarget { path: path.to_owned(), ..target(server.port) };
        assert!(matches!(reply(Asked::Prometheus { target, query: query.to_owned() }).await, Reply::Value(_)));
        server.task.await.expect("a request")
    };
    let first = |request: &str| request.lines().next().expect("a line").to_owned();
    let encoded = "sum%28rate%28a%7Bb%3D~%22%C3%A9%2B%26%22%7D%5B5m%5D%29%29";
    let odd = "sum(rate(a{b=~\"é+&\"}[5m]))";
    for (path, url) in [
        ("/", format!("/api/v1/query?query={encoded}")),
        ("/prom/", format!("/prom/api/v1/query?query={encoded}")),
        ("/prom?tenant=a%20b", format!("/prom/api/v1/query?tenant=a%20b&query={encoded}")),
    ] {
        assert_eq!(first(&ask(path, odd).await), format!("GET {url} HTTP/1.1"));
    }
    let long = "a".repeat(5_000);
    let request = ask("/prom?tenant=a", &long).await;
    assert_eq!(first(&request), "POST /prom/api/v1/query?tenant=a HTTP/1.1");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"), "{request}");
    assert!(request.ends_with(&format!("\r\n\r\nquery={long}")));
}

/// A server that passes each question, for as many connections as come; how many did.
async fn passing() -> (u16, Arc<AtomicU64>, mpsc::UnboundedReceiver<String>) {
    let (listener, port) = listener().await;
    let (seen, requests) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            let request = request(&mut stream).await;
            let _ = stream.write_all(&http("200 OK", r#"{"pass":true}"#)).await;
            if seen.send(request).is_err() {
                return;
            }
        }
    });
    (port, asked, requests)
}

fn gate(stage: &str, asked: Asked, every: Duration) -> Question {
    let id = QuestionId::Gate { rollout: "r".to_owned(), stage: stage.to_owned(), gate: 0 };
    Question { id, asked, every }
}

fn reporter(events: mpsc::Sender<Event>) -> Reporter {
    Reporter { events, clock: Clock, started: Clock.now() }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Option<Replied> {
    let event = tokio::time::timeout(AMPLE, events.recv()).await.expect("an event in time")?;
    let Event::Release(ReleaseEvent::Replied(replied)) = event else { panic!("another event") };
    Some(*replied)
}

#[tokio::test]
async fn a_question_that_is_asked_goes_on_and_another_one_begins() {
    let (port, asked, mut requests) = passing().await;
    let (events, mut replies) = mpsc::channel(16);
    let reporter = reporter(events);
    let mut questions = Questions::default();
    let with = |body: &str| Asked::Webhook { target: target(port), body: body.to_owned() };
    let first = gate("beta", with(BODY), NEVER);
    assert_eq!(questions.follow_for(vec![first.clone()], &reporter), std::slice::from_ref(&first.id));
    let before = next(&mut replies).await.expect("a reply");
    assert_eq!(before.reply, Reply::Webhook { pass: true, reason: String::new() });
    assert!(questions.accepts(&before));
    // The same, also at another weight of a ramp.
    for weight in ["10.0", "10.01", "10.02"] {
        let same = gate("beta", with(&BODY.replace("10.0", weight)), NEVER);
        assert!(questions.follow_for(vec![same], &reporter).is_empty());
    }
    // Another revision: an answer about the one before is none.
    let second = gate("beta", with(&BODY.replace("v2=1", "v2=2")), NEVER);
    while reporter.clock.now() <= reporter.started + Duration::from_millis(before.asked_ms + 1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(questions.follow_for(vec![second.clone()], &reporter), [second.id]);
    assert!(!questions.accepts(&before), "an answer from before");
    assert!(questions.accepts(&next(&mut replies).await.expect("a reply")));
    assert_eq!(asked.load(SeqCst), 2, "each was asked once");
    let bodies = [requests.recv().await.expect("a request"), requests.recv().await.expect("a request")];
    assert!(bodies[0].contains("v2=1") && bodies[1].contains("v2=2"), "{bodies:?}");
}

#[tokio::test]
async fn a_question_is_asked_again_with_the_weight_of_now() {
    let (port, _, mut requests) = passing().await;
    let (events, mut replies) = mpsc::channel(16);
    let reporter = reporter(events);
    let mut questions = Questions::default();
    let at = |weight: &str| {
        let body = BODY.replace("10.0", weight);
        gate("beta", Asked::Webhook { target: target(port), body }, Duration::from_millis(1))
    };
    questions.follow_for(vec![at("10.0")], &reporter);
    next(&mut replies).await.expect("a reply");
    assert!(questions.follow_for(vec![at("12.5")], &reporter).is_empty());
    loop {
        next(&mut replies).await.expect("a reply");
        if requests.recv().await.expect("a request").contains("12.5") {
            break;
        }
    }
}

#[tokio::test]
async fn a_question_that_is_removed_is_not_asked_any_more() {
    let (port, asked, _requests) = passing().await;
    let (silent, silent_port) = listener().await;
    let (events, mut replies) = mpsc::channel(16);
    let mut questions = Questions::default();
    {
        let reporter = reporter(events);
        let fast = gate("beta", webhook(target(port)), Duration::from_millis(1));
        let hangs = gate("alpha", webhook(target(silent_port)), NEVER);
        questions.follow_for(vec![hangs, fast], &reporter);
        // One that hangs delays itself alone.
        for _ in 0..3 {
            let answer = next(&mut replies).await.expect("a reply");
            assert_eq!(answer.id, gate("beta", webhook(target(port)), NEVER).id);
        }
        assert!(questions.follow_for(Vec::new(), &reporter).is_empty());
    }
    // Each task has a sender: the channel ends with the last one.
    while let Some(replied) = next(&mut replies).await {
        assert!(!questions.accepts(&replied), "an answer from before");
    }
    assert!(asked.load(SeqCst) >= 3);
    let (mut hanging, _) = silent.accept().await.expect("it was asked");
    let ended: Result<usize, _> = read_to_end(&mut hanging).await;
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
}

async fn read_to_end(stream: &mut TcpStream) -> std::io::Result<usize> {
    let mut all = Vec::new();
    tokio::time::timeout(AMPLE, stream.read_to_end(&mut all)).await.expect("it is closed in time")
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_an_answer() {
    let (events, mut replies) = mpsc::channel(16);
    let reporter = reporter(events);
    let mut questions = Questions::default();
    let (_listener, port) = listener().await;
    for (roots, name, expected) in
        [(vec![untrusted()], "not a name", "not a name"), (Vec::new(), "a.test", "no certificate")]
    {
        let tls = Some(ClientTls { roots: roots.into(), server_name: Some(name.to_owned()), client_cert: None });
        questions.follow_for(vec![gate("beta", webhook(HttpTarget { tls, ..target(port) }), NEVER)], &reporter);
        let why = failed(next(&mut replies).await.expect("a reply").reply);
        assert!(why.starts_with("cannot be asked over TLS: the webhook: ") && why.contains(expected), "{why}");
    }
}
