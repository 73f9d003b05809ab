//! The body of an HTTP/1.1 request: read from its connection when it is polled, in whichever task that happens.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::input::ClientInput;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::response_body::BodyPiece;

/// The body of a request.
pub(in crate::proxy) struct ReceivedBody {
    source: Source,
    /// Bytes of content left, if its length is known.
    left: Option<u64>,
}

enum Source {
    Open(Rc<ClientInput>),
    Ended,
    Failed,
}

impl ReceivedBody {
    /// The open body of `input`. `length` is its length, if that is known.
    pub(super) fn new(input: &Rc<ClientInput>, length: Option<u64>) -> Self {
        Self { source: Source::Open(Rc::clone(input)), left: length }
    }

    /// Ends the body. Its connection is no longer needed.
    fn close(&mut self, source: Source) {
        if let Source::Open(input) = std::mem::replace(&mut self.source, source) {
            input.drop_body();
        }
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        self.close(Source::Failed);
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let cut = BodyError("the request's body is cut or refused");
        let input = match &this.source {
            Source::Open(input) => input,
            Source::Ended => return Poll::Ready(None),
            Source::Failed => return Poll::Ready(Some(Err(cut))),
        };
        let piece = ready!(input.poll_piece(cx));
        let ended = !input.is_body_open();
        let Ok(piece) = piece else {
            this.close(Source::Failed);
            return Poll::Ready(Some(Err(cut)));
        };
        if ended {
            this.close(Source::Ended);
        }
        Poll::Ready(piece.map(|piece| {
            Ok(match piece {
                BodyPiece::Data(data) => {
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    Frame::data(data)
                }
                BodyPiece::Trailers(trailers) => Frame::trailers(trailers),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, self.left) {
            (Source::Ended, _) => SizeHint::with_exact(0),
            (Source::Open(_) | Source::Failed, Some(left)) => SizeHint::with_exact(left),
            (Source::Open(_) | Source::Failed, None) => SizeHint::default(),
        }
    }
}
