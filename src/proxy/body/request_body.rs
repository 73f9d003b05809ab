//! A request's body: pulled from the client when the upstream's connection has room, with limits. A body that is too
//! long, too short or too slow fails.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};

use super::copy_body::CopyBody;
use super::pace::RATE_GRACE_MS;
use super::replay::AttemptBody;
use super::tee::Tee;
use super::upload::{Upload, UploadFault};
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::IncomingBody;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::field_rules::{filter_trailers, strip_protected};
use crate::proxy::worker::deadline::CoarseTimer;
use crate::telemetry::Refusal;

/// A request's body to an upstream.
#[derive(Default)]
pub(crate) enum RequestBody {
    /// No body.
    #[default]
    Empty,
    /// Pulled from the client.
    Client(Box<ClientBody>),
    /// Pulled from the client, and kept for another attempt.
    Attempt(Box<AttemptBody>),
    /// The body of a copy.
    Copy(Box<CopyBody>),
    /// A body whose first piece was taken, but not sent.
    Returned(Box<ReturnedBody>),
}

/// A body, and the piece that comes before the rest of it.
pub(crate) struct ReturnedBody {
    pub(super) piece: Bytes,
    pub(super) rest: RequestBody,
}

impl RequestBody {
    /// The body of a copy.
    pub(crate) fn copy_mut(&mut self) -> Option<&mut CopyBody> {
        match self {
            Self::Copy(body) => Some(body),
            Self::Returned(body) => body.rest.copy_mut(),
            Self::Empty | Self::Client(_) | Self::Attempt(_) => None,
        }
    }

    /// Puts back a piece that was not sent: it is the next one again.
    pub(crate) fn put_back(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            let rest = std::mem::take(self);
            *self = Self::Returned(Box::new(ReturnedBody { piece, rest }));
        }
    }
}

/// A body that is pulled from the client.
pub(crate) struct ClientBody {
    incoming: IncomingBody,
    client: Rc<Client>,
    pub(crate) upload: Rc<Upload>,
    bytes_max: Option<u64>,
    /// The length in `Content-Length`. Checked here, since HTTP/2 frames do not depend on it.
    promised: Option<u64>,
    version: Version,
    /// How long an HTTP/2 stream may send nothing. On HTTP/1.1 the connection has a deadline.
    stall: Option<Duration>,
    /// The least rate in bytes per second.
    rate: u64,
    timer: Option<CoarseTimer>,
    /// The observer of the pieces: a pending copy.
    pub(crate) tee: Option<Box<dyn Tee>>,
}

/// Limits on a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBounds {
    pub(crate) bytes_max: Option<u64>,
    /// How long it may send nothing.
    pub(crate) stall: Option<Duration>,
    /// The least rate in bytes per second.
    pub(crate) rate: u64,
}

impl ClientBody {
    pub(crate) fn new(
        incoming: IncomingBody,
        client: Rc<Client>,
        upload: Rc<Upload>,
        version: Version,
        bounds: BodyBounds,
    ) -> Self {
        let promised = incoming.size_hint().exact();
        let BodyBounds { bytes_max, stall, rate } = bounds;
        // On HTTP/1.1 the connection has a deadline.
        let stall = stall.filter(|_| version == Version::HTTP_2);
        Self { incoming, client, upload, bytes_max, promised, version, stall, rate, timer: None, tee: None }
    }

    fn fail(&self, fault: UploadFault) -> BodyError {
        self.upload.failed.set(Some(fault));
        BodyError("the request's body failed")
    }

