//! Routes that go on: by name.

use std::sync::Arc;
use std::time::Duration;

use super::super::measure::assignment;
use super::known::{Before, Known, same};
use crate::route::{Action, Needs, Route, Rules, Upstream};
use crate::snapshot::{RouteState, Snapshot};
use crate::telemetry::{Drawn, Labels, PerWorker, Registry, Sample, ShadowSeries, VariantSeries};

/// What new series and samples are made with.
struct Ground<'a> {
    upstreams: &'a [Upstream],
    registry: &'a Registry,
    now: Duration,
}

/// Every route's state.
pub(super) fn route_states(
    old: Option<&Snapshot>,
    rules: &Rules,
    registry: &Registry,
    now: Duration,
) -> Arc<[Arc<RouteState>]> {
    let before = old.map_or((&[][..], &[][..]), |old| (&*old.rules.routes, &*old.routes));
    let known = Known::new(before, |route: &Route| &route.name);
    let ground = Ground { upstreams: &rules.upstreams, registry, now };
    let all = rules.routes.iter().zip(rules.needs()).enumerate();
    all.map(|(at, (route, needs))| route_state(known.find(at, &route.name), route, needs, &ground)).collect()
}

/// A route's state: the same as before when nothing of it has changed.
fn route_state(
    old: Before<'_, Route, RouteState>,
    route: &Route,
    needs: Needs,
    ground: &Ground<'_>,
) -> Arc<RouteState> {
    let state = RouteState {
        series: series(old, route, ground),
        sample: sample(old, route, ground),
        shadow: shadow(old, route, ground),
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
        && a.needs == b.needs
}

/// Series go on by their labels: the names of the route and of the variant.
fn series(old: Before<'_, Route, RouteState>, route: &Route, ground: &Ground<'_>) -> Box<[Arc<VariantSeries>]> {
    let Ground { registry, .. } = ground;
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
        Action::Split(split) => split.variants.iter().map(|variant| one(&variant.name)).collect(),
        Action::Redirect(_) | Action::Respond(_) => [one("none")].into(),
    }
}

/// A sample goes on while nothing is changed that says who gets which variant.
fn sample(old: Before<'_, Route, RouteState>, route: &Route, ground: &Ground<'_>) -> Option<Arc<Sample>> {
    let Ground { registry, now, .. } = ground;
    let split = route.split().filter(|split| split.variants.len() > 1)?;
    let same = old.filter(|(old, _)| assignment(old) == assignment(route));
    Some(same.and_then(|(_, old)| old.sample.clone()).unwrap_or_else(|| {
        let place = (registry.workers, Arc::clone(&registry.room));
        let drawn = if split.spreads() { Drawn::Requests } else { Drawn::Keys };
        Arc::new(Sample::new(*now, split.variants.len(), drawn, place))
    }))
}

/// The series of a shadow goes on by the names of the route and of the shadow's upstream.
fn shadow(old: Before<'_, Route, RouteState>, route: &Route, ground: &Ground<'_>) -> Option<Arc<ShadowSeries>> {
    let Ground { upstreams, registry, now } = ground;
    let shadow = route.split()?.shadow.as_deref()?;
    let upstream = &upstreams.get(shadow.upstream.0 as usize)?.name;
    let carried = old.and_then(|(_, old)| old.shadow.as_ref()).filter(|series| series.upstream == *upstream);
    Some(carried.map_or_else(
        || Arc::new(ShadowSeries::new(&route.name, upstream, *now, (registry.workers, &registry.shadow_bytes))),
        Arc::clone,
    ))
}
