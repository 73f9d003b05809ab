//! The bodies of answers on their way. Nothing is buffered: a chunk is pulled from one side when the other asks for it.
//!
//! hyper tells of a stream of HTTP/2 that was broken off with `NO_ERROR`, by a reset or by the leaving of the connection,
//! as of one that has ended. Only a stream whose end was sent is whole (RFC 9113 §8.1), on either side: else it was cut.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::{Exchange, Stage};
use super::open_streams::OpenStream;
use crate::compare::Ending;
use crate::proxy::body::cut::Cut;
use crate::proxy::body::pace::RATE_GRACE_MS;
use crate::proxy::mirror::capture::Primary;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::grpc;
use crate::proxy::worker::deadline::{Coarse, Deadline};
use crate::telemetry::{EndedBy, GrpcStatus, Refusal};

/// A piece of an answer that is smaller than this may be copied.
const COPIED_BELOW: usize = 4096;

/// A response's body on its way to the client, with the exchange that ends with it.
pub(crate) struct ResponseBody {
    source: Source,
    exchange: Box<Exchange>,
    idle: Option<Duration>,
    timer: Option<Coarse>,
    /// When the reader was last given bytes, if it has not asked since.
    given_ms: Option<u64>,
    /// How long it took over what it was given.
    waited_ms: u64,
    /// Bytes of the request's body when the idle timer was last set.
    uploaded: u64,
    /// When a call must have ended.
    deadline: Option<Deadline>,
    /// A kill may close it.
    open: Option<OpenStream>,
}

/// Where a response's body comes from.
pub(crate) enum Source {
    /// Made here.
    Own(Option<Bytes>),
    /// Pulled from an upstream, and what was pulled of it before anybody asked.
    Upstream(Incoming, Option<Box<Polled>>),
}

/// What a body gave when it was asked for its next frame.
type Polled = Option<Result<Frame<Bytes>, hyper::Error>>;

impl ResponseBody {
    /// The body of the answer to `exchange`.
    pub(crate) fn new(source: Source, mut exchange: Box<Exchange>, idle: Option<Duration>) -> Self {
        let ended = match &source {
            Source::Own(body) => body.is_none(),
            Source::Upstream(incoming, polled) => polled.is_none() && incoming.is_end_stream(),
        };
        exchange.progress.stage = Stage::Body;
        if let Some(reader) = &exchange.request.reader {
            let client = &exchange.client;
            reader.given(&client.listener.spec.limits, client.worker.now_ms(), 0);
        }
        let deadline = exchange.call.as_ref().and_then(|call| call.deadline).map(|deadline| {
            let worker = &exchange.client.worker;
            Deadline::new(worker, Some(deadline.saturating_duration_since(worker.clock.now())))
        });
        let lasts = !ended && matches!(source, Source::Upstream(..));
        let open = if lasts { exchange.open_stream(|| exchange.carrier()) } else { None };
        exchange.holds(exchange.attempt.upstream_key());
        let (given_ms, waited_ms, uploaded) = (None, 0, 0);
        let mut body = Self { source, exchange, idle, timer: None, given_ms, waited_ms, uploaded, deadline, open };
        if ended {
            body.finish();
        }
        body
    }

    /// The body has been pulled whole.
    fn finish(&mut self) {
        let exchange = &mut self.exchange;
        exchange.progress.stage = Stage::Done;
        if let Some(primary) = &exchange.mirror.compared {
            primary.end(Ending::Complete);
        }
        // On HTTP/2 the reader is waited for until hyper has got rid of what it was given.
        self.timer = None;
        self.open = None;
        if let Some(lease) = exchange.attempt.lease.take() {
            lease.finish(exchange.prepared.upload.as_ref(), exchange.client.worker.now_ms());
            // Its upstream is done with it, however long its reader takes.
            exchange.attempt.flight = None;
            exchange.holds(0);
            if let Some(held) = &mut exchange.request.held {
                held.forget_body();
            }
        }
    }

    /// Shows what passes to whoever compares it.
    fn shown(&self, show: impl FnOnce(&Primary)) {
        if let Some(primary) = &self.exchange.mirror.compared {
            show(primary);
        }
    }

    /// A piece, counted until it has left the protocol stack. One that follows another and is small is copied: a slice of
    /// a buffer keeps the whole buffer.
    fn counted(&self, data: Bytes) -> Bytes {
        let client = &self.exchange.client;
        if self.exchange.request.version != Version::HTTP_2 && data.len() < COPIED_BELOW {
            // A connection of HTTP/1.1 has few pieces.
            return data;
        }
        let is_small = self.exchange.response.bytes > 0 && data.len() < COPIED_BELOW;
        let data = if is_small { Bytes::copy_from_slice(&data) } else { data };
        client.outbox().until_sent(data)
    }

    /// All that there is.
    fn whole(&mut self, body: Option<Bytes>) -> Option<Bytes> {
        let body = body.map(|body| self.counted(body));
        self.given(body.as_ref().map_or(0, |body| body.len() as u64));
        if let Some(body) = &body {
            self.shown(|primary| primary.data(body));
        }
        self.finish();
        body
    }

