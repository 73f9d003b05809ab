//! Writes one request: its head together with the first piece of its body, then the rest as the socket has room. The
//! writer knows whether a byte of the request was written, for the retry rule.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use super::request_head::{self, RequestFraming};
use crate::net::{Socket, write_merged};
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::head::Head;

/// A TLS record (RFC 8446 §5.1): a peer processes nothing of a record that it received in part.
const TLS_RECORD_BYTES: usize = 16 * 1024;
/// Between two requests, a buffer of up to this size is kept.
const KEPT_BYTES: usize = 2048;

const CRLF: &[u8] = b"\r\n";
/// The end of the last piece's chunk, and of the body.
const CRLF_END: &[u8] = b"\r\n0\r\n\r\n";

/// A request that is being sent. Its body is taken piece by piece.
pub(crate) struct OutgoingRequest<'a> {
    pub(crate) head: &'a Head,
    pub(crate) body: &'a mut RequestBody,
}

/// The progress of writing one request.
pub(super) struct RequestWriter {
    step: Step,
    framing: RequestFraming,
    /// Bytes to write before `data`: the head, the size of a chunk, trailers.
    front: Vec<u8>,
    /// How many bytes of `front` are written.
    front_written: usize,
    /// The current piece of the body.
    data: Bytes,
    /// Bytes to write after `data`: the end of a chunk.
    tail: &'static [u8],
    /// The body's last frame is in `front`, `data` and `tail`.
    complete: bool,
    /// The first frame was taken from the body and cannot be returned: it is not data.
    consumed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing was written.
    Head,
    Body,
    /// All of the request was written. A TLS session may still have buffered bytes.
    Flush,
    Done,
    /// Writing failed.
    Failed,
    /// Writing failed before a byte was written.
    Unsent,
}

/// Why a request was not written completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// Nothing of the request was written, and the request is as before: it can be sent on another connection.
    Unsent,
    /// The socket failed after some bytes. A response may have arrived before.
    Socket,
    /// The request's body failed.
    Body,
}

impl Default for RequestWriter {
    fn default() -> Self {
        Self {
            step: Step::Done,
            framing: RequestFraming::Length(0),
            front: Vec::new(),
            front_written: 0,
            data: Bytes::new(),
            tail: b"",
            complete: false,
            consumed: false,
        }
    }
}

impl RequestWriter {
    /// Begins a request.
    pub(super) fn begin(&mut self) {
        self.front.clear();
        self.front.shrink_to(KEPT_BYTES);
        if !self.data.is_empty() {
            self.data = Bytes::new();
        }
        (self.step, self.framing, self.front_written) = (Step::Head, RequestFraming::Length(0), 0);
        (self.tail, self.complete, self.consumed) = (b"", false, false);
    }

