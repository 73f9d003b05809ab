//! What the upstream's side of an HTTP/2 connection says of the connection as a whole: its settings (RFC 9113 §6.5) and that
//! it leaves (§6.8). `h2_io.rs` notes it as it is read.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// What the other side has said of the connection.
#[derive(Debug, Default)]
pub(crate) struct H2PeerState {
    pub(super) streams_max: Cell<Option<u32>>,
    pub(crate) extended_connect: Cell<bool>,
    pub(crate) settings: Cell<bool>,
    pub(crate) going_away: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    pub(crate) received: Cell<bool>,
    pub(crate) tls_refused: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl H2PeerState {
    /// How many streams there may be at a time.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max.get().and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
    }

    /// Whether a stream may be asked to become something else than HTTP (RFC 8441 §3).
    pub(crate) fn takes_extended_connect(&self) -> bool {
        self.extended_connect.get()
    }

    /// Whether no more streams are taken.
    pub(super) fn is_going_away(&self) -> bool {
        self.going_away.get()
    }

    /// Waits until the other side has told its settings, how many streams it takes among them: says whether it has,
    /// before the connection ended. Cancel safe.
    pub(crate) async fn settings_received(&self) -> bool {
        poll_fn(|cx| {
            if self.settings.get() || self.ended.get() {
                return Poll::Ready(self.settings.get());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether anything was said at all.
    pub(super) fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Whether it refused us, under TLS.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        self.tls_refused.get()
    }

    /// Sets a flag and wakes the waiter.
    pub(super) fn set(&self, fact: &Cell<bool>) {
        fact.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
