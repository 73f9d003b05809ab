//! The memory budget of a worker's requests. HTTP/2 heads that unfold from a few bytes, and thousands of requests that
//! wait for a slow upstream or for a client that does not read, must not use up the memory of the process: beyond the
//! budget, a request is rejected with 503 before it costs more. While more than half of the budget is reserved, one
//! client address gets a quarter of it at most.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

use super::share::{self, Share};
use crate::telemetry::{Refusal, memory_bytes};

/// Size to which the read and write buffers of an HTTP/1.1 connection grow, on either side. To upstreams, one read and
/// one piece of a body have this size at most.
pub(crate) const H1_BUFFER_BYTES: usize = 64 * 1024;
/// Limit on the streams of one HTTP/2 connection to an upstream, even if the upstream allows more. Further requests
/// open another connection.
pub(crate) const STREAMS_MAX: usize = 100;
/// Requests may reserve this part of the memory of the process: a third.
const PART: u64 = 3;
/// The budget of all workers together is at least this.
const BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Memory of any request until it ends: its task, its state, the upstream connection with its buffers. Measured: 30 KB
/// on HTTP/2 with a response that the client does not read.
const REQUEST_BYTES: usize = 32 * 1024;
/// Memory of a header field, besides its name and value, until the response head has arrived.
const FIELD_BYTES: usize = 256;
/// Buffers of a request body that is larger than one read: the downstream side holds two pieces of 64 KiB, one read and
/// one passed on, and the upstream side one that it writes.
const UPLOAD_BYTES: usize = 3 * H1_BUFFER_BYTES;
/// Buffers of a response body on the upstream side: one piece of 64 KiB that was read, and one that is being read.
const BODY_BYTES: usize = 2 * H1_BUFFER_BYTES;
/// Pieces of a response of at least this size are counted until they are written.
const COUNTED_MIN: usize = 512;
/// Memory is short when less than a quarter of the budget is left.
const SHORT_PART: usize = 4;
/// The budget has room for this many windows of HTTP/2 connections; and the bounds of such a window.
const WINDOWS: usize = 16;
const WINDOW_BYTES: (u32, u32) = (1024 * 1024, 64 * 1024 * 1024);
/// The window of a connection has room for this many windows of streams; and the bounds of such a window.
const STREAMS_FULL: u32 = 4;
const STREAM_WINDOW_BYTES: (u32, u32) = (256 * 1024, 5 * 1024 * 1024);
/// Wide windows of clients may reserve this part of a worker's budget: a quarter.
const WIDE_PART: usize = 4;
/// This part of a worker's budget is spare: a quarter, for connections with few requests. A client with many requests
/// on each connection is rejected first.
const SPARE_PART: usize = 4;
/// Connections with at most this part of the budget may use the spare part.
const LITTLE_PART: usize = 64;
/// Copies of names and values until the response head arrives: as read, as kept for a retry, as written.
const COPIES: usize = 3;

/// The memory budget of a worker.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Cell<usize>,
    /// Bytes of responses that hyper has not written. Atomic, because the owner of a `Bytes` must be `Send`.
    unsent: Arc<AtomicUsize>,
    /// Reserved for wide windows; a part of `used`.
    wide: Cell<usize>,
    max: usize,
}

/// The flow-control window of one client connection (HTTP/2): what the client may send before the proxy reads it. A
/// wide window keeps a long path full. It is reserved as long as the connection lasts, and few connections get one. A
/// narrow window is reserved only as far as bodies in flight may fill it.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    budget: Rc<Budget>,
    share: Option<Rc<Share>>,
    stream_bytes: u32,
    connection_bytes: u32,
    wide: bool,
    /// Sum of the stream windows of the bodies in flight; it may exceed the connection window.
    wanted: Cell<usize>,
}

/// The reserved window of one body; released when dropped.
#[derive(Debug)]
pub(crate) struct BodyWindow {
    window: Rc<ReceiveWindow>,
    bytes: usize,
}

