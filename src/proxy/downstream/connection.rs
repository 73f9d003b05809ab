//! One downstream connection, from its first byte to its last: PROXY header, TLS, protocol detection, then requests
//! over HTTP/1.1 or HTTP/2.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::client::Client;
use super::h1_io::H1Io;
use super::h2_executor::H2Executor;
use super::h2_io::{H2Io, PREFACE};
use super::handshake::{self, HandshakeOutcome};
use super::incoming::IncomingRequest;
use super::proxy_protocol;
use super::tls_session::DownstreamProtocol;
use crate::net::Socket;
use crate::proxy::wire::proxy_header;
use crate::proxy::worker::budget::H1_BUFFER_BYTES;
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::route::Limits;
use crate::telemetry::Refusal;

/// Send buffer of one stream.
const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most resets that a client may cause before its connection is closed (CVE-2023-44487, CVE-2025-8671).
const H2_PENDING_RESETS: usize = 20;
const H2_LOCAL_RESETS: usize = 50;

/// How long an idle HTTP/2 connection may stay open after GOAWAY.
const LEAVE: std::time::Duration = std::time::Duration::from_secs(2);

/// Serves one connection until it ends. Each request goes to the service without `poll_ready`, so the service must
/// always be ready. It is made after the PROXY header, when the client is known.
pub(crate) async fn serve<S, B>(client: Rc<Client>, stream: TcpStream, make_service: impl FnOnce(&Rc<Client>) -> S)
where
    S: Service<IncomingRequest, Response = Response<B>, Error = Infallible>,
    S::Future: 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(client) = proxy_protocol::read_header(client, &stream).await else { return };
    let service = RefCell::new(make_service(&client));
    let peer = client.peer;
    let mut stream = match accept_tls(&client, stream).await {
        Some(HandshakeOutcome::Ready(stream)) => stream,
        Some(HandshakeOutcome::Refused(stream, refusal)) => {
            let io = H1Io::refusing(stream, Rc::clone(&client), refusal);
            if let Err(error) = http1(&client, &service, io).await {
                tracing::debug!(%peer, error = %ErrorChain(&error), "connection ended early");
            }
            return;
        }
        None => return,
    };
    let mut first = Vec::new();
    let protocol = match (Sniff { client: &client, stream: &mut stream, first: &mut first }).await {
        Ok(protocol) => protocol,
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended before its first request");
            return;
        }
    };
    let ended = match protocol {
        DownstreamProtocol::Http1 if proxy_header::has_header(&first) => {
            let refusal = proxy_protocol::unexpected(&client);
            http1(&client, &service, H1Io::refusing(stream, Rc::clone(&client), refusal)).await
        }
        DownstreamProtocol::Http1 => {
            let io = H1Io::new(stream, Rc::clone(&client), &first);
            drop(first);
            http1(&client, &service, io).await
        }
        DownstreamProtocol::Http2 => {
            // Boxed, so that the many connections of HTTP/1.1 do not carry its size.
            let ended = Box::pin(http2(&client, &service, stream, first)).await;
            if let Some(refusal) = ended.as_ref().err().and_then(|error| refusal(&client, error)) {
                client.worker.meter().refuse(refusal);
                if refusal == Refusal::H2Resets {
                    // Streams that the client caused h2 to reset count as resets by the client.
                    let _ = client.count_resets(u32::try_from(H2_LOCAL_RESETS).unwrap_or(u32::MAX));
                }
            }
            ended
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = %ErrorChain(&error), "connection ended early");
    }
}

/// Performs the TLS handshake, if the listener has TLS.
async fn accept_tls(client: &Rc<Client>, stream: TcpStream) -> Option<HandshakeOutcome> {
    match &client.listener.tls {
        // Boxed, so that cleartext connections do not carry its size.
        Some(server) => Box::pin(handshake::accept(client, server, stream)).await,
        None => Some(HandshakeOutcome::Ready(Socket::Plain(stream))),
    }
}

/// Reads until the first bytes determine the protocol.
struct Sniff<'a> {
    client: &'a Rc<Client>,
    stream: &'a mut Socket,
    first: &'a mut Vec<u8>,
}

