//! The random sample of a route with several variants: which variants requests were sent to by weight, since the
//! weights last changed. A change creates a new sample, so that decisions under old weights are never counted.
//!
//! Each worker counts its decisions in its own memory; the control plane merges them. Requests count when they are
//! decided, not when they are answered: otherwise a slow variant would seem to have too few requests.
//!
//! Requests of one caller are not independent draws; callers are. With sticky keys the shares are therefore measured
//! over *first keys*: keys fall into 32 768 slots by their hash, and the first key that a worker sees in a slot is
//! recorded with its variant. Each is the draw of a new key, and it never changes once the control plane has taken it
//! over. So the counts are a sequence of independent draws, exact where an estimate of distinct keys has an error, and
//! may be tested after each draw.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::{Counter, DistinctSketch, Latencies, LatencyCounts, MergedSketch};
use crate::route::{KeyHash, VariantId};

/// Number of slots for first keys.
pub const FIRSTS: usize = 1 << 15;
/// The hash bits that select a slot; they are below those that select a variant.
const FIRSTS_SHIFT: u32 = 12;
/// The largest number of variants for which keys are counted separately.
const VARIANTS_MAX: usize = 254;

/// The memory limit of all samples.
#[derive(Debug)]
pub struct SampleMemory(AtomicUsize);

impl SampleMemory {
    /// The default: 64 MiB. With two workers and two variants, a route that is requested uses 150 KiB.
    pub const BYTES: usize = 64 << 20;

    /// A limit of this many bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn try_acquire(&self, bytes: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }
}

/// The unit of a random draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawUnit {
    /// Sticky keys: all requests with one key go to the same variant.
    Keys,
    /// Single requests: nothing is sticky.
    Requests,
}

impl DrawUnit {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Requests => "requests",
        }
    }
}

/// A random sample.
#[derive(Debug)]
pub struct Sample {
    /// When it started (wall clock).
    pub since: Duration,
    /// The unit of a draw.
    pub draw_unit: DrawUnit,
    variants: usize,
    memory: Arc<SampleMemory>,
    workers: Box<[OnceLock<Box<Draws>>]>,
    settled: Mutex<Settled>,
}

/// The decisions of one worker.
#[derive(Debug)]
struct Draws {
    requests: Box<[Counter]>,
    keys: Option<Keys>,
    durations: Option<Durations>,
}

/// The response durations of one worker, by variant.
#[derive(Debug)]
struct Durations {
    variants: Box<[Latencies]>,
    memory: Arc<SampleMemory>,
}

/// The keys that one worker has seen.
#[derive(Debug)]
struct Keys {
    /// The variant of the first key of each slot, from 1; 0 for an empty slot.
    firsts: Box<[AtomicU8]>,
    distinct: Box<[DistinctSketch]>,
    memory: Arc<SampleMemory>,
}

/// The draws that the control plane has taken over.
#[derive(Debug, Default)]
struct Settled {
    firsts: Box<[u8]>,
    evidence_ln: f64,
}

/// The counts of a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleCounts {
    /// Requests by variant.
    pub requests: Vec<u64>,
    /// First keys by variant.
    pub firsts: Vec<u64>,
    /// Estimated distinct keys by variant; `None` without sticky keys, or without memory to count them.
    pub keys: Option<Vec<f64>>,
}

impl Sample {
    /// An empty sample. It allocates almost nothing until a worker decides.
    #[must_use]
    pub fn new(
        since: Duration,
        variants: usize,
        draw_unit: DrawUnit,
        workers: usize,
        memory: Arc<SampleMemory>,
    ) -> Self {
        let workers = (0..workers).map(|_| OnceLock::new()).collect();
        Self { since, draw_unit, variants, memory, workers, settled: Mutex::default() }
    }

    /// Counts a decision by weight. Only worker `worker` may call it.
    pub fn decided(&self, worker: usize, variant: VariantId, key: Option<KeyHash>) {
        let Some(draws) = self.workers.get(worker) else { return };
        let draws = draws.get_or_init(|| Box::new(self.open()));
        let Some(requests) = draws.requests.get(usize::from(variant.0)) else { return };
        requests.inc();
        if let (Some(keys), Some(key)) = (&draws.keys, key) {
            keys.add(variant, key.number());
        }
    }

    /// Records a response of this variant, whatever the reason of the decision. Only worker `worker` may call it.
    pub fn answered(&self, worker: usize, variant: VariantId, took: Duration) {
        let draws = self.workers.get(worker).map(|draws| draws.get_or_init(|| Box::new(self.open())));
        let durations = draws.and_then(|draws| draws.durations.as_ref());
        if let Some(variant) = durations.and_then(|durations| durations.variants.get(usize::from(variant.0))) {
            variant.record(took);
        }
    }

