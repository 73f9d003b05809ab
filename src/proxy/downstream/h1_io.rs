//! The byte stream of an HTTP/1.1 connection, between the socket and hyper. hyper gets only complete heads that the
//! strict scanner has accepted, and their bodies. A substitute head replaces refused bytes, so that a refusal takes the
//! same way as any request: it gets a response, is counted and logged.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::informational::InformationalResponses;
use crate::net::{Socket, write_merged};
use crate::proxy::wire::grammar::{BodyProgress, Bounds};
use crate::proxy::wire::raw_query::{self, Rewritten};
use crate::proxy::wire::scan::{self, BodyScanner, Framing, ScannedHead};
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::Refusal;

/// The head that hyper reads instead of a refused one.
const REFUSED_HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";
/// Most bytes of a refused or unread body that are read and discarded before the connection closes, so that the client
/// reads the response instead of a reset.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long that reading may take.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// An HTTP/1.1 connection.
pub(crate) struct H1Io {
    stream: Socket,
    client: Rc<Client>,
    bounds: Bounds,
    reading: Reading,
    /// Scanned bytes that hyper may read.
    ready: BytesMut,
    /// The bytes of an incomplete head, or the bytes after an upgrade request.
    held: BytesMut,
    lingered: usize,
    /// A head on this connection asked for an upgrade.
    had_upgrade: bool,
    informational: Rc<InformationalResponses>,
    /// Informational responses that are being written.
    informing: BytesMut,
}

enum Reading {
    /// The next byte begins or continues a head.
    Head,
    /// The next byte belongs to a body.
    Body(BodyScanner),
    /// Bytes are held until it is known whether the upstream switches protocols.
    Switching,
    /// Nothing more is read.
    Refused,
}

impl H1Io {
    /// Wraps `stream`, of which `first` was read already.
    pub(crate) fn new(stream: Socket, client: Rc<Client>, first: &[u8]) -> Self {
        let (bounds, informational) = (client.bounds(), Rc::clone(&client.informational));
        let (ready, held) = (BytesMut::new(), BytesMut::new());
        let mut io = Self {
            stream,
            client,
            bounds,
            reading: Reading::Head,
            ready,
            held,
            lingered: 0,
            had_upgrade: false,
            informational,
            informing: BytesMut::new(),
        };
        io.take(first);
        io.client.between.set(io.is_between());
        io
    }

    /// A connection that reads nothing more: its only request is refused.
    pub(super) fn refusing(stream: Socket, client: Rc<Client>, refusal: Refusal) -> Self {
        let mut io = Self::new(stream, client, &[]);
        io.refuse(refusal);
        io
    }

    /// Scans the next bytes, and moves complete heads and bodies to `ready`.
    fn take(&mut self, bytes: &[u8]) {
        // Most heads arrive whole: they are scanned in place, without a copy in `held`.
        if self.held.is_empty() {
            self.scan(bytes, bytes::BytesMut::extend_from_slice);
        } else {
            self.held.extend_from_slice(bytes);
            // `scan` appends an incomplete head to `held`, so it must be empty before.
            let held = std::mem::take(&mut self.held);
            self.scan(&held, bytes::BytesMut::extend_from_slice);
        }
    }

