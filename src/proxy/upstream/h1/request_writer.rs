//! Writes one request: its head together with the first piece of its body, then the rest as the socket has room. The
//! writer knows whether a byte of the request was written, for the retry rule.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use super::request_head::{self, RequestFraming};
use crate::net::{Socket, write_merged};
use crate::proxy::body::body_error::BodyError;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::worker::Worker;

/// A TLS record (RFC 8446 §5.1): a peer processes nothing of a record that it received in part.
const TLS_RECORD_BYTES: usize = 16 * 1024;
/// The worker's buffer for heads keeps this size.
const HEAD_KEPT_BYTES: usize = 64 * 1024;
/// Between writes, a buffer of up to this size is kept.
const KEPT_BYTES: usize = 1024;

const CRLF: &[u8] = b"\r\n";
/// The end of the last piece's chunk, and of the body.
const CRLF_END: &[u8] = b"\r\n0\r\n\r\n";

/// The progress of writing one request.
pub(super) struct RequestWriter {
    step: Step,
    framing: RequestFraming,
    /// Bytes to write before `data`: the rest of the head, the size of a chunk, trailers.
    front: BytesMut,
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
}

/// The worker's buffers for writing.
#[derive(Clone, Copy)]
pub(super) struct WriteBuffers<'a> {
    /// The head of a request is built here.
    head: &'a RefCell<Vec<u8>>,
    /// Small parts are merged here.
    scratch: &'a RefCell<Box<[u8]>>,
}

impl<'a> WriteBuffers<'a> {
    pub(super) fn of(worker: &'a Worker) -> Self {
        Self { head: &worker.head, scratch: &worker.scratch }
    }
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
            front: BytesMut::new(),
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
        let mut front = mem::take(&mut self.front);
        front.clear();
        *self = Self { step: Step::Head, front, ..Self::default() };
    }

    /// Whether the writer has more to do.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.step, Step::Done | Step::Failed)
    }

    /// Writes what the socket takes. Ready when the whole request was written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        request: &mut Request<RequestBody>,
        buffers: WriteBuffers<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if self.step == Step::Head {
            ready!(self.poll_head(cx, socket, request, buffers))?;
        }
        self.poll_body(cx, socket, request.body_mut(), buffers)
    }

    /// Writes the head and, in the same write, the first piece of the body if there is one already.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        request: &mut Request<RequestBody>,
        buffers: WriteBuffers<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if !self.front.is_empty() {
            // An earlier poll has built the head; the socket took nothing of it.
            return self.poll_first_write(cx, socket, request.body_mut(), buffers, &[]);
        }
        let mut head = buffers.head.borrow_mut();
        head.clear();
        head.shrink_to(HEAD_KEPT_BYTES);
        self.framing = request_head::write(request, &mut head);
        let body = request.body_mut();
        if self.framing == RequestFraming::Length(0) {
            self.complete = true;
        } else if let Poll::Ready(polled) = Pin::new(&mut *body).poll_frame(cx) {
            self.consumed = !matches!(&polled, Some(Ok(frame)) if frame.is_data());
            self.take(polled, body)?;
        }
        self.poll_first_write(cx, socket, body, buffers, &head)
    }

    fn poll_first_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut RequestBody,
        buffers: WriteBuffers<'_>,
        head: &[u8],
    ) -> Poll<Result<(), WriteError>> {
        let total = head.len() + self.pending();
        let slices: [&[u8]; 4] = [head, &self.front, &self.data, self.tail];
        let slices = slices.map(IoSlice::new);
        let slices = if total == head.len() { &slices[..1] } else { &slices };
        match write_merged(socket, cx, slices, buffers.scratch) {
            Poll::Pending => {
                self.keep_rest_of(head);
                Poll::Pending
            }
            Poll::Ready(Ok(written)) if written > 0 => {
                self.step = Step::Body;
                let of_head = written.min(head.len());
                self.keep_rest_of(&head[of_head..]);
                self.advance(written - of_head);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => {
                // rustls may have sent whole records before the one that failed.
                let unsent = matches!(socket, Socket::Plain(_)) || total <= TLS_RECORD_BYTES;
                self.step = Step::Failed;
                if !unsent || self.consumed {
                    return Poll::Ready(Err(WriteError::Socket));
                }
                body.put_back(mem::take(&mut self.data));
                Poll::Ready(Err(WriteError::Unsent))
            }
        }
    }

    /// Keeps the unwritten part of the head, before the bytes that follow it.
    fn keep_rest_of(&mut self, head: &[u8]) {
        if !head.is_empty() {
            let after = mem::take(&mut self.front);
            self.front.reserve(head.len() + after.len());
            self.front.put_slice(head);
            self.front.put_slice(&after);
        }
    }

    /// Writes the body. Ready when all of it was written and flushed.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        body: &mut RequestBody,
        buffers: WriteBuffers<'_>,
    ) -> Poll<Result<(), WriteError>> {
        debug_assert!(self.step != Step::Head, "the head is written first");
        loop {
            match self.step {
                Step::Done => return Poll::Ready(Ok(())),
                Step::Head | Step::Failed => return Poll::Ready(Err(WriteError::Socket)),
                Step::Flush => {
                    let flushed = ready!(Pin::new(&mut *socket).poll_flush(cx));
                    self.step = if flushed.is_ok() { Step::Done } else { Step::Failed };
                }
                Step::Body if self.pending() > 0 => {
                    if ready!(self.poll_pending(cx, socket, buffers)).is_err() {
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
        self.front.len() + self.data.len() + self.tail.len()
    }

    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        buffers: WriteBuffers<'_>,
    ) -> Poll<io::Result<()>> {
        let slices: [&[u8]; 3] = [&self.front, &self.data, self.tail];
        let slices = slices.map(IoSlice::new);
        let written = ready!(write_merged(socket, cx, &slices, buffers.scratch))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    /// Drops written bytes.
    fn advance(&mut self, written: usize) {
        debug_assert!(written <= self.pending(), "the socket takes no more than it is given");
        let of_front = written.min(self.front.len());
        self.front.advance(of_front);
        let of_data = (written - of_front).min(self.data.len());
        self.data.advance(of_data);
        self.tail = self.tail.get(written - of_front - of_data..).unwrap_or_default();
        if self.front.is_empty() {
            if self.front.capacity() > KEPT_BYTES {
                self.front = BytesMut::new();
            }
            self.front.clear();
        }
        if self.data.is_empty() {
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
                    let _ = write!((&mut self.front).writer(), "{:x}\r\n", data.len());
                    self.complete = body.is_end_stream();
                    self.tail = if self.complete { CRLF_END } else { CRLF };
                    self.data = data;
                }
            }
            (RequestFraming::Chunked, last) => {
                self.front.put_slice(b"0\r\n");
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
