//! The traffic of the routes of rollouts over the last minutes, for plans and rehearsals: differences of counters that are
//! there anyway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::snapshot::{RouteState, Snapshot};
use crate::stats::Failures;
use crate::telemetry::{LatencyCounts, Sample, StableAnswers};

use super::measure::VariantCounts;

/// How often the counters are read, in milliseconds.
const READ_EVERY_MS: u64 = 2_000;
/// The time between two readings that are kept, in milliseconds.
const KEEP_EVERY_MS: u64 = 30_000;
/// The time that the figures are about, in milliseconds.
const OVER_MS: u64 = 300_000;
/// The time in which callers are counted, at best.
const CALLERS_OVER: Duration = Duration::from_hours(1);

/// The traffic of a route of a rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredTraffic {
    /// The time that the figures are about but callers, in milliseconds: five minutes, less after a start.
    pub over_ms: u64,
    /// Requests that were dealt by weight, to all variants.
    pub requests: u64,
    /// Stable's judged first tries, and those of them that failed.
    pub stable: Failures,
    /// The time to the head of a response of stable that one in 100 exceeds; `None`: no guard is timed, or no response came.
    pub p99: Option<Duration>,
    /// Distinct callers; `None` without sticky keys, or before the first request.
    pub callers: Option<CountedCallers>,
}

/// Distinct callers of a route: an estimate with a standard error of 1.6 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedCallers {
    /// How many.
    pub count: u64,
    /// From when on (wall clock).
    pub since: Duration,
    /// Over which time: an hour where it was counted for so long. A change of the weight begins anew.
    pub over: Duration,
}

/// What was read of the routes of rollouts.
#[derive(Debug, Default)]
pub(super) struct TrafficHistory {
    read_ms: Option<u64>,
    routes: BTreeMap<String, RouteHistory>,
}

/// The moment of a reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadMoment {
    /// Since the process started, in milliseconds.
    pub now_ms: u64,
    pub wall: Duration,
}

#[derive(Debug, Default)]
struct RouteHistory {
    /// Oldest first.
    readings: VecDeque<Reading>,
    callers: Option<CountedCallers>,
}

/// Counters of a route.
#[derive(Clone, Debug, Default)]
struct Reading {
    at_ms: u64,
    requests: u64,
    stable: StableAnswers,
    times: LatencyCounts,
}

impl MeasuredTraffic {
    /// Requests a second; `None` before a second has passed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn rate(&self) -> Option<f64> {
        (self.over_ms >= 1_000).then(|| self.requests as f64 * 1e3 / self.over_ms as f64)
    }
}

impl TrafficHistory {
    /// Reads the counters when that is due: the traffic by route.
    pub fn follow(&mut self, snapshot: &Snapshot, moment: ReadMoment) -> Option<BTreeMap<String, MeasuredTraffic>> {
        let is_due = |read_ms: u64| moment.now_ms >= read_ms.saturating_add(READ_EVERY_MS);
        if !self.read_ms.is_none_or(is_due) {
            return None;
        }
        self.read_ms = Some(moment.now_ms);
        let mut before = std::mem::take(&mut self.routes);
        let mut measured = BTreeMap::new();
        let members = snapshot.rules.rollouts.iter().flat_map(|rollout| &rollout.members);
        for id in members.map(|member| member.route) {
            let (route, Some(state)) = (snapshot.rules.route(id), snapshot.routes.get(id.0 as usize)) else { continue };
            let mut history = before.remove(&route.name).unwrap_or_default();
            history.count_callers(snapshot.routes.sample(id), moment.wall);
            let traffic = history.take(Reading::of(state, moment.now_ms));
            measured.insert(route.name.clone(), traffic);
            self.routes.insert(route.name.clone(), history);
        }
        Some(measured)
    }
}

impl RouteHistory {
    /// The traffic up to this reading.
    fn take(&mut self, now: Reading) -> MeasuredTraffic {
        // A reload that changes guards or variants counts anew.
        if self.readings.back().is_some_and(|last| now.is_less(last)) {
            self.readings.clear();
        }
        let from_ms = now.at_ms.saturating_sub(OVER_MS);
        while self.readings.get(1).is_some_and(|second| second.at_ms <= from_ms) {
            self.readings.pop_front();
        }
        let traffic = self.readings.front().map(|first| now.since(first)).unwrap_or_default();
        let is_due = |last: &Reading| now.at_ms >= last.at_ms.saturating_add(KEEP_EVERY_MS);
        if self.readings.back().is_none_or(is_due) {
            self.readings.push_back(now);
        }
        debug_assert!(
            self.readings.len() as u64 <= OVER_MS / KEEP_EVERY_MS + 2,
            "readings span the time of the figures"
        );
        MeasuredTraffic { callers: self.callers, ..traffic }
    }

