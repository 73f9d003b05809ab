//! An upstream of the simulated proxy: the health under test, what each worker knows about its endpoints, and the choice
//! of the proxy (`balance/`).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use pointsman::balance::{
    Chooser, EndpointLoad, Fleet, HashRing, Members, OthersGuess, PeakEwma, RingMember, Rotation, RotationPlace,
    RoundRobin,
};
use pointsman::failover::{Choice, EndpointHealth, EndpointKey, Sender, UpstreamHealth};
use pointsman::route::{Balance, OutlierSettings, Protocol, RetryBudgetSettings};

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
    balance: Balance,
    ring: HashRing,
    everyone: Members,
    workers: Vec<WorkerView>,
}

/// What a worker knows about the upstream.
struct WorkerView {
    seats: Vec<Seat>,
    rotation: Rotation,
    turns: RefCell<RoundRobin>,
}

/// What a worker knows about an endpoint.
#[derive(Debug, Default)]
pub struct Seat {
    pub load: EndpointLoad,
    /// 0: its last connection succeeded.
    avoided_until_ms: u64,
    /// Pooled connections, all of the server's process of this generation.
    pub idle: u32,
    pub generation: usize,
}

/// What a choice of a worker reads.
struct ArmFleet<'a> {
    seats: &'a [Seat],
    /// How many times as much as this one the other workers do: all get as much.
    others: f64,
    all_in_flight: u32,
    endpoints: &'a [Arc<EndpointHealth>],
}

impl Fleet for ArmFleet<'_> {
    fn load(&self, at: usize) -> u32 {
        self.seats[at].load.with_others(self.endpoints[at].reported_load(), self.others)
    }

    fn own_load(&self, at: usize) -> u32 {
        self.seats[at].load.own()
    }

    fn latency(&self, at: usize) -> &PeakEwma {
        &self.seats[at].load.latency
    }

    fn in_flight(&self) -> u32 {
        self.all_in_flight
    }
}

/// Settings and servers of an upstream.
#[derive(Clone, Debug)]
pub struct ArmPlan {
    pub servers: Vec<Server>,
    pub outlier: OutlierSettings,
    pub budget: RetryBudgetSettings,
    pub balance: Balance,
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
    pub key: u64,
    pub now_ms: u64,
}

impl ArmPlan {
    /// Default settings.
    pub fn new(servers: Vec<Server>) -> Self {
        let (outlier, budget) = (OutlierSettings::default(), RetryBudgetSettings::default());
        Self { servers, outlier, budget, balance: Balance::default() }
    }
}

impl Arm {
    pub fn new(plan: &ArmPlan, workers: usize) -> Self {
        let health = UpstreamHealth::new(workers);
        let keys: Vec<_> = (0..plan.servers.len()).map(key).collect();
        let view = || WorkerView {
            seats: keys.iter().map(|_| Seat::default()).collect(),
            rotation: Rotation { number: u64::MAX, ..Rotation::default() },
            turns: RefCell::default(),
        };
        Self {
            endpoints: health.set_endpoints(&keys, 0),
            health,
            servers: plan.servers.clone(),
            outlier: plan.outlier,
            budget: plan.budget,
            balance: plan.balance,
            ring: HashRing::new(RingMember::all(keys.iter().map(|key| (key.address, 1)))),
            everyone: Members::all(keys.iter().map(|_| 1.0).collect()),
            workers: (0..workers).map(|_| view()).collect(),
        }
    }

    pub fn seat(&mut self, worker: usize, at: usize) -> &mut Seat {
        &mut self.workers[worker].seats[at]
    }

    /// Requests in flight of all workers.
    pub fn in_flight(&self) -> u32 {
        self.workers.iter().flat_map(|worker| &worker.seats).map(|seat| seat.load.in_flight()).sum()
    }

    pub fn avoid(&mut self, worker: usize, at: usize, now_ms: u64) {
        self.seat(worker, at).avoided_until_ms = now_ms + AVOIDED_MS;
    }

