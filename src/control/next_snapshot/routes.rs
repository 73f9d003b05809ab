//! Carries the state of routes over, by name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::measure::{assignment, has_same_split};
use super::limits::{LimitInputs, limit_states};
use super::previous::{Previous, same};
use super::rollout_callers::{RolloutCallers, rollout_callers};
use crate::route::{
    Action, EffectiveConfig, Generation, LoadPriority, Needs, Overlay, Route, RouteId, RoutePairs, Rules, Split,
    Upstream, Variant,
};
use crate::snapshot::{RouteState, RouteStates, Snapshot};
use crate::stats::{SlotNumber, WindowNumber, WindowShape};
use crate::telemetry::{
    DrawUnit, GuardWatch, Labels, MeterRegistry, NO_VARIANT, PerWorker, Sample, ShadowSeries, VariantSeries,
};

/// The inputs for new series and samples.
struct RouteInputs<'a> {
    old: Option<EffectiveConfig<'a>>,
    /// The states of `old`.
    states: Option<&'a RouteStates>,
    new: EffectiveConfig<'a>,
    registry: &'a MeterRegistry,
    now: Duration,
    /// By rollout: what its routes share.
    rollouts: Vec<RolloutCallers>,
    limits: LimitInputs,
}

/// The ids of a route: in the last snapshot, if it existed, and in the next one.
#[derive(Clone, Copy)]
struct Ids {
    old: Option<RouteId>,
    new: RouteId,
}

/// When a snapshot is built.
#[derive(Clone, Copy)]
pub(super) struct BuiltAt {
    /// The generation.
    pub(super) generation: Generation,
    /// The wall-clock time.
    pub(super) now: Duration,
    /// Since the start of the process.
    pub(super) uptime: Duration,
}

/// The states of all routes.
pub(super) fn route_states(
    old: Option<&Snapshot>,
    new: EffectiveConfig<'_>,
    registry: &MeterRegistry,
    at: BuiltAt,
) -> RouteStates {
    let BuiltAt { generation, now, uptime } = at;
    let (specs, states) = old.map_or((&[][..], &[][..]), |old| (&*old.rules.routes, &*old.routes));
    let rollouts = rollout_callers(old, new.rules, registry);
    let limits = LimitInputs::new(states, registry.workers, u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX));
    let states_before = old.map(|old| &old.routes);
    let before = old.map(Snapshot::effective);
    let inputs = RouteInputs { old: before, states: states_before, new, registry, now, rollouts, limits };
    let pairs = old.map(|old| RoutePairs::new(&old.rules, new.rules));
    let same_releases = inputs.old.is_some_and(|old| has_same_releases(old.rules, new.rules));
    let one = |(new, needs): (RouteId, Needs)| {
        let ids = Ids { old: pairs.as_ref().and_then(|pairs| pairs.old(new)), new };
        let previous = ids.old.and_then(|id| Some((specs.get(id.0 as usize)?, states.get(id.0 as usize)?)));
        match previous.filter(|_| same_releases) {
            Some((_, state)) if state.needs == needs && is_unchanged(ids, &inputs) => Arc::clone(state),
            Some(_) | None => route_state(previous, ids, needs, &inputs),
        }
    };
    let next = (0..).map(RouteId).zip(new.rules.needs()).map(one).collect();
    match states_before.zip(pairs) {
        Some((before, pairs)) => before.next(next, generation, pairs.moves()),
        None => RouteStates::first(next, generation),
    }
}

/// Whether all upstreams of routes have the same ids, names and revisions.
fn has_same_releases(old: &Rules, new: &Rules) -> bool {
    let is_same = |(old, new): (&Upstream, &Upstream)| (&old.name, &old.revision) == (&new.name, &new.revision);
    old.upstreams.len() == new.upstreams.len() && old.upstreams.iter().zip(&new.upstreams).all(is_same)
}

/// Whether the text of a route has not changed, nor its weights and kills, and no overlay has renewed its sample. What it shares
/// with the other routes of a rollout is made with the rollout.
fn is_unchanged(ids: Ids, inputs: &RouteInputs<'_>) -> bool {
    let (Some(old), Some(was)) = (inputs.old, ids.old) else { return false };
    let is_alone = inputs.new.rules.route(ids.new).split().is_none_or(|split| split.rollout.is_none());
    let is_renewed = inputs.states.is_some_and(|states| states.renewed_sample(was).is_some());
    is_alone && !is_renewed && has_same_split(old, was, inputs.new, ids.new)
}

