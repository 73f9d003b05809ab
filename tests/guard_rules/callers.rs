//! How callers are counted. An hour of a healthy release, with 50 requests a second.
//!
//! Trips in percent, of 400 runs each, by the other implementation:
//!
//! | scene | each request | a mark per arm, 60 s | a mark per arm | a common mark | a common mark, callers per second |
//! |---|---|---|---|---|---|
//! | errors independent, 1 % | 0.25 | 0.25 | 0.25 | 0.25 | 0.25 |
//! | 2 000 callers, 1 % always broken | 25.5 | 21.3 | 0 | 0 | 0 |
//! | 5 % broken, steps 1, 5, 25, 50 % | 28 | 19.5 | 98.5 | 0 | 0 |
//! | a clean caller with 30 % of the traffic | 9.5 | 6.8 | 1.3 | 1.3 | 0 |
//! | with 60 % | 73 | 58 | 7.5 | 7.5 | 0 |
//! | bursts of retries | 26.8 | 0.25 | 0 | 0 | 0 |

use fastrand::Rng;
use pointsman::stats::{Evidence, Kernel};

use super::chance::{poisson, stratum};

/// A caller that erred counts no more. The last rule is the right one: it counts callers, at most once a second.
const RULES: usize = 5;
const RIGHT: usize = 4;
const ALPHA: f64 = 0.005;
const SECONDS: usize = 3_600;
/// Requests a second.
const RATE: f64 = 50.0;

/// The callers of a release, and what they do; both arms are equal.
#[derive(Clone, Copy)]
struct Scene {
    callers: usize,
    /// The chance that a request fails.
    failing: f64,
    /// The part of the callers of which nine in ten requests fail.
    broken: f64,
    /// The part of the requests that come from one caller, which hardly ever fails.
    heavy: f64,
    /// The chance that a failed request is repeated at once, and fails again with 95 %.
    retried: f64,
    /// The weights, each for an equal part of the hour.
    weights: &'static [f64],
}

const CALM: Scene = Scene { callers: 2_000, failing: 0.001, broken: 0.0, heavy: 0.0, retried: 0.0, weights: &[0.05] };

/// The evidence of one release by each rule.
struct Release {
    kernel: Kernel,
    evidence: [Evidence; RULES],
    tripped: [bool; RULES],
    /// Of each caller: bits 0 and 1: it has erred in stable, in the canary within the minute; 2 and 3: ever; 4: in either arm.
    marks: Vec<u8>,
    /// The second of the last request of each caller.
    seen: Vec<usize>,
    /// Requests of this second, by arm and by the set of rules that count them.
    exposures: [[u64; 1 << RULES]; 2],
    /// Failures of this second, by rule and arm.
    events: [[u64; 2]; RULES],
}

impl Release {
    fn new(callers: usize) -> Self {
        Self {
            kernel: Kernel::new(1.1).unwrap(),
            evidence: [Evidence::default(); RULES],
            tripped: [false; RULES],
            marks: vec![0; callers],
            seen: vec![usize::MAX; callers],
            exposures: [[0; 1 << RULES]; 2],
            events: [[0; 2]; RULES],
        }
    }

    /// A request of a caller. Returns the rules that would count its failure.
    fn expose(&mut self, caller: usize, arm: usize, second: usize) -> usize {
        let marks = usize::from(self.marks[caller]);
        let is_free = |bit: usize| (marks >> bit) & 1 ^ 1;
        let rules = 1 | is_free(arm) << 1 | is_free(2 + arm) << 2 | is_free(4) << 3;
        let is_new = self.seen[caller] != second;
        self.seen[caller] = second;
        self.exposures[arm][rules | if is_new { is_free(4) << RIGHT } else { 0 }] += 1;
        rules | is_free(4) << RIGHT
    }

    fn fail(&mut self, caller: usize, arm: usize, rules: usize) {
        for (rule, events) in self.events.iter_mut().enumerate() {
            events[arm] += ((rules >> rule) & 1) as u64;
        }
        self.marks[caller] |= 1 << arm | 1 << (2 + arm) | 1 << 4;
    }