    /// The response durations of a variant, from the request head to the last byte of the response.
    #[must_use]
    pub fn durations(&self, variant: usize) -> LatencyCounts {
        let mut counts = LatencyCounts::default();
        let used = self.workers.iter().filter_map(|worker| worker.get());
        for durations in used.filter_map(|draws| draws.durations.as_ref()) {
            durations.variants.get(variant).into_iter().for_each(|one| counts.merge(one));
        }
        counts
    }

    fn open(&self) -> Draws {
        let wanted = self.draw_unit == DrawUnit::Keys && self.variants <= VARIANTS_MAX;
        let keys = if wanted { Keys::open(self.variants, &self.memory) } else { None };
        let requests = (0..self.variants).map(|_| Counter::default()).collect();
        Draws { requests, keys, durations: Durations::open(self.variants, &self.memory) }
    }

    /// Whether any decision was counted.
    #[must_use]
    pub fn is_used(&self) -> bool {
        let used = self.workers.iter().filter_map(|worker| worker.get());
        used.flat_map(|draws| &draws.requests).any(|requests| requests.value() > 0)
    }

    /// Reads the counts. Only the control plane may call it.
    #[must_use]
    pub fn read(&self) -> SampleCounts {
        let used = || self.workers.iter().filter_map(|worker| worker.get());
        let mut requests = vec![0; self.variants];
        for draws in used() {
            requests.iter_mut().zip(&draws.requests).for_each(|(sum, one)| *sum += one.value());
        }
        let all_counted = self.draw_unit == DrawUnit::Keys && used().all(|draws| draws.keys.is_some());
        let keys: Vec<&Keys> = used().filter_map(|draws| draws.keys.as_ref()).collect();
        let firsts = if keys.is_empty() { Vec::new() } else { self.settle(&keys) };
        let of_variant = |variant: usize| {
            let mut union = MergedSketch::default();
            for keys in &keys {
                union.merge(&keys.distinct[variant]);
            }
            union.estimate()
        };
        SampleCounts { requests, firsts, keys: all_counted.then(|| (0..self.variants).map(of_variant).collect()) }
    }

    /// Takes over the first keys of empty slots. Where several workers have one, the worker with the lowest index wins:
    /// a choice that does not depend on the variants.
    fn settle(&self, keys: &[&Keys]) -> Vec<u64> {
        let mut settled = self.settled();
        if settled.firsts.is_empty() {
            settled.firsts = vec![0; FIRSTS].into();
        }
        for keys in keys {
            for (ours, theirs) in settled.firsts.iter_mut().zip(&keys.firsts) {
                if *ours == 0 {
                    *ours = theirs.load(Relaxed);
                }
            }
        }
        let mut counts = vec![0; self.variants];
        for first in settled.firsts.iter().filter(|first| **first > 0) {
            debug_assert!(usize::from(*first) <= self.variants, "a first key has a variant of this route");
            counts[usize::from(*first) - 1] += 1;
        }
        counts
    }

    /// Records evidence against the weights (its natural logarithm) and returns the maximum so far. In an anytime-valid
    /// test the maximum counts: later readings do not remove evidence.
    #[must_use]
    pub fn most_evidence(&self, evidence_ln: f64) -> f64 {
        let mut settled = self.settled();
        settled.evidence_ln = settled.evidence_ln.max(evidence_ln);
        settled.evidence_ln
    }

    fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Durations {
    /// Empty histograms; `None` without memory.
    fn open(variants: usize, memory: &Arc<SampleMemory>) -> Option<Self> {
        let taken = memory.try_acquire(variants * Latencies::BYTES);
        taken.then(|| Self {
            variants: (0..variants).map(|_| Latencies::default()).collect(),
            memory: Arc::clone(memory),
        })
    }
}

impl Drop for Durations {
    fn drop(&mut self) {
        self.memory.release(self.variants.len() * Latencies::BYTES);
    }
}

impl Keys {
    /// No keys; `None` without memory.
    fn open(variants: usize, memory: &Arc<SampleMemory>) -> Option<Self> {
        if !memory.try_acquire(Self::bytes(variants)) {
            return None;
        }
        let firsts = (0..FIRSTS).map(|_| AtomicU8::new(0)).collect();
        let distinct = (0..variants).map(|_| DistinctSketch::default()).collect();
        Some(Self { firsts, distinct, memory: Arc::clone(memory) })
    }

    /// The size of a worker's keys, including the copy that the control plane takes over.
    const fn bytes(variants: usize) -> usize {
        2 * FIRSTS + variants * DistinctSketch::BYTES
    }

