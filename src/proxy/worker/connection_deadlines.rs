//! Deadlines of connections, without a timer each: a worker sweeps its connections ten times a second, and a connection
//! sets or clears a deadline with a plain store. An expired connection is woken with the reason.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::budget::Outbox;
use super::response_reader::{UpstreamKey, patience_ms};

/// How often a worker sweeps; deadlines are late by about as much.
pub(crate) const SWEEP: Duration = Duration::from_millis(100);

/// A connection that is idle for this long hibernates: it releases its buffers.
const HIBERNATE_AFTER_MS: u64 = 1000;

const NEVER: u64 = u64::MAX;
const PASSED: u64 = 0;

/// Why a connection is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// No reason.
    Nothing,
    /// A deadline has passed.
    Expired,
    /// The connection is idle: release its buffers.
    Hibernate,
    /// Announce the end: `Connection: close` with the next response, or GOAWAY on HTTP/2.
    Drain,
    /// Finish the requests in flight, then close; close at once when idle.
    Close,
    /// Close now.
    Cut,
}

/// The deadlines of one connection, in milliseconds of the worker's time, and its pending wakeup.
#[derive(Debug)]
pub(crate) struct ConnectionDeadlines {
    reading: Cell<u64>,
    heading: Cell<u64>,
    writing: Cell<u64>,
    hibernating: Cell<u64>,
    /// That of the response that is awaited (HTTP/1.1): `NEVER` while none is, `PASSED` once a sweep has found it late.
    responding: Cell<u64>,
    wakeup: Cell<Wakeup>,
    waker: RefCell<Option<Waker>>,
    place: Cell<usize>,
    /// Since when a write is blocked.
    stuck_ms: Cell<u64>,
    /// By when a slow reader should have taken more of the unwritten bytes; only while no request is in flight.
    quiet_ms: Cell<u64>,
    /// The unwritten bytes at the last sweep of this quiet time.
    seen_bytes: Cell<u64>,
    /// The unwritten bytes of responses; set with the first piece that is counted.
    pub(crate) outbox: OnceCell<Arc<Outbox>>,
    /// The connection ends because memory or upstream connections run short.
    shed: Cell<bool>,
    /// The upstream whose connection the current response holds.
    pub(crate) upstream: Cell<UpstreamKey>,
    /// Address of the listening socket's object, to wake the connections of a listener that closes.
    socket: usize,
}

impl ConnectionDeadlines {
    /// Sets the read deadline to `from_now` from now.
    pub(crate) fn read_within(&self, now_ms: u64, from_now: Duration) {
        self.reading.set(now_ms.saturating_add(millis(from_now)));
    }

    /// Like [`Self::read_within`], unless a read deadline is set.
    pub(crate) fn read_within_once(&self, now_ms: u64, from_now: Duration) {
        if self.reading.get() == NEVER {
            self.read_within(now_ms, from_now);
        }
    }

    /// Sets the deadline of a head that has started, unless it is set. Other bytes do not move it.
    pub(crate) fn head_within_once(&self, now_ms: u64, from_now: Duration) {
        if self.heading.get() == NEVER {
            self.heading.set(now_ms.saturating_add(millis(from_now)));
        }
    }

    /// Clears the head deadline.
    pub(crate) fn clear_head(&self) {
        self.heading.set(NEVER);
    }

    /// Whether the head deadline has passed.
    pub(crate) fn head_expired(&self, now_ms: u64) -> bool {
        self.heading.get() <= now_ms
    }

    /// Clears the read deadline.
    pub(crate) fn clear_read(&self) {
        self.reading.set(NEVER);
    }

    /// Sets the deadline of a blocked write, unless it is set. Any write that makes progress clears it.
    pub(crate) fn write_within_once(&self, now_ms: u64, from_now: Duration) {
        if self.writing.get() == NEVER {
            self.writing.set(now_ms.saturating_add(millis(from_now)));
            self.stuck_ms.set(now_ms);
        }
    }

    /// Notes that requests are in flight.
    pub(crate) fn mark_busy(&self) {
        self.quiet_ms.set(NEVER);
    }

    /// Notes that the last request in flight has ended. Progress is seen when a whole piece is written: a slow reader
    /// gets the time for the largest one.
    pub(crate) fn mark_idle(&self, now_ms: u64) {
        self.seen_bytes.set(self.unsent_bytes());
        self.quiet_ms.set(self.piece_due_ms(now_ms));
    }