impl Future for Sniff<'_> {
    type Output = io::Result<DownstreamProtocol>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let client = this.client;
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing | Wakeup::Hibernate => {}
            Wakeup::Drain => client.closing.set(true),
            Wakeup::Expired => {
                client.worker.meter().refuse(Refusal::HeaderTimeout);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Wakeup::Close | Wakeup::Cut => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        loop {
            let mut scratch = client.worker.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch[..]);
            if Pin::new(&mut *this.stream).poll_read(cx, &mut buffer)?.is_pending() {
                let patience = client.listener.spec.limits.header_timeout;
                client.deadlines.read_within_once(client.worker.now_ms(), patience);
                return Poll::Pending;
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.first.extend_from_slice(buffer.filled());
            // The result of ALPN decides. Bytes of another protocol are then refused as malformed.
            if let Some(protocol) = client.tls.get().and_then(|tls| tls.protocol) {
                return Poll::Ready(Ok(protocol));
            }
            let compared = this.first.len().min(PREFACE.len());
            if this.first[..compared] != PREFACE[..compared] {
                return Poll::Ready(Ok(DownstreamProtocol::Http1));
            }
            if compared == PREFACE.len() {
                return Poll::Ready(Ok(DownstreamProtocol::Http2));
            }
        }
    }
}

/// How a turn of an HTTP/1.1 connection ended.
enum Turn {
    Ended(hyper::Result<()>),
    /// It is idle, and all responses are flushed: it releases its buffers.
    Hibernates,
}

/// The largest head within these limits: a method, a target, a version, and lines of fields.
fn head_bytes_max(limits: &Limits) -> usize {
    const METHOD_AND_VERSION_BYTES: u32 = 1024;
    (METHOD_AND_VERSION_BYTES + limits.uri_bytes + limits.header_bytes) as usize
}

/// Passes a request of hyper to the service. The adapter of hyper-util would clone the service for each request.
fn call<S: Service<IncomingRequest>>(service: &RefCell<S>, request: Request<Incoming>) -> S::Future {
    let mut service = service.borrow_mut();
    debug_assert!(is_ready(&mut *service), "a service of requests is always ready");
    service.call(IncomingRequest::new(request))
}

/// Whether the service is ready for a request.
fn is_ready<S: Service<IncomingRequest>>(service: &mut S) -> bool {
    matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

async fn http1<S, B>(client: &Rc<Client>, service: &RefCell<S>, io: H1Io) -> hyper::Result<()>
where
    S: Service<IncomingRequest, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    let limits = &client.listener.spec.limits;
    builder.half_close(false).max_buf_size(H1_BUFFER_BYTES.max(head_bytes_max(limits))).header_read_timeout(None);
    if limits.headers > 100 {
        builder.max_headers(limits.headers as usize);
    }
    let mut io = io;
    loop {
        // Boxed, so that its memory is freed while the connection hibernates.
        let mut connection = Box::new(builder.serve_connection(io, service_fn(|request| call(service, request))));
        let turn = std::future::poll_fn(|cx| {
            client.deadlines.register(cx);
            match client.deadlines.take_wakeup() {
                Wakeup::Nothing => {}
                Wakeup::Hibernate if client.is_quiet() => return Poll::Ready(Turn::Hibernates),
                // A request or its response is under way: look again later.
                Wakeup::Hibernate => client.deadlines.hibernate_later(client.worker.now_ms()),
                Wakeup::Expired if client.deadlines.write_expired(client.worker.now_ms()) => {
                    return stalled(client).map(Turn::Ended);
                }
                Wakeup::Expired => client.expired.set(true),
                Wakeup::Drain => client.closing.set(true),
                Wakeup::Close => Pin::new(&mut *connection).graceful_shutdown(),
                Wakeup::Cut => return cut(client).map(Turn::Ended),
            }
            match Pin::new(&mut *connection).poll(cx) {
                // The client is not reading, so hyper has not polled the body, which would end the response. End the
                // connection here.
                Poll::Pending if client.killed.get() => Poll::Ready(Turn::Ended(Ok(()))),
                polled @ (Poll::Pending | Poll::Ready(_)) => polled.map(Turn::Ended),
            }
        });
        let ended = match turn.await {
            Turn::Ended(ended) => Some(ended),
            Turn::Hibernates => None,
        };
        let successor = client.successor.take();
        let parts = connection.into_parts();
        io = parts.io;
        match (ended, successor) {
            // The read buffer is empty but large: free it while the connection hibernates.
            (None, _) => drop(parts.read_buf),
            (Some(Ok(())), Some(successor)) => {
                let (socket, first) = io.into_socket(parts.read_buf);
                successor(socket, first).await;
                return Ok(());
            }
            (Some(ended), _) => {
                if ended.is_ok() {
                    io.finish().await;
                }
                return ended;
            }
        }
        if !io.wake().await {
            return Ok(());
        }
    }
}

