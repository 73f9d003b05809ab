//! The coarse timers of one worker: a slot for each. The worker's sweep checks them.

use std::cell::RefCell;
use std::task::{Context, Waker};

/// A worker's coarse timers.
#[derive(Default)]
pub(crate) struct Timers(RefCell<Slots>);

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

struct Slot {
    deadline_ms: u64,
    waker: Option<Waker>,
}

impl Timers {
    /// Wakes the tasks of the timers that have expired.
    pub(crate) fn sweep(&self, now_ms: u64) {
        for slot in &mut self.0.borrow_mut().slots {
            if slot.deadline_ms <= now_ms
                // Taken: the next sweep must not wake the task again. The slot stays until `free`.
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Whether no timer is set.
    pub(super) fn is_empty(&self) -> bool {
        let timers = self.0.borrow();
        timers.free.len() == timers.slots.len()
    }

    /// Moves the deadline of a timer.
    #[inline]
    pub(crate) fn set_deadline(&self, at: usize, deadline_ms: u64) {
        self.0.borrow_mut().slots[at].deadline_ms = deadline_ms;
    }

    /// Wakes the task of `cx` at the deadline. Returns the timer's slot: `slot`, or a new one.
    #[inline]
    pub(crate) fn wait(&self, slot: Option<usize>, deadline_ms: u64, cx: &Context<'_>) -> usize {
        let mut timers = self.0.borrow_mut();
        let slot_of = || Slot { deadline_ms, waker: Some(cx.waker().clone()) };
        match slot {
            // Polled again by the same task: the waker need not be cloned.
            Some(at) if timers.slots[at].waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) => at,
            Some(at) => {
                timers.slots[at] = slot_of();
                at
            }
            None => {
                // Free slots first, since a sweep visits every slot.
                let at = timers.free.pop().unwrap_or(timers.slots.len());
                if at == timers.slots.len() {
                    timers.slots.push(slot_of());
                } else {
                    timers.slots[at] = slot_of();
                }
                at
            }
        }
    }

    /// Frees a timer's slot.
    #[inline]
    pub(crate) fn free(&self, at: usize) {
        let mut timers = self.0.borrow_mut();
        debug_assert!(timers.free.len() < timers.slots.len(), "every slot is freed once");
        // A free slot stays in the list, with a deadline that never comes.
        timers.slots[at] = Slot { deadline_ms: u64::MAX, waker: None };
        timers.free.push(at);
    }
}
