//! A worker's view of a snapshot: the snapshot, and the worker's own state for its routes and upstreams.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::proxy::mirror::permit::{MirrorPolicy, MirrorStates};
use crate::proxy::upstream::pool::{Pools, UpstreamPool};
use crate::proxy::worker::Worker;
use crate::route::{Generation, LogSink, Needs, RouteId, RoutePairs, Spread, UpstreamId, VariantId};
use crate::snapshot::{LimitState, RouteStates, Snapshot};
use crate::telemetry::{
    ExposedCallers, GuardWatch, NO_VARIANT, PerWorker, RefusalMeter, Sample, UpstreamSeries, VariantMeter,
};

/// A worker's view of a snapshot. Views of the same rules share their state.
pub(crate) struct SnapshotView {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The snapshot's routes, here to save an indirection: a request reads its route's state several times.
    routes: RouteStates,
    spreads: Rc<[Cell<Spread>]>,
    /// The mirror policy of each route; empty when no route has a shadow.
    mirrors: Rc<[OnceCell<Rc<MirrorPolicy>>]>,
    upstreams: PoolCells,
    /// The pools for copies.
    shadow_upstreams: PoolCells,
}

impl AsRef<Snapshot> for SnapshotView {
    fn as_ref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// The pool of each upstream, created or carried over at its first use.
type PoolCells = Rc<[OnceCell<Rc<UpstreamPool>>]>;

/// The start of new routes' sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SequenceStart {
    /// Random, and the same for all workers.
    pub(crate) seed: u64,
    /// The worker's number.
    pub(crate) worker: usize,
    /// How many workers there are.
    pub(crate) workers: usize,
}

impl SequenceStart {
    /// A random start, so that many new routes do not favour the same variant. The workers start at equal distances:
    /// then the shares of all workers together are nearly as even as those of one.
    fn of(self, route: &str, generation: Generation) -> Spread {
        let first = xxh3_64_with_seed(route.as_bytes(), self.seed ^ generation.0);
        let distance = u64::MAX / (self.workers.max(1) as u64);
        Spread(first.wrapping_add(distance.wrapping_mul(self.worker as u64)))
    }
}

impl SnapshotView {
    /// The view of a snapshot. `old` is the view of the snapshot before.
    pub(crate) fn new(snapshot: Arc<Snapshot>, old: Option<&Self>, sequence_start: SequenceStart) -> Self {
        if let Some(old) = old.filter(|old| Arc::ptr_eq(&old.snapshot.rules, &snapshot.rules)) {
            return old.following(snapshot);
        }
        let rules = &snapshot.rules;
        let spreads = spreads(&snapshot, old, sequence_start);
        let has_shadows = snapshot.routes.have_shadows();
        let mirrors = if has_shadows { unused(rules.routes.len()) } else { Rc::default() };
        let upstreams = unused(rules.upstreams.len());
        let shadow_upstreams = unused(if has_shadows { rules.upstreams.len() } else { 0 });
        let routes = snapshot.routes.clone();
        Self { snapshot, routes, spreads, mirrors, upstreams, shadow_upstreams }
    }

    /// The view of a snapshot with the same rules: only the pools of changed upstreams are replaced.
    fn following(&self, snapshot: Arc<Snapshot>) -> Self {
        let kept = |pools: &PoolCells| {
            let (old, new) = (&self.snapshot.upstreams, &snapshot.upstreams);
            if Arc::ptr_eq(old, new) {
                return Rc::clone(pools);
            }
            let same = old.iter().zip(&**new).map(|(old, new)| Arc::ptr_eq(old, new));
            pools.iter().zip(same).map(|(pool, same)| if same { pool.clone() } else { OnceCell::new() }).collect()
        };
        Self {
            routes: snapshot.routes.clone(),
            spreads: Rc::clone(&self.spreads),
            mirrors: Rc::clone(&self.mirrors),
            upstreams: kept(&self.upstreams),
            shadow_upstreams: kept(&self.shadow_upstreams),
            snapshot,
        }
    }

