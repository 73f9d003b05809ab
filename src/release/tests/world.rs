//! Callers and the watch of a route in virtual time, without a proxy: what the rules need and no more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::release::{ArmFacts, GuardTrip, JudgedGroup, Opening, RouteEvidence, RunFacts, StableQuantile, TickFacts};
use crate::route::{Guard, GuardAct, GuardTest, Guards, Signal, SlowThreshold};
use crate::stats::{
    ArmPlace, Failures, JudgedEvent, JudgedKind, SlotExposures, SlotNumber, WindowNumber, WindowShape, mark_age,
};

/// The signal of errors, and that of slow responses.
pub const ERRORS: usize = 0;
pub const SLOW: usize = 1;

/// A request that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    opening: Opening,
    place: ArmPlace,
    key: u64,
}

/// A route with its callers.
pub struct World {
    pub evidence: RouteEvidence,
    pub now_ms: u64,
    pub facts: TickFacts,
    pub events: Vec<JudgedEvent>,
    pub trips: Vec<GuardTrip>,
    /// How often the exposures of a slot were read.
    pub reads: usize,
    pub slow_after: Vec<Option<Duration>>,
    shape: WindowShape,
    opening: Opening,
    seen: HashMap<u64, SlotNumber>,
    first: HashSet<u64>,
    marks: Vec<HashMap<u64, WindowNumber>>,
    slots: HashMap<SlotNumber, Vec<u32>>,
}