    /// Notes how much the client has taken since the last sweep: it gets the time in which a slow reader takes as much.
    /// All unwritten bytes are no measure: a client that takes none of many responses would be patiently waited for.
    fn note_taken(&self, now_ms: u64) {
        let (seen, unsent) = (self.seen_bytes.get(), self.unsent_bytes());
        if self.quiet_ms.get() == NEVER || unsent >= seen {
            return;
        }
        self.seen_bytes.set(unsent);
        let due_ms = self.quiet_ms.get() + patience_ms(seen - unsent);
        self.quiet_ms.set(due_ms.min(self.piece_due_ms(now_ms)));
    }

    /// When a slow reader has taken the largest unwritten piece, from now on.
    fn piece_due_ms(&self, now_ms: u64) -> u64 {
        now_ms + patience_ms(self.outbox.get().map_or(0, |outbox| outbox.largest_bytes() as u64))
    }

    fn unsent_bytes(&self) -> u64 {
        self.outbox.get().map_or(0, |outbox| outbox.bytes() as u64)
    }

    /// Since when the client does not read: a write is blocked, or unwritten bytes wait for a window (HTTP/2).
    fn stalled_ms(&self) -> Option<u64> {
        if self.writing.get() != NEVER {
            return Some(self.stuck_ms.get());
        }
        (self.quiet_ms.get() != NEVER && self.unsent_bytes() > 0).then(|| self.quiet_ms.get())
    }

    /// Ends the connection as if its write deadline had passed.
    pub(crate) fn shed(&self) {
        self.shed.set(true);
        // Passed at any time: the connection ends like one whose write is blocked too long.
        self.writing.set(0);
        self.wake_with(Wakeup::Expired);
    }

    /// Whether the connection ends because memory or upstream connections run short.
    pub(crate) fn is_shed(&self) -> bool {
        self.shed.get()
    }

    /// Clears the write deadline.
    pub(crate) fn clear_write(&self) {
        self.writing.set(NEVER);
    }

    /// Hibernates after [`HIBERNATE_AFTER_MS`] unless [`Self::cancel_hibernation`] is called before.
    pub(crate) fn hibernate_later(&self, now_ms: u64) {
        self.hibernating.set(now_ms + HIBERNATE_AFTER_MS);
    }

    pub(crate) fn cancel_hibernation(&self) {
        self.hibernating.set(NEVER);
    }

    /// Whether the write deadline has passed.
    pub(crate) fn write_expired(&self, now_ms: u64) -> bool {
        self.writing.get() <= now_ms
    }

    /// Takes the reason of the last wakeup.
    pub(crate) fn take_wakeup(&self) -> Wakeup {
        self.wakeup.replace(Wakeup::Nothing)
    }

    /// Stores the waker of the connection's task.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            // `clone_from` keeps a waker of the same task.
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Wakes the connection for a reason. An expiry or hibernation does not replace another reason.
    pub(crate) fn wake_with(&self, wakeup: Wakeup) {
        if !matches!(wakeup, Wakeup::Expired | Wakeup::Hibernate) || self.wakeup.get() == Wakeup::Nothing {
            self.wakeup.set(wakeup);
        }
        self.wake();
    }

    /// Wakes the connection without a reason.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A coarse timer among the deadlines of an HTTP/1.1 connection, which awaits one response at a time. It has no slot and no
/// waker of its own: a sweep wakes the waker that the connection registers in each poll.
pub(crate) struct ResponseTimer(Rc<ConnectionDeadlines>);

impl ResponseTimer {
    /// A timer that fires at `deadline_ms` of the worker's time. The task of the connection polls it.
    #[inline]
    pub(crate) fn new(deadlines: &Rc<ConnectionDeadlines>, deadline_ms: u64) -> Self {
        debug_assert!(deadlines.responding.get() == NEVER, "one response after another");
        deadlines.responding.set(deadline_ms);
        Self(Rc::clone(deadlines))
    }

