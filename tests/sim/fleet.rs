//! A fleet in virtual time: workers choose endpoints by `pointsman::balance`, and endpoints answer after their time, fast,
//! slowly, or with a refusal. Nothing is tried again: what is measured is the choice.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;

use pointsman::balance::{
    Chooser, EndpointLoad, Fleet, HashRing, OthersGuess, PeakEwma, RingMember, Rotation, RotationPlace, RoundRobin,
    WorkerTraffic,
};
use pointsman::failover::{EndpointHealth, EndpointKey, UpstreamHealth};
use pointsman::route::{Balance, Protocol};

/// The tick of a worker.
const TICK_US: u64 = 100_000;

/// Whether workers report their requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    On,
    Off,
}

/// Whether refused tries keep their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    On,
    Off,
}

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers well after about this time.
    Answers { ms: u64 },
    /// It refuses after a millisecond.
    Refuses,
    /// It does this to all above a number of requests a second, and answers the others after this time.
    Limits { per_second: u32, ms: u64 },
}

/// A simulation.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    pub seed: u64,
    pub balance: Balance,
    pub workers: usize,
    /// So many of 100 requests are of the first worker; the others are of any.
    pub first_worker_percent: u32,
    pub folding: Folding,
    pub penalty: Penalty,
    /// Requests a second.
    pub rate: u64,
    pub seconds: u64,
    pub kinds: Vec<Kind>,
    /// The first endpoint is out from 1 s until this time.
    pub admitted_ms: Option<u64>,
    pub slow_start_ms: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct FleetReport {
    /// Requests of each endpoint, by second.
    pub by_second: Vec<Vec<u32>>,
    /// The time of each good answer, in microseconds.
    pub took_us: Vec<u64>,
    /// The sum of the squares of the distances from the mean load, and how many there are.
    squares: f64,
    looks: u64,
    /// The most requests in flight at one endpoint, in multiples of the mean where that is at least 10.
    pub most_of_mean: f64,
}

impl FleetPlan {
    /// One worker without slow start.
    pub fn new(seed: u64, balance: Balance, kinds: Vec<Kind>) -> Self {
        Self {
            seed,
            balance,
            workers: 1,
            first_worker_percent: 0,
            folding: Folding::On,
            penalty: Penalty::On,
            rate: 500,
            seconds: 20,
            kinds,
            admitted_ms: None,
            slow_start_ms: 0,
        }
    }

    /// Runs it to its end.
    pub fn run(&self) -> FleetReport {
        let mut world = FleetWorld::new(self);
        world.run();
        world.report
    }
}

impl FleetReport {
    /// The share of an endpoint within these seconds.
    pub fn share(&self, at: usize, seconds: std::ops::Range<usize>) -> f64 {
        let all: u32 = self.by_second[seconds.clone()].iter().flatten().sum();
        let own: u32 = self.by_second[seconds].iter().map(|second| second[at]).sum();
        f64::from(own) / f64::from(all)
    }

    /// The time that this share of the good answers took at most, in milliseconds.
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        self.took_us.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (share * self.took_us.len() as f64) as usize;
        self.took_us[at.min(self.took_us.len() - 1)] as f64 / 1_000.0
    }

    /// The standard deviation of the requests in flight at endpoints.
    pub fn spread(&self) -> f64 {
        (self.squares / self.looks as f64).sqrt()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    End { worker: usize, at: usize, began_us: u64 },
    Tick { worker: usize },
    Out,
    Back,
}

/// What a worker has.
struct FleetWorker {
    loads: Vec<EndpointLoad>,
    rotation: Rotation,
    made_us: u64,
    turns: RefCell<RoundRobin>,
    others: u32,
    mirror: OthersGuess,
    /// Its requests so far.
    requests: u64,
}

struct FleetWorld<'a> {
    plan: &'a FleetPlan,
    health: UpstreamHealth,
    endpoints: Vec<Arc<EndpointHealth>>,
    ring: HashRing,
    workers: Vec<FleetWorker>,
    random: fastrand::Rng,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    report: FleetReport,
}