/// The state of a route: the same `Arc` when nothing of it has changed.
fn route_state(
    old: Previous<'_, Route, RouteState>,
    ids: Ids,
    needs: Needs,
    inputs: &RouteInputs<'_>,
) -> Arc<RouteState> {
    let route = inputs.new.rules.route(ids.new);
    let state = RouteState {
        series: series(old, route, inputs),
        sample: sample(ids, inputs),
        shadow: shadow(old, route, inputs),
        watch: watch(old, ids, inputs),
        exposed: route.split().and_then(|split| shared(split, inputs)).map(|shared| Arc::clone(&shared.exposed)),
        limits: limit_states(old, route, &inputs.limits),
        refusals: old
            .map_or_else(|| Arc::new(PerWorker::new(inputs.registry.workers)), |(_, old)| Arc::clone(&old.refusals)),
        needs,
    };
    match old {
        Some((_, old)) if is_same(old, &state) => Arc::clone(old),
        Some(_) | None => Arc::new(state),
    }
}

fn is_same(a: &RouteState, b: &RouteState) -> bool {
    a.series.len() == b.series.len()
        && a.series.iter().zip(&b.series).all(|(a, b)| Arc::ptr_eq(a, b))
        && same(a.sample.as_ref(), b.sample.as_ref())
        && same(a.shadow.as_ref(), b.shadow.as_ref())
        && same(a.watch.as_ref(), b.watch.as_ref())
        && same(a.exposed.as_ref(), b.exposed.as_ref())
        && Arc::ptr_eq(&a.refusals, &b.refusals)
        && a.limits.len() == b.limits.len()
        && a.limits.iter().zip(&b.limits).all(|(a, b)| Arc::ptr_eq(a, b))
        && a.needs == b.needs
}

/// Series are carried over by their labels: the names of route and variant.
fn series(old: Previous<'_, Route, RouteState>, route: &Route, inputs: &RouteInputs<'_>) -> Box<[Arc<VariantSeries>]> {
    let RouteInputs { registry, .. } = inputs;
    let one = |variant: &str| {
        let carried = old.and_then(|(_, old)| old.series.iter().find(|series| series.labels.variant == variant));
        carried.map_or_else(
            || {
                let labels = Labels { route: route.name.clone(), variant: variant.to_owned() };
                if labels == registry.unrouted.labels {
                    return Arc::clone(&registry.unrouted);
                }
                Arc::new(VariantSeries { labels, meters: PerWorker::new(registry.workers) })
            },
            Arc::clone,
        )
    };
    match &route.action {
        Action::Split(split) => {
            let variants = split.variants.iter().map(|variant| one(&variant.name));
            // Who is refused by a rule got no variant, and must not be counted as stable's.
            let refuses = !route.access.is_empty() || !route.rate_limits.is_empty() || route.load == LoadPriority::Low;
            // A variant of that name has the series already: a series is there once.
            let has_own = split.variants.iter().any(|variant| variant.name == NO_VARIANT);
            variants.chain((refuses && !has_own).then(|| one(NO_VARIANT))).collect()
        }
        Action::Redirect(_) | Action::Respond(_) => [one(NO_VARIANT)].into(),
    }
}

/// A sample is carried over while the assignment of callers to variants is the same.
fn sample(ids: Ids, inputs: &RouteInputs<'_>) -> Option<Arc<Sample>> {
    let RouteInputs { registry, now, .. } = inputs;
    let split = inputs.new.rules.route(ids.new).split().filter(|split| split.variants.len() > 1)?;
    let before = || assignment(inputs.old?, ids.old?);
    let carried = inputs.states.zip(ids.old).and_then(|(states, was)| states.sample(was));
    let same = carried.filter(|_| before() == assignment(inputs.new, ids.new));
    Some(same.map_or_else(|| new_sample(split, registry, *now), Arc::clone))
}

fn new_sample(split: &Split, registry: &MeterRegistry, now: Duration) -> Arc<Sample> {
    let draw_unit = if split.spreads() { DrawUnit::Requests } else { DrawUnit::Keys };
    Arc::new(Sample::new(now, split.variants.len(), draw_unit, registry.workers, Arc::clone(&registry.sample_memory)))
}

