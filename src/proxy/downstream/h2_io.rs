//! The byte stream of an HTTP/2 connection, between the socket and h2. It counts frames, and closes the connection
//! at a flood of frames that h2 would process one by one (RFC 9113 §10.5).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Client;
use super::h2::head_gate::HeadGate;
use crate::net::Socket;
use crate::proxy::wire::header_blocks::{END_HEADERS, END_STREAM, HeaderBlocks};
use crate::telemetry::Refusal;

/// The client's connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// Index of the flags in a frame header.
const FLAGS_AT: usize = 4;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// The largest payload that h2 allows the peer (RFC 9113 §6.5.2).
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of incomplete trailers that are withheld from h2.
const WITHHELD_BYTES_MAX: usize = 64 * 1024;
/// The window in which frames are counted.
const WINDOW_MS: u64 = 1000;

/// An HTTP/2 connection.
pub(crate) struct H2Io {
    stream: Socket,
    client: Rc<Client>,
    /// Lets h2 read block by block.
    gate: Rc<HeadGate>,
    frames: Frames,
    /// Bytes that were read, but not passed to h2.
    held: BytesMut,
    /// The number of them that were counted.
    counted: usize,
    /// The number of them that h2 may read.
    ready: usize,
}

impl H2Io {
    /// Wraps `stream`, of which `first` was read already.
    pub(super) fn new(stream: Socket, client: Rc<Client>, gate: Rc<HeadGate>, first: &[u8]) -> Self {
        let frames = Frames::new(&client);
        let held = BytesMut::from(first);
        Self { stream, client, gate, frames, held, counted: 0, ready: 0 }
    }

    /// Counts the frames in `bytes`, of which the first `before` bytes were counted earlier.
    fn count(&mut self, bytes: &mut [u8], before: usize) -> io::Result<Counted> {
        let counted = self.frames.count(bytes, before, self.client.worker.now_ms());
        if std::mem::take(&mut self.frames.between) {
            self.client.deadlines.clear_head();
        }
        // Also if the frames are refused: resets count for the client's address over all its connections.
        let resets = std::mem::take(&mut self.frames.resets_new);
        let admitted = if resets == 0 { Ok(()) } else { self.client.count_resets(resets) };
        admitted.and(counted).map_err(|refusal| {
            self.client.worker.meter().refuse(refusal);
            io::Error::new(io::ErrorKind::InvalidData, refusal.name())
        })
    }

    fn count_held(&mut self) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let counted = self.count(&mut held, self.counted);
        self.held = held;
        counted.map(|Counted { counted, ready }| (self.counted, self.ready) = (counted, ready))
    }

    /// Passes held bytes to h2.
    fn give_ready(&mut self, room: &mut ReadBuf<'_>) {
        debug_assert!(self.ready <= self.counted && self.counted <= self.held.len(), "h2 reads only counted bytes");
        let given = self.ready.min(room.remaining());
        room.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.ready -= given;
        self.counted -= given;
        self.note_given(given);
    }

    /// Notes that h2 got bytes. The gate closes when the last byte of a header block is among them.
    fn note_given(&mut self, bytes: usize) {
        self.gate.count_read(bytes);
        if self.ready == 0 && self.frames.block == Block::Ended {
            self.frames.block = Block::Outside;
            self.gate.close_behind_block();
        }
    }
}