    /// The pool of an upstream.
    pub(crate) fn upstream(&self, id: UpstreamId, pools: &Pools, worker: &Worker) -> &Rc<UpstreamPool> {
        let at = id.0 as usize;
        self.upstreams[at].get_or_init(|| {
            let series = &self.snapshot.upstreams[at].series;
            self.pool(at, series, pools, &worker.snapshot())
        })
    }

    /// The mirror policy of a route, if it has a shadow.
    pub(crate) fn mirror(&self, route: RouteId, mirrors: &MirrorStates, worker: &Worker) -> Option<&Rc<MirrorPolicy>> {
        let of = route.0 as usize;
        let series = self.routes.get(of)?.shadow.as_ref()?;
        Some(self.mirrors.get(of)?.get_or_init(|| {
            let state = mirrors.adopt(series, &mut worker.random.borrow_mut());
            Rc::new(MirrorPolicy { series: Arc::clone(series), state })
        }))
    }

    /// The pool for copies to an upstream. Only for requests of a route with a shadow.
    pub(super) fn shadow_upstream(&self, id: UpstreamId, pools: &Pools, worker: &Worker) -> &Rc<UpstreamPool> {
        let at = id.0 as usize;
        self.shadow_upstreams[at].get_or_init(|| {
            let state = &self.snapshot.upstreams[at];
            debug_assert!(state.shadow_series.is_some(), "every upstream has one where a route has a shadow");
            let series = state.shadow_series.as_ref().unwrap_or(&state.series);
            self.pool(at, series, pools, &worker.snapshot())
        })
    }

    /// Gets the pool of an upstream from the worker's pools. `current` is the worker's current snapshot. A request of
    /// an older snapshot may be the first to use an upstream that has changed since: it must not replace the current
    /// pool.
    #[cold]
    fn pool(&self, at: usize, series: &Arc<UpstreamSeries>, pools: &Pools, current: &Snapshot) -> Rc<UpstreamPool> {
        let (upstream, state) = (&self.snapshot.rules.upstreams[at], &self.snapshot.upstreams[at]);
        if self.has_upstream_of(current, at) {
            pools.install(upstream, state, series)
        } else {
            pools.find_or_create(upstream, state, series)
        }
    }

    fn has_upstream_of(&self, other: &Snapshot, at: usize) -> bool {
        let (ours, theirs) = (&self.snapshot, other);
        Arc::ptr_eq(&ours.rules, &theirs.rules) && Arc::ptr_eq(&ours.upstreams[at], &theirs.upstreams[at])
    }

    /// Whether the upstream has any endpoint.
    pub(super) fn usable(&self, id: UpstreamId) -> bool {
        !self.snapshot.upstreams[id.0 as usize].endpoints.is_empty()
    }

    /// The low-discrepancy sequence of a route.
    pub(crate) fn spread(&self, route: RouteId) -> &Cell<Spread> {
        &self.spreads[route.0 as usize]
    }

    /// The meter of a route's variant.
    pub(crate) fn meter(&self, route: RouteId, variant: VariantId, worker: usize) -> Option<&VariantMeter> {
        let series = self.routes.get(route.0 as usize)?.series.get(usize::from(variant.0))?;
        Some(series.meters.of(worker))
    }

    /// The meter of the requests of a route for which no variant was decided.
    pub(crate) fn undecided_meter(&self, route: RouteId, worker: usize) -> Option<&VariantMeter> {
        let series = &self.routes.get(route.0 as usize)?.series;
        let own = series.iter().rfind(|series| series.labels.variant == NO_VARIANT);
        Some(own.or_else(|| series.first())?.meters.of(worker))
    }

    /// The states of a route's rate limits, in the order of its rules.
    #[inline]
    pub(crate) fn limits(&self, route: RouteId) -> &[Arc<LimitState>] {
        self.routes.get(route.0 as usize).map_or(&[], |state| &state.limits)
    }

    /// Counts the requests that a route refuses.
    pub(crate) fn refusals(&self, route: RouteId) -> &PerWorker<RefusalMeter> {
        &self.routes[route.0 as usize].refusals
    }