    /// Scans `bytes`. Complete heads and bodies go to `expose`, an incomplete head to `held`.
    fn scan(&mut self, bytes: &[u8], expose: impl FnOnce(&mut BytesMut, &[u8])) {
        // The bytes before `at` may go to hyper.
        let mut at = 0;
        let mut refused = None;
        let mut rewritten = Rewritten::default();
        while at < bytes.len() {
            match &mut self.reading {
                Reading::Head => match scan::head(&bytes[at..], &self.bounds) {
                    ScannedHead::Complete(length, framing) => {
                        if let Some(query) = raw_query::find(&bytes[at..at + length])
                            && !rewritten.escape(bytes, at, at + query.start..at + query.end)
                        {
                            refused = Some(Refusal::UriTooLong);
                            break;
                        }
                        if let Some(query) = rewritten.query.take() {
                            // By the number of its head: on a pipeline, several heads are scanned before hyper parses
                            // the first.
                            self.client.raw_queries.borrow_mut().push((self.client.heads.get(), query));
                        }
                        at += length;
                        self.client.heads.set(self.client.heads.get() + 1);
                        match framing {
                            // The next byte begins another head: `reading` stays.
                            Framing::Length(0) => {}
                            Framing::Switch => {
                                self.reading = Reading::Switching;
                                self.had_upgrade = true;
                                self.client.switching.set(true);
                            }
                            Framing::Length(_) | Framing::Chunked => {
                                self.reading = Reading::Body(BodyScanner::new(framing));
                            }
                        }
                    }
                    ScannedHead::Partial => {
                        self.held.extend_from_slice(&bytes[at..]);
                        break;
                    }
                    ScannedHead::Refused(refusal) => {
                        refused = Some(refusal);
                        break;
                    }
                },
                Reading::Body(body) => match body.take(&bytes[at..], &self.bounds) {
                    Ok((taken, progress)) => {
                        at += taken;
                        if progress == BodyProgress::Ended {
                            self.reading = Reading::Head;
                        }
                    }
                    Err(refusal) => {
                        self.refuse_body(refusal);
                        break;
                    }
                },
                Reading::Switching => {
                    self.held.extend_from_slice(&bytes[at..]);
                    break;
                }
                Reading::Refused => break,
            }
        }
        debug_assert!(at <= bytes.len() && rewritten.upto <= at, "only scanned bytes go to hyper");
        // Without a rewritten query, the bytes go to hyper in one copy.
        if rewritten.upto == 0 {
            expose(&mut self.ready, &bytes[..at]);
        } else {
            self.ready.unsplit(rewritten.bytes);
            self.ready.extend_from_slice(&bytes[rewritten.upto..at]);
        }
        // Behind the accepted bytes, so that requests before the refused one get their responses.
        if let Some(refusal) = refused {
            self.refuse(refusal);
        }
    }

    /// Refuses the current body: hyper reads an error.
    fn refuse_body(&mut self, refusal: Refusal) {
        self.client.refused_body.set(Some(refusal));
        self.reading = Reading::Refused;
    }

    /// Refuses the next head: hyper reads the substitute head, and nothing after it.
    fn refuse(&mut self, refusal: Refusal) {
        let number = self.client.heads.get();
        self.client.heads.set(number + 1);
        self.client.refused_head.set(Some((number, refusal)));
        // Refused bytes are never scanned again: a request that is smuggled behind them has no effect.
        self.held.clear();
        self.reading = Reading::Refused;
        self.ready.extend_from_slice(REFUSED_HEAD);
    }

    /// Handles the read deadline: an idle connection ends, an incomplete head or body is refused.
    fn expire(&mut self) -> Filled {
        // Otherwise every sweep would wake the connection again.
        self.client.deadlines.clear_read();
        match &self.reading {
            Reading::Head if self.held.is_empty() => return Filled::End,
            Reading::Head => self.refuse(Refusal::HeaderTimeout),
            Reading::Body(_) => self.refuse_body(Refusal::BodyTooSlow),
            Reading::Switching | Reading::Refused => {}
        }
        Filled::Some
    }

