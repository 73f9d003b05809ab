//! The choice of an endpoint by the balance of its upstream.

use std::cell::RefCell;

use super::latency::PeakEwma;
use super::ring::HashRing;
use super::rotation::Members;
use super::round_robin::RoundRobin;
use crate::route::Balance;

/// Most requests at an endpoint in multiples of its fair share, before `hash` passes it over.
const HASH_LOAD_MAX: f64 = 1.25;
/// Draws of the first of two choices: enough in 97 of 100 where one of ten is accepted.
const DRAWS_MAX: usize = 32;
/// Draws of the second one. Beside a heavy endpoint, few draws are of another one.
const OTHER_DRAWS_MAX: usize = 4;
/// The cost of an endpoint without a sample while a request for it is under way: more than any latency.
const UNKNOWN_MS: f64 = 1e12;

/// What a choice reads of an upstream's endpoints, by their index.
pub trait Fleet {
    /// The requests at an endpoint, with those of other workers and kept places.
    fn load(&self, at: usize) -> u32;
    /// The part of it that is of this worker.
    fn own_load(&self, at: usize) -> u32;
    /// The recent latency of an endpoint.
    fn latency(&self, at: usize) -> &PeakEwma;
    /// The requests in flight at all endpoints.
    fn in_flight(&self) -> u32;
}

/// Chooses endpoints of one upstream.
#[derive(Debug)]
pub struct Chooser<'a, F> {
    /// The policy.
    pub balance: Balance,
    /// The endpoints.
    pub fleet: F,
    /// The ring for `hash`; without one, keys are not sticky.
    pub ring: Option<&'a HashRing>,
    /// The turns for `round_robin`; a further try, which has none, takes the less loaded of two.
    pub turns: Option<&'a RefCell<RoundRobin>>,
    /// Milliseconds since the start of the process.
    pub now_ms: u64,
}

impl<F: Fleet> Chooser<'_, F> {
    /// One of the accepted members; `None`: there is none. Only `hash` computes `key`.
    #[inline]
    pub fn choose(
        &self,
        members: &Members,
        accept: impl Fn(usize) -> bool,
        draw: &mut impl FnMut() -> u64,
        key: impl FnOnce() -> u64,
    ) -> Option<usize> {
        if members.len() < 2 {
            // Neither the key nor a random number is needed.
            return members.first().filter(|at| accept(*at));
        }
        match (self.balance, self.ring, self.turns) {
            (Balance::Hash, Some(ring), _) => self.by_key(members, ring, key(), accept),
            (Balance::RoundRobin, _, Some(turns)) => {
                let next = turns.borrow_mut().next(members, &accept);
                next.or_else(|| self.of_two(members, accept, draw))
            }
            (Balance::LeastRequest | Balance::PeakEwma | Balance::RoundRobin | Balance::Hash, _, _) => {
                self.of_two(members, accept, draw)
            }
        }
    }

    /// Of two random choices by weight, the one with the lower score; the first where both are equal.
    #[inline]
    fn of_two(
        &self,
        members: &Members,
        accept: impl Fn(usize) -> bool,
        draw: &mut impl FnMut() -> u64,
    ) -> Option<usize> {
        let Some(a) = (0..DRAWS_MAX).map(|_| members.draw(draw())).find(|at| accept(*at)) else {
            return self.of_few(members, accept, draw);
        };
        // Nearly always another one: one drawn twice is no choice, and of three endpoints, each ninth request would go
        // to a frozen one.
        let b = (0..OTHER_DRAWS_MAX).map(|_| members.draw(draw())).find(|at| *at != a && accept(*at));
        Some(b.map_or(a, |b| self.better(members, a, b)))
    }

    /// The same where few are accepted: the next ones in the list, from two random places.
    #[cold]
    fn of_few(
        &self,
        members: &Members,
        accept: impl Fn(usize) -> bool,
        draw: &mut impl FnMut() -> u64,
    ) -> Option<usize> {
        let a = members.iter_from(draw()).find(|at| accept(*at))?;
        let b = members.iter_from(draw()).find(|at| *at != a && accept(*at));
        Some(b.map_or(a, |b| self.better(members, a, b)))
    }

    /// The one with the lower score. At weight 1 it is the requests in flight and this one, for `peak_ewma` times the
    /// recent latency. Two that are idle are equal: the draws follow the weights already.
    #[inline]
    fn better(&self, members: &Members, a: usize, b: usize) -> usize {
        let load = |at: usize| f64::from(self.fleet.load(at));
        let (load_a, load_b) = (load(a), load(b));
        let (weight_a, weight_b) = (members.weight(a), members.weight(b));
        if self.balance == Balance::PeakEwma {
            let (cost_a, cost_b) = (self.cost(a), self.cost(b));
            let score = |cost: f64, load: f64, weight: f64| cost * (1.0 + load / weight);
            return if score(cost_b, load_b, weight_b) < score(cost_a, load_a, weight_a) { b } else { a };
        }
        // load_b / weight_b < load_a / weight_a, without a division.
        if load_b * weight_a < load_a * weight_b { b } else { a }
    }

    /// The recent latency. An endpoint without a sample of this worker is tried at once, but by one request of it.
    fn cost(&self, at: usize) -> f64 {
        let unknown = || if self.fleet.own_load(at) > 0 { UNKNOWN_MS } else { 0.0 };
        self.fleet.latency(at).cost(self.now_ms).unwrap_or_else(unknown)
    }

    /// The owner of a key on the ring, of those that are not overloaded (Mirrokni, Thorup and Zadimoghaddam 2018).
    fn by_key(&self, members: &Members, ring: &HashRing, key: u64, accept: impl Fn(usize) -> bool) -> Option<usize> {
        // The request itself counts, so that an idle endpoint always fits.
        let per_weight = f64::from(self.fleet.in_flight().saturating_add(1)) / members.total();
        // The ring has all endpoints of the upstream.
        let may = |at: usize| members.weight(at) > 0.0 && accept(at);
        let fits = |at: usize| {
            let most = (per_weight * members.weight(at) * HASH_LOAD_MAX).ceil();
            f64::from(self.fleet.load(at)) < most
        };
        ring.find_near(key, |at| may(at) && fits(at)).or_else(|| ring.find(key, may))
    }
}
