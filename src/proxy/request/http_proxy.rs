//! What the requests of one worker share: its view of the current snapshot, the connection pools, the mirror states,
//! and the streams that a kill can close. State that needs no upstream or mirror is in `worker::Worker`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::judged_requests::JudgedRequests;
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
    /// The start of new routes' sequences.
    sequence_start: SequenceStart,
    pools: Pools,
    /// Connections for copies: copies and requests never share one.
    shadow_pools: Pools,
    mirrors: MirrorStates,
    pub(super) killable_streams: Rc<KillableStreams>,
    /// The requests that guards judge.
    pub(super) judged: JudgedRequests,
    view: RefCell<Rc<SnapshotView>>,
}

impl HttpProxy {
    /// For the requests of this worker, with its current snapshot. `seed` is the same for all workers.
    pub(crate) fn new(worker: &Rc<Worker>, seed: u64) -> Rc<Self> {
        let sequence_start = SequenceStart { seed, worker: worker.index, workers: worker.workers };
        let first = SnapshotView::new(Arc::clone(&worker.snapshot()), None, sequence_start);
        Rc::new(Self {
            worker: Rc::clone(worker),
            sequence_start,
            pools: Pools::of_workers(worker.workers),
            // Copies are few: what they choose by is their own load.
            shadow_pools: Pools::default(),
            mirrors: MirrorStates::default(),
            killable_streams: Rc::default(),
            judged: JudgedRequests::default(),
            view: RefCell::new(Rc::new(first)),
        })
    }

    /// The view for requests that start now.
    #[inline]
    pub(crate) fn view(&self) -> Rc<SnapshotView> {
        Rc::clone(&self.view.borrow())
    }

    /// The pool of an upstream, for a request of this view.
    #[inline]
    pub(crate) fn upstream<'a>(&self, view: &'a SnapshotView, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        view.upstream(id, &self.pools, &self.worker)
    }

    /// The pool for copies to an upstream. Only for requests of a route with a shadow.
    pub(super) fn shadow_upstream<'a>(&self, view: &'a SnapshotView, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        view.shadow_upstream(id, &self.shadow_pools, &self.worker)
    }

    /// The mirror policy of a route, if it has a shadow.
    #[inline]
    pub(crate) fn mirror<'a>(&self, view: &'a SnapshotView, route: RouteId) -> Option<&'a Rc<MirrorPolicy>> {
        view.mirror(route, &self.mirrors, &self.worker)
    }

    /// Switches to a new snapshot.
    pub(crate) fn adopt(&self, snapshot: Arc<Snapshot>) {
        let (generation, edition) = (snapshot.generation, snapshot.edition);
        let old = self.view();
        if !Arc::ptr_eq(&old.snapshot.rules, &snapshot.rules) {
            self.pools.retain(&snapshot.rules.upstreams);
            self.shadow_pools.retain(&snapshot.rules.upstreams);
            self.mirrors.retain(&snapshot);
        }
        self.killable_streams.follow(&snapshot, self.worker.now_ms());
        self.worker.set_snapshot(Arc::clone(&snapshot));
        let view = SnapshotView::new(snapshot, Some(&old), self.sequence_start);
        *self.view.borrow_mut() = Rc::new(view);
        self.worker.registry.adopt(self.worker.index, generation, edition);
        debug_assert!(
            Arc::ptr_eq(&self.view.borrow().snapshot, &self.worker.snapshot()),
            "proxy and worker have the same snapshot"
        );
    }

    /// Closes idle connections of upstreams, whenever requests of any worker wait for connections to them.
    pub(crate) async fn release_idle(&self) {
        loop {
            let upstreams = self.worker.releases.next().await;
            self.worker.rouse();
            for upstream in upstreams {
                self.pools.release_idle(&upstream, &self.worker);
            }
        }
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
        self.judged.sweep(&self.view.borrow(), worker.index, worker.clock.now());
        self.pools.tick(worker);
        self.shadow_pools.tick(worker);
        self.pools.sweep(now_ms);
        self.shadow_pools.sweep(now_ms);
        worker.finish_sweep();
    }
}
