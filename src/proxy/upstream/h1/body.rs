//! The body of a response on an HTTP/1.1 connection, read when the client's side polls for it.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connection::Http1Connection;
use super::request_writer::WriteError;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::response_body::{BodyPiece, ResponseBodyDecoder};
use crate::proxy::wire::response_head::ResponseFraming;

/// The state of a response's body. Its bytes come from the connection.
pub(crate) struct Http1Body {
    decoder: ResponseBodyDecoder,
    framing: ResponseFraming,
    /// The body is malformed or cut.
    is_cut: bool,
}

impl Http1Body {
    /// The body after a head that `connection` has read.
    #[inline]
    pub(in crate::proxy::upstream) fn new(framing: ResponseFraming, connection: &mut Http1Connection) -> Self {
        let body = Self { decoder: ResponseBodyDecoder::new(framing), framing, is_cut: false };
        body.note_end(connection);
        body
    }

    /// Whether the whole body was read.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.decoder.is_ended()
    }

    /// Bytes left to read; unknown without a length, also at the end.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match (self.framing, self.decoder.left()) {
            (ResponseFraming::Length(_), Some(left)) => SizeHint::with_exact(left),
            (ResponseFraming::Length(_) | ResponseFraming::Chunked | ResponseFraming::UntilClose, _) => {
                SizeHint::default()
            }
        }
    }

    /// The whole body, if it is one piece that was read together with the head.
    pub(crate) fn take_whole(&mut self, connection: &mut Http1Connection) -> Option<Bytes> {
        let length = usize::try_from(self.decoder.left()?).ok()?;
        if connection.input.len() < length {
            return None;
        }
        let next = self.decoder.next(&mut connection.input);
        self.note_end(connection);
        match next {
            Ok(Some(BodyPiece::Data(data))) if self.decoder.is_ended() => Some(data),
            Ok(Some(BodyPiece::Data(_) | BodyPiece::Trailers(_)) | None) | Err(_) => None,
        }
    }

    /// The next frame. An error: the body is malformed, or the connection ended before its end.
    pub(crate) fn poll_frame(
        &mut self,
        connection: &mut Http1Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.is_cut {
            let polled = ready!(self.poll_next(connection, cx));
            self.note_end(connection);
            if let Ok(piece) = polled {
                return Poll::Ready(piece.map(|piece| Ok(piece.into_frame())));
            }
            // The client's side writes what it was given before it gets the error.
            self.is_cut = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(BodyError("the response's body is cut"))))
    }

    fn note_end(&self, connection: &mut Http1Connection) {
        if self.decoder.is_ended() {
            connection.end_response();
        }
    }

    fn poll_next(
        &mut self,
        connection: &mut Http1Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPiece>, Cut>> {
        if let Some(upload) = &mut connection.upload
            && let Poll::Ready(written) = upload.poll(cx)
        {
            connection.upload = None;
            // The upstream waits for the rest of the request: its response is worth nothing.
            if written == Err(WriteError::Body) {
                return Poll::Ready(Err(Cut));
            }
        }
        loop {
            match self.decoder.next(&mut connection.input) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) if self.decoder.is_ended() => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(Cut)),
            }
            match ready!(connection.poll_input(cx, self.decoder.left())) {
                Ok(true) => {}
                Ok(false) if self.decoder.end_of_input().is_ok() => return Poll::Ready(Ok(None)),
                Ok(false) | Err(_) => return Poll::Ready(Err(Cut)),
            }
        }
    }
}

impl BodyPiece {
    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// The body is malformed, or ended before its end.
struct Cut;