/// Whether a caller is one of so many, drawn by its key.
pub fn is_one_in(rate: u64, key: u64) -> bool {
    ((key / 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20).is_multiple_of(rate)
}

pub fn guard(name: &str, signal: Option<usize>, test: GuardTest, alpha: f64) -> Guard {
    let near_full = test == GuardTest::Above(None);
    Guard { name: name.to_owned(), variant: None, signal, test, alpha, act: GuardAct::Rollback, near_full }
}

/// The guards that a route has by default, as they roll back.
pub fn defaults() -> Guards {
    let slow = SlowThreshold::OfStable { quantile: 0.99, over: Duration::from_mins(10) };
    Guards {
        signals: vec![Signal::Error, Signal::SlowerThan(slow)],
        all: vec![
            guard("errors", Some(ERRORS), GuardTest::WorseThanStable(1.1), 0.003),
            guard("latency", Some(SLOW), GuardTest::WorseThanStable(1.5), 0.002),
            Guard { act: GuardAct::Hold, ..guard("sample-ratio", None, GuardTest::SampleRatio, 0.001) },
            guard("near-full", Some(ERRORS), GuardTest::Above(None), 0.001),
        ],
        by_default: true,
    }
}

pub fn arms(shares: &[f64]) -> Vec<ArmFacts> {
    let arm = |(at, share): (usize, &f64)| ArmFacts {
        name: ["stable", "canary", "other"][at].to_owned(),
        revision: format!("v{at}=1"),
        share: *share,
        by_rollout: false,
    };
    shares.iter().enumerate().map(arm).collect()
}

impl World {
    pub fn new(guards: &Guards, shares: &[f64]) -> Self {
        Self::of_group(JudgedGroup::of_route(guards, arms(shares), 1))
    }

    /// Routes that are judged together.
    pub fn of_group(group: JudgedGroup) -> Self {
        let (shape, routes, guards) = (group.shape(), group.routes.len(), group.guards.clone());
        let evidence = RouteEvidence::of_group(group, 0);
        let opening = evidence.opening();
        let quantile = StableQuantile { value: Duration::from_millis(80), answers: 5_000 };
        let facts = TickFacts {
            stable: vec![Failures::default(); routes],
            runs: vec![RunFacts::default(); routes * shape.arms],
            stable_quantiles: vec![Some(quantile); routes * shape.signals],
            ..TickFacts::default()
        };
        Self {
            evidence,
            now_ms: 0,
            facts,
            events: Vec::new(),
            trips: Vec::new(),
            reads: 0,
            slow_after: Vec::new(),
            shape,
            opening,
            seen: HashMap::new(),
            first: HashSet::new(),
            marks: vec![HashMap::new(); guards.signals.len()],
            slots: HashMap::new(),
        }
    }

    /// A watch without marks: nothing of the one before is kept.
    pub fn forget(&mut self) {
        self.events.clear();
        self.seen.clear();
        self.first.clear();
        self.slots.clear();
        self.marks.iter_mut().for_each(HashMap::clear);
    }

    /// Other counts: those of the slots before are not read any more.
    pub fn reshape(&mut self, shape: WindowShape) {
        self.shape = shape;
        let signals = self.facts.stable_quantiles.first().copied().flatten();
        let routes = shape.strata.min(2);
        self.facts.stable = vec![Failures::default(); routes];
        self.facts.runs = vec![RunFacts::default(); routes * shape.arms];
        self.facts.stable_quantiles = vec![signals; routes * shape.signals];
        self.slots.clear();
    }

    pub fn open(&mut self, opening: Opening) {
        self.opening = opening;
    }

    /// A request of a caller is sent to a variant.
    pub fn send(&mut self, arm: u16, key: u64) -> Sent {
        self.send_by(0, arm, key)
    }

    /// A request that a rule deals.
    pub fn send_by(&mut self, stratum: u16, arm: u16, key: u64) -> Sent {
        let (place, opening) = (ArmPlace { stratum, arm }, self.opening);
        let sent = Sent { opening, place, key };
        if self.seen.insert(key, opening.slot) != Some(opening.slot) {
            let counts = self.slots.entry(opening.slot).or_insert_with(|| vec![0; self.shape.len()]);
            counts[self.shape.index(place)] += 1;
            for (signal, marks) in self.marks.iter().enumerate() {
                if let Some(mark) = marks.get(&key) {
                    counts[self.shape.marked_index(place, signal, mark_age(*mark, opening.window))] += 1;
                }
            }
            if self.first.insert(key) {
                self.push(sent, JudgedKind::FirstKey);
            }
        }
        sent
    }

    /// The request has an event.
    pub fn record(&mut self, sent: Sent, signal: usize) {
        let window = sent.opening.window;
        let before = self.marks[signal].get(&sent.key).copied();
        if before.is_none_or(|before| before < window) {
            self.marks[signal].insert(sent.key, window);
            self.push(sent, JudgedKind::Signal { signal: u8::try_from(signal).unwrap(), mark: before });
        }
    }

    fn push(&mut self, sent: Sent, kind: JudgedKind) {
        let Sent { opening, place, .. } = sent;
        self.events.push(JudgedEvent { slot: opening.slot, window: opening.window, place, kind });
    }

    /// 100 ms later.
    pub fn tick(&mut self) {
        self.now_ms += 100;
        self.tick_again();
    }

    /// At the same time.
    pub fn tick_again(&mut self) {
        self.facts.now_ms = self.now_ms;
        let (slots, shape, reads) = (&self.slots, self.shape, &mut self.reads);
        let mut exposures = |number: SlotNumber| {
            *reads += 1;
            let mut sum = SlotExposures::new(shape);
            if let Some(counts) = slots.get(&number) {
                sum.add(counts.iter().copied());
            }
            sum
        };
        let events = std::mem::take(&mut self.events);
        let outcome = self.evidence.tick(&self.facts, &mut exposures, &events);
        if let Some(opening) = outcome.opening {
            self.opening = opening;
        }
        if !outcome.slow_after.is_empty() {
            self.slow_after = outcome.slow_after;
        }
        self.trips.extend(outcome.trips);
    }

    /// Seconds in which each variant gets so many new callers each; the events that `is_bad` says.
    pub fn run(&mut self, seconds: u64, callers: &[u64], is_bad: impl Fn(u16, u64) -> Option<usize>) {
        for _ in 0..seconds * 10 {
            for (arm, count) in (0_u16..).zip(callers) {
                for one in 0..*count {
                    let key = (self.now_ms * 64 + one) * 4 + u64::from(arm);
                    let sent = self.send(arm, key);
                    if let Some(signal) = is_bad(arm, key) {
                        self.record(sent, signal);
                    }
                }
            }
            self.tick();
        }
    }

    /// The decimal logarithm of the evidence of a guard about the canary.
    pub fn log10(&self, guard: &str) -> f64 {
        self.standing(guard).evidence_log10
    }

    pub fn standing(&self, guard: &str) -> crate::release::GuardStanding {
        self.evidence.standings(1).into_iter().find(|one| one.name == guard).unwrap()
    }

    /// How often a guard has tripped.
    pub fn trips_of(&self, guard: &str) -> usize {
        self.trips.iter().filter(|trip| trip.guard == guard).count()
    }

    pub fn tripped(&self) -> Vec<(&str, GuardAct)> {
        self.trips.iter().map(|trip| (trip.guard.as_str(), trip.act)).collect()
    }
}
