//! One sample: what was counted since the last one becomes a point of each series.

use std::collections::{BTreeMap, BTreeSet};

use super::kept::{SampleMoment, SampledUntil};
use super::meters::{NewCounts, RouteCounts};
use super::point::{ArmPoint, SeriesPoint, SeriesShape};
use super::series::SlotRange;
use super::store::{HistoryStore, SampledSeries, SeriesKind};
use crate::control::state::ControlState;
use crate::release::GuardStanding;
use crate::route::{RouteId, Split, VariantId};
use crate::snapshot::Snapshot;
use crate::telemetry;

/// So many slots after its last request a release is still sampled: its guards may judge late.
const WARM_SLOTS: u64 = 12;
/// The names of the arms of a rollout and of a release.
const ARMS: [&str; 2] = ["stable", "canary"];

/// What is known of a rollout or a release beside its counts.
#[derive(Clone, Debug, Default)]
struct SampledStanding {
    name: String,
    weight: f64,
    guards: Vec<SampledGuard>,
}

#[derive(Clone, Debug)]
struct SampledGuard {
    name: String,
    threshold: f64,
    /// `None`: it does not judge.
    evidence: Option<f64>,
}

/// The counts of a sample.
struct SampledCounts<'a> {
    snapshot: &'a Snapshot,
    /// Sorted by route.
    routes: &'a [RouteCounts],
    slots: SlotRange,
}

/// Takes a sample, when a slot is over. It reads a word of each variant and worker, and more of routes with new requests:
/// not for the control thread where there are many routes.
pub(in crate::control) fn sample(state: &ControlState, moment: SampleMoment) {
    let mut sampled = state.history.sampled();
    let Some(slots) = state.history.slots().filled(sampled.end, moment) else { return };
    let snapshot = state.snapshot();
    let SampledUntil { meters, edition, end } = &mut *sampled;
    meters.follow(&snapshot);
    let routes = meters.sample(&state.counts.registry);
    let is_new = *edition != snapshot.edition;
    (*edition, *end) = (snapshot.edition, Some(slots.end));
    let counts = SampledCounts { snapshot: &snapshot, routes: &routes, slots };
    take_rollouts(state, &counts);
    take_releases(state, &counts, is_new);
    take_routes(&mut state.history.store(), &counts, is_new);
    let mut store = state.history.store();
    store.finish(slots.end, meters.bytes());
    let memory = store.memory();
    drop(store);
    telemetry::control::set_history(&state.counts.recorder, memory.bytes, memory.dropped);
}

fn take_rollouts(state: &ControlState, counts: &SampledCounts<'_>) {
    let standings = state.release.read_rollouts(|rollout| SampledStanding {
        name: rollout.name.clone(),
        weight: rollout.weight,
        guards: sampled_guards(&rollout.guards),
    });
    let rules = &counts.snapshot.rules;
    let names: BTreeSet<&str> = standings.iter().map(|one| one.name.as_str()).collect();
    let mut store = state.history.store();
    store.retain(SeriesKind::Rollout, |name, _| names.contains(name));
    for standing in &standings {
        let Some(id) = rules.find_rollout(&standing.name) else { continue };
        let mut sums = ArmSums::default();
        for member in &rules.rollout(id).members {
            sums.add(counts.of(member.route), member.variant);
        }
        store.take(standing.sampled(SeriesKind::Rollout, counts.slots, &sums));
    }
}

/// The releases of routes with new requests, of those with requests a moment ago, and after another snapshot all.
fn take_releases(state: &ControlState, counts: &SampledCounts<'_>, is_new: bool) {
    let rules = &counts.snapshot.rules;
    let known = state
        .history
        .store()
        .names(SeriesKind::Release, |series| is_new || series.requested() + WARM_SLOTS >= counts.slots.first);
    let mut wanted: BTreeMap<String, Option<(RouteId, VariantId)>> =
        known.into_iter().map(|name| (name, None)).collect();
    for one in counts.routes {
        let route = rules.route(one.route);
        let Some(split) = route.split() else { continue };
        for (variant, spec) in (0..).map(VariantId).zip(&split.variants).skip(1) {
            if !is_member(split, variant) {
                wanted.insert(format!("{}:{}", route.name, spec.name), Some((one.route, variant)));
            }
        }
    }
    let mut gone = BTreeSet::new();
    for (name, place) in wanted {
        let read = |name: &str| {
            state.release.read_release(name, |release| SampledStanding {
                name: name.to_owned(),
                weight: release.weight,
                guards: sampled_guards(&release.guards),
            })
        };
        let found = place.or_else(|| find_variant(counts.snapshot, &name)).and_then(|at| Some((at, read(&name)?)));
        let Some(((route, variant), standing)) = found else {
            gone.insert(name);
            continue;
        };
        let mut sums = ArmSums::default();
        sums.add(counts.of(route), variant);
        state.history.store().take(standing.sampled(SeriesKind::Release, counts.slots, &sums));
    }
    if !gone.is_empty() {
        state.history.store().retain(SeriesKind::Release, |name, _| !gone.contains(name));
    }
}

/// The routes with new requests, and after another snapshot all.
fn take_routes(store: &mut HistoryStore, counts: &SampledCounts<'_>, is_new: bool) {
    let rules = &counts.snapshot.rules;
    let mut ids: BTreeSet<RouteId> = counts.routes.iter().map(|one| one.route).collect();
    if is_new {
        store.retain(SeriesKind::Route, |name, _| rules.find_named(name).is_some());
        let known = store.names(SeriesKind::Route, |_| true);
        ids.extend(known.iter().filter_map(|name| rules.find_named(name)));
    }
    for id in ids {
        let route = rules.route(id);
        let Some(split) = route.split().filter(|_| store.admits(SeriesKind::Route, &route.name)) else { continue };
        store.take(sampled_route(counts, id, &route.name, split));
    }
}

