//! Which endpoint of an upstream: least request over two random choices, smooth weighted round robin, or a bounded-load
//! rendezvous hash. All are per worker: no worker waits for another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::pool::{EndpointPool, UpstreamPool};
use crate::route::Balance;

/// How much more than its fair share an endpoint may have in flight before `hash` passes it over.
const HASH_LOAD_MAX: f64 = 1.25;

/// What the balancers remember.
pub(super) struct Turns {
    /// Smooth weighted round robin: the current weight of each endpoint.
    current: Box<[Cell<i64>]>,
    /// Cumulative weights, for weighted random choices.
    cumulative: Box<[u32]>,
    /// Rendezvous seeds; empty unless `hash` is wanted.
    seeds: Box<[u64]>,
}

impl Turns {
    /// Fresh turns over these endpoints.
    pub(super) fn new(endpoints: &[Rc<EndpointPool>], balance: Balance) -> Self {
        let mut sum = 0_u32;
        let cumulative = endpoints
            .iter()
            .map(|pool| {
                sum = sum.saturating_add(pool.endpoint.weight.max(1));
                sum
            })
            .collect();
        let seed = |pool: &Rc<EndpointPool>| xxh3_64(pool.endpoint.address.to_string().as_bytes());
        let seeds = if balance == Balance::Hash { endpoints.iter().map(seed).collect() } else { Box::default() };
        Self { current: endpoints.iter().map(|_| Cell::new(0)).collect(), cumulative, seeds }
    }
}

/// Picks an endpoint; `key` is asked for only by `hash`. `None` when there is none.
pub(super) fn pick(
    pool: &UpstreamPool,
    random: &RefCell<fastrand::Rng>,
    key: impl FnOnce() -> u64,
) -> Option<Rc<EndpointPool>> {
    let at = match pool.endpoints.len() {
        0 => return None,
        1 => 0,
        _ => match pool.upstream.balance {
            Balance::LeastRequest => least_request(pool, &mut random.borrow_mut()),
            Balance::RoundRobin => round_robin(pool),
            Balance::Hash => hash(pool, key()),
        },
    };
    pool.endpoints.get(at).map(Rc::clone)
}

/// Two random choices by weight; the one with less in flight for its weight. Those without any are equals, whatever
/// their weights, which the choices have counted already.
fn least_request(pool: &UpstreamPool, random: &mut fastrand::Rng) -> usize {
    let (a, b) = (weighted(pool, random), weighted(pool, random));
    let load = |at: usize| {
        let endpoint = &pool.endpoints[at];
        (u64::from(endpoint.in_flight.get()), u64::from(endpoint.endpoint.weight.max(1)))
    };
    let ((load_a, weight_a), (load_b, weight_b)) = (load(a), load(b));
    if load_b * weight_a < load_a * weight_b { b } else { a }
}

fn weighted(pool: &UpstreamPool, random: &mut fastrand::Rng) -> usize {
    let total = pool.turns.cumulative.last().copied().unwrap_or(1);
    let drawn = random.u32(0..total.max(1));
    pool.turns.cumulative.partition_point(|sum| *sum <= drawn)
}

/// nginx's smooth weighted round robin: no bursts to the heavy ones.
fn round_robin(pool: &UpstreamPool) -> usize {
    let (mut best, mut total) = (0, 0);
    for (at, current) in pool.turns.current.iter().enumerate() {
        let weight = i64::from(pool.endpoints[at].endpoint.weight.max(1));
        total += weight;
        current.set(current.get() + weight);
        if current.get() > pool.turns.current[best].get() {
            best = at;
        }
    }
    let current = &pool.turns.current[best];
    current.set(current.get() - total);
    best
}

/// Weighted rendezvous hashing (Thaler and Ravishankar 1998): the endpoint with the highest score for this key that is
/// not overloaded. Removing an endpoint moves only its own keys.
fn hash(pool: &UpstreamPool, key: u64) -> usize {
    let in_flight: u32 = pool.endpoints.iter().map(|endpoint| endpoint.in_flight.get()).sum();
    let total_weight = f64::from(pool.turns.cumulative.last().copied().unwrap_or(1));
    let fits = |at: usize| {
        let endpoint = &pool.endpoints[at];
        let fair = f64::from(in_flight + 1) * f64::from(endpoint.endpoint.weight.max(1)) / total_weight;
        f64::from(endpoint.in_flight.get()) < (fair * HASH_LOAD_MAX).ceil()
    };
    let score = |at: usize| {
        let hashed = xxh3_64_with_seed(&key.to_le_bytes(), pool.turns.seeds[at]);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a draw")]
        let unit = ((hashed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(pool.endpoints[at].endpoint.weight.max(1)) / unit.ln()
    };
    let best = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates.map(|at| (score(at), at)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    };
    let all = 0..pool.endpoints.len();
    best(&mut all.clone().filter(|at| fits(*at))).or_else(|| best(&mut all.clone())).unwrap_or(0)
}