    /// Whether the writer has more to do.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.step, Step::Head | Step::Body | Step::Flush)
    }

    /// Whether writing failed before a byte was written.
    pub(super) fn is_unsent(&self) -> bool {
        self.step == Step::Unsent
    }

    /// Writes what the socket takes. Ready when the whole request was written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        request: &mut OutgoingRequest<'_>,
        scratch: &RefCell<Box<[u8]>>,
    ) -> Poll<Result<(), WriteError>> {
        if self.step == Step::Head {
            if self.front.is_empty() {
                self.build(cx, request)?;
            }
            ready!(self.poll_first_write(cx, socket, request.body, scratch))?;
        }
        self.poll_body(cx, socket, request.body, scratch)
    }

    /// Builds the head and, if the body has a piece already, the first piece.
    fn build(&mut self, cx: &mut Context<'_>, request: &mut OutgoingRequest<'_>) -> Result<(), WriteError> {
        self.framing = request_head::write(request.head, request.body, &mut self.front);
        let body = &mut *request.body;
        if self.framing == RequestFraming::Length(0) {
            self.complete = true;
        } else if let Poll::Ready(polled) = Pin::new(&mut *body).poll_frame(cx) {
            self.consumed = !matches!(&polled, Some(Ok(frame)) if frame.is_data());
            self.take(polled, body)?;
        }
        Ok(())
    }

    /// Writes the first bytes. If none was written, the request is made as it was before.
    fn poll_first_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut RequestBody,
        scratch: &RefCell<Box<[u8]>>,
    ) -> Poll<Result<(), WriteError>> {
        let total = self.pending();
        if ready!(self.poll_pending(cx, socket, scratch)).is_ok() {
            self.step = Step::Body;
            return Poll::Ready(Ok(()));
        }
        // rustls may have sent whole records before the one that failed.
        let is_unsent = matches!(socket, Socket::Plain(_)) || total <= TLS_RECORD_BYTES;
        if !is_unsent || self.consumed {
            self.step = Step::Failed;
            return Poll::Ready(Err(WriteError::Socket));
        }
        self.step = Step::Unsent;
        body.put_back(mem::take(&mut self.data));
        Poll::Ready(Err(WriteError::Unsent))
    }

    /// Writes the body. Ready when all of it was written and flushed.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut RequestBody,
        scratch: &RefCell<Box<[u8]>>,
    ) -> Poll<Result<(), WriteError>> {
        debug_assert!(self.step != Step::Head, "the head is written first");
        loop {
            match self.step {
                Step::Done => return Poll::Ready(Ok(())),
                Step::Head | Step::Failed | Step::Unsent => return Poll::Ready(Err(WriteError::Socket)),
                Step::Flush => {
                    let flushed = ready!(Pin::new(&mut *socket).poll_flush(cx));
                    self.step = if flushed.is_ok() { Step::Done } else { Step::Failed };
                }
                Step::Body if self.pending() > 0 => {
                    if ready!(self.poll_pending(cx, socket, scratch)).is_err() {
                        self.step = Step::Failed;
                    }
                }
                Step::Body if self.complete => {
                    // The body notes its end when it is dropped.
                    *body = RequestBody::Empty;
                    self.step = Step::Flush;
                }
                Step::Body => {
                    let Poll::Ready(polled) = Pin::new(&mut *body).poll_frame(cx) else {
                        if let Poll::Ready(Err(_)) = Pin::new(&mut *socket).poll_flush(cx) {
                            self.step = Step::Failed;
                            continue;
                        }
                        return Poll::Pending;
                    };
                    self.take(polled, body)?;
                }
            }
        }
    }

    /// Bytes that wait for the socket.
    fn pending(&self) -> usize {
        self.front.len() - self.front_written + self.data.len() + self.tail.len()
    }

    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        scratch: &RefCell<Box<[u8]>>,
    ) -> Poll<io::Result<()>> {
        let slices: [&[u8]; 3] = [&self.front[self.front_written..], &self.data, self.tail];
        let slices = slices.map(IoSlice::new);
        // Most requests are a head alone.
        let used = if self.data.is_empty() && self.tail.is_empty() { 1 } else { slices.len() };
        let written = ready!(write_merged(socket, cx, &slices[..used], scratch))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    /// Drops written bytes.
    fn advance(&mut self, written: usize) {
        debug_assert!(written <= self.pending(), "the socket takes no more than it is given");
        let of_front = written.min(self.front.len() - self.front_written);
        self.front_written += of_front;
        let of_data = (written - of_front).min(self.data.len());
        self.data.advance(of_data);
        self.tail = self.tail.get(written - of_front - of_data..).unwrap_or_default();
        if self.front_written == self.front.len() {
            self.front.clear();
            self.front_written = 0;
        }
        if self.data.is_empty() {
            // An empty slice would keep the memory of its piece.
            self.data = Bytes::new();
        }
    }

    /// Prepares a frame of the body to be written.
    fn take(&mut self, polled: Option<Result<Frame<Bytes>, BodyError>>, body: &RequestBody) -> Result<(), WriteError> {
        let failed = |writer: &mut Self| {
            writer.step = Step::Failed;
            Err(WriteError::Body)
        };
        let Ok(frame) = polled.transpose() else { return failed(self) };
        let frame = frame.map(Frame::into_data);
        match (&mut self.framing, frame) {
            (RequestFraming::Length(left), Some(Ok(data))) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else { return failed(self) };
                *left = rest;
                self.complete = rest == 0;
                self.data = data;
            }
            (RequestFraming::Length(left), None | Some(Err(_))) if *left > 0 => return failed(self),
            (RequestFraming::Length(_), None | Some(Err(_))) => self.complete = true,
            (RequestFraming::Chunked, Some(Ok(data))) => {
                // An empty chunk would end the body.
                if !data.is_empty() {
                    let _ = write!(self.front, "{:x}\r\n", data.len());
                    self.complete = body.is_end_stream();
                    self.tail = if self.complete { CRLF_END } else { CRLF };
                    self.data = data;
                }
            }
            (RequestFraming::Chunked, last) => {
                self.front.extend_from_slice(b"0\r\n");
                let trailers = last.and_then(Result::err).and_then(|frame| frame.into_trailers().ok());
                request_head::write_trailers(&trailers.unwrap_or_default(), &mut self.front);
                self.complete = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
