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
/// The part of a worker's budget that wide windows for clients may take up: a quarter.
const WIDE_PART: usize = 4;
/// The part of a worker's budget that is kept for connections which hold little: a quarter, so that one who opens many
/// requests on each of his connections is refused before the others are.
const SPARE_PART: usize = 4;
/// The part that a connection may hold where the rest is for those who hold little.
const LITTLE_PART: usize = 64;
/// How many times names and values are in memory until then: as read, as kept for a second try, as written.
const COPIES: usize = 3;

/// A worker's budget.
#[derive(Debug)]
pub(super) struct Budget {
    used: Cell<usize>,
    /// What of it is set aside for wide windows.
    wide: Cell<usize>,
    max: usize,
}

/// What a client may send on one HTTP/2 connection before anybody reads it. A wide window, which fills a long path, is
/// taken from the budget for as long as the connection lasts, and few get one. A narrow one counts only while there are
/// bodies that may fill it.
#[derive(Debug)]
pub(super) struct Ahead {
    budget: Rc<Budget>,
    stream_bytes: u32,
    connection_bytes: u32,
    wide: bool,
    /// What the bodies under way may be ahead in all, were there no window of the connection.
    wanted: Cell<usize>,
}

/// What one body may be ahead; given back when dropped.
#[derive(Debug)]
pub(super) struct BodyAhead {
    ahead: Rc<Ahead>,
    bytes: usize,
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
    /// What of it is for the answer's body.
    bodies: usize,
    /// What of it is for the request's.
    upload: usize,
}

impl Budget {
    /// One of `workers` equal parts of what this process may use.
    pub(super) fn new(workers: usize) -> Rc<Self> {
        let all = (memory_bytes() / PART).max(BYTES_MIN);
        let max = usize::try_from(all).unwrap_or(usize::MAX) / workers.max(1);
        Rc::new(Self { used: Cell::new(0), wide: Cell::new(0), max })
    }