    fn check(&mut self, data: &Bytes) -> Result<(), BodyError> {
        let bytes = self.upload.bytes.get() + data.len() as u64;
        self.upload.bytes.set(bytes);
        if self.bytes_max.is_some_and(|max| bytes > max) {
            return Err(self.fail(UploadFault::Refused(Refusal::BodyTooLarge)));
        }
        // A longer body is malformed (RFC 9113 §8.1.1). On HTTP/1.1 the scanner has ended it.
        if self.promised.is_some_and(|promised| bytes > promised) {
            return Err(self.fail(UploadFault::Refused(Refusal::BadFraming)));
        }
        let waited_ms = self.upload.pace.waited_ms();
        if waited_ms > RATE_GRACE_MS && bytes < self.rate.saturating_mul(waited_ms) / 1000 {
            return Err(self.fail(UploadFault::Refused(Refusal::BodyTooSlow)));
        }
        Ok(())
    }

    /// Ends a complete body.
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.upload.end();
        if let Some(tee) = self.tee.take() {
            tee.finish(trailers.cloned());
        }
    }

    /// Whether the whole body was pulled.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Bytes left to pull.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// The next frame.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.upload.mark_started();
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.upload.pace.record_poll(&polled, self.client.worker.clock.now());
        if polled.is_ready() {
            self.timer = None;
        } else if self.rate == 0 && self.upload.answered.get() {
            // Once the response has begun, its body enforces the deadline of both directions.
            self.timer = None;
        } else if let Some(stall) = self.stall
            && self.timer.get_or_insert_with(|| CoarseTimer::new(&self.client.worker, stall)).poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(self.fail(UploadFault::Refused(Refusal::BodyTooSlow)))));
        }
        Poll::Ready(match ready!(polled) {
            // hyper reports a reset with NO_ERROR as a normal end: such a body is not complete (HTTP/2).
            None if self.version == Version::HTTP_2 && !self.incoming.is_end_stream() => {
                Some(Err(self.fail(UploadFault::Gone)))
            }
            None if self.promised.is_some_and(|promised| self.upload.bytes.get() < promised) => {
                Some(Err(self.fail(UploadFault::Refused(Refusal::BadFraming))))
            }
            None => {
                self.end(None);
                None
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(self.check(&data).map(|()| {
                    if let Some(tee) = self.tee.take() {
                        self.tee = tee.push(&data);
                    }
                    // The sender may not poll after the last frame, so the end is noted with it.
                    if self.incoming.is_end_stream() {
                        self.end(None);
                    }
                    Frame::data(data)
                })),
                Err(frame) => {
                    let trailers = frame.into_trailers().ok().map(|trailers| {
                        // Framing and identity in trailers could override the fields of the head.
                        let mut kept = filter_trailers(trailers);
                        strip_protected(&mut kept, &self.client.worker.snapshot().rules.identity);
                        kept
                    });
                    self.end(trailers.as_ref());
                    trailers.map(Frame::trailers).map(Ok)
                }
            },
            Some(Err(_)) => {
                let fault = self.client.refused_body.get().map_or(UploadFault::Gone, UploadFault::Refused);
                Some(Err(self.fail(fault)))
            }
        })
    }
}

impl Drop for ClientBody {
    /// A body of known length may not be polled beyond its last byte, so the end may be unread. It is recorded here.
    fn drop(&mut self) {
        self.upload.pace.stop_waiting(self.client.worker.clock.now());
        if self.promised == Some(self.upload.bytes.get()) && self.upload.is_open() {
            self.end(None);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll(cx),
            Self::Attempt(body) => body.poll(cx),
            Self::Copy(body) => Pin::new(&mut **body).poll_frame(cx),
            returned @ Self::Returned(_) => {
                let Self::Returned(body) = std::mem::take(returned) else { return Poll::Ready(None) };
                *returned = body.rest;
                Poll::Ready(Some(Ok(Frame::data(body.piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.is_end_stream(),
            Self::Attempt(body) => body.is_end_stream(),
            Self::Copy(body) => body.is_end_stream(),
            Self::Returned(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
            Self::Attempt(body) => body.size_hint(),
            Self::Copy(body) => body.size_hint(),
            Self::Returned(body) => {
                let rest = body.rest.size_hint().exact();
                rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + body.piece.len() as u64))
            }
        }
    }
}
