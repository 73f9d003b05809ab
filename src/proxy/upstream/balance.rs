//! The choice of an endpoint, for a request of one worker. The policies are in the pure room `balance/`; here are their
//! facts: who is in rotation, ejected, drained, tried by this request, or avoided by this worker.
//!
//! An ejected or drained endpoint is not chosen (`failover/`); when its time is over, one request tries it. Before that
//! many failures, after a failed connection, the balancer of this worker avoids an endpoint for a second if the upstream
//! has another one. Then one request tries it, and the others keep avoiding it until the result is known. While nothing
//! of this changes, a request compares one number and draws from a list.

use std::cell::{LazyCell, RefCell};
use std::sync::Arc;

use super::balancer_state::FirstTurns;
use super::pool::UpstreamPool;
use crate::balance::{Chooser, Fleet, Members, PeakEwma, RotationPlace, RoundRobin};
use crate::failover::{Choice, Sender, UpstreamHealth};
use crate::proxy::worker::Worker;
use crate::route::Balance;
use crate::snapshot::EndpointState;

/// Endpoints out of rotation that one request looks at for one that is due for its try.
const SEARCHED_MAX: usize = 16;

/// The endpoints that failed for one request. As many as it has tries: few, and none for nearly all requests.
#[derive(Default)]
pub(crate) struct TriedEndpoints(Vec<usize>);

impl TriedEndpoints {
    /// Adds an endpoint.
    pub(crate) fn push(&mut self, at: usize) {
        self.0.push(at);
    }

    /// Forgets all, so that each may be tried again.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, at: usize) -> bool {
        self.0.contains(&at)
    }
}

/// The endpoint that was picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picked {
    /// Its index in the upstream.
    pub(crate) at: usize,
    /// It is ejected, and this request tries it.
    pub(crate) is_trial: bool,
}

/// A request that needs an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct EndpointWish<'a> {
    /// The endpoints that it has tried; they are not picked.
    pub(crate) tried: &'a TriedEndpoints,
    /// What it may try.
    pub(crate) sender: Sender,
    /// What it may get.
    pub(crate) from: EndpointSet,
}

/// The endpoints that a request may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointSet {
    /// Those that are usable.
    Usable,
    /// All that are not drained: the last resort.
    All,
}

impl Picked {
    const fn usable(at: usize) -> Self {
        Self { at, is_trial: false }
    }
}

/// The endpoints of a pool, for a choice.
struct PoolFleet<'a> {
    pool: &'a UpstreamPool,
    worker: usize,
}

impl Fleet for PoolFleet<'_> {
    #[inline]
    fn load(&self, at: usize) -> u32 {
        let (endpoint, others) = (&self.pool.endpoints[at], self.pool.other_workers);
        if others == 0 {
            return endpoint.load.own();
        }
        // The bound of `hash` is by what is known: a guess would move keys.
        let mirrored = if self.pool.upstream.balance == Balance::Hash { 0.0 } else { self.pool.mirror.multiple() };
        endpoint.load.with_others(endpoint.endpoint.health.reported_load(), mirrored)
    }

    #[inline]
    fn own_load(&self, at: usize) -> u32 {
        self.pool.endpoints[at].load.own()
    }

    fn latency(&self, at: usize) -> &PeakEwma {
        &self.pool.endpoints[at].load.latency
    }

    fn in_flight(&self) -> u32 {
        let own = self.pool.meter(self.worker).in_flight.value();
        u32::try_from(own + self.pool.others_in_flight.get()).unwrap_or(0)
    }
}

/// Picks an endpoint that was not tried, if there is one. Only `hash` computes `key`.
#[inline]
pub(crate) fn pick(
    pool: &UpstreamPool,
    worker: &Worker,
    wish: EndpointWish<'_>,
    key: impl FnOnce() -> u64,
) -> Option<Picked> {
    let state = &pool.balancer;
    let rotation = state.rotation.borrow();
    let is_current = rotation.number == pool.health.rotation() && worker.process_ms() < state.look_again_ms.get();
    let is_plain = wish.tried.is_empty() && wish.from == EndpointSet::Usable && !pool.has_failed_endpoint.get();
    if is_current && is_plain && !rotation.members.is_empty() {
        let mut draw = || worker.random.borrow_mut().u64(..);
        let at = chooser(pool, worker, Some(&state.turns)).choose(&rotation.members, |_| true, &mut draw, key);
        return at.map(Picked::usable);
    }
    drop(rotation);
    pick_among(pool, worker, wish, key)
}

