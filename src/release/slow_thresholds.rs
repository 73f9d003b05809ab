//! The times from which responses of a route are slow: frozen when the weights change, the same for all variants.

use std::time::Duration;

use super::facts::{StableQuantile, TickFacts};
use super::guard_evidence::stable_since;
use super::judged_group::ScopedArm;
use super::slot_ring::{SPAN_MS, SlotRing, WINDOW_MS};
use crate::route::{Signal, SlowThreshold};

/// A quantile of stable is taken from this many responses or more.
const ANSWERS_MIN: u64 = 1_000;
/// A threshold is void when more than this part of stable's callers is slow.
const VOID_RATE: f64 = 0.5;
/// So many callers of stable show that it is.
const VOID_CALLERS_MIN: u64 = 20;
/// A request without a response head for this long is lost.
const LOST_AFTER: Duration = Duration::from_mins(1);

/// The thresholds of a route, by signal.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowThresholds {
    all: Vec<SignalThreshold>,
}

#[derive(Clone, Debug, PartialEq)]
struct SignalThreshold {
    kind: ThresholdKind,
    after: Option<Duration>,
    /// When it was taken.
    since_ms: u64,
    /// The weights have changed: another one is to be taken.
    is_wanted: bool,
    is_void: bool,
}

/// Where a threshold comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThresholdKind {
    /// The signal has none.
    None,
    Fixed,
    OfStable,
}

impl SignalThreshold {
    fn new(signal: &Signal) -> Self {
        let (kind, after) = match signal {
            Signal::SlowerThan(SlowThreshold::Fixed(after)) => (ThresholdKind::Fixed, Some(*after)),
            Signal::SlowerThan(SlowThreshold::OfStable { .. }) => (ThresholdKind::OfStable, None),
            Signal::Lost => (ThresholdKind::Fixed, Some(LOST_AFTER)),
            Signal::Error | Signal::Status(_) | Signal::Grpc(_) | Signal::Event(_) => (ThresholdKind::None, None),
        };
        Self { kind, after, since_ms: 0, is_wanted: kind == ThresholdKind::OfStable, is_void: false }
    }
}

impl SlowThresholds {
    pub fn new(signals: &[Signal]) -> Self {
        Self { all: signals.iter().map(SignalThreshold::new).collect() }
    }

    /// Takes over the thresholds of signals that were there before.
    pub fn keep(&mut self, signals: &[Signal], before: &Self, signals_before: &[Signal]) {
        for (now, signal) in self.all.iter_mut().zip(signals) {
            let same = signals_before.iter().position(|other| other == signal);
            if let Some(kept) = same.and_then(|at| before.all.get(at)) {
                *now = kept.clone();
            }
        }
    }

    /// The weights have changed.
    pub fn retake(&mut self) {
        self.all.iter_mut().filter(|one| one.kind == ThresholdKind::OfStable).for_each(|one| one.is_wanted = true);
    }

    /// Follows stable of the route with this index; `true`: a threshold was void, and there is another: a window begins. `changed` is set with any change.
    pub fn update(&mut self, facts: &TickFacts, ring: &SlotRing, route: usize, changed: &mut bool) -> bool {
        let stable = ScopedArm { arm: 0, scope: ring.layout().scope(Some(route)) };
        let first = route * ring.layout().shape.signals;
        let mut begins = false;
        for (signal, one) in self.all.iter_mut().enumerate().filter(|(_, one)| one.kind != ThresholdKind::None) {
            let before = one.clone();
            let quantile = facts.stable_quantiles.get(first + signal).copied().flatten();
            let taken = quantile.filter(|quantile| quantile.answers >= ANSWERS_MIN);
            if one.is_void {
                begins |= one.recover(taken, facts.now_ms);
            } else if one.is_wanted
                && let Some(quantile) = taken
            {
                one.take(quantile, facts.now_ms);
            }
            let since_ms = one.since_ms.max(facts.now_ms.saturating_sub(SPAN_MS));
            let tally = stable_since(ring, signal, stable, since_ms);
            if one.after.is_some() && !one.is_void && tally.exposures >= VOID_CALLERS_MIN && tally.rate() > VOID_RATE {
                (one.is_void, one.since_ms) = (true, facts.now_ms);
            } else if one.kind == ThresholdKind::Fixed && tally.rate() <= VOID_RATE {
                one.is_void = false;
            }
            *changed |= *one != before;
        }
        begins
    }

    /// By signal; none while it is void and another one will come.
    pub fn all(&self) -> Vec<Option<Duration>> {
        self.all.iter().map(|one| one.after.filter(|_| !(one.is_void && one.kind == ThresholdKind::OfStable))).collect()
    }

    pub fn after(&self, signal: usize) -> Option<Duration> {
        self.all.get(signal)?.after
    }

    pub fn is_void(&self, signal: usize) -> bool {
        self.all.get(signal).is_some_and(|one| one.is_void)
    }
}

impl SignalThreshold {
    fn take(&mut self, quantile: StableQuantile, now_ms: u64) {
        debug_assert!(self.kind == ThresholdKind::OfStable, "a fixed one stays");
        (self.after, self.since_ms) = (Some(quantile.value), now_ms);
        (self.is_wanted, self.is_void) = (false, false);
    }

    /// Takes a higher threshold than the void one; after a minute any one.
    fn recover(&mut self, taken: Option<StableQuantile>, now_ms: u64) -> bool {
        if self.kind != ThresholdKind::OfStable {
            return false;
        }
        let is_over = now_ms.saturating_sub(self.since_ms) >= WINDOW_MS;
        let higher = taken.filter(|quantile| is_over || Some(quantile.value) > self.after);
        higher.inspect(|quantile| self.take(*quantile, now_ms)).is_some()
    }
}