    /// The sample of a route's decisions.
    pub(crate) fn sample(&self, route: RouteId) -> Option<&Sample> {
        self.routes.sample(route).map(|sample| &**sample)
    }

    /// What the guards of a route count; `None` when none watches.
    pub(crate) fn watch(&self, route: RouteId) -> Option<&GuardWatch> {
        self.routes.get(route.0 as usize)?.watch.as_deref()
    }

    /// The distinct callers that the canaries of a route's rollout got.
    #[inline]
    pub(crate) fn exposed(&self, route: RouteId) -> Option<&ExposedCallers> {
        self.routes.get(route.0 as usize)?.exposed.as_deref()
    }

    /// The watch with this number, which was that of `route`, and its route now. 0 is none.
    pub(super) fn find_watch(&self, route: RouteId, number: u32) -> Option<(RouteId, &GuardWatch)> {
        if number == 0 {
            return None;
        }
        if let Some(watch) = self.watch(route).filter(|watch| watch.id() == number) {
            return Some((route, watch));
        }
        // Only after a reload: the route has moved, or is gone.
        let route = self.routes.find_watch(number)?;
        Some((route, self.watch(route)?))
    }

    /// The facts about callers that a route needs.
    pub(crate) fn needs(&self, route: RouteId) -> Needs {
        self.routes[route.0 as usize].needs
    }

    /// Whether the access log is on.
    pub(crate) fn logs(&self) -> bool {
        self.snapshot.rules.access_log.sink != LogSink::Off
    }
}

/// Empty cells, filled at the first use.
fn unused<T>(count: usize) -> Rc<[OnceCell<T>]> {
    (0..count).map(|_| OnceCell::new()).collect()
}