    fn add(&self, variant: VariantId, hash: u64) {
        let first = &self.firsts[(hash >> FIRSTS_SHIFT) as usize & (FIRSTS - 1)];
        if first.load(Relaxed) == 0 {
            first.store(u8::try_from(variant.0 + 1).unwrap_or(0), Relaxed);
        }
        if let Some(distinct) = self.distinct.get(usize::from(variant.0)) {
            distinct.add(hash);
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.memory.release(Self::bytes(self.distinct.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn memory() -> Arc<SampleMemory> {
        Arc::new(SampleMemory::new(SampleMemory::BYTES))
    }

    fn sample(draw_unit: DrawUnit, workers: usize) -> Sample {
        Sample::new(Duration::ZERO, 2, draw_unit, workers, memory())
    }

    fn hash(n: u32) -> u64 {
        xxh3_64(&n.to_le_bytes())
    }

    /// Selects a variant by the highest bits, as buckets do.
    fn variant(hash: u64) -> VariantId {
        VariantId(u16::from(hash > u64::MAX / 4))
    }

    #[test]
    fn requests_are_counted_and_keys_once() {
        let sample = sample(DrawUnit::Keys, 3);
        assert!(!sample.is_used());
        for round in 0..5_u32 {
            for n in 0..4_000 {
                let hash = hash(n);
                sample.decided(((n + round) % 3) as usize, variant(hash), Some(KeyHash::of(hash)));
            }
        }
        let SampleCounts { requests, firsts, keys } = sample.read();
        assert!(sample.is_used());
        assert_eq!(requests.iter().sum::<u64>(), 20_000);
        let firsts: u64 = firsts.iter().sum();
        assert!((3_700..4_000).contains(&firsts), "{firsts}: some keys share a slot");
        let keys = keys.unwrap();
        assert!((keys[0] / 1_000.0 - 1.0).abs() < 0.1 && (keys[1] / 3_000.0 - 1.0).abs() < 0.06, "{keys:?}");
    }

    #[test]
    fn without_keys_requests_are_counted_alone() {
        let sample = sample(DrawUnit::Requests, 1);
        (0..10).for_each(|_| sample.decided(0, VariantId(1), None));
        assert_eq!(sample.read(), SampleCounts { requests: vec![0, 10], firsts: vec![], keys: None });
        sample.decided(7, VariantId(1), None);
        sample.decided(0, VariantId(9), None);
        assert_eq!(sample.read().requests, [0, 10], "an unknown worker or variant is not counted");
    }

    #[test]
    fn the_room_is_bounded_and_given_back() {
        let memory = Arc::new(SampleMemory::new(2 * (Keys::bytes(2) + 2 * Latencies::BYTES)));
        let new = || Sample::new(Duration::ZERO, 2, DrawUnit::Keys, 2, Arc::clone(&memory));
        let (one, two) = (new(), new());
        let key = Some(KeyHash::of(hash(1)));
        one.decided(0, VariantId(0), key);
        one.decided(1, VariantId(0), key);
        two.decided(0, VariantId(1), key);
        assert!(one.read().keys.is_some());
        assert_eq!(
            two.read(),
            SampleCounts { requests: vec![0, 1], firsts: vec![], keys: None },
            "without memory there are no keys"
        );
        for sample in [&one, &two] {
            sample.answered(0, VariantId(1), Duration::from_millis(10));
            sample.answered(1, VariantId(1), Duration::from_millis(12));
            sample.answered(1, VariantId(9), Duration::from_millis(12));
        }
        let median = one.durations(1).quantile(0.5).unwrap();
        assert!((9..12).contains(&median.as_millis()), "{median:?}");
        assert_eq!((one.durations(0).quantile(0.5), two.durations(1).quantile(0.5)), (None, None));
        drop(one);
        let three = new();
        three.decided(0, VariantId(1), key);
        assert!(three.read().keys.is_some());
    }

    #[test]
    fn evidence_never_decreases() {
        let sample = sample(DrawUnit::Keys, 1);
        let most = [-3.0, 7.5, 2.0].map(|ln| sample.most_evidence(ln).to_bits());
        assert_eq!(most, [0.0_f64, 7.5, 7.5].map(f64::to_bits));
    }

    proptest! {
        /// Readings do not change the result, with one worker or three: taken keys stay, and the same slots are taken.
        #[test]
        fn first_keys_stay(decisions in proptest::collection::vec((0_u32..3_000, 0_usize..3, any::<bool>()), 1..3_000)) {
            let (read_often, read_once) = (sample(DrawUnit::Keys, 3), sample(DrawUnit::Keys, 3));
            let mut before = vec![0, 0];
            for (n, worker, look) in &decisions {
                let hash = hash(*n);
                for sample in [&read_often, &read_once] {
                    sample.decided(*worker, variant(hash), Some(KeyHash::of(hash)));
                }
                if *look && n % 64 == 0 {
                    let now = read_often.read().firsts;
                    prop_assert!(before.iter().zip(&now).all(|(before, now)| before <= now));
                    before = now;
                }
            }
            let sum = |sample: &Sample| sample.read().firsts.iter().sum::<u64>();
            prop_assert_eq!(sum(&read_often), sum(&read_once));
            prop_assert_eq!(read_often.read().keys, read_once.read().keys);
        }
    }
}
