//! A request as a connection passes it to its service, and the response that it gets back. Both protocols use the same
//! two types.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::h1::body::ReceivedBody;
use super::h2::body::StreamBody;
use super::h2::tunnel::OpeningStream;
use crate::fields::Fields;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::head::Head;

/// A request with a complete head.
pub(crate) struct ClientRequest {
    pub(crate) head: Head,
    pub(crate) body: IncomingBody,
    /// The stream of an extended CONNECT (RFC 8441).
    pub(crate) connect: Option<Box<ExtendedConnect>>,
}

/// An extended CONNECT: the protocol that it names, and the stream that becomes a tunnel.
pub(crate) struct ExtendedConnect {
    pub(crate) protocol: Box<str>,
    pub(crate) stream: OpeningStream,
}

/// A response: the connection adds what its protocol needs (framing, `date`).
pub(crate) struct ClientResponse<B> {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: B,
}

impl<B> ClientResponse<B> {
    /// A response without fields.
    pub(crate) fn new(status: StatusCode, fields: Fields, body: B) -> Self {
        Self { status, fields, body }
    }
}

/// The body of a response.
pub(crate) trait ResponseContent: Body<Data = Bytes> + Unpin {
    /// The whole body, if it is one piece that has arrived: the body is then at its end. Most are, and need no frame.
    fn take_whole(&mut self) -> Option<Bytes> {
        None
    }
}

/// The body of a request. It is pulled as it is sent to the upstream.
pub(crate) enum IncomingBody {
    /// No body.
    Empty,
    /// Read from an HTTP/1.1 connection.
    Http1(ReceivedBody),
    /// Of an HTTP/2 stream.
    Stream(StreamBody),
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
