//! The requests of one worker that wait for a connection to one endpoint, because the upstream's limit is reached. The
//! slots of the process have their tickets ([`ConnectionSlots`]); this list has what they can be given on this worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::h2_peer::H2PeerState;
use crate::clock::Clock;
use crate::net::{ConnectionSlots, FreeConnection};

/// Which pooled connections may be used.
#[derive(Clone, Debug)]
pub(crate) enum Reuse {
    /// Any.
    Allowed,
    /// Any but this one.
    Except(Rc<H2PeerState>),
    /// None: too many of them were closed by the upstream.
    Never,
}

impl Reuse {
    /// Whether an HTTP/1.1 connection may be used.
    pub(super) const fn allows_connection(&self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Whether a stream of this HTTP/2 connection may be used.
    pub(super) fn allows_stream(&self, peer: &Rc<H2PeerState>) -> bool {
        match self {
            Self::Allowed => true,
            Self::Except(but) => !Rc::ptr_eq(but, peer),
            Self::Never => false,
        }
    }
}

/// The waiting requests, in the order of arrival. `T` is what they can be given.
pub(crate) struct EndpointQueue<T>(RefCell<VecDeque<Rc<Waiter<T>>>>);

/// A waiting request.
pub(crate) struct Waiter<T> {
    pub(super) ticket: u64,
    reuse: Reuse,
    given: RefCell<Option<T>>,
}

/// For what a free connection is.
pub(super) enum FreeFor<T> {
    /// A request here.
    Waiter(Served<T>),
    /// A request elsewhere, which needs its slot: it must be closed.
    Other,
    /// No request waits.
    None,
}

/// A request whose wait is over.
#[must_use]
pub(super) struct Served<T> {
    waiter: Rc<Waiter<T>>,
    waker: Waker,
}

impl<T> Served<T> {
    /// Gives the request what it waited for.
    pub(super) fn give(self, free: T) {
        *self.waiter.given.borrow_mut() = Some(free);
        self.waker.wake();
    }
}

impl<T> Default for EndpointQueue<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> EndpointQueue<T> {
    /// Whether no request waits here.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Adds a request with its ticket, at the end.
    pub(super) fn join(&self, ticket: u64, reuse: Reuse) -> Rc<Waiter<T>> {
        let waiter = Rc::new(Waiter { ticket, reuse, given: RefCell::default() });
        let mut waiters = self.0.borrow_mut();
        debug_assert!(waiters.back().is_none_or(|last| last.ticket < ticket), "tickets are in the order of arrival");
        waiters.push_back(Rc::clone(&waiter));
        waiter
    }

    /// Removes a request, if it is here still.
    pub(super) fn leave(&self, waiter: &Waiter<T>) {
        self.take(waiter.ticket);
    }

    /// For what a free HTTP/1.1 connection is: the request that has waited longest here, unless one elsewhere has waited
    /// much longer.
    pub(super) fn next_for_connection(&self, slots: &ConnectionSlots) -> FreeFor<T> {
        let free_for = {
            let waiters = self.0.borrow();
            slots.hand_over(tickets(&waiters, Reuse::allows_connection), Clock.now())
        };
        match free_for {
            FreeConnection::Give(ticket, waker) => {
                self.take(ticket).map_or(FreeFor::Other, |waiter| FreeFor::Waiter(Served { waiter, waker }))
            }
            FreeConnection::Close => FreeFor::Other,
            FreeConnection::Keep => FreeFor::None,
        }
    }

    /// The request that has waited longest here and can use a stream of this HTTP/2 connection.
    pub(super) fn next_for_stream(&self, slots: &ConnectionSlots, peer: &Rc<H2PeerState>) -> Option<Served<T>> {
        let served = {
            let waiters = self.0.borrow();
            slots.serve(tickets(&waiters, |reuse| reuse.allows_stream(peer)), Clock.now())
        };
        let (ticket, waker) = served?;
        self.take(ticket).map(|waiter| Served { waiter, waker })
    }

    fn take(&self, ticket: u64) -> Option<Rc<Waiter<T>>> {
        let mut waiters = self.0.borrow_mut();
        let at = waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()?;
        waiters.remove(at)
    }
}

/// The tickets of the requests that can use something, in the order of arrival.
fn tickets<T>(waiters: &VecDeque<Rc<Waiter<T>>>, may: impl Fn(&Reuse) -> bool) -> impl Iterator<Item = u64> {
    waiters.iter().filter(move |waiter| may(&waiter.reuse)).map(|waiter| waiter.ticket)
}

impl<T> Waiter<T> {
    /// What the request was given.
    pub(super) fn take_given(&self) -> Option<T> {
        self.given.borrow_mut().take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::{Joined, ReleaseRequests, SlotRequest};

    fn slots() -> (ConnectionSlots, Arc<ReleaseRequests>) {
        let (slots, worker) = (ConnectionSlots::new("main"), Arc::new(ReleaseRequests::new(0)));
        assert!(slots.take(&worker, 1), "the only slot");
        (slots, worker)
    }

    fn join(
        queue: &EndpointQueue<u32>,
        slots: &ConnectionSlots,
        worker: &Arc<ReleaseRequests>,
        reuse: Reuse,
    ) -> Rc<Waiter<u32>> {
        let since = Clock.now();
        let until = since + std::time::Duration::from_hours(1);
        let request = SlotRequest { worker, limit: 1, pending: 9, since, until };
        let Joined::Ticket(ticket) = slots.join(request) else { panic!("no slot is free") };
        queue.join(ticket, reuse)
    }

    #[test]
    fn what_becomes_free_goes_to_the_request_that_waits_longest_and_can_use_it() {
        let ((slots, worker), queue) = (slots(), EndpointQueue::default());
        let join = |reuse| join(&queue, &slots, &worker, reuse);
        let (mine, other) = (Rc::new(H2PeerState::default()), Rc::new(H2PeerState::default()));
        let waiting = [join(Reuse::Never), join(Reuse::Except(Rc::clone(&mine))), join(Reuse::Allowed)];
        let given = || waiting.each_ref().map(|waiter| waiter.take_given());
        queue.next_for_stream(&slots, &mine).unwrap().give(1);
        assert_eq!(given(), [None, None, Some(1)], "not a stream of the connection that it avoids");
        queue.next_for_stream(&slots, &other).unwrap().give(2);
        assert_eq!(given(), [None, Some(2), None]);
        assert!(queue.next_for_stream(&slots, &other).is_none());
        assert!(matches!(queue.next_for_connection(&slots), FreeFor::Other), "only a new connection helps");
        slots.release(0, Clock.now());
        assert!(slots.poll(waiting[0].ticket, Waker::noop()).is_ready());
        queue.leave(&waiting[0]);
        assert!(queue.is_empty() && matches!(queue.next_for_connection(&slots), FreeFor::None));
    }

    #[test]
    fn a_request_that_left_gets_nothing() {
        let ((slots, worker), queue) = (slots(), EndpointQueue::default());
        let (first, second) =
            (join(&queue, &slots, &worker, Reuse::Allowed), join(&queue, &slots, &worker, Reuse::Allowed));
        queue.leave(&first);
        slots.leave(first.ticket, Clock.now());
        let FreeFor::Waiter(served) = queue.next_for_connection(&slots) else { panic!("one waits") };
        served.give(7);
        assert_eq!((first.take_given(), second.take_given()), (None, Some(7)));
        assert!(!slots.is_wanted());
    }
}
