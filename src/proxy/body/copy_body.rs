//! The body of a copy: the pieces of its request's body, complete before the copy is sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::proxy::wire::body_error::BodyError;
use crate::proxy::worker::budget::H1_BUFFER_BYTES;
use crate::proxy::worker::send_task::SendTask;

/// Pieces of this size or more are shared with the request; smaller ones are copied.
const SHARED_FROM_BYTES: usize = 64 * 1024;

/// Most bytes in one turn of the task.
const TURN_BYTES: usize = 128 * 1024;

/// A complete body.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyBody {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    length: Length,
    /// Bytes of the current turn.
    given: usize,
    /// Tracks the progress of the body.
    pub(crate) send_task: Option<Rc<SendTask>>,
}

/// The body's length in the request's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    /// There is no body.
    #[default]
    None,
    Known,
    /// Unknown: the end must be sent, even of an empty body.
    Unknown,
    /// Unknown, and the end is sent.
    Ended,
}

/// The kept pieces of a body. Small ones are joined, since each would keep the whole buffer that it was read into.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    all: Vec<Bytes>,
    /// The last small pieces, joined.
    small: BytesMut,
}

impl Pieces {
    /// The memory that a piece occupies. A shared one keeps the whole buffer that it was read into, and an eighth that
    /// the allocator adds.
    pub(crate) fn cost(piece: &Bytes) -> u64 {
        let shared = piece.len() >= SHARED_FROM_BYTES;
        let bytes = if shared { piece.len().max(H1_BUFFER_BYTES / 8 * 9) } else { piece.len() };
        bytes as u64
    }

    pub(crate) fn push(&mut self, piece: &Bytes) {
        if piece.len() >= SHARED_FROM_BYTES {
            self.join_small();
            self.all.push(piece.clone());
            return;
        }
        self.small.extend_from_slice(piece);
        if self.small.len() >= SHARED_FROM_BYTES {
            self.join_small();
        }
    }

    /// All of them, in order.
    pub(crate) fn all(mut self) -> Vec<Bytes> {
        self.join_small();
        self.all
    }

    fn join_small(&mut self) {
        if !self.small.is_empty() {
            self.all.push(self.small.split().freeze());
            // `split` leaves a handle to the same allocation, which would keep all of it.
            self.small = BytesMut::new();
        }
    }
}

impl CopyBody {
    /// A body of these pieces. `length` is the one in the request's head.
    pub(crate) fn new(pieces: Vec<Bytes>, trailers: Option<HeaderMap>, length: Option<u64>) -> Self {
        let length = if length.is_some() { Length::Known } else { Length::Unknown };
        Self { pieces: pieces.into(), trailers, length, given: 0, send_task: None }
    }

    /// The number of bytes left to send.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        let frame = piece.or_else(|| self.trailers.take().map(Frame::trailers));
        if self.pieces.is_empty() && self.trailers.is_none() && self.length == Length::Unknown {
            self.length = Length::Ended;
        }
        frame
    }
}

impl Body for CopyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.given >= TURN_BYTES {
            // The body is complete and never pending: without a pause, it would block the worker's other tasks.
            this.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = this.next();
        this.given += frame.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        if let Some(send_task) = &this.send_task {
            send_task.start();
            // The sender may not poll after the last frame.
            if this.is_end_stream() {
                send_task.end();
            }
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && self.length != Length::Unknown
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::None | Length::Known => SizeHint::with_exact(self.bytes()),
            Length::Unknown | Length::Ended => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_joined_and_large_ones_shared() {
        let mut pieces = Pieces::default();
        for at in 0..100_000_u32 {
            pieces.push(&Bytes::copy_from_slice(&[at.to_le_bytes()[0]]));
        }
        let large = Bytes::from(vec![7; SHARED_FROM_BYTES]);
        pieces.push(&large);
        pieces.push(&Bytes::from_static(b"end"));
        let all = pieces.all();
        assert_eq!(all.iter().map(Bytes::len).collect::<Vec<_>>(), [65_536, 34_464, 65_536, 3]);
        assert_eq!(all[2].as_ptr(), large.as_ptr());
        assert_eq!((Pieces::cost(&large), Pieces::cost(&large.slice(1..))), (72 << 10, 65_535));
        assert_eq!(all.concat()[65_534..65_538], [254, 255, 0, 1]);
        assert_eq!(Pieces::default().all(), Vec::<Bytes>::new());
    }
}
