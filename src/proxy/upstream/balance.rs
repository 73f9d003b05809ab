//! Load balancing over an upstream's endpoints: least request of two random choices, smooth weighted round robin, or a
//! rendezvous hash with bounded load. The state is per worker: no worker waits for another.
//!
//! An ejected or drained endpoint is not chosen (`failover/`); when its time is over, one request tries it. Before that
//! many failures, after a failed connection, the balancer of this worker avoids an endpoint for a second if the upstream
//! has another one. Then one request tries it, and the others keep avoiding it until the result is known. While no
//! endpoint fails, this costs one load.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::pool::{EndpointPool, UpstreamPool};
use crate::failover::{Choice, Sender, UpstreamHealth};
use crate::proxy::worker::Worker;
use crate::route::Balance;

/// Most requests in flight at an endpoint, in multiples of its fair share, before `hash` skips it.
const HASH_LOAD_MAX: f64 = 1.25;

/// Draws of the second choice of `least_request`. Beside a heavy endpoint, few draws are of another one.
const DRAWS_MAX: usize = 4;

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

/// Picks an endpoint that was not tried, if there is one. Only `hash` computes `key`.
#[inline]
pub(crate) fn pick(
    pool: &UpstreamPool,
    worker: &Worker,
    wish: EndpointWish<'_>,
    key: impl FnOnce() -> u64,
) -> Option<Picked> {
    if pool.has_failed_endpoint.get() || pool.health.has_unusable() || !wish.tried.is_empty() {
        return pick_among(pool, worker, wish, key);
    }
    match pool.endpoints.len() {
        0 => None,
        // Neither the key nor a random number is needed.
        1 => Some(Picked::usable(0)),
        _ => Some(Picked::usable(match pool.upstream.balance {
            Balance::LeastRequest => {
                let mut random = worker.random.borrow_mut();
                least_request(pool, || weighted(pool, &mut random))
            }
            Balance::RoundRobin => round_robin(pool, |_| true),
            Balance::Hash => hash(pool, |_| true, key()),
        })),
    }
}

/// Whether the proxy cannot connect to any of the endpoints, as of a moment ago, or may choose none of them.
pub(crate) fn none_reachable(pool: &UpstreamPool, worker: &Worker, sender: Sender) -> bool {
    if !pool.has_failed_endpoint.get() && !pool.health.has_unusable() {
        return false;
    }
    let (now_ms, process_ms) = (worker.now_ms(), worker.process_ms());
    let unreachable = |endpoint: &Rc<EndpointPool>| {
        endpoint.is_avoided(now_ms)
            || UpstreamHealth::choice(&endpoint.endpoint.health, process_ms, sender) == Choice::No
    };
    !pool.endpoints.is_empty() && pool.endpoints.iter().all(unreachable)
}

/// Picks an untried endpoint: the one that waits for its try; else one whose last connection succeeded; else any.
#[cold]
fn pick_among(
    pool: &UpstreamPool,
    worker: &Worker,
    wish: EndpointWish<'_>,
    key: impl FnOnce() -> u64,
) -> Option<Picked> {
    let (now_ms, process_ms) = (worker.now_ms(), worker.process_ms());
    let all = 0..pool.endpoints.len();
    // Computed again, so that `pick` is fast once the last endpoint has recovered.
    pool.has_failed_endpoint.set(pool.endpoints.iter().any(|endpoint| endpoint.is_suspect()));
    let health = |at: usize| &*pool.endpoints[at].endpoint.health;
    let choice = |at: usize| UpstreamHealth::choice(health(at), process_ms, wish.sender);
    let untried = |at: usize| !wish.tried.contains(at);
    let due =
        |at: &usize| untried(*at) && choice(*at) == Choice::Trial && UpstreamHealth::claim(health(*at), process_ms);
    if pool.health.has_unusable()
        && let Some(at) = all.clone().find(due)
    {
        return Some(Picked { at, is_trial: true });
    }
    let takes_all = wish.from == EndpointSet::All || panics(pool);
    let takes = |at: usize| if takes_all { !health(at).is_drained() } else { choice(at) == Choice::Yes };
    let good = |at: usize| untried(at) && takes(at) && !pool.endpoints[at].is_avoided(now_ms);
    let any_good = all.clone().any(good);
    // If all are avoided, an attempt is still better than none.
    let may = |at: usize| if any_good { good(at) } else { untried(at) && takes(at) };
    if !all.clone().any(may) {
        return None;
    }
    let at = match pool.upstream.balance {
        Balance::LeastRequest => {
            let mut random = worker.random.borrow_mut();
            least_request(pool, || weighted_among(pool, &may, &mut random))
        }
        Balance::RoundRobin => round_robin(pool, may),
        Balance::Hash => hash(pool, may, key()),
    };
    if any_good {
        pool.endpoints[at].mark_tried(now_ms);
    }
    Some(Picked::usable(at))
}