    /// Reads after an upgrade request. If the upstream did not switch, HTTP continues. Until that is known, this holds
    /// the bytes of one read and no more, so that a client cannot fill the memory.
    fn poll_switch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        if !self.client.switching.get() {
            self.reading = Reading::Head;
            let held = std::mem::take(&mut self.held);
            self.scan(&held, bytes::BytesMut::extend_from_slice);
            self.client.between.set(self.is_between());
            return Poll::Ready(Ok(Filled::Some));
        }
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        if self.client.finished.get() {
            return self.poll_end();
        }
        let worker = Rc::clone(&self.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            drop(scratch);
            return self.poll_end();
        }
        // Held, not forwarded: before the 101 these bytes may be a smuggled request (CVE-2026-2833, CVE-2026-73548).
        self.held.extend_from_slice(buffer.filled());
        self.client.between.set(false);
        Poll::Pending
    }

    /// Handles the end of the client's bytes. hyper would close the connection, so it learns of the end only after
    /// every complete request has a response (RFC 9112 §9.6). An end inside a body fails the body.
    fn poll_end(&self) -> Poll<io::Result<Filled>> {
        self.client.finished.set(true);
        if matches!(self.reading, Reading::Body(_)) || self.client.is_answered() {
            return Poll::Ready(Ok(Filled::End));
        }
        // The client may have closed both directions, which only a write can detect: set a deadline.
        let client = &self.client;
        client.deadlines.read_within_once(client.worker.now_ms(), client.listener.spec.limits.idle_timeout);
        Poll::Pending
    }

    /// Returns the connection itself and the bytes after the upgrade request. `taken` are those that hyper has read.
    pub(crate) fn into_socket(self, taken: Bytes) -> (Socket, Bytes) {
        // In the order of arrival: what hyper has read, what it may read, what is held.
        let mut first = BytesMut::from(taken);
        first.unsplit(self.ready);
        first.unsplit(self.held);
        (self.stream, first.freeze())
    }

    /// Shuts the connection down if a request on it asked for an upgrade: then hyper ends without doing so.
    pub(crate) async fn finish(&mut self) {
        if !self.had_upgrade {
            return;
        }
        std::future::poll_fn(|cx| {
            self.client.deadlines.register(cx);
            match self.client.deadlines.take_wakeup() {
                Wakeup::Nothing | Wakeup::Hibernate | Wakeup::Drain => {}
                Wakeup::Expired => self.client.expired.set(true),
                Wakeup::Close | Wakeup::Cut => return Poll::Ready(()),
            }
            // An error does not matter: the connection is closed already.
            Pin::new(&mut *self).poll_shutdown(cx).map(drop)
        })
        .await;
    }

    /// Whether hyper has all bytes that were read, and they end a message.
    fn is_between(&self) -> bool {
        matches!(self.reading, Reading::Head | Reading::Switching) && self.held.is_empty() && self.ready.is_empty()
    }

    /// Hibernates until bytes arrive (true), or the connection has to close (false).
    pub(crate) async fn wake(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.client.deadlines.register(cx);
            match self.client.deadlines.take_wakeup() {
                Wakeup::Nothing | Wakeup::Hibernate => {}
                Wakeup::Drain => self.client.closing.set(true),
                Wakeup::Expired | Wakeup::Close | Wakeup::Cut => return Poll::Ready(false),
            }
            self.stream.poll_read_ready(cx).map(|ready| ready.is_ok())
        })
        .await
    }

    /// Sets the read deadline for the next bytes: of an idle connection, a head or a body.
    fn await_bytes(&self) {
        let limits = &self.client.listener.spec.limits;
        let (deadlines, now) = (&self.client.deadlines, self.client.worker.now_ms());
        match &self.reading {
            // The client waits for its response: an idle deadline would end a request because its upstream is slow.
            Reading::Head if self.client.in_flight.get() > 0 => {}
            Reading::Head if self.held.is_empty() && self.client.heads.get() > 0 => {
                deadlines.read_within_once(now, limits.idle_timeout);
            }
            Reading::Head => deadlines.read_within_once(now, limits.header_timeout),
            Reading::Body(_) => deadlines.read_within_once(now, limits.stall_timeout),
            Reading::Switching | Reading::Refused => {}
        }
    }

    /// Reads from the socket. Complete bytes go straight to `cursor`, or to `ready` if their head began in an earlier
    /// read.
    fn poll_fill(&mut self, cx: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<Filled>> {
        if self.client.expired.take() {
            return Poll::Ready(Ok(self.expire()));
        }
        if self.client.finished.get() {
            return self.poll_end();
        }
        let worker = Rc::clone(&self.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        // Not more than hyper has room for, so that accepted bytes go to its buffer without a second copy. They are
        // read into the scratch first, since hyper must not see refused bytes.
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        if Pin::new(&mut self.stream).poll_read(cx, &mut buffer)?.is_pending() {
            self.await_bytes();
            return Poll::Pending;
        }
        if buffer.filled().is_empty() {
            return self.poll_end();
        }
        if self.held.is_empty() {
            // Only content extends the read deadline: a client must not keep a connection with endless extensions or
            // trailers.
            let framing = matches!(&self.reading, Reading::Body(body) if !body.is_in_data());
            self.scan(buffer.filled(), |_, complete| cursor.put_slice(complete));
            let still = matches!(&self.reading, Reading::Body(body) if !body.is_in_data());
            if !(framing && still) {
                self.client.deadlines.clear_read();
            }
        } else {
            self.take(buffer.filled());
        }
        self.client.between.set(self.is_between());
        Poll::Ready(Ok(Filled::Some))
    }

    /// Writes informational responses, while no output of hyper is half written.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // While hyper's output is half written they are dropped: inside another response they would split it.
        if let Some(more) = self.informational.take()
            && self.client.flushed.get()
        {
            self.informing.unsplit(more);
        }
        while !self.informing.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.informing))?;
            self.informing.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

