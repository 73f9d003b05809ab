//! Response bodies. Nothing is buffered: a piece is read from the upstream when the client's side polls for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Empty};

use super::exchange::{Exchange, ExchangeStage};
use super::judge;
use super::sending::BodySource;
use crate::compare::Ending;
use crate::failover::FailureCause;
use crate::proxy::body::pace::RATE_GRACE_MS;
use crate::proxy::body::upload::UploadFault;
use crate::proxy::downstream::client_request::ResponseContent;
use crate::proxy::mirror::capture::PrimaryResponse;
use crate::proxy::upstream::upstream_response::UpstreamBody;
use crate::proxy::wire::body_error::BodyError;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::grpc;
use crate::proxy::worker::deadline::{CoarseTimer, Deadline};
use crate::telemetry::{EndedBy, GrpcStatus, Refusal};

/// Pieces of a response below this size may be copied.
const COPIED_BELOW: usize = 4096;

/// The body of a response: empty for a tunnel and after a panic (`CatchPanic`).
pub(crate) type Edge = Either<ResponseBody, Empty<Bytes>>;

/// A response body. It owns the exchange, which is recorded when the body is dropped.
pub(crate) struct ResponseBody {
    exchange: Box<Exchange>,
}

impl ResponseBody {
    /// The body of the response to `exchange`.
    pub(crate) fn new(mut exchange: Box<Exchange>) -> Self {
        let ended = is_ended(&exchange);
        exchange.progress.stage = ExchangeStage::Body;
        if let Some(reader) = &exchange.request.reader {
            let client = &exchange.client;
            reader.expect_progress(&client.listener.spec.limits, client.worker.now_ms(), 0);
        }
        if let Some(deadline) = exchange.call.as_ref().and_then(|call| call.deadline) {
            let worker = &exchange.client.worker;
            let left = deadline.duration_since(worker.clock.now());
            exchange.sending.deadline = Some(Box::new(Deadline::new(worker, Some(left))));
        }
        if !ended && matches!(exchange.sending.source, BodySource::Upstream(_)) {
            exchange.sending.kill = exchange.killable(|| exchange.carrier());
        }
        exchange.set_held_upstream(exchange.attempt.upstream_key());
        let mut body = Self { exchange };
        if ended {
            body.finish();
        }
        body
    }

    /// Ends the exchange: the body was read completely.
    fn finish(&mut self) {
        let exchange = &mut self.exchange;
        exchange.progress.stage = ExchangeStage::Done;
        judge::completed(exchange);
        if let Some(primary) = &exchange.mirror.primary {
            primary.end(Ending::Complete);
        }
        // On HTTP/2 the reader's deadline stays until hyper has written what it was given.
        exchange.sending.timer = None;
        exchange.sending.kill = None;
        if let Some(lease) = exchange.attempt.lease.take() {
            lease.finish(exchange.prepared.upload.as_ref(), exchange.client.worker.now_ms());
            // The upstream is finished, even if the client reads slowly.
            exchange.succeed();
            exchange.attempt.flight = None;
            exchange.set_held_upstream(0);
            if let Some(memory) = &mut exchange.request.memory {
                memory.release_body();
            }
        }
    }

    /// Mirrors the response to its comparison, if there is one.
    fn mirror(&self, show: impl FnOnce(&PrimaryResponse)) {
        if let Some(primary) = &self.exchange.mirror.primary {
            show(primary);
        }
    }

    /// Counts a piece until hyper writes or drops it. A small piece after the first is copied, because a slice would
    /// keep the whole buffer that it was read into.
    fn track(&self, data: Bytes) -> Bytes {
        let client = &self.exchange.client;
        if self.exchange.request.head.version != Version::HTTP_2 && data.len() < COPIED_BELOW {
            // An HTTP/1.1 connection has few pieces in flight, so the count is not worth its cost.
            return data;
        }
        let is_small = self.exchange.response.bytes > 0 && data.len() < COPIED_BELOW;
        let data = if is_small { Bytes::copy_from_slice(&data) } else { data };
        client.outbox().track(data)
    }