/// What the guards of a route count is carried over while the guards count the same events, and while the variants have the
/// same names, upstreams and revisions, and the callers the same keys.
fn watch(old: Previous<'_, Route, RouteState>, ids: Ids, inputs: &RouteInputs<'_>) -> Option<Arc<GuardWatch>> {
    let RouteInputs { registry, .. } = inputs;
    let rules = inputs.new.rules;
    let split = rules.route(ids.new).split().filter(|split| !split.guards.is_empty() && split.variants.len() > 1)?;
    let identity = |split: &Split, rules: &Rules| {
        let release = |variant: &Variant| {
            let upstream = &rules.upstreams[variant.upstream.0 as usize];
            (variant.name.clone(), upstream.name.clone(), upstream.revision.clone())
        };
        let strata: Vec<bool> = split.targets.iter().map(|target| target.weight.is_some()).collect();
        let releases: Vec<_> = split.variants.iter().map(release).collect();
        (releases, strata, split.sticky.clone(), split.sticky_cookie.clone(), split.salt.clone())
    };
    let carried = old.filter(|(route, _)| {
        let before = route.split().zip(inputs.old);
        before.is_some_and(|(before, old)| {
            before.guards.signals == split.guards.signals && identity(before, old.rules) == identity(split, rules)
        })
    });
    let shared = shared(split, inputs);
    // The callers that it watches are those of its rollout, or its own.
    let was_shared = old.and_then(|(route, _)| route.split()).is_some_and(|split| split.rollout.is_some());
    let is_among =
        |watch: &Arc<GuardWatch>| shared.map_or(!was_shared, |shared| Arc::ptr_eq(watch.callers(), &shared.callers));
    let carried = carried.and_then(|(_, old)| old.watch.clone()).filter(is_among);
    let shape = WindowShape {
        strata: 1 + split.targets.len(),
        arms: split.variants.len(),
        signals: split.guards.signals.len(),
    };
    let new = || {
        if let Some(shared) = shared {
            return Arc::new(GuardWatch::among(&shared.callers, shape, &split.guards, registry));
        }
        let watch = GuardWatch::new(shape, &split.guards, registry);
        // Before a worker has it: the first request counts.
        watch.open(WindowNumber(1), SlotNumber(1));
        Arc::new(watch)
    };
    Some(carried.unwrap_or_else(new))
}

/// What the routes of the rollout of a route share.
fn shared<'a>(split: &Split, inputs: &'a RouteInputs<'_>) -> Option<&'a RolloutCallers> {
    inputs.rollouts.get(split.rollout?.0 as usize)
}

/// The next snapshot under the same rules, with this overlay. A route whose weights, kills or latches change gets a new
/// sample; everything else is shared. Its cost depends on the routes that one of the overlays changes, and not on the number of
/// routes.
#[must_use]
pub fn with_overlay(old: &Snapshot, overlay: Overlay, registry: &MeterRegistry, now: Duration) -> Snapshot {
    debug_assert_eq!(overlay.routes(), old.rules.routes.len(), "an overlay of these rules");
    let changed = [&old.overlay, &overlay].into_iter().flat_map(Overlay::changed);
    let changed: BTreeSet<RouteId> = changed.map(|(route, _)| *route).collect();
    let effective = EffectiveConfig { rules: &old.rules, overlay: &overlay };
    let differs = |route: &RouteId| assignment(old.effective(), *route) != assignment(effective, *route);
    let renewed = |route: RouteId| {
        let split = old.rules.route(route).split().filter(|_| old.routes.sample(route).is_some())?;
        Some((route, new_sample(split, registry, now)))
    };
    let samples = changed.into_iter().filter(differs).filter_map(renewed).collect();
    Snapshot { routes: old.routes.with_samples(samples), overlay, ..old.clone() }
}

/// The series of a shadow is carried over by the names of the route and of the shadow's upstream.
fn shadow(old: Previous<'_, Route, RouteState>, route: &Route, inputs: &RouteInputs<'_>) -> Option<Arc<ShadowSeries>> {
    let RouteInputs { registry, now, .. } = inputs;
    let shadow = route.split()?.shadow.as_deref()?;
    let upstream = &inputs.new.rules.upstreams.get(shadow.upstream.0 as usize)?.name;
    let carried = old.and_then(|(_, old)| old.shadow.as_ref()).filter(|series| series.upstream == *upstream);
    Some(carried.map_or_else(
        || Arc::new(ShadowSeries::new(&route.name, upstream, *now, registry.workers, &registry.shadow_bytes)),
        Arc::clone,
    ))
}
