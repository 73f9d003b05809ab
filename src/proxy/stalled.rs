//! Readers that do not read. An answer that waits for its reader alone holds no request slot, but it holds memory and
//! perhaps an upstream's connection. When these run short, the streams that have stalled for longest end first, so that
//! clients which read are served.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::client::Client;
use super::exchange::Exchange;
use super::expiry::Watched;
use super::pool::UpstreamPool;
use super::streams::Reader;
use super::worker::Worker;

/// A reader that has taken nothing for this long may be shed: three sweeps.
const STALLED_MS: u64 = 300;
/// So many are shed at least in a sweep; else a quarter of those that have stalled.
const SHED_MIN: usize = 16;

/// A place among the requests of a listener and of a client address.
#[derive(Debug, Default)]
pub(super) struct Slot(Cell<bool>);

impl Slot {
    /// Takes a place, unless it has one.
    pub(super) fn take(&self, client: &Client) {
        if !self.0.replace(true) {
            client.count_request(1);
        }
    }

    /// Gives the place back, if it has one.
    pub(super) fn give_back(&self, client: &Client) {
        if self.0.replace(false) {
            client.count_request(-1);
        }
    }
}

/// An upstream, as what holds one of its connections is known by. `0` is none.
pub(super) type UpstreamKey = usize;

/// The key of an upstream.
pub(super) fn key(upstream: &UpstreamPool) -> UpstreamKey {
    std::sync::Arc::as_ptr(&upstream.series()).addr()
}

/// The key of the upstream whose connection an exchange holds.
pub(super) fn key_of(exchange: &Exchange) -> UpstreamKey {
    exchange.lease.as_ref().and(exchange.flight.as_ref()).map_or(0, |flight| key(flight.upstream()))
}

/// The streams of a worker whose readers are waited for, and what has run short.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    readers: RefCell<Vec<Rc<Reader>>>,
    /// Upstreams whose connections are nearly all taken, since the last sweep.
    crowded: RefCell<Vec<UpstreamKey>>,
}

/// What can be shed.
enum Candidate {
    Stream(Rc<Reader>),
    Connection(Rc<Watched>),
}

impl Stalled {
    /// A stream's reader is waited for from now on.
    pub(super) fn add(&self, reader: &Rc<Reader>) {
        let mut readers = self.readers.borrow_mut();
        reader.place.set(Some(readers.len()));
        readers.push(Rc::clone(reader));
    }

    /// The reader is not waited for any more.
    pub(super) fn remove(&self, reader: &Reader) {
        let Some(place) = reader.place.take() else { return };
        let mut readers = self.readers.borrow_mut();
        readers.swap_remove(place);
        if let Some(moved) = readers.get(place) {
            moved.place.set(Some(place));
        }
    }

    /// Nearly all connections of this upstream are taken.
    pub(super) fn is_crowded(&self, upstream: UpstreamKey) {
        let mut crowded = self.crowded.borrow_mut();
        if !crowded.contains(&upstream) {
            crowded.push(upstream);
        }
    }

    /// Ends the streams that have stalled for longest, where memory or connections of their upstream run short.
    pub(super) fn shed(&self, worker: &Worker) {
        let crowded = self.crowded.take();
        let is_short = worker.budget.is_short();
        if !is_short && crowded.is_empty() {
            return;
        }
        let now_ms = worker.now_ms();
        let wanted = |since_ms: u64, upstream: UpstreamKey| {
            since_ms + STALLED_MS <= now_ms && (is_short || crowded.contains(&upstream))
        };
        let mut all = Vec::new();
        for reader in self.readers.borrow().iter() {
            if wanted(reader.since_ms(), reader.upstream.get()) {
                all.push((reader.since_ms(), Candidate::Stream(Rc::clone(reader))));
            }
        }
        worker.watchlist.each_stuck(|watched, since_ms| {
            if wanted(since_ms, watched.upstream.get()) {
                all.push((since_ms, Candidate::Connection(Rc::clone(watched))));
            }
        });
        all.sort_unstable_by_key(|(since_ms, _)| *since_ms);
        let count = SHED_MIN.max(all.len() / 4);
        for (_, candidate) in all.into_iter().take(count) {
            match candidate {
                Candidate::Stream(reader) => reader.shed(worker),
                Candidate::Connection(watched) => watched.shed(),
            }
        }
    }
}
