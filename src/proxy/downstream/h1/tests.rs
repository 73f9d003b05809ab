//! A connection with a service of the test: requests in every split, bodies of every framing, and how it ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::connection::{FirstBytes, serve};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::fields::Fields;
use crate::identity::IdentityProviders;
use crate::net::Socket;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::{ClientRequest, ClientResponse, ResponseContent};
use crate::proxy::downstream::client_slot::ClientSlot;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::worker::{PerClientLimits, Worker, WorkerSetup};
use crate::route::{
    AccessLog, AdminSpec, Dns, Edition, Generation, Identity, Index, Kill, Limits, ListenerSpec, LogSink, Masks,
    Notify, Overlay, Rules, StateSpec,
};
use crate::shadow_compare::Comparator;
use crate::snapshot::{Listener, ListeningSocket, RouteStates, Snapshot};
use crate::telemetry::{LogWriter, MeterRegistry, PerWorker, Refusal, Screen, TraceExporter};

/// Rules without a route.
fn rules() -> Rules {
    Rules {
        listeners: vec![],
        admin: AdminSpec::default(),
        state: StateSpec::default(),
        identity: Identity::default(),
        segments: vec![],
        upstreams: vec![],
        routes: vec![],
        index: Index::default(),
        access_log: AccessLog::default(),
        dns: Dns::default(),
        traces: None,
        rollouts: Vec::new(),
        freeze: Vec::new(),
        prometheus: None,
        notify: Notify::default(),
        masks: Masks::default(),
    }
}

/// A body of given frames.
struct Frames {
    left: VecDeque<Result<Frame<Bytes>, BodyError>>,
    length: Option<u64>,
    /// The request whose body follows.
    echo: Option<ClientRequest>,
}

impl Frames {
    fn of(text: impl Into<Bytes>) -> Self {
        let data = text.into();
        let length = Some(data.len() as u64);
        let left = if data.is_empty() { VecDeque::new() } else { VecDeque::from([Ok(Frame::data(data))]) };
        Self { left, length, echo: None }
    }

    /// A body of unknown length.
    fn streamed<const N: usize>(frames: [Result<Frame<Bytes>, BodyError>; N]) -> Self {
        Self { left: VecDeque::from(frames), length: None, echo: None }
    }

    /// The body of a request, read when the response has begun.
    fn echo(request: ClientRequest) -> Self {
        Self { left: VecDeque::new(), length: None, echo: Some(request) }
    }
}

impl ResponseContent for Frames {}

impl Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(request) = &mut this.echo {
            let frame = Pin::new(&mut request.body).poll_frame(cx);
            return frame.map(|frame| frame.map(|frame| frame.map_err(|_| BodyError("cut"))));
        }
        Poll::Ready(this.left.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.echo.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Makes a worker and a connection of it.
pub(in crate::proxy) fn client() -> Rc<Client> {
    let clock = Clock;
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bound = socket.local_addr().unwrap();
    let spec = ListenerSpec {
        name: "http".to_owned(),
        address: bound,
        limits: Limits::default(),
        proxy_senders: vec![],
        tls: None,
        redirect: None,
    };
    let listener = Arc::new(Listener {
        spec,
        bound,
        socket: Arc::new(ListeningSocket::own(socket)),
        meters: Arc::new(PerWorker::new(1)),
        tls: None,
    });
    let snapshot = Arc::new(Snapshot {
        generation: Generation(1),
        edition: Edition(1),
        rules: Arc::new(rules()),
        overlay: Overlay::new(Kill::default(), vec![]),
        listeners: Arc::new([Arc::clone(&listener)]),
        routes: RouteStates::default(),
        upstreams: Arc::new([]),
        identity_providers: IdentityProviders::default(),
    });
    let log = LogWriter::start(LogSink::Off, Screen::default(), clock).unwrap();
    let setup = WorkerSetup {
        index: 0,
        workers: 1,
        seed: 0,
        snapshots: watch::channel(Arc::clone(&snapshot)).1,
        registry: Arc::new(MeterRegistry::new(1)),
        client_limits: Arc::new(PerClientLimits::default()),
        drained: Drain::new().subscribe(),
        log: log.sender(),
        spans: TraceExporter::new(clock).sender(),
        comparison_jobs: Comparator::start(clock).unwrap().sender(),
        look_ups: mpsc::channel(1).0,
        clock,
    };
    let worker = Worker::new(setup, snapshot);
    Client::new(ClientSlot::new(worker, listener, None), bound, bound)
}

/// The frames of a request's body as text, with its trailers; `Err` if it was cut.
async fn read_body(request: &mut ClientRequest) -> Result<String, String> {
    let mut text = String::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut request.body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return Err(text) };
        match frame.into_data() {
            Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Err(frame) => {
                for (name, value) in &frame.into_trailers().unwrap() {
                    text.extend(["|", name.as_str(), "=", value.to_str().unwrap()]);
                }
            }
        }
    }
    Ok(text)
}

