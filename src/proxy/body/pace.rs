//! The rate of a request's body: how long the proxy waited for its client.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use crate::clock::Timestamp;

/// The least rate is enforced after the proxy has waited this long.
pub(crate) const RATE_GRACE_MS: u64 = 5000;

/// The rate of a request's body.
#[derive(Default)]
pub(crate) struct Pace {
    /// Time of the last piece, or of the end.
    moved: Cell<Option<Timestamp>>,
    /// Start of the current wait for the client.
    waits: Cell<Option<Timestamp>>,
    /// Sum of the waits before.
    waited: Cell<Duration>,
}

impl Pace {
    /// Records a poll for the next piece.
    pub(crate) fn record_poll<T>(&self, polled: &Poll<T>, now: Timestamp) {
        match polled {
            Poll::Pending if self.waits.get().is_some() => {}
            Poll::Pending => self.waits.set(Some(now)),
            Poll::Ready(_) => {
                self.stop_waiting(now);
                self.moved.set(Some(now));
            }
        }
    }

    /// Ends the current wait.
    pub(crate) fn stop_waiting(&self, now: Timestamp) {
        if let Some(since) = self.waits.take() {
            self.waited.set(self.waited.get() + now.duration_since(since));
            self.moved.set(Some(now));
        }
    }

    /// Sum of all waits for the client.
    pub(crate) fn waited_ms(&self) -> u64 {
        u64::try_from(self.waited.get().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the last piece came, or the body ended.
    pub(crate) fn moved(&self) -> Option<Timestamp> {
        self.moved.get()
    }

    /// Whether the proxy waits for the client.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits.get().is_some()
    }

    /// Start of the route's time limit for a response: the last piece, or the latest end of the current wait.
    pub(crate) fn runs_from(&self, stall_max: Option<Duration>) -> Option<Timestamp> {
        let wait_ends = self.waits.get().zip(stall_max).map(|(since, stall_max)| since + stall_max);
        wait_ends.or(self.moved.get())
    }
}
