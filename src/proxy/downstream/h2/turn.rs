//! The wakers of a connection. h2 and each stream have a waker of their own, so that a turn polls only what is ready.
//! During a turn they only note what is ready: the turn goes on until nothing is, and the task is not scheduled again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Streams in a group.
pub(super) const GROUP: usize = u64::BITS as usize;

/// The state of a connection's turns. As a waker it is h2's.
#[derive(Debug)]
pub(super) struct ConnectionTurn {
    /// A turn is under way.
    running: AtomicBool,
    /// h2 is to be polled.
    h2_ready: AtomicBool,
    /// The connection's task.
    task: Mutex<Waker>,
}

impl ConnectionTurn {
    /// Before the first turn. h2 is ready.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            running: AtomicBool::new(false),
            h2_ready: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        })
    }

    /// Begins a turn.
    pub(super) fn begin(&self, cx: &Context<'_>) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        self.running.store(true, SeqCst);
    }

    /// Ends a turn. What became ready from here on wakes the task; what became ready before must be looked for after
    /// this call.
    pub(super) fn end(&self) {
        self.running.store(false, SeqCst);
    }

    /// Notes that h2 is to be polled in this turn.
    pub(super) fn poll_h2_again(&self) {
        self.h2_ready.store(true, SeqCst);
    }

    /// Whether h2 is to be polled.
    pub(super) fn is_h2_ready(&self) -> bool {
        self.h2_ready.load(SeqCst)
    }

    /// Takes the note that h2 is to be polled.
    pub(super) fn take_h2_ready(&self) -> bool {
        self.is_h2_ready() && self.h2_ready.swap(false, SeqCst)
    }

    /// Wakes the connection's task, unless a turn is under way.
    fn wake_task(&self) {
        if !self.running.load(SeqCst) {
            self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl Wake for ConnectionTurn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.h2_ready.store(true, SeqCst);
        self.wake_task();
    }
}

/// Which of 64 streams are ready, a bit a stream.
#[derive(Debug)]
pub(super) struct Group {
    ready: AtomicU64,
    turn: Arc<ConnectionTurn>,
}

impl Group {
    /// A group without ready streams.
    pub(super) fn new(turn: &Arc<ConnectionTurn>) -> Arc<Self> {
        Arc::new(Self { ready: AtomicU64::new(0), turn: Arc::clone(turn) })
    }

    /// The waker of the stream with this index in the group.
    pub(super) fn waker(self: &Arc<Self>, index: usize) -> Waker {
        debug_assert!(index < GROUP, "a group has {GROUP} streams");
        Waker::from(Arc::new(StreamWaker { group: Arc::clone(self), bit: 1 << (index % GROUP) }))
    }

    /// Whether a stream is ready.
    pub(super) fn is_any_ready(&self) -> bool {
        self.ready.load(SeqCst) != 0
    }

    /// Takes the ready streams.
    pub(super) fn take_ready(&self) -> u64 {
        if self.is_any_ready() { self.ready.swap(0, SeqCst) } else { 0 }
    }

    /// Puts back streams that are left for the next turn.
    pub(super) fn put_back(&self, ready: u64) {
        self.ready.fetch_or(ready, SeqCst);
    }
}

/// Wakes one stream.
#[derive(Debug)]
struct StreamWaker {
    group: Arc<Group>,
    bit: u64,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The task was woken when the bit was set.
        if self.group.ready.fetch_or(self.bit, SeqCst) & self.bit == 0 {
            self.group.turn.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_wake_reaches_the_task_once_and_not_during_a_turn() {
        let (turn, count) = (ConnectionTurn::new(), Arc::new(Count::default()));
        let group = Group::new(&turn);
        let (first, last) = (group.waker(0), group.waker(GROUP - 1));
        let task = Waker::from(Arc::clone(&count));
        turn.begin(&Context::from_waker(&task));
        assert!(turn.take_h2_ready() && !turn.take_h2_ready());
        first.wake_by_ref();
        Waker::from(Arc::clone(&turn)).wake();
        assert_eq!((group.take_ready(), turn.take_h2_ready(), group.take_ready()), (1, true, 0));
        turn.end();
        assert_eq!(count.0.load(SeqCst), 0);
        last.wake_by_ref();
        last.wake_by_ref();
        assert_eq!((count.0.load(SeqCst), group.take_ready()), (1, 1 << 63));
        last.wake();
        Waker::from(Arc::clone(&turn)).wake();
        assert_eq!(count.0.load(SeqCst), 3);
    }

    #[test]
    fn a_wake_of_another_thread_is_never_lost() {
        let turn = ConnectionTurn::new();
        let group = Group::new(&turn);
        for _ in 0..2000 {
            let count = Arc::new(Count::default());
            let task = Waker::from(Arc::clone(&count));
            turn.begin(&Context::from_waker(&task));
            let waker = group.waker(3);
            let seen = std::thread::scope(|scope| {
                scope.spawn(move || waker.wake());
                turn.end();
                group.is_any_ready()
            });
            assert!(seen || count.0.load(SeqCst) == 1);
            assert_eq!(group.take_ready(), 8);
        }
    }
}
