//! The byte stream of an HTTP/2 connection to an upstream, between the socket and hyper. It reads SETTINGS and GOAWAY
//! frames, and changes trailers with pseudo-fields so that h2 rejects them.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::h2_peer::H2PeerState;
use crate::net::{Socket, is_refusal};
use crate::proxy::wire::header_blocks::{END_HEADERS, END_STREAM, HeaderBlocks};
use crate::proxy::worker::Worker;

const FRAME_HEADER_BYTES: usize = 9;
/// Index of the flags in a frame header.
const FLAGS_AT: usize = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// The largest payload that hyper allows the peer (RFC 9113 §6.5.2).
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of incomplete trailers that are withheld from hyper.
const WITHHELD_BYTES_MAX: usize = 64 * 1024;
/// Most streams that are tracked in their body. Concurrent streams are fewer, but a stream that the proxy resets stays
/// in the list: the upstream sends no end for it.
const IN_BODY_MAX: usize = 256;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// RFC 9113 §6.5.1.
const SETTING_BYTES: usize = 6;
/// RFC 8441 §9.1.
const ENABLE_CONNECT_PROTOCOL: u8 = 8;
const MAX_CONCURRENT_STREAMS: u8 = 3;
const ACK: u8 = 1;

/// A connection to an upstream.
pub(crate) struct UpstreamH2Io {
    stream: Socket,
    worker: Rc<Worker>,
    /// Boxed, so that a connection that is being opened does not carry its size.
    frames: Box<Frames>,
    /// Bytes that were read and scanned, but not passed to hyper.
    held: BytesMut,
    /// The number of them that hyper may read.
    ready: usize,
}

/// Scans the frames that an upstream sends.
#[derive(Debug, Default)]
struct Frames {
    peer: Rc<H2PeerState>,
    /// The current setting, inside a SETTINGS frame.
    setting: Option<[u8; SETTING_BYTES]>,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes left of the current frame's payload.
    left: usize,
    kind: u8,
    blocks: HeaderBlocks,
    /// Stream and flags of the current header block.
    block: (u32, u8),
    /// The header block continues in the next frame.
    block_open: bool,
    /// Streams between their final head and their end. A header block on one of them is its trailers.
    in_body: Vec<u32>,
    /// The current block is trailers, which are withheld from hyper until they are complete.
    withheld: bool,
}

impl Frames {
    /// Scans `all`, of which the first `before` bytes were scanned earlier; returns how far hyper may read. Trailers
    /// with a pseudo-field lose their `END_STREAM` flag: without it they are malformed too (RFC 9113 §8.1), and h2
    /// detects that.
    fn scan(&mut self, all: &mut [u8], before: usize) -> usize {
        // Start of the withheld trailers. If they began in an earlier call, they are the first bytes of `all`.
        let (mut at, mut start) = (before, 0);
        while at < all.len() {
            if self.left == 0 {
                self.header[self.header_bytes] = all[at];
                self.header_bytes += 1;
                at += 1;
                if self.header_bytes == FRAME_HEADER_BYTES {
                    self.header_bytes = 0;
                    if !self.withheld {
                        start = at - FRAME_HEADER_BYTES;
                    }
                    self.begin_frame();
                    // A frame without a payload may complete a block.
                    self.end_block(&mut all[start..]);
                }
                continue;
            }
            let taken = self.left.min(all.len() - at);
            if self.setting.is_some() {
                self.read_settings(&all[at..at + taken]);
            } else {
                self.left -= taken;
            }
            if matches!(self.kind, HEADERS | CONTINUATION) {
                self.blocks.payload(&all[at..at + taken], self.left);
                self.end_block(&mut all[start..]);
            }
            at += taken;
            // A request must not rely on a part of the settings.
            if self.left == 0 && self.setting.take().is_some() {
                self.peer.set(&self.peer.settings_complete);
            }
        }
        // An incomplete frame header stays here too: the flags of trailers must not leave before the block is complete.
        let ready = if self.withheld { start } else { at - self.header_bytes };
        debug_assert!(ready <= all.len(), "hyper reads no more than was scanned");
        ready
    }

