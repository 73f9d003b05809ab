//! The deadline of a response head. The route's `timeout.request` starts at the end of the request body, and again at
//! each piece of it. It stops while the proxy waits for the client, which has limits of its own (`stall_timeout`,
//! `body_rate`) that fire first. So a slow but steady upload is not a fault of the upstream, and an upstream that does
//! not read is late. In a gRPC call, messages may come at any time: there it starts at the last message. The deadline
//! of the call (`grpc-timeout`) starts with the call and never stops.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use super::exchange::Exchange;
use super::kill_streams::KillableStream;
use crate::clock::Timestamp;
use crate::proxy::body::upload::Upload;
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy::worker::deadline::Deadline;

/// The deadline of one response head.
pub(crate) struct ResponseDeadline {
    worker: Rc<Worker>,
    timer: Deadline,
    /// The route's timeout.
    usual: Option<Duration>,
    /// The deadline of the gRPC call.
    of_call: Option<Timestamp>,
    began: Timestamp,
    upload: Option<Rc<Upload>>,
    /// Limit on how long the timeout stops for the client; `None` in a call, whose client may be idle.
    stall_max: Option<Duration>,
}

impl ResponseDeadline {
    /// For an exchange whose request head has just arrived.
    pub(crate) fn new(exchange: &Exchange, usual: Option<Duration>) -> Self {
        let of_call = exchange.call.as_ref().and_then(|call| call.deadline);
        let began = exchange.request.began;
        let first = match of_call.map(|deadline| deadline.duration_since(began)) {
            None => usual,
            Some(left) => Some(usual.map_or(left, |usual| usual.min(left))),
        };
        let worker = Rc::clone(&exchange.client.worker);
        let timer = match exchange.request.reader {
            None => Deadline::of_response(&worker, &exchange.client.deadlines, first),
            Some(_) => Deadline::new(&worker, first),
        };
        let upload = exchange.prepared.upload.as_ref().map(Rc::clone);
        // The sweep checks the client's own limit. Twice its length fires later even if the worker is busy.
        let stall_max = exchange.client.listener.spec.limits.stall_timeout.saturating_mul(2);
        let stall_max = exchange.call.is_none().then_some(stall_max);
        Self { worker, timer, usual, of_call, began, upload, stall_max }
    }

    /// Runs `future` until the deadline or a kill. Cancel safe if `future` is.
    ///
    /// # Errors
    /// That of `future`, or the fault of the deadline that has passed.
    pub(super) fn bound<T>(
        &mut self,
        kill: Option<&KillableStream>,
        mut future: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> impl Future<Output = Result<T, Fault>> {
        // One future for both: each more is polled twice a request.
        poll_fn(move |cx| {
            if let ended @ Poll::Ready(_) = future.as_mut().poll(cx) {
                return ended;
            }
            if kill.is_some_and(|kill| kill.must_close(cx)) {
                return Poll::Ready(Err(Fault::Killed));
            }
            loop {
                ready!(self.timer.poll(cx));
                match self.left() {
                    Ok(left) => self.timer = Deadline::new(&self.worker, left),
                    Err(fault) => return Poll::Ready(Err(fault)),
                }
            }
        })
    }

    /// The time left; `None` without a deadline.
    fn left(&self) -> Result<Option<Duration>, Fault> {
        let now = self.worker.clock.now();
        let until = |deadline: Timestamp| Some(deadline.duration_since(now)).filter(|left| !left.is_zero());
        let of_call = self.of_call.map(|deadline| until(deadline).ok_or(Fault::CallTimeout)).transpose()?;
        let runs_from = self.upload.as_ref().and_then(|upload| upload.pace.runs_from(self.stall_max));
        let runs_from = runs_from.unwrap_or(self.began);
        // The timeout may resume at any moment. It then fires after `usual` at the earliest: check again at that time.
        let next = |usual: Duration| until(runs_from + usual).map(|left| left.min(usual));
        let usual = self.usual.map(|usual| next(usual).ok_or(Fault::ResponseTimeout));
        Ok([of_call, usual.transpose()?].into_iter().flatten().min())
    }
}
