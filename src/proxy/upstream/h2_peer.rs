//! What the upstream's side of an HTTP/2 connection says of the connection as a whole: its settings (RFC 9113 §6.5) and that
//! it leaves (§6.8). `h2_io.rs` notes it as it is read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// What the other side has said of the connection.
#[derive(Debug, Default)]
pub(crate) struct H2PeerState {
    pub(super) streams_max: Cell<Option<u32>>,
    pub(crate) connects: Cell<bool>,
    pub(crate) settled: Cell<bool>,
    pub(crate) leaving: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    pub(crate) anything: Cell<bool>,
    pub(crate) refused: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl H2PeerState {
    /// How many streams there may be at a time.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max.get().and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
    }

    /// Whether a stream may be asked to become something else than HTTP (RFC 8441 §3).
    pub(crate) fn connects(&self) -> bool {
        self.connects.get()
    }

    /// Whether no more streams are taken.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Waits until the other side has told its settings, how many streams it takes among them: says whether it has,
    /// before the connection ended. Cancel safe.
    pub(crate) async fn settled(&self) -> bool {
        poll_fn(|cx| {
            if self.settled.get() || self.ended.get() {
                return Poll::Ready(self.settled.get());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether anything was said at all.
    pub(super) fn is_anything(&self) -> bool {
        self.anything.get()
    }

    /// Whether it refused us, under TLS.
    pub(crate) fn is_refusal(&self) -> bool {
        self.refused.get()
    }

    /// Sets a flag and wakes the waiter.
    pub(super) fn is_now(&self, fact: &Cell<bool>) {
        fact.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
