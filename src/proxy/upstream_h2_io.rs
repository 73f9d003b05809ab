//! The byte stream of an HTTP/2 connection to an upstream. What the other side says of the connection as a whole, its
//! settings and its leaving, is noticed on the way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use super::upstream_tls::{is_refusal, poll_refused};
use super::worker::Worker;

const FRAME_HEADER_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// RFC 9113 §6.5.1.
const SETTING_BYTES: usize = 6;
/// RFC 8441 §9.1.
const ENABLE_CONNECT_PROTOCOL: u8 = 8;
const MAX_CONCURRENT_STREAMS: u8 = 3;
const ACK: u8 = 1;

/// A connection to an upstream.
pub(super) struct UpstreamH2Io {
    stream: Socket,
    worker: Rc<Worker>,
    frames: Frames,
}

/// What the other side has said of the connection.
#[derive(Debug, Default)]
pub(super) struct Said {
    streams_max: Cell<Option<u32>>,
    connects: Cell<bool>,
    settled: Cell<bool>,
    leaving: Cell<bool>,
    ended: Cell<bool>,
    anything: Cell<bool>,
    refused: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Said {
    /// How many streams there may be at a time.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max.get().and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
    }

    /// Whether a stream may be asked to become something else than HTTP (RFC 8441 §3).
    pub(super) fn connects(&self) -> bool {
        self.connects.get()
    }

    /// Whether no more streams are taken.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Waits until the other side has told its settings, how many streams it takes among them: says whether it has,
    /// before the connection ended. Cancel safe.
    pub(super) async fn settled(&self) -> bool {
        poll_fn(|cx| {
            if self.settled.get() || self.ended.get() {
                return Poll::Ready(self.settled.get());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether anything was said at all.
    pub(super) fn is_anything(&self) -> bool {
        self.anything.get()
    }

    /// Whether it refused us, under TLS.
    pub(super) fn is_refusal(&self) -> bool {
        self.refused.get()
    }

    fn is_now(&self, fact: &Cell<bool>) {
        fact.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// Follows the frames that an upstream sends.
#[derive(Debug, Default)]
struct Frames {
    said: Rc<Said>,
    /// The setting that is being read, when the frame under way has the other side's settings.
    setting: Option<[u8; SETTING_BYTES]>,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the frame under way that are still to come.
    left: usize,
}

impl Frames {
    /// Goes through what was read.
    fn follow(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                self.header[self.header_bytes] = bytes[at];
                self.header_bytes += 1;
                at += 1;
                if self.header_bytes == FRAME_HEADER_BYTES {
                    self.header_bytes = 0;
                    self.frame();
                }
                continue;
            }
            let taken = self.left.min(bytes.len() - at);
            if let Some(setting) = &mut self.setting {
                for byte in &bytes[at..at + taken] {
                    setting[(SETTING_BYTES - self.left % SETTING_BYTES) % SETTING_BYTES] = *byte;
                    self.left -= 1;
                    match (self.left % SETTING_BYTES, *setting) {
                        (0, [0, MAX_CONCURRENT_STREAMS, max @ ..]) => {
                            self.said.streams_max.set(Some(u32::from_be_bytes(max)));
                        }
                        (0, [0, ENABLE_CONNECT_PROTOCOL, 0, 0, 0, 1]) => self.said.connects.set(true),
                        _ => {}
                    }
                }
            } else {
                self.left -= taken;
            }
            at += taken;
            if self.left == 0 && self.setting.take().is_some() {
                self.said.is_now(&self.said.settled);
            }
        }
    }

    /// A frame's header is whole.
    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            SETTINGS if flags & ACK != 0 => {}
            SETTINGS if self.left == 0 => self.said.is_now(&self.said.settled),
            SETTINGS => self.setting = Some([0; SETTING_BYTES]),
            GOAWAY => self.said.is_now(&self.said.leaving),
            _ => {}
        }
    }
}

impl UpstreamH2Io {
    /// Wraps a connection, and gives what the other side will say of it.
    pub(super) fn new(stream: Socket, worker: &Rc<Worker>) -> (Self, Rc<Said>) {
        let said = Rc::new(Said::default());
        let frames = Frames { said: Rc::clone(&said), ..Frames::default() };
        (Self { stream, worker: Rc::clone(worker), frames }, said)
    }
}

impl UpstreamH2Io {
    /// What was written, or why not.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) && ready!(poll_refused(&mut self.stream, cx)) {
            self.frames.said.refused.set(true);
        }
        written
    }
}

impl Drop for UpstreamH2Io {
    fn drop(&mut self) {
        self.frames.said.is_now(&self.frames.said.ended);
    }
}

impl Read for UpstreamH2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut scratch = this.worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        if let Err(error) = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
            if is_refusal(&error) {
                this.frames.said.refused.set(true);
            }
            return Poll::Ready(Err(error));
        }
        if !buffer.filled().is_empty() {
            this.frames.said.anything.set(true);
        }
        this.frames.follow(buffer.filled());
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamH2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn settings_count_when_they_are_whole_and_a_goaway_at_once() {
        let values = [0, 4, 0, 0, 1, 0, 0, 3, 0, 0, 1, 2, 0, 1, 0, 0, 0, 9];
        let (mut settings, goaway) = (frame(SETTINGS, 0, 0, &values), frame(GOAWAY, 0, 0, &[0; 8]));
        let mut frames = Frames::default();
        let last = settings.split_off(22);
        frames.follow(&settings);
        assert!(!frames.said.settled.get());
        assert_eq!(frames.said.streams_max(), 258);
        frames.follow(&last);
        assert!(frames.said.settled.get() && !frames.said.is_leaving());
        frames.follow(&goaway[..9]);
        assert!(frames.said.is_leaving());
        let mut frames = Frames::default();
        frames.follow(&frame(SETTINGS, ACK, 0, &[]));
        assert!(!frames.said.settled.get());
        frames.follow(&frame(SETTINGS, 0, 0, &[]));
        assert!(frames.said.settled.get());
    }
}