#[inline]
fn chooser<'a>(
    pool: &'a UpstreamPool,
    worker: &Worker,
    turns: Option<&'a RefCell<RoundRobin>>,
) -> Chooser<'a, PoolFleet<'a>> {
    Chooser {
        balance: pool.upstream.balance,
        fleet: PoolFleet { pool, worker: worker.index },
        ring: pool.ring.as_deref(),
        turns,
        now_ms: worker.process_ms(),
    }
}

/// Whether the proxy cannot connect to any of the endpoints, as of a moment ago, or may choose none of them.
pub(crate) fn none_reachable(pool: &UpstreamPool, worker: &Worker, sender: Sender) -> bool {
    if !pool.has_failed_endpoint.get() && !pool.health.has_unusable() {
        return false;
    }
    follow(pool, worker);
    let (now_ms, process_ms) = (worker.now_ms(), worker.process_ms());
    let is_reachable = |at: usize| {
        let endpoint = &pool.endpoints[at];
        !endpoint.is_avoided(now_ms)
            && UpstreamHealth::choice(&endpoint.endpoint.health, process_ms, sender) != Choice::No
    };
    let rotation = pool.balancer.rotation.borrow();
    let outside = rotation.outside.iter().map(|at| *at as usize);
    // Nearly always the first one is.
    !pool.endpoints.is_empty() && !rotation.members.iter().chain(outside).any(is_reachable)
}

/// Makes the list of the endpoints in rotation anew, if they have changed.
fn follow(pool: &UpstreamPool, worker: &Worker) {
    if pool.balancer.is_due(pool.health.rotation(), worker.process_ms()) {
        renew(pool, worker);
    }
    look_again(pool, worker);
}

fn renew(pool: &UpstreamPool, worker: &Worker) {
    // Before the states: a change meanwhile makes the list anew.
    let (number, now_ms) = (pool.health.rotation(), worker.process_ms());
    let slow_start_ms = u64::try_from(pool.upstream.slow_start.as_millis()).unwrap_or(u64::MAX);
    let place = |state: &Arc<EndpointState>| {
        let (serves, ramp) = (state.health.is_in_rotation(), state.health.ramp(now_ms, slow_start_ms));
        RotationPlace { weight: state.weight, serves, ramp }
    };
    let mut draw = || match pool.balancer.first_turns {
        FirstTurns::InOrder => u64::MAX / 2,
        FirstTurns::Random => worker.random.borrow_mut().u64(..),
    };
    let turns = (pool.upstream.balance == Balance::RoundRobin).then_some(&mut draw);
    pool.balancer.renew(number, pool.listed.iter().map(place), now_ms, turns);
}

/// Sets until when a choice need not look at more than the number of the rotation. While a share grows, or too few may be
/// usable, that is the next tick.
fn look_again(pool: &UpstreamPool, worker: &Worker) {
    let rotation = pool.balancer.rotation.borrow();
    let may_panic = pool.upstream.outlier.panic_percent > 0 && !rotation.outside.is_empty();
    let next_tick = worker.process_ms() + 1;
    let until_ms = match pool.health.next_trial_ms() {
        _ if may_panic && panics(pool, worker) => 0,
        trial_ms if rotation.ramps || may_panic => trial_ms.min(next_tick),
        trial_ms => trial_ms,
    };
    pool.balancer.look_again_ms.set(until_ms);
}