fn sampled_route(counts: &SampledCounts<'_>, id: RouteId, name: &str, split: &Split) -> SampledSeries {
    let variants = counts.of(id);
    let none = Some(NewCounts::default());
    let of_variant = |at: usize| variants.and_then(|all| all.get(at)).unwrap_or(&none).as_ref();
    let arms: Vec<Option<ArmPoint>> = (0..split.variants.len()).map(|at| of_variant(at).map(arm_point)).collect();
    let weights = counts.snapshot.overlay.split(id).arms().iter().skip(1).map(|arm| arm.weight.percent());
    SampledSeries {
        kind: SeriesKind::Route,
        name: name.to_owned(),
        shape: SeriesShape {
            arms: split.variants.iter().map(|variant| variant.name.clone()).collect(),
            guards: Vec::new(),
        },
        thresholds: Vec::new(),
        slots: counts.slots,
        point: SeriesPoint {
            weight: Some(weights.sum()),
            counted: arms.iter().flatten().map(|arm| arm.counted).sum(),
            arms,
            guards: Vec::new(),
        },
    }
}

/// The counts of both arms, over some routes.
#[derive(Debug)]
struct ArmSums {
    /// Requests that were dealt by weight, to all variants.
    counted: u64,
    /// Stable and canary; `None`: not known.
    arms: [Option<NewCounts>; 2],
}

impl Default for ArmSums {
    fn default() -> Self {
        Self { counted: 0, arms: [Some(NewCounts::default()), Some(NewCounts::default())] }
    }
}

impl ArmSums {
    /// Adds the counts of a route whose canary is this variant; `None`: it had no request.
    fn add(&mut self, variants: Option<&[Option<NewCounts>]>, canary: VariantId) {
        let Some(variants) = variants else { return };
        self.counted += variants.iter().flatten().map(NewCounts::counted).sum::<u64>();
        for (sum, at) in self.arms.iter_mut().zip([0, usize::from(canary.0)]) {
            let more = variants.get(at).and_then(Option::as_ref);
            match (sum.as_mut(), more) {
                (Some(sum), Some(more)) => sum.add(more),
                (Some(_), None) => *sum = None,
                (None, _) => {}
            }
        }
    }
}

impl SampledCounts<'_> {
    /// What was counted about the variants of a route; `None`: nothing.
    fn of(&self, route: RouteId) -> Option<&[Option<NewCounts>]> {
        let at = self.routes.binary_search_by_key(&route, |one| one.route).ok()?;
        self.routes.get(at).map(|one| &*one.variants)
    }
}

impl SampledStanding {
    fn sampled(&self, kind: SeriesKind, slots: SlotRange, sums: &ArmSums) -> SampledSeries {
        let names = self.guards.iter().map(|guard| guard.name.clone());
        SampledSeries {
            kind,
            name: self.name.clone(),
            shape: SeriesShape { arms: ARMS.map(str::to_owned).into(), guards: names.collect() },
            thresholds: self.guards.iter().map(|guard| guard.threshold).collect(),
            slots,
            point: SeriesPoint {
                weight: Some(self.weight),
                counted: sums.counted,
                arms: sums.arms.iter().map(|arm| arm.as_ref().map(arm_point)).collect(),
                guards: self.guards.iter().map(|guard| guard.evidence).collect(),
            },
        }
    }
}

fn arm_point(counts: &NewCounts) -> ArmPoint {
    let durations = counts.durations();
    ArmPoint {
        requests: counts.requests(),
        errors: counts.errors(),
        counted: counts.counted(),
        p50_ms: durations.quantile_ms(0.50),
        p99_ms: durations.quantile_ms(0.99),
    }
}

/// The guards that weigh evidence, each name once: of two of a name the one with more evidence.
fn sampled_guards(guards: &[GuardStanding]) -> Vec<SampledGuard> {
    let mut all: Vec<SampledGuard> = Vec::new();
    for guard in guards.iter().filter(|guard| guard.threshold_log10 > 0.0) {
        let evidence = guard.state.judges().then_some(guard.evidence_log10);
        match all.iter_mut().find(|known| known.name == guard.name) {
            Some(known) if evidence > known.evidence => {
                (known.evidence, known.threshold) = (evidence, guard.threshold_log10);
            }
            Some(_) => {}
            None => all.push(SampledGuard { name: guard.name.clone(), threshold: guard.threshold_log10, evidence }),
        }
    }
    all
}

/// Whether a rollout moves this variant: the rollout has the series.
fn is_member(split: &Split, variant: VariantId) -> bool {
    split.rollout.is_some() && usize::from(variant.0) + 1 == split.variants.len()
}

/// The place of `route:variant`, unless it is stable or a rollout moves it.
fn find_variant(snapshot: &Snapshot, name: &str) -> Option<(RouteId, VariantId)> {
    let (route, variant) = name.split_once(':')?;
    let id = snapshot.rules.find_named(route)?;
    let split = snapshot.rules.route(id).split()?;
    let mut variants = (0..).map(VariantId).zip(&split.variants).skip(1);
    let (variant, _) = variants.find(|(_, spec)| spec.name == variant)?;
    (!is_member(split, variant)).then_some((id, variant))
}
