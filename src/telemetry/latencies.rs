//! Histograms for reports: their buckets are so narrow that a quantile is exact within six percent, which those of the
//! metrics are not.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets of an octave: each is an eighth of the power of two at which the octave starts.
const PARTS: usize = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 3;
/// The first bucket holds durations below 64 µs.
const LOWEST_BITS: u32 = 6;
/// Number of octaves; the last bucket holds durations above 67 s.
const OCTAVES: usize = 20;
const BUCKETS: usize = 1 + OCTAVES * PARTS;

/// Durations in buckets. One writer.
#[derive(Debug)]
pub struct Latencies([AtomicU64; BUCKETS]);

/// The merged counts of several writers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyCounts([u64; BUCKETS]);

impl Default for Latencies {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Latencies {
    /// Its size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Records one duration.
    pub fn record(&self, took: Duration) {
        let count = &self.0[bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl LatencyCounts {
    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, one)| *sum += one.load(Relaxed));
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].saturating_sub(before.0[at])))
    }

    /// The number of durations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The quantile for this share, 0 to 1, interpolated linearly within a bucket; `None` without counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^53")]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        debug_assert!((0.0..=1.0).contains(&share), "a share is between 0 and 1");
        let all: u64 = self.0.iter().sum();
        let rank = share * all as f64;
        let mut below = 0.0;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= rank {
                let (from, to) = (lower(at) as f64, lower(at + 1) as f64);
                let us = from + (to - from) * ((rank - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(us / 1e6));
            }
            below += count;
        }
        None
    }
}

fn bucket(us: u64) -> usize {
    let Some(octave) = us.checked_ilog2().and_then(|bits| bits.checked_sub(LOWEST_BITS)) else { return 0 };
    let parts = us >> (octave + LOWEST_BITS - PARTS_BITS);
    let part = usize::try_from(parts).unwrap_or(usize::MAX) & (PARTS - 1);
    (1 + octave as usize * PARTS + part).min(BUCKETS - 1)
}

/// The lower bound of a bucket in microseconds.
fn lower(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else { return 0 };
    let (octave, part) = (above / PARTS, above % PARTS);
    ((PARTS + part) as u64) << (octave + LOWEST_BITS as usize - PARTS_BITS as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for us in (0..200_000).chain([1 << 25, (1 << 26) - 1]) {
            let at = bucket(us);
            assert!(lower(at) <= us && us < lower(at + 1), "{us} is in {at}: {} to {}", lower(at), lower(at + 1));
        }
        assert_eq!((bucket(u64::MAX), bucket(1 << 26), bucket(0)), (BUCKETS - 1, BUCKETS - 1, 0));
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(LatencyCounts::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_right_within_an_eighth(all in prop::collection::vec(100_u64..60_000_000, 1..300), share in 0.01..1.0) {
            let latencies = Latencies::default();
            for us in &all {
                latencies.record(Duration::from_micros(*us));
            }
            let mut counts = LatencyCounts::default();
            counts.merge(&latencies);
            let mut sorted = all;
            sorted.sort_unstable();
            let at = sorted.iter().enumerate().position(|(at, _)| {
                let rank = f64::from(u32::try_from(at + 1).unwrap());
                rank >= share * f64::from(u32::try_from(sorted.len()).unwrap())
            });
            let exact = sorted[at.unwrap_or(sorted.len() - 1)];
            let found = counts.quantile(share).unwrap().as_micros();
            let exact = u128::from(exact);
            prop_assert!(found.abs_diff(exact) * 8 <= exact + 8, "{found} and not {exact}");
        }
    }
}
