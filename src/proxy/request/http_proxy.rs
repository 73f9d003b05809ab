//! What the requests of one worker share: its view of the snapshot in force, the connection pools of the upstreams, the
//! mirrors of the shadows, and the streams that a kill can close. Owns what is per worker but needs upstreams or
//! mirrors;
//! `worker::Worker` holds the rest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use super::kill_streams::KillableStreams;
use super::snapshot_view::{SequenceStart, SnapshotView};
use crate::proxy::mirror::permit::{MirrorPolicy, MirrorStates};
use crate::proxy::upstream::pool::{Pools, UpstreamPool};
use crate::proxy::worker::Worker;
use crate::proxy::worker::stalled_readers::ScarceResource;
use crate::route::{RouteId, UpstreamId};
use crate::snapshot::Snapshot;

/// What the requests of one worker share. Everything in it belongs to one thread.
pub(crate) struct HttpProxy {
    pub(crate) worker: Rc<Worker>,
    /// Where the sequences of new routes begin.
    sequence_start: SequenceStart,
    pools: Pools,
    /// Connections for copies: those of requests are not for them.
    shadow_pools: Pools,
    mirrors: MirrorStates,
    pub(super) killable_streams: Rc<KillableStreams>,
    view: RefCell<Rc<SnapshotView>>,
}

impl HttpProxy {
    /// One for the requests of this worker, under the snapshot that it has adopted. `seed` is the same for all workers.
    pub(crate) fn new(worker: &Rc<Worker>, seed: u64) -> Rc<Self> {
        let sequence_start = SequenceStart { seed, worker: worker.index, workers: worker.workers };
        let first = SnapshotView::new(Arc::clone(&worker.snapshot()), None, sequence_start);
        Rc::new(Self {
            worker: Rc::clone(worker),
            sequence_start,
            pools: Pools::default(),
            shadow_pools: Pools::default(),
            mirrors: MirrorStates::default(),
            killable_streams: Rc::default(),
            view: RefCell::new(Rc::new(first)),
        })
    }

    /// What requests that begin now run under.
    #[inline]
    pub(crate) fn view(&self) -> Rc<SnapshotView> {
        Rc::clone(&self.view.borrow())
    }

    /// The pool of an upstream, for a request of this view.
    #[inline]
    pub(crate) fn upstream<'a>(&self, view: &'a SnapshotView, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        view.upstream(id, &self.pools, &self.worker)
    }

    /// The pool that copies use of an upstream. Only for requests of a route with a shadow.
    pub(super) fn shadow_upstream<'a>(&self, view: &'a SnapshotView, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        view.shadow_upstream(id, &self.shadow_pools, &self.worker)
    }

    /// What copies for the shadow of a route use.
    #[inline]
    pub(crate) fn mirror<'a>(&self, view: &'a SnapshotView, route: RouteId) -> Option<&'a Rc<MirrorPolicy>> {
        view.mirror(route, &self.mirrors, &self.worker)
    }

    /// Another snapshot is in force from now on.
    pub(crate) fn adopt(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation.0;
        let old = self.view();
        if !Arc::ptr_eq(&old.snapshot.rules, &snapshot.rules) {
            self.pools.retain(&snapshot.rules.upstreams);
            self.shadow_pools.retain(&snapshot.rules.upstreams);
            self.mirrors.retain(&snapshot.routes);
        }
        self.killable_streams.follow(&snapshot, self.worker.now_ms());
        self.worker.set_snapshot(Arc::clone(&snapshot));
        let view = SnapshotView::new(snapshot, Some(&old), self.sequence_start);
        *self.view.borrow_mut() = Rc::new(view);
        self.worker.meter().generation.store(generation, Release);
        debug_assert!(Arc::ptr_eq(&self.view.borrow().snapshot, &self.worker.snapshot()), "both hold one snapshot");
    }

    /// Runs the periodic work of the worker and of its pools.
    pub(crate) fn sweep(&self) {
        let worker = &self.worker;
        let now_ms = worker.tick();
        let scarce = || {
            if worker.budget.is_short() {
                ScarceResource::Memory
            } else {
                ScarceResource::Connections(self.pools.crowded())
            }
        };
        worker.stalled_readers.shed(&worker.connections, now_ms, worker.meter(), scarce);
        worker.connections.sweep(now_ms);
        worker.timers.sweep(now_ms);
        self.killable_streams.sweep(now_ms);
        self.pools.sweep(now_ms);
        self.shadow_pools.sweep(now_ms);
        worker.finish_sweep();
    }
}
