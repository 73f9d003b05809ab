//! What the requests of one worker share: its view of the snapshot in force, the connection pools of the upstreams, the
//! lanes of the shadows, and the streams that a kill can close. Owns what is per worker but needs upstreams or mirrors;
//! `worker::Worker` holds the rest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use super::local::{Beginnings, Local};
use super::open_streams::OpenStreams;
use crate::proxy::mirror::copies::{Lane, Lanes};
use crate::proxy::upstream::pool::{Pools, UpstreamPool};
use crate::proxy::worker::Worker;
use crate::proxy::worker::stalled::Scarce;
use crate::route::{RouteId, UpstreamId};
use crate::snapshot::Snapshot;

/// What the requests of one worker share. Everything in it belongs to one thread.
pub(crate) struct HttpProxy {
    pub(crate) worker: Rc<Worker>,
    /// Where the sequences of new routes begin.
    beginnings: Beginnings,
    pools: Pools,
    /// Connections for copies: those of requests are not for them.
    shadow_pools: Pools,
    lanes: Lanes,
    pub(super) open_streams: Rc<OpenStreams>,
    local: RefCell<Rc<Local>>,
}

impl HttpProxy {
    /// One for the requests of this worker, under the snapshot that it has adopted. `seed` is the same for all workers.
    pub(crate) fn new(worker: &Rc<Worker>, seed: u64) -> Rc<Self> {
        let beginnings = Beginnings { seed, worker: worker.index, workers: worker.workers };
        let first = Local::new(Arc::clone(&worker.snapshot()), None, beginnings);
        Rc::new(Self {
            worker: Rc::clone(worker),
            beginnings,
            pools: Pools::default(),
            shadow_pools: Pools::default(),
            lanes: Lanes::default(),
            open_streams: Rc::default(),
            local: RefCell::new(Rc::new(first)),
        })
    }

    /// What requests that begin now run under.
    #[inline]
    pub(crate) fn local(&self) -> Rc<Local> {
        Rc::clone(&self.local.borrow())
    }

    /// The pool of an upstream, for a request of this view.
    #[inline]
    pub(crate) fn upstream<'a>(&self, local: &'a Local, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        local.upstream(id, &self.pools, &self.worker)
    }

    /// The pool that copies use of an upstream. Only for requests of a route with a shadow.
    pub(super) fn shadow_upstream<'a>(&self, local: &'a Local, id: UpstreamId) -> &'a Rc<UpstreamPool> {
        local.shadow_upstream(id, &self.shadow_pools, &self.worker)
    }

    /// What copies for the shadow of a route use.
    #[inline]
    pub(crate) fn lane<'a>(&self, local: &'a Local, route: RouteId) -> Option<&'a Rc<Lane>> {
        local.lane(route, &self.lanes, &self.worker)
    }

    /// Another snapshot is in force from now on.
    pub(crate) fn adopt(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation.0;
        let old = self.local();
        if !Arc::ptr_eq(&old.snapshot.rules, &snapshot.rules) {
            self.pools.retain(&snapshot.rules.upstreams);
            self.shadow_pools.retain(&snapshot.rules.upstreams);
            self.lanes.retain(&snapshot.routes);
        }
        self.open_streams.follow(&snapshot, self.worker.now_ms());
        self.worker.set_snapshot(Arc::clone(&snapshot));
        let local = Local::new(snapshot, Some(&old), self.beginnings);
        *self.local.borrow_mut() = Rc::new(local);
        self.worker.meter().generation.store(generation, Release);
        debug_assert!(Arc::ptr_eq(&self.local.borrow().snapshot, &self.worker.snapshot()), "both hold one snapshot");
    }

    /// Runs the periodic work of the worker and of its pools.
    pub(crate) fn sweep(&self) {
        let worker = &self.worker;
        let now_ms = worker.tick();
        let scarce =
            || if worker.budget.is_short() { Scarce::Memory } else { Scarce::Connections(self.pools.crowded()) };
        worker.stalled.shed(&worker.watchlist, now_ms, worker.meter(), scarce);
        worker.watchlist.sweep(now_ms);
        worker.timers.sweep(now_ms);
        self.open_streams.sweep(now_ms);
        self.pools.sweep(now_ms);
        self.shadow_pools.sweep(now_ms);
        worker.finish_sweep();
    }
}
