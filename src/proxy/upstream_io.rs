//! The byte stream of an HTTP/1.1 connection to an upstream. Informational responses are noticed on their way to hyper,
//! which drops them, so that the client gets them too; small writes are sent as one.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::early::is_wanted;
use super::socket::Socket;
use super::upstream_tls::{is_refusal, poll_refused};
use super::worker::Worker;

/// Slices of no more bytes than this are copied and sent in one piece: cheaper than a vectored write.
const MERGED_BYTES_MAX: usize = 4096;
/// An informational head that is longer than this is not passed on.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of an informational head.
const FIELDS_MAX: usize = 100;
/// The kinds of records that a server of TLS answers cleartext with (RFC 8446 §5.1); their version follows.
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;
/// How every informational response begins.
const INFORMATIONAL: &[u8] = b"HTTP/1.1 1";

/// A connection to an upstream.
pub(super) struct UpstreamIo {
    stream: TokioIo<Socket>,
    worker: Rc<Worker>,
    hints: Rc<Hints>,
}

/// Who wants the informational responses to the request under way.
#[derive(Default)]
pub(super) struct Hints {
    /// The request under way asks to switch to another protocol.
    pub(super) asked: Cell<bool>,
    wanted: Cell<bool>,
    refused: Cell<bool>,
    /// Something was read.
    heard: Cell<bool>,
    tls: Cell<bool>,
    client: RefCell<Option<Rc<Client>>>,
    /// The beginning of an informational head.
    held: RefCell<BytesMut>,
}

impl Hints {
    /// From here to the head of the final response, informational ones go to `client`.
    pub(super) fn go_to(&self, client: &Rc<Client>) {
        self.wanted.set(true);
        *self.client.borrow_mut() = Some(Rc::clone(client));
    }

    /// Whether the other side has refused us, under TLS.
    pub(super) fn is_refusal(&self) -> bool {
        self.refused.get()
    }

    /// Whether the other side answers with a record of TLS, which nobody speaks with it.
    pub(super) fn speaks_tls(&self) -> bool {
        self.tls.get()
    }

    /// Looks at why nothing could be read.
    fn look_at(&self, read: &Poll<io::Result<()>>) {
        if let Poll::Ready(Err(error)) = read
            && is_refusal(error)
        {
            self.refused.set(true);
        }
    }

    /// Looks at what was read. The final response's head ends it.
    fn notice(&self, bytes: &[u8]) {
        let mut held = self.held.borrow_mut();
        let begins = |bytes: &[u8]| {
            let compared = bytes.len().min(INFORMATIONAL.len());
            bytes[..compared] == INFORMATIONAL[..compared]
        };
        if held.is_empty() && !begins(bytes) {
            return self.end();
        }
        held.extend_from_slice(bytes);
        while !held.is_empty() {
            if !begins(&held) || held.len() > HEAD_BYTES_MAX {
                held.clear();
                return self.end();
            }
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut response = httparse::Response::new(&mut fields);
            match response.parse(&held) {
                Ok(httparse::Status::Complete(length)) => {
                    if response.code == Some(101) {
                        // What follows is no HTTP any more.
                        held.clear();
                        return self.end();
                    }
                    if let (Some(code), Some(client)) = (response.code, &*self.client.borrow())
                        && is_wanted(code)
                    {
                        client.early.push(code, response.headers);
                        client.watched.wake();
                    }
                    held.advance(length);
                }
                Ok(httparse::Status::Partial) => return,
                Err(_) => {
                    held.clear();
                    return self.end();
                }
            }
        }
    }

    fn end(&self) {
        self.wanted.set(false);
        *self.client.borrow_mut() = None;
    }
}

impl UpstreamIo {
    /// Wraps a connection, and gives the handle by which informational responses are asked for.
    pub(super) fn new(stream: Socket, worker: &Rc<Worker>) -> (Self, Rc<Hints>) {
        let hints = Rc::new(Hints::default());
        (Self { stream: TokioIo::new(stream), worker: Rc::clone(worker), hints: Rc::clone(&hints) }, hints)
    }

    /// What was written, or why not.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) && ready!(poll_refused(self.stream.inner_mut(), cx)) {
            self.hints.refused.set(true);
        }
        written
    }
}

impl UpstreamIo {
    /// The connection itself.
    pub(super) fn into_socket(self) -> Socket {
        self.stream.into_inner()
    }
}

impl Read for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.hints.wanted.get() && this.hints.heard.get() {
            let read = Pin::new(&mut this.stream).poll_read(cx, cursor);
            this.hints.look_at(&read);
            return read;
        }
        let mut scratch = this.worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        let read = Pin::new(this.stream.inner_mut()).poll_read(cx, &mut buffer);
        this.hints.look_at(&read);
        ready!(read)?;
        if !this.hints.heard.replace(true) {
            this.hints.tls.set(matches!(buffer.filled(), [TLS_ALERT | TLS_HANDSHAKE, 3, ..]));
        }
        if this.hints.wanted.get() {
            this.hints.notice(buffer.filled());
        }
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(this.stream.inner_mut()).poll_write(cx, bytes);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = write_merged(this.stream.inner_mut(), cx, (slices, &this.worker));
        this.written(cx, written)
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

/// Writes slices: few bytes in one piece, many as they are.
pub(super) fn write_merged(
    stream: &mut Socket,
    cx: &mut Context<'_>,
    (slices, worker): (&[io::IoSlice<'_>], &Worker),
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [only] = slices {
        return stream.poll_write(cx, only);
    }
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    if total > MERGED_BYTES_MAX {
        return stream.poll_write_vectored(cx, slices);
    }
    let mut scratch = worker.scratch.borrow_mut();
    let mut at = 0;
    for slice in slices {
        scratch[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    stream.poll_write(cx, &scratch[..total])
}
