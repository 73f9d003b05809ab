//! The reader of an HTTP/2 response: stall deadline, request slot, upstream in use. Beside it
//! [`RequestSlot`], a place among the requests, and [`TunnelSender`], the sender half of a tunnel's stream.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use crate::route::Limits;
use crate::telemetry::{Refusal, WorkerMeter};

/// A reader that takes so many bytes a second has not stalled.
const SLOW_RATE: u64 = 16 * 1024;

/// How long a slow reader takes over so many bytes.
pub(super) const fn patience_ms(bytes: u64) -> u64 {
    bytes.saturating_mul(1000) / SLOW_RATE
}

/// A place among the requests of a listener and of a client address.
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

/// Identifies an upstream. `0` is none.
pub(crate) type UpstreamKey = usize;

/// When a stream's reader has waited too long, if it is the reader who is waited for.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    pub(crate) due_ms: Cell<Option<u64>>,
    /// When what it was last given should have left at a slow pace.
    since_ms: Cell<u64>,
    refusal: Cell<Option<Refusal>>,
    /// Its place among the requests.
    pub(crate) slot: RequestSlot,
    /// Its place among those that are waited for.
    pub(crate) place: Cell<Option<usize>>,
    /// The upstream whose connection its answer holds.
    pub(crate) upstream: Cell<UpstreamKey>,
    killed: Cell<bool>,
    /// The stream's task, while its reader is waited for.
    pub(crate) task: RefCell<Option<Waker>>,
    /// Where the stream has become a tunnel: how its sender half is.
    pub(crate) sender: TunnelSender,
}

/// The half of a tunnel's stream that sends, a task of hyper's.
#[derive(Debug, Default)]
pub(crate) struct TunnelSender {
    pub(crate) ended: Cell<bool>,
    pub(crate) cut: Cell<bool>,
    pub(crate) task: RefCell<Option<Waker>>,
    pub(crate) tunnel: RefCell<Option<Waker>>,
}

impl ResponseReader {
    /// The reader was given this many bytes and is to ask for more.
    pub(crate) fn expect_progress(&self, limits: &Limits, now_ms: u64, bytes: u64) {
        let stall_ms = u64::try_from(limits.stall_timeout.as_millis()).unwrap_or(u64::MAX);
        let rate = u64::from(limits.body_rate);
        // Bytes that are on their way at the least rate are no stall.
        let flows_ms = bytes.saturating_mul(1000).checked_div(rate).unwrap_or(0);
        self.since_ms.set(now_ms + patience_ms(bytes));
        self.due_ms.set(Some(now_ms.saturating_add(stall_ms).saturating_add(flows_ms)));
    }

    /// Since when the reader has stalled, if it has.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// The stream ends: its reader does not read, while memory or an upstream's connections run short.
    pub(crate) fn shed(&self, meter: &WorkerMeter) {
        self.abort(meter, Refusal::ReaderShed);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// The stream ends, for this reason.
    pub(crate) fn abort(&self, meter: &WorkerMeter, refusal: Refusal) {
        meter.refuse(refusal);
        self.refusal.set(Some(refusal));
    }

    /// The reader is not waited for.
    pub(crate) fn clear_deadline(&self) {
        self.due_ms.set(None);
    }

    /// Whether the stream takes no more bytes from its tunnel, which is woken when that happens.
    pub(crate) fn is_send_closed(&self, cx: &Context<'_>) -> bool {
        *self.sender.tunnel.borrow_mut() = Some(cx.waker().clone());
        self.sender.ended.get()
    }

    /// The tunnel has not ended in good order: the stream is reset (RFC 8441 §5).
    pub(crate) fn reset(&self) {
        self.sender.cut.set(true);
        if let Some(task) = self.sender.task.take() {
            task.wake();
        }
    }

    /// The stream is to end, whether its reader asks for more or not.
    pub(crate) fn kill(&self) {
        self.killed.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Whether the stream was to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Why the stream was given up, if it was because of its reader.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }
}
