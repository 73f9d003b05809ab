//! Whole healthy releases: four stages of half an hour at 1 %, 10 %, a ramp from 10 to 50 %, and 50 %.

use std::sync::Arc;

use pointsman::telemetry::MeterRegistry;

use super::route::{Plays, Promise, SimulatedRoute, Stopped, guards};

/// The share at the beginning and at the end of each stage.
const STAGES: [[f64; 2]; 4] = [[0.01, 0.01], [0.1, 0.1], [0.1, 0.5], [0.5, 0.5]];
/// Incidents that are common to both arms, in a second.
const INCIDENTS: f64 = 1.0 / 3_600.0;

/// A kind of release.
#[derive(Clone, Copy, Debug)]
pub struct HealthyRelease {
    pub name: &'static str,
    promise: Promise,
    rate: f64,
    callers: usize,
    /// How often a request has an event.
    event_rate: f64,
    /// The part of the callers for which it is `broken_rate`.
    broken: f64,
    broken_rate: f64,
    /// How often a caller repeats a request that has failed; half of those fail.
    retries: f64,
    /// The spread of the callers' own rates: standard deviation of the logarithm.
    spread: f64,
}

const ERRORS: Promise = Promise { ratio: 1.1, alpha: 0.005, slow: false };

const USUAL: HealthyRelease = HealthyRelease {
    name: "errors, 50 requests/s, 0.5 % of 5 000 callers always fail",
    promise: ERRORS,
    rate: 50.0,
    callers: 5_000,
    event_rate: 0.001,
    broken: 0.005,
    broken_rate: 0.9,
    retries: 0.5,
    spread: 0.0,
};

/// The rows of the table.
pub const HEALTHY: [HealthyRelease; 4] = [
    USUAL,
    HealthyRelease { name: "errors, no caller always fails", broken: 0.0, ..USUAL },
    HealthyRelease {
        name: "errors, 30 requests/s, 1 500 callers of unequal rates, 2 % of them always fail",
        rate: 30.0,
        callers: 1_500,
        broken: 0.02,
        spread: 1.0,
        ..USUAL
    },
    HealthyRelease {
        name: "slow responses, 30 requests/s, 1 % slow, 2 % of the callers slow at 30 %",
        promise: Promise { ratio: 1.5, alpha: 0.003, slow: true },
        rate: 30.0,
        event_rate: 0.01,
        broken: 0.02,
        broken_rate: 0.3,
        retries: 0.0,
        ..USUAL
    },
];

/// The callers of a release.
pub struct Callers {
    hashes: Vec<u64>,
    rates: Vec<f64>,
    /// The sums of their shares of the traffic; empty when all have the same.
    sums: Vec<f64>,
}

impl HealthyRelease {
    /// Plays releases; how many of them are stopped.
    pub fn run(&self, plays: &Plays) -> Stopped {
        plays.count(|registry, seed| self.play(registry, seed, plays.seconds))
    }

    fn play(&self, registry: &Arc<MeterRegistry>, seed: u64, seconds: u64) -> SimulatedRoute {
        let mut route = SimulatedRoute::new(registry, &guards(self.promise), STAGES[0][0], seed);
        let callers = self.callers(&mut route.random);
        let phase = route.random.f64() * std::f64::consts::TAU;
        let (mut incident_until, mut incident) = (0, 0.0);
        for second in 0..seconds {
            route.set_share(share_at(second, seconds));
            if second >= incident_until {
                incident = 0.0;
                if route.random.f64() < INCIDENTS {
                    let length = -60.0 * (1.0 - route.random.f64()).ln();
                    incident_until =
                        second + 1 + (0..=seconds).take_while(|at| *at as f64 + 1.0 < length).count() as u64;
                    incident = 0.05 + 0.75 * route.random.f64();
                }
            }
            let swing = 0.5 * (phase + std::f64::consts::TAU * second as f64 / seconds as f64).sin();
            for _ in 0..10 {
                for _ in 0..route.arrivals(self.rate * (1.0 + swing)) {
                    self.request(&mut route, &callers, incident);
                }
                route.tick();
            }
            if route.is_rolled_back() {
                break;
            }
        }
        route
    }

    /// A request and its repetitions.
    fn request(&self, route: &mut SimulatedRoute, callers: &Callers, incident: f64) {
        let caller = callers.pick(&mut route.random);
        let own = callers.rates[caller];
        let mut rate = own + (1.0 - own) * incident;
        loop {
            let sent = route.send(callers.hashes[caller]);
            let is_event = route.random.f64() < rate;
            route.end(&sent, is_event);
            if !(is_event && route.random.f64() < self.retries) {
                return;
            }
            rate = 0.5;
        }
    }

    fn callers(&self, random: &mut fastrand::Rng) -> Callers {
        let mut callers = Callers { hashes: Vec::new(), rates: Vec::new(), sums: Vec::new() };
        let mut sum = 0.0;
        for _ in 0..self.callers {
            callers.hashes.push(random.u64(..));
            callers.rates.push(if random.f64() < self.broken { self.broken_rate } else { self.event_rate });
            if self.spread > 0.0 {
                // A normal number: the sum of twelve uniform ones.
                let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                sum += (self.spread * normal).exp();
                callers.sums.push(sum);
            }
        }
        callers
    }
}

impl Callers {
    fn pick(&self, random: &mut fastrand::Rng) -> usize {
        match self.sums.last() {
            Some(all) => {
                let at = random.f64() * all;
                self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
            }
            None => random.usize(0..self.hashes.len()),
        }
    }
}

fn share_at(second: u64, seconds: u64) -> f64 {
    let stage = seconds / STAGES.len() as u64;
    let [from, to] = STAGES[usize::try_from(second / stage).unwrap_or(0)];
    from + (to - from) * (second % stage) as f64 / stage as f64
}
