//! The requests of a time, drawn at once: what the guards would have counted of them.
//!
//! With few requests in a slot each is drawn on its own. With many, their number is drawn, and from it the distinct callers;
//! each event has a caller of its own in both ways.

use std::collections::VecDeque;

use super::callers::Callers;
use super::draws::{Draw, RouteDraws};
use super::expected::distinct;
use super::failing_run::FailingRun;
use super::random::Random;
use crate::release::{Opening, RunFacts};
use crate::stats::{ArmPlace, Failures, JudgedEvent, JudgedKind, MARK_AGES, SlotExposures, SlotNumber, WindowShape};

/// So many slots are kept, as by a watch.
const SLOTS_KEPT: usize = 16;
/// With more requests in a slot, they are drawn together.
const SINGLE_MAX: f64 = 48.0;
/// A slot lasts a second, if requests are not looked at more rarely.
const SLOT_MS: u64 = 1_000;
/// From this part of failing requests on, the order of failures is drawn too.
const RUNS_FROM: f64 = 0.3;

/// The callers of all routes, and what was counted of their requests.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    shape: WindowShape,
    /// By route: requests a second.
    rates: Vec<f64>,
    /// By route.
    pub draws: Vec<RouteDraws>,
    callers: Callers,
    share: f64,
    opening: Opening,
    /// A caller counts once in it: a second, or a slot that ends before.
    second: u32,
    slots: VecDeque<SlotCount>,
    pub events: Vec<JudgedEvent>,
    stable: Vec<Failures>,
    runs: Vec<FailingRun>,
    /// Requests to the canary.
    pub answered: u64,
    /// Requests that the fault hurt.
    pub hurt: u64,
}

#[derive(Clone, Debug)]
struct SlotCount {
    number: SlotNumber,
    counts: Vec<u32>,
    /// By arm: requests that were drawn together, and the distinct callers among them.
    drawn: [[u64; 2]; 2],
}

/// Requests that were drawn together, in so many seconds.
#[derive(Clone, Debug)]
struct DrawnRequests {
    by_route: Vec<u64>,
    seconds: f64,
}

/// Where requests go.
#[derive(Clone, Copy, Debug)]
struct Way {
    route: usize,
    arm: usize,
}

impl Crowd {
    /// So many callers, of routes with these rates.
    pub fn new(shape: WindowShape, rates: Vec<f64>, callers: Callers, opening: Opening) -> Self {
        let routes = rates.len();
        let mut crowd = Self {
            shape,
            draws: vec![RouteDraws::default(); routes],
            callers,
            share: 0.0,
            opening,
            second: 0,
            slots: VecDeque::new(),
            events: Vec::new(),
            stable: vec![Failures::default(); routes],
            runs: vec![FailingRun::default(); routes],
            rates,
            answered: 0,
            hurt: 0,
        };
        crowd.open_slot();
        crowd
    }

    /// Callers that were hurt.
    pub const fn hurt_callers(&self) -> u64 {
        self.callers.hurt_count()
    }

    /// Callers of the canary.
    pub const fn canary_callers(&self) -> usize {
        self.callers.of_arm(1)
    }

    /// A slot opens, with this share from now on.
    pub fn open(&mut self, opening: Opening, share: f64) {
        (self.opening.window.0..opening.window.0).for_each(|_| self.callers.begin_window());
        let is_new = opening.slot != self.opening.slot;
        self.opening = opening;
        self.callers.set_share(share, opening.window);
        self.share = share;
        if is_new {
            self.open_slot();
        }
    }

    fn open_slot(&mut self) {
        self.second = self.second.saturating_add(1);
        let counts = vec![0; self.shape.len()];
        self.slots.push_back(SlotCount { number: self.opening.slot, counts, drawn: [[0; 2]; 2] });
        if self.slots.len() > SLOTS_KEPT {
            self.slots.pop_front();
        }
    }

    /// What was counted of a slot.
    pub fn exposures(&self, number: SlotNumber) -> SlotExposures {
        let mut exposures = SlotExposures::new(self.shape);
        if let Some(slot) = self.slots.iter().rev().find(|slot| slot.number == number) {
            exposures.add(slot.counts.iter().copied());
        }
        exposures
    }

    /// By route: stable's answers.
    pub fn stable(&self) -> Vec<Failures> {
        self.stable.clone()
    }

    /// By route, then by arm: the runs of failures.
    pub fn runs(&self) -> Vec<RunFacts> {
        self.runs.iter().flat_map(|run| [RunFacts::default(), run.facts()]).collect()
    }

    /// Stable's answers on a route.
    pub fn answers(&self, route: usize) -> u64 {
        self.stable[route].requests
    }

