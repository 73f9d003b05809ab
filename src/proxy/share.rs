//! What one client address has under way on a worker. While more than half of a limit that all share is taken, an address
//! gets a quarter of it at most, so that one client cannot use it up. Trusted proxies speak for many, and have no share.
//!
//! A worker counts for itself. It adds to the figures of all workers in batches, so that a request touches no memory that
//! workers share: the figures are late by less than a batch for each worker.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use ahash::HashMap;

/// A figure of one worker is added to that of all workers when they differ by this.
const BATCH: i64 = 16;
/// The part of a limit that one address may have while more than half of it is taken.
pub(super) const PART: i64 = 4;

/// What an address has under way on all workers.
#[derive(Debug, Default)]
pub(super) struct Everywhere {
    requests: AtomicI64,
    flights: AtomicI64,
}

/// What an address has under way on this worker.
#[derive(Debug)]
pub(super) struct Share {
    ip: IpAddr,
    connections: Cell<u32>,
    requests: Figure,
    flights: Figure,
    /// Bytes of the memory budget, besides those below.
    bytes: Cell<usize>,
    /// Bytes of answers that the protocol stack has not written.
    unsent: Arc<AtomicUsize>,
    everywhere: Arc<Everywhere>,
}

/// A figure of this worker, and what all workers know of it.
#[derive(Debug, Default)]
struct Figure {
    here: Cell<i64>,
    published: Cell<i64>,
}

impl Figure {
    fn add(&self, n: i64, everywhere: &AtomicI64) {
        let here = self.here.get() + n;
        self.here.set(here);
        if (here - self.published.get()).abs() >= BATCH {
            self.publish(everywhere);
        }
    }

    fn publish(&self, everywhere: &AtomicI64) {
        let here = self.here.get();
        everywhere.fetch_add(here - self.published.replace(here), Relaxed);
    }

    fn total(&self, everywhere: &AtomicI64) -> i64 {
        everywhere.load(Relaxed) + self.here.get() - self.published.get()
    }
}

impl Share {
    /// A request begins (1) or ends (-1).
    pub(super) fn request(&self, n: i64) {
        self.requests.add(n, &self.everywhere.requests);
    }

    /// A request begins to use an upstream (1) or ends to (-1).
    pub(super) fn flight(&self, n: i64) {
        self.flights.add(n, &self.everywhere.flights);
    }

    /// The address.
    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Requests under way, over all workers.
    pub(super) fn requests(&self) -> i64 {
        self.requests.total(&self.everywhere.requests)
    }

    /// Requests that use an upstream, over all workers.
    pub(super) fn flights(&self) -> i64 {
        self.flights.total(&self.everywhere.flights)
    }

    /// Bytes that are held on this worker.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get() + self.unsent.load(Relaxed)
    }

    /// Counts bytes as held.
    pub(super) fn take(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Bytes are not held any more.
    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The counter of bytes that are not written yet.
    pub(super) fn unsent(&self) -> &Arc<AtomicUsize> {
        &self.unsent
    }
}

/// The shares of the addresses that have connections to this worker.
#[derive(Debug, Default)]
pub(super) struct Shares(RefCell<HashMap<IpAddr, Rc<Share>>>);

impl Shares {
    /// A connection of `ip` begins.
    pub(super) fn enter(&self, ip: IpAddr, everywhere: Arc<Everywhere>) -> Rc<Share> {
        let mut shares = self.0.borrow_mut();
        let fresh = || {
            Rc::new(Share {
                ip,
                connections: Cell::new(0),
                requests: Figure::default(),
                flights: Figure::default(),
                bytes: Cell::new(0),
                unsent: Arc::default(),
                everywhere,
            })
        };
        let share = shares.entry(ip).or_insert_with(fresh);
        share.connections.set(share.connections.get() + 1);
        Rc::clone(share)
    }

    /// A connection has ended.
    pub(super) fn leave(&self, share: &Share) {
        let left = share.connections.get().saturating_sub(1);
        share.connections.set(left);
        if left == 0 {
            share.requests.publish(&share.everywhere.requests);
            share.flights.publish(&share.everywhere.flights);
            self.0.borrow_mut().remove(&share.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn workers_know_of_each_other_to_within_a_batch() {
        let everywhere = Arc::<Everywhere>::default();
        let (one, two) = (Shares::default(), Shares::default());
        let (a, b) = (one.enter(IP, Arc::clone(&everywhere)), two.enter(IP, Arc::clone(&everywhere)));
        for n in 1..=1000 {
            a.request(1);
            b.request(1);
            b.flight(1);
            assert!((2 * n - BATCH..=2 * n).contains(&a.requests()), "{n}: {}", a.requests());
            assert!((n - BATCH..=n).contains(&a.flights()), "{n}: {}", a.flights());
        }
        for _ in 0..1000 {
            a.request(-1);
            b.request(-1);
            b.flight(-1);
        }
        one.leave(&a);
        two.leave(&b);
        assert_eq!((everywhere.requests.load(Relaxed), everywhere.flights.load(Relaxed)), (0, 0));
    }

    #[test]
    fn connections_of_one_address_share_and_the_last_one_ends_it() {
        let shares = Shares::default();
        let (first, second) = (shares.enter(IP, Arc::default()), shares.enter(IP, Arc::default()));
        assert!(Rc::ptr_eq(&first, &second));
        first.take(100);
        second.unsent().fetch_add(11, Relaxed);
        assert_eq!(second.bytes(), 111);
        shares.leave(&first);
        assert_eq!(shares.0.borrow().len(), 1);
        shares.leave(&second);
        assert!(shares.0.borrow().is_empty());
    }
}