/// What a choice reads.
struct FleetView<'a> {
    worker: &'a FleetWorker,
    /// How many times as much as this one the other workers do.
    others: f64,
    endpoints: &'a [Arc<EndpointHealth>],
}

impl Fleet for FleetView<'_> {
    fn load(&self, at: usize) -> u32 {
        self.worker.loads[at].with_others(self.endpoints[at].reported_load(), self.others)
    }

    fn own_load(&self, at: usize) -> u32 {
        self.worker.loads[at].own()
    }

    fn latency(&self, at: usize) -> &PeakEwma {
        &self.worker.loads[at].latency
    }

    fn in_flight(&self) -> u32 {
        self.worker.loads.iter().map(EndpointLoad::in_flight).sum::<u32>() + self.worker.others
    }
}

impl<'a> FleetWorld<'a> {
    fn new(plan: &'a FleetPlan) -> Self {
        let key = |at: usize| {
            let [.., high, low] = at.to_be_bytes();
            EndpointKey { address: SocketAddr::from(([10, 0, high, low], 8080)), protocol: Protocol::Http1 }
        };
        let keys: Vec<EndpointKey> = (0..plan.kinds.len()).map(key).collect();
        let health = UpstreamHealth::new(plan.workers);
        let worker = || FleetWorker {
            loads: keys.iter().map(|_| EndpointLoad::default()).collect(),
            rotation: Rotation { number: u64::MAX, ..Rotation::default() },
            made_us: 0,
            turns: RefCell::default(),
            others: 0,
            mirror: OthersGuess::new(u32::try_from(plan.workers - 1).expect("few")),
            requests: 0,
        };
        Self {
            plan,
            endpoints: health.set_endpoints(&keys, 0),
            health,
            ring: HashRing::new(RingMember::all(keys.iter().map(|key| (key.address, 1)))),
            workers: (0..plan.workers).map(|_| worker()).collect(),
            random: fastrand::Rng::with_seed(plan.seed),
            now_us: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            report: FleetReport::default(),
        }
    }

