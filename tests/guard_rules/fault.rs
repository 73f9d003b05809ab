//! A canary that fails, and how long it takes until that is found.

use fastrand::Rng;
use pointsman::stats::{Evidence, Kernel, reaches, restart_share};

use super::chance::{binomial, poisson, quantile, stratum};

const TICK_SECONDS: f64 = 0.1;
/// Ten seconds.
const TRAILING_TICKS: usize = 100;

/// A canary that fails.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Requests a second; each is another caller.
    pub rate: f64,
    /// The canary's share.
    pub weight: f64,
    /// The part of the canary's requests that fail.
    pub failing: f64,
    /// The part of stable's requests that fail.
    pub stable_failing: f64,
    pub workers: u32,
    /// Events are weighed with the last ten seconds of all workers; otherwise with the tick of their own worker.
    pub is_trailing: bool,
}

/// What takes events.
pub trait Detector {
    /// Adds a stratum, stable first; returns whether it trips.
    fn add(&mut self, exposures: [u64; 2], events: [u64; 2]) -> bool;
    /// A tick begins.
    fn tick(&mut self, number: u64);
}

impl Fault {
    /// Until the detector trips.
    fn until_trip(&self, random: &mut Rng, detector: &mut impl Detector) -> Delay {
        let mut bad = 0;
        let mut trailing = [[0; TRAILING_TICKS]; 2];
        let mut first = None;
        for tick in 0_u32..36_000 {
            detector.tick(u64::from(tick));
            let begin = f64::from(tick) * TICK_SECONDS;
            let mut trips = false;
            let (mut exposures, mut events) = ([0; 2], [0; 2]);
            for _ in 0..self.workers {
                let sent = poisson(random, self.rate * TICK_SECONDS / f64::from(self.workers));
                let tested = binomial(random, sent, self.weight);
                let own = [sent - tested, tested];
                let failed = [binomial(random, own[0], self.stable_failing), binomial(random, own[1], self.failing)];
                if !self.is_trailing && failed != [0, 0] {
                    trips |= detector.add(own, failed);
                }
                for arm in 0..2 {
                    exposures[arm] += own[arm];
                    events[arm] += failed[arm];
                }
            }
            bad += events[1];
            if events[1] > 0 && first.is_none() {
                first = Some(begin + random.f64() * TICK_SECONDS);
            }
            if self.is_trailing {
                let sums = [0, 1].map(|arm: usize| {
                    trailing[arm][tick as usize % TRAILING_TICKS] = exposures[arm];
                    trailing[arm].iter().sum()
                });
                if events != [0, 0] {
                    trips |= detector.add(sums, events);
                }
            }
            if trips && let Some(first) = first {
                return Delay { seconds: begin + TICK_SECONDS - first, bad };
            }
        }
        Delay { seconds: f64::INFINITY, bad }
    }

    /// The delays of so many runs. `begin` makes the detector at the beginning of the fault; `None`: it tripped before.
    pub fn delays<D: Detector>(&self, runs: u32, mut begin: impl FnMut(&mut Rng) -> Option<D>) -> Delays {
        let mut random = Rng::with_seed(16);
        let found: Vec<Delay> = (0..runs)
            .filter_map(|_| {
                let mut detector = begin(&mut random)?;
                Some(self.until_trip(&mut random, &mut detector))
            })
            .collect();
        let sorted = |value: fn(&Delay) -> f64| {
            let mut values: Vec<_> = found.iter().map(value).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        Delays { seconds: sorted(|delay| delay.seconds), bad: sorted(|delay| delay.bad as f64) }
    }
}

/// How long a fault lasts.
struct Delay {
    /// From the first failing response of the canary to the trip.
    seconds: f64,
    /// The failing responses of the canary.
    bad: u64,
}

/// Sorted delays of many runs.
pub struct Delays {
    seconds: Vec<f64>,
    bad: Vec<f64>,
}

impl Delays {
    /// In seconds.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N]) -> [f64; N] {
        parts.map(|part| quantile(&self.seconds, part))
    }

    /// In failing responses.
    pub fn bad_quantiles<const N: usize>(&self, parts: [f64; N]) -> [f64; N] {
        parts.map(|part| quantile(&self.bad, part))
    }
}

/// Figures of a few hundred runs are within a fifth of the stated ones, the 99th of a hundred within a quarter; those below a
/// second within most of a tick.
#[track_caller]
pub fn assert_near<const N: usize>(found: [f64; N], stated: [f64; N]) {
    for (at, (one, expected)) in found.iter().zip(stated).enumerate() {
        let part = if at + 1 == N { 0.25 } else { 0.2 };
        assert!((one - expected).abs() <= (part * expected).max(0.07), "{found:.2?}, stated {stated:?}");
    }
}

/// A test without restarts.
pub struct Plain {
    kernel: Kernel,
    evidence: Evidence,
    /// Its logarithm, of its share of the evidence.
    share_ln: f64,
}

impl Plain {
    /// It is all of the evidence.
    pub fn whole() -> Self {
        Self { kernel: Kernel::new(1.1).unwrap(), evidence: Evidence::default(), share_ln: 0.0 }
    }

    /// It is half of it, as it is for a release that has just begun.
    pub fn fresh() -> Self {
        Self { share_ln: restart_share(0).ln(), ..Self::whole() }
    }
}

impl Detector for Plain {
    fn add(&mut self, exposures: [u64; 2], events: [u64; 2]) -> bool {
        self.kernel.add(&mut self.evidence, &stratum(exposures, events));
        reaches(self.share_ln + self.kernel.ln(&self.evidence), 0.005)
    }

    fn tick(&mut self, _: u64) {}
}
