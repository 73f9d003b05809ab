//! What the meters of routes have counted since the last sample. Of a route without new requests one word a worker is read.

use std::collections::HashMap;
use std::sync::Arc;

use crate::control::measure::{Durations, VariantCounts};
use crate::route::RouteId;
use crate::snapshot::{RouteStates, Snapshot};
use crate::telemetry::{Labels, MeterRegistry, VariantSeries, WorkerMeter};

/// The counts of a variant before those of its durations: requests, errors, and requests that were dealt by weight.
const COUNTS: usize = 3;
/// All counts of a variant.
const ALL: usize = COUNTS + Durations::BUCKETS;
/// After so many samples without a request in the process, routes are not looked at.
const CALM_SAMPLES: u32 = 2;

/// The routes with variants, and what was counted about them at the last sample.
#[derive(Debug, Default)]
pub(super) struct FollowedMeters {
    states: RouteStates,
    routes: Vec<FollowedRoute>,
    /// The variants of all routes, one route after the other.
    variants: Vec<FollowedVariant>,
    /// How many of them have counted something.
    used: usize,
    /// The requests of the process that have begun, and those that have ended.
    requests: [u64; 2],
    /// The samples since these have changed.
    calm: u32,
}

#[derive(Clone, Copy, Debug)]
struct FollowedRoute {
    id: RouteId,
    /// The number of its variants.
    variants: u32,
}

/// The meters of a variant.
#[derive(Debug)]
struct FollowedVariant {
    series: Arc<VariantSeries>,
    /// The sum of its durations when it was read last.
    sum_us: u64,
    /// Its counts then; `None`: it had none.
    last: Option<Box<LastCounts>>,
    /// Meters of these labels were followed before, and others have taken their place.
    is_replaced: bool,
}

/// The lower halves of counts that only grow.
type LastCounts = [u32; ALL];

/// What was counted about the variants of a route since the last sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RouteCounts {
    /// The route.
    pub route: RouteId,
    /// By variant; `None`: not known, its counters began anew.
    pub variants: Vec<Option<NewCounts>>,
}

/// What was counted since the last sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewCounts([u64; ALL]);

impl Default for NewCounts {
    fn default() -> Self {
        Self([0; ALL])
    }
}

impl NewCounts {
    /// All requests.
    pub const fn requests(&self) -> u64 {
        self.0[0]
    }

    /// Those that failed.
    pub const fn errors(&self) -> u64 {
        self.0[1]
    }

    /// Those that were dealt by weight.
    pub const fn counted(&self) -> u64 {
        self.0[2]
    }

    /// Their durations.
    pub fn durations(&self) -> Durations {
        Durations::new(std::array::from_fn(|at| self.0[COUNTS + at]))
    }