/// The connection to the upstream that a response body is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyTransport {
    /// HTTP/1.1: the connection carries this response alone.
    OwnConnection,
    /// HTTP/2: the streams of the connection share its window.
    SharedConnection,
}

/// The size of a request's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadSize {
    pub(crate) fields: usize,
    /// Bytes in names and values.
    pub(crate) bytes: usize,
}

/// The memory that one request has reserved; released when dropped.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    budget: Rc<Budget>,
    share: Option<Rc<Share>>,
    bytes: usize,
    /// The part of `bytes` that is for the response body.
    bodies: usize,
}

/// The memory reserved for the buffers of a request body; released when dropped.
#[derive(Debug)]
pub(crate) struct UploadMemory {
    budget: Rc<Budget>,
    share: Option<Rc<Share>>,
    bytes: usize,
}

/// The bytes of a connection's responses that hyper has and has neither written nor dropped.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: AtomicUsize,
    /// The largest piece since the outbox was empty.
    largest: AtomicUsize,
    budget: Arc<AtomicUsize>,
    share: Option<Arc<AtomicUsize>>,
}

/// A piece of a response, counted until hyper writes or drops it.
struct Unsent {
    bytes: Bytes,
    outbox: Arc<Outbox>,
}

impl Outbox {
    fn all(&self) -> impl Iterator<Item = &AtomicUsize> {
        [&self.bytes, &*self.budget].into_iter().chain(self.share.as_deref())
    }

    /// Unwritten bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The size of the largest piece since the outbox was empty.
    pub(crate) fn largest_bytes(&self) -> usize {
        self.largest.load(Relaxed)
    }

    /// Counts a piece of a response until it is written or dropped.
    pub(crate) fn track(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        // Counting needs an allocation, which a small piece is not worth.
        if bytes.len() < COUNTED_MIN {
            return bytes;
        }
        // Not exact where a piece is dropped meanwhile by another thread: it is a measure of patience.
        if self.bytes() == 0 || self.largest_bytes() < bytes.len() {
            self.largest.store(bytes.len(), Relaxed);
        }
        for figure in self.all() {
            figure.fetch_add(bytes.len(), Relaxed);
        }
        Bytes::from_owner(Unsent { bytes, outbox: Arc::clone(self) })
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        for figure in self.outbox.all() {
            figure.fetch_sub(self.bytes.len(), Relaxed);
        }
    }
}

impl Budget {
    /// The budget of one of `workers` workers.
    pub(crate) fn new(workers: usize) -> Rc<Self> {
        let all = (memory_bytes() / PART).max(BYTES_MIN);
        let max = usize::try_from(all).unwrap_or(usize::MAX) / workers.max(1);
        Self::of(max)
    }

    fn of(max: usize) -> Rc<Self> {
        Rc::new(Self { used: Cell::new(0), unsent: Arc::default(), wide: Cell::new(0), max })
    }

