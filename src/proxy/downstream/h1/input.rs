//! The socket of an HTTP/1.1 connection and the bytes read from it. The connection shares it with the body of the
//! current request: while a body is open, only the body reads; otherwise the connection does.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};

use super::received::{HeadReader, ReceivedHead};
use crate::net::Socket;
use crate::proxy::downstream::client::Client;
use crate::proxy::wire::request_body::RequestBodyDecoder;
use crate::proxy::wire::response_body::BodyPiece;
use crate::proxy::wire::scan::Framing;
use crate::proxy::worker::Worker;
use crate::proxy::worker::budget::H1_BUFFER_BYTES;
use crate::telemetry::Refusal;

/// Most bytes of one read for heads, and for small pieces of a body. They pass through the worker's buffer and are
/// copied, so that they keep no more memory than their own bytes.
const SMALL_READ_BYTES: usize = 16 * 1024;

/// The input of a connection.
pub(in crate::proxy) struct ClientInput {
    client: Rc<Client>,
    state: RefCell<InputState>,
    /// The client of the current body waits for `100 Continue`.
    expects_continue: Cell<bool>,
    /// The body is polled: `100 Continue` is to be written.
    asks_continue: Cell<bool>,
    /// The body of the current request is still held by its request.
    held: Cell<bool>,
    /// The connection is being polled, and looks at the input before it waits.
    polled: Cell<bool>,
    /// The connection has ended.
    closed: Cell<bool>,
}

struct InputState {
    socket: Socket,
    heads: HeadReader,
    /// Bytes that were read, and belong to no head and no body yet.
    unread: Bytes,
    /// The body of the current request, until its last byte is read.
    body: Option<RequestBodyDecoder>,
    /// The buffer of large reads.
    buffer: BytesMut,
    read_size: ReadSize,
    /// The task that waits for more of the body.
    reader: Option<Waker>,
    /// Nothing more is read: the bytes of the client were refused.
    refused: bool,
}

/// The size of the next read of a body of unknown length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSize {
    Small,
    /// The last read was large: the next one goes straight to the connection's own buffer.
    Bulk,
}

/// Why there is no next head.
pub(super) enum NoHead {
    /// The client has closed its writing direction.
    End,
    /// The head is refused.
    Refused(Refusal),
    /// The connection is broken.
    Broken(io::Error),
}

/// A body ended before its end, or is refused.
pub(super) struct BodyCut;

