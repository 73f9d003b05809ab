//! How soon a bad release is found: at 200 requests a second and 5 %, each request from another caller.

use std::sync::Arc;

use pointsman::telemetry::MeterRegistry;

use super::route::{Promise, SimulatedRoute, TICK_MS, WORKERS, guards};

const RATE: f64 = 200.0;
const SHARE: f64 = 0.05;
/// A release that is not found by then.
const SECONDS_MAX: u64 = 600;

/// A cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    /// How often a request fails, on stable.
    pub stable: f64,
    /// And on the bad canary.
    pub bad: f64,
    /// How long the canary is as good as stable before.
    pub healthy_s: u64,
    /// The stated delays in seconds: median, of nine in ten, of ninety-nine in a hundred.
    pub stated: [f64; 3],
}

/// From the first failing answer of the canary to the trip, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub median: f64,
    pub p90: f64,
    pub p99: f64,
    pub worst: f64,
    /// The failing answers of the canary until then, in nine of ten.
    pub bad_p90: u64,
}

const fn fresh(stable: f64, bad: f64, stated: [f64; 3]) -> Detection {
    Detection { stable, bad, healthy_s: 0, stated }
}

const fn late(bad: f64, stated: [f64; 3]) -> Detection {
    Detection { stable: 0.001, bad, healthy_s: 1_800, stated }
}

/// The cells of the table.
pub const DETECTION: [Detection; 12] = [
    fresh(0.0, 1.0, [0.29, 0.51, 0.82]),
    fresh(0.0, 0.5, [0.52, 1.04, 1.65]),
    fresh(0.0, 0.2, [1.3, 2.7, 4.1]),
    fresh(0.001, 1.0, [0.30, 0.52, 0.78]),
    fresh(0.001, 0.5, [0.54, 1.09, 1.67]),
    fresh(0.001, 0.2, [1.3, 2.6, 4.2]),
    fresh(0.01, 1.0, [0.32, 0.56, 0.84]),
    fresh(0.01, 0.5, [0.62, 1.25, 2.0]),
    fresh(0.01, 0.2, [1.8, 3.8, 6.3]),
    late(1.0, [0.57, 0.95, 1.25]),
    late(0.5, [1.1, 1.8, 2.3]),
    late(0.2, [2.8, 4.8, 7.0]),
];

/// A run.
struct Found {
    delay: f64,
    bad_answers: u64,
}

impl Detection {
    /// Plays releases.
    pub fn run(&self, runs: u64, seed: u64) -> Delays {
        let registry = Arc::new(MeterRegistry::new(WORKERS));
        let mut found: Vec<Found> = (0..runs).filter_map(|run| self.play(&registry, seed << 32 | run)).collect();
        found.sort_by(|one, other| one.delay.total_cmp(&other.delay));
        let at = |part: usize| (found.len() * part).div_ceil(100).max(1) - 1;
        let mut bad: Vec<u64> = found.iter().map(|one| one.bad_answers).collect();
        bad.sort_unstable();
        Delays {
            median: found[at(50)].delay,
            p90: found[at(90)].delay,
            p99: found[at(99)].delay,
            worst: found[found.len() - 1].delay,
            bad_p90: bad[at(90)],
        }
    }

    /// `None` if a healthy canary was stopped.
    fn play(&self, registry: &Arc<MeterRegistry>, seed: u64) -> Option<Found> {
        let promise = Promise { ratio: 1.1, alpha: 0.005, slow: false };
        let mut route = SimulatedRoute::new(registry, &guards(promise), SHARE, seed);
        let (mut first, mut bad_answers) = (None, 0);
        for tick in 0..(self.healthy_s + SECONDS_MAX) * 10 {
            let is_bad = tick >= self.healthy_s * 10;
            let arrivals = route.arrivals(RATE);
            for at in 0..arrivals {
                let hash = route.random.u64(..);
                let sent = route.send(hash);
                let rate = if sent.is_canary && is_bad { self.bad } else { self.stable };
                let is_event = route.random.f64() < rate;
                route.end(&sent, is_event);
                if is_event && sent.is_canary && is_bad {
                    bad_answers += 1;
                    let part = f64::from(at) / f64::from(arrivals) * TICK_MS as f64;
                    first.get_or_insert((route.now_ms as f64 + part) / 1_000.0);
                }
            }
            route.tick();
            if route.is_rolled_back() {
                return first.map(|first| Found { delay: route.now_ms as f64 / 1_000.0 - first, bad_answers });
            }
        }
        Some(Found { delay: f64::INFINITY, bad_answers })
    }
}
