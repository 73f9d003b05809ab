//! What one client address has in flight on a worker. While more than half of a shared limit is used, an address gets a
//! quarter of it at most, so that one client cannot use it up. Trusted proxies carry many clients and have no share.
//!
//! A worker counts for itself and adds to the count of all workers in batches, so that a request rarely writes memory
//! that workers share. The count of all workers lags by less than a batch per worker: an eighth of the limit in all.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use ahash::HashMap;

/// The largest batch.
const BATCH_MAX: i64 = 16;
/// The counts of all workers together lag by less than this part of the limit.
const LATE_PART: i64 = 8;
/// An address may use this part of the budget while more than half of it is reserved.
pub(super) const PART: usize = 4;
/// Length of the prefix of an IPv6 address that identifies a client.
const NETWORK_BITS: u32 = 64;

/// The address that identifies a client: for IPv6, its network.
pub(crate) fn client_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> NETWORK_BITS << NETWORK_BITS)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How many requests a worker counts for itself before it publishes them, for a limit on all workers together.
pub(crate) fn batch(limit: u32, workers: usize) -> i64 {
    let workers = i64::try_from(workers).unwrap_or(i64::MAX);
    (i64::from(limit) / LATE_PART.saturating_mul(workers)).clamp(1, BATCH_MAX)
}

/// What a client address has in flight on this worker.
#[derive(Debug)]
pub(crate) struct Share {
    ip: IpAddr,
    connections: Cell<u32>,
    requests: Cell<i64>,
    /// The part of `requests` that is added to `everywhere`.
    published: Cell<i64>,
    /// Bytes of the memory budget, without `unsent`.
    bytes: Cell<usize>,
    /// Bytes of responses that hyper has not written.
    unsent: Arc<AtomicUsize>,
    /// Requests on all workers.
    everywhere: Arc<AtomicI64>,
}

impl Share {
    /// Counts a request that starts (1) or ends (-1); publishes the count in batches of this size.
    pub(crate) fn count_request(&self, n: i64, batch: i64) {
        let here = self.requests.get() + n;
        self.requests.set(here);
        if (here - self.published.get()).abs() >= batch {
            self.flush();
        }
    }

    /// Adds the unpublished requests to the count of all workers.
    fn flush(&self) {
        let here = self.requests.get();
        self.everywhere.fetch_add(here - self.published.replace(here), Relaxed);
    }

    /// The address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Requests in flight, over all workers.
    pub(crate) fn requests(&self) -> i64 {
        self.everywhere.load(Relaxed) + self.requests.get() - self.published.get()
    }

    /// Reserved and unwritten bytes on this worker.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get() + self.unsent.load(Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    pub(crate) fn remove_bytes(&self, bytes: usize) {
        debug_assert!(bytes <= self.bytes.get(), "no more is removed than was added");
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The counter of bytes that hyper has not written.
    pub(crate) fn unsent(&self) -> &Arc<AtomicUsize> {
        &self.unsent
    }
}

/// The shares of the addresses that have connections to this worker.
#[derive(Debug, Default)]
pub(crate) struct ClientShares(RefCell<HashMap<IpAddr, Rc<Share>>>);

impl ClientShares {
    /// Adds a connection of `ip`. `everywhere` counts the requests of `ip` on all workers.
    pub(crate) fn add_connection(&self, ip: IpAddr, everywhere: Arc<AtomicI64>) -> Rc<Share> {
        let mut shares = self.0.borrow_mut();
        let fresh = || {
            Rc::new(Share {
                ip,
                connections: Cell::new(0),
                requests: Cell::new(0),
                published: Cell::new(0),
                bytes: Cell::new(0),
                unsent: Arc::default(),
                everywhere,
            })
        };
        let share = shares.entry(ip).or_insert_with(fresh);
        share.connections.set(share.connections.get() + 1);
        Rc::clone(share)
    }

    /// Removes a connection.
    pub(crate) fn remove_connection(&self, share: &Share) {
        debug_assert!(share.connections.get() > 0, "every connection is removed once");
        let left = share.connections.get().saturating_sub(1);
        share.connections.set(left);
        if left == 0 {
            share.flush();
            self.0.borrow_mut().remove(&share.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn counts_of_all_workers_lag_by_less_than_a_batch() {
        for batch in [1, 7, BATCH_MAX] {
            let everywhere = Arc::<AtomicI64>::default();
            let (one, two) = (ClientShares::default(), ClientShares::default());
            let (a, b) =
                (one.add_connection(IP, Arc::clone(&everywhere)), two.add_connection(IP, Arc::clone(&everywhere)));
            for n in 1..=1000 {
                a.count_request(1, batch);
                b.count_request(1, batch);
                assert!((2 * n - batch + 1..=2 * n).contains(&a.requests()), "{n}: {}", a.requests());
            }
            for _ in 0..1000 {
                a.count_request(-1, batch);
                b.count_request(-1, batch);
            }
            one.remove_connection(&a);
            two.remove_connection(&b);
            assert_eq!(everywhere.load(Relaxed), 0);
        }
    }

    #[test]
    fn all_workers_together_lag_by_a_part_of_the_limit() {
        assert_eq!([batch(10_000, 2), batch(10_000, 1_000), batch(20, 1), batch(20, 8)], [16, 1, 2, 1]);
        assert_eq!([batch(640, 8), batch(u32::MAX, 1)], [10, 16]);
    }

    #[test]
    fn connections_of_one_address_have_one_share() {
        let shares = ClientShares::default();
        let (first, second) = (shares.add_connection(IP, Arc::default()), shares.add_connection(IP, Arc::default()));
        assert!(Rc::ptr_eq(&first, &second));
        first.add_bytes(100);
        second.unsent().fetch_add(11, Relaxed);
        assert_eq!(second.bytes(), 111);
        shares.remove_connection(&first);
        assert_eq!(shares.0.borrow().len(), 1);
        shares.remove_connection(&second);
        assert!(shares.0.borrow().is_empty());
    }

    #[test]
    fn clients_of_ipv6_are_known_by_their_network() {
        let known = |ip: &str| client_key(ip.parse().unwrap()).to_string();
        assert_eq!(known("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!([known("::ffff:10.0.0.1"), known("10.0.0.1")], ["10.0.0.1", "10.0.0.1"]);
    }
}
