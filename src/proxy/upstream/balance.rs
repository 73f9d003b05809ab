//! Load balancing over an upstream's endpoints: least request of two random choices, smooth weighted round robin, or a
//! rendezvous hash with bounded load. The state is per worker: no worker waits for another.
//!
//! After a failed connection the balancer avoids an endpoint for a second if the upstream has another one. Then one
//! request tries it, and the others keep avoiding it until the result is known. While no endpoint fails, this costs
//! nothing.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::pool::UpstreamPool;
use crate::proxy::worker::Worker;
use crate::retry::ENDPOINTS_MAX;
use crate::route::Balance;

/// Most requests in flight at an endpoint, in multiples of its fair share, before `hash` skips it.
const HASH_LOAD_MAX: f64 = 1.25;

/// The endpoints to which one request could not connect.
#[derive(Default)]
pub(crate) struct TriedEndpoints {
    at: [usize; ENDPOINTS_MAX],
    len: usize,
}

impl TriedEndpoints {
    /// Adds an endpoint. Beyond the limit on endpoints it is ignored: the request tries no more.
    pub(crate) fn push(&mut self, at: usize) {
        if let Some(slot) = self.at.get_mut(self.len) {
            (*slot, self.len) = (at, self.len + 1);
        }
    }

    /// The number of endpoints.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn contains(&self, at: usize) -> bool {
        self.at[..self.len].contains(&at)
    }
}

/// Picks an endpoint that was not tried, if there is one. Only `hash` computes `key`.
pub(crate) fn pick(
    pool: &UpstreamPool,
    worker: &Worker,
    tried: &TriedEndpoints,
    key: impl FnOnce() -> u64,
) -> Option<usize> {
    if pool.has_failed_endpoint.get() || !tried.is_empty() {
        return pick_among(pool, worker, tried, key);
    }
    match pool.endpoints.len() {
        0 => None,
        // Neither the key nor a random number is needed.
        1 => Some(0),
        _ => Some(match pool.upstream.balance {
            Balance::LeastRequest => {
                let mut random = worker.random.borrow_mut();
                least_request(pool, || weighted(pool, &mut random))
            }
            Balance::RoundRobin => round_robin(pool, |_| true),
            Balance::Hash => hash(pool, |_| true, key()),
        }),
    }
}

/// Whether the proxy could not connect to any of the endpoints a moment ago.
pub(crate) fn all_unreachable(pool: &UpstreamPool, worker: &Worker) -> bool {
    let now_ms = worker.now_ms();
    pool.has_failed_endpoint.get()
        && !pool.endpoints.is_empty()
        && pool.endpoints.iter().all(|endpoint| endpoint.is_avoided(now_ms))
}

/// Picks an untried endpoint whose last connection succeeded; else any untried one.
#[cold]
fn pick_among(
    pool: &UpstreamPool,
    worker: &Worker,
    tried: &TriedEndpoints,
    key: impl FnOnce() -> u64,
) -> Option<usize> {
    let now_ms = worker.now_ms();
    let all = 0..pool.endpoints.len();
    // Computed again, so that `pick` is fast once the last endpoint has recovered.
    pool.has_failed_endpoint.set(pool.endpoints.iter().any(|endpoint| endpoint.is_suspect()));
    let untried = |at: usize| !tried.contains(at);
    let good = |at: usize| untried(at) && !pool.endpoints[at].is_avoided(now_ms);
    let any_good = all.clone().any(good);
    // If all are avoided, an attempt is still better than none.
    let may = |at: usize| if any_good { good(at) } else { untried(at) };
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
    Some(at)
}

/// Of two random choices by weight, the one with fewer requests in flight for its weight. Two without requests are
/// equal: the choices already follow the weights.
fn least_request(pool: &UpstreamPool, mut draw: impl FnMut() -> usize) -> usize {
    let (a, b) = (draw(), draw());
    let load = |at: usize| {
        let endpoint = &pool.endpoints[at];
        (u64::from(endpoint.in_flight.get()), u64::from(endpoint.endpoint.weight.max(1)))
    };
    let ((load_a, weight_a), (load_b, weight_b)) = (load(a), load(b));
    // load_b / weight_b < load_a / weight_a, without a division.
    if load_b * weight_a < load_a * weight_b { b } else { a }
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