    fn schedule(&mut self, after_us: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now_us + after_us, self.scheduled, event)));
    }

    fn run(&mut self) {
        let seconds = usize::try_from(self.plan.seconds).expect("a short time");
        self.report.by_second = vec![vec![0; self.plan.kinds.len()]; seconds];
        self.schedule(0, Event::Arrival);
        for worker in 0..self.plan.workers {
            let phase_us = self.random.u64(0..TICK_US);
            self.schedule(phase_us, Event::Tick { worker });
        }
        if let Some(ms) = self.plan.admitted_ms {
            self.schedule(1_000_000, Event::Out);
            self.schedule(ms * 1_000, Event::Back);
        }
        while let Some(Reverse((at_us, _, event))) = self.queue.pop() {
            if at_us >= self.plan.seconds * 1_000_000 {
                return;
            }
            self.now_us = at_us;
            match event {
                Event::Arrival => self.arrive(),
                Event::End { worker, at, began_us } => self.end(worker, at, began_us),
                Event::Tick { worker } => self.tick(worker),
                Event::Out => drop(self.health.eject_by_hand(&self.endpoints[0], at_us / 1_000)),
                Event::Back => drop(self.health.admit_by_hand(&self.endpoints[0], at_us / 1_000)),
            }
        }
    }

    fn mirrored(&self, worker: &FleetWorker) -> f64 {
        let mirrors = self.plan.folding == Folding::On && self.plan.balance != Balance::Hash;
        if mirrors { worker.mirror.multiple() } else { 0.0 }
    }

    fn arrive(&mut self) {
        let mean_us = 1_000_000 / self.plan.rate;
        let gap_us = self.random.u64(0..=2 * mean_us);
        self.schedule(gap_us, Event::Arrival);
        let percent = self.plan.first_worker_percent;
        let is_of_first = percent > 0 && self.random.u32(0..100) < percent;
        let worker = if is_of_first { 0 } else { self.random.usize(0..self.plan.workers) };
        self.workers[worker].requests += 1;
        let at = self.pick(worker);
        self.workers[worker].loads[at].begin();
        let second = usize::try_from(self.now_us / 1_000_000).expect("small");
        self.report.by_second[second][at] += 1;
        let length_us = match self.plan.kinds[at] {
            Kind::Answers { ms } => ms * self.random.u64(700..1_300),
            Kind::Limits { per_second, ms } if self.report.by_second[second][at] <= per_second => ms * 1_000,
            Kind::Refuses | Kind::Limits { .. } => 1_000,
        };
        self.schedule(length_us, Event::End { worker, at, began_us: self.now_us });
    }

    fn pick(&mut self, worker: usize) -> usize {
        let (number, now_ms) = (self.health.rotation(), self.now_us / 1_000);
        let state = &mut self.workers[worker];
        let is_old = state.rotation.ramps && self.now_us >= state.made_us + TICK_US;
        if state.rotation.number != number || is_old {
            let place = |one: &Arc<EndpointHealth>| RotationPlace {
                weight: 1,
                serves: one.is_in_rotation(),
                ramp: one.ramp(now_ms, self.plan.slow_start_ms),
            };
            state.rotation = Rotation::new(number, self.endpoints.iter().map(place));
            if self.plan.balance == Balance::RoundRobin {
                let random = &mut self.random;
                state.turns.borrow_mut().set_members(&state.rotation.members, &mut || random.u64(..));
            }
            state.made_us = self.now_us;
        }
        let state = &self.workers[worker];
        let chooser = Chooser {
            balance: self.plan.balance,
            fleet: FleetView { worker: state, others: self.mirrored(state), endpoints: &self.endpoints },
            ring: Some(&self.ring),
            turns: Some(&state.turns),
            now_ms,
        };
        let key = self.random.u64(..);
        let random = &mut self.random;
        chooser.choose(&state.rotation.members, |_| true, &mut || random.u64(..), || key).expect("one serves")
    }

    fn end(&mut self, worker: usize, at: usize, began_us: u64) {
        let load = &self.workers[worker].loads[at];
        load.end();
        let (took_us, now_ms) = (self.now_us - began_us, self.now_us / 1_000);
        let refuses = match self.plan.kinds[at] {
            Kind::Answers { .. } => false,
            Kind::Refuses => true,
            Kind::Limits { .. } => took_us == 1_000,
        };
        if refuses {
            if self.plan.penalty == Penalty::On {
                load.keep_place(0, now_ms);
                // What the route allows a request.
                load.latency.observe(60_000.0, now_ms);
            } else {
                load.latency.observe(took_us as f64 / 1_000.0, now_ms);
            }
            return;
        }
        load.latency.observe(took_us as f64 / 1_000.0, now_ms);
        self.report.took_us.push(took_us);
    }

    fn tick(&mut self, worker: usize) {
        self.schedule(TICK_US, Event::Tick { worker });
        let totals: Vec<u32> = (0..self.endpoints.len())
            .map(|at| self.workers.iter().map(|worker| worker.loads[at].in_flight()).sum())
            .collect();
        let own: u32 = self.workers[worker].loads.iter().map(EndpointLoad::in_flight).sum();
        let all: u32 = totals.iter().sum();
        let requests: u64 = self.workers.iter().map(|worker| worker.requests).sum();
        let state = &mut self.workers[worker];
        if self.plan.folding == Folding::On && self.plan.workers > 1 {
            state.others = all - own;
            state.mirror.tick(WorkerTraffic { own: state.requests, others: requests - state.requests });
            for (load, endpoint) in state.loads.iter().zip(&self.endpoints) {
                endpoint.report_load(load.take_report());
            }
        }
        for load in &state.loads {
            load.end_places(self.now_us / 1_000);
        }
        let mean = f64::from(all) / totals.len() as f64;
        self.report.squares += totals.iter().map(|total| (f64::from(*total) - mean).powi(2)).sum::<f64>();
        self.report.looks += totals.len() as u64;
        if mean >= 10.0 {
            let most = totals.iter().max().copied().unwrap_or(0);
            self.report.most_of_mean = self.report.most_of_mean.max(f64::from(most) / mean);
        }
    }
}
