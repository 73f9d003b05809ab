//! The byte stream of an HTTP/1.1 connection to an upstream, between the socket and hyper. It scans responses: it sends
//! informational ones, which hyper drops, to the client, and ends the stream at a malformed line. It merges small
//! writes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http::Request;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{Socket, is_refusal, write_merged};
use crate::proxy::downstream::informational::{InformationalResponses, is_forwarded};
use crate::proxy::wire::raw_query::RawLine;
use crate::proxy::wire::response_scan::{ExpectedResponse, ResponseScanner};
use crate::proxy::worker::Worker;
use crate::proxy::worker::trailer_writer::TrailerWriter;

/// Most fields of an informational response.
const FIELDS_MAX: usize = 100;
/// The types of the TLS records that a server sends in response to cleartext (RFC 8446 §5.1). Their version follows.
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;

/// A connection to an upstream.
pub(crate) struct UpstreamIo {
    stream: TokioIo<Socket>,
    worker: Rc<Worker>,
    state: Rc<H1ConnectionState>,
    /// Boxed, so that a connection that is being opened does not carry its size.
    scanner: Box<ResponseScanner>,
    /// The request line to write instead of hyper's, until it is written.
    line: Option<Box<RawLine>>,
}

/// The state of the current request and its response, shared by the exchange and the byte stream.
#[derive(Default)]
pub(crate) struct H1ConnectionState {
    /// The request asks to switch to another protocol.
    pub(crate) upgrade_requested: Cell<bool>,
    /// A request begins, and its response consists of this. The reader takes it before it scans the response.
    next_response: Cell<Option<ExpectedResponse>>,
    /// The request line to write instead of hyper's.
    line: Cell<Option<Box<RawLine>>>,
    /// The request's trailers.
    pub(crate) trailing: Rc<TrailerWriter>,
    /// A byte of the response arrived.
    answered: Cell<bool>,
    /// The response is malformed.
    broken: Cell<bool>,
    /// The upstream closed the TLS session with an alert.
    tls_refused: Cell<bool>,
    /// A byte arrived on the connection.
    has_received: Cell<bool>,
    /// The first bytes are a TLS record.
    tls_received: Cell<bool>,
    /// The queue for informational responses.
    informational: RefCell<Option<Rc<InformationalResponses>>>,
}

impl H1ConnectionState {
    /// Begins a request.
    pub(crate) fn begin<B>(&self, request: &Request<B>) {
        self.next_response.set(Some(ExpectedResponse::of(request.method())));
        self.line.set(RawLine::of(request));
        // Nothing of the previous request on this connection may affect this one.
        self.trailing.clear();
        self.answered.set(false);
        *self.informational.borrow_mut() = None;
    }

    /// Forwards informational responses to `informational`, up to the head of the final response.
    pub(crate) fn forward_informational(&self, informational: &Rc<InformationalResponses>) {
        *self.informational.borrow_mut() = Some(Rc::clone(informational));
    }

    /// Whether a byte of the response to the current request arrived.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether the stream ended because the response is malformed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether the upstream refused the proxy with a TLS alert.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        self.tls_refused.get()
    }

    /// Whether the upstream sent a TLS record first. On a cleartext connection its port expects TLS.
    pub(crate) fn has_received_tls(&self) -> bool {
        self.tls_received.get()
    }

    /// Records whether a read failed because of a TLS alert.
    fn record_read_error(&self, read: &Poll<io::Result<()>>) {
        if let Poll::Ready(Err(error)) = read
            && is_refusal(error)
        {
            self.tls_refused.set(true);
        }
    }

    /// Forwards an informational response.
    fn forward(&self, head: &[u8]) {
        let Some(informational) = &*self.informational.borrow() else { return };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        if matches!(response.parse(head), Ok(httparse::Status::Complete(_)))
            && let Some(code) = response.code.filter(|code| is_forwarded(*code))
        {
            informational.push(code, response.headers);
        }
    }
}

