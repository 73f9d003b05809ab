//! How long the head of an answer may take. The route's `timeout.request` runs from the end of the request's body, and
//! anew from each piece of it; it stands still while the client is waited for, whose slowness has bounds of its own
//! (`stall_timeout`, `body_rate`) that come first. So a slow but steady upload is never the service's fault, and a
//! service that does not read is late. The messages of a gRPC call come when there is something to say: there it runs
//! from the last one. The deadline of a call itself (`grpc-timeout`) runs from its beginning, whatever happens.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use crate::proxy::body::upload::Upload;
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy::worker::deadline::Deadline;

/// The bound on the head of one answer.
pub(crate) struct ResponseDeadline {
    worker: Rc<Worker>,
    timer: Deadline,
    /// The route's bound.
    usual: Option<Duration>,
    /// When the call must have ended.
    of_call: Option<Instant>,
    began: Instant,
    upload: Option<Rc<Upload>>,
    /// So long it stands still for the client at most; nothing in a call, whose client may have nothing to say.
    stall_max: Option<Duration>,
}

impl ResponseDeadline {
    /// For an exchange whose request's head has just come.
    pub(crate) fn new(exchange: &Exchange, usual: Option<Duration>) -> Self {
        let of_call = exchange.call.as_ref().and_then(|call| call.deadline);
        let began = exchange.request.began;
        let left_of_call = of_call.map(|deadline| deadline.saturating_duration_since(began));
        let first = [usual, left_of_call].into_iter().flatten().min();
        let worker = Rc::clone(&exchange.client.worker);
        let timer = Deadline::new(&worker, first);
        let upload = exchange.prepared.upload.as_ref().map(Rc::clone);
        // The client's own bound is looked at by the sweep: it must come first, however busy the worker is.
        let stall_max = exchange.client.listener.spec.limits.stall_timeout.saturating_mul(2);
        let stall_max = exchange.call.is_none().then_some(stall_max);
        Self { worker, timer, usual, of_call, began, upload, stall_max }
    }

    /// What `future` gives, unless it takes too long. Cancel safe when `future` is.
    ///
    /// # Errors
    /// Whose bound has passed.
    pub(crate) async fn bound<F: Future>(&mut self, mut future: Pin<&mut F>) -> Result<F::Output, Fault> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            loop {
                ready!(self.timer.poll(cx));
                match self.left() {
                    Ok(left) => self.timer = Deadline::new(&self.worker, left),
                    Err(fault) => return Poll::Ready(Err(fault)),
                }
            }
        })
        .await
    }

    /// How long it may still take; nothing where there is no bound.
    fn left(&self) -> Result<Option<Duration>, Fault> {
        let now = self.worker.clock.now();
        let until = |deadline: Instant| Some(deadline.saturating_duration_since(now)).filter(|left| !left.is_zero());
        let of_call = self.of_call.map(|deadline| until(deadline).ok_or(Fault::CallTimeout)).transpose()?;
        let runs_from = self.upload.as_ref().and_then(|upload| upload.pace.runs_from(self.stall_max));
        let runs_from = runs_from.unwrap_or(self.began);
        // When the client goes on, it is due sooner: it is looked at again as soon as it can be due then.
        let next = |usual: Duration| until(runs_from + usual).map(|left| left.min(usual));
        let usual = self.usual.map(|usual| next(usual).ok_or(Fault::ResponseTimeout));
        Ok([of_call, usual.transpose()?].into_iter().flatten().min())
    }
}
