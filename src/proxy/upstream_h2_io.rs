//! The byte stream of an HTTP/2 connection to an upstream. hyper takes a stream that is reset with `NO_ERROR` for one that
//! has ended; before its end was sent, that is a body cut short (RFC 9113 §8.1), and reaches hyper as `CANCEL`.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ahash::HashSet;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use super::worker::Worker;

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
/// RFC 9113 §7.
const CANCEL: u8 = 8;

/// A connection to an upstream.
pub(super) struct UpstreamH2Io {
    stream: Socket,
    worker: Rc<Worker>,
    resets: Resets,
}

/// Follows the frames that an upstream sends.
#[derive(Debug, Default)]
struct Resets {
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the frame under way that are still to come.
    left: usize,
    /// The bytes of its error code, when the frame under way resets a stream that has not ended.
    code: Option<[u8; 4]>,
    /// Streams whose answer has begun and not ended.
    open: HashSet<u32>,
}

impl Resets {
    /// Goes through what was read, and changes what hyper would take for an end.
    fn follow(&mut self, bytes: &mut [u8]) {
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
            if let Some(code) = &mut self.code {
                for byte in &mut bytes[at..at + taken] {
                    let place = 4_usize.saturating_sub(self.left);
                    if let Some(kept) = code.get_mut(place) {
                        *kept = *byte;
                    }
                    if self.left == 1 && *code == [0; 4] {
                        *byte = CANCEL;
                    }
                    self.left -= 1;
                }
            } else {
                self.left -= taken;
            }
            at += taken;
        }
    }

    /// A frame's header is whole.
    fn frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.code = None;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        match kind {
            HEADERS if flags & END_STREAM == 0 => drop(self.open.insert(stream)),
            HEADERS | DATA if flags & END_STREAM != 0 => drop(self.open.remove(&stream)),
            RST_STREAM if self.open.remove(&stream) && self.left == 4 => self.code = Some([0; 4]),
            _ => {}
        }
    }
}

impl UpstreamH2Io {
    /// Wraps a connection.
    pub(super) fn new(stream: Socket, worker: &Rc<Worker>) -> Self {
        Self { stream, worker: Rc::clone(worker), resets: Resets::default() }
    }
}

impl Read for UpstreamH2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut scratch = this.worker.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
        this.resets.follow(buffer.filled_mut());
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamH2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
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

    /// What hyper reads of these frames, whatever the pieces in which they come.
    fn read(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut whole = frames.concat();
        Resets::default().follow(&mut whole);
        for step in 1..14 {
            let (mut pieces, mut resets) = (frames.concat(), Resets::default());
            pieces.chunks_mut(step).for_each(|piece| resets.follow(piece));
            assert_eq!(pieces, whole, "in pieces of {step}");
            assert!(resets.open.is_empty());
        }
        whole
    }

    #[test]
    fn only_a_reset_before_the_end_is_changed() {
        let head = frame(HEADERS, 4, 1, &[0x88]);
        let data = frame(DATA, 0, 1, b"half");
        let cut = read(&[head.clone(), data.clone(), frame(RST_STREAM, 0, 1, &[0; 4])]);
        assert_eq!(cut, [head.clone(), data.clone(), frame(RST_STREAM, 0, 1, &[0, 0, 0, CANCEL])].concat());
        for whole in [
            vec![head.clone(), frame(DATA, END_STREAM, 1, b"all"), frame(RST_STREAM, 0, 1, &[0; 4])],
            vec![frame(HEADERS, 4 | END_STREAM, 1, &[0x88]), frame(RST_STREAM, 0, 1, &[0; 4])],
            vec![head.clone(), data.clone(), frame(HEADERS, 4 | END_STREAM, 1, &[]), frame(RST_STREAM, 0, 1, &[0; 4])],
            vec![head, data, frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])],
            vec![frame(RST_STREAM, 0, 3, &[0; 4])],
        ] {
            assert_eq!(read(&whole), whole.concat());
        }
    }
}