    /// Bytes that are taken.
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Takes bytes, or nothing when too much is held already.
    fn try_add(&self, bytes: usize) -> bool {
        let used = self.used.get() + bytes;
        let fits = used <= self.max;
        if fits {
            self.used.set(used);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }

    /// The windows of a client's connection: wide ones while there is room for them, else narrow ones.
    pub(super) fn ahead(self: &Rc<Self>) -> Rc<Ahead> {
        let narrow = STREAM_WINDOW_BYTES.0;
        let stream_bytes = self.stream_window_bytes();
        let connection_bytes = stream_bytes * STREAMS_FULL;
        let bytes = size(connection_bytes);
        // Windows that are hardly wider are not worth it.
        let wide = stream_bytes >= 2 * narrow && self.wide.get() + bytes <= self.max / WIDE_PART && self.try_add(bytes);
        let (stream_bytes, connection_bytes) =
            if wide { (stream_bytes, connection_bytes) } else { (narrow, narrow * STREAMS_FULL) };
        if wide {
            self.wide.set(self.wide.get() + bytes);
        }
        Rc::new(Ahead { budget: Rc::clone(self), stream_bytes, connection_bytes, wide, wanted: Cell::new(0) })
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
    /// too much is held already. `others` is how many more are under way on its connection: they count as being like it.
    pub(super) fn take(self: &Rc<Self>, fields: usize, text: usize, others: u32) -> Option<Held> {
        let bytes = REQUEST_BYTES + text * COPIES + fields * FIELD_BYTES;
        let is_spare = self.used.get() + bytes > self.max - self.max / SPARE_PART;
        if is_spare && bytes.saturating_mul(size(others)) > self.max / LITTLE_PART {
            return None;
        }
        self.try_add(bytes).then(|| Held { budget: Rc::clone(self), bytes, bodies: 0, upload: 0 })
    }
}

impl Ahead {
    /// The window of a stream.
    pub(super) fn stream_bytes(&self) -> u32 {
        self.stream_bytes
    }

    /// The window of the connection.
    pub(super) fn connection_bytes(&self) -> u32 {
        self.connection_bytes
    }

    /// Takes what one more body may be ahead, `length` bytes at most, or nothing when too much is held already.
    pub(super) fn take(self: &Rc<Self>, length: Option<u64>) -> Option<BodyAhead> {
        let bytes = least(size(self.stream_bytes), length);
        let more = self.taken(self.wanted.get() + bytes) - self.taken(self.wanted.get());
        self.budget.try_add(more).then(|| {
            self.wanted.set(self.wanted.get() + bytes);
            BodyAhead { ahead: Rc::clone(self), bytes }
        })
    }

    /// What is taken of the budget while bodies want so much.
    fn taken(&self, wanted: usize) -> usize {
        if self.wide { 0 } else { wanted.min(size(self.connection_bytes)) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if self.wide {
            let bytes = size(self.connection_bytes);
            self.budget.wide.set(self.budget.wide.get().saturating_sub(bytes));
            self.budget.give_back(bytes);
        }
    }
}

impl Drop for BodyAhead {
    fn drop(&mut self) {
        let ahead = &self.ahead;
        let before = ahead.wanted.get();
        ahead.wanted.set(before - self.bytes);
        ahead.budget.give_back(ahead.taken(before) - ahead.taken(before - self.bytes));
    }
}

impl Held {
    /// Takes what the buffers of a request's body need, `length` bytes at most; says whether there was room.
    #[must_use]
    pub(super) fn add_upload(&mut self, length: Option<u64>) -> bool {
        let bytes = least(BODY_BYTES, length);
        let fits = self.budget.try_add(bytes);
        if fits {
            self.bytes += bytes;
            self.upload += bytes;
        }
        fits
    }

    /// The request's body has been sent whole.
    pub(super) fn forget_upload(&mut self) {
        let upload = std::mem::take(&mut self.upload);
        self.bytes -= upload;
        self.budget.give_back(upload);
    }

    /// A body is on its way through the buffers.
    pub(super) fn add_body(&mut self, way: Way) {
        let window = size(self.budget.window_bytes());
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
        let head = self.bytes.saturating_sub(REQUEST_BYTES + self.bodies + self.upload);
        self.bytes -= head;
        self.budget.give_back(head);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a body of this length takes up of a buffer.
fn least(buffer: usize, length: Option<u64>) -> usize {
    length.and_then(|length| usize::try_from(length).ok()).map_or(buffer, |length| length.min(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Rc::new(Budget { used: Cell::new(0), wide: Cell::new(0), max: 2 * REQUEST_BYTES + 1000 });
        let mut first = budget.take(2, 100, 0).unwrap();
        assert_eq!(budget.used.get(), REQUEST_BYTES + 512 + 300);
        assert!(budget.take(1, 0, 0).is_none(), "beyond the budget");
        first.forget_head();
        first.forget_head();
        assert_eq!(budget.used.get(), REQUEST_BYTES);
        let second = budget.take(1, 248, 0).unwrap();
        drop(first);
        drop(second);
        assert_eq!(budget.used.get(), 0);
    }

    #[test]
    fn who_holds_much_is_refused_before_who_holds_little() {
        let budget = Rc::new(Budget { used: Cell::new(0), wide: Cell::new(0), max: 1280 * REQUEST_BYTES });
        let of_one: Vec<_> = (0..2000).map_while(|others| budget.take(0, 0, others)).collect();
        assert_eq!(of_one.len(), 960, "one connection gets three quarters");
        assert!(budget.take(0, 0, 21).is_none() && budget.take(9, 90_000, 3).is_none(), "much, or few that are large");
        let of_others: Vec<_> = (0..2000).map_while(|_| budget.take(0, 0, 20)).collect();
        assert_eq!(of_others.len(), 320, "and those who hold little have the rest");
    }

    #[test]
    fn windows_fill_a_long_path_where_there_is_memory() {
        let windows = |max| {
            let budget = Budget { used: Cell::new(0), wide: Cell::new(0), max };
            (budget.stream_window_bytes(), budget.window_bytes())
        };
        let (stream, connection) = windows(1 << 30);
        let path_bytes = 1_000_000_000 / 8 / 1000 * 20;
        assert!(stream / 2 >= path_bytes && connection >= 10 * stream, "{stream} {connection}");
        assert_eq!(windows(8 << 20), (256 << 10, 1 << 20), "and stay small where there is little");
    }

    #[test]
    fn few_connections_get_wide_windows_and_what_is_sent_ahead_is_counted() {
        let budget = Rc::new(Budget { used: Cell::new(0), wide: Cell::new(0), max: 256 << 20 });
        let all: Vec<_> = (0..100).map(|_| budget.ahead()).collect();
        let wide = all.iter().filter(|ahead| ahead.stream_bytes() > STREAM_WINDOW_BYTES.0).count();
        assert!((3..50).contains(&wide), "{wide}");
        assert_eq!(budget.used(), all[..wide].iter().map(|ahead| size(ahead.connection_bytes())).sum::<usize>());
        assert!(budget.used() <= budget.max / WIDE_PART);
        let (narrow, before) = (&all[99], budget.used());
        assert_eq!((narrow.stream_bytes(), narrow.connection_bytes()), (256 << 10, 1 << 20));
        let bodies: Vec<_> = (0..9).map(|_| narrow.take(None).unwrap()).collect();
        assert_eq!(budget.used() - before, 1 << 20, "no more than the connection's window");
        drop(bodies);
        let small = narrow.take(Some(10)).unwrap();
        assert_eq!(budget.used() - before, 10);
        assert_eq!(budget.used() - before, 10, "a wide window is taken as a whole: {:?}", all[0].take(None));
        drop(small);
        let rest = Rc::clone(&budget).take(0, (budget.max - budget.used() - REQUEST_BYTES) / COPIES, 0);
        assert!(narrow.take(None).is_none() && narrow.take(Some(0)).is_some(), "beyond the budget");
        drop(rest);
        drop(all);
        assert_eq!((budget.used(), budget.wide.get()), (0, 0));
    }

    #[test]
    fn what_a_body_takes_is_no_more_than_its_length() {
        let budget = Rc::new(Budget { used: Cell::new(0), wide: Cell::new(0), max: 1 << 20 });
        let mut held = budget.take(0, 0, 0).unwrap();
        assert!(held.add_upload(Some(100)));
        held.forget_head();
        assert_eq!(budget.used(), REQUEST_BYTES + 100);
        held.forget_upload();
        assert!(held.add_upload(None) && held.add_upload(None) && !held.add_upload(None));
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_bodies_hold_outlasts_the_head() {
        let budget = Rc::new(Budget { used: Cell::new(0), wide: Cell::new(0), max: 1 << 30 });
        let mut held = budget.take(1, 10, 0).unwrap();
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
