//! Writes responses, one after another. A head leaves with the beginning of its body in one write, and responses that
//! are ready at once share one.

use std::cell::RefMut;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::input::ClientInput;
use super::response_head::{BodyFraming, BodyLength, ResponseForm, UnwrittenHead, allows_body, write_chunk_size};
use crate::net::Socket;
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::{ClientResponse, ResponseContent};
use crate::telemetry::Refusal;

/// Up to this size a piece of a body is copied behind what is written before it, which is cheaper than a vectored write.
const COPIED_BYTES_MAX: usize = 4096;
/// Beyond this size no more is gathered before a write.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// The end of a body in chunks without trailers (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Where responses are written.
pub(super) trait Output {
    type Socket: AsyncWrite + Unpin;

    fn socket(&self) -> RefMut<'_, Self::Socket>;
}

impl Output for Rc<ClientInput> {
    type Socket = Socket;

    #[inline]
    fn socket(&self) -> RefMut<'_, Socket> {
        ClientInput::socket(self)
    }
}

/// The responses of a connection.
pub(super) struct ResponseWriter<B> {
    /// Heads, framing and small pieces. The bytes before `written` are in the socket.
    out: Vec<u8>,
    written: usize,
    /// A large piece, which follows `out`; and the framing behind it.
    piece: Bytes,
    tail: &'static [u8],
    /// The body of the current response, until its last piece is taken.
    body: Option<B>,
    framing: BodyFraming,
    pub(super) form: ResponseForm,
    /// The current response switches protocols.
    switches: bool,
}

/// What a body has given.
enum Polled<E> {
    /// All of it.
    Whole(Bytes),
    Frame(Poll<Option<Result<Frame<Bytes>, E>>>),
}

/// Why a response is not written to its end.
pub(super) enum ResponseFault {
    /// The connection is broken.
    Broken(io::Error),
    /// The body ended early.
    Body,
}

impl From<io::Error> for ResponseFault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl<B: ResponseContent> ResponseWriter<B> {
    pub(super) fn new() -> Self {
        let form =
            ResponseForm { version: Version::HTTP_11, is_head: false, accepts_trailers: false, persistent: true };
        Self {
            out: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            body: None,
            framing: BodyFraming::Length(0),
            form,
            switches: false,
        }
    }

    /// Whether the current response switches protocols.
    pub(super) fn switches(&self) -> bool {
        self.switches
    }

