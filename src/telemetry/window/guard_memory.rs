//! What all watches of a process share: the memory of their tables, and the queues of events from the workers to the
//! control plane.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use super::key_table::TableMemory;
use crate::stats::JudgedEvent;

/// How many events of a worker wait for the control plane, which takes them ten times a second.
const EVENTS_MAX: usize = 16_384;

/// An event, and the number of its watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// The number of the watch.
    pub watch: u32,
    /// The event.
    pub event: JudgedEvent,
}

/// The queues of events, one a worker. Adding to one wakes no thread.
#[derive(Debug)]
pub struct EventQueues {
    queues: Box<[OnceLock<ArrayQueue<WatchedEvent>>]>,
    lost: AtomicU64,
}

/// What all watches share.
#[derive(Debug)]
pub struct GuardMemory {
    /// The memory of the tables of last-seen slots.
    pub seen: Arc<TableMemory>,
    /// The memory of the samples of first keys.
    pub first_keys: Arc<TableMemory>,
    /// The memory of the marks.
    pub marks: Arc<TableMemory>,
    /// The events.
    pub events: EventQueues,
    next_id: AtomicU32,
}

impl EventQueues {
    fn new(workers: usize) -> Self {
        Self { queues: (0..workers).map(|_| OnceLock::new()).collect(), lost: AtomicU64::new(0) }
    }

    /// Adds an event of a worker. A full queue loses it, which is counted.
    pub(super) fn push(&self, worker: usize, watch: u32, event: JudgedEvent) {
        if self.begin(worker).is_some_and(|queue| queue.push(WatchedEvent { watch, event }).is_err()) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Begins the queue of a worker: from now on the control plane looks at the watches.
    pub(super) fn begin(&self, worker: usize) -> Option<&ArrayQueue<WatchedEvent>> {
        Some(self.queues.get(worker)?.get_or_init(|| ArrayQueue::new(EVENTS_MAX)))
    }

    /// Takes the events of all workers that have arrived: at most a full queue of each.
    pub fn take(&self, mut each: impl FnMut(WatchedEvent)) {
        for queue in self.queues.iter().filter_map(OnceLock::get) {
            for event in std::iter::from_fn(|| queue.pop()).take(EVENTS_MAX) {
                each(event);
            }
        }
    }

    /// Whether a worker has begun its queue: it does so at its first exposure at the latest.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.queues.iter().any(|queue| queue.get().is_some())
    }

    /// How many events were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl GuardMemory {
    /// For this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let memory = || Arc::new(TableMemory::new(TableMemory::BYTES));
        Self {
            seen: memory(),
            first_keys: memory(),
            marks: memory(),
            events: EventQueues::new(workers),
            next_id: AtomicU32::new(1),
        }
    }

    pub(super) fn next_id(&self) -> u32 {
        self.next_id.fetch_add(1, Relaxed)
    }
}
