//! Requests as hyper's HTTP/1.1 server reads them: polled by hand, over bytes in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;

use super::own_reading::BOUNDS;
use super::reading::{ConnectionReading, NextReading, RequestReading};
use crate::proxy::wire::tests::hyper_reading::refused;
use crate::proxy::wire::tests::reading::{BodyReading, Refused};

/// Enough for every head within the bounds.
const BUFFER_BYTES: usize = 64 * 1024;

/// Reads the requests of a connection. The bytes arrive in these pieces. Every request is answered with 200.
pub(super) fn read(pieces: &[&[u8]]) -> ConnectionReading {
    let (wire, seen) = (ServerWire::default(), Rc::new(RefCell::new(ConnectionReading::default())));
    let service = service_fn(|request| answer(request, Rc::clone(&seen)));
    let mut builder = Builder::new();
    builder.half_close(true).max_buf_size(BUFFER_BYTES).max_headers(BOUNDS.headers).header_read_timeout(None);
    let mut connection = pin!(builder.serve_connection(wire.clone(), service));
    let woken = Arc::<Notice>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let cx = &mut Context::from_waker(&waker);
    let mut ended = None;
    for piece in pieces {
        wire.0.borrow_mut().extend_from_slice(piece);
        while ended.is_none() {
            woken.0.store(false, Ordering::Relaxed);
            match connection.as_mut().poll(cx) {
                Poll::Ready(end) => ended = Some(end),
                Poll::Pending if woken.0.load(Ordering::Relaxed) => {}
                Poll::Pending => break,
            }
        }
    }
    let mut reading = seen.borrow().clone();
    reading.next = match ended {
        None => NextReading::Awaited,
        Some(Err(error)) if error.is_parse_too_large() => NextReading::Refused(Refused::TooLarge),
        Some(Err(error)) if error.is_parse() => NextReading::Refused(Refused::Invalid),
        Some(Ok(()) | Err(_)) => NextReading::Closed,
    };
    reading
}

/// Reads the body and answers.
async fn answer(
    request: Request<Incoming>,
    seen: Rc<RefCell<ConnectionReading>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let at = seen.borrow().requests.len();
    seen.borrow_mut().requests.push(RequestReading {
        method: head.method,
        target: head.uri.to_string(),
        version: head.version,
        headers: head.headers,
        body: BodyReading::Partial,
        content: Vec::new(),
        trailers: HeaderMap::new(),
    });
    let outcome = loop {
        let frame = body.frame().await;
        let seen = &mut seen.borrow_mut().requests[at];
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => seen.content.extend_from_slice(&data),
                Err(frame) => seen.trailers = frame.into_trailers().expect("trailers"),
            },
            Some(Err(error)) => break refused(&error),
            None => break BodyReading::Complete,
        }
    };
    seen.borrow_mut().requests[at].body = outcome;
    Ok(Response::new(Empty::new()))
}

/// What the client has sent and hyper has not read.
#[derive(Clone, Default)]
struct ServerWire(Rc<RefCell<BytesMut>>);

impl Read for ServerWire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut arrived = self.0.borrow_mut();
        if arrived.is_empty() {
            return Poll::Pending;
        }
        let taken = arrived.len().min(cursor.remaining());
        cursor.put_slice(&arrived[..taken]);
        arrived.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl Write for ServerWire {
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

/// Whether the connection was woken since the last look.
#[derive(Default)]
struct Notice(AtomicBool);

impl Wake for Notice {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
