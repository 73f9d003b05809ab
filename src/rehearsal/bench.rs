//! The guards of a rollout in virtual time: drawn requests, and the real evidence about them.

use std::time::Duration;

use super::answers::StableHistory;
use super::callers::Callers;
use super::crowd::Crowd;
use super::draws::{DrawBasis, RouteDraws, quantile};
use super::fault::ReleaseFault;
use super::random::Random;
use super::scene::Scene;
use super::traffic::RouteTraffic;
use crate::release::{
    JudgedGroup, JudgedRoute, Opening, PromotionPlan, RolloutTrip, RouteEvidence, StableQuantile, StageEvidence,
    TickFacts,
};
use crate::route::{Require, Signal, SlowThreshold};

/// The longest time that is taken for a request without a time limit, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// The guards of a rollout, and the requests that they see.
#[derive(Clone)]
pub(super) struct GuardBench<'a> {
    traffic: Vec<RouteTraffic>,
    pub crowd: Crowd,
    group: JudgedGroup,
    evidence: RouteEvidence,
    slow_after: Vec<Option<Duration>>,
    answers: StableHistory,
    fault: Option<&'a ReleaseFault>,
    share: f64,
}

impl<'a> GuardBench<'a> {
    /// Without evidence; all callers get stable.
    pub fn new(scene: &Scene<'_>, random: &mut Random) -> Self {
        let routes = scene.routes();
        let mut group = JudgedGroup::of_rollout(scene.rollout, scene.rules, routes.len());
        let route = |name: &&str| JudgedRoute { name: (*name).to_owned(), strata: 1, shares: vec![1.0, 0.0] };
        group.routes = routes.iter().map(route).collect();
        group.set_shares(&shares(routes.len(), 0.0));
        let traffic: Vec<RouteTraffic> = routes.iter().map(|route| scene.traffic_of(route)).collect();
        let mut evidence = RouteEvidence::of_group(group.clone(), 0);
        let ratios = scene.rollout.plan.stages.iter().filter_map(|stage| stage.require.non_inferior).collect();
        evidence.set_promotion(&PromotionPlan { ratios, settles_after_ms: longest_wait_ms(scene) });
        let rates = traffic.iter().map(|one| one.rate).collect();
        let callers = Callers::new(scene.callers(), group.guards.signals.len(), random);
        let crowd = Crowd::new(group.shape(), rates, callers, evidence.opening());
        let slow_after = vec![None; routes.len() * group.guards.signals.len()];
        let mut bench = Self {
            traffic,
            crowd,
            group,
            evidence,
            slow_after,
            answers: StableHistory::default(),
            fault: None,
            share: 0.0,
        };
        bench.draw();
        bench
    }

    /// The fault begins.
    pub fn begin_fault(&mut self, fault: &'a ReleaseFault) {
        self.fault = Some(fault);
        self.draw();
    }

    /// Sets how often requests have which events.
    fn draw(&mut self) {
        let signals = &self.group.guards.signals;
        for (route, traffic) in self.traffic.iter().enumerate() {
            let first = route * signals.len();
            let slow_after = self.slow_after.get(first..first + signals.len()).unwrap_or_default();
            self.crowd.draws[route] = RouteDraws::new(&DrawBasis { signals, traffic, slow_after, fault: self.fault });
        }
    }

    /// The canary gets this share from now on.
    pub fn set_share(&mut self, share: f64, now_ms: u64) {
        if (share - self.share).abs() > 1e-12 {
            debug_assert!((0.0..=1.0).contains(&share), "a part of all callers");
            self.share = share;
            let opening = self.evidence.set_shares(&shares(self.traffic.len(), share), now_ms);
            self.open(opening);
        }
    }

    pub fn enter_stage(&mut self, now_ms: u64) {
        let opening = self.evidence.enter_stage(now_ms);
        self.open(opening);
    }

    pub fn begin_anew(&mut self, now_ms: u64) {
        let opening = self.evidence.resume(usize::from(JudgedGroup::MOVED.0), now_ms);
        self.open(opening);
    }

    fn open(&mut self, opening: Opening) {
        self.crowd.open(opening, self.share);
    }

    /// Time passes until `now_ms`: requests come, and the guards look at them.
    pub fn pass(&mut self, elapsed_ms: u64, now_ms: u64, random: &mut Random) -> Vec<RolloutTrip> {
        self.crowd.pass(elapsed_ms, random);
        let answers = (0..self.traffic.len()).map(|route| self.crowd.answers(route));
        let over_ms = self.group.guards.signals.iter().filter_map(threshold_ms).max().unwrap_or(0);
        self.answers.keep(now_ms, over_ms, answers);
        let facts = TickFacts {
            now_ms,
            stable: self.crowd.stable(),
            runs: self.crowd.runs(),
            stable_quantiles: self.quantiles(now_ms),
            ..TickFacts::default()
        };
        let events = std::mem::take(&mut self.crowd.events);
        let crowd = &self.crowd;
        let outcome = self.evidence.tick(&facts, &mut |slot| crowd.exposures(slot), &events);
        if !outcome.slow_after.is_empty() {
            self.slow_after = outcome.slow_after;
            self.draw();
        }
        if let Some(opening) = outcome.opening {
            self.open(opening);
        }
        let moved = usize::from(JudgedGroup::MOVED.0);
        let trips = outcome.trips.into_iter().filter(|trip| trip.arm == moved);
        trips.map(|trip| self.group.rollout_trip(trip)).collect()
    }

    /// By route, then by signal.
    fn quantiles(&self, now_ms: u64) -> Vec<Option<StableQuantile>> {
        let mut found = Vec::new();
        for (route, traffic) in self.traffic.iter().enumerate() {
            let seen = self.crowd.answers(route);
            found.extend(self.group.guards.signals.iter().map(|signal| {
                let value = quantile(traffic, signal)?;
                let from_ms = now_ms.saturating_sub(threshold_ms(signal)?);
                Some(StableQuantile { value, answers: self.answers.since(from_ms, route, seen) })
            }));
        }
        found
    }

    /// What was judged about the stage, of errors.
    pub fn judged(&mut self, require: &Require) -> StageEvidence {
        self.evidence.promotion(usize::from(JudgedGroup::MOVED.0), require)
    }
}

/// The time whose answers give a threshold, in milliseconds; `None`: stable gives none.
fn threshold_ms(signal: &Signal) -> Option<u64> {
    match signal {
        Signal::SlowerThan(SlowThreshold::OfStable { over, .. }) => {
            Some(u64::try_from(over.as_millis()).unwrap_or(u64::MAX))
        }
        Signal::SlowerThan(SlowThreshold::Fixed(_))
        | Signal::Error
        | Signal::Status(_)
        | Signal::Grpc(_)
        | Signal::Event(_)
        | Signal::Lost => None,
    }
}

/// By route: the shares of stable and of the canary.
fn shares(routes: usize, share: f64) -> Vec<f64> {
    (0..routes).flat_map(|_| [1.0 - share, share]).collect()
}

/// After this time each request has ended, in milliseconds.
fn longest_wait_ms(scene: &Scene<'_>) -> u64 {
    let routes = scene.rollout.members.iter().filter_map(|member| scene.rules.routes.get(member.route.0 as usize));
    let each = routes.map(|route| {
        let timeouts = &route.timeouts;
        let longest = timeouts.request.max(timeouts.per_try).filter(|_| timeouts.request.is_some());
        longest.map_or(WAIT_MS_MAX, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(WAIT_MS_MAX))
    });
    each.max().unwrap_or(0)
}
