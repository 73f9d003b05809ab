//! The byte stream of an HTTP/2 connection, with its frames counted: floods of frames that the protocol stack answers
//! one by one (RFC 9113 §10.5) end the connection before they cost anything.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::socket::Socket;
use crate::telemetry::Refusal;

/// The client's connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// Heads that are read in one turn. The requests of a turn are handled before more are read, so that heads which unfold
/// to much more than their bytes (RFC 7541 §7.3) do not lie in memory all at once.
const HEADS_A_TURN: usize = 8;
/// The window in which frames are counted.
const WINDOW_MS: u64 = 1000;

/// An HTTP/2 connection.
pub(super) struct H2Io {
    stream: Socket,
    client: Rc<Client>,
    frames: Frames,
    /// Read, and not yet given to hyper.
    held: BytesMut,
    /// What is held waits for the next turn.
    paused: bool,
}

impl H2Io {
    /// Watches `stream`, of which `first` was read already.
    pub(super) fn new(stream: Socket, client: Rc<Client>, first: &[u8]) -> Self {
        let frames = Frames::new(&client);
        Self { stream, client, frames, held: BytesMut::from(first), paused: false }
    }

    /// How many of the bytes that were read may be given to hyper in this turn.
    fn count(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let counted = self.frames.count(bytes, self.client.worker.now_ms());
        if let Ok(counted) = counted {
            self.paused = counted < bytes.len();
        }
        if std::mem::take(&mut self.frames.between) {
            self.client.watched.clear_head();
        }
        let resets = std::mem::take(&mut self.frames.resets_new);
        let admitted = if resets == 0 { Ok(()) } else { self.client.resets(resets) };
        admitted.and(counted).map_err(|refusal| {
            self.client.worker.meter().refuse(refusal);
            io::Error::new(io::ErrorKind::InvalidData, refusal.name())
        })
    }
}

impl Read for H2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.client.turn_begins.take() {
            this.frames.heads = 0;
            this.paused = false;
        }
        if this.paused {
            // The requests that were read are spawned; this connection comes after them.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !this.held.is_empty() {
            let held = std::mem::take(&mut this.held);
            let counted = this.count(&held[..held.len().min(cursor.remaining())])?;
            cursor.put_slice(&held[..counted]);
            this.held = held;
            this.held.advance(counted);
            return Poll::Ready(Ok(()));
        }
        let worker = Rc::clone(&this.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        if Pin::new(&mut this.stream).poll_read(cx, &mut buffer)?.is_pending() {
            if this.frames.is_in_head() {
                let patience = this.client.listener.spec.limits.header_timeout;
                this.client.watched.head_within_once(worker.now_ms(), patience);
                return Poll::Pending;
            }
            this.client.watched.clear_head();
            if this.client.in_flight.get() == 0 {
                let idle = this.client.listener.spec.limits.idle_timeout;
                this.client.watched.read_within_once(worker.now_ms(), idle);
            }
            return Poll::Pending;
        }
        let counted = this.count(buffer.filled())?;
        cursor.put_slice(&buffer.filled()[..counted]);
        this.held.extend_from_slice(&buffer.filled()[counted..]);
        Poll::Ready(Ok(()))
    }
}

impl Drop for H2Io {
    fn drop(&mut self) {
        self.client.suspect.set(self.frames.suspect());
    }
}

