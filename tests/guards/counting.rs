//! Callers who repeat themselves, in healthy releases of an hour: each naive way to count them finds a difference of the
//! arms in most.

use std::sync::Arc;

use pointsman::telemetry::MeterRegistry;

use super::route::{Plays, Promise, SimulatedRoute, Stopped, guards};

const RATE: f64 = 50.0;
const CALLERS: usize = 2_000;

/// A way in which callers repeat themselves.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    pub name: &'static str,
    event_rate: f64,
    /// The part of the callers that fail nine times in ten.
    broken: f64,
    /// The part of the traffic that comes from one caller, who hardly fails.
    heavy: f64,
    /// How often a caller repeats a request that has failed; nearly all of those fail.
    retries: f64,
    shares: &'static [f64],
}

const USUAL: Counting = Counting {
    name: "independent errors, 1 %",
    event_rate: 0.01,
    broken: 0.0,
    heavy: 0.0,
    retries: 0.0,
    shares: &[0.05],
};

/// The rows of the table.
pub const COUNTING: [Counting; 6] = [
    USUAL,
    Counting { name: "1 % of 2 000 callers always fail", event_rate: 0.001, broken: 0.01, ..USUAL },
    Counting {
        name: "5 % always fail, steps 1, 5, 25, 50 %",
        event_rate: 0.001,
        broken: 0.05,
        shares: &[0.01, 0.05, 0.25, 0.5],
        ..USUAL
    },
    Counting { name: "a caller without failures has 30 % of the traffic", heavy: 0.3, ..USUAL },
    Counting { name: "a caller without failures has 60 % of the traffic", heavy: 0.6, ..USUAL },
    Counting { name: "bursts of retries", event_rate: 0.001, retries: 0.9, ..USUAL },
];

impl Counting {
    /// Plays releases; how many of them are stopped.
    pub fn run(&self, plays: &Plays) -> Stopped {
        plays.count(|registry, seed| self.play(registry, seed, plays.seconds))
    }

    fn play(&self, registry: &Arc<MeterRegistry>, seed: u64, seconds: u64) -> SimulatedRoute {
        let promise = Promise { ratio: 1.1, alpha: 0.005, slow: false };
        let mut route = SimulatedRoute::new(registry, &guards(promise), self.shares[0], seed);
        let hashes: Vec<u64> = (0..CALLERS).map(|_| route.random.u64(..)).collect();
        let broken: Vec<bool> = (0..CALLERS).map(|_| route.random.f64() < self.broken).collect();
        for second in 0..seconds {
            let stage = second * self.shares.len() as u64 / seconds;
            route.set_share(self.shares[usize::try_from(stage).unwrap_or(0)]);
            for _ in 0..10 {
                for _ in 0..route.arrivals(RATE) {
                    let is_heavy = route.random.f64() < self.heavy;
                    let caller = if is_heavy { 0 } else { route.random.usize(0..CALLERS) };
                    let mut rate = match (is_heavy, broken[caller]) {
                        (true, _) => 0.0001,
                        (false, true) => 0.9,
                        (false, false) => self.event_rate,
                    };
                    loop {
                        let sent = route.send(hashes[caller]);
                        let is_event = route.random.f64() < rate;
                        route.end(&sent, is_event);
                        if !(is_event && route.random.f64() < self.retries) {
                            break;
                        }
                        rate = 0.95;
                    }
                }
                route.tick();
            }
            if route.is_rolled_back() {
                break;
            }
        }
        route
    }
}