    /// Reserved and unwritten bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.get() + self.unsent.load(Relaxed)
    }

    /// Whether less than a quarter is left.
    pub(crate) fn is_short(&self) -> bool {
        self.used() > self.max - self.max / SHORT_PART
    }

    /// Whether more than four fifths are in use: routes of low priority are refused.
    pub(crate) fn is_nearly_used(&self) -> bool {
        self.used() > self.max / 5 * 4
    }

    /// Reserves bytes for a client address, or returns the limit that refuses it.
    fn reserve(&self, bytes: usize, share: Option<&Rc<Share>>) -> Result<(), Refusal> {
        let used = self.used() + bytes;
        if used > self.max {
            return Err(Refusal::Memory);
        }
        if let Some(share) = share {
            // While memory is plentiful, one address may use more.
            if used > self.max / 2 && share.bytes() + bytes > self.max / share::PART {
                return Err(Refusal::MemoryPerIp);
            }
            share.add_bytes(bytes);
        }
        // After both checks: a refused request reserves nothing.
        self.used.set(self.used.get() + bytes);
        Ok(())
    }

    fn release(&self, bytes: usize, share: Option<&Rc<Share>>) {
        debug_assert!(bytes <= self.used.get(), "no more is released than was reserved");
        self.used.set(self.used.get().saturating_sub(bytes));
        if let Some(share) = share {
            share.remove_bytes(bytes);
        }
    }

    /// An empty outbox of a connection.
    pub(crate) fn outbox(&self, share: Option<&Rc<Share>>) -> Arc<Outbox> {
        let share = share.map(|share| Arc::clone(share.unsent()));
        Arc::new(Outbox {
            bytes: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            budget: Arc::clone(&self.unsent),
            share,
        })
    }

    /// The windows of a client connection: wide while the budget allows it, else narrow.
    pub(crate) fn receive_window(self: &Rc<Self>, share: Option<Rc<Share>>) -> Rc<ReceiveWindow> {
        let narrow = STREAM_WINDOW_BYTES.0;
        let stream_bytes = self.stream_window_bytes();
        let connection_bytes = stream_bytes * STREAMS_FULL;
        let bytes = size(connection_bytes);
        // A window less than twice the narrow one is not worth the reservation.
        let wide = stream_bytes >= 2 * narrow && self.wide.get() + bytes <= self.max / WIDE_PART;
        // Not charged to the client: the window is granted by the proxy, not used by the client.
        let wide = wide && self.reserve(bytes, None).is_ok();
        let (stream_bytes, connection_bytes) =
            if wide { (stream_bytes, connection_bytes) } else { (narrow, narrow * STREAMS_FULL) };
        if wide {
            self.wide.set(self.wide.get() + bytes);
        }
        let (budget, wanted) = (Rc::clone(self), Cell::new(0));
        Rc::new(ReceiveWindow { budget, share, stream_bytes, connection_bytes, wide, wanted })
    }

    /// The flow-control window of an HTTP/2 connection: the most that its streams hold together while their readers do
    /// not read. A part of the budget, within bounds.
    pub(crate) fn window_bytes(&self) -> u32 {
        let part = u32::try_from(self.max / WINDOWS).unwrap_or(u32::MAX);
        part.clamp(WINDOW_BYTES.0, WINDOW_BYTES.1)
    }

    /// The flow-control window of one stream: a part of the connection's window, so that one unread stream does not
    /// block the others. The sender gets a window update when half of the window is free, so half of the largest window
    /// keeps a path of 1 Gbit/s and 20 ms full (2.5 MB).
    pub(crate) fn stream_window_bytes(&self) -> u32 {
        (self.window_bytes() / STREAMS_FULL).clamp(STREAM_WINDOW_BYTES.0, STREAM_WINDOW_BYTES.1)
    }

    /// Reserves the memory of a request with a head of this size, or returns the limit that refuses it. `others` is the
    /// number of other requests in flight on its connection; each counts as large as this one.
    pub(crate) fn reserve_request(
        self: &Rc<Self>,
        head: HeadSize,
        others: u32,
        share: Option<&Rc<Share>>,
    ) -> Result<RequestMemory, Refusal> {
        let bytes = REQUEST_BYTES + head.bytes * COPIES + head.fields * FIELD_BYTES;
        let is_spare = self.used() + bytes > self.max - self.max / SPARE_PART;
        if is_spare && bytes.saturating_mul(size(others)) > self.max / LITTLE_PART {
            return Err(Refusal::Memory);
        }
        self.reserve(bytes, share)?;
        Ok(RequestMemory { budget: Rc::clone(self), share: share.cloned(), bytes, bodies: 0 })
    }
}

impl ReceiveWindow {
    /// The window of a stream.
    pub(crate) fn stream_bytes(&self) -> u32 {
        self.stream_bytes
    }

    /// The window of the connection.
    pub(crate) fn connection_bytes(&self) -> u32 {
        self.connection_bytes
    }

