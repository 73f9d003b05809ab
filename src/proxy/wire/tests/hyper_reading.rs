//! A response as hyper's HTTP/1.1 client reads it: polled by hand, over bytes in memory.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request, Response, Version};
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::reading::{BodyReading, HeadReading, Informational, Reading, Readings, Refused};
use crate::proxy::worker::budget::H1_BUFFER_BYTES;
use crate::route::UpstreamLimits;

/// Reads the response to a request with this method. The bytes arrive in these pieces.
pub(super) fn read(pieces: &[&[u8]], method: &Method, limits: &UpstreamLimits) -> Readings {
    let mut client = Client::connect(limits);
    client.send(method);
    let mut arrived = 0;
    for piece in pieces {
        arrived += piece.len();
        client.wire.0.borrow_mut().arrived.extend_from_slice(piece);
        client.turn();
    }
    client.reading.informational = std::mem::take(&mut client.informational.lock().unwrap());
    let mut open = client.reading.clone();
    open.reusable = open.body == BodyReading::Complete && client.open && client.sender.is_ready();
    client.wire.0.borrow_mut().ended = true;
    client.turn();
    let mut ended = client.reading;
    if ended.body == BodyReading::Complete {
        let parts = client.connection.into_parts();
        ended.length = Some(arrived - parts.read_buf.len() - parts.io.0.borrow().arrived.len());
        open.length = ended.length.filter(|_| open.body == BodyReading::Complete);
    }
    Readings { open, ended }
}

/// What the upstream has sent and hyper has not read.
#[derive(Default)]
struct Sent {
    arrived: BytesMut,
    ended: bool,
}

#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Sent>>);

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut sent = self.0.borrow_mut();
        if sent.arrived.is_empty() && !sent.ended {
            return Poll::Pending;
        }
        let taken = sent.arrived.len().min(cursor.remaining());
        cursor.put_slice(&sent.arrived[..taken]);
        sent.arrived.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether a future was woken since the last look.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type ResponseFuture = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

struct Client {
    wire: Wire,
    woken: Arc<Woken>,
    sender: SendRequest<Empty<Bytes>>,
    connection: Connection<Wire, Empty<Bytes>>,
    /// The connection has not ended.
    open: bool,
    response: Option<ResponseFuture>,
    body: Option<Incoming>,
    informational: Arc<Mutex<Vec<Informational>>>,
    reading: Reading,
}

impl Client {
    fn connect(limits: &UpstreamLimits) -> Self {
        let head_bytes = limits.response_header_bytes as usize;
        let mut builder = Builder::new();
        // As `upstream/connect.rs` has set hyper up.
        builder
            .max_buf_size(H1_BUFFER_BYTES.max(head_bytes + 8 * 1024))
            .max_header_size(head_bytes)
            .max_headers(limits.response_headers as usize);
        let wire = Wire::default();
        let handshake = pin!(builder.handshake(wire.clone()));
        let Poll::Ready(Ok((sender, connection))) = handshake.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the handshake needs no bytes");
        };
        Self {
            wire,
            woken: Arc::default(),
            sender,
            connection,
            open: true,
            response: None,
            body: None,
            informational: Arc::default(),
            reading: Reading::default(),
        }
    }

    fn send(&mut self, method: &Method) {
        let mut request = Request::builder().method(method).uri("/").header("host", "a").body(Empty::new()).unwrap();
        let informational = Arc::clone(&self.informational);
        hyper::ext::on_informational(&mut request, move |response| {
            let (status, headers) = (response.status(), response.headers().clone());
            informational.lock().unwrap().push(Informational { status, headers });
        });
        self.turn();
        self.response = Some(Box::pin(self.sender.send_request(request)));
        self.turn();
    }

    /// Polls until everything waits for the upstream.
    fn turn(&mut self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let cx = &mut Context::from_waker(&waker);
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            if self.open {
                self.open = Pin::new(&mut self.connection).poll(cx).is_pending();
            }
            self.poll_response(cx);
            self.poll_body(cx);
            if !self.woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) {
        let Some(response) = &mut self.response else { return };
        let Poll::Ready(response) = response.as_mut().poll(cx) else { return };
        self.response = None;
        match response {
            Ok(response) => {
                let (head, body) = response.into_parts();
                assert!(matches!(head.version, Version::HTTP_10 | Version::HTTP_11));
                self.reading.head =
                    HeadReading::Accepted { status: head.status, version: head.version, headers: head.headers };
                self.body = Some(body);
            }
            Err(error) if error.is_incomplete_message() => {}
            Err(error) if error.is_parse_too_large() => self.reading.head = HeadReading::Refused(Refused::TooLarge),
            Err(error) if error.is_parse() => self.reading.head = HeadReading::Refused(Refused::Invalid),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) {
        let Some(body) = &mut self.body else { return };
        while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                Some(Ok(Ok(data))) => self.reading.add_content(&data),
                Some(Ok(Err(frame))) => self.reading.trailers = frame.into_trailers().expect("trailers"),
                None => {
                    self.reading.body = BodyReading::Complete;
                    self.body = None;
                    return;
                }
                Some(Err(error)) => {
                    self.reading.body = refused(&error);
                    self.body = None;
                    return;
                }
            }
        }
    }
}

/// What an error says about a body.
pub(super) fn refused(error: &hyper::Error) -> BodyReading {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => BodyReading::Partial,
        Some(cause) if cause.to_string().starts_with("chunk trailers") => BodyReading::Refused(Refused::TooLarge),
        _ => BodyReading::Refused(Refused::Invalid),
    }
}