enum Filled {
    Some,
    End,
}

impl Read for H1Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = cursor.remaining();
        loop {
            if !this.ready.is_empty() {
                let n = this.ready.len().min(cursor.remaining());
                cursor.put_slice(&this.ready[..n]);
                this.ready.advance(n);
                if this.ready.is_empty() {
                    // An idle connection keeps no buffer.
                    this.ready = BytesMut::new();
                    this.client.between.set(this.is_between());
                }
            }
            if cursor.remaining() < room {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.reading, Reading::Refused) {
                return if this.client.refused_body.get().is_some() {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "request body refused")))
                } else {
                    // Nothing will wake this read: hyper responds to the substitute head, whose `connection: close`
                    // ends it.
                    Poll::Pending
                };
            }
            let filled = match this.reading {
                Reading::Switching => this.poll_switch(cx),
                Reading::Head | Reading::Body(_) | Reading::Refused => this.poll_fill(cx, &mut cursor),
            };
            match ready!(filled)? {
                Filled::Some => {}
                Filled::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Write for H1Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // In this order: `poll_early` writes only while `flushed` is still true.
        ready!(this.poll_early(cx))?;
        this.client.flushed.set(false);
        let trailing = this.client.trailing.poll_write(
            &mut this.stream,
            cx,
            &[io::IoSlice::new(bytes)],
            &this.client.worker.scratch,
        );
        let poll = match trailing {
            Some(poll) => poll,
            None => Pin::new(&mut this.stream).poll_write(cx, bytes),
        };
        this.client.record_write(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_early(cx))?;
        this.client.flushed.set(false);
        let poll = match this.client.trailing.poll_write(&mut this.stream, cx, slices, &this.client.worker.scratch) {
            Some(poll) => poll,
            None => write_merged(&mut this.stream, cx, slices, &this.client.worker.scratch),
        };
        this.client.record_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty: its output is in the socket or in the TLS session.
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        ready!(this.client.record_write(poll))?;
        this.client.flushed.set(true);
        ready!(this.poll_early(cx))?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        if this.client.finished.get() && this.client.is_answered() {
            // hyper waits for the next request. Wake it, so that it reads the end that `poll_end` held back.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingered == 0 {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if matches!(this.reading, Reading::Head | Reading::Switching) && this.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // RFC 9112 §9.6: a close with unread bytes sends a reset, which can destroy the response on its way.
            this.client.deadlines.read_within(this.client.worker.now_ms(), LINGER);
            // Not 0: the shutdown is done, also if no byte follows.
            this.lingered = 1;
        }
        let worker = Rc::clone(&this.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        while this.lingered < LINGER_BYTES_MAX && !this.client.expired.take() {
            let mut buffer = ReadBuf::new(&mut scratch[..]);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => this.lingered += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}