    fn close_second(&mut self) {
        for rule in 0..RULES {
            if self.tripped[rule] || self.events[rule] == [0, 0] {
                continue;
            }
            let exposed = [0, 1].map(|arm: usize| {
                (0..1 << RULES)
                    .filter(|rules| rules >> rule & 1 == 1)
                    .map(|rules: usize| self.exposures[arm][rules])
                    .sum()
            });
            self.kernel.add(&mut self.evidence[rule], &stratum(exposed, self.events[rule]));
            self.tripped[rule] = self.kernel.trips(&self.evidence[rule], ALPHA);
        }
        self.exposures = [[0; 1 << RULES]; 2];
        self.events = [[0; 2]; RULES];
    }

    fn end_minute(&mut self) {
        self.marks.iter_mut().for_each(|mark| *mark &= !0b11);
    }
}

impl Scene {
    /// Which rules stop the release.
    fn play(&self, random: &mut Rng) -> [bool; RULES] {
        let mut release = Release::new(self.callers);
        let buckets: Vec<f64> = (0..self.callers).map(|_| random.f64()).collect();
        let mut failing: Vec<f64> =
            (0..self.callers).map(|_| if random.f64() < self.broken { 0.9 } else { self.failing }).collect();
        if self.heavy > 0.0 {
            failing[0] = 0.0001;
        }
        for second in 0..SECONDS {
            let weight = self.weights[second * self.weights.len() / SECONDS];
            if second % 60 == 0 {
                release.end_minute();
            }
            for _ in 0..poisson(random, RATE) {
                let is_heavy = self.heavy > 0.0 && random.f64() < self.heavy;
                let caller = if is_heavy { 0 } else { random.usize(..self.callers) };
                let arm = usize::from(buckets[caller] < weight);
                let mut chance = failing[caller];
                loop {
                    let rules = release.expose(caller, arm, second);
                    if random.f64() >= chance {
                        break;
                    }
                    release.fail(caller, arm, rules);
                    if self.retried <= 0.0 || random.f64() >= self.retried {
                        break;
                    }
                    chance = 0.95;
                }
            }
            release.close_second();
        }
        release.tripped
    }

    /// In which part of the runs each rule stops a healthy release.
    fn trips(&self, runs: u32) -> [f64; RULES] {
        let mut random = Rng::with_seed(81);
        let mut trips = [0_u32; RULES];
        for _ in 0..runs {
            for (trips, tripped) in trips.iter_mut().zip(self.play(&mut random)) {
                *trips += u32::from(tripped);
            }
        }
        trips.map(|trips| f64::from(trips) / f64::from(runs))
    }
}

/// The rules in the order of the table above.
#[track_caller]
fn check(scene: Scene, runs: u32, at_least: [f64; RULES]) {
    let trips = scene.trips(runs);
    let naive = trips.iter().zip(at_least).take(RIGHT);
    assert!(naive.clone().all(|(found, least)| *found >= least), "a simpler rule stops more: {trips:?}");
    assert!(trips[RIGHT] <= at_least[RIGHT], "the right rule stops none: {trips:?}");
}

#[test]
fn independent_errors_stop_no_release_under_any_rule() {
    let trips = Scene { failing: 0.01, ..CALM }.trips(25);
    assert!(trips.iter().all(|part| *part <= 0.005), "{trips:?}");
}

#[test]
fn broken_callers_count_once() {
    check(Scene { broken: 0.01, ..CALM }, 40, [0.1, 0.1, 0.0, 0.0, 0.005]);
}

#[test]
fn a_mark_is_common_to_both_arms() {
    let scene = Scene { broken: 0.05, weights: &[0.01, 0.05, 0.25, 0.5], ..CALM };
    check(scene, 25, [0.1, 0.1, 0.9, 0.0, 0.005]);
}

#[test]
fn a_caller_with_much_of_the_traffic_is_one_caller() {
    check(Scene { failing: 0.01, heavy: 0.3, ..CALM }, 40, [0.04, 0.04, 0.0, 0.0, 0.005]);
}

#[test]
fn a_caller_with_most_of_the_traffic_is_one_caller() {
    check(Scene { failing: 0.01, heavy: 0.6, ..CALM }, 60, [0.5, 0.4, 0.01, 0.01, 0.005]);
}

#[test]
fn a_burst_of_retries_is_one_error() {
    check(Scene { retried: 0.9, ..CALM }, 25, [0.15, 0.0, 0.0, 0.0, 0.005]);
}
