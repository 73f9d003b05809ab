//! Quantiles of stable's times over the last while, from counts that only grow: the difference to a snapshot.

use std::collections::VecDeque;

use crate::release::StableQuantile;
use crate::route::{Guards, Signal, SlowThreshold};
use crate::telemetry::LatencyCounts;

/// How many snapshots span the time of a quantile.
const SNAPSHOTS: u64 = 10;

/// The quantiles that the guards of a route need, by signal.
#[derive(Debug, Default)]
pub(super) struct StableTimes {
    signals: Vec<Option<TimesOfSignal>>,
}

#[derive(Debug)]
struct TimesOfSignal {
    quantile: f64,
    over_ms: u64,
    /// What was counted until then, oldest first.
    snapshots: VecDeque<(u64, LatencyCounts)>,
    now: Option<StableQuantile>,
}

impl StableTimes {
    /// For these guards, without any time.
    pub fn new(guards: &Guards) -> Self {
        let one = |signal: &Signal| match signal {
            Signal::SlowerThan(SlowThreshold::OfStable { quantile, over }) => Some(TimesOfSignal {
                quantile: *quantile,
                over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1),
                snapshots: VecDeque::new(),
                now: None,
            }),
            Signal::SlowerThan(SlowThreshold::Fixed(_))
            | Signal::Error
            | Signal::Status(_)
            | Signal::Grpc(_)
            | Signal::Event(_)
            | Signal::Lost => None,
        };
        Self { signals: guards.signals.iter().map(one).collect() }
    }

    /// Whether some guard needs a quantile.
    pub fn is_needed(&self) -> bool {
        self.signals.iter().any(Option::is_some)
    }

    /// Takes what is counted since the watch began.
    pub fn follow(&mut self, counts: &LatencyCounts, now_ms: u64) {
        self.signals.iter_mut().flatten().for_each(|signal| signal.follow(counts, now_ms));
    }

    /// The quantiles, by signal.
    pub fn quantiles(&self) -> Vec<Option<StableQuantile>> {
        self.signals.iter().map(|signal| signal.as_ref().and_then(|signal| signal.now)).collect()
    }
}

impl TimesOfSignal {
    fn follow(&mut self, counts: &LatencyCounts, now_ms: u64) {
        let from_ms = now_ms.saturating_sub(self.over_ms);
        while self.snapshots.get(1).is_some_and(|(at_ms, _)| *at_ms <= from_ms) {
            self.snapshots.pop_front();
        }
        let recent = match self.snapshots.front() {
            Some((at_ms, before)) if *at_ms <= from_ms => counts.since(before),
            // The watch is younger than the time of the quantile.
            Some(_) | None => counts.clone(),
        };
        let answers = recent.total();
        let value = recent.quantile(self.quantile).filter(|_| answers > 0);
        self.now = value.map(|value| StableQuantile { value, answers });
        let every_ms = self.over_ms / SNAPSHOTS;
        if self.snapshots.back().is_none_or(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= every_ms.max(1)) {
            self.snapshots.push_back((now_ms, counts.clone()));
        }
        debug_assert!(self.snapshots.len() as u64 <= SNAPSHOTS + 3, "snapshots span the time of the quantile");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Latencies;

    fn counts(times: &[(u64, usize)]) -> LatencyCounts {
        let all = Latencies::default();
        for (ms, count) in times {
            (0..*count).for_each(|_| all.record(Duration::from_millis(*ms)));
        }
        let mut sum = LatencyCounts::default();
        sum.merge(&all);
        sum
    }

    fn guards(over: Duration) -> Guards {
        let slow = Signal::SlowerThan(SlowThreshold::OfStable { quantile: 0.5, over });
        Guards { signals: vec![Signal::Error, slow], all: Vec::new(), by_default: true }
    }

    #[test]
    fn a_quantile_is_that_of_the_last_while() {
        let mut times = StableTimes::new(&guards(Duration::from_mins(10)));
        assert!(times.is_needed());
        assert_eq!(times.quantiles(), [None, None]);
        let fast = counts(&[(10, 1_000)]);
        times.follow(&fast, 1_000);
        let [None, Some(first)] = times.quantiles()[..] else { panic!("{:?}", times.quantiles()) };
        assert_eq!(first.answers, 1_000);
        assert!(first.value < Duration::from_millis(12), "{first:?}");
        let both = counts(&[(10, 1_000), (100, 400)]);
        (2..=600).for_each(|second| times.follow(&both, second * 1_000));
        assert_eq!(times.quantiles()[1].map(|all| all.answers), Some(1_400), "the watch is younger than ten minutes");
        (601..=660).for_each(|second| times.follow(&both, second * 1_000));
        let last = times.quantiles()[1].expect("a quantile");
        assert_eq!(last.answers, 400);
        assert!(last.value > Duration::from_millis(90), "{last:?}");
        times.follow(&both, 661_000);
        assert_eq!(times.quantiles()[1], None, "nothing was answered for ten minutes");
    }

    #[test]
    fn guards_without_a_quantile_need_no_times() {
        let guards = Guards { signals: vec![Signal::Error], all: Vec::new(), by_default: true };
        assert!(!StableTimes::new(&guards).is_needed());
    }
}
