//! An HTTP/1.1 connection to an upstream: one request at a time. Idle, it lies in its pool without a task; the pool
//! asks it for unexpected input before it is used again.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::task::coop::poll_proceed;

use super::request_writer::RequestWriter;
use super::upload_task::UploadTask;
use crate::failover::Reached;
use crate::net::{ConnectionSlots, Socket, UnreadInput, is_refusal};
use crate::proxy::downstream::informational::{InformationalResponses, is_forwarded};
use crate::proxy::upstream::open_connection::{ConnectionGuard, OpenConnection};
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::response_head::{
    ExpectedResponse, HeadLimits, HeadProgress, MalformedResponse, ResponseHead, ResponseHeadScanner,
};
use crate::proxy::worker::Worker;
use crate::proxy::worker::budget::H1_BUFFER_BYTES;

/// Most bytes of one read for a head, and for small pieces of a body. They pass through the worker's buffer and are
/// copied, so that a piece keeps no more memory than its own bytes.
const SMALL_READ_BYTES: usize = 16 * 1024;
/// Between two requests, a buffer of up to this size is kept.
const KEPT_BYTES: usize = 2048;
/// The types of the TLS records that a server sends in response to cleartext (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;

/// An open connection.
pub(crate) struct Http1Connection {
    pub(super) io: Rc<SharedSocket>,
    guard: ConnectionGuard,
    pub(super) worker: Rc<Worker>,
    scanner: ResponseHeadScanner,
    /// The bytes of an incomplete head.
    partial: BytesMut,
    /// Bytes that were read behind the head and not decoded yet.
    pub(super) input: Bytes,
    /// The buffer of large reads, and of small bodies that arrive together with their head.
    buffer: BytesMut,
    /// What `buffer` was used for since it was made.
    buffered: ReadSize,
    read_size: ReadSize,
    pub(super) writer: RequestWriter,
    /// Writes the rest of a request whose response came early.
    pub(super) upload: Option<UploadTask>,
    /// The connection may carry another request after this response.
    persistent: bool,
    /// The progress of the response to the current request.
    response: ResponseProgress,
    /// A complete head arrived on this connection.
    speaks_http: bool,
    /// The upstream closed the TLS session with an alert.
    pub(super) tls_refused: bool,
}

/// How far the response to the current request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseProgress {
    /// No byte arrived.
    Awaited,
    /// Bytes arrived. The end of the body is still to come.
    Begun,
    /// All of it was read, or no request was sent yet.
    Ended,
}

/// Whether the final head has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadState {
    Partial,
    Complete,
}

/// The size of the next read of a body of unknown length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSize {
    Small,
    /// The last read was large: the next one goes straight to the connection's own buffer.
    Bulk,
}

/// The socket, shared by the response's reader and an [`UploadTask`].
pub(super) struct SharedSocket {
    pub(super) socket: RefCell<Socket>,
    /// The current request was written completely.
    pub(super) sent: Cell<bool>,
}

/// Why an attempt failed, and how far it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendError {
    /// The fault.
    pub(crate) fault: Fault,
    /// How far the attempt came.
    pub(crate) reached: Reached,
}

impl Http1Connection {
    /// A connection that was just opened, with limits on the heads of its responses.
    pub(crate) fn new(open: OpenConnection, limits: HeadLimits, worker: &Rc<Worker>) -> Box<Self> {
        let OpenConnection { socket, guard } = open;
        Box::new(Self {
            io: Rc::new(SharedSocket { socket: RefCell::new(socket), sent: Cell::new(true) }),
            guard,
            worker: Rc::clone(worker),
            scanner: ResponseHeadScanner::new(limits),
            partial: BytesMut::new(),
            input: Bytes::new(),
            buffer: BytesMut::new(),
            buffered: ReadSize::Small,
            read_size: ReadSize::Small,
            writer: RequestWriter::default(),
            upload: None,
            persistent: true,
            response: ResponseProgress::Ended,
            speaks_http: false,
            tls_refused: false,
        })
    }

    /// Whether an idle connection has ended, or has bytes that answer no request. Makes no system call unless the socket
    /// is ready.
    pub(crate) fn is_stale(&self) -> bool {
        self.io.socket.borrow_mut().unread_input() != UnreadInput::None
    }

    /// Why a new connection cannot carry a request: the server has closed it already, or it speaks first. In TLS, the
    /// first read finds it.
    pub(super) fn early_fault(&self) -> Option<Fault> {
        if self.speaks_http {
            return None;
        }
        match self.io.socket.borrow().early_input() {
            UnreadInput::None => None,
            UnreadInput::End => Some(Fault::UpstreamReset),
            UnreadInput::Bytes => Some(Fault::UpstreamProtocol),
        }
    }

