//! How fast a request's body comes, and how long its client was waited for.

use std::cell::Cell;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A body may be slow for this long before its rate counts.
pub(crate) const RATE_GRACE_MS: u64 = 5000;

/// How fast a request's body comes.
#[derive(Default)]
pub(crate) struct Pace {
    /// When its last piece was pulled, or its end.
    moved: Cell<Option<Instant>>,
    /// Since when the client is waited for.
    waits: Cell<Option<Instant>>,
    /// How long it was waited for before.
    waited: Cell<Duration>,
}

impl Pace {
    /// The next piece was asked for.
    pub(crate) fn record_poll<T>(&self, polled: &Poll<T>, now: Instant) {
        match polled {
            Poll::Pending if self.waits.get().is_some() => {}
            Poll::Pending => self.waits.set(Some(now)),
            Poll::Ready(_) => {
                self.stop_waiting(now);
                self.moved.set(Some(now));
            }
        }
    }

    /// The client is not waited for any more.
    pub(crate) fn stop_waiting(&self, now: Instant) {
        if let Some(since) = self.waits.take() {
            self.waited.set(self.waited.get() + now.duration_since(since));
            self.moved.set(Some(now));
        }
    }

    /// How long the client was waited for in all.
    pub(crate) fn waited_ms(&self) -> u64 {
        u64::try_from(self.waited.get().as_millis()).unwrap_or(u64::MAX)
    }

    /// From when the route's bound runs: from the last piece, or from the end of a wait that is under way.
    pub(crate) fn runs_from(&self, stall_max: Option<Duration>) -> Option<Instant> {
        let wait_ends = self.waits.get().zip(stall_max).map(|(since, stall_max)| since + stall_max);
        wait_ends.or(self.moved.get())
    }
}