impl ClientInput {
    /// The input from `socket`, of which `first` was read already.
    pub(super) fn new(socket: Socket, client: &Rc<Client>, first: Vec<u8>) -> Rc<Self> {
        client.between.set(first.is_empty());
        Rc::new(Self {
            state: RefCell::new(InputState {
                socket,
                heads: HeadReader::new(client.bounds()),
                unread: Bytes::from(first),
                body: None,
                buffer: BytesMut::new(),
                read_size: ReadSize::Small,
                reader: None,
                refused: false,
            }),
            client: Rc::clone(client),
            expects_continue: Cell::new(false),
            asks_continue: Cell::new(false),
            held: Cell::new(false),
            polled: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// The socket, for writing.
    #[inline]
    pub(super) fn socket(&self) -> RefMut<'_, Socket> {
        RefMut::map(self.state.borrow_mut(), |state| &mut state.socket)
    }

    /// The connection begins or ends to be polled. In between, it need not be woken when a body ends.
    #[inline]
    pub(super) fn set_polled(&self, polled: Polled) {
        self.polled.set(polled == Polled::Now);
    }

    /// The next head, if the bytes that were read have all of it.
    pub(super) fn next_head(&self) -> Result<Option<ReceivedHead>, Refusal> {
        let state = &mut *self.state.borrow_mut();
        debug_assert!(state.body.is_none(), "a head comes behind the body before it");
        if state.unread.is_empty() {
            return Ok(None);
        }
        let read = state.heads.read(&state.unread, &self.client.worker)?;
        let Some((head, length)) = read else {
            state.unread = Bytes::new();
            self.note_between(state);
            return Ok(None);
        };
        // An empty slice, too, would keep the memory of what was read.
        state.unread = if length == state.unread.len() { Bytes::new() } else { state.unread.slice(length..) };
        self.note_between(state);
        Ok(Some(head))
    }

    /// Reads until the next head is complete.
    pub(super) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<ReceivedHead, NoHead>> {
        let client = &self.client;
        let state = &mut *self.state.borrow_mut();
        debug_assert!(state.unread.is_empty(), "what was read is scanned before more is read");
        if client.finished.get() {
            return Poll::Ready(Err(NoHead::End));
        }
        let mut scratch = client.worker.scratch.borrow_mut();
        loop {
            let length = match state.socket.poll_read_head(cx, &mut scratch[..SMALL_READ_BYTES]) {
                Poll::Ready(Ok(length)) => length,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(NoHead::Broken(error))),
                Poll::Pending => {
                    self.await_head(state);
                    return Poll::Pending;
                }
            };
            let bytes = &scratch[..length];
            if bytes.is_empty() {
                client.finished.set(true);
                return Poll::Ready(Err(NoHead::End));
            }
            if state.heads.is_empty() {
                // The deadline of an idle connection. That of a head begins with its first byte.
                client.deadlines.clear_read();
            }
            let read = state.heads.read(bytes, &client.worker);
            if let Ok(Some((_, length))) = &read
                && *length < bytes.len()
            {
                state.unread = Bytes::copy_from_slice(&bytes[*length..]);
            }
            self.note_between(state);
            match read {
                Ok(None) => {}
                Ok(Some((head, _))) => return Poll::Ready(Ok(head)),
                Err(refusal) => return Poll::Ready(Err(NoHead::Refused(refusal))),
            }
        }
    }

    /// Sets the read deadline of a connection that waits for a head.
    fn await_head(&self, state: &InputState) {
        let client = &self.client;
        let limits = &client.listener.spec.limits;
        let is_idle = state.heads.is_empty() && client.heads.get() > 0;
        let patience = if is_idle { limits.idle_timeout } else { limits.header_timeout };
        client.deadlines.read_within_once(client.worker.now_ms(), patience);
    }

    /// Reads while a response is awaited or written, so that the end of the client is noticed. Holds the bytes of one
    /// read and no more, so that a client cannot fill the memory. They may be of another protocol: before a switch is
    /// answered they could be a smuggled request (CVE-2026-2833, CVE-2026-73548), so they are not scanned here.
    #[inline]
    pub(super) fn watch(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let client = &self.client;
        let state = &mut *self.state.borrow_mut();
        let has_bytes = state.body.is_some() || !state.unread.is_empty() || !state.heads.is_empty();
        if has_bytes || state.refused || client.finished.get() {
            return Ok(());
        }
        let mut scratch = client.worker.scratch.borrow_mut();
        let Poll::Ready(length) = state.socket.poll_rare_read(cx, &mut scratch[..SMALL_READ_BYTES])? else {
            return Ok(());
        };
        if length == 0 {
            client.finished.set(true);
            // The client may have closed both directions, which only a write can detect: set a deadline.
            client.deadlines.read_within_once(client.worker.now_ms(), client.listener.spec.limits.idle_timeout);
        } else {
            state.unread = Bytes::copy_from_slice(&scratch[..length]);
            client.between.set(false);
        }
        Ok(())
    }

    /// The client of the current body waits for `100 Continue`.
    pub(super) fn expect_continue(&self) {
        self.expects_continue.set(true);
    }

    /// Begins the body of a request.
    pub(super) fn open_body(&self, framing: Framing) {
        let state = &mut *self.state.borrow_mut();
        state.body = Some(RequestBodyDecoder::new(framing, state.heads.bounds));
        self.expects_continue.set(false);
        self.held.set(true);
        self.note_between(state);
    }

    /// Whether the body of the current request has bytes that were not read.
    pub(super) fn is_body_open(&self) -> bool {
        self.state.borrow().body.is_some()
    }

    /// Whether an open body may still be read.
    pub(super) fn is_body_awaited(&self) -> bool {
        self.held.get() && self.is_body_open()
    }

    /// Whether `100 Continue` is to be written now.
    #[inline]
    pub(super) fn take_continue(&self) -> bool {
        self.asks_continue.take()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Result<Option<BodyPiece>, BodyCut>> {
        let client = &self.client;
        if self.closed.get() || client.refused_body.get().is_some() {
            return Poll::Ready(Err(BodyCut));
        }
        if self.expects_continue.take() {
            self.asks_continue.set(true);
            self.wake_connection();
        }
        let state = &mut *self.state.borrow_mut();
        loop {
            let Some(body) = &mut state.body else { return Poll::Ready(Ok(None)) };
            match body.next(&mut state.unread) {
                Ok(piece) => {
                    let ended = body.is_ended();
                    if ended {
                        self.end_body(state);
                    }
                    if piece.is_some() || ended {
                        // Only content extends the read deadline: a client must not keep a connection with endless
                        // extensions or trailers.
                        client.deadlines.clear_read();
                        return Poll::Ready(Ok(piece));
                    }
                }
                Err(refusal) => {
                    self.refuse_body(state, refusal);
                    return Poll::Ready(Err(BodyCut));
                }
            }
            if client.finished.get() {
                return Poll::Ready(Err(BodyCut));
            }
            match state.poll_fill(cx, &client.worker) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => {
                    // An end inside a body: the client has gone.
                    client.finished.set(true);
                    return Poll::Ready(Err(BodyCut));
                }
                Poll::Pending => {
                    match &mut state.reader {
                        Some(known) => known.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                    let patience = client.listener.spec.limits.stall_timeout;
                    client.deadlines.read_within_once(client.worker.now_ms(), patience);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Notes that the body's last byte was read.
    fn end_body(&self, state: &mut InputState) {
        (state.body, state.reader, state.buffer) = (None, None, BytesMut::new());
        if state.unread.is_empty() {
            state.unread = Bytes::new();
        }
        self.expects_continue.set(false);
        self.note_between(state);
        self.wake_connection();
    }

    /// The request drops its body. Bytes that were not read stay where they are.
    pub(super) fn drop_body(&self) {
        self.held.set(false);
        self.wake_connection();
    }

    /// Wakes the connection, unless it looks at the input before it waits.
    fn wake_connection(&self) {
        if !self.polled.get() {
            self.client.deadlines.wake();
        }
    }

    /// Refuses the rest of the body: its reader gets an error.
    fn refuse_body(&self, state: &mut InputState, refusal: Refusal) {
        self.client.refused_body.set(Some(refusal));
        state.refused = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// The read deadline has passed while a body is open. It measures the client alone: if the body's reader has not
    /// asked for content that has arrived, the body goes on.
    pub(super) fn expire_body(&self, cx: &mut Context<'_>) {
        let state = &mut *self.state.borrow_mut();
        let Some(body) = &state.body else { return };
        let may_have_arrived = state.unread.is_empty() && body.is_in_data();
        let arrived = may_have_arrived && matches!(state.poll_fill(cx, &self.client.worker), Poll::Ready(Ok(1..)));
        if !arrived {
            return self.refuse_body(state, Refusal::BodyTooSlow);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Refuses all bytes of the client: they are never scanned again, so that a request that is smuggled behind them has
    /// no effect.
    pub(super) fn refuse(&self) {
        let state = &mut *self.state.borrow_mut();
        state.heads.discard(&self.client.worker);
        (state.unread, state.refused) = (Bytes::new(), true);
        self.note_between(state);
    }

    /// Whether no bytes of an unhandled message were read.
    pub(super) fn is_between(&self) -> bool {
        Self::lies_between(&self.state.borrow())
    }

    fn lies_between(state: &InputState) -> bool {
        state.body.is_none() && state.unread.is_empty() && state.heads.is_empty()
    }

    #[inline]
    fn note_between(&self, state: &InputState) {
        self.client.between.set(Self::lies_between(state));
    }

    /// Whether the client may be sending bytes that are not read.
    pub(super) fn has_more(&self) -> bool {
        let state = self.state.borrow();
        state.refused || !Self::lies_between(&state)
    }

    /// Reads and drops bytes. Returns how many; 0 at the end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = self.client.worker.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..]);
        ready!(Pin::new(&mut *self.socket()).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Ready when the socket may have bytes to read.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.borrow().socket.poll_read_ready(cx)
    }

    /// Resets the connection: its end is not that of the response.
    pub(super) fn reset(&self) {
        self.state.borrow().socket.reset();
    }

    /// Ends the connection at once, although another task may hold the body of its request.
    pub(super) fn close(self: &Rc<Self>) {
        self.closed.set(true);
        if Rc::strong_count(self) > 1 {
            // The task may wait for something else than its client, and drop the body later.
            self.state.borrow().socket.cut();
        }
        if let Some(reader) = self.state.borrow_mut().reader.take() {
            reader.wake();
        }
    }

    /// The socket, and the bytes that were read from it and not used; `None` while a body has them.
    pub(super) fn into_socket(self: Rc<Self>) -> Option<(Socket, Bytes)> {
        let InputState { socket, unread, .. } = Rc::into_inner(self)?.state.into_inner();
        Some((socket, unread))
    }
}

/// Whether a connection is being polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    Now,
    Later,
}

impl InputState {
    /// Reads more of the body into `unread`. Returns how many bytes; 0 is the end of the client's bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Result<usize>> {
        debug_assert!(self.unread.is_empty(), "all input is decoded before more is read");
        // An empty slice would keep the memory that the next read can use again.
        self.unread = Bytes::new();
        let left = self.body.as_ref().and_then(RequestBodyDecoder::left);
        let room = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if room > SMALL_READ_BYTES && (self.read_size == ReadSize::Bulk || left.is_some()) {
            return self.poll_bulk(cx, room.min(H1_BUFFER_BYTES));
        }
        let mut scratch = worker.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..SMALL_READ_BYTES]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        self.read_size = if buffer.remaining() == 0 { ReadSize::Bulk } else { ReadSize::Small };
        self.unread = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready(Ok(self.unread.len()))
    }

    /// Reads up to `room` bytes without a copy.
    fn poll_bulk(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        // Takes the same memory again once the earlier piece is dropped.
        self.buffer.reserve(room);
        let mut buffer = (&mut self.buffer).limit(room);
        let read = ready!(pin!(self.socket.read_buf(&mut buffer)).poll(cx))?;
        self.read_size = if read > SMALL_READ_BYTES { ReadSize::Bulk } else { ReadSize::Small };
        self.unread = self.buffer.split().freeze();
        Poll::Ready(Ok(read))
    }
}