impl Write for H2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.client.wrote(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.client.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        this.client.wrote(poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Counts frames by kind, in windows of a second.
#[derive(Debug)]
struct Frames {
    /// Bytes of the preface or of the frame under way that are still to come.
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    window: u64,
    /// The kind of the frame under way.
    kind: u8,
    /// A block of fields goes on in the next frame.
    block_open: bool,
    /// No head was under way at some place of what was counted last.
    between: bool,
    /// HEADERS in this turn.
    heads: usize,
    resets: Quota,
    /// Resets in what was counted last.
    resets_new: u32,
    pings: Quota,
    settings: Quota,
    continuations: Quota,
    /// Empty DATA, PRIORITY and unknown frames: nothing that anybody needs many of.
    idle: Quota,
}

#[derive(Debug)]
struct Quota {
    used: u32,
    max: u32,
    refusal: Refusal,
}

impl Quota {
    const fn new(max: u32, refusal: Refusal) -> Self {
        Self { used: 0, max, refusal }
    }

    fn spend(&mut self) -> Result<(), Refusal> {
        self.used += 1;
        if self.used > self.max { Err(self.refusal) } else { Ok(()) }
    }
}

impl Frames {
    fn new(client: &Client) -> Self {
        let limits = &client.listener.spec.limits;
        Self {
            skip: PREFACE.len(),
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            window: 0,
            kind: 0,
            block_open: false,
            between: false,
            heads: 0,
            resets: Quota::new(limits.h2_resets, Refusal::H2Resets),
            resets_new: 0,
            pings: Quota::new(limits.h2_pings, Refusal::H2Pings),
            settings: Quota::new(limits.h2_settings, Refusal::H2Settings),
            continuations: Quota::new(limits.h2_continuations, Refusal::H2Continuations),
            idle: Quota::new(limits.h2_pings.saturating_mul(4).max(200), Refusal::H2Protocol),
        }
    }

    /// What most frames came of lately, where that is more than a fifth of what may come.
    fn suspect(&self) -> Option<Refusal> {
        let quotas = [&self.resets, &self.pings, &self.settings, &self.continuations, &self.idle];
        let part = |quota: &&Quota| f64::from(quota.used) / f64::from(quota.max);
        let most = quotas.into_iter().max_by(|a, b| part(a).total_cmp(&part(b)))?;
        (part(&most) > 0.2).then_some(most.refusal)
    }

    /// Whether a frame's header, or a block of fields, has begun and not ended.
    fn is_in_head(&self) -> bool {
        self.header_bytes > 0 || self.block_open || (self.skip > 0 && matches!(self.kind, 1 | 9))
    }

    /// Counts the frames in `bytes` as far as they belong to this turn, and says how far that is.
    fn count(&mut self, all: &[u8], now_ms: u64) -> Result<usize, Refusal> {
        let mut bytes = all;
        if now_ms / WINDOW_MS != self.window {
            self.window = now_ms / WINDOW_MS;
            for quota in [&mut self.resets, &mut self.pings, &mut self.settings, &mut self.idle] {
                quota.used = 0;
            }
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            self.between |= !self.is_in_head();
            let taken = (FRAME_HEADER_BYTES - self.header_bytes).min(bytes.len());
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.frame(kind, flags)?;
                if self.heads > HEADS_A_TURN {
                    // Its header alone tells hyper nothing; its payload is of the next turn.
                    break;
                }
            }
        }
        Ok(all.len() - bytes.len())
    }

    /// Frame types of RFC 9113 §6.
    fn frame(&mut self, kind: u8, flags: u8) -> Result<(), Refusal> {
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        self.kind = kind;
        if matches!(kind, 1 | 9) {
            self.block_open = flags & END_HEADERS == 0;
        }
        match kind {
            0 if self.skip == 0 && flags & END_STREAM == 0 => self.idle.spend(),
            0 | 8 => Ok(()),
            1 => {
                self.heads += 1;
                self.continuations.used = 0;
                Ok(())
            }
            3 => {
                self.resets_new += 1;
                self.resets.spend()
            }
            4 => self.settings.spend(),
            6 => self.pings.spend(),
            9 => self.continuations.spend(),
            _ => self.idle.spend(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Frames {
        Frames {
            skip: 0,
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            window: 0,
            kind: 0,
            block_open: false,
            between: false,
            heads: 0,
            resets: Quota::new(2, Refusal::H2Resets),
            resets_new: 0,
            pings: Quota::new(2, Refusal::H2Pings),
            settings: Quota::new(2, Refusal::H2Settings),
            continuations: Quota::new(2, Refusal::H2Continuations),
            idle: Quota::new(2, Refusal::H2Protocol),
        }
    }

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload).unwrap(), kind, 0, 0, 0, 0, 1];
        bytes.extend(std::iter::repeat_n(0xff, payload));
        bytes
    }

    fn check(kind: u8, payload: usize, refusal: Refusal) {
        let three = frame(kind, payload).repeat(3);
        assert_eq!(frames().count(&three, 0), Err(refusal));
        let mut piecewise = frames();
        assert_eq!(three.iter().try_for_each(|byte| piecewise.count(&[*byte], 0).map(drop)), Err(refusal));
        let two = frame(kind, payload).repeat(2);
        assert_eq!(frames().count(&two, 0), Ok(two.len()));
    }

    #[test]
    fn floods_are_refused() {
        check(3, 4, Refusal::H2Resets);
        check(6, 8, Refusal::H2Pings);
        check(4, 6, Refusal::H2Settings);
        check(9, 20, Refusal::H2Continuations);
        check(0, 0, Refusal::H2Protocol);
        check(2, 5, Refusal::H2Protocol);
    }

    #[test]
    fn ordinary_frames_are_not_counted_and_windows_pass() {
        let mut frames = frames();
        for _ in 0..100 {
            let some = [frame(1, 30), frame(0, 200), frame(8, 4), frame(9, 3)].concat();
            assert_eq!(frames.count(&some, 0), Ok(some.len()));
            frames.heads = 0;
        }
        for window in 0..10 {
            assert_eq!(frames.count(&frame(6, 8).repeat(2), window * WINDOW_MS), Ok(34));
        }
    }

    #[test]
    fn a_turn_has_so_many_heads() {
        let heads = frame(1, 30).repeat(2 * HEADS_A_TURN + 3);
        let turn = HEADS_A_TURN * 39;
        for step in [1, 7, 39, 1000] {
            let (mut frames, mut at, mut turns) = (frames(), 0, Vec::new());
            while at < heads.len() {
                let some = &heads[at..(at + step).min(heads.len())];
                let counted = frames.count(some, 0).unwrap();
                at += counted;
                if counted < some.len() || frames.heads > HEADS_A_TURN {
                    turns.push(at);
                    frames.heads = 0;
                }
            }
            assert_eq!(turns.first(), Some(&(turn + FRAME_HEADER_BYTES)), "in steps of {step}");
            assert_eq!(turns.len(), 2, "in steps of {step}");
        }
    }
}
