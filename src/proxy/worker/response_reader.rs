//! The client's end of an HTTP/2 response: its stall deadline, request slot, and upstream in use. Also [`RequestSlot`],
//! a slot under the request limits.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::route::Limits;
use crate::telemetry::{Refusal, WorkerMeter};

/// A reader is not stalled while it takes this many bytes a second.
const SLOW_RATE: u64 = 16 * 1024;

/// The time in which a slow reader takes this many bytes.
pub(super) const fn patience_ms(bytes: u64) -> u64 {
    bytes.saturating_mul(1000) / SLOW_RATE
}

/// A slot under the request limits of a listener and of a client address.
#[derive(Debug, Default)]
pub(crate) struct RequestSlot(Cell<bool>);

impl RequestSlot {
    /// Takes the slot; returns whether it was free.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        !self.0.replace(true)
    }

    /// Frees the slot; returns whether it was taken.
    #[inline]
    pub(crate) fn free(&self) -> bool {
        self.0.replace(false)
    }
}

/// Identifies an upstream; 0 is none.
pub(crate) type UpstreamKey = usize;

/// The reader of one response stream, and until when it must make progress.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    pub(crate) due_ms: Cell<Option<u64>>,
    /// When a slow reader should have taken the bytes that it was last given.
    since_ms: Cell<u64>,
    refusal: Cell<Option<Refusal>>,
    /// The slot of its request.
    pub(crate) slot: RequestSlot,
    /// Its index in [`StalledReaders`](super::stalled_readers::StalledReaders).
    pub(crate) place: Cell<Option<usize>>,
    /// The upstream whose connection the response holds.
    pub(crate) upstream: Cell<UpstreamKey>,
    killed: Cell<bool>,
    /// Wakes the stream, while it waits for the reader.
    pub(crate) task: RefCell<Option<Waker>>,
}

impl ResponseReader {
    /// Sets the deadline by which the reader must poll again, after it was given `bytes` more.
    pub(crate) fn expect_progress(&self, limits: &Limits, now_ms: u64, bytes: u64) {
        let stall_ms = u64::try_from(limits.stall_timeout.as_millis()).unwrap_or(u64::MAX);
        let rate = u64::from(limits.body_rate);
        // Bytes that flow at the least allowed rate are not a stall.
        let flows_ms = bytes.saturating_mul(1000).checked_div(rate).unwrap_or(0);
        self.since_ms.set(now_ms + patience_ms(bytes));
        self.due_ms.set(Some(now_ms.saturating_add(stall_ms).saturating_add(flows_ms)));
    }

    /// Since when the reader has been stalled.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// Ends the stream because memory or upstream connections run short.
    pub(crate) fn shed(&self, meter: &WorkerMeter) {
        self.abort(meter, Refusal::ReaderShed);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Ends the stream because of `refusal`.
    pub(crate) fn abort(&self, meter: &WorkerMeter, refusal: Refusal) {
        meter.refuse(refusal);
        self.refusal.set(Some(refusal));
    }

    /// Clears the deadline: the stream waits for the upstream, not for the reader.
    pub(crate) fn clear_deadline(&self) {
        self.due_ms.set(None);
    }

    /// Ends the stream because of a kill, even if its reader does not poll.
    pub(crate) fn kill(&self) {
        self.killed.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Whether a kill has ended the stream.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Why the stream was ended because of its reader.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }
}
