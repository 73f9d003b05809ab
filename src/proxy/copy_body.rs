//! The body of a copy: what its request's body was made of, all of it at hand.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::Cut;
use super::sending::Sending;

/// A body that came whole.
#[derive(Clone, Debug, Default)]
pub(super) struct CopyBody {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    length: Length,
    /// Who is told how far it has come.
    pub(super) sending: Option<Rc<Sending>>,
}

/// What the request said of the body's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    /// There is no body.
    #[default]
    None,
    Told,
    /// Nothing: its end has to be said, even if it is empty.
    Untold,
    /// Nothing, and its end was said.
    Ended,
}

impl CopyBody {
    /// A body of these pieces, of which the request has told the length or not.
    pub(super) fn new(pieces: Vec<Bytes>, trailers: Option<HeaderMap>, length: Option<u64>) -> Self {
        let length = if length.is_some() { Length::Told } else { Length::Untold };
        Self { pieces: pieces.into(), trailers, length, sending: None }
    }

    /// How many bytes are still to be sent.
    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        let frame = piece.or_else(|| self.trailers.take().map(Frame::trailers));
        if self.pieces.is_empty() && self.trailers.is_none() && self.length == Length::Untold {
            self.length = Length::Ended;
        }
        frame
    }
}

impl Body for CopyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = this.next();
        if let Some(sending) = &this.sending {
            sending.begins();
            if this.is_end_stream() {
                sending.end();
            }
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && self.length != Length::Untold
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::None | Length::Told => SizeHint::with_exact(self.bytes()),
            Length::Untold | Length::Ended => SizeHint::default(),
        }
    }
}
