//! The connections of one upstream that the process may have open, and the requests that wait for one. All workers share
//! it; it is carried over with the meters of the upstream.
//!
//! A *slot* is the right to have one connection open. Opening a connection takes a slot and its end releases it, both
//! under a lock, so the limit is exact. A request that finds no slot gets a *ticket*. It waits until a slot is granted,
//! or until its own worker hands it a connection or stream that became free. The limits are arguments: each request
//! has those of its own snapshot.
//!
//! **Who cannot be served in time is shed first.** A request has a time until which it waits. After that it gets neither a
//! slot nor a connection, and when the queue is full, those whose time is over leave it for a new one. They are not woken:
//! the timer of each ends it.
//!
//! **No wake-up is lost.** While the lock is free, no request waits in its time whose limit is above the number of taken
//! slots:
//!
//! * `join` waits only if no slot is free, and checks that under the lock;
//! * `release` grants the slot to the first request in its time that may have it, before another can take it; the time of
//!   one that it passes over does not begin again;
//! * a request that leaves with a granted slot releases it;
//! * a request reads its grant under the lock under which it stores its waker, so a grant finds the waker or is seen.
//!
//! **No idle connection keeps a request waiting.** A worker reads [`ConnectionSlots::is_wanted`] without the lock when a
//! connection becomes free, and keeps the connection if no request waits. The answer may be stale. But `join` asks each
//! worker that has connections for its idle ones ([`ReleaseRequests`]), once in a time in which requests wait all the
//! time. The worker looks at its idle connections after it was asked. From then on it sees that requests wait, until
//! none does, and the next one asks anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::release_requests::ReleaseRequests;

#[cfg(test)]
mod tests;

/// How much longer than a request that can use a free connection another one may have waited, before the connection is
/// closed for that one. A connection moves between workers or endpoints only by a new connection, so it stays where it
/// is while the waiting times are about even.
const UNEVEN: Duration = Duration::from_millis(100);

/// The slots for connections to one upstream, and the requests that wait for one.
#[derive(Debug)]
pub struct ConnectionSlots {
    upstream: Arc<str>,
    waiting: WaitingCount,
    state: Mutex<SlotsState>,
}

/// The number of requests that wait without a grant. Written under the lock only. On a cache line of its own, which
/// is not written while none waits.
#[derive(Debug, Default)]
#[repr(align(64))]
struct WaitingCount(AtomicUsize);

#[derive(Debug, Default)]
struct SlotsState {
    /// Slots that are taken or granted.
    taken: usize,
    /// The next ticket.
    next: u64,
    /// In the order of arrival.
    requests: VecDeque<WaitingRequest>,
    /// By the number of the worker.
    workers: Vec<WorkerSlots>,
}

/// A request with a ticket.
#[derive(Debug)]
struct WaitingRequest {
    ticket: u64,
    worker: usize,
    limit: usize,
    since: Instant,
    until: Instant,
    has_slot: bool,
    waker: Waker,
}

impl WaitingRequest {
    /// Whether it waits for a slot, and its time is not over.
    fn is_in_time(&self, now: Instant) -> bool {
        !self.has_slot && now < self.until
    }
}

/// The slots of one worker.
#[derive(Debug, Default)]
struct WorkerSlots {
    taken: usize,
    /// Was asked for idle connections, and had no more of them after that, or has not answered yet.
    asked: bool,
    releases: Option<Arc<ReleaseRequests>>,
}

/// A request for a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotRequest<'a> {
    /// Of the worker that makes the request.
    pub worker: &'a Arc<ReleaseRequests>,
    /// Most connections that may be open with this one.
    pub limit: u32,
    /// Most requests that may wait with this one.
    pub pending: u32,
    /// When it was made.
    pub since: Instant,
    /// Until when it waits: its own timer ends it then.
    pub until: Instant,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It has a slot, which it must release.
    Slot,
    /// It waits with this ticket, with which it must leave.
    Ticket(u64),
    /// Too many requests wait.
    Full,
}