    /// The requests of so much time.
    pub fn pass(&mut self, ms: u64, random: &mut Random) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a step")]
        let (seconds, of_slot) = (ms as f64 / 1_000.0, ms.max(SLOT_MS) as f64 / 1_000.0);
        let rate: f64 = self.rates.iter().sum();
        let parts = [0, 1].map(|arm| self.part(arm));
        let is_single = parts.map(|part| rate * part * of_slot <= SINGLE_MAX);
        let mut all = 0;
        for arm in (0..2).filter(|arm| parts[*arm] > 0.0 && !is_single[*arm]) {
            let mut drawn = Vec::new();
            for route in 0..self.rates.len() {
                let requests = random.poisson(self.rates[route] * parts[arm] * seconds);
                self.draw(Way { route, arm }, requests, random);
                drawn.push(requests);
            }
            all += self.count_answered(arm, drawn.iter().sum());
            self.expose(arm, &DrawnRequests { by_route: drawn, seconds }, random);
        }
        // In a longer slot a caller counts once a second, as in the slots of a proxy.
        let pieces = ms.div_ceil(SLOT_MS).max(1);
        for piece in 0..pieces {
            self.second = self.second.saturating_add(u32::from(piece > 0));
            for arm in (0..2).filter(|arm| parts[*arm] > 0.0 && is_single[*arm]) {
                for route in 0..self.rates.len() {
                    #[expect(clippy::cast_precision_loss, reason = "seconds of a step")]
                    let requests = random.poisson(self.rates[route] * parts[arm] * seconds / pieces as f64);
                    (0..requests).for_each(|_| self.send(Way { route, arm }, random));
                    all += self.count_answered(arm, requests);
                }
            }
        }
        self.deal(all, random);
    }

    /// The part of all callers that an arm has.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    fn part(&self, arm: usize) -> f64 {
        self.callers.of_arm(arm) as f64 / (self.callers.of_arm(0) + self.callers.of_arm(1)) as f64
    }

    const fn count_answered(&mut self, arm: usize, requests: u64) -> u64 {
        if arm == 1 {
            self.answered += requests;
        }
        requests
    }

    /// One request.
    fn send(&mut self, way: Way, random: &mut Random) {
        let caller = self.callers.any(way.arm, random);
        let Opening { window, .. } = self.opening;
        if self.callers.see(caller, self.second) {
            let place = place(way);
            let (shape, callers) = (self.shape, &self.callers);
            let ages = (0..shape.signals).map(|signal| (signal, callers.age(caller, signal, window)));
            let at = ages.filter_map(|(signal, age)| Some(shape.marked_index(place, signal, age?)));
            let at: Vec<usize> = at.chain([shape.index(place)]).collect();
            if let Some(slot) = self.slots.back_mut() {
                for at in at {
                    slot.counts[at] += 1;
                }
            }
        }
        let draws = std::mem::take(&mut self.draws[way.route]);
        let is_hit = way.arm == 1 && Callers::trait_of(caller) < draws.hit;
        let (mut failed, mut is_hurt) = (false, false);
        for draw in draws.usual.iter().chain(draws.fault.iter().filter(|_| is_hit)) {
            if random.happens(draw.probability) {
                failed |= draw.fails;
                is_hurt |= draw.hurts;
                self.happen(way, caller, draw);
            }
        }
        self.draws[way.route] = draws;
        if is_hurt {
            self.hurt(caller);
        }
        if way.arm == 0 {
            self.answer_stable(way.route, 1, u64::from(failed));
        } else if failed {
            self.runs[way.route].fail(Callers::key(caller));
        } else {
            self.runs[way.route].succeed();
        }
    }

    /// Many requests.
    fn draw(&mut self, way: Way, requests: u64, random: &mut Random) {
        let draws = std::mem::take(&mut self.draws[way.route]);
        let mut failed = 0;
        for draw in &draws.usual {
            let found = random.binomial(requests, draw.probability);
            failed += if draw.fails { found } else { 0 };
            for _ in 0..found {
                let caller = self.callers.any(way.arm, random);
                self.happen(way, caller, draw);
            }
        }
        if way.arm == 0 {
            self.answer_stable(way.route, requests, failed.min(requests));
        } else {
            // A request that two effects hurt counts once.
            let mut is_first = 1.0;
            for draw in &draws.fault {
                let found = random.binomial(requests, draw.probability * draws.hit);
                for _ in 0..found {
                    let caller = self.hit_caller(draws.hit, random);
                    self.happen(way, caller, draw);
                    if draw.hurts && random.happens(is_first) {
                        self.hurt(caller);
                    }
                }
                is_first *= if draw.hurts { 1.0 - draw.probability } else { 1.0 };
            }
            self.run(way, requests, &draws, random);
        }
        self.draws[way.route] = draws;
    }

    /// The run of failures, where so many fail that there may be one.
    fn run(&mut self, way: Way, requests: u64, draws: &RouteDraws, random: &mut Random) {
        let failing = draws.failing();
        if failing < RUNS_FROM {
            self.runs[way.route].succeed();
            return;
        }
        for _ in 0..requests {
            if random.happens(failing) {
                let caller = self.callers.any(1, random);
                self.runs[way.route].fail(Callers::key(caller));
            } else {
                self.runs[way.route].succeed();
            }
        }
    }

    /// A caller of the canary that the fault hits.
    fn hit_caller(&self, hit: f64, random: &mut Random) -> usize {
        // Of few callers none may be hit: then the last one drawn is.
        let mut caller = self.callers.any(1, random);
        for _ in 0..10_000 {
            if Callers::trait_of(caller) < hit {
                break;
            }
            caller = self.callers.any(1, random);
        }
        caller
    }

    fn answer_stable(&mut self, route: usize, requests: u64, failed: u64) {
        self.stable[route].requests += requests;
        self.stable[route].failed += failed;
    }

    fn hurt(&mut self, caller: usize) {
        self.hurt += 1;
        self.callers.hurt(caller);
    }

    /// An event of a request.
    fn happen(&mut self, way: Way, caller: usize, draw: &Draw) {
        let Opening { window, slot } = self.opening;
        for signal in &draw.signals {
            if let Some(kind) = self.callers.mark(caller, *signal, window) {
                self.events.push(JudgedEvent { slot, window, place: place(way), kind });
            }
        }
    }

    /// The distinct callers of requests that were drawn together, by route: those of the slot so far, or of each second of a
    /// longer time.
    fn expose(&mut self, arm: usize, drawn: &DrawnRequests, random: &mut Random) {
        let requests: u64 = drawn.by_route.iter().sum();
        let Some(slot) = self.slots.back_mut() else { return };
        let [before, counted] = slot.drawn[arm];
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let (callers, all) = (self.callers.of_arm(arm) as f64, (before + requests) as f64);
        let new = if drawn.seconds > 1.0 {
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            let of_second = distinct(callers, requests as f64 / drawn.seconds);
            random.round(drawn.seconds * of_second)
        } else {
            random.round(distinct(callers, all)).max(counted) - counted
        };
        slot.drawn[arm] = [before + requests, counted + new];
        debug_assert!(counted + new <= before + requests + 1, "each distinct caller has a request");
        for (route, requests_here) in drawn.by_route.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            let part = *requests_here as f64 / requests.max(1) as f64;
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            let keys = new as f64 * part;
            let place = place(Way { route, arm });
            add(&mut slot.counts, self.shape.index(place), random.round(keys));
            for signal in 0..self.shape.signals {
                for age in 0..MARK_AGES {
                    let marked = keys * self.callers.part_marked(arm, signal, age);
                    add(&mut slot.counts, self.shape.marked_index(place, signal, age), random.round(marked));
                }
            }
        }
    }

    /// Callers that are seen for the first time.
    fn deal(&mut self, requests: u64, random: &mut Random) {
        let new = self.callers.first_seen(requests, random);
        let Opening { window, slot } = self.opening;
        let of_canary = random.binomial(new, self.share);
        for at in 0..new {
            let place = place(Way { route: 0, arm: usize::from(at < of_canary) });
            self.events.push(JudgedEvent { slot, window, place, kind: JudgedKind::FirstKey });
        }
    }
}

