//! What a worker makes of a snapshot: the snapshot itself and this worker's own state beside it.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::copies::Lane;
use super::pool::UpstreamPool;
use super::worker::Worker;
use crate::route::{Generation, LogSink, RouteId, Rules, Spread, UpstreamId, VariantId};
use crate::snapshot::Snapshot;
use crate::telemetry::{Sample, VariantMeter};

/// A snapshot as one worker holds it.
pub(super) struct Local {
    pub(super) snapshot: Arc<Snapshot>,
    spreads: Rc<[Cell<Spread>]>,
    /// Per route its lane for copies; empty when no route has a shadow.
    lanes: Rc<[OnceCell<Rc<Lane>>]>,
    upstreams: PoolCells,
    /// The upstreams as shadows use them.
    shadow_upstreams: PoolCells,
}

/// Per upstream its pool, made or carried over at its first use.
type PoolCells = Rc<[OnceCell<Rc<UpstreamPool>>]>;

/// Where the sequences of new routes begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginnings {
    /// Random, and the same for all workers.
    pub(super) seed: u64,
    /// The worker's number.
    pub(super) worker: usize,
    /// How many workers there are.
    pub(super) workers: usize,
}

impl Beginnings {
    /// Anywhere, since many new routes must not favour one place. The workers begin at equal distances from each other:
    /// the shares of all workers together are then nearly as even as those of one.
    fn of(self, route: &str, generation: Generation) -> Spread {
        let first = xxh3_64_with_seed(route.as_bytes(), self.seed ^ generation.0);
        let distance = u64::MAX / (self.workers.max(1) as u64);
        Spread(first.wrapping_add(distance.wrapping_mul(self.worker as u64)))
    }
}

impl Local {
    /// The worker's state beside a snapshot. `old` is its state beside the snapshot before.
    pub(super) fn new(snapshot: Arc<Snapshot>, old: Option<&Self>, beginnings: Beginnings) -> Self {
        let rules = &snapshot.rules;
        let spreads = spreads(&snapshot, old, beginnings);
        let has_shadows = snapshot.routes.iter().any(|route| route.shadow.is_some());
        let lanes = if has_shadows { unused(rules.routes.len()) } else { Rc::default() };
        let upstreams = unused(rules.upstreams.len());
        let shadow_upstreams = unused(if has_shadows { rules.upstreams.len() } else { 0 });
        Self { snapshot, spreads, lanes, upstreams, shadow_upstreams }
    }

    /// The pool of an upstream.
    pub(super) fn upstream(&self, id: UpstreamId, worker: &Worker) -> &Rc<UpstreamPool> {
        let at = id.0 as usize;
        self.upstreams[at].get_or_init(|| {
            let state = &self.snapshot.upstreams[at];
            worker.pools.adopt(&self.snapshot.rules.upstreams[at], &state.endpoints, &state.series)
        })
    }

    /// What copies for the shadow of a route use.
    pub(super) fn lane(&self, route: RouteId, worker: &Worker) -> Option<&Rc<Lane>> {
        let of = route.0 as usize;
        let series = self.snapshot.routes.get(of)?.shadow.as_ref()?;
        Some(self.lanes.get(of)?.get_or_init(|| {
            let state = worker.lanes.adopt(series, &mut worker.random.borrow_mut());
            Rc::new(Lane { series: Arc::clone(series), state })
        }))
    }

    /// The pool that copies use of an upstream. Only for requests of a route with a shadow.
    pub(super) fn shadow_upstream(&self, id: UpstreamId, worker: &Worker) -> &Rc<UpstreamPool> {
        let at = id.0 as usize;
        self.shadow_upstreams[at].get_or_init(|| {
            let state = &self.snapshot.upstreams[at];
            debug_assert!(state.shadow_series.is_some(), "every upstream has one where a route has a shadow");
            let series = state.shadow_series.as_ref().unwrap_or(&state.series);
            worker.shadow_pools.adopt(&self.snapshot.rules.upstreams[at], &state.endpoints, series)
        })
    }

    /// Whether any endpoint of this upstream can be connected to.
    pub(super) fn usable(&self, id: UpstreamId) -> bool {
        !self.snapshot.upstreams[id.0 as usize].endpoints.is_empty()
    }

    /// The low-discrepancy sequence of a route.
    pub(super) fn spread(&self, route: RouteId) -> &Cell<Spread> {
        &self.spreads[route.0 as usize]
    }

    /// Where requests of a route's variant are counted.
    pub(super) fn meter(&self, route: RouteId, variant: VariantId, worker: usize) -> Option<&VariantMeter> {
        let series = self.snapshot.routes.get(route.0 as usize)?.series.get(usize::from(variant.0))?;
        Some(series.meters.of(worker))
    }

    /// Where it is noted whom a route's weights sent where.
    pub(super) fn sample(&self, route: RouteId) -> Option<&Sample> {
        self.snapshot.routes.get(route.0 as usize)?.sample.as_deref()
    }

    /// Whether access log lines are wanted at all.
    pub(super) fn logs(&self) -> bool {
        self.snapshot.rules.access_log.sink != LogSink::Off
    }
}

/// So many that are made at their first use.
fn unused<T>(count: usize) -> Rc<[OnceCell<T>]> {
    (0..count).map(|_| OnceCell::new()).collect()
}

/// A route's sequence goes on for as long as there is a route of its name: any run of consecutive draws is even,
/// whatever the weights are. A start anew with each reload would leave the shares of quiet routes to chance.
fn spreads(snapshot: &Snapshot, old: Option<&Local>, beginnings: Beginnings) -> Rc<[Cell<Spread>]> {
    let by_name = OnceCell::new();
    let known = |at: usize, name: &str| {
        let old = old?;
        let rules = &old.snapshot.rules;
        let same = rules.routes.get(at).is_some_and(|route| route.name == name);
        let at = if same { at } else { *by_name.get_or_init(|| places(rules)).get(name)? };
        old.spreads.get(at).map(Cell::get)
    };
    let routes = snapshot.rules.routes.iter().enumerate();
    let spread = routes.map(|(at, route)| {
        Cell::new(known(at, &route.name).unwrap_or_else(|| beginnings.of(&route.name, snapshot.generation)))
    });
    spread.collect()
}

/// The routes' places by their names.
fn places(rules: &Rules) -> ahash::HashMap<&str, usize> {
    rules.routes.iter().enumerate().map(|(at, route)| (route.name.as_str(), at)).collect()
}
