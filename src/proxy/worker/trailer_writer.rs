//! Writes trailers on HTTP/1.1. hyper writes only trailers that a `Trailer` field named before the body. This file
//! inserts all others into the bytes that hyper writes: between the two line ends of the last chunk.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite as _;

use crate::net::{Socket, write_merged};

/// The end of a chunked body without trailers (RFC 9112 §7.1).
const END: &[u8] = b"0\r\n\r\n";
/// The final line end of a chunked body.
const CRLF: &[u8] = b"\r\n";

/// The trailers of the message that is being written on a connection.
#[derive(Debug, Default)]
pub(crate) struct TrailerWriter {
    waits: Cell<bool>,
    /// The trailers and the final line end, in place of hyper's final line end.
    bytes: RefCell<BytesMut>,
}

impl TrailerWriter {
    /// Sets the trailers of the current message. The caller must end the chunked body for hyper at once.
    pub(crate) fn set(&self, trailers: &HeaderMap) {
        let mut bytes = self.bytes.borrow_mut();
        bytes.clear();
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF] {
                bytes.extend_from_slice(part);
            }
        }
        self.waits.set(!bytes.is_empty());
        bytes.extend_from_slice(CRLF);
    }

    /// Clears the trailers, for the next message.
    pub(crate) fn clear(&self) {
        if self.waits.replace(false) {
            *self.bytes.borrow_mut() = BytesMut::new();
        }
    }

    /// Writes hyper's bytes if they end a body with trailers: first all but the final line end, then the trailers and
    /// that line end. Returns `None` if hyper should write its bytes itself.
    pub(crate) fn poll_write(
        &self,
        stream: &mut Socket,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        scratch: &RefCell<Box<[u8]>>,
    ) -> Option<Poll<io::Result<usize>>> {
        if !self.waits.get() {
            return None;
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total < CRLF.len() || !ends_body(slices) {
            // hyper writes something else than the end of a chunked body: drop the trailers, do not break the framing.
            self.clear();
            return None;
        }
        if total > CRLF.len() {
            return Some(write_merged(stream, cx, &without_last(slices, total - CRLF.len()), scratch));
        }
        let mut bytes = self.bytes.borrow_mut();
        while !bytes.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &bytes) {
                Poll::Ready(Ok(written)) if written > 0 => bytes.advance(written),
                other @ (Poll::Ready(_) | Poll::Pending) => return Some(other),
            }
        }
        drop(bytes);
        self.clear();
        Some(Poll::Ready(Ok(CRLF.len())))
    }
}

/// Whether the bytes end like a chunked body. A part of that end counts too: hyper may have written the rest before.
fn ends_body(slices: &[io::IoSlice<'_>]) -> bool {
    let last = slices.iter().rev().flat_map(|slice| slice.iter().rev());
    last.zip(END.iter().rev()).all(|(byte, expected)| byte == expected)
}

/// The first `bytes` bytes of the slices.
fn without_last<'a>(slices: &'a [io::IoSlice<'a>], mut bytes: usize) -> Vec<io::IoSlice<'a>> {
    let mut kept = Vec::with_capacity(slices.len());
    for slice in slices {
        let length = slice.len().min(bytes);
        if length > 0 {
            kept.push(io::IoSlice::new(&slice[..length]));
        }
        bytes -= length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices<'a>(parts: &'a [&'a [u8]]) -> Vec<io::IoSlice<'a>> {
        parts.iter().map(|part| io::IoSlice::new(part)).collect()
    }

    #[test]
    fn the_end_of_a_body_is_found_in_any_pieces() {
        for parts in [
            &[b"3\r\n".as_slice(), b"abc", b"\r\n", b"0\r\n\r\n"][..],
            &[b"abc\r\n0\r", b"\n\r\n"],
            &[b"0\r\n\r\n", b""],
            &[b"\r\n\r\n"],
            &[b"\r\n"],
        ] {
            assert!(ends_body(&slices(parts)), "{parts:?}");
        }
        for parts in [&[b"HTTP/1.1 200 OK\r\n\r\n".as_slice()][..], &[b"10\r\n\r\n", b"x"], &[b"0\r\n"]] {
            assert!(!ends_body(&slices(parts)), "{parts:?}");
        }
        let parts: [&[u8]; 3] = [b"abc", b"\r\n0\r", b"\n\r\n"];
        let parts = slices(&parts);
        let kept = without_last(&parts, 8);
        assert_eq!(kept.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>(), b"abc\r\n0\r\n");
    }

    #[test]
    fn trailers_are_lines_with_an_empty_line_behind() {
        let trailing = TrailerWriter::default();
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", "1".parse().unwrap());
        trailers.append("x-sum", "2".parse().unwrap());
        trailing.set(&trailers);
        assert!(trailing.waits.get());
        assert_eq!(trailing.bytes.borrow()[..], b"x-sum: 1\r\nx-sum: 2\r\n\r\n"[..]);
        trailing.set(&HeaderMap::new());
        assert!(!trailing.waits.get());
    }
}