/// What the service of the tests answers.
async fn answer(client: Rc<Client>, mut request: ClientRequest) -> Result<ClientResponse<Frames>, Infallible> {
    client.requests.set(client.requests.get() + 1);
    let ok = |body| ClientResponse::new(StatusCode::OK, Fields::new(), body);
    if let Some((_, refusal)) = client.refused_head.get() {
        return Ok(ClientResponse::new(StatusCode::BAD_REQUEST, Fields::new(), Frames::of(format!("{refusal:?}"))));
    }
    let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    Ok(match request.head.path() {
        "/early" => ok(Frames::of("early")),
        "/echo" => ok(Frames::echo(request)),
        "/cut-later" => ok(Frames::streamed([Ok(Frame::data(vec![b'x'; 100_000].into())), Err(BodyError("cut"))])),
        "/cut" => ok(Frames::streamed([data("some"), Err(BodyError("cut"))])),
        "/large" => ok(Frames::streamed([Ok(Frame::data(vec![b'x'; 100_000].into())), data("end")])),
        "/trailers" => {
            let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
            ok(Frames::streamed([data("some"), Ok(Frame::trailers(HeaderMap::from_iter([sum])))]))
        }
        "/close" => {
            let mut fields = Fields::new();
            fields.append(&http::header::CONNECTION, &HeaderValue::from_static("close"));
            ClientResponse::new(StatusCode::NOT_FOUND, fields, Frames::of(""))
        }
        "/none" => ClientResponse::new(StatusCode::NO_CONTENT, Fields::new(), Frames::of("")),
        "/yield" => {
            tokio::task::yield_now().await;
            ok(Frames::of("later"))
        }
        _ => {
            let body = read_body(&mut request).await.unwrap_or_else(|text| format!("{text}(cut)"));
            let (head, fields) = (&request.head, &request.head.fields);
            let names: Vec<_> = fields.names().map(|name| String::from_utf8_lossy(name)).collect();
            ok(Frames::of(format!("{} {} {} [{body}]", head.method, head.path(), names.join(","))))
        }
    })
}

/// Sends these pieces, each when the connection has had time to read the one before. Returns all that it answers until
/// it closes; the client closes its writing direction at the end.
fn exchange(pieces: &[&[u8]], opening: Option<Refusal>) -> String {
    let received = exchange_to_end(pieces, opening).0;
    let lines: Vec<String> = String::from_utf8(received)
        .unwrap()
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("date: "))
        .map(str::to_owned)
        .collect();
    lines.concat()
}

/// The bytes of an exchange, and how it ends.
fn exchange_to_end(pieces: &[&[u8]], opening: Option<Refusal>) -> (Vec<u8>, io::Result<usize>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    let client = client();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut near, far) = (near.unwrap(), far.unwrap().0);
        let shared = Rc::clone(&client);
        let service = RefCell::new(tower::service_fn(move |request| answer(Rc::clone(&shared), request)));
        let connection = {
            let client = Rc::clone(&client);
            tokio::task::spawn_local(async move {
                let opening = opening.map_or(FirstBytes::Read(Vec::new()), FirstBytes::Refused);
                // An error is a cut, which the client sees.
                let _ = serve(&client, &service, far.into(), opening).await;
            })
        };
        for piece in pieces {
            // An error: the connection has closed already.
            let _ = near.write_all(piece).await;
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let _ = near.shutdown().await;
        let mut all = Vec::new();
        let ended = near.read_to_end(&mut all).await;
        connection.await.unwrap();
        (all, ended)
    })
}

const PIPELINE: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n\
    POST /b HTTP/1.1\r\nhost: h\r\nContent-Length: 3\r\n\r\nabc\
    \r\nPOST /c HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nde\r\n1\r\nf\r\n0\r\nX-T: 1\r\n\r\n\
    HEAD /none HTTP/1.1\r\nhost:h\r\n\r\n\
    GET /d HTTP/1.0\r\nconnection: keep-alive\r\n\r\n\
    GET /trailers HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n\
    GET /yield HTTP/1.1\r\nhost: h\r\n\r\n\
    GET /e HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