async fn http2<S, B>(client: &Rc<Client>, service: &RefCell<S>, stream: Socket, first: Vec<u8>) -> hyper::Result<()>
where
    S: Service<IncomingRequest, Response = Response<B>, Error = Infallible>,
    S::Future: 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = &client.listener.spec.limits;
    let window = client.receive_window();
    let mut builder = http2::Builder::new(H2Executor(Rc::clone(client)));
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(limits.header_bytes)
        .initial_connection_window_size(window.connection_bytes())
        .initial_stream_window_size(window.stream_bytes())
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS);
    let io = H2Io::new(stream, Rc::clone(client), &first);
    drop(first);
    let mut leaving = false;
    // hyper moves the handler's future, and drops it after the response's head. Boxed, a stream that waits for its
    // reader does not carry its size. The box comes first: the future is then made in it, not copied into it.
    let boxed = service_fn(|request| {
        let place = Box::new_uninit();
        Box::into_pin(Box::write(place, call(service, request)))
    });
    let mut connection = pin!(builder.serve_connection(io, boxed));
    std::future::poll_fn(|cx| {
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing | Wakeup::Hibernate => {}
            Wakeup::Expired if client.deadlines.write_expired(client.worker.now_ms()) => return stalled(client),
            Wakeup::Expired if client.deadlines.head_expired(client.worker.now_ms()) => {
                client.worker.meter().refuse(Refusal::HeaderTimeout);
                return Poll::Ready(Ok(()));
            }
            Wakeup::Expired => {
                client.deadlines.clear_read();
                if client.in_flight.get() == 0 {
                    // The client got GOAWAY and did not close.
                    if leaving {
                        return Poll::Ready(Ok(()));
                    }
                    leaving = true;
                    client.deadlines.read_within(client.worker.now_ms(), LEAVE);
                    connection.as_mut().graceful_shutdown();
                }
            }
            Wakeup::Drain | Wakeup::Close => client.closing.set(true),
            Wakeup::Cut => return cut(client),
        }
        // hyper's poll is a turn: `H2Io` may read the next heads.
        client.turn_begins.set(true);
        // The drain may also have begun before the protocol was known.
        if client.closing.get() && !leaving {
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// The refusal behind an error of the HTTP/2 stack. None for a broken connection, and for a flood that `h2_io.rs` has
/// counted already.
fn refusal(client: &Client, error: &hyper::Error) -> Option<Refusal> {
    let cause = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    if cause.is_io() || cause.is_remote() {
        return None;
    }
    // h2 reports all its limits on floods with the same reason; the frame counts show which one it was.
    let flood = cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    Some(if flood { client.suspect.get().unwrap_or(Refusal::H2Resets) } else { Refusal::H2Protocol })
}

/// Closes the connection of a client that does not read its responses, which frees their memory.
fn stalled(client: &Client) -> Poll<hyper::Result<()>> {
    // The connection ends with `Ok`, which would start the tunnel of a switched connection.
    drop(client.successor.take());
    let refusal = if client.deadlines.is_shed() { Refusal::ReaderShed } else { Refusal::ReaderStalled };
    client.worker.meter().refuse(refusal);
    Poll::Ready(Ok(()))
}

/// Closes the connection at a drain's deadline.
fn cut(client: &Client) -> Poll<hyper::Result<()>> {
    client.cut.set(true);
    drop(client.successor.take());
    Poll::Ready(Ok(()))
}

/// An error with its causes.
struct ErrorChain<'a>(&'a hyper::Error);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