impl UpstreamIo {
    /// Wraps a connection; returns the state that it shares with the exchange.
    pub(crate) fn new(stream: Socket, worker: &Rc<Worker>) -> (Self, Rc<H1ConnectionState>) {
        let state = Rc::new(H1ConnectionState::default());
        let (stream, worker) = (TokioIo::new(stream), Rc::clone(worker));
        (Self { stream, worker, state: Rc::clone(&state), scanner: Box::default(), line: None }, state)
    }

    /// Scans bytes that were read; returns how many of them hyper may read.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let in_head = self.scanner.is_in_head();
        if in_head {
            self.state.answered.set(true);
        }
        let state = &self.state;
        let given = self.scanner.scan(bytes, |head| state.forward(head));
        if self.scanner.is_broken() {
            self.state.broken.set(true);
        }
        // The final head has arrived: a later 1xx is no response to this request.
        if in_head && !self.scanner.is_in_head() {
            *self.state.informational.borrow_mut() = None;
        }
        given
    }

    /// Writes the parts that replace hyper's: a request line, or the end of a body with trailers. `None`: no
    /// replacement.
    fn poll_substitute(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Option<Poll<io::Result<usize>>> {
        let first: &[u8] = slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice);
        let line = self.poll_line(cx, first);
        line.or_else(|| self.state.trailing.poll_write(self.stream.inner_mut(), cx, slices, &self.worker.scratch))
    }

    /// Writes the request line with the client's original query, if hyper writes the escaped one.
    fn poll_line(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if let Some(line) = self.state.line.take() {
            self.line = Some(line);
        }
        // If hyper's bytes begin with another line, the query is sent escaped.
        let mut line = self.line.take()?;
        if !bytes.starts_with(&line.escaped) {
            return None;
        }
        // hyper counts the bytes of its own line, so the write is reported only after the whole raw line is written.
        while !line.raw.is_empty() {
            match Pin::new(self.stream.inner_mut()).poll_write(cx, &line.raw) {
                Poll::Ready(Ok(written)) if written > 0 => line.raw.advance(written),
                pending @ Poll::Pending => {
                    self.line = Some(line);
                    return Some(pending);
                }
                failed @ Poll::Ready(_) => return Some(failed),
            }
        }
        Some(Poll::Ready(Ok(line.escaped.len())))
    }

    /// After a failed write, looks for a TLS alert: it says more than the broken connection.
    fn record_write_error(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) && ready!(self.stream.inner_mut().poll_refused(cx)) {
            self.state.tls_refused.set(true);
        }
        written
    }
}

impl UpstreamIo {
    /// Returns the connection itself.
    pub(crate) fn into_socket(self) -> Socket {
        self.stream.into_inner()
    }
}

impl Read for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Before the read: the scanner must know the request before the first byte of its response.
        if let Some(expected) = this.state.next_response.take() {
            this.scanner.begin(expected);
        }
        if this.scanner.is_broken() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed response")));
        }
        // Unscanned bytes go straight into hyper's buffer. The first read is always looked at, for a TLS record.
        if !this.scanner.is_scanning() && this.state.has_received.get() {
            let read = Pin::new(&mut this.stream).poll_read(cx, cursor);
            this.state.record_read_error(&read);
            return read;
        }
        let worker = Rc::clone(&this.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        let read = Pin::new(this.stream.inner_mut()).poll_read(cx, &mut buffer);
        this.state.record_read_error(&read);
        ready!(read)?;
        if !this.state.has_received.replace(true) {
            this.state.tls_received.set(matches!(buffer.filled(), [TLS_ALERT | TLS_HANDSHAKE, 3, ..]));
        }
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let given = this.scan(buffer.filled());
        if given == 0 {
            // hyper takes an empty read for the end of the stream.
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed response")));
        }
        cursor.put_slice(&buffer.filled()[..given]);
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.poll_substitute(cx, &[io::IoSlice::new(bytes)]) {
            Some(written) => written,
            None => Pin::new(this.stream.inner_mut()).poll_write(cx, bytes),
        };
        this.record_write_error(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.poll_substitute(cx, slices) {
            Some(written) => written,
            None => write_merged(this.stream.inner_mut(), cx, slices, &this.worker.scratch),
        };
        this.record_write_error(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.inner_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.inner_mut()).poll_shutdown(cx)
    }
}