#[test]
fn a_pipeline_is_answered_in_order_in_every_split() {
    let whole = exchange(&[PIPELINE.as_bytes()], None);
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let expected = [
        ok("GET /a host []"),
        ok("POST /b host,content-length [abc]"),
        ok("POST /c host,transfer-encoding [def|x-t=1]"),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 20\r\n\r\nGET /d connection []".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\nx-sum: 1\r\n\r\n".to_owned(),
        ok("later"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 25\r\n\r\nGET /e host,connection []".to_owned(),
    ];
    assert_eq!(whole, expected.concat());
    for at in 1..PIPELINE.len() {
        let (first, rest) = PIPELINE.as_bytes().split_at(at);
        assert_eq!(exchange(&[first, rest], None), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = PIPELINE.as_bytes().chunks(1).collect();
    assert_eq!(exchange(&bytes, None), whole);
}

#[test]
fn a_thousand_requests_at_once_are_answered() {
    let all = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let answers = exchange(&[all.as_bytes()], None);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1000);
}

#[test]
fn refused_bytes_get_one_response_and_hide_nothing() {
    let refused = |text: &str, name: &str| {
        let expected =
            format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let answers = exchange(&[text.as_bytes()], None);
        assert!(answers.ends_with(&expected), "{text:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), text.matches("/fine").count() + 1, "{text:?}: {answers}");
    };
    refused("GET /x HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n", "BadHost");
    refused("GET /fine HTTP/1.1\r\nHost: h\r\n\r\nGET /x HTTP/1.1\nHost: h\r\n\r\n", "MalformedHead");
    refused("POST /x HTTP/1.1\r\nHost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "BadFraming");
    let answers = exchange(&[], Some(Refusal::Cleartext));
    assert!(answers.ends_with("\r\n\r\nCleartext"), "{answers}");
}

#[test]
fn an_unread_body_is_never_the_next_request() {
    for framing in ["content-length: 40", "transfer-encoding: chunked"] {
        let text =
            format!("POST /early HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n");
        let answers = exchange(&[text.as_bytes()], None);
        assert!(answers.ends_with("early") && answers.matches("HTTP/1.1").count() == 1, "{answers}");
    }
}

#[test]
fn a_malformed_body_is_cut() {
    let text =
        "POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabGET /x HTTP/1.1\r\nhost: h\r\n\r\n";
    let answers = exchange(&[text.as_bytes()], None);
    assert!(answers.ends_with("[ab(cut)]") && answers.matches("HTTP/1.1").count() == 1, "{answers}");
    let answers = exchange(&[b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nabc"], None);
    assert!(answers.ends_with("[abc(cut)]"), "{answers}");
}

#[test]
fn a_client_that_expects_100_gets_it_when_the_body_is_asked_for() {
    let head = "POST /a HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let answers = exchange(&[head.as_bytes(), b"abc"], None);
    assert!(answers.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.ends_with("[abc]"), "{answers}");
    let answers = exchange(&[head.replace("/a", "/early").as_bytes()], None);
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
}

#[test]
fn a_body_that_fails_is_no_whole_body() {
    let answers = exchange(&[b"GET /cut HTTP/1.1\r\nhost: h\r\n\r\nGET /a HTTP/1.1\r\nhost: h\r\n\r\n"], None);
    assert!(answers.ends_with("4\r\nsome\r\n"), "{answers}");
    let answers = exchange(&[b"GET /cut HTTP/1.0\r\n\r\n"], None);
    assert!(!answers.contains("some"), "the end of the connection would be the end of the body: {answers}");
}

#[test]
fn large_pieces_and_old_clients() {
    let answers = exchange(&[b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n"], None);
    let chunks = format!("186a0\r\n{}\r\n3\r\nend\r\n0\r\n\r\n", "x".repeat(100_000));
    assert!(answers.ends_with(&chunks), "{} bytes", answers.len());
    let answers = exchange(&[b"GET /large HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"], None);
    assert!(answers.starts_with("HTTP/1.0 200 OK\r\n\r\nx") && answers.ends_with("xend"), "{} bytes", answers.len());
    let answers = exchange(&[b"GET /trailers HTTP/1.1\r\nhost: h\r\n\r\nGET /close HTTP/1.1\r\nhost: h\r\n\r\n"], None);
    assert!(answers.contains("\r\n\r\n4\r\nsome\r\n0\r\n\r\nHTTP/1.1 404 Not Found\r\n"), "no trailers: {answers}");
    assert!(answers.ends_with("connection: close\r\ncontent-length: 0\r\n\r\n"), "{answers}");
}

#[test]
fn a_body_may_be_read_in_another_task() {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    let client = client();
    let read = Rc::new(RefCell::new(None));
    let asked = Rc::new(Cell::new(false));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut near, far) = (near.unwrap(), far.unwrap().0);
        let (shared, result, begun) = (Rc::clone(&client), Rc::clone(&read), Rc::clone(&asked));
        let service = RefCell::new(tower::service_fn(move |mut request: ClientRequest| {
            shared.requests.set(shared.requests.get() + 1);
            let (result, begun) = (Rc::clone(&result), Rc::clone(&begun));
            tokio::task::spawn_local(async move {
                begun.set(true);
                *result.borrow_mut() = Some(read_body(&mut request).await);
            });
            async { Ok::<_, Infallible>(ClientResponse::new(StatusCode::OK, Fields::new(), Frames::of("early"))) }
        }));
        let shared = Rc::clone(&client);
        let connection = tokio::task::spawn_local(async move {
            serve(&shared, &service, far.into(), FirstBytes::Read(Vec::new())).await
        });
        near.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
        let mut answer = vec![0; 4096];
        let length = near.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"early"), "the response comes before the body");
        assert!(asked.get() && read.borrow().is_none(), "the body is still read");
        near.write_all(b"def").await.unwrap();
        assert_eq!(near.read(&mut answer).await.unwrap(), 0, "the connection closes once the body is read");
        connection.await.unwrap().unwrap();
    });
    assert_eq!(read.take(), Some(Ok("abcdef".to_owned())));
}

#[test]
fn a_body_that_only_the_connection_would_end_is_reset() {
    for path in ["/cut", "/cut-later"] {
        let (_, ended) = exchange_to_end(&[format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()], None);
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset), "{path}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        let (received, ended) = exchange_to_end(&[request.as_bytes()], None);
        assert!(ended.is_ok() && !received.ends_with(b"0\r\n\r\n"), "the chunks show it: {path}");
    }
    let (_, ended) = exchange_to_end(&[b"GET /large HTTP/1.0\r\n\r\n"], None);
    assert!(ended.is_ok(), "a whole body is no reset: {ended:?}");
}

#[test]
fn a_connection_ends_although_a_body_is_held() {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    for (version, is_reset) in [("1.1", false), ("1.0", true)] {
        let (client, held) = (client(), Rc::new(RefCell::new(None)));
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (mut near, far) = (near.unwrap(), far.unwrap().0);
            let (shared, holder) = (Rc::clone(&client), Rc::clone(&held));
            let service = RefCell::new(tower::service_fn(move |request: ClientRequest| {
                shared.requests.set(shared.requests.get() + 1);
                *holder.borrow_mut() = Some(request);
                let body = Frames::streamed([Ok(Frame::data(Bytes::from_static(b"some"))), Err(BodyError("cut"))]);
                async { Ok::<_, Infallible>(ClientResponse::new(StatusCode::OK, Fields::new(), body)) }
            }));
            let shared = Rc::clone(&client);
            let connection = tokio::task::spawn_local(async move {
                serve(&shared, &service, far.into(), FirstBytes::Read(Vec::new())).await
            });
            let request = format!("POST / HTTP/{version}\r\nhost: h\r\ncontent-length: 6\r\n\r\nabc");
            near.write_all(request.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(30), near.read_to_end(&mut all)).await;
            let ended = ended.expect("the connection ends");
            assert_eq!(ended.is_err(), is_reset, "{version}: {ended:?}");
            assert!(connection.await.unwrap().is_err(), "the response is cut");
            let mut request = held.take().unwrap();
            assert!(read_body(&mut request).await.is_err(), "the body is cut");
        });
    }
}

#[test]
fn a_request_for_100_ends_with_its_own_request() {
    let text = "POST /echo HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc\
        GET /yield HTTP/1.1\r\nhost: h\r\n\r\n";
    let answers = exchange(&[text.as_bytes()], None);
    assert!(answers.contains("3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.ends_with("later") && !answers.contains("100 Continue"), "{answers}");
}

#[test]
fn the_first_of_many_responses_leaves_before_the_last_request() {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    let client = client();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.write_all("GET /none HTTP/1.1\r\nhost: h\r\n\r\n".repeat(200).as_bytes()).unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    runtime.block_on(async {
        let shared = Rc::clone(&client);
        let service = RefCell::new(tower::service_fn(move |request| answer(Rc::clone(&shared), request)));
        let far = Socket::from(TcpStream::from_std(far).unwrap());
        let mut connection = std::pin::pin!(serve(&client, &service, far, FirstBytes::Read(Vec::new())));
        let mut first = [0; 8];
        while near.read(&mut first).is_err() {
            let polled = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
            assert!(polled.is_pending(), "the client sends no end");
            tokio::task::yield_now().await;
        }
    });
    assert!((1..200).contains(&client.requests.get()), "{} requests", client.requests.get());
}