    /// Reads bytes of a SETTINGS frame; a setting may be split between two reads.
    fn read_settings(&mut self, bytes: &[u8]) {
        let Some(setting) = &mut self.setting else { return };
        for byte in bytes {
            // Counted from the end: the length is a multiple of six, or h2 closes the connection (RFC 9113 §6.5).
            setting[(SETTING_BYTES - self.left % SETTING_BYTES) % SETTING_BYTES] = *byte;
            self.left -= 1;
            match (self.left % SETTING_BYTES, *setting) {
                (0, [0, MAX_CONCURRENT_STREAMS, max @ ..]) => {
                    self.peer.streams_max.set(Some(u32::from_be_bytes(max)));
                }
                // Only 1 enables it, and no later 0 may follow (RFC 8441 §3).
                (0, [0, ENABLE_CONNECT_PROTOCOL, 0, 0, 0, 1]) => self.peer.extended_connect.set(true),
                _ => {}
            }
        }
    }

    /// Begins a frame whose header is complete.
    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        let stream = u32::from_be_bytes(stream) & u32::MAX >> 1;
        match kind {
            HEADERS => {
                self.block_open = flags & END_HEADERS == 0;
                self.block = (stream, flags);
                self.blocks.begin(flags);
                // h2 rejects a larger frame.
                self.withheld = self.in_body.contains(&stream) && self.left <= PAYLOAD_BYTES_MAX;
            }
            CONTINUATION => {
                self.block_open = flags & END_HEADERS == 0;
                self.blocks.begin_continuation();
            }
            // Inside a block, any other frame is a connection error: h2 may see it.
            _ => self.withheld = false,
        }
        match kind {
            DATA if flags & END_STREAM != 0 => self.end_stream(stream),
            RST_STREAM => self.end_stream(stream),
            SETTINGS if flags & ACK != 0 => {}
            SETTINGS if self.left == 0 => self.peer.set(&self.peer.settings_complete),
            SETTINGS => self.setting = Some([0; SETTING_BYTES]),
            // At the frame's header: no new request may choose the connection while the rest arrives.
            GOAWAY => self.peer.set(&self.peer.going_away),
            _ => {}
        }
    }

    /// Ends a block that is complete. `trailers` begins with the frame header of the block.
    fn end_block(&mut self, trailers: &mut [u8]) {
        if self.left > 0 || self.block_open || !matches!(self.kind, HEADERS | CONTINUATION) {
            return;
        }
        // The block is done: a later call for the same frame must not end it again.
        self.kind = u8::MAX;
        let ((stream, flags), seen) = (self.block, self.blocks.pseudo_fields());
        if std::mem::take(&mut self.withheld) && seen.any {
            trailers[FLAGS_AT] &= !END_STREAM;
        }
        if flags & END_STREAM != 0 {
            self.end_stream(stream);
        } else if seen.is_final && !self.in_body.contains(&stream) {
            // Not after a 1xx head: another head follows it, not trailers (RFC 9113 §8.1).
            if self.in_body.len() == IN_BODY_MAX {
                // The oldest one is most likely a stream that the proxy reset.
                self.in_body.remove(0);
            }
            self.in_body.push(stream);
        }
    }

    fn end_stream(&mut self, stream: u32) {
        if let Some(at) = self.in_body.iter().position(|known| *known == stream) {
            self.in_body.remove(at);
        }
    }
}

impl UpstreamH2Io {
    /// Wraps a connection; returns the state that its upstream will announce.
    pub(crate) fn new(stream: Socket, worker: &Rc<Worker>) -> (Self, Rc<H2PeerState>) {
        let peer = Rc::new(H2PeerState::default());
        let frames = Box::new(Frames { peer: Rc::clone(&peer), ..Frames::default() });
        (Self { stream, worker: Rc::clone(worker), frames, held: BytesMut::new(), ready: 0 }, peer)
    }
}

impl UpstreamH2Io {
    /// After a failed write, looks for a TLS alert: it says more than the broken connection.
    fn record_write_error(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) && ready!(self.stream.poll_refused(cx)) {
            self.frames.peer.tls_refused.set(true);
        }
        written
    }
}

impl Drop for UpstreamH2Io {
    fn drop(&mut self) {
        // Wakes a request that waits for SETTINGS.
        self.frames.peer.set(&self.frames.peer.ended);
    }
}

