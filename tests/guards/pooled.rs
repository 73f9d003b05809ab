//! Two routes of one rollout in virtual time: their callers are common, and are judged together.

use std::sync::Arc;

use pointsman::release::{ArmFacts, GuardTrip, JudgedGroup, JudgedRoute, RouteEvidence, RunFacts, TickFacts};
use pointsman::route::{Guard, GuardTest, Guards, KeyHash, VariantId};
use pointsman::stats::{ArmPlace, Failures, JudgedEvent, PlaceMap, SlotExposures};
use pointsman::telemetry::{GuardWatch, MeterRegistry, WatchedCallers};

use super::route::{Promise, TICK_MS, WORKERS, guards};

const ROUTES: usize = 2;
/// Callers, each of whom uses both routes.
const CALLERS: u64 = 1_500;
/// Requests in a second, on each route.
const RATE: u64 = 25;

/// Two routes of a rollout.
pub struct PooledRoutes {
    random: fastrand::Rng,
    now_ms: u64,
    share: f64,
    pub trips: Vec<GuardTrip>,
    registry: Arc<MeterRegistry>,
    watches: Vec<GuardWatch>,
    places: Vec<PlaceMap>,
    evidence: RouteEvidence,
}

/// How often requests fail.
#[derive(Clone, Copy, Debug)]
pub struct PooledFault {
    /// One caller of so many fails always, on both routes.
    pub broken_one_in: u64,
    /// The part of all other requests that fail.
    pub usual: f64,
    /// The part that fails of the canary of the second route.
    pub second: f64,
}

fn routes_of(share: f64) -> Vec<JudgedRoute> {
    let route = |name: &str| JudgedRoute { name: name.to_owned(), strata: 1, shares: vec![1.0 - share, share] };
    vec![route("first"), route("second")]
}

fn judged(share: f64) -> JudgedGroup {
    let promise = Promise { ratio: 1.1, alpha: 0.005, slow: false };
    let Guards { signals, all, by_default } = guards(promise);
    let mut judged: Vec<Guard> = all.into_iter().map(|guard| Guard { variant: Some(VariantId(1)), ..guard }).collect();
    let mut scopes = vec![None; judged.len()];
    for route in 0..ROUTES {
        let test = GuardTest::WorseThanStable(promise.ratio);
        let each = Guard { name: "each".to_owned(), alpha: promise.alpha / 2.0, test, ..judged[0].clone() };
        judged.push(each);
        scopes.push(Some(route));
    }
    let arm =
        |name: &str, share| ArmFacts { name: name.to_owned(), revision: format!("{name}=1"), share, by_rollout: false };
    let canary = ArmFacts { by_rollout: true, ..arm("canary", share) };
    let arms = vec![arm("stable", 1.0 - share), canary];
    JudgedGroup { guards: Guards { signals, all: judged, by_default }, scopes, arms, routes: routes_of(share) }
}

impl PooledRoutes {
    pub fn new(share: f64, seed: u64) -> Self {
        let registry = Arc::new(MeterRegistry::new(WORKERS));
        let group = judged(share);
        let callers = Arc::new(WatchedCallers::new(std::iter::once(&group.guards), &registry.guard_memory));
        let narrow = pointsman::stats::WindowShape { strata: 1, ..group.shape() };
        let watch = |_| GuardWatch::among(&callers, narrow, &group.guards, &registry);
        let watches: Vec<GuardWatch> = (0..ROUTES).map(watch).collect();
        let place = |first_stratum| PlaceMap { first_stratum, arms: vec![0, 1], signals: vec![0] };
        let evidence = RouteEvidence::of_group(group, 0);
        let opening = evidence.opening();
        callers.open(opening.window, opening.slot);
        Self {
            random: fastrand::Rng::with_seed(seed),
            now_ms: 0,
            share,
            trips: Vec::new(),
            registry,
            watches,
            places: vec![place(0), place(1)],
            evidence,
        }
    }

    pub fn set_share(&mut self, share: f64) {
        if (share - self.share).abs() > 1e-9 {
            self.share = share;
            let opening = self.evidence.set_shares(&[1.0 - share, share, 1.0 - share, share], self.now_ms);
            self.watches[0].open(opening.window, opening.slot);
        }
    }

    /// A second of requests.
    pub fn second(&mut self, fault: PooledFault) {
        for _ in 0..1_000 / TICK_MS {
            for _ in 0..RATE * ROUTES as u64 * TICK_MS / 1_000 {
                self.request(fault);
            }
            self.tick();
        }
    }

    fn request(&mut self, fault: PooledFault) {
        let (caller, route) = (self.random.u64(0..CALLERS), self.random.usize(0..ROUTES));
        let hash = caller.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let is_canary = (hash as f64) < self.share * 2_f64.powi(64);
        let is_bad_route = is_canary && route == 1;
        let rate = if is_bad_route { fault.second.max(fault.usual) } else { fault.usual };
        let is_broken = fault.broken_one_in > 0 && caller.is_multiple_of(fault.broken_one_in);
        let fails = is_broken || self.random.f64() < rate;
        let worker = self.random.usize(0..WORKERS);
        let place = ArmPlace { stratum: 0, arm: u16::from(is_canary) };
        let watch = &self.watches[route];
        let Some(ticket) = watch.expose(worker, place, KeyHash::of(hash)) else { return };
        if fails {
            watch.record(worker, &ticket, 0);
            watch.fail(worker, &ticket);
        } else {
            watch.record_success(worker, &ticket);
        }
    }

    fn tick(&mut self) {
        self.now_ms += TICK_MS;
        let mut events: Vec<JudgedEvent> = Vec::new();
        self.registry.guard_memory.events.take(|event| {
            let route = self.watches.iter().position(|watch| watch.id() == event.watch);
            events.extend(route.and_then(|route| self.places[route].event(event.event()?)));
        });
        let mut facts = TickFacts { now_ms: self.now_ms, stable_quantiles: vec![None; ROUTES], ..TickFacts::default() };
        for watch in &self.watches {
            let (stable, run) = (watch.stable(), watch.run(1));
            facts.stable.push(Failures { requests: stable.answers, failed: stable.failures });
            facts
                .runs
                .extend([RunFacts::default(), RunFacts { number: run.number, length: run.length, keys: run.keys }]);
        }
        let (watches, places, shape) = (&self.watches, &self.places, judged(self.share).shape());
        let mut exposures = |slot| {
            let mut sum = SlotExposures::new(shape);
            watches.iter().zip(places).for_each(|(watch, places)| sum.add_placed(&watch.exposures(slot), places));
            sum
        };
        let outcome = self.evidence.tick(&facts, &mut exposures, &events);
        if let Some(opening) = outcome.opening {
            self.watches[0].open(opening.window, opening.slot);
        }
        self.trips.extend(outcome.trips);
    }
}
