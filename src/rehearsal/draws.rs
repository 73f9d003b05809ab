//! How often a request has which events: of stable, and of a canary with a fault.
//!
//! The time to the head of a response is exponential: of stable, one response in a hundred exceeds the p99. A canary that takes
//! `k` times as long has `k` times the mean.

use std::time::Duration;

use super::fault::{FaultEffect, ReleaseFault};
use super::fault_words::{FaultAmount, Slowness};
use super::scene::Scene;
use super::traffic::RouteTraffic;
use crate::route::{Signal, SlowThreshold};

/// The p99 of a route about which nothing is known.
const P99: Duration = Duration::from_millis(100);
/// One in a hundred exceeds it.
const TAIL: f64 = 0.01;

/// A kind of event of requests, and how often they have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draw {
    pub probability: f64,
    /// The signals that count it.
    pub signals: Vec<usize>,
    /// A request that has it has failed.
    pub fails: bool,
    /// A request that has it is hurt by the fault.
    pub hurts: bool,
}

/// What happens to the requests of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RouteDraws {
    /// On both variants.
    pub usual: Vec<Draw>,
    /// On the canary, in addition, for the callers that the fault hits.
    pub fault: Vec<Draw>,
    /// The part of the callers that it hits.
    pub hit: f64,
}

/// What decides about the draws of a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawBasis<'a> {
    pub signals: &'a [Signal],
    pub traffic: &'a RouteTraffic,
    /// By signal: from when on a response is slow; `None` until there is a threshold.
    pub slow_after: &'a [Option<Duration>],
    /// The fault that is in effect.
    pub fault: Option<&'a ReleaseFault>,
}

impl RouteDraws {
    pub fn new(basis: &DrawBasis<'_>) -> Self {
        let DrawBasis { signals, traffic, .. } = *basis;
        let each = signals.iter().enumerate().filter(|(at, _)| basis.is_counted(*at));
        let usual = each.map(|(at, signal)| Draw {
            probability: usual(signal, traffic, basis.after(at)),
            signals: vec![at],
            fails: *signal == Signal::Error,
            hurts: false,
        });
        let usual = usual.filter(|draw| draw.probability > 0.0).collect();
        let here = basis.fault.filter(|fault| fault.route.as_ref().is_none_or(|route| *route == traffic.route));
        let fault =
            here.map_or_else(Vec::new, |fault| fault.effects.iter().flat_map(|one| basis.effect(one)).collect());
        Self { usual, fault, hit: here.map_or(0.0, |fault| fault.callers) }
    }

    /// The part of the canary's requests that fail.
    pub fn failing(&self) -> f64 {
        let of = |draws: &[Draw]| draws.iter().filter(|draw| draw.fails).map(|draw| draw.probability).sum::<f64>();
        (of(&self.usual) + self.hit * of(&self.fault)).min(1.0)
    }
}

impl DrawBasis<'_> {
    fn after(&self, signal: usize) -> Option<Duration> {
        self.slow_after.get(signal).copied().flatten()
    }

    /// A signal of time counts nothing before there is a threshold.
    fn is_counted(&self, signal: usize) -> bool {
        !self.signals[signal].is_timed() || self.after(signal).is_some()
    }

    fn effect(&self, effect: &FaultEffect) -> Vec<Draw> {
        let counted = (0..self.signals.len()).filter(|at| self.is_counted(*at));
        let signals: Vec<usize> = counted.filter(|at| effect.shows_in(&self.signals[*at])).collect();
        match effect {
            FaultEffect::Errors(amount) => vec![self.more(*amount, signals, Failing::Yes)],
            FaultEffect::Event(_, amount) => vec![self.more(*amount, signals, Failing::No)],
            FaultEffect::Status(code, amount) => {
                let failing = if *code >= 500 { Failing::Yes } else { Failing::No };
                vec![self.more(*amount, signals, failing)]
            }
            FaultEffect::Slow(slowness) => {
                let p99 = self.traffic.p99.unwrap_or(P99);
                let draw = |after: Option<Duration>, signals: Vec<usize>, hurts| Draw {
                    probability: slower(*slowness, p99, after.unwrap_or(p99)),
                    signals,
                    fails: false,
                    hurts,
                };
                if signals.is_empty() {
                    return vec![draw(None, Vec::new(), true)];
                }
                let each = signals.iter().enumerate();
                each.map(|(nth, at)| draw(self.after(*at), vec![*at], nth == 0)).collect()
            }
        }
    }

    fn more(&self, amount: FaultAmount, signals: Vec<usize>, failing: Failing) -> Draw {
        let base = self.traffic.errors;
        let probability = ((amount.of(base) - base) / (1.0 - base).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        Draw { probability, signals, fails: failing == Failing::Yes, hurts: true }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Yes,
    No,
}

/// How often a request of stable has an event. Nothing is measured of statuses and business events: they are as rare as errors.
fn usual(signal: &Signal, traffic: &RouteTraffic, after: Option<Duration>) -> f64 {
    match signal {
        Signal::Error | Signal::Status(_) | Signal::Grpc(_) | Signal::Event(_) => traffic.errors,
        Signal::SlowerThan(_) => after.map_or(0.0, |after| exceeds(after, traffic.p99.unwrap_or(P99))),
        Signal::Lost => 0.0,
    }
}

/// How often a time exceeds another one, when one in a hundred exceeds the p99.
fn exceeds(after: Duration, p99: Duration) -> f64 {
    TAIL.powf(after.as_secs_f64() / p99.as_secs_f64().max(f64::MIN_POSITIVE))
}

/// How many more responses are slow.
fn slower(slowness: Slowness, p99: Duration, after: Duration) -> f64 {
    let base = exceeds(after, p99);
    let slow = match slowness {
        Slowness::Times(times) => exceeds(after, p99.mul_f64(times)),
        Slowness::Share(share) => share,
    };
    ((slow - base) / (1.0 - base).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
}

/// The quantile of stable's times.
pub(super) fn quantile(traffic: &RouteTraffic, signal: &Signal) -> Option<Duration> {
    match signal {
        Signal::SlowerThan(SlowThreshold::OfStable { quantile, .. }) => {
            let p99 = traffic.p99.unwrap_or(P99);
            let part = (1.0 - quantile).max(1e-9).ln() / TAIL.ln();
            Some(p99.mul_f64(part.max(0.0)))
        }
        Signal::SlowerThan(SlowThreshold::Fixed(_))
        | Signal::Error
        | Signal::Status(_)
        | Signal::Grpc(_)
        | Signal::Event(_)
        | Signal::Lost => None,
    }
}

/// What was assumed about what guards count, in sentences.
#[must_use]
pub fn assumptions(scene: &Scene<'_>) -> Vec<String> {
    let signals = &scene.rollout.guards.signals;
    let mut found = Vec::new();
    if signals.iter().any(|signal| matches!(signal, Signal::SlowerThan(_))) {
        let known = scene.routes().iter().filter_map(|route| scene.traffic_of(route).p99).max();
        let p99 = known.map_or_else(|| format!("{P99:?}, since nothing is known"), |p99| format!("{p99:?}"));
        found.push(format!("response times are exponential; p99 of stable is {p99}"));
    }
    if signals.iter().any(|signal| matches!(signal, Signal::Status(_) | Signal::Grpc(_) | Signal::Event(_))) {
        found.push("statuses and events that guards count are as rare on stable as its errors".to_owned());
    }
    found
}
