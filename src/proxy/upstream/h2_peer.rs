//! The state of an HTTP/2 connection that the upstream announces: its SETTINGS (RFC 9113 §6.5) and GOAWAY (§6.8).
//! `h2_io.rs` sets it as it reads the frames, since hyper does not expose them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The state of a connection that the upstream announced.
#[derive(Debug, Default)]
pub(crate) struct H2PeerState {
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub(super) streams_max: Cell<Option<u32>>,
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
    pub(crate) extended_connect: Cell<bool>,
    /// The first SETTINGS frame is complete.
    pub(crate) settings_complete: Cell<bool>,
    /// A GOAWAY arrived.
    pub(crate) going_away: Cell<bool>,
    /// The connection ended.
    pub(crate) ended: Cell<bool>,
    /// A byte arrived.
    pub(crate) received: Cell<bool>,
    /// The upstream closed the TLS session with an alert.
    pub(crate) tls_refused: Cell<bool>,
    /// The end of the connection is charged to its endpoint.
    charged: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl H2PeerState {
    /// The upstream's limit on concurrent streams.
    pub(super) fn streams_max(&self) -> usize {
        // Without the setting there is no limit (RFC 9113 §6.5.2).
        self.streams_max.get().and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
    }

    /// Whether the upstream accepts an extended CONNECT (RFC 8441 §3).
    pub(crate) fn takes_extended_connect(&self) -> bool {
        self.extended_connect.get()
    }

    /// Charges the end of the connection to its endpoint: true for the first of its streams. One broken connection is one
    /// failure, and one that the upstream announced by GOAWAY is none.
    pub(crate) fn charge_end(&self) -> bool {
        !self.charged.replace(true) && !self.is_going_away()
    }

    /// Whether the upstream accepts no new streams.
    pub(super) fn is_going_away(&self) -> bool {
        self.going_away.get()
    }

    /// Waits for the upstream's SETTINGS, which include its limit on streams. Returns false if the connection ends
    /// before. Cancel safe; for one waiter.
    pub(crate) async fn settings_received(&self) -> bool {
        poll_fn(|cx| {
            // The flags stay set, so a cancelled wait loses nothing.
            if self.settings_complete.get() || self.ended.get() {
                return Poll::Ready(self.settings_complete.get());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether a byte arrived.
    pub(super) fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Whether the upstream refused the proxy with a TLS alert.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        self.tls_refused.get()
    }

    /// Sets a flag and wakes the waiter.
    pub(super) fn set(&self, fact: &Cell<bool>) {
        // Before the wake, since the waiter looks at the flags when it is polled.
        fact.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
