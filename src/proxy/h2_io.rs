//! The byte stream of an HTTP/2 connection, with its frames counted: floods of frames that the protocol stack answers
//! one by one (RFC 9113 §10.5) end the connection before they cost anything.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::Client;
use crate::telemetry::Refusal;

/// The client's connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// The window in which frames are counted.
const WINDOW_MS: u64 = 1000;

/// An HTTP/2 connection.
pub(super) struct H2Io {
    stream: TcpStream,
    client: Rc<Client>,
    frames: Frames,
    /// Read before this stream was ours, not yet given to hyper.
    first: Vec<u8>,
}

impl H2Io {
    /// Watches `stream`, of which `first` was read already.
    pub(super) fn new(stream: TcpStream, client: Rc<Client>, first: &[u8]) -> Self {
        let frames = Frames::new(&client);
        Self { stream, client, frames, first: first.to_vec() }
    }

    /// Counts the frames in what was read.
    fn count(&mut self, bytes: &[u8], now_ms: u64) -> io::Result<()> {
        self.frames.count(bytes, now_ms).map_err(|refusal| {
            self.client.worker.meter().refuse(refusal);
            io::Error::new(io::ErrorKind::InvalidData, refusal.name())
        })
    }
}

impl Read for H2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let worker = Rc::clone(&this.client.worker);
        if !this.first.is_empty() {
            let n = this.first.len().min(cursor.remaining());
            let first: Vec<u8> = this.first.drain(..n).collect();
            this.count(&first, worker.now_ms())?;
            cursor.put_slice(&first);
            return Poll::Ready(Ok(()));
        }
        let mut scratch = worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        if Pin::new(&mut this.stream).poll_read(cx, &mut buffer)?.is_pending() {
            if this.client.in_flight.get() == 0 {
                let idle = this.client.listener.spec.limits.idle_timeout;
                this.client.watched.read_within_once(worker.now_ms(), idle);
            }
            return Poll::Pending;
        }
        this.count(buffer.filled(), worker.now_ms())?;
        cursor.put_slice(buffer.filled());
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

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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
    resets: Quota,
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
            resets: Quota::new(limits.h2_resets, Refusal::H2Resets),
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

    fn count(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Refusal> {
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
            let taken = (FRAME_HEADER_BYTES - self.header_bytes).min(bytes.len());
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.frame(kind, flags)?;
            }
        }
        Ok(())
    }

    /// Frame types of RFC 9113 §6.
    fn frame(&mut self, kind: u8, flags: u8) -> Result<(), Refusal> {
        const END_STREAM: u8 = 1;
        match kind {
            0 if self.skip == 0 && flags & END_STREAM == 0 => self.idle.spend(),
            0 | 8 => Ok(()),
            1 => {
                self.continuations.used = 0;
                Ok(())
            }
            3 => self.resets.spend(),
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
            resets: Quota::new(2, Refusal::H2Resets),
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
        assert_eq!(three.iter().try_for_each(|byte| piecewise.count(&[*byte], 0)), Err(refusal));
        assert_eq!(frames().count(&frame(kind, payload).repeat(2), 0), Ok(()));
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
            assert_eq!(frames.count(&[frame(1, 30), frame(0, 200), frame(8, 4), frame(9, 3)].concat(), 0), Ok(()));
        }
        for window in 0..10 {
            assert_eq!(frames.count(&frame(6, 8).repeat(2), window * WINDOW_MS), Ok(()));
        }
    }
}
