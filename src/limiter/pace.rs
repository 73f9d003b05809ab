//! The pace of a limit: its rate and burst in the words of the counts.

use super::word;
use crate::route::Rate;

/// A batch is this part of what the rate allows in a second.
const BATCH_PART: u128 = 100;
/// It is also at most this part of the burst: what other workers hold is missing for a worker that has none.
const BURST_PART: u32 = 16;
const SECOND_NS: u128 = 1_000_000_000;

/// How fast the requests of one key may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePace {
    interval_ns: u64,
    burst: u32,
    batch: u32,
    /// Ticks of the whole burst.
    tolerance: u64,
}

impl RatePace {
    /// The pace of a rate with a burst. A burst of 0 is one of 1.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let (interval_ns, burst) = (rate.interval_ns(), burst.max(1));
        let in_a_second = u128::from(rate.requests) * SECOND_NS / rate.per.as_nanos().max(1);
        let batch = u32::try_from(in_a_second / BATCH_PART).unwrap_or(u32::MAX).min(burst / BURST_PART).max(1);
        Self { interval_ns, burst, batch, tolerance: word::span(burst, interval_ns).max(1) }
    }

    /// The time between two requests, in nanoseconds, from 1.
    #[must_use]
    pub const fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// How many requests are let through at once after a pause.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// How many tokens a worker takes at once: 1 % of what the rate allows in a second, at most a sixteenth
    /// of the burst, at least 1.
    #[must_use]
    pub const fn batch(&self) -> u32 {
        self.batch
    }

    /// Ticks of the whole burst.
    pub(super) const fn tolerance(&self) -> u64 {
        self.tolerance
    }

    /// Ticks of so many tokens.
    pub(super) fn span(&self, tokens: u32) -> u64 {
        word::span(tokens, self.interval_ns)
    }
}