    /// Reserves the window of one more body of at most `length` bytes, or returns the limit that refuses it.
    pub(crate) fn reserve(self: &Rc<Self>, length: Option<u64>) -> Result<BodyWindow, Refusal> {
        let bytes = least(size(self.stream_bytes), length);
        // Beyond the window of the connection, flow control stops the client: only the part below is reserved.
        let more = self.reserved_for(self.wanted.get() + bytes) - self.reserved_for(self.wanted.get());
        self.budget.reserve(more, self.share.as_ref())?;
        // After the reservation: a refusal leaves `wanted` unchanged.
        self.wanted.set(self.wanted.get() + bytes);
        Ok(BodyWindow { window: Rc::clone(self), bytes })
    }

    /// The bytes to reserve for bodies with windows of `wanted` bytes in all.
    fn reserved_for(&self, wanted: usize) -> usize {
        if self.wide { 0 } else { wanted.min(size(self.connection_bytes)) }
    }
}

impl Drop for ReceiveWindow {
    fn drop(&mut self) {
        if self.wide {
            let bytes = size(self.connection_bytes);
            debug_assert!(bytes <= self.budget.wide.get(), "the window is a part of the wide windows");
            self.budget.wide.set(self.budget.wide.get().saturating_sub(bytes));
            self.budget.release(bytes, None);
        }
    }
}

impl Drop for BodyWindow {
    fn drop(&mut self) {
        let window = &self.window;
        let before = window.wanted.get();
        debug_assert!(self.bytes <= before, "the window of the body is a part of all windows");
        window.wanted.set(before - self.bytes);
        // The reserved bytes depend on the sum alone, so they balance in every order of drops.
        window
            .budget
            .release(window.reserved_for(before) - window.reserved_for(before - self.bytes), window.share.as_ref());
    }
}

impl RequestMemory {
    /// Reserves the buffers of a request body of at most `length` bytes, or returns the limit that refuses it.
    pub(crate) fn reserve_upload(&self, length: Option<u64>) -> Result<UploadMemory, Refusal> {
        let bytes = least(UPLOAD_BYTES, length);
        self.budget.reserve(bytes, self.share.as_ref())?;
        Ok(UploadMemory { budget: Rc::clone(&self.budget), share: self.share.clone(), bytes })
    }

    /// Reserves the buffers of a response body of at most `length` bytes, or returns the limit that refuses it.
    pub(crate) fn reserve_body(&mut self, transport: BodyTransport, length: Option<u64>) -> Result<(), Refusal> {
        let window = size(self.budget.window_bytes());
        let buffers = match transport {
            BodyTransport::OwnConnection => BODY_BYTES,
            // The streams share one window: each may fill its part.
            BodyTransport::SharedConnection => BODY_BYTES.max(window / STREAMS_MAX),
        };
        let bytes = least(buffers, length);
        self.budget.reserve(bytes, self.share.as_ref())?;
        self.bytes += bytes;
        self.bodies += bytes;
        Ok(())
    }

    /// Releases the memory of the response body: it is read completely.
    pub(crate) fn release_body(&mut self) {
        // Taken: a second call releases nothing.
        let bodies = std::mem::take(&mut self.bodies);
        self.bytes -= bodies;
        self.budget.release(bodies, self.share.as_ref());
    }

    /// Releases the memory of the request head, which is not needed after the response head.
    pub(crate) fn release_head(&mut self) {
        let head = self.bytes.saturating_sub(REQUEST_BYTES + self.bodies);
        self.bytes -= head;
        self.budget.release(head, self.share.as_ref());
    }
}

impl Drop for UploadMemory {
    fn drop(&mut self) {
        self.budget.release(self.bytes, self.share.as_ref());
    }
}