impl Read for UpstreamH2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                let given = this.ready.min(cursor.remaining());
                cursor.put_slice(&this.held[..given]);
                this.held.advance(given);
                this.ready -= given;
                return Poll::Ready(Ok(()));
            }
            let mut scratch = this.worker.scratch.borrow_mut();
            let room = cursor.remaining().min(scratch.len());
            let mut buffer = ReadBuf::new(&mut scratch[..room]);
            if let Err(error) = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                if is_refusal(&error) {
                    this.frames.peer.tls_refused.set(true);
                }
                return Poll::Ready(Err(error));
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.peer.received.set(true);
            if this.held.is_empty() {
                let ready = this.frames.scan(buffer.filled_mut(), 0);
                cursor.put_slice(&buffer.filled()[..ready]);
                this.held.extend_from_slice(&buffer.filled()[ready..]);
                if ready > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let before = this.held.len();
                this.held.extend_from_slice(buffer.filled());
                this.ready = this.frames.scan(&mut this.held, before);
            }
            // hyper's limit on heads counts only what hyper gets: withheld bytes need their own.
            if this.held.len() - this.ready > WITHHELD_BYTES_MAX {
                let error = io::Error::new(io::ErrorKind::InvalidData, "trailers too long");
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl Write for UpstreamH2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.record_write_error(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.record_write_error(cx, written)
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
    fn settings_count_when_complete_and_a_goaway_at_once() {
        let values = [0, 4, 0, 0, 1, 0, 0, 3, 0, 0, 1, 2, 0, 1, 0, 0, 0, 9];
        let (mut settings, mut goaway) = (frame(SETTINGS, 0, 0, &values), frame(GOAWAY, 0, 0, &[0; 8]));
        let mut frames = Frames::default();
        let mut last = settings.split_off(22);
        frames.scan(&mut settings, 0);
        assert!(!frames.peer.settings_complete.get());
        assert_eq!(frames.peer.streams_max(), 258);
        frames.scan(&mut last, 0);
        assert!(frames.peer.settings_complete.get() && !frames.peer.is_going_away());
        frames.scan(&mut goaway[..9], 0);
        assert!(frames.peer.is_going_away());
        let mut frames = Frames::default();
        frames.scan(&mut frame(SETTINGS, ACK, 0, &[]), 0);
        assert!(!frames.peer.settings_complete.get());
        frames.scan(&mut frame(SETTINGS, 0, 0, &[]), 0);
        assert!(frames.peer.settings_complete.get());
    }

    #[test]
    fn trailers_with_pseudo_fields_do_not_end_their_stream() {
        const WHOLE: u8 = END_HEADERS | END_STREAM;
        let (ok, hints, plain): (&[u8], &[u8], &[u8]) = (b"\x88", b"\x08\x03103", b"\x00\x01a\x01b");
        let status: &[u8] = b"\x00\x01a\x01b\x88";
        for (before, trailers, changed) in [
            (frame(HEADERS, END_HEADERS, 1, ok), frame(HEADERS, WHOLE, 1, plain), false),
            (frame(HEADERS, END_HEADERS, 1, ok), frame(HEADERS, WHOLE, 1, status), true),
            (frame(HEADERS, END_HEADERS, 1, ok), frame(HEADERS, WHOLE, 1, hints), true),
            // The head after informational ones is that of the response.
            (frame(HEADERS, END_HEADERS, 1, hints), frame(HEADERS, WHOLE, 1, ok), false),
            (frame(HEADERS, WHOLE, 3, ok), frame(HEADERS, WHOLE, 1, ok), false),
            (
                [frame(HEADERS, END_HEADERS, 1, hints), frame(HEADERS, END_HEADERS, 1, ok)].concat(),
                [frame(HEADERS, END_STREAM, 1, plain), frame(CONTINUATION, END_HEADERS, 1, status)].concat(),
                true,
            ),
        ] {
            let sent = [&before[..], &trailers, &frame(DATA, END_STREAM, 5, b"more")].concat();
            let mut expected = sent.clone();
            if changed {
                expected[before.len() + FLAGS_AT] &= !END_STREAM;
            }
            for step in [1, 4, 5, 13, 1000] {
                let (mut frames, mut held, mut given) = (Frames::default(), Vec::new(), Vec::new());
                for piece in sent.chunks(step) {
                    let before = held.len();
                    held.extend_from_slice(piece);
                    let ready = frames.scan(&mut held, before);
                    given.extend(held.drain(..ready));
                }
                assert_eq!(given, expected, "{trailers:02x?} in steps of {step}");
                assert!(frames.in_body.is_empty(), "{:?}", frames.in_body);
            }
        }
    }

    #[test]
    fn abandoned_streams_leave_the_list_in_the_end() {
        let mut frames = Frames::default();
        for _ in 0..10 {
            for stream in 1..=255 {
                frames.scan(&mut frame(HEADERS, END_HEADERS, stream, b"\x88"), 0);
            }
        }
        assert_eq!(frames.in_body.len(), 255);
        frames.scan(&mut frame(RST_STREAM, 0, 7, &[0; 4]), 0);
        frames.scan(&mut frame(DATA, END_STREAM, 9, b""), 0);
        assert_eq!(frames.in_body.len(), 253);
    }
}