    /// Sends a body that the proxy made.
    fn send_own(&mut self, body: Option<Bytes>) -> Option<Bytes> {
        let body = body.map(|body| self.track(body));
        self.record_sent(body.as_ref().map_or(0, |body| body.len() as u64));
        if let Some(body) = &body {
            self.mirror(|primary| primary.data(body));
        }
        self.finish();
        body
    }

    fn abort(&mut self, ender: EndedBy, detail: &'static str) -> BodyError {
        self.exchange.record_end(ender, detail);
        BodyError(detail)
    }

    /// Records that the reader was given bytes.
    fn record_sent(&mut self, bytes: u64) {
        self.exchange.response.bytes += bytes;
        let client = &self.exchange.client;
        let now_ms = client.worker.now_ms();
        self.exchange.sending.sent_ms = Some(now_ms);
        if let Some(reader) = &self.exchange.request.reader {
            reader.expect_progress(&client.listener.spec.limits, now_ms, bytes);
        }
    }

    /// Checks the rate of the reader, which polls for more.
    fn check_rate(&mut self) -> Option<BodyError> {
        let (client, sending) = (&self.exchange.client, &mut self.exchange.sending);
        sending.waited_ms += client.worker.now_ms().saturating_sub(sending.sent_ms.take()?);
        let rate = u64::from(client.listener.spec.limits.body_rate);
        let least = rate.saturating_mul(sending.waited_ms) / 1000;
        if sending.waited_ms <= RATE_GRACE_MS || self.exchange.response.bytes >= least {
            return None;
        }
        client.worker.meter().refuse(Refusal::ReaderStalled);
        Some(self.abort(EndedBy::Client, "reader_stalled"))
    }

    /// Ends the exchange after the upstream broke the body off.
    fn break_off(&mut self) -> BodyError {
        self.mirror(|primary| primary.end(Ending::Cut));
        // An upload that failed ends the response too: that is not the upstream's fault.
        let row = match self.exchange.prepared.upload.as_ref().and_then(|upload| upload.failed.get()) {
            Some(UploadFault::Refused(refusal)) => Fault::Refused(refusal).row(),
            Some(UploadFault::Gone) => Fault::ClientGone.row(),
            None => {
                self.exchange.charge_broken_body();
                judge::failed(&mut self.exchange, None);
                Fault::UpstreamReset.row()
            }
        };
        self.abort(row.blame, row.detail)
    }

    /// Ends the exchange with the trailers of the body.
    fn end_with(&mut self, mut trailers: HeaderMap) -> Frame<Bytes> {
        self.mirror(|primary| primary.trailers(&trailers));
        judge::trailed(&mut self.exchange, &mut trailers);
        if self.exchange.call.is_some() && GrpcStatus::of_map(&trailers) == Some(GrpcStatus::UNAVAILABLE) {
            self.exchange.charge(FailureCause::Grpc);
        }
        self.finish();
        self.forget_source();
        self.exchange.last_frame(trailers)
    }

    /// Nothing more is read from the upstream.
    fn forget_source(&mut self) {
        self.exchange.sending.source = BodySource::Own(None);
        self.exchange.upstream_response.body = UpstreamBody::None;
    }

    /// Ready when no bytes have passed in either direction for the idle timeout.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = idle_timeout(&self.exchange) else { return Poll::Pending };
        let Exchange { client, prepared, sending, .. } = &mut *self.exchange;
        loop {
            let uploaded = || prepared.upload.as_ref().map_or(0, |upload| upload.bytes.get());
            let timer = sending.timer.get_or_insert_with(|| {
                sending.uploaded = uploaded();
                CoarseTimer::new(&client.worker, idle)
            });
            ready!(timer.poll(cx));
            if sending.uploaded == uploaded() {
                return Poll::Ready(());
            }
            sending.timer = None;
        }
    }

    /// Ends a gRPC call whose deadline has passed: releases the upstream, and sends the status in trailers. Only HTTP/2
    /// is sure to carry them.
    fn end_call(&mut self) -> Result<Frame<Bytes>, BodyError> {
        self.forget_source();
        self.exchange.sending.deadline = None;
        self.exchange.release_upstream();
        judge::failed(&mut self.exchange, None);
        let cut = self.abort(EndedBy::Upstream, "call_timeout");
        if let Some(call) = &mut self.exchange.call {
            call.status = GrpcStatus::DEADLINE_EXCEEDED;
        }
        if self.exchange.request.head.version != Version::HTTP_2 {
            return Err(cut);
        }
        let message = Fault::CallTimeout.row().message;
        Ok(Frame::trailers(grpc::trailers(GrpcStatus::DEADLINE_EXCEEDED, message.as_bytes())))
    }
}