/// Whether fewer endpoints are usable than `panic_percent` of those that are not drained.
fn panics(pool: &UpstreamPool) -> bool {
    let percent = pool.upstream.outlier.panic_percent as usize;
    if percent == 0 {
        return false;
    }
    let health = || pool.endpoints.iter().map(|endpoint| &endpoint.endpoint.health);
    let (usable, total) =
        (health().filter(|health| health.is_usable()).count(), health().filter(|health| !health.is_drained()).count());
    usable * 100 < percent * total
}

/// Of two random choices by weight, the one with fewer requests in flight for its weight. Two without requests are
/// equal: the choices already follow the weights.
fn least_request(pool: &UpstreamPool, draw: impl FnMut() -> usize) -> usize {
    let (a, b) = two_of(draw);
    let load = |at: usize| {
        let endpoint = &pool.endpoints[at];
        (u64::from(endpoint.in_flight.get()), u64::from(endpoint.endpoint.weight.max(1)))
    };
    let ((load_a, weight_a), (load_b, weight_b)) = (load(a), load(b));
    // load_b / weight_b < load_a / weight_a, without a division.
    if load_b * weight_a < load_a * weight_b { b } else { a }
}

/// Two draws, nearly always of different endpoints: one drawn twice is no choice, and of three endpoints, each ninth
/// request would go to a frozen one.
fn two_of(mut draw: impl FnMut() -> usize) -> (usize, usize) {
    let a = draw();
    let b = (0..DRAWS_MAX).map(|_| draw()).find(|b| *b != a);
    (a, b.unwrap_or(a))
}

fn weighted(pool: &UpstreamPool, random: &mut fastrand::Rng) -> usize {
    let total = pool.balancer.cumulative.last().copied().unwrap_or(1);
    // An empty range would panic.
    let drawn = random.u32(0..total.max(1));
    let at = pool.balancer.cumulative.partition_point(|sum| *sum <= drawn);
    debug_assert!(at < pool.endpoints.len(), "the draw is below the total weight");
    at
}

/// The same among the endpoints that `may` allows; there is at least one.
fn weighted_among(pool: &UpstreamPool, may: &impl Fn(usize) -> bool, random: &mut fastrand::Rng) -> usize {
    let weights = || {
        let all = pool.endpoints.iter().enumerate().filter(|(at, _)| may(*at));
        all.map(|(at, endpoint)| (at, u64::from(endpoint.endpoint.weight.max(1))))
    };
    let total: u64 = weights().map(|(_, weight)| weight).sum();
    let mut left = random.u64(0..total.max(1));
    for (at, weight) in weights() {
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

/// Smooth weighted round robin as in nginx: no bursts to heavy endpoints. An endpoint that `may` excludes gains no
/// weight.
fn round_robin(pool: &UpstreamPool, may: impl Fn(usize) -> bool) -> usize {
    let (mut best, mut total) = (None, 0);
    for (at, current) in pool.balancer.current.iter().enumerate().filter(|(at, _)| may(*at)) {
        let weight = i64::from(pool.endpoints[at].endpoint.weight.max(1));
        total += weight;
        current.set(current.get() + weight);
        if best.is_none_or(|best: usize| current.get() > pool.balancer.current[best].get()) {
            best = Some(at);
        }
    }
    let best = best.unwrap_or(0);
    let current = &pool.balancer.current[best];
    // The sum of all stays 0: each has gained its weight, and the chosen one pays the total.
    current.set(current.get() - total);
    best
}

/// Weighted rendezvous hashing (Thaler and Ravishankar 1998): the endpoint with the highest score for this key, among
/// those that are not overloaded. Removing an endpoint moves only its own keys.
fn hash(pool: &UpstreamPool, may: impl Fn(usize) -> bool, key: u64) -> usize {
    let all = || (0..pool.endpoints.len()).filter(|at| may(*at));
    let weight = |at: usize| f64::from(pool.endpoints[at].endpoint.weight.max(1));
    let in_flight: u32 = all().map(|at| pool.endpoints[at].in_flight.get()).sum();
    let total_weight: f64 = all().map(weight).sum();
    let fits = |at: usize| {
        // The request itself counts, so that an endpoint without requests always fits.
        let fair = f64::from(in_flight + 1) * weight(at) / total_weight;
        f64::from(pool.endpoints[at].in_flight.get()) < (fair * HASH_LOAD_MAX).ceil()
    };
    let score = |at: usize| {
        let hashed = xxh3_64_with_seed(&key.to_le_bytes(), pool.balancer.seeds[at]);
        // Half a step up, since the logarithm of 0 is infinite.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a draw")]
        let unit = ((hashed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -weight(at) / unit.ln()
    };
    let best = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates.map(|at| (score(at), at)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    };
    best(&mut all().filter(|at| fits(*at))).or_else(|| best(&mut all())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_choices_are_nearly_always_different() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut same = |endpoints: usize| {
            (0..10_000).filter(|_| matches!(two_of(|| random.usize(0..endpoints)), (a, b) if a == b)).count()
        };
        // By chance (1/3)^4 and (1/2)^4.
        assert!(same(3) < 200, "1.2 % of 10 000");
        assert!(same(2) < 800, "6.3 % of 10 000");
        assert_eq!(same(1), 10_000, "there is no other one");
    }
}