    /// Keeps the count of callers that was made over an hour, or as long as there was one.
    fn count_callers(&mut self, sample: Option<&Arc<Sample>>, wall: Duration) {
        let Some(sample) = sample else { return };
        let over = wall.saturating_sub(sample.since);
        let is_wanted = match self.callers {
            // The count goes on until the hour is full.
            Some(kept) if kept.since == sample.since => kept.over < CALLERS_OVER,
            // A younger one is better when it is as long, or when the other one is old.
            Some(kept) => over >= kept.over.min(CALLERS_OVER) || wall > kept.since + kept.over + CALLERS_OVER,
            None => true,
        };
        if !is_wanted || !sample.is_used() {
            return;
        }
        if let Some(keys) = sample.read().keys {
            let count = rounded(keys.iter().sum());
            self.callers = Some(CountedCallers { count, since: sample.since, over });
        }
    }
}

impl Reading {
    fn of(state: &RouteState, at_ms: u64) -> Self {
        let requests = state.series.iter().map(|series| VariantCounts::of(series).counted).sum();
        let watch = state.watch.as_ref();
        let stable = watch.map(|watch| watch.stable()).unwrap_or_default();
        let times = watch.map(|watch| watch.view().stable_times).unwrap_or_default();
        Self { at_ms, requests, stable, times }
    }

    fn is_less(&self, before: &Self) -> bool {
        self.requests < before.requests
            || self.stable.answers < before.stable.answers
            || self.times.total() < before.times.total()
    }

    fn since(&self, before: &Self) -> MeasuredTraffic {
        let answers = self.stable.answers.saturating_sub(before.stable.answers);
        let failed = self.stable.failures.saturating_sub(before.stable.failures).min(answers);
        MeasuredTraffic {
            over_ms: self.at_ms.saturating_sub(before.at_ms),
            requests: self.requests.saturating_sub(before.requests),
            stable: Failures { requests: answers, failed },
            p99: self.times.since(&before.times).quantile(0.99),
            callers: None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate is not negative, and finite")]
fn rounded(estimate: f64) -> u64 {
    estimate.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Latencies;

    fn reading(at_s: u64, requests: u64, failures: u64) -> Reading {
        let latencies = Latencies::default();
        (0..requests).for_each(|at| latencies.record(Duration::from_millis(10 + 80 * u64::from(at % 20 == 0))));
        let mut times = LatencyCounts::default();
        times.merge(&latencies);
        Reading { at_ms: at_s * 1_000, requests, stable: StableAnswers { answers: requests, failures }, times }
    }

    #[test]
    fn figures_are_those_of_the_last_minutes() {
        let mut history = RouteHistory::default();
        assert_eq!(history.take(reading(0, 5, 1)), MeasuredTraffic::default(), "one reading has no rate");
        assert_eq!(MeasuredTraffic::default().rate(), None);
        let soon = history.take(reading(10, 105, 3));
        assert!(soon.rate().is_some_and(|rate| (rate - 10.0).abs() < 1e-9), "{soon:?}");
        assert_eq!((soon.over_ms, soon.stable), (10_000, Failures { requests: 100, failed: 2 }));
        assert!(soon.p99.is_some_and(|p99| p99 > Duration::from_millis(80)), "{soon:?}");
        // Ten minutes of 2 requests a second, then it stops for five.
        for at in (20..=620).step_by(2) {
            history.take(reading(at, 105 + (at - 20) * 2, 3));
        }
        let steady = history.take(reading(620, 1_305, 3));
        assert!(steady.rate().is_some_and(|rate| (rate - 2.0).abs() < 1e-9), "{steady:?}");
        assert!((300_000..=330_000).contains(&steady.over_ms) && steady.stable.failed == 0, "{steady:?}");
        for at in (622..=960).step_by(2) {
            history.take(reading(at, 1_305, 3));
        }
        let silent = history.take(reading(960, 1_305, 3));
        assert!(silent.rate().is_some_and(|rate| rate.abs() < 1e-9), "{silent:?}");
        assert_eq!((silent.stable.rate(), silent.p99), (None, None));
    }

    #[test]
    fn counters_that_begin_anew_are_no_traffic() {
        let mut history = RouteHistory::default();
        history.take(reading(0, 1_000, 9));
        history.take(reading(30, 2_000, 9));
        assert_eq!(history.take(reading(40, 3, 0)), MeasuredTraffic::default());
        assert_eq!(history.take(reading(50, 13, 1)).requests, 10);
    }
}