/// Picks an untried endpoint: the one that waits for its try; else one whose last connection succeeded; else any.
#[cold]
fn pick_among(
    pool: &UpstreamPool,
    worker: &Worker,
    wish: EndpointWish<'_>,
    key: impl FnOnce() -> u64,
) -> Option<Picked> {
    follow(pool, worker);
    if let Some(at) = due_for_trial(pool, worker, wish) {
        return Some(Picked { at, is_trial: true });
    }
    let key = LazyCell::new(key);
    let (state, takes_all) = (&pool.balancer, wish.from == EndpointSet::All || panics(pool, worker));
    if takes_all {
        let weight = |endpoint: &Arc<EndpointState>| f64::from(endpoint.weight.max(1));
        let everyone = state.everyone(|| pool.listed.iter().map(weight).collect());
        let takes = |at: usize| !pool.endpoints[at].endpoint.health.is_drained();
        return pick_of(pool, worker, &Among { members: everyone, turns: None, wish }, takes, || *key);
    }
    // A further try takes the less loaded of two, and no turn.
    let turns = wish.tried.is_empty().then_some(&state.turns);
    let takes = |at: usize| pool.endpoints[at].endpoint.health.is_in_rotation();
    let rotation = state.rotation.borrow();
    let picked = pick_of(pool, worker, &Among { members: &rotation.members, turns, wish }, takes, || *key);
    if picked.is_some() || rotation.number == pool.health.rotation() {
        return picked;
    }
    // None of an old list serves any more.
    drop(rotation);
    renew(pool, worker);
    look_again(pool, worker);
    let rotation = state.rotation.borrow();
    pick_of(pool, worker, &Among { members: &rotation.members, turns, wish }, takes, || *key)
}

/// The endpoints that one is picked of.
struct Among<'a> {
    members: &'a Members,
    turns: Option<&'a RefCell<RoundRobin>>,
    wish: EndpointWish<'a>,
}

/// Picks one that `takes` allows. If all are avoided, an attempt is still better than none.
fn pick_of(
    pool: &UpstreamPool,
    worker: &Worker,
    among: &Among<'_>,
    takes: impl Fn(usize) -> bool,
    key: impl Fn() -> u64,
) -> Option<Picked> {
    let now_ms = worker.now_ms();
    let may = |at: usize| !among.wish.tried.contains(at) && takes(at);
    let mut draw = || worker.random.borrow_mut().u64(..);
    let chooser = chooser(pool, worker, among.turns);
    let good = |at: usize| may(at) && !pool.endpoints[at].is_avoided(now_ms);
    if let Some(at) = chooser.choose(among.members, good, &mut draw, &key) {
        pool.endpoints[at].mark_tried(now_ms);
        return Some(Picked::usable(at));
    }
    chooser.choose(among.members, may, &mut draw, &key).map(Picked::usable)
}

/// An ejected endpoint whose time is over and that this request tries. A request looks at a few, and the next one goes on;
/// after the last one, requests look again at the next tick.
fn due_for_trial(pool: &UpstreamPool, worker: &Worker, wish: EndpointWish<'_>) -> Option<usize> {
    let process_ms = worker.process_ms();
    if process_ms < pool.health.next_trial_ms() {
        return None;
    }
    let (rotation, searched) = (pool.balancer.rotation.borrow(), &pool.balancer.searched);
    let outside = &rotation.outside;
    let from = searched.get().checked_rem(outside.len())?;
    let health = |at: usize| &*pool.endpoints[at].endpoint.health;
    let is_due = |at: &usize| {
        !wish.tried.contains(*at)
            && UpstreamHealth::choice(health(*at), process_ms, wish.sender) == Choice::Trial
            && UpstreamHealth::claim(health(*at), process_ms)
    };
    searched.set(from + SEARCHED_MAX.min(outside.len()));
    let few = outside.iter().cycle().skip(from).take(SEARCHED_MAX.min(outside.len()));
    let found = few.map(|at| *at as usize).find(is_due);
    if found.is_none() && from + SEARCHED_MAX >= outside.len() && pool.balancer.look_again_ms.get() > 0 {
        pool.balancer.look_again_ms.set(process_ms + 1);
    }
    found
}

/// Whether fewer endpoints are usable than `panic_percent` of those that are not drained, as of the last tick.
fn panics(pool: &UpstreamPool, worker: &Worker) -> bool {
    let percent = pool.upstream.outlier.panic_percent as usize;
    if percent == 0 || pool.balancer.rotation.borrow().outside.is_empty() {
        return false;
    }
    let (now_ms, number) = (worker.process_ms(), pool.health.rotation());
    let (at_ms, at_number, panics) = pool.balancer.panics.get();
    if (at_ms, at_number) == (now_ms, number) {
        return panics;
    }
    let health = || pool.endpoints.iter().map(|endpoint| &endpoint.endpoint.health);
    let (usable, total) =
        (health().filter(|health| health.is_usable()).count(), health().filter(|health| !health.is_drained()).count());
    let panics = usable * 100 < percent * total;
    pool.balancer.panics.set((now_ms, number, panics));
    panics
}
