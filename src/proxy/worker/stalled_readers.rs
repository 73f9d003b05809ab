//! Readers that do not read. An answer that waits for its reader alone holds no request slot, but it holds memory and
//! perhaps an upstream's connection. When these run short, the streams that have stalled for longest end first, so that
//! clients which read are served.

use std::cell::RefCell;
use std::rc::Rc;

use super::connection_deadlines::{ConnectionDeadlines, ConnectionList};
use super::response_reader::{ResponseReader, UpstreamKey};
use crate::telemetry::WorkerMeter;

/// A reader that has taken nothing for this long may be shed: three sweeps.
const STALLED_MS: u64 = 300;
/// So many are shed at least in a sweep; else a quarter of those that have stalled.
const SHED_MIN: usize = 4;

/// The streams of a worker whose readers are waited for.
#[derive(Debug, Default)]
pub(crate) struct StalledReaders {
    readers: RefCell<Vec<Rc<ResponseReader>>>,
}

/// The scarce resource.
pub(crate) enum ScarceResource {
    /// Memory, which every stream holds.
    Memory,
    /// Connections of these upstreams.
    Connections(Vec<UpstreamKey>),
}

/// What can be shed.
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
    /// A stream's reader is waited for from now on.
    pub(crate) fn add(&self, reader: &Rc<ResponseReader>) {
        let mut readers = self.readers.borrow_mut();
        reader.place.set(Some(readers.len()));
        readers.push(Rc::clone(reader));
    }

    /// The reader is not waited for any more.
    pub(crate) fn remove(&self, reader: &ResponseReader) {
        let Some(place) = reader.place.take() else { return };
        let mut readers = self.readers.borrow_mut();
        readers.swap_remove(place);
        if let Some(moved) = readers.get(place) {
            moved.place.set(Some(place));
        }
    }

    /// What has stalled for a while, and since when.
    fn candidates(&self, connections: &ConnectionList, now_ms: u64) -> Vec<(u64, Candidate)> {
        let has_stalled = |since_ms: u64| since_ms + STALLED_MS <= now_ms;
        let mut all = Vec::new();
        for reader in self.readers.borrow().iter().filter(|reader| has_stalled(reader.since_ms())) {
            all.push((reader.since_ms(), Candidate::Stream(Rc::clone(reader))));
        }
        connections.for_each_stalled(|deadlines, since_ms| {
            if has_stalled(since_ms) {
                all.push((since_ms, Candidate::Connection(Rc::clone(deadlines))));
            }
        });
        all
    }

    /// Ends the streams that have stalled longest and hold the scarce resource.
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
        match scarce() {
            ScarceResource::Memory => {}
            ScarceResource::Connections(crowded) => {
                all.retain(|(_, candidate)| crowded.contains(&candidate.upstream()))
            }
        }
        all.sort_unstable_by_key(|(since_ms, _)| *since_ms);
        let count = SHED_MIN.max(all.len() / 4);
        all.iter().take(count).for_each(|(_, candidate)| candidate.shed(meter));
    }
}