    /// Whether the upstream refused the proxy with a TLS alert.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        self.tls_refused
    }

    /// Whether the connection may carry another request: request and response are complete, both sides keep it open,
    /// and nothing came after the response.
    pub(crate) fn is_reusable(&self) -> bool {
        let complete = self.response == ResponseProgress::Ended && self.io.sent.get();
        complete && self.persistent && self.input.is_empty()
    }

    /// The slots of its upstream.
    #[inline]
    pub(in crate::proxy::upstream) fn slots(&self) -> &ConnectionSlots {
        self.guard.slots()
    }

    /// Closes the connection, and keeps its place under the limit.
    pub(in crate::proxy::upstream) fn into_guard(self) -> ConnectionGuard {
        self.close();
        self.guard
    }

    /// Frees the buffers that only a response in progress needs.
    pub(crate) fn rest(&mut self) {
        debug_assert!(self.is_reusable(), "only a clean connection returns to its pool");
        self.upload = None;
        // An empty slice, too, keeps the memory of what was read.
        self.input = Bytes::new();
        if self.buffered == ReadSize::Bulk {
            (self.buffer, self.buffered) = (BytesMut::new(), ReadSize::Small);
        }
        self.read_size = ReadSize::Small;
    }

    /// Announces the end of a TLS session to the upstream (RFC 8446 §6.1). The socket is closed when the connection is
    /// dropped.
    pub(crate) fn close(&self) {
        let mut socket = self.io.socket.borrow_mut();
        if matches!(*socket, Socket::Tls(_)) {
            // A few bytes nearly always fit into the socket's buffer. Nothing waits for them.
            let _ = Pin::new(&mut *socket).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Notes that the whole response was read.
    pub(super) fn end_response(&mut self) {
        self.response = ResponseProgress::Ended;
    }

    /// The connection after a switch of protocols: its socket, the bytes read behind the head, and its guard.
    pub(crate) fn into_switched(self) -> Option<SwitchedConnection> {
        let Self { io, input, guard, .. } = self;
        let socket = Rc::try_unwrap(io).ok()?.socket.into_inner();
        Some(SwitchedConnection { socket, read_ahead: input, guard })
    }

    /// Begins a request.
    pub(super) fn begin(&mut self, expected: ExpectedResponse) {
        debug_assert!(self.input.is_empty() && self.partial.is_empty(), "nothing is left of an earlier response");
        self.scanner.begin(expected);
        // Idle, a connection keeps no list.
        self.scanner.lend(self.worker.spare_fields());
        self.writer.begin();
        self.io.sent.set(false);
        (self.response, self.persistent) = (ResponseProgress::Awaited, false);
    }

    /// A failure of the current attempt.
    pub(super) fn failure(&self, fault: Fault) -> SendError {
        let reached = if self.response == ResponseProgress::Awaited { Reached::Unanswered } else { Reached::Answered };
        SendError { fault, reached }
    }

    /// The head of the final response, once [`Self::poll_head`] is ready.
    #[inline]
    pub(in crate::proxy::upstream) fn take_head(&mut self) -> Result<ResponseHead, SendError> {
        let head = self.scanner.take_head().map_err(|_| self.failure(Fault::UpstreamProtocol))?;
        self.persistent = head.persistent;
        self.speaks_http = true;
        Ok(head)
    }

    /// Reads the head of the final response. Informational responses before it go to `informational`.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        informational: Option<&InformationalResponses>,
    ) -> Poll<Result<(), SendError>> {
        let worker = Rc::clone(&self.worker);
        loop {
            let mut scratch = worker.scratch.borrow_mut();
            let read = self.io.socket.borrow_mut().poll_read_head(cx, &mut scratch[..SMALL_READ_BYTES]);
            let length = match ready!(read) {
                Ok(length @ 1..) => length,
                Ok(0) => return Poll::Ready(Err(self.failure(Fault::UpstreamReset))),
                Err(error) => {
                    self.tls_refused |= is_refusal(&error);
                    return Poll::Ready(Err(self.failure(Fault::UpstreamReset)));
                }
            };
            self.response = ResponseProgress::Begun;
            if self.scan(&scratch[..length], informational)? == HeadState::Complete {
                return Poll::Ready(Ok(()));
            }
            // An upstream may send any number of informational heads: others have their turns meanwhile.
            ready!(poll_proceed(cx)).made_progress();
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.socket.borrow_mut()).poll_read(cx, buffer)
    }

    /// Scans bytes of a head. Usually they are all of it, and are scanned where they are.
    fn scan(&mut self, bytes: &[u8], informational: Option<&InformationalResponses>) -> Result<HeadState, SendError> {
        if self.partial.is_empty() {
            let (used, state) = self.scan_heads(bytes, informational)?;
            if state == HeadState::Partial {
                self.partial.extend_from_slice(&bytes[used..]);
            }
            return Ok(state);
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let (used, state) = self.scan_heads(&partial, informational)?;
        if state == HeadState::Partial {
            partial.advance(used);
            self.partial = partial;
        }
        Ok(state)
    }

    /// Scans heads up to the final one, which the scanner keeps. Returns how many bytes the informational ones have.
    fn scan_heads(
        &mut self,
        bytes: &[u8],
        informational: Option<&InformationalResponses>,
    ) -> Result<(usize, HeadState), SendError> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.scanner.scan(rest).map_err(|malformed| self.malformed(malformed, bytes))? {
                HeadProgress::Partial => return Ok((at, HeadState::Partial)),
                HeadProgress::Informational(length) => {
                    let status = self.scanner.status();
                    if let Some(informational) = informational.filter(|_| is_forwarded(status)) {
                        self.scanner.keep(rest).map_err(|malformed| self.malformed(malformed, bytes))?;
                        let mut fields = self.scanner.take_fields();
                        informational.push(status, &fields);
                        fields.clear();
                        self.scanner.lend(fields);
                    }
                    self.scanner.next_head();
                    at += length;
                }
                HeadProgress::Final(length) => {
                    self.scanner.keep(rest).map_err(|malformed| self.malformed(malformed, bytes))?;
                    if rest.len() > length {
                        self.input = self.copy_input(&rest[length..]);
                    }
                    return Ok((at, HeadState::Complete));
                }
            }
        }
    }

    /// Bytes of a body that were read together with the head. Few of them use the memory of the last ones again, if their
    /// reader is done with it: then this is no allocation.
    fn copy_input(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > KEPT_BYTES {
            return Bytes::copy_from_slice(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.buffer.split().freeze()
    }

    /// The failure for a malformed head that begins with `bytes`.
    fn malformed(&self, malformed: MalformedResponse, bytes: &[u8]) -> SendError {
        let is_record = matches!(bytes, [TLS_ALERT | TLS_HANDSHAKE] | [TLS_ALERT | TLS_HANDSHAKE, 3, ..]);
        let cleartext = matches!(*self.io.socket.borrow(), Socket::Plain(_));
        self.failure(match malformed {
            MalformedResponse::TooLarge => Fault::UpstreamHeaders,
            MalformedResponse::Invalid if is_record && cleartext && !self.speaks_http => Fault::UpstreamSpeaksTls,
            MalformedResponse::Invalid => Fault::UpstreamProtocol,
        })
    }

    /// Reads more of a body into `input`. `left`: the bytes of the body that are still to come, if that is known.
    /// Returns whether there are more: `false` is the end of the connection.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>, left: Option<u64>) -> Poll<io::Result<bool>> {
        debug_assert!(self.input.is_empty(), "all input is decoded before more is read");
        // An empty slice would keep the memory that the next read can use again.
        self.input = Bytes::new();
        let left = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if left > SMALL_READ_BYTES && (self.read_size == ReadSize::Bulk || left != usize::MAX) {
            return self.poll_bulk(cx, left.min(H1_BUFFER_BYTES));
        }
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..SMALL_READ_BYTES]);
        ready!(self.poll_read(cx, &mut buffer))?;
        self.read_size = if buffer.remaining() == 0 { ReadSize::Bulk } else { ReadSize::Small };
        self.input = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready(Ok(!self.input.is_empty()))
    }

    /// Reads up to `room` bytes without a copy.
    fn poll_bulk(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<bool>> {
        // Takes the same memory again once the earlier piece is written.
        self.buffer.reserve(room);
        self.buffered = ReadSize::Bulk;
        let mut socket = self.io.socket.borrow_mut();
        let mut buffer = (&mut self.buffer).limit(room);
        let read = ready!(pin!(socket.read_buf(&mut buffer)).poll(cx))?;
        self.read_size = if read >= SMALL_READ_BYTES / 4 { ReadSize::Bulk } else { ReadSize::Small };
        self.input = self.buffer.split().freeze();
        Poll::Ready(Ok(read > 0))
    }
}

/// A connection that switched to another protocol than HTTP.
pub(crate) struct SwitchedConnection {
    pub(crate) socket: Socket,
    /// Bytes that were read after the response's head.
    pub(crate) read_ahead: Bytes,
    pub(crate) guard: ConnectionGuard,
}

#[cfg(test)]
mod tests;