    fn break_off(&mut self, ender: EndedBy, detail: &'static str) -> Cut {
        self.exchange.ends(ender, detail);
        Cut(detail)
    }

    /// The reader has been given bytes.
    fn given(&mut self, bytes: u64) {
        self.exchange.response.bytes += bytes;
        let client = &self.exchange.client;
        let now_ms = client.worker.now_ms();
        self.given_ms = Some(now_ms);
        if let Some(reader) = &self.exchange.request.reader {
            reader.given(&client.listener.spec.limits, now_ms, bytes);
        }
    }

    /// The reader asks for more. It must not take too long over what it was given.
    fn asked(&mut self) -> Option<Cut> {
        let client = &self.exchange.client;
        self.waited_ms += client.worker.now_ms().saturating_sub(self.given_ms.take()?);
        let rate = u64::from(client.listener.spec.limits.body_rate);
        let least = rate.saturating_mul(self.waited_ms) / 1000;
        if self.waited_ms <= RATE_GRACE_MS || self.exchange.response.bytes >= least {
            return None;
        }
        client.worker.meter().refuse(Refusal::ReaderStalled);
        Some(self.break_off(EndedBy::Client, "reader_stalled"))
    }

    /// Ready when nothing has come in either direction for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = self.idle else { return Poll::Pending };
        let worker = &self.exchange.client.worker;
        loop {
            let uploaded = || self.exchange.prepared.upload.as_ref().map_or(0, |upload| upload.bytes.get());
            let timer = self.timer.get_or_insert_with(|| {
                self.uploaded = uploaded();
                Coarse::new(worker, idle)
            });
            ready!(timer.poll(cx));
            if self.uploaded == uploaded() {
                return Poll::Ready(());
            }
            self.timer = None;
        }
    }

    /// The deadline of a call has passed: the upstream is left, and the client is told in trailers, which only HTTP/2
    /// is sure to carry.
    fn too_late(&mut self) -> Result<Frame<Bytes>, Cut> {
        self.source = Source::Own(None);
        self.deadline = None;
        self.exchange.leave();
        let cut = self.break_off(EndedBy::Upstream, "call_timeout");
        if let Some(call) = &mut self.exchange.call {
            call.status = GrpcStatus::DEADLINE_EXCEEDED;
        }
        if self.exchange.request.version != Version::HTTP_2 {
            return Err(cut);
        }
        let message = Fault::CallTimeout.facts().message;
        Ok(Frame::trailers(grpc::trailers(GrpcStatus::DEADLINE_EXCEEDED, message)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        this.exchange.client.take(this.exchange.slot());
        if let Some(cut) = this.asked() {
            return Poll::Ready(Some(Err(cut)));
        }
        if this.deadline.as_mut().is_some_and(|deadline| deadline.poll(cx).is_ready()) {
            return Poll::Ready(Some(this.too_late()));
        }
        if this.open.as_ref().is_some_and(|open| open.is_due(cx)) {
            return Poll::Ready(Some(Err(this.break_off(EndedBy::Proxy, "killed"))));
        }
        let (incoming, polled) = match &mut this.source {
            Source::Own(body) => {
                let body = body.take();
                return Poll::Ready(this.whole(body).map(|body| Ok(Frame::data(body))));
            }
            Source::Upstream(incoming, polled) => (incoming, polled),
        };
        let polled = match polled.take() {
            Some(polled) => Poll::Ready(*polled),
            None => Pin::new(&mut *incoming).poll_frame(cx),
        };
        match polled {
            Poll::Pending => {
                if let Some(reader) = &this.exchange.request.reader {
                    reader.waits();
                }
                ready!(this.poll_idle(cx));
                Poll::Ready(Some(Err(this.break_off(EndedBy::Upstream, "idle_timeout"))))
            }
            Poll::Ready(None) if this.exchange.attempt.lease.as_ref().is_none_or(|lease| lease.has_ended(incoming)) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(None | Some(Err(_))) => {
                this.shown(|primary| primary.end(Ending::Cut));
                Poll::Ready(Some(Err(this.break_off(EndedBy::Upstream, "upstream_reset"))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let (ended, length) = (incoming.is_end_stream(), incoming.size_hint().exact());
                this.timer = None;
                Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(data) => {
                        let data = this.counted(data);
                        this.given(data.len() as u64);
                        this.shown(|primary| primary.data(&data));
                        if ended {
                            this.finish();
                        }
                        Frame::data(data)
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        this.shown(|primary| primary.trailers(&trailers));
                        this.finish();
                        this.source = Source::Own(None);
                        this.exchange.end_with(&trailers, length)
                    }
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_none(),
            Source::Upstream(incoming, polled) => polled.is_none() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Source::Upstream(incoming, None) => incoming.size_hint(),
            // Only the whole is known.
            Source::Upstream(_, Some(_)) => SizeHint::default(),
        }
    }
}