/// What a worker does with a connection that became free.
#[derive(Debug)]
pub enum FreeConnection {
    /// The request with this ticket, which waits no more, uses it.
    Give(u64, Waker),
    /// It is closed: its slot is for another request.
    Close,
    /// No request waits.
    Keep,
}

impl ConnectionSlots {
    /// The slots of an upstream with this name.
    #[must_use]
    pub fn new(upstream: &str) -> Self {
        Self { upstream: upstream.into(), waiting: WaitingCount::default(), state: Mutex::default() }
    }

    /// How many requests wait without a grant. Without the lock: the number may be stale.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.0.load(Relaxed)
    }

    /// Whether a request waits.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.waiting() > 0
    }

    /// Takes a slot. Returns whether one was free.
    pub fn take(&self, worker: &Arc<ReleaseRequests>, limit: u32) -> bool {
        self.lock().take(worker, limit as usize)
    }

    /// Takes a slot, or waits for one.
    pub fn join(&self, request: SlotRequest<'_>) -> Joined {
        let mut state = self.lock();
        if state.take(request.worker, request.limit as usize) {
            return Joined::Slot;
        }
        if self.waiting() >= request.pending as usize {
            self.shed_late(&mut state, request.since);
            if self.waiting() >= request.pending as usize {
                return Joined::Full;
            }
        }
        let ticket = state.next;
        state.next += 1;
        state.requests.push_back(WaitingRequest {
            ticket,
            worker: request.worker.worker,
            limit: request.limit as usize,
            since: request.since,
            until: request.until,
            has_slot: false,
            waker: Waker::noop().clone(),
        });
        self.add(1);
        for of in state.workers.iter_mut().filter(|of| of.taken > 0 && !of.asked) {
            if let Some(releases) = &of.releases {
                of.asked = true;
                releases.ask(&self.upstream);
            }
        }
        Joined::Ticket(ticket)
    }

    /// Ready when a slot is granted, which the request must release. The ticket ends with it. Never ready for a request
    /// that left for a new one.
    pub fn poll(&self, ticket: u64, waker: &Waker) -> Poll<()> {
        let mut state = self.lock();
        let Some(at) = state.find(ticket) else { return Poll::Pending };
        if state.requests[at].has_slot {
            state.requests.remove(at);
            return Poll::Ready(());
        }
        state.requests[at].waker.clone_from(waker);
        Poll::Pending
    }

    /// Ends a ticket, if it has not ended. A slot that was granted to it goes to the next request.
    pub fn leave(&self, ticket: u64, now: Instant) {
        let mut state = self.lock();
        let Some(left) = state.find(ticket).and_then(|at| state.requests.remove(at)) else { return };
        if left.has_slot {
            let next = self.release_locked(&mut state, left.worker, now);
            drop(state);
            wake(next);
        } else {
            self.ungranted(&mut state);
        }
    }

    /// Releases a slot of a worker.
    pub fn release(&self, worker: usize, now: Instant) {
        let mut state = self.lock();
        let next = self.release_locked(&mut state, worker, now);
        drop(state);
        wake(next);
    }

    /// What to do with a connection that became free. `own`: the tickets of the requests of its worker that can use it,
    /// in the order of arrival.
    pub fn hand_over(&self, own: impl Iterator<Item = u64>, now: Instant) -> FreeConnection {
        let mut state = self.lock();
        let Some(longest) = state.requests.iter().find(|one| one.is_in_time(now)).map(|one| one.since) else {
            return FreeConnection::Keep;
        };
        let Some(at) = state.first_in_time(own, now) else { return FreeConnection::Close };
        if state.requests[at].since > longest + UNEVEN {
            return FreeConnection::Close;
        }
        self.serve_locked(&mut state, at)
            .map_or(FreeConnection::Close, |(ticket, waker)| FreeConnection::Give(ticket, waker))
    }

    /// Ends the ticket of the first of these requests that has no slot yet: it gets something else.
    pub fn serve(&self, own: impl Iterator<Item = u64>, now: Instant) -> Option<(u64, Waker)> {
        let mut state = self.lock();
        let at = state.first_in_time(own, now)?;
        self.serve_locked(&mut state, at)
    }

    /// Asks a worker for its idle connections, because one of them has become idle while requests wait.
    pub fn ask(&self, worker: usize) {
        let state = self.lock();
        if let Some(releases) = state.workers.get(worker).and_then(|of| of.releases.as_ref()) {
            releases.ask(&self.upstream);
        }
    }

    /// A worker that was asked reports how many connections it is closing, which have their slot still, and how many
    /// are idle still. Returns whether more of them shall be closed.
    pub fn answer(&self, worker: usize, closing: usize, idle: usize) -> bool {
        let mut state = self.lock();
        let more = idle > 0 && self.waiting() > closing;
        let waits = self.is_wanted();
        if let Some(of) = state.workers.get_mut(worker) {
            of.asked = waits && (more || idle == 0);
        }
        more
    }

    fn lock(&self) -> MutexGuard<'_, SlotsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts requests that wait. Under the lock.
    fn add(&self, more: usize) {
        self.waiting.0.store(self.waiting() + more, Relaxed);
    }

    /// One request less waits. Under the lock.
    fn ungranted(&self, state: &mut SlotsState) {
        let left = self.waiting().saturating_sub(1);
        self.waiting.0.store(left, Relaxed);
        debug_assert_eq!(left, state.requests.iter().filter(|request| !request.has_slot).count(), "each is counted");
        if left == 0 {
            state.workers.iter_mut().for_each(|of| of.asked = false);
        }
    }

    /// The requests whose time is over leave.
    fn shed_late(&self, state: &mut SlotsState, now: Instant) {
        while let Some(at) = state.requests.iter().position(|one| !one.has_slot && !one.is_in_time(now)) {
            state.requests.remove(at);
            self.ungranted(state);
        }
    }

    fn serve_locked(&self, state: &mut SlotsState, at: usize) -> Option<(u64, Waker)> {
        let served = state.requests.remove(at)?;
        self.ungranted(state);
        Some((served.ticket, served.waker))
    }

    /// Releases a slot, and grants it to the first request that may have it. One slot is for one request at most: those
    /// that may not have it could not have had it before either.
    fn release_locked(&self, state: &mut SlotsState, worker: usize, now: Instant) -> Option<Waker> {
        debug_assert!(state.taken > 0, "a slot is released once");
        state.taken = state.taken.saturating_sub(1);
        state.of(worker).taken = state.of(worker).taken.saturating_sub(1);
        let taken = state.taken;
        let next = state.requests.iter_mut().find(|request| request.is_in_time(now) && taken < request.limit)?;
        next.has_slot = true;
        let (worker, waker) = (next.worker, next.waker.clone());
        state.taken += 1;
        state.of(worker).taken += 1;
        self.ungranted(state);
        Some(waker)
    }
}

impl SlotsState {
    fn take(&mut self, worker: &Arc<ReleaseRequests>, limit: usize) -> bool {
        let is_free = self.taken < limit;
        let of = self.of(worker.worker);
        of.releases.get_or_insert_with(|| Arc::clone(worker));
        if is_free {
            of.taken += 1;
            self.taken += 1;
        }
        is_free
    }

    fn of(&mut self, worker: usize) -> &mut WorkerSlots {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, WorkerSlots::default);
        }
        &mut self.workers[worker]
    }

    fn find(&self, ticket: u64) -> Option<usize> {
        self.requests.binary_search_by_key(&ticket, |request| request.ticket).ok()
    }

    fn first_in_time(&self, mut tickets: impl Iterator<Item = u64>, now: Instant) -> Option<usize> {
        tickets.find_map(|ticket| self.find(ticket).filter(|at| self.requests[*at].is_in_time(now)))
    }
}

/// Wakes outside the lock.
fn wake(next: Option<Waker>) {
    if let Some(waker) = next {
        waker.wake();
    }
}
