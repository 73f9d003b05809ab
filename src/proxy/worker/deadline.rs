//! Coarse timers: setting, moving and dropping one costs a few plain stores. They fire at the worker's sweep, about two
//! sweeps late at most and never early. Short deadlines use the runtime's own timer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::connection_deadlines::{ConnectionDeadlines, ResponseTimer, SWEEP};
use super::state::Worker;

/// Deadlines below this use a precise timer.
const PRECISE_BELOW: Duration = Duration::from_secs(2);

/// A coarse timer. Frees its slot when dropped.
pub(crate) struct CoarseTimer {
    worker: Rc<Worker>,
    slot: Option<usize>,
    deadline_ms: u64,
}

impl CoarseTimer {
    /// A timer that fires `after` from now.
    pub(crate) fn new(worker: &Rc<Worker>, after: Duration) -> Self {
        let mut timer = Self { worker: Rc::clone(worker), slot: None, deadline_ms: 0 };
        timer.restart(after);
        timer
    }

    /// Moves the deadline to `after` from now.
    pub(crate) fn restart(&mut self, after: Duration) {
        self.deadline_ms = deadline_ms(&self.worker, after);
        if let Some(at) = self.slot {
            self.worker.timers.set_deadline(at, self.deadline_ms);
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.worker.now_ms() >= self.deadline_ms {
            return Poll::Ready(());
        }
        self.slot = Some(self.worker.timers.wait(self.slot, self.deadline_ms, cx));
        Poll::Pending
    }
}

impl Drop for CoarseTimer {
    fn drop(&mut self) {
        if let Some(at) = self.slot {
            self.worker.timers.free(at);
        }
    }
}

/// The time of the worker `after` from now.
fn deadline_ms(worker: &Worker, after: Duration) -> u64 {
    // `now_ms` is the time of the last sweep: without the addition the timer could fire early. A sweep may be late.
    let after = u64::try_from((after + SWEEP + SWEEP / 4).as_millis()).unwrap_or(u64::MAX);
    worker.now_ms().saturating_add(after)
}

/// An optional deadline.
pub(crate) enum Deadline {
    Never,
    /// At least [`PRECISE_BELOW`].
    Coarse(CoarseTimer),
    /// The same, of the response that an HTTP/1.1 connection awaits.
    Response(ResponseTimer),
    /// Below [`PRECISE_BELOW`].
    Precise(Pin<Box<tokio::time::Sleep>>),
}

impl Deadline {
    /// A deadline `after` from now.
    pub(crate) fn new(worker: &Rc<Worker>, after: Option<Duration>) -> Self {
        match after {
            None => Self::Never,
            Some(after) if after < PRECISE_BELOW => Self::Precise(Box::pin(tokio::time::sleep(after))),
            Some(after) => Self::Coarse(CoarseTimer::new(worker, after)),
        }
    }

    /// The same, for the response that this HTTP/1.1 connection awaits.
    #[inline]
    pub(crate) fn of_response(
        worker: &Rc<Worker>,
        connection: &Rc<ConnectionDeadlines>,
        after: Option<Duration>,
    ) -> Self {
        match after {
            Some(after) if after >= PRECISE_BELOW => {
                Self::Response(ResponseTimer::new(connection, deadline_ms(worker, after)))
            }
            Some(_) | None => Self::new(worker, after),
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Response(timer) if timer.has_fired() => Poll::Ready(()),
            Self::Never | Self::Response(_) => Poll::Pending,
            Self::Coarse(timer) => timer.poll(cx),
            Self::Precise(sleep) => sleep.as_mut().poll(cx),
        }
    }
}