impl Drop for RequestMemory {
    fn drop(&mut self) {
        self.budget.release(self.bytes, self.share.as_ref());
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The part of a buffer that a body of this length can fill.
fn least(buffer: usize, length: Option<u64>) -> usize {
    length.and_then(|length| usize::try_from(length).ok()).map_or(buffer, |length| length.min(buffer))
}

#[cfg(test)]
mod tests {
    use super::super::share::ClientShares;
    use super::*;

    fn head(fields: usize, bytes: usize) -> HeadSize {
        HeadSize { fields, bytes }
    }

    #[test]
    fn the_budget_is_bounded_and_memory_is_released() {
        let budget = Budget::of(2 * REQUEST_BYTES + 1000);
        let mut first = budget.reserve_request(head(2, 100), 0, None).unwrap();
        assert_eq!(budget.used(), REQUEST_BYTES + 512 + 300);
        assert!(budget.reserve_request(head(1, 0), 0, None).is_err(), "beyond the budget");
        first.release_head();
        first.release_head();
        assert_eq!(budget.used(), REQUEST_BYTES);
        let second = budget.reserve_request(head(1, 248), 0, None).unwrap();
        drop(first);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn connections_that_hold_much_are_refused_first() {
        let budget = Budget::of(1280 * REQUEST_BYTES);
        let of_one: Vec<_> =
            (0..2000).map_while(|others| budget.reserve_request(head(0, 0), others, None).ok()).collect();
        assert_eq!(of_one.len(), 960, "one connection gets three quarters");
        assert!(
            budget.reserve_request(head(0, 0), 21, None).is_err()
                && budget.reserve_request(head(9, 90_000), 3, None).is_err(),
            "many requests, or a few large ones"
        );
        let of_others: Vec<_> = (0..2000).map_while(|_| budget.reserve_request(head(0, 0), 20, None).ok()).collect();
        assert_eq!(of_others.len(), 320, "connections that hold little get the rest");
    }

    #[test]
    fn windows_fill_a_long_path_if_there_is_memory() {
        let windows = |max| {
            let budget = Budget::of(max);
            (budget.stream_window_bytes(), budget.window_bytes())
        };
        let (stream, connection) = windows(1 << 30);
        let path_bytes = 1_000_000_000 / 8 / 1000 * 20;
        assert!(stream / 2 >= path_bytes && connection >= 10 * stream, "{stream} {connection}");
        assert_eq!(windows(8 << 20), (256 << 10, 1 << 20), "small windows with little memory");
    }

    #[test]
    fn few_connections_get_wide_windows_and_narrow_ones_are_counted() {
        let budget = Budget::of(256 << 20);
        let all: Vec<_> = (0..100).map(|_| budget.receive_window(None)).collect();
        let wide = all.iter().filter(|window| window.stream_bytes() > STREAM_WINDOW_BYTES.0).count();
        assert!((3..50).contains(&wide), "{wide}");
        assert_eq!(budget.used(), all[..wide].iter().map(|ahead| size(ahead.connection_bytes())).sum::<usize>());
        assert!(budget.used() <= budget.max / WIDE_PART);
        let (narrow, before) = (&all[99], budget.used());
        assert_eq!((narrow.stream_bytes(), narrow.connection_bytes()), (256 << 10, 1 << 20));
        let bodies: Vec<_> = (0..9).map(|_| narrow.reserve(None).unwrap()).collect();
        assert_eq!(budget.used() - before, 1 << 20, "no more than the connection's window");
        drop(bodies);
        let small = narrow.reserve(Some(10)).unwrap();
        assert_eq!(budget.used() - before, 10);
        assert_eq!(budget.used() - before, 10, "a wide window is reserved once: {:?}", all[0].reserve(None));
        drop(small);
        let rest = budget.reserve_request(head(0, (budget.max - budget.used() - REQUEST_BYTES) / COPIES), 0, None);
        assert!(narrow.reserve(None).is_err() && narrow.reserve(Some(0)).is_ok(), "beyond the budget");
        drop(rest);
        drop(all);
        assert_eq!((budget.used(), budget.wide.get()), (0, 0));
    }

    #[test]
    fn a_body_reserves_at_most_its_length() {
        let budget = Budget::of(1 << 20);
        let mut memory = budget.reserve_request(head(0, 0), 0, None).unwrap();
        let small = memory.reserve_upload(Some(100)).unwrap();
        memory.release_head();
        assert_eq!(budget.used(), REQUEST_BYTES + 100);
        drop(small);
        let rooms: Vec<_> = (0..9).map_while(|_| memory.reserve_upload(Some(1 << 20)).ok()).collect();
        assert_eq!((rooms.len(), memory.reserve_upload(None).err()), (5, Some(Refusal::Memory)));
        drop((memory, rooms));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn memory_of_a_body_outlasts_the_head() {
        let budget = Budget::of(1 << 30);
        let mut memory = budget.reserve_request(head(1, 10), 0, None).unwrap();
        memory.reserve_body(BodyTransport::SharedConnection, None).unwrap();
        memory.release_head();
        assert_eq!(budget.used(), REQUEST_BYTES + (64 << 20) / 100);
        memory.reserve_body(BodyTransport::OwnConnection, None).unwrap();
        assert_eq!(budget.used(), REQUEST_BYTES + (64 << 20) / 100 + BODY_BYTES);
        drop(memory);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_address_gets_a_quarter_while_more_than_half_is_reserved() {
        let budget = Budget::of(1280 * REQUEST_BYTES);
        let shares = ClientShares::default();
        let share = |last| shares.add_connection(std::net::IpAddr::from([10, 0, 0, last]), Arc::default());
        let (one, other, another) = (share(1), share(2), share(3));
        let take = |share: &Rc<Share>| budget.reserve_request(head(0, 0), 0, Some(share));
        let mut of_one: Vec<_> = (0..2000).map_while(|_| take(&one).ok()).collect();
        assert_eq!(of_one.len(), 640, "half of the budget, while no other client uses it");
        assert_eq!(take(&one).err(), Some(Refusal::MemoryPerIp));
        let of_other: Vec<_> = (0..2000).map_while(|_| take(&other).ok()).collect();
        let of_another: Vec<_> = (0..2000).map_while(|_| take(&another).ok()).collect();
        assert_eq!((of_other.len(), of_another.len()), (320, 320), "a quarter each");
        of_one.truncate(319);
        assert!(take(&one).is_ok());
        let exempt: Vec<_> = (0..2000).map_while(|_| budget.reserve_request(head(0, 0), 0, None).ok()).collect();
        assert_eq!(exempt.len(), 321, "an exempt client gets the rest");
        drop((of_one, of_other, of_another, exempt));
        assert_eq!((budget.used(), one.bytes(), other.bytes()), (0, 0, 0));
    }

    #[test]
    fn a_piece_of_an_answer_is_counted_until_it_is_dropped() {
        let (budget, shares) = (Budget::of(1 << 20), ClientShares::default());
        let share = shares.add_connection(std::net::IpAddr::from([10, 0, 0, 1]), Arc::default());
        let outbox = budget.outbox(Some(&share));
        let piece = outbox.track(Bytes::from(vec![7; 10_000]));
        assert_eq!((budget.used(), share.bytes(), outbox.bytes()), (10_000, 10_000, 10_000));
        assert_eq!((piece.len(), piece[9_999]), (10_000, 7));
        let half = piece.slice(..5_000);
        drop(piece);
        assert_eq!(budget.used(), 10_000, "a slice keeps the whole piece");
        drop(half);
        assert_eq!((budget.used(), share.bytes(), outbox.bytes()), (0, 0, 0));
        let pieces = [600, 2_000, 700].map(|size| outbox.track(Bytes::from(vec![7; size])));
        assert_eq!(outbox.largest_bytes(), 2_000, "of those since it was empty");
        drop(pieces);
        let small = outbox.track(Bytes::from_static(b"small"));
        assert_eq!((&small[..], budget.used()), (&b"small"[..], 0));
    }

    #[test]
    fn the_budget_has_a_minimum() {
        assert!(Budget::new(2).max >= 4 << 20);
    }
}
