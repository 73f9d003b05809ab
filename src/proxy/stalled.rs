//! Readers that do not read. An answer that waits for its reader alone holds no request slot, but it holds memory and
//! perhaps an upstream's connection. When these run short, the streams that have stalled for longest end first, so that
//! clients which read are served.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::client::Client;
use super::exchange::UpstreamAttempt;
use super::expiry::Watched;
use super::streams::Reader;
use super::worker::Worker;

/// A reader that has taken nothing for this long may be shed: three sweeps.
const STALLED_MS: u64 = 300;
/// A reader that takes so many bytes a second has not stalled.
const SLOW_RATE: u64 = 16 * 1024;
/// So many are shed at least in a sweep; else a quarter of those that have stalled.
const SHED_MIN: usize = 4;

/// How long a slow reader takes over so many bytes.
pub(super) const fn patience_ms(bytes: u64) -> u64 {
    bytes.saturating_mul(1000) / SLOW_RATE
}

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

/// Identifies an upstream. `0` is none.
pub(super) type UpstreamKey = usize;

/// The key of the upstream whose connection an attempt holds.
pub(super) fn key_of(attempt: &UpstreamAttempt) -> UpstreamKey {
    attempt.lease.as_ref().and(attempt.flight.as_ref()).map_or(0, |flight| flight.upstream().key())
}

/// The streams of a worker whose readers are waited for.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    readers: RefCell<Vec<Rc<Reader>>>,
}

/// What can be shed.
enum Candidate {
    Stream(Rc<Reader>),
    Connection(Rc<Watched>),
}

impl Candidate {
    fn upstream(&self) -> UpstreamKey {
        match self {
            Self::Stream(reader) => reader.upstream.get(),
            Self::Connection(watched) => watched.upstream.get(),
        }
    }

    fn shed(&self, worker: &Worker) {
        match self {
            Self::Stream(reader) => reader.shed(worker),
            Self::Connection(watched) => watched.shed(),
        }
    }
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

    /// What has stalled for a while, and since when.
    fn candidates(&self, worker: &Worker) -> Vec<(u64, Candidate)> {
        let has_stalled = |since_ms: u64| since_ms + STALLED_MS <= worker.now_ms();
        let mut all = Vec::new();
        for reader in self.readers.borrow().iter().filter(|reader| has_stalled(reader.since_ms())) {
            all.push((reader.since_ms(), Candidate::Stream(Rc::clone(reader))));
        }
        worker.watchlist.each_stalled(|watched, since_ms| {
            if has_stalled(since_ms) {
                all.push((since_ms, Candidate::Connection(Rc::clone(watched))));
            }
        });
        all
    }

    /// Ends the streams that have stalled for longest, where memory or connections of their upstream run short.
    pub(super) fn shed(&self, worker: &Worker) {
        let mut all = self.candidates(worker);
        if all.is_empty() {
            return;
        }
        if !worker.budget.is_short() {
            let crowded = worker.pools.crowded();
            all.retain(|(_, candidate)| crowded.contains(&candidate.upstream()));
        }
        all.sort_unstable_by_key(|(since_ms, _)| *since_ms);
        let count = SHED_MIN.max(all.len() / 4);
        all.iter().take(count).for_each(|(_, candidate)| candidate.shed(worker));
    }
}