    /// Whether it has fired.
    #[inline]
    pub(super) fn has_fired(&self) -> bool {
        self.0.responding.get() == PASSED
    }
}

impl Drop for ResponseTimer {
    fn drop(&mut self) {
        self.0.responding.set(NEVER);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// A worker's connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionList {
    list: RefCell<Vec<Rc<ConnectionDeadlines>>>,
    /// The task that waits until the list is empty.
    waiting: RefCell<Option<Waker>>,
}

impl ConnectionList {
    /// Adds a connection; [`Self::remove`] removes it.
    pub(crate) fn add(&self, socket: usize) -> Rc<ConnectionDeadlines> {
        let mut list = self.list.borrow_mut();
        let deadlines = Rc::new(ConnectionDeadlines {
            reading: Cell::new(NEVER),
            heading: Cell::new(NEVER),
            writing: Cell::new(NEVER),
            hibernating: Cell::new(NEVER),
            responding: Cell::new(NEVER),
            wakeup: Cell::new(Wakeup::Nothing),
            waker: RefCell::new(None),
            place: Cell::new(list.len()),
            stuck_ms: Cell::new(0),
            quiet_ms: Cell::new(NEVER),
            seen_bytes: Cell::new(0),
            outbox: OnceCell::new(),
            shed: Cell::new(false),
            upstream: Cell::new(0),
            socket,
        });
        list.push(Rc::clone(&deadlines));
        deadlines
    }

