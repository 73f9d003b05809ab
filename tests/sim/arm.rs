//! An upstream of the simulated proxy: the health under test, and what each worker knows about its endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use pointsman::failover::{Choice, EndpointHealth, EndpointKey, Sender, UpstreamHealth};
use pointsman::route::{OutlierSettings, Protocol, RetryBudgetSettings};

use super::server::Server;

/// After a failed connection a worker avoids an endpoint for this time if it has another one.
const AVOIDED_MS: u64 = 1_000;

/// An upstream.
pub struct Arm {
    pub health: UpstreamHealth,
    pub endpoints: Vec<Arc<EndpointHealth>>,
    pub servers: Vec<Server>,
    pub outlier: OutlierSettings,
    pub budget: RetryBudgetSettings,
    /// By worker and endpoint.
    seats: Vec<Vec<Seat>>,
}

/// What a worker knows about an endpoint.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    pub in_flight: u32,
    /// 0: its last connection succeeded.
    avoided_until_ms: u64,
    /// Pooled connections, all of the server's process of this generation.
    pub idle: u32,
    pub generation: usize,
}

/// Settings and servers of an upstream.
#[derive(Clone, Debug)]
pub struct ArmPlan {
    pub servers: Vec<Server>,
    pub outlier: OutlierSettings,
    pub budget: RetryBudgetSettings,
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Usable,
    Trial,
    LastResort,
    Panic,
}

/// An endpoint for a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    pub at: usize,
    pub why: Why,
}

/// The endpoints that a request may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Usable,
    /// All that are not drained.
    All,
}

/// A request that needs an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub worker: usize,
    pub tried: &'a [usize],
    pub sender: Sender,
    pub now_ms: u64,
}

impl ArmPlan {
    /// Default settings.
    pub fn new(servers: Vec<Server>) -> Self {
        Self { servers, outlier: OutlierSettings::default(), budget: RetryBudgetSettings::default() }
    }
}

impl Arm {
    pub fn new(plan: &ArmPlan, workers: usize) -> Self {
        let health = UpstreamHealth::new(workers);
        let keys: Vec<_> = (0..plan.servers.len()).map(key).collect();
        Self {
            endpoints: health.set_endpoints(&keys),
            health,
            servers: plan.servers.clone(),
            outlier: plan.outlier,
            budget: plan.budget,
            seats: vec![vec![Seat::default(); plan.servers.len()]; workers],
        }
    }

    pub fn seat(&mut self, worker: usize, at: usize) -> &mut Seat {
        &mut self.seats[worker][at]
    }

    /// Requests in flight of all workers.
    pub fn in_flight(&self) -> u32 {
        self.seats.iter().flatten().map(|seat| seat.in_flight).sum()
    }

    pub fn avoid(&mut self, worker: usize, at: usize, now_ms: u64) {
        self.seats[worker][at].avoided_until_ms = now_ms + AVOIDED_MS;
    }

    pub fn forget_failure(&mut self, worker: usize, at: usize) {
        self.seats[worker][at].avoided_until_ms = 0;
    }

    /// Whether fewer endpoints are usable than `panic_percent` of those that are not drained.
    fn panics(&self) -> bool {
        let usable = self.endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
        let total = self.endpoints.iter().filter(|endpoint| !endpoint.is_drained()).count();
        usable * 100 < self.outlier.panic_percent as usize * total
    }

    /// Picks an untried endpoint: one that is due for its try; else of two random ones that with fewer requests in
    /// flight.
    pub fn pick(&mut self, wish: Wish<'_>, allowed: Allowed, random: &mut fastrand::Rng) -> Option<Picked> {
        let Wish { worker, tried, sender, now_ms } = wish;
        let untried = |at: &usize| !tried.contains(at);
        let is_suspect = self.seats[worker].iter().any(|seat| seat.avoided_until_ms > 0);
        let all = || 0..self.endpoints.len();
        if !self.health.has_unusable() && tried.is_empty() && !is_suspect {
            let all: Vec<usize> = all().collect();
            return Some(Picked { at: self.of_two(worker, &all, random)?, why: Why::Usable });
        }
        let choice = |at: usize| UpstreamHealth::choice(&self.endpoints[at], now_ms, sender);
        let due = |at: &usize| choice(*at) == Choice::Trial && UpstreamHealth::claim(&self.endpoints[*at], now_ms);
        if self.health.has_unusable()
            && let Some(at) = all().filter(untried).find(due)
        {
            return Some(Picked { at, why: Why::Trial });
        }
        let panics = self.panics();
        let takes = |at: &usize| match allowed {
            Allowed::Usable if !panics => choice(*at) == Choice::Yes,
            Allowed::Usable | Allowed::All => !self.endpoints[*at].is_drained(),
        };
        let may: Vec<usize> = all().filter(untried).filter(takes).collect();
        let good = |at: &usize| now_ms >= self.seats[worker][*at].avoided_until_ms;
        let any_good = may.iter().any(good);
        let among: Vec<usize> = may.into_iter().filter(|at| !any_good || good(at)).collect();
        let at = self.of_two(worker, &among, random)?;
        if any_good && self.seats[worker][at].avoided_until_ms > 0 {
            self.avoid(worker, at, now_ms);
        }
        let why = match allowed {
            _ if self.endpoints[at].is_usable() => Why::Usable,
            Allowed::All => Why::LastResort,
            Allowed::Usable => Why::Panic,
        };
        Some(Picked { at, why })
    }

    fn of_two(&self, worker: usize, among: &[usize], random: &mut fastrand::Rng) -> Option<usize> {
        let (first, second) = (*random.choice(among)?, *random.choice(among)?);
        let load = |at: usize| self.seats[worker][at].in_flight;
        Some(if load(second) < load(first) { second } else { first })
    }
}

fn key(at: usize) -> EndpointKey {
    let host = u8::try_from(at).expect("few endpoints");
    EndpointKey { address: SocketAddr::from(([10, 0, 0, host], 8080)), protocol: Protocol::Http1 }
}
