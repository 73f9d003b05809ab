//! Clients that do not read their responses. A response that waits for its reader only holds no request slot, but it
//! holds memory and perhaps an upstream connection. When these run short, the streams that are stalled for longest end
//! first, so that clients that read are served.

use std::cell::RefCell;
use std::rc::Rc;

use super::connection_deadlines::{ConnectionDeadlines, ConnectionList};
use super::response_reader::{ResponseReader, UpstreamKey};
use crate::telemetry::WorkerMeter;

/// A reader without progress for this long may be shed: three sweeps.
const STALLED_MS: u64 = 300;
/// A sweep sheds a quarter of the stalled streams, and at least this many.
const SHED_MIN: usize = 4;

/// The response streams of a worker that wait for their readers.
#[derive(Debug, Default)]
pub(crate) struct StalledReaders {
    readers: RefCell<Vec<Rc<ResponseReader>>>,
}

/// The resource that runs short.
pub(crate) enum ScarceResource {
    Memory,
    /// Connections to these upstreams.
    Connections(Vec<UpstreamKey>),
}

/// A stalled stream or connection.
enum Candidate {
    Stream(Rc<ResponseReader>),
    Connection(Rc<ConnectionDeadlines>),
}

impl Candidate {
    fn upstream(&self) -> UpstreamKey {
        match self {
            Self::Stream(reader) => reader.upstream.get(),
            Self::Connection(deadlines) => deadlines.upstream.get(),
        }
    }

    fn shed(&self, meter: &WorkerMeter) {
        match self {
            Self::Stream(reader) => reader.shed(meter),
            Self::Connection(deadlines) => deadlines.shed(),
        }
    }
}

impl StalledReaders {
    /// Adds a stream that waits for its reader.
    pub(crate) fn add(&self, reader: &Rc<ResponseReader>) {
        let mut readers = self.readers.borrow_mut();
        reader.place.set(Some(readers.len()));
        readers.push(Rc::clone(reader));
    }

    /// Removes a stream.
    pub(crate) fn remove(&self, reader: &ResponseReader) {
        // Without an index it is not in the list: a second call does nothing.
        let Some(place) = reader.place.take() else { return };
        let mut readers = self.readers.borrow_mut();
        debug_assert!(std::ptr::eq(&raw const *readers[place], reader), "the reader knows its index");
        readers.swap_remove(place);
        // The last reader has moved to this index.
        if let Some(moved) = readers.get(place) {
            moved.place.set(Some(place));
        }
    }

    /// Streams and connections without progress for [`STALLED_MS`], and since when.
    fn candidates(&self, connections: &ConnectionList, now_ms: u64) -> Vec<(u64, Candidate)> {
        let has_stalled = |since_ms: u64| since_ms + STALLED_MS <= now_ms;
        let mut all = Vec::new();
        for reader in self.readers.borrow().iter().filter(|reader| has_stalled(reader.since_ms())) {
            all.push((reader.since_ms(), Candidate::Stream(Rc::clone(reader))));
        }
        connections.for_each_stalled(now_ms, |deadlines, since_ms| {
            if has_stalled(since_ms) {
                all.push((since_ms, Candidate::Connection(Rc::clone(deadlines))));
            }
        });
        all
    }

    /// Ends the streams that are stalled for longest and hold the scarce resource.
    pub(crate) fn shed(
        &self,
        connections: &ConnectionList,
        now_ms: u64,
        meter: &WorkerMeter,
        scarce: impl FnOnce() -> ScarceResource,
    ) {
        let mut all = self.candidates(connections, now_ms);
        if all.is_empty() {
            return;
        }
        // Only now, since `crowded` sums over all workers.
        match scarce() {
            ScarceResource::Memory => {}
            ScarceResource::Connections(crowded) => {
                all.retain(|(_, candidate)| crowded.contains(&candidate.upstream()));
            }
        }
        all.sort_unstable_by_key(|(since_ms, _)| *since_ms);
        let count = SHED_MIN.max(all.len() / 4);
        all.iter().take(count).for_each(|(_, candidate)| candidate.shed(meter));
    }
}
