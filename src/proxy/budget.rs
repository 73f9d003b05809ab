//! How much memory the requests under way of a worker may take up. Heads that a few bytes of HTTP/2 unfold to, or
//! thousands of requests that wait for a slow upstream or a reader that does not read, may not use up the memory that
//! all share: beyond the budget a request is refused with 503 before it costs more.

use std::cell::Cell;
use std::rc::Rc;

use super::pool::STREAMS_MAX;
use crate::telemetry::memory_bytes;

/// The part of the memory that this process may use which requests may take up: a third.
const PART: u64 = 3;
/// Never less than this, for all workers together.
const BYTES_MIN: u64 = 16 * 1024 * 1024;
/// What any request takes up until it has ended: its task, its state, the connection to the upstream with its buffers.
/// Measured: 30 KB on HTTP/2 with an answer that is not read.
const REQUEST_BYTES: usize = 32 * 1024;
/// What a field takes up besides its name and value until the upstream has answered.
const FIELD_BYTES: usize = 256;
/// What the buffers of a body take up that is larger than one read. It is not refused for that any more, but what comes
/// after it may be.
const BODY_BYTES: usize = 384 * 1024;
/// Windows of HTTP/2 connections that the budget has room for, and their bounds.
const WINDOWS: usize = 16;
const WINDOW_BYTES: (u32, u32) = (1024 * 1024, 64 * 1024 * 1024);
/// Windows of streams that one of a connection has room for, and their bounds.
const STREAMS_FULL: u32 = 4;
const STREAM_WINDOW_BYTES: (u32, u32) = (256 * 1024, 5 * 1024 * 1024);
/// How many times names and values are in memory until then: as read, as kept for a second try, as written.
const COPIES: usize = 3;

/// A worker's budget.
#[derive(Debug)]
pub(super) struct Budget {
    used: Cell<usize>,
    max: usize,
}

/// How far a body's way to the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A connection of its own.
    Alone,
    /// A window that is shared with other streams.
    Shared,
}

/// What one request has taken of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Rc<Budget>,
    bytes: usize,
    /// What of it is for bodies.
    bodies: usize,
}

impl Budget {
    /// One of `workers` equal parts of what this process may use.
    pub(super) fn new(workers: usize) -> Rc<Self> {
        let all = (memory_bytes() / PART).max(BYTES_MIN);
        let max = usize::try_from(all).unwrap_or(usize::MAX) / workers.max(1);
        Rc::new(Self { used: Cell::new(0), max })
    }

    /// The flow-control window of an HTTP/2 connection: what its streams hold together when nobody reads them. A part of
    /// the budget, and never more than many streams need.
    pub(super) fn window_bytes(&self) -> u32 {
        let part = u32::try_from(self.max / WINDOWS).unwrap_or(u32::MAX);
        part.clamp(WINDOW_BYTES.0, WINDOW_BYTES.1)
    }

    /// The flow-control window of one stream: a small part of its connection's, so that one that nobody reads does not
    /// hold up the others. The other side hears of room when half of it is free again, so that half of the largest keeps
    /// a path of 1 Gbit/s and 20 ms full (2.5 MB).
    pub(super) fn stream_window_bytes(&self) -> u32 {
        (self.window_bytes() / STREAMS_FULL).clamp(STREAM_WINDOW_BYTES.0, STREAM_WINDOW_BYTES.1)
    }

    /// Takes what a request whose head has `fields` fields with `text` bytes in names and values needs, or nothing when
    /// too much is held already.
    pub(super) fn take(self: &Rc<Self>, fields: usize, text: usize) -> Option<Held> {
        let bytes = REQUEST_BYTES + text * COPIES + fields * FIELD_BYTES;
        let used = self.used.get() + bytes;
        if used > self.max {
            return None;
        }
        self.used.set(used);
        Some(Held { budget: Rc::clone(self), bytes, bodies: 0 })
    }
}

impl Held {
    /// A body is on its way through the buffers.
    pub(super) fn add_body(&mut self, way: Way) {
        let window = usize::try_from(self.budget.window_bytes()).unwrap_or(usize::MAX);
        let bytes = match way {
            Way::Alone => BODY_BYTES,
            Way::Shared => BODY_BYTES.max(window / STREAMS_MAX),
        };
        self.bytes += bytes;
        self.bodies += bytes;
        self.budget.used.set(self.budget.used.get() + bytes);
    }

    /// The head is not needed any more.
    pub(super) fn forget_head(&mut self) {
        let head = self.bytes.saturating_sub(REQUEST_BYTES + self.bodies);
        self.bytes -= head;
        self.budget.used.set(self.budget.used.get().saturating_sub(head));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Rc::new(Budget { used: Cell::new(0), max: 2 * REQUEST_BYTES + 1000 });
        let mut first = budget.take(2, 100).unwrap();
        assert_eq!(budget.used.get(), REQUEST_BYTES + 512 + 300);
        assert!(budget.take(1, 0).is_none(), "beyond the budget");
        first.forget_head();
        first.forget_head();
        assert_eq!(budget.used.get(), REQUEST_BYTES);
        let second = budget.take(1, 248).unwrap();
        drop(first);
        drop(second);
        assert_eq!(budget.used.get(), 0);
    }

    #[test]
    fn windows_fill_a_long_path_where_there_is_memory() {
        let windows = |max| {
            let budget = Budget { used: Cell::new(0), max };
            (budget.stream_window_bytes(), budget.window_bytes())
        };
        let (stream, connection) = windows(1 << 30);
        let path_bytes = 1_000_000_000 / 8 / 1000 * 20;
        assert!(stream / 2 >= path_bytes && connection >= 10 * stream, "{stream} {connection}");
        assert_eq!(windows(8 << 20), (256 << 10, 1 << 20), "and stay small where there is little");
    }

    #[test]
    fn what_bodies_hold_outlasts_the_head() {
        let budget = Rc::new(Budget { used: Cell::new(0), max: 1 << 30 });
        let mut held = budget.take(1, 10).unwrap();
        held.add_body(Way::Shared);
        held.forget_head();
        assert_eq!(budget.used.get(), REQUEST_BYTES + (64 << 20) / 100);
        held.add_body(Way::Alone);
        assert_eq!(budget.used.get(), REQUEST_BYTES + (64 << 20) / 100 + BODY_BYTES);
        drop(held);
        assert_eq!(budget.used.get(), 0);
    }

    #[test]
    fn the_machine_has_some_memory() {
        assert!(Budget::new(2).max >= 4 << 20);
    }
}
