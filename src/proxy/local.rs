//! What a worker makes of a snapshot: the snapshot itself and this worker's own state beside it.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use super::pool::UpstreamPool;
use super::worker::Worker;
use crate::route::{LogSink, RouteId, Spread, UpstreamId, VariantId};
use crate::snapshot::Snapshot;
use crate::telemetry::VariantMeter;

/// A snapshot as one worker holds it.
pub(super) struct Local {
    pub(super) snapshot: Arc<Snapshot>,
    spreads: Box<[Cell<Spread>]>,
    upstreams: Box<[OnceCell<Rc<UpstreamPool>>]>,
}

impl Local {
    /// The worker's state beside a snapshot. Spreading begins anywhere: many reloads must not favour one place.
    pub(super) fn new(snapshot: Arc<Snapshot>, random: &mut fastrand::Rng) -> Self {
        let rules = &snapshot.rules;
        let spreads = rules.routes.iter().map(|_| Cell::new(Spread(random.u64(..)))).collect();
        let upstreams = rules.upstreams.iter().map(|_| OnceCell::new()).collect();
        Self { snapshot, spreads, upstreams }
    }

    /// The pool of an upstream, made or carried over at its first use.
    pub(super) fn upstream(&self, id: UpstreamId, worker: &Worker) -> &Rc<UpstreamPool> {
        let at = id.0 as usize;
        self.upstreams[at].get_or_init(|| {
            let series = &self.snapshot.upstream_series[at];
            worker.pools.adopt(&self.snapshot.rules.upstreams[at], &self.snapshot.endpoints[at], series)
        })
    }

    /// Whether any endpoint of this upstream can be connected to.
    pub(super) fn usable(&self, id: UpstreamId) -> bool {
        !self.snapshot.endpoints[id.0 as usize].is_empty()
    }

    /// The low-discrepancy sequence of a route.
    pub(super) fn spread(&self, route: RouteId) -> &Cell<Spread> {
        &self.spreads[route.0 as usize]
    }

    /// Where requests of a route's variant are counted.
    pub(super) fn meter(&self, route: RouteId, variant: VariantId, worker: usize) -> Option<&VariantMeter> {
        let series = self.snapshot.series.get(route.0 as usize)?.get(usize::from(variant.0))?;
        Some(series.meters.of(worker))
    }

    /// Whether access log lines are wanted at all.
    pub(super) fn logs(&self) -> bool {
        self.snapshot.rules.access_log.sink != LogSink::Off
    }
}