/// Carries over the sequence of each route that keeps its name: any run of consecutive draws is even, whatever the
/// weights are. New sequences at each reload would make the shares of quiet routes random.
fn spreads(snapshot: &Snapshot, old: Option<&SnapshotView>, sequence_start: SequenceStart) -> Rc<[Cell<Spread>]> {
    let rules = &snapshot.rules;
    let start = |id: RouteId| Cell::new(sequence_start.of(&rules.route(id).name, snapshot.generation));
    let Some(old) = old else { return rules.numbered().map(|(id, _)| start(id)).collect() };
    // The control thread has compared the names: no worker does that between its requests.
    let carried = snapshot.routes.carry(&old.snapshot.routes, &old.spreads, start);
    carried.unwrap_or_else(|| {
        // A generation was passed over.
        let pairs = RoutePairs::new(&old.snapshot.rules, rules);
        pairs.moves().carry(&old.spreads, start).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::failover::UpstreamHealth;
    use crate::identity::IdentityProviders;
    use crate::proxy::mirror::permit::MirrorState;
    use crate::route::{
        AccessLog, Action, AdminSpec, Balance, Dns, Edition, EndpointRole, HeaderEdits, Identity, Index, Kill,
        LoadPriority, Masks, Match, Notify, OutlierSettings, Overlay, Protocol, Respond, RetryBudgetSettings,
        RetryPolicy, Route, RouteLimits, RouteSpec, Rules, SourceLocation, SplitState, StateSpec, Timeouts, Upstream,
        UpstreamLimits,
    };
    use crate::snapshot::{EndpointState, RouteState, UpstreamState};
    use crate::telemetry::{ShadowBytes, ShadowSeries};

    const SEQUENCE_START: SequenceStart = SequenceStart { seed: 7, worker: 0, workers: 1 };

    fn route(name: &str) -> Route {
        let (body, content_type) = (bytes::Bytes::new(), HeaderValue::from_static("text/plain"));
        let spec = RouteSpec {
            name: name.into(),
            matches: Match::default(),
            action: Action::Respond(Respond { status: StatusCode::NO_CONTENT, body, content_type }),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            limits: RouteLimits::default(),
            access: Box::default(),
            rate_limits: Box::default(),
            load: LoadPriority::Normal,
        };
        Route::new(SourceLocation::default(), spec)
    }

    fn upstream(name: &str) -> Upstream {
        Upstream {
            name: name.into(),
            revision: None,
            endpoints: vec![],
            balance: Balance::default(),
            connect_timeout: Duration::from_secs(1),
            limits: UpstreamLimits::default(),
            slow_start: Duration::ZERO,
            outlier: OutlierSettings::default(),
            health: None,
            retry_budget: RetryBudgetSettings::default(),
            proxy_protocol: None,
            tls: None,
        }
    }

    fn rules(routes: &[&str]) -> Arc<Rules> {
        Arc::new(Rules {
            listeners: vec![],
            admin: AdminSpec::default(),
            state: StateSpec::default(),
            identity: Identity { tenant: vec![], user: vec![], trusted_proxies: vec![] },
            segments: vec![],
            upstreams: ["v1", "v2"].map(upstream).into(),
            routes: routes.iter().map(|name| route(name)).collect(),
            index: Index::default(),
            access_log: AccessLog::default(),
            dns: Dns::default(),
            traces: None,
            rollouts: Vec::new(),
            freeze: Vec::new(),
            prometheus: None,
            notify: Notify::default(),
            masks: Masks::default(),
        })
    }

    fn endpoint(port: u16) -> Arc<EndpointState> {
        Arc::new(EndpointState {
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            protocol: Protocol::Http1,
            weight: 1,
            role: EndpointRole::Primary,
            tls: None,
            name: format!("10.0.0.1:{port}").into(),
            looked_up: None,
            health: Arc::default(),
        })
    }

    /// An equal endpoint in another `Arc`.
    fn equal(state: &EndpointState) -> Arc<EndpointState> {
        let EndpointState { address, protocol, weight, role, tls, name, looked_up, health } = state;
        let (address, protocol, weight, role, tls) = (*address, *protocol, *weight, *role, tls.clone());
        let (name, looked_up, health) = (Arc::clone(name), looked_up.clone(), Arc::clone(health));
        Arc::new(EndpointState { address, protocol, weight, role, tls, name, looked_up, health })
    }

    fn upstream_state(name: &str) -> Arc<UpstreamState> {
        let series = || Arc::new(UpstreamSeries::new(name, 1));
        Arc::new(UpstreamState {
            series: series(),
            shadow_series: Some(series()),
            endpoints: [endpoint(1)].into(),
            health: Arc::new(UpstreamHealth::new(1)),
            ring: None,
        })
    }

    fn route_state(name: &str) -> Arc<RouteState> {
        let shadow = ShadowSeries::new(name, "v2", Duration::ZERO, 1, &Arc::new(ShadowBytes::new(1)));
        let shadow = Some(Arc::new(shadow));
        Arc::new(RouteState {
            series: Box::default(),
            sample: None,
            shadow,
            watch: None,
            exposed: None,
            limits: Box::default(),
            refusals: Arc::new(PerWorker::new(1)),
            needs: Needs::default(),
        })
    }

    fn snapshot(routes: &[&str]) -> Snapshot {
        Snapshot {
            generation: Generation(1),
            edition: Edition(1),
            rules: rules(routes),
            overlay: Overlay::new(Kill::default(), vec![SplitState::default(); routes.len()]),
            listeners: Arc::default(),
            routes: routes.iter().map(|name| route_state(name)).collect(),
            upstreams: ["v1", "v2"].map(upstream_state).into(),
            identity_providers: IdentityProviders::default(),
        }
    }

    /// The pool of an upstream, for a worker with these pools and this current view.
    fn pool<'a>(view: &'a SnapshotView, at: usize, pools: &Pools, current: &SnapshotView) -> &'a Rc<UpstreamPool> {
        view.upstreams[at].get_or_init(|| view.pool(at, &view.snapshot.upstreams[at].series, pools, &current.snapshot))
    }

    /// The snapshot with other endpoints of one upstream.
    fn moved(snapshot: &Snapshot, at: usize, endpoints: &[Arc<EndpointState>]) -> Arc<Snapshot> {
        let mut upstreams = snapshot.upstreams.to_vec();
        let series = Arc::clone(&upstreams[at].series);
        upstreams[at] = Arc::new(UpstreamState {
            series,
            shadow_series: None,
            endpoints: endpoints.into(),
            health: Arc::clone(&upstreams[at].health),
            ring: None,
        });
        Arc::new(Snapshot { upstreams: upstreams.into(), ..snapshot.clone() })
    }

    fn draw(view: &SnapshotView, route: u32) -> u64 {
        let cell = view.spread(RouteId(route));
        cell.set(Spread(cell.get().0.wrapping_add(1)));
        cell.get().0
    }

    #[test]
    fn views_of_the_same_rules_share_everything() {
        let first = SnapshotView::new(Arc::new(snapshot(&["a", "b"])), None, SEQUENCE_START);
        let drawn = draw(&first, 1);
        let (series, state) = (first.snapshot.routes[0].shadow.clone().unwrap(), Rc::new(MirrorState::default()));
        let policy = first.mirrors[0].get_or_init(|| Rc::new(MirrorPolicy { series, state }));
        let next = SnapshotView::new(Arc::new((*first.snapshot).clone()), Some(&first), SEQUENCE_START);
        assert!(!Arc::ptr_eq(&first.snapshot, &next.snapshot));
        assert!(Rc::ptr_eq(&first.spreads, &next.spreads) && Rc::ptr_eq(&first.mirrors, &next.mirrors));
        assert!(Rc::ptr_eq(policy, next.mirrors[0].get().unwrap()));
        assert!(Rc::ptr_eq(&first.upstreams, &next.upstreams));
        assert!(Rc::ptr_eq(&first.shadow_upstreams, &next.shadow_upstreams));
        assert_eq!(next.spread(RouteId(1)).get().0, drawn);
        let later = draw(&first, 1);
        assert_eq!(next.spread(RouteId(1)).get().0, later, "requests in flight draw from the same sequence");
    }

    #[test]
    fn only_the_pool_of_a_changed_upstream_is_replaced() {
        let pools = Pools::default();
        let first = SnapshotView::new(Arc::new(snapshot(&["a"])), None, SEQUENCE_START);
        let (v1, v2) = (Rc::clone(pool(&first, 0, &pools, &first)), Rc::clone(pool(&first, 1, &pools, &first)));
        let stayed = Arc::clone(&first.snapshot.upstreams[1].endpoints[0]);
        let next = SnapshotView::new(moved(&first.snapshot, 1, &[endpoint(2), stayed]), Some(&first), SEQUENCE_START);
        assert!(Rc::ptr_eq(&first.spreads, &next.spreads) && Rc::ptr_eq(&first.mirrors, &next.mirrors));
        assert!(Rc::ptr_eq(next.upstreams[0].get().unwrap(), &v1), "carried over without a lookup");
        assert!(next.upstreams[1].get().is_none());
        let renewed = pool(&next, 1, &pools, &next);
        assert!(!Rc::ptr_eq(renewed, &v2));
        assert!(
            Rc::ptr_eq(&renewed.endpoints[1], &v2.endpoints[0]),
            "with the connections of the endpoint that stayed"
        );
        assert!(Rc::ptr_eq(first.upstreams[1].get().unwrap(), &v2), "requests in flight keep their pool");
    }

    #[test]
    fn one_of_many_endpoints_changes_and_all_others_keep_their_pools() {
        const COUNT: u16 = 5_000;
        let pools = Pools::default();
        let first = SnapshotView::new(Arc::new(snapshot(&["a"])), None, SEQUENCE_START);
        let many: Vec<_> = (1..=COUNT).map(endpoint).collect();
        let before = SnapshotView::new(moved(&first.snapshot, 0, &many), Some(&first), SEQUENCE_START);
        let old = Rc::clone(pool(&before, 0, &pools, &before));
        // The first one goes, another one is changed, and a new one comes.
        let mut next = many[1..].to_vec();
        next[70] = endpoint(COUNT + 2);
        next.push(endpoint(COUNT + 1));
        let after = SnapshotView::new(moved(&before.snapshot, 0, &next), Some(&before), SEQUENCE_START);
        let new = pool(&after, 0, &pools, &after);
        let kept = old.endpoints[1..].iter().zip(&new.endpoints).filter(|(old, new)| Rc::ptr_eq(old, new)).count();
        assert_eq!((kept, new.endpoints.len()), (usize::from(COUNT) - 2, usize::from(COUNT)));
    }

    #[test]
    fn a_request_of_an_older_snapshot_does_not_replace_the_current_pool() {
        let pools = Pools::default();
        let old = SnapshotView::new(Arc::new(snapshot(&["a"])), None, SEQUENCE_START);
        let next = SnapshotView::new(moved(&old.snapshot, 0, &[endpoint(2)]), Some(&old), SEQUENCE_START);
        let current = pool(&next, 0, &pools, &next);
        let late = pool(&old, 0, &pools, &next);
        assert_eq!(late.endpoints[0].endpoint.address.port(), 1, "the endpoint of its own snapshot");
        let rules = Arc::new((*next.snapshot.rules).clone());
        let renewed = Arc::new(Snapshot { rules, ..(*next.snapshot).clone() });
        let renewed = SnapshotView::new(renewed, Some(&next), SEQUENCE_START);
        assert!(Rc::ptr_eq(pool(&renewed, 0, &pools, &renewed), current));
        // An unchanged upstream has one pool, whichever request uses it first.
        let first = pool(&old, 1, &pools, &next);
        assert!(Rc::ptr_eq(pool(&next, 1, &pools, &next), first));
    }

    #[test]
    fn a_request_of_older_rules_does_not_restore_a_removed_upstream() {
        let pools = Pools::default();
        let old = SnapshotView::new(Arc::new(snapshot(&["a"])), None, SEQUENCE_START);
        let mut rules = (*old.snapshot.rules).clone();
        rules.upstreams.truncate(1);
        let upstreams = [Arc::clone(&old.snapshot.upstreams[0])].into();
        let next = Snapshot { rules: Arc::new(rules), upstreams, ..(*old.snapshot).clone() };
        let next = SnapshotView::new(Arc::new(next), Some(&old), SEQUENCE_START);
        pools.retain(&next.snapshot.rules.upstreams);
        assert_eq!(pool(&old, 1, &pools, &next).upstream.name, "v2");
        assert_eq!(pools.len(), 0);
        pool(&next, 0, &pools, &next);
        assert_eq!(pools.len(), 1);
    }

    #[test]
    fn an_endpoint_that_comes_back_unchanged_keeps_its_connections() {
        let pools = Pools::default();
        let first = SnapshotView::new(Arc::new(snapshot(&["a"])), None, SEQUENCE_START);
        let both = moved(&first.snapshot, 0, &[endpoint(1), endpoint(2)]);
        let both = SnapshotView::new(both, Some(&first), SEQUENCE_START);
        let before = pool(&both, 0, &pools, &both);
        // A snapshot in between had only endpoint 2; the worker skipped it.
        let same = || equal(&before.endpoints[0].endpoint);
        let again = moved(&both.snapshot, 0, &[same(), Arc::clone(&before.endpoints[1].endpoint)]);
        let again = SnapshotView::new(again, Some(&both), SEQUENCE_START);
        assert!(Rc::ptr_eq(pool(&again, 0, &pools, &again), before));
        let other = SnapshotView::new(moved(&again.snapshot, 0, &[endpoint(3), same()]), Some(&again), SEQUENCE_START);
        assert!(Rc::ptr_eq(&pool(&other, 0, &pools, &other).endpoints[1], &before.endpoints[0]));
    }

    #[test]
    fn new_rules_keep_the_sequence_of_a_route_by_its_name() {
        let first = SnapshotView::new(Arc::new(snapshot(&["a", "b"])), None, SEQUENCE_START);
        let drawn = [draw(&first, 0), draw(&first, 1)];
        let next = SnapshotView::new(Arc::new(snapshot(&["b", "new", "a"])), Some(&first), SEQUENCE_START);
        assert!(!Rc::ptr_eq(&first.spreads, &next.spreads));
        assert_eq!([2, 0].map(|at| next.spread(RouteId(at)).get().0), drawn);
        assert!(next.upstreams.iter().all(|pool| pool.get().is_none()), "found by name at the first use");
    }
}
