//! The response of an upstream over either protocol, and its body.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::h1::body::Http1Body;
use super::h1::connection::{Http1Connection, SendError};
use super::lease::Lease;
use super::upstream_head::UpstreamHead;
use crate::fields::Fields;
use crate::proxy::wire::body_error::BodyError;

/// The response of an upstream.
#[derive(Default)]
pub(crate) struct UpstreamResponse {
    pub(crate) head: UpstreamHead,
    pub(crate) body: UpstreamBody,
    /// The stream, if the response may switch it to another protocol.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Whether the head may have hop-by-hop fields.
    pub(crate) hop_by_hop: HopByHop,
    /// Whether the head may have an `x-pointsman-event`.
    pub(crate) may_have_event: bool,
}

/// Whether a head may have fields that are not forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HopByHop {
    Possible,
    #[default]
    None,
}

/// The body of a response. Its lease has the connection or the stream that it is read from.
#[derive(Default)]
pub(crate) enum UpstreamBody {
    /// No response has come, or its body is not read any more.
    #[default]
    None,
    /// On an HTTP/1.1 connection.
    Whole(Http1Body),
    /// On an HTTP/2 stream.
    Stream(Incoming),
}

/// The result of polling a body for a frame.
pub(crate) type PolledFrame = Option<Result<Frame<Bytes>, BodyError>>;

impl UpstreamResponse {
    /// Sets the response whose head this connection has read. In place: it is too large to be returned.
    ///
    /// # Errors
    /// The connection has read no head.
    #[inline]
    pub(crate) fn set_connection(&mut self, connection: &mut Http1Connection) -> Result<(), SendError> {
        let head = connection.take_head()?;
        self.body = UpstreamBody::Whole(Http1Body::new(head.framing, connection));
        self.hop_by_hop = if head.hop_by_hop { HopByHop::Possible } else { HopByHop::None };
        self.may_have_event = head.has_event;
        self.head = UpstreamHead { status: head.status, version: head.version, fields: head.fields };
        self.upgrade = None;
        Ok(())
    }

    /// A response over HTTP/2. `fields` are empty: their memory is used.
    pub(crate) fn on_stream(response: Response<Incoming>, mut fields: Fields) -> Self {
        let (mut head, body) = response.into_parts();
        let upgrade = head.extensions.remove::<OnUpgrade>();
        fields.extend(&head.headers);
        let head = UpstreamHead { status: head.status, version: head.version, fields };
        let (hop_by_hop, body) = (HopByHop::Possible, UpstreamBody::Stream(body));
        Self { head, body, upgrade, hop_by_hop, may_have_event: true }
    }
}

impl UpstreamBody {
    /// Whether the whole body was read.
    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    /// Bytes left to read.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }

    /// The next frame. An error: the body is malformed or cut.
    pub(crate) fn poll_frame(&mut self, lease: &mut Option<Lease>, cx: &mut Context<'_>) -> Poll<PolledFrame> {
        let cut = || Some(Err(BodyError("the response's body is cut")));
        match (self, lease) {
            (Self::None, _) => Poll::Ready(None),
            (Self::Whole(body), Some(Lease::Whole { connection, .. })) => body.poll_frame(connection, cx),
            (Self::Whole(body), _) if body.is_end_stream() => Poll::Ready(None),
            (Self::Whole(_), _) => Poll::Ready(cut()),
            (Self::Stream(body), _) => Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(Ok(frame)),
                // If a peer ends a stream early with `NO_ERROR`, hyper reports a normal end. A body is complete only if
                // `END_STREAM` was received (RFC 9113 §8.1).
                None if body.is_end_stream() => None,
                None | Some(Err(_)) => cut(),
            }),
        }
    }

    /// The whole body, if it has arrived in one piece.
    pub(crate) fn take_whole(&mut self, lease: &mut Option<Lease>) -> WholeBody {
        match (self, lease) {
            (Self::Whole(body), Some(Lease::Whole { connection, .. })) => match body.take_whole(connection) {
                Some(data) => WholeBody::Arrived(data),
                None => WholeBody::Later(None),
            },
            (Self::None | Self::Whole(_), _) => WholeBody::Later(None),
            (stream @ Self::Stream(_), lease) => {
                let length = stream.size_hint().exact();
                match stream.poll_frame(lease, &mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => WholeBody::Later(None),
                    Poll::Ready(Some(Ok(frame))) if frame.data_ref().map(|data| data.len() as u64) == length => {
                        WholeBody::Arrived(frame.into_data().unwrap_or_default())
                    }
                    Poll::Ready(polled) => WholeBody::Later(Some(Box::new(polled))),
                }
            }
        }
    }
}

/// Whether a small body has arrived.
pub(crate) enum WholeBody {
    /// All of it.
    Arrived(Bytes),
    /// The rest is read later; and what was polled already.
    Later(Option<Box<PolledFrame>>),
}