    pub(crate) fn remove(&self, deadlines: &ConnectionDeadlines) {
        let mut list = self.list.borrow_mut();
        let place = deadlines.place.get();
        debug_assert!(std::ptr::eq(&raw const *list[place], deadlines), "the connection knows its index");
        list.swap_remove(place);
        // The last connection has moved to this index.
        if let Some(moved) = list.get(place) {
            moved.place.set(place);
        }
        if list.is_empty()
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    /// Waits until the list is empty. Cancel safe; for one task at a time.
    pub(crate) async fn emptied(&self) {
        poll_fn(|cx| {
            // The list is the state, so a cancelled wait loses nothing.
            if self.len() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// Wakes the connections with a deadline that has passed.
    pub(crate) fn sweep(&self, now_ms: u64) {
        // A wake only schedules a task: nothing is removed during the loop.
        for deadlines in self.list.borrow().iter() {
            if deadlines.responding.get() <= now_ms {
                deadlines.responding.set(PASSED);
                deadlines.wake();
            }
            let due = deadlines.reading.get().min(deadlines.heading.get()).min(deadlines.writing.get());
            if due <= now_ms {
                deadlines.wake_with(Wakeup::Expired);
            } else if deadlines.hibernating.get() <= now_ms {
                // Once: a connection that is not quiet asks again.
                deadlines.cancel_hibernation();
                deadlines.wake_with(Wakeup::Hibernate);
            }
        }
    }

    /// Calls `show` with each stalled connection, and since when it is stalled.
    pub(super) fn for_each_stalled(&self, now_ms: u64, mut show: impl FnMut(&Rc<ConnectionDeadlines>, u64)) {
        for deadlines in self.list.borrow().iter() {
            deadlines.note_taken(now_ms);
            if let Some(since_ms) = deadlines.stalled_ms() {
                show(deadlines, since_ms);
            }
        }
    }

    /// Wakes the connections that were accepted on this socket.
    pub(crate) fn wake_socket(&self, socket: usize, wakeup: Wakeup) {
        for deadlines in self.list.borrow().iter().filter(|deadlines| deadlines.socket == socket) {
            deadlines.wake_with(wakeup);
        }
    }

    /// Wakes all connections.
    pub(crate) fn wake_all(&self, wakeup: Wakeup) {
        for deadlines in self.list.borrow().iter() {
            deadlines.wake_with(wakeup);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::budget::Budget;
    use super::*;

    #[test]
    fn only_expired_connections_are_woken() {
        let list = ConnectionList::default();
        let (early, late, never) = (list.add(1), list.add(1), list.add(2));
        early.read_within(0, Duration::from_millis(50));
        late.write_within_once(0, Duration::from_millis(500));
        list.sweep(100);
        assert_eq!(
            [early.take_wakeup(), late.take_wakeup(), never.take_wakeup()],
            [Wakeup::Expired, Wakeup::Nothing, Wakeup::Nothing]
        );
        early.clear_read();
        late.write_within_once(100, Duration::from_secs(9));
        list.sweep(600);
        assert_eq!([early.take_wakeup(), late.take_wakeup()], [Wakeup::Nothing, Wakeup::Expired]);
        assert!(late.write_expired(600));
        late.clear_write();
        early.head_within_once(600, Duration::from_millis(50));
        early.head_within_once(640, Duration::from_millis(50));
        early.clear_read();
        list.sweep(650);
        assert!(early.head_expired(650) && !late.head_expired(650));
        assert_eq!([early.take_wakeup(), late.take_wakeup()], [Wakeup::Expired, Wakeup::Nothing]);
        early.clear_head();
        list.sweep(700);
        assert_eq!(early.take_wakeup(), Wakeup::Nothing);
    }

    #[test]
    fn an_awaited_response_is_late_after_its_deadline() {
        let list = ConnectionList::default();
        let deadlines = list.add(1);
        let timer = ResponseTimer::new(&deadlines, 500);
        list.sweep(499);
        assert!(!timer.has_fired());
        list.sweep(500);
        assert!(timer.has_fired());
        drop(timer);
        let next = ResponseTimer::new(&deadlines, 900);
        list.sweep(600);
        assert!(!next.has_fired());
        assert_eq!(deadlines.take_wakeup(), Wakeup::Nothing, "it is no deadline of the client");
    }

    #[test]
    fn removing_keeps_the_indexes_right() {
        let list = ConnectionList::default();
        let (a, b, c) = (list.add(1), list.add(1), list.add(2));
        list.remove(&a);
        list.remove(&c);
        assert_eq!(list.len(), 1);
        list.wake_all(Wakeup::Drain);
        assert_eq!(
            [a.take_wakeup(), b.take_wakeup(), c.take_wakeup()],
            [Wakeup::Nothing, Wakeup::Drain, Wakeup::Nothing]
        );
        let mut emptied = std::pin::pin!(list.emptied());
        let mut poll = || emptied.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        list.remove(&b);
        assert!(poll().is_ready());
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn a_client_that_takes_none_of_many_responses_is_stalled_soon() {
        let list = ConnectionList::default();
        let (deaf, slow) = (list.add(1), list.add(1));
        let budget = Budget::new(1);
        let page = |deadlines: &ConnectionDeadlines| {
            deadlines.outbox.get_or_init(|| budget.outbox(None)).track(Bytes::from(vec![7; 16 * 1024]))
        };
        let stalled_since = |now_ms| {
            let mut all = Vec::new();
            list.for_each_stalled(now_ms, |deadlines, since_ms| all.push((Rc::as_ptr(deadlines), since_ms)));
            all
        };
        let _unread: Vec<Bytes> = (0..100).map(|_| page(&deaf)).collect();
        let mut unread: Vec<Bytes> = (0..100).map(|_| page(&slow)).collect();
        deaf.mark_idle(0);
        slow.mark_idle(0);
        for second in 1..=100 {
            let now_ms = second * 1000;
            unread.pop();
            // One response has the time of one: all of them together would have a hundred seconds.
            let stalled = stalled_since(now_ms);
            assert_eq!(stalled[0], (Rc::as_ptr(&deaf), 1000));
            let slow_since = stalled.get(1).map(|(_, since_ms)| *since_ms);
            assert_eq!(slow_since, (second < 100).then_some(now_ms + 1000), "it takes 16 KiB a second");
        }
        deaf.mark_busy();
        assert!(stalled_since(101_000).is_empty(), "its streams are judged one by one");
    }

    #[test]
    fn bytes_taken_at_once_give_no_more_time_than_one_piece() {
        let list = ConnectionList::default();
        let client = list.add(1);
        let outbox = client.outbox.get_or_init(|| Budget::new(1).outbox(None));
        let mut unread: Vec<Bytes> = (0..100).map(|_| outbox.track(Bytes::from(vec![7; 16 * 1024]))).collect();
        client.mark_idle(0);
        unread.truncate(1);
        let mut since = None;
        list.for_each_stalled(100, |_, since_ms| since = Some(since_ms));
        assert_eq!(since, Some(1100));
    }

    #[test]
    fn only_connections_of_one_socket_are_woken() {
        let list = ConnectionList::default();
        let (one, two) = (list.add(1), list.add(2));
        list.wake_socket(2, Wakeup::Close);
        assert_eq!([one.take_wakeup(), two.take_wakeup()], [Wakeup::Nothing, Wakeup::Close]);
    }

    #[test]
    fn an_expiry_does_not_replace_a_drain() {
        let list = ConnectionList::default();
        let deadlines = list.add(1);
        deadlines.wake_with(Wakeup::Drain);
        deadlines.wake_with(Wakeup::Expired);
        assert_eq!(deadlines.take_wakeup(), Wakeup::Drain);
    }
}