    /// Adds those of another variant.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl FollowedMeters {
    /// Follows the routes of a snapshot: meters that it has kept go on.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        if self.states.have_same_states(&snapshot.routes) {
            return;
        }
        let mut before: HashMap<Labels, FollowedVariant> = HashMap::new();
        for variant in std::mem::take(&mut self.variants).into_iter().filter(|variant| variant.last.is_some()) {
            before.insert(variant.series.labels.clone(), variant);
        }
        self.routes.clear();
        self.used = 0;
        for ((id, route), state) in snapshot.rules.numbered().zip(&*snapshot.routes) {
            let Some(split) = route.split() else { continue };
            let count = self.variants.len();
            for series in state.series.iter().take(split.variants.len()) {
                let known = if before.is_empty() { None } else { before.remove(&series.labels) };
                let variant = FollowedVariant::new(series, known);
                self.used += usize::from(variant.last.is_some());
                self.variants.push(variant);
            }
            let variants = u32::try_from(self.variants.len() - count).unwrap_or(u32::MAX);
            self.routes.push(FollowedRoute { id, variants });
        }
        self.routes.shrink_to_fit();
        self.variants.shrink_to_fit();
        self.states = snapshot.routes.clone();
        self.calm = 0;
    }

    /// What was counted since the last call, by route, sorted; only routes with something new.
    pub fn sample(&mut self, registry: &MeterRegistry) -> Vec<RouteCounts> {
        let sum = |of: fn(&WorkerMeter) -> u64| registry.worker.used().map(of).sum();
        let requests: [u64; 2] =
            [sum(|meter| meter.requests_begun.value()), sum(|meter| meter.requests_recorded.value())];
        let is_calm = requests == self.requests && requests[0] == requests[1];
        self.requests = requests;
        self.calm = if is_calm { self.calm.saturating_add(1) } else { 0 };
        if self.calm > CALM_SAMPLES {
            return Vec::new();
        }
        let (mut counts, mut rest) = (Vec::new(), &mut *self.variants);
        for FollowedRoute { id, variants } in &self.routes {
            let Some((of_route, after)) = rest.split_at_mut_checked(*variants as usize) else { break };
            rest = after;
            if of_route.iter().all(|variant| !variant.has_news()) {
                continue;
            }
            self.used += of_route.iter().filter(|variant| variant.last.is_none()).count();
            let variants = of_route.iter_mut().map(FollowedVariant::read).collect();
            self.used -= of_route.iter().filter(|variant| variant.last.is_none()).count();
            counts.push(RouteCounts { route: *id, variants });
        }
        debug_assert!(counts.is_sorted_by_key(|one| one.route), "in the order of the routes");
        counts
    }

    /// The bytes of memory that all of it takes.
    pub fn bytes(&self) -> usize {
        self.routes.capacity() * size_of::<FollowedRoute>()
            + self.variants.capacity() * size_of::<FollowedVariant>()
            + self.used * size_of::<LastCounts>()
    }
}

impl FollowedVariant {
    /// Follows these meters; `known` are those of the same labels before.
    fn new(series: &Arc<VariantSeries>, known: Option<Self>) -> Self {
        match known {
            Some(known) if Arc::ptr_eq(&known.series, series) => known,
            known => Self { series: Arc::clone(series), sum_us: 0, last: None, is_replaced: known.is_some() },
        }
    }

    fn sum_us(&self) -> u64 {
        self.series.meters.used().map(|meter| meter.duration.sum_us()).fold(0, u64::wrapping_add)
    }

    /// Whether something was counted since it was read last.
    fn has_news(&self) -> bool {
        self.is_replaced || self.sum_us() != self.sum_us
    }

    /// What was counted since the last call. The first counts of a meter that has replaced another one are not all of its
    /// time: they are not known.
    fn read(&mut self) -> Option<NewCounts> {
        self.sum_us = self.sum_us();
        let counts = VariantCounts::of(&self.series);
        let durations = Durations::of(&self.series);
        let all = [counts.requests, counts.errors, counts.counted];
        #[expect(clippy::cast_possible_truncation, reason = "the lower half: differences wrap around")]
        let now: LastCounts =
            std::array::from_fn(|at| all.get(at).copied().unwrap_or_else(|| durations.counts()[at - COUNTS]) as u32);
        if std::mem::take(&mut self.is_replaced) {
            self.last = Some(Box::new(now));
            return None;
        }
        if self.last.is_none() && counts.requests == 0 {
            return Some(NewCounts::default());
        }
        let last = self.last.get_or_insert_with(|| Box::new([0; ALL]));
        Some(NewCounts(std::array::from_fn(|at| u64::from(advance(&mut last[at], now[at])))))
    }
}

/// Moves a count on, and returns by how much. Counters are read one after the other while workers count: one that depends on
/// two may be smaller for a moment, and stays until it has caught up.
fn advance(last: &mut u32, now: u32) -> u32 {
    let more = now.wrapping_sub(*last);
    if more > u32::MAX / 2 {
        return 0;
    }
    *last = now;
    more
}
