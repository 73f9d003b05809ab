//! What all watches of a process share: the memory of their tables, and the queues of events from the workers to the
//! control plane.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use super::key_table::TableMemory;
use crate::stats::JudgedEvent;

/// How many events of a worker wait for the control plane, which takes them ten times a second.
const EVENTS_MAX: usize = 16_384;

/// The queue has so many places for notices at most: the others are for events, which are never sent again.
const NOTICES_MAX: usize = EVENTS_MAX / 2;

/// What a worker sends to the control plane, and the number of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// The number of the watch.
    pub watch: u32,
    /// What it sends.
    pub kind: WatchedKind,
}

/// What a worker sends to the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedKind {
    /// A notice: the first exposure of the worker in a slot.
    Exposure,
    /// A notice: a run of failures has begun.
    FailureRun,
    /// An event.
    Event(JudgedEvent),
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

impl WatchedEvent {
    /// The event, without notices.
    #[must_use]
    pub const fn event(&self) -> Option<JudgedEvent> {
        match self.kind {
            WatchedKind::Event(event) => Some(event),
            WatchedKind::Exposure | WatchedKind::FailureRun => None,
        }
    }
}

impl EventQueues {
    fn new(workers: usize) -> Self {
        Self { queues: (0..workers).map(|_| OnceLock::new()).collect(), lost: AtomicU64::new(0) }
    }

    /// Adds an event of a worker. A full queue loses it, which is counted; a notice is lost earlier, and not counted: what it
    /// announces stays where it was counted.
    pub(super) fn push(&self, worker: usize, watch: u32, kind: WatchedKind) {
        let Some(queue) = self.begin(worker) else { return };
        let is_event = matches!(kind, WatchedKind::Event(_));
        if !is_event && queue.len() >= NOTICES_MAX {
            return;
        }
        if queue.push(WatchedEvent { watch, kind }).is_err() && is_event {
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