impl AsyncRead for H2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.gate.is_closed() {
                // The connection's task opens the gate, in this turn or in the next.
                return Poll::Pending;
            }
            if this.ready > 0 {
                this.give_ready(room);
                return Poll::Ready(Ok(()));
            }
            if this.counted < this.held.len() {
                this.count_held()?;
                continue;
            }
            let worker = Rc::clone(&this.client.worker);
            let mut scratch = worker.scratch.borrow_mut();
            let length = room.remaining().min(scratch.len());
            let mut buffer = ReadBuf::new(&mut scratch[..length]);
            if Pin::new(&mut this.stream).poll_read(cx, &mut buffer)?.is_pending() {
                this.await_bytes();
                return Poll::Pending;
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                this.held.extend_from_slice(buffer.filled());
                continue;
            }
            // Bytes go straight to h2, except incomplete frame headers and trailers, and those behind a header block.
            let Counted { counted, ready } = this.count(buffer.filled_mut(), 0)?;
            room.put_slice(&buffer.filled()[..ready]);
            this.held.extend_from_slice(&buffer.filled()[ready..]);
            this.counted = counted - ready;
            if ready > 0 {
                this.note_given(ready);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl H2Io {
    /// Sets the read deadline for the next bytes: of a head or of an idle connection.
    fn await_bytes(&self) {
        let (limits, now) = (&self.client.listener.spec.limits, self.client.worker.now_ms());
        if self.frames.is_in_head() {
            // Set once: a head that arrives byte by byte does not extend its time.
            return self.client.deadlines.head_within_once(now, limits.header_timeout);
        }
        self.client.deadlines.clear_head();
        if self.client.in_flight.get() == 0 {
            self.client.deadlines.read_within_once(now, limits.idle_timeout);
        }
    }
}

impl Drop for H2Io {
    fn drop(&mut self) {
        // Read after the connection has ended: h2's error does not say which limit was exceeded.
        self.client.suspect.set(self.frames.suspect());
    }
}

impl AsyncWrite for H2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.client.record_write(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.client.record_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        this.client.record_write(poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The result of counting frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    /// Bytes that were counted.
    counted: usize,
    /// Bytes that h2 may read.
    ready: usize,
}

/// Counts frames by type, in windows of a second.
#[derive(Debug)]
struct Frames {
    /// Bytes left of the preface or of the current frame's payload.
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    window: u64,
    /// The type of the current frame.
    kind: u8,
    block: Block,
    blocks: HeaderBlocks,
    /// The newest stream. A header block on it or on an older one is trailers.
    newest: u32,
    /// The current block is trailers, which are withheld from h2 until they are complete.
    withheld: bool,
    /// The last count passed a point outside of frame headers and header blocks.
    between: bool,
    resets: Quota,
    /// `RST_STREAM` frames in the last count.
    resets_new: u32,
    pings: Quota,
    settings: Quota,
    continuations: Quota,
    /// Empty DATA, PRIORITY and unknown frames: a client has no use for many of them.
    idle: Quota,
}

/// Where the bytes are in a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Outside,
    /// In a frame that another one continues.
    Open,
    /// In the last frame.
    Last,
    /// Behind the last frame, where a count ends.
    Ended,
}

impl Block {
    /// In a frame with these flags.
    const fn of(flags: u8) -> Self {
        if flags & END_HEADERS == 0 { Self::Open } else { Self::Last }
    }
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
            // The preface is skipped like a payload.
            skip: PREFACE.len(),
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            window: 0,
            kind: 0,
            block: Block::Outside,
            blocks: HeaderBlocks::default(),
            newest: 0,
            withheld: false,
            between: false,
            resets: Quota::new(limits.h2_resets, Refusal::H2Resets),
            resets_new: 0,
            pings: Quota::new(limits.h2_pings, Refusal::H2Pings),
            settings: Quota::new(limits.h2_settings, Refusal::H2Settings),
            continuations: Quota::new(limits.h2_continuations, Refusal::H2Continuations),
            idle: Quota::new(limits.h2_pings.saturating_mul(4).max(200), Refusal::H2Protocol),
        }
    }

    /// The limit that is used most, if more than a fifth of it is used.
    fn suspect(&self) -> Option<Refusal> {
        let quotas = [&self.resets, &self.pings, &self.settings, &self.continuations, &self.idle];
        let part = |quota: &&Quota| f64::from(quota.used) / f64::from(quota.max);
        let most = quotas.into_iter().max_by(|a, b| part(a).total_cmp(&part(b)))?;
        (part(&most) > 0.2).then_some(most.refusal)
    }

    /// Whether a frame header or a header block is incomplete.
    fn is_in_head(&self) -> bool {
        self.header_bytes > 0
            || self.block == Block::Open
            || (self.skip > 0 && matches!(self.kind, HEADERS | CONTINUATION))
    }

    /// Counts the frames in `all` up to the end of a header block; the first `before` bytes were counted earlier. Trailers
    /// with a pseudo-field lose their `END_STREAM` flag: without it they are malformed too (RFC 9113 §8.1), and h2
    /// detects that.
    fn count(&mut self, all: &mut [u8], before: usize, now_ms: u64) -> Result<Counted, Refusal> {
        if now_ms / WINDOW_MS != self.window {
            self.window = now_ms / WINDOW_MS;
            // Not the continuations: their limit is for one block, however slowly it arrives (RUSTSEC-2024-0332).
            for quota in [&mut self.resets, &mut self.pings, &mut self.settings, &mut self.idle] {
                quota.used = 0;
            }
        }
        if self.block == Block::Ended {
            self.block = Block::Outside;
        }
        // Start of the withheld trailers. If they began in an earlier call, they are the first bytes of `all`.
        let (mut at, mut start) = (before, 0);
        while at < all.len() {
            let skipped = self.skip.min(all.len() - at);
            self.skip -= skipped;
            if matches!(self.kind, HEADERS | CONTINUATION) {
                self.blocks.payload(&all[at..at + skipped], self.skip);
                self.end_block(&mut all[start..]);
            }
            at += skipped;
            self.between |= !self.is_in_head();
            if self.block == Block::Ended {
                break;
            }
            let taken = (FRAME_HEADER_BYTES - self.header_bytes).min(all.len() - at);
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&all[at..at + taken]);
            self.header_bytes += taken;
            at += taken;
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                if !self.withheld {
                    start = at - FRAME_HEADER_BYTES;
                }
                self.begin_frame()?;
                // A block may end with an empty frame: the next bytes may come much later.
                if self.skip == 0 {
                    self.end_block(&mut all[start..]);
                }
                if self.block == Block::Ended {
                    self.between = true;
                    break;
                }
            }
        }
        // An incomplete frame header stays here too: the flags of trailers must not leave before the block is complete.
        let ready = if self.withheld { start } else { at - self.header_bytes };
        if at - ready > WITHHELD_BYTES_MAX {
            return Err(Refusal::H2Continuations);
        }
        Ok(Counted { counted: at, ready })
    }

    /// Ends a block that is complete. `trailers` begins with the frame header of the block.
    fn end_block(&mut self, trailers: &mut [u8]) {
        if self.skip > 0 || self.block != Block::Last {
            return;
        }
        self.block = Block::Ended;
        if std::mem::take(&mut self.withheld) && self.blocks.pseudo_fields().any {
            trailers[FLAGS_AT] &= !END_STREAM;
        }
    }

    /// Begins a frame whose header is complete, and counts it by its type (RFC 9113 §6).
    fn begin_frame(&mut self) -> Result<(), Refusal> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        match kind {
            HEADERS => {
                self.block = Block::of(flags);
                self.blocks.begin(flags);
                let stream = u32::from_be_bytes(stream) & u32::MAX >> 1;
                // h2 rejects a larger frame.
                self.withheld = stream <= self.newest && self.skip <= PAYLOAD_BYTES_MAX;
                self.newest = self.newest.max(stream);
            }
            CONTINUATION => {
                self.block = Block::of(flags);
                self.blocks.begin_continuation();
            }
            // Inside a block, any other frame is a connection error: h2 may see it.
            _ => self.withheld = false,
        }
        match kind {
            // Empty DATA costs CPU and no flow-control window (CVE-2019-9518, RUSTSEC-2026-0258).
            0 if self.skip == 0 && flags & END_STREAM == 0 => self.idle.spend(),
            // Windows bound other DATA. A client that reads sends many WINDOW_UPDATE frames.
            0 | 8 => Ok(()),
            HEADERS => {
                self.continuations.used = 0;
                Ok(())
            }
            // Rapid reset: each one costs a request (CVE-2023-44487).
            3 => {
                self.resets_new += 1;
                self.resets.spend()
            }
            // SETTINGS and PING cost an acknowledgement each (CVE-2019-9515, CVE-2019-9512).
            4 => self.settings.spend(),
            6 => self.pings.spend(),
            CONTINUATION => self.continuations.spend(),
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
            block: Block::Outside,
            blocks: HeaderBlocks::default(),
            newest: 0,
            withheld: false,
            between: false,
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
        let mut three = frame(kind, payload).repeat(3);
        assert_eq!(frames().count(&mut three, 0, 0), Err(refusal));
        let mut piecewise = frames();
        let in_pieces = |upto: usize| piecewise.count(&mut three[..upto], upto - 1, 0).map(drop);
        assert_eq!((1..=3 * (9 + payload)).try_for_each(in_pieces), Err(refusal));
        let mut two = frame(kind, payload).repeat(2);
        assert_eq!(frames().count(&mut two, 0, 0).map(|counted| counted.counted), Ok(two.len()));
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
    fn ordinary_frames_are_free_and_windows_reset() {
        let mut frames = frames();
        for _ in 0..100 {
            let mut some = [frame(1, 30), frame(0, 200), frame(8, 4), frame(9, 3)].concat();
            assert_eq!(frames.count(&mut some, 0, 0).map(|counted| counted.counted), Ok(some.len()));
        }
        for window in 0..10 {
            let counted = frames.count(&mut frame(6, 8).repeat(2), 0, window * WINDOW_MS);
            assert_eq!(counted, Ok(Counted { counted: 34, ready: 34 }));
        }
    }

    #[test]
    fn a_count_ends_behind_each_block() {
        let (head, open) = (&b"\x82\x86\x84"[..], END_STREAM);
        let pieces = [
            blocks(&[(HEADERS, END_HEADERS, 1, head)]),
            [frame(8, 4), blocks(&[(HEADERS, open, 3, head), (CONTINUATION, END_HEADERS, 3, head)])].concat(),
            [frame(0, 20), blocks(&[(HEADERS, open, 5, head), (CONTINUATION, END_HEADERS, 5, b"")])].concat(),
            // Trailers.
            blocks(&[(HEADERS, END_HEADERS | END_STREAM, 1, b"")]),
            blocks(&[(HEADERS, END_HEADERS, 7, head)]),
        ];
        let all = pieces.concat();
        for step in [1, 7, 22, 1000] {
            let (mut frames, mut ends, mut seen) = (frames(), Vec::new(), 0);
            let mut bytes = all.clone();
            while seen < all.len() {
                let end = (seen + step).min(all.len());
                seen = frames.count(&mut bytes[..end], seen, 0).unwrap().counted;
                assert!(frames.block == Block::Ended || seen == end, "in steps of {step}");
                if frames.block == Block::Ended {
                    ends.push(seen);
                }
            }
            let mut at = 0;
            let expected = pieces.iter().map(|piece| {
                at += piece.len();
                at
            });
            assert_eq!(ends, expected.collect::<Vec<_>>(), "in steps of {step}");
        }
    }

    /// Frames of HEADERS and CONTINUATION: kind, flags, stream, block.
    fn blocks(frames: &[(u8, u8, u8, &[u8])]) -> Vec<u8> {
        let head = |(kind, flags, stream, block): &(u8, u8, u8, &[u8])| {
            [&[0, 0, u8::try_from(block.len()).unwrap(), *kind, *flags, 0, 0, 0, *stream], *block].concat()
        };
        frames.iter().flat_map(head).collect()
    }

    #[test]
    fn trailers_with_pseudo_fields_do_not_end_their_stream() {
        const WHOLE: u8 = END_HEADERS | END_STREAM;
        let (first, plain, path): (&[u8], &[u8], &[u8]) = (b"\x82\x86\x84", b"\x00\x01a\x01b", b"\x00\x01a\x01b\x84");
        for (trailers, changed) in [
            (&[(HEADERS, WHOLE, 1, plain)][..], false),
            (&[(HEADERS, WHOLE, 1, path)], true),
            (&[(HEADERS, END_STREAM, 1, plain), (CONTINUATION, END_HEADERS, 1, plain)], false),
            (&[(HEADERS, END_STREAM, 1, plain), (CONTINUATION, 0, 1, path), (CONTINUATION, END_HEADERS, 1, b"")], true),
            (&[(HEADERS, WHOLE, 1, b"")], false),
        ] {
            let begin = blocks(&[(HEADERS, END_HEADERS, 1, first), (0, 0, 1, b"data"), (HEADERS, WHOLE, 3, first)]);
            let sent = [begin.clone(), blocks(trailers), blocks(&[(0, END_STREAM, 3, b"more")])].concat();
            let mut expected = sent.clone();
            if changed {
                expected[begin.len() + FLAGS_AT] &= !END_STREAM;
            }
            for step in [1, 4, 5, 13, 1000] {
                let (mut frames, mut kept, mut given) = (frames(), Vec::new(), Vec::new());
                for piece in sent.chunks(step) {
                    let before = kept.len();
                    kept.extend_from_slice(piece);
                    let mut seen = before;
                    while seen < kept.len() {
                        let Counted { counted, ready } = frames.count(&mut kept, seen, 0).unwrap();
                        given.extend(kept.drain(..ready));
                        seen = counted - ready;
                    }
                }
                assert_eq!(given, expected, "{trailers:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn endless_trailers_are_refused() {
        let mut frames = frames();
        frames.continuations.max = 1000;
        let mut held = blocks(&[(HEADERS, END_HEADERS, 1, b"\x82"), (HEADERS, 0, 1, b"\x82")]);
        let first = frames.count(&mut held, 0, 0).unwrap().counted;
        frames.count(&mut held, first, 0).unwrap();
        let refused = (0..1000).find_map(|_| {
            let before = held.len();
            held.extend(blocks(&[(CONTINUATION, 0, 1, &[0x82; 200])]));
            frames.count(&mut held, before, 0).err()
        });
        assert_eq!(refused, Some(Refusal::H2Continuations));
        assert!(held.len() < WITHHELD_BYTES_MAX + 1000);
    }
}