    /// Whether the end of the connection is the end of the current response.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.framing == BodyFraming::UntilClose
    }

    /// Whether the large piece and the framing behind it are in the socket.
    #[inline]
    fn is_piece_written(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty()
    }

    /// Whether so much waits that it is written before more is gathered.
    #[inline]
    fn is_full(&self) -> bool {
        self.out.len() - self.written >= GATHERED_BYTES_MAX
    }

    /// Adds `100 Continue`. The head of the current response is not written yet.
    pub(super) fn add_continue(&mut self, client: &Client) {
        self.add_between(CONTINUE, client);
    }

    /// Adds informational responses. The head of the current response is not written yet. A client that does not read
    /// misses them: an upstream may send any number.
    pub(super) fn add_early(&mut self, responses: &[u8], client: &Client) {
        if !self.is_full() {
            self.add_between(responses, client);
        }
    }

    fn add_between(&mut self, responses: &[u8], client: &Client) {
        debug_assert!(self.body.is_none() && self.is_piece_written(), "between two responses");
        client.flushed.set(false);
        self.out.extend_from_slice(responses);
    }

    /// Begins a response.
    #[inline]
    pub(super) fn begin(&mut self, response: ClientResponse<B>, client: &Client) {
        debug_assert!(self.body.is_none() && self.is_piece_written(), "one response after another");
        let ClientResponse { status, mut fields, body } = response;
        let length = match body.size_hint().exact() {
            _ if body.is_end_stream() => BodyLength::None,
            Some(bytes) => BodyLength::Known(bytes),
            None => BodyLength::Unknown,
        };
        client.flushed.set(false);
        let head = UnwrittenHead { status, fields: &mut fields, length };
        self.framing = head.write(&mut self.out, &mut self.form, &client.worker);
        client.worker.take_back_fields(fields);
        self.switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let has_body = length != BodyLength::None && !self.form.is_head && allows_body(status);
        self.body = has_body.then_some(body);
    }

    /// Takes the pieces of the body and writes them, until the last one lies in the socket or in the buffer.
    #[inline]
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        output: &impl Output,
        client: &Client,
    ) -> Poll<Result<(), ResponseFault>> {
        loop {
            // A head, too, waits for its turn: a client may ask for any number of responses that have no body.
            if self.is_full() || !self.is_piece_written() {
                ready!(self.poll_write(cx, output, client))?;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            // A panic of the body ends as a body that fails: what was gathered of earlier responses leaves.
            let polled = catch_unwind(AssertUnwindSafe(|| match body.take_whole() {
                Some(whole) => Polled::Whole(whole),
                None => Polled::Frame(Pin::new(body).poll_frame(cx)),
            }));
            match polled {
                Ok(Polled::Whole(data)) => {
                    client.flushed.set(false);
                    self.take_data(data)?;
                    self.end_body()?;
                }
                Ok(Polled::Frame(Poll::Ready(Some(Ok(frame))))) => {
                    client.flushed.set(false);
                    self.take(frame)?;
                }
                Ok(Polled::Frame(Poll::Ready(None))) => {
                    client.flushed.set(false);
                    self.end_body()?;
                }
                Ok(Polled::Frame(Poll::Ready(Some(Err(_))))) => return Poll::Ready(Err(self.cut(cx, output, client))),
                Ok(Polled::Frame(Poll::Pending)) => {
                    ready!(self.poll_flush(cx, output, client))?;
                    return Poll::Pending;
                }
                Err(_) => {
                    client.worker.meter().refuse(Refusal::Internal);
                    return Poll::Ready(Err(self.cut(cx, output, client)));
                }
            }
        }
    }

    /// Takes a frame of the body.
    #[inline]
    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), ResponseFault> {
        match frame.into_data() {
            Ok(data) => self.take_data(data)?,
            Err(frame) => return self.end_with(&frame.into_trailers().unwrap_or_default()),
        }
        if self.body.as_ref().is_some_and(Body::is_end_stream) { self.end_body() } else { Ok(()) }
    }

    #[inline]
    fn take_data(&mut self, data: Bytes) -> Result<(), ResponseFault> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            BodyFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(ResponseFault::Body)?;
                self.add(data, b"");
            }
            BodyFraming::Chunked => {
                write_chunk_size(&mut self.out, data.len());
                self.add(data, b"\r\n");
            }
            BodyFraming::UntilClose => self.add(data, b""),
        }
        Ok(())
    }

    /// Adds content and the framing behind it.
    #[inline]
    fn add(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= COPIED_BYTES_MAX {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (data, tail);
        }
    }

    /// Ends the body. One that is shorter than its head declares is cut.
    #[inline]
    fn end_body(&mut self) -> Result<(), ResponseFault> {
        match self.framing {
            BodyFraming::Length(0) | BodyFraming::UntilClose => {}
            BodyFraming::Length(_) => return Err(ResponseFault::Body),
            BodyFraming::Chunked if self.is_piece_written() => self.out.extend_from_slice(LAST_CHUNK),
            BodyFraming::Chunked => self.tail = b"\r\n0\r\n\r\n",
        }
        // The request ends here: what is left to write holds nothing of it.
        self.body = None;
        Ok(())
    }

    /// Ends the body with trailers, if the client accepts them.
    fn end_with(&mut self, trailers: &HeaderMap) -> Result<(), ResponseFault> {
        debug_assert!(self.is_piece_written(), "a piece is written before the next frame is taken");
        let has_trailers = self.framing == BodyFraming::Chunked && self.form.accepts_trailers && !trailers.is_empty();
        if !has_trailers {
            return self.end_body();
        }
        self.out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.out.extend_from_slice(part);
            }
        }
        self.out.extend_from_slice(b"\r\n");
        self.body = None;
        Ok(())
    }

    /// The body failed. What was taken of it is written, if that is possible at once and shows that more is missing.
    #[cold]
    fn cut(&mut self, cx: &mut Context<'_>, output: &impl Output, client: &Client) -> ResponseFault {
        if self.framing != BodyFraming::UntilClose {
            let _ = self.poll_flush(cx, output, client);
        }
        ResponseFault::Body
    }

    /// Writes all that is taken.
    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, output: &impl Output, client: &Client) -> Poll<io::Result<()>> {
        let mut socket = output.socket();
        loop {
            let out = self.out.get(self.written..).unwrap_or_default();
            if out.is_empty() && self.piece.is_empty() && self.tail.is_empty() {
                self.out.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            client.flushed.set(false);
            let socket = Pin::new(&mut *socket);
            let polled = if self.piece.is_empty() && self.tail.is_empty() {
                socket.poll_write(cx, out)
            } else {
                let slices = [io::IoSlice::new(out), io::IoSlice::new(&self.piece), io::IoSlice::new(self.tail)];
                socket.poll_write_vectored(cx, &slices)
            };
            let Poll::Ready(written) = client.record_write(polled) else {
                self.forget_written();
                return Poll::Pending;
            };
            let mut written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_out = written.min(out.len());
            (self.written, written) = (self.written + of_out, written - of_out);
            let of_piece = written.min(self.piece.len());
            self.piece.advance(of_piece);
            self.tail = self.tail.get(written - of_piece..).unwrap_or_default();
            if self.piece.is_empty() && of_piece > 0 {
                // An empty slice would keep the memory of the piece.
                self.piece = Bytes::new();
            }
        }
    }

    /// Frees the memory of the bytes that are in the socket, when they are many and more than those that wait: a client
    /// may always be a little slower than the responses, so that `out` is never written to its end.
    fn forget_written(&mut self) {
        if self.written >= GATHERED_BYTES_MAX && self.written >= self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Writes all that is taken, and flushes it.
    #[inline]
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        output: &impl Output,
        client: &Client,
    ) -> Poll<io::Result<()>> {
        if client.flushed.get() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write(cx, output, client))?;
        let polled = Pin::new(&mut *output.socket()).poll_flush(cx);
        ready!(client.record_write(polled))?;
        client.flushed.set(true);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
