//! The limit of one try, `timeout.per_try`. It runs while the client has sent its whole request.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::exchange::Exchange;
use crate::failover::Reached;
use crate::proxy::body::upload::Upload;
use crate::proxy::upstream::h1::connection::SendError;
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy::worker::deadline::Deadline;

/// The limit of one try. Boxed: few routes have one.
pub(super) struct TryLimit(Option<Box<RunningLimit>>);

struct RunningLimit {
    worker: Rc<Worker>,
    upload: Option<Rc<Upload>>,
    per_try: Duration,
    timer: Deadline,
}

impl TryLimit {
    /// The limit of a try that begins now.
    #[inline]
    pub(super) fn new(exchange: &Exchange, per_try: Option<Duration>) -> Self {
        Self(per_try.map(|per_try| Box::new(RunningLimit::new(exchange, per_try))))
    }

    /// Ready when the try has taken too long.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SendError> {
        self.0.as_mut().map_or(Poll::Pending, |limit| limit.poll(cx))
    }
}

impl RunningLimit {
    fn new(exchange: &Exchange, per_try: Duration) -> Self {
        let (worker, upload) = (Rc::clone(&exchange.client.worker), exchange.prepared.upload.as_ref().map(Rc::clone));
        let timer = Deadline::new(&worker, Some(per_try));
        Self { worker, upload, per_try, timer }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SendError> {
        loop {
            ready!(self.timer.poll(cx));
            let Some(left) = self.upload.as_ref().and_then(|upload| self.left_after(upload)) else {
                return Poll::Ready(SendError { fault: Fault::ResponseTimeout, reached: Reached::Unanswered });
            };
            self.timer = Deadline::new(&self.worker, Some(left));
        }
    }

    /// The rest of the limit, which runs from the last piece of the upload.
    fn left_after(&self, upload: &Upload) -> Option<Duration> {
        if !upload.ended.get() {
            return Some(self.per_try);
        }
        let until = upload.pace.runs_from(None)? + self.per_try;
        Some(until.duration_since(self.worker.clock.now())).filter(|left| !left.is_zero())
    }
}
