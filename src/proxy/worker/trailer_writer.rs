//! Trailers on HTTP/1.1. hyper writes those alone that a `Trailer` field has named before the body: all others are put
//! in here, between the two line ends of the last chunk that it writes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::io::AsyncWrite as _;

use crate::net::{Socket, write_merged};

/// The end of a chunked body without trailers (RFC 9112 §7.1).
const END: &[u8] = b"0\r\n\r\n";
/// The line end that closes it.
const CRLF: &[u8] = b"\r\n";

/// The trailers of the message that is being written on a connection.
#[derive(Debug, Default)]
pub(crate) struct TrailerWriter {
    waits: Cell<bool>,
    /// What is written in the place of the last line end.
    bytes: RefCell<BytesMut>,
}

impl TrailerWriter {
    /// These end the message under way. Its body is chunked, and hyper is told right now that it has ended.
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

    /// Takes trailers out of what a body gave: for hyper it has ended then.
    pub(crate) fn take_trailers<E>(
        &self,
        polled: Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.set(trailers);
            return Poll::Ready(None);
        }
        polled
    }

    /// Another message begins.
    pub(crate) fn clear(&self) {
        if self.waits.replace(false) {
            *self.bytes.borrow_mut() = BytesMut::new();
        }
    }

    /// Writes what hyper has to write, when that ends a body with trailers: all of it but the last line end, then that
    /// with the trailers before it.
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
            // hyper writes something else than it was asked for: better no trailers than broken framing.
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

/// Whether these bytes end as a chunked body does, or are what is left of its end.
fn ends_body(slices: &[io::IoSlice<'_>]) -> bool {
    let last = slices.iter().rev().flat_map(|slice| slice.iter().rev());
    last.zip(END.iter().rev()).all(|(byte, expected)| byte == expected)
}

/// The first bytes of these slices.
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
    fn the_end_of_a_body_is_known_in_any_pieces() {
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
    fn trailers_are_taken_out_of_a_body_and_nothing_else_is() {
        let trailing = TrailerWriter::default();
        let data: Poll<Option<Result<_, io::Error>>> = Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))));
        assert!(matches!(trailing.take_trailers(data), Poll::Ready(Some(Ok(_)))) && !trailing.waits.get());
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", "1".parse().unwrap());
        trailers.append("x-sum", "2".parse().unwrap());
        let frame: Poll<Option<Result<_, io::Error>>> = Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        assert!(matches!(trailing.take_trailers(frame), Poll::Ready(None)) && trailing.waits.get());
        assert_eq!(trailing.bytes.borrow()[..], b"x-sum: 1\r\nx-sum: 2\r\n\r\n"[..]);
        trailing.set(&HeaderMap::new());
        assert!(!trailing.waits.get());
    }
}