fn add(counts: &mut [u32], at: usize, more: u64) {
    if let Some(count) = counts.get_mut(at) {
        *count = count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    }
}

fn place(way: Way) -> ArmPlace {
    let number = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    ArmPlace { stratum: number(way.route), arm: number(way.arm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distinct callers by arm that are counted in 20 s, in steps of so many milliseconds.
    fn counted(rate: f64, step_ms: u64) -> [f64; 2] {
        let mut random = Random::new(5, 0);
        let shape = WindowShape { strata: 1, arms: 2, signals: 0 };
        let mut opening = Opening { slot: SlotNumber(1), window: crate::stats::WindowNumber(1) };
        let callers = Callers::new(300, 0, &mut random);
        let mut crowd = Crowd::new(shape, vec![rate], callers, opening);
        crowd.open(opening, 0.5);
        let (mut sums, mut of_slot_ms) = ([0.0; 2], 0);
        for _ in 0..20_000 / step_ms {
            crowd.pass(step_ms, &mut random);
            of_slot_ms += step_ms;
            if of_slot_ms >= SLOT_MS {
                let counts = &crowd.slots.back().expect("a slot").counts;
                let at = |arm| shape.index(place(Way { route: 0, arm }));
                sums = [sums[0] + f64::from(counts[at(0)]), sums[1] + f64::from(counts[at(1)])];
                opening.slot = SlotNumber(opening.slot.0 + 1);
                crowd.open(opening, 0.5);
                of_slot_ms = 0;
            }
        }
        sums
    }

    #[test]
    fn a_caller_counts_once_a_second_in_steps_of_any_length() {
        // Drawn together, and one by one: in both arms 150 callers.
        for (rate, callers) in [(200.0, 150.0), (16.0, 150.0)] {
            let each = rate / 2.0;
            let expected = 20.0 * distinct(callers, each);
            for step_ms in [100, 1_000, 5_000] {
                for sum in counted(rate, step_ms) {
                    let off = (sum - expected).abs() / expected.sqrt();
                    assert!(off < 4.0, "{rate} {step_ms}: {sum} {expected}");
                }
            }
        }
    }
}
