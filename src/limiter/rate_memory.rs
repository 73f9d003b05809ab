//! The memory of all tables of rate limits together is bounded.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the tables of all rate limits may use. A table that gets no more stays as it is and evicts keys.
#[derive(Debug)]
pub struct RateMemory {
    used: AtomicUsize,
    bytes: usize,
}

impl RateMemory {
    /// The bytes of all tables of a process: about thirty whole ones.
    pub const BYTES: usize = 64 << 20;

    /// A budget.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes }
    }

    /// The bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Takes bytes. Returns whether they were there.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives bytes back.
    pub(super) fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes, "bytes are given back once");
    }
}

impl Default for RateMemory {
    fn default() -> Self {
        Self::new(Self::BYTES)
    }
}
