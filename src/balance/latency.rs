//! The recent latency of an endpoint: a moving average that decays by the time that passes and jumps to a peak at once.

use std::cell::Cell;

/// The time within which a sample loses all but 1/e of its weight.
const DECAY_MS: f64 = 10_000.0;
/// A sample with a smaller part of its weight left says nothing: without a new one for 69 s, an endpoint is unknown.
const KEPT_MIN: f64 = 0.001;
/// The least sample in milliseconds: 0 is no sample.
const SAMPLE_MS_MIN: f64 = 0.001;

/// The recent latency of an endpoint, as one worker has measured it.
#[derive(Debug, Default)]
pub struct PeakEwma {
    /// In milliseconds, as of `at_ms`; 0: there is no sample.
    cost_ms: Cell<f64>,
    at_ms: Cell<u64>,
}

impl PeakEwma {
    /// Adds a sample in milliseconds: the time to the head of a response, or what a failure costs.
    pub fn observe(&self, sample_ms: f64, now_ms: u64) {
        let sample_ms = if sample_ms.is_finite() { sample_ms.max(SAMPLE_MS_MIN) } else { SAMPLE_MS_MIN };
        let kept = self.kept(now_ms);
        let smoothed = self.cost_ms.get() * kept + sample_ms * (1.0 - kept);
        self.cost_ms.set(smoothed.max(sample_ms));
        self.at_ms.set(now_ms.max(self.at_ms.get()));
        debug_assert!(self.cost_ms.get() >= sample_ms, "a peak counts at once");
    }

    /// The cost in milliseconds; `None` without a recent sample. It decays while no sample comes, so that a slow endpoint
    /// is tried again; the time of a worker is that of its last tick.
    #[must_use]
    #[inline]
    pub fn cost(&self, now_ms: u64) -> Option<f64> {
        let cost_ms = self.cost_ms.get();
        if cost_ms <= 0.0 {
            return None;
        }
        let kept = self.kept(now_ms);
        (kept >= KEPT_MIN).then_some(cost_ms * kept)
    }

    /// The part of the weight of the last sample that is left.
    #[inline]
    fn kept(&self, now_ms: u64) -> f64 {
        let passed_ms = now_ms.saturating_sub(self.at_ms.get());
        if passed_ms == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a process")]
        let passed_ms = passed_ms as f64;
        (-passed_ms / DECAY_MS).exp()
    }
}