impl ResponseContent for Edge {
    #[inline]
    fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Left(body) => body.take_whole(),
            Self::Right(_) => None,
        }
    }
}

impl ResponseBody {
    /// Takes a body that the proxy has as a whole, as [`Body::poll_frame`] does.
    #[inline]
    fn take_whole(&mut self) -> Option<Bytes> {
        let exchange = &mut *self.exchange;
        let BodySource::Own(body) = &mut exchange.sending.source else { return None };
        if exchange.sending.deadline.is_some() {
            return None;
        }
        let body = body.take()?;
        exchange.client.take_slot(exchange.slot());
        self.send_own(Some(body))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        this.exchange.client.take_slot(this.exchange.slot());
        if let Some(cut) = this.check_rate() {
            return Poll::Ready(Some(Err(cut)));
        }
        let sending = &mut this.exchange.sending;
        if sending.deadline.as_mut().is_some_and(|deadline| deadline.poll(cx).is_ready()) {
            return Poll::Ready(Some(this.end_call()));
        }
        if sending.kill.as_ref().is_some_and(|kill| kill.must_close(cx)) {
            return Poll::Ready(Some(Err(this.abort(EndedBy::Proxy, "killed"))));
        }
        let polled = match &mut sending.source {
            BodySource::Own(body) => {
                let body = body.take();
                return Poll::Ready(this.send_own(body).map(|body| Ok(Frame::data(body))));
            }
            BodySource::Upstream(polled) => polled.take(),
        };
        let Exchange { upstream_response, attempt, .. } = &mut *this.exchange;
        let polled = match polled {
            Some(polled) => Poll::Ready(*polled),
            None => upstream_response.body.poll_frame(&mut attempt.lease, cx),
        };
        match polled {
            Poll::Pending => {
                if let Some(reader) = &this.exchange.request.reader {
                    reader.clear_deadline();
                }
                ready!(this.poll_idle(cx));
                judge::failed(&mut this.exchange, None);
                Poll::Ready(Some(Err(this.abort(EndedBy::Upstream, "idle_timeout"))))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(this.break_off()))),
            Poll::Ready(Some(Ok(frame))) => {
                let ended = this.exchange.upstream_response.body.is_end_stream();
                this.exchange.sending.timer = None;
                Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(data) => {
                        let data = this.track(data);
                        this.record_sent(data.len() as u64);
                        this.mirror(|primary| primary.data(&data));
                        if ended {
                            this.finish();
                        }
                        Frame::data(data)
                    }
                    Err(frame) => this.end_with(frame.into_trailers().unwrap_or_default()),
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        is_ended(&self.exchange)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.exchange.sending.source {
            BodySource::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            BodySource::Upstream(None) => self.exchange.upstream_response.body.size_hint(),
            // The polled frame is a part of the body, and the rest has no known length.
            BodySource::Upstream(Some(_)) => SizeHint::default(),
        }
    }
}

/// Whether the whole body was taken.
fn is_ended(exchange: &Exchange) -> bool {
    match &exchange.sending.source {
        BodySource::Own(body) => body.is_none(),
        BodySource::Upstream(polled) => polled.is_none() && exchange.upstream_response.body.is_end_stream(),
    }
}

/// The idle timeout of the route.
fn idle_timeout(exchange: &Exchange) -> Option<Duration> {
    let rules = &exchange.view.snapshot.rules;
    exchange.routing.route.and_then(|route| rules.route(route).timeouts.idle)
}