    pub fn forget_failure(&mut self, worker: usize, at: usize) {
        self.seat(worker, at).avoided_until_ms = 0;
    }

    /// The tick of all workers: each reports its loads, and places end.
    pub fn tick(&self, now_ms: u64) {
        for worker in &self.workers {
            for (seat, endpoint) in worker.seats.iter().zip(&self.endpoints) {
                endpoint.report_load(seat.load.take_report());
                seat.load.end_places(now_ms);
            }
        }
    }

    /// Whether fewer endpoints are usable than `panic_percent` of those that are not drained.
    fn panics(&self) -> bool {
        let usable = self.endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
        let total = self.endpoints.iter().filter(|endpoint| !endpoint.is_drained()).count();
        usable * 100 < self.outlier.panic_percent as usize * total
    }

    /// Picks an untried endpoint: one that is due for its try; else one by the balance.
    pub fn pick(&mut self, wish: Wish<'_>, allowed: Allowed, random: &mut fastrand::Rng) -> Option<Picked> {
        let Wish { worker, tried, sender, key, now_ms } = wish;
        self.follow(worker, random);
        let all_in_flight = self.in_flight();
        let view = &self.workers[worker];
        let hashes = self.balance == Balance::Hash;
        let others =
            if hashes { 0.0 } else { OthersGuess::new(u32::try_from(self.workers.len() - 1).expect("few")).multiple() };
        let untried = |at: usize| !tried.contains(&at);
        if now_ms >= self.health.next_trial_ms() {
            let due = |at: &usize| {
                UpstreamHealth::choice(&self.endpoints[*at], now_ms, sender) == Choice::Trial
                    && UpstreamHealth::claim(&self.endpoints[*at], now_ms)
            };
            let outside = view.rotation.outside.iter().map(|at| *at as usize);
            if let Some(at) = outside.filter(|at| untried(*at)).find(due) {
                return Some(Picked { at, why: Why::Trial });
            }
        }
        let takes_all = allowed == Allowed::All || self.panics();
        let members = if takes_all { &self.everyone } else { &view.rotation.members };
        let takes = |at: usize| untried(at) && if takes_all { !self.endpoints[at].is_drained() } else { true };
        let chooser = Chooser {
            balance: self.balance,
            fleet: ArmFleet { seats: &view.seats, others, all_in_flight, endpoints: &self.endpoints },
            ring: Some(&self.ring),
            turns: (tried.is_empty() && !takes_all).then_some(&view.turns),
            now_ms,
        };
        let mut draw = || random.u64(..);
        let good = |at: usize| takes(at) && now_ms >= view.seats[at].avoided_until_ms;
        let well = chooser.choose(members, good, &mut draw, || key);
        let at = well.or_else(|| chooser.choose(members, takes, &mut draw, || key))?;
        if well.is_some() && view.seats[at].avoided_until_ms > 0 {
            self.avoid(worker, at, now_ms);
        }
        let why = match allowed {
            _ if self.endpoints[at].is_usable() => Why::Usable,
            Allowed::All => Why::LastResort,
            Allowed::Usable => Why::Panic,
        };
        Some(Picked { at, why })
    }

    /// Makes a worker's list of the endpoints in rotation anew, if they have changed.
    fn follow(&mut self, worker: usize, random: &mut fastrand::Rng) {
        let number = self.health.rotation();
        let view = &mut self.workers[worker];
        if view.rotation.number != number {
            let place =
                |one: &Arc<EndpointHealth>| RotationPlace { weight: 1, serves: one.is_in_rotation(), ramp: 1.0 };
            view.rotation = Rotation::new(number, self.endpoints.iter().map(place));
            view.turns.borrow_mut().set_members(&view.rotation.members, &mut || random.u64(..));
        }
    }
}

fn key(at: usize) -> EndpointKey {
    let host = u8::try_from(at).expect("few endpoints");
    EndpointKey { address: SocketAddr::from(([10, 0, 0, host], 8080)), protocol: Protocol::Http1 }
}
