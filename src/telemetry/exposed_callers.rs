//! How many distinct callers the canaries of a rollout got: keys since its stage was entered, and tenants since it began.
//! Estimates of 4 KiB a worker, written by the worker alone; one that begins anew is cleared by the worker that writes next.

use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::{DistinctSketch, MergedSketch};
use crate::route::KeyHash;

/// The distinct callers that the canaries of a rollout got, over all its routes.
#[derive(Debug)]
pub struct ExposedCallers {
    keys: CountedAnew,
    tenants: Option<CountedAnew>,
}

/// Distinct hashes since the count last began anew.
#[derive(Debug)]
struct CountedAnew {
    /// How often it has begun anew.
    begun: AtomicU32,
    workers: Box<[WorkerCount]>,
}

#[derive(Debug)]
struct WorkerCount {
    /// The count that the sketch has.
    begun: AtomicU32,
    sketch: DistinctSketch,
}

impl ExposedCallers {
    /// Counts keys.
    #[must_use]
    pub fn of_keys(workers: usize) -> Self {
        Self { keys: CountedAnew::new(workers), tenants: None }
    }

    /// Counts keys and tenants.
    #[must_use]
    pub fn of_tenants(workers: usize) -> Self {
        Self { tenants: Some(CountedAnew::new(workers)), ..Self::of_keys(workers) }
    }

    /// Adds a key that a canary got. Only its worker calls it.
    #[inline]
    pub fn add_key(&self, worker: usize, key: KeyHash) {
        self.keys.add(worker, key.number());
    }

    /// Whether tenants are counted.
    #[inline]
    #[must_use]
    pub const fn counts_tenants(&self) -> bool {
        self.tenants.is_some()
    }

    /// Adds a tenant that a canary got, by the hash of its name. Only its worker calls it.
    pub fn add_tenant(&self, worker: usize, hash: u64) {
        if let Some(tenants) = &self.tenants {
            tenants.add(worker, hash);
        }
    }

    /// Counts keys from 0.
    pub fn begin_keys(&self) {
        self.keys.begin();
    }

    /// Counts tenants from 0.
    pub fn begin_tenants(&self) {
        if let Some(tenants) = &self.tenants {
            tenants.begin();
        }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> MergedSketch {
        self.keys.merged()
    }

    /// The tenants; `None` when they are not counted.
    #[must_use]
    pub fn tenants(&self) -> Option<MergedSketch> {
        self.tenants.as_ref().map(CountedAnew::merged)
    }
}

impl CountedAnew {
    fn new(workers: usize) -> Self {
        let worker = |_| WorkerCount { begun: AtomicU32::new(0), sketch: DistinctSketch::default() };
        Self { begun: AtomicU32::new(0), workers: (0..workers).map(worker).collect() }
    }

    #[inline]
    fn add(&self, worker: usize, hash: u64) {
        let Some(one) = self.workers.get(worker) else { return };
        let begun = self.begun.load(Relaxed);
        if one.begun.load(Relaxed) != begun {
            one.begin(begun);
        }
        one.sketch.add(hash);
    }

    fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    fn merged(&self) -> MergedSketch {
        let begun = self.begun.load(Relaxed);
        let mut merged = MergedSketch::default();
        let current = self.workers.iter().filter(|one| one.begun.load(Acquire) == begun);
        current.for_each(|one| merged.merge(&one.sketch));
        merged
    }
}

impl WorkerCount {
    #[cold]
    fn begin(&self, begun: u32) {
        self.sketch.clear();
        self.begun.store(begun, Release);
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn key(number: u32) -> KeyHash {
        KeyHash::of(xxh3_64(&number.to_le_bytes()))
    }

    fn near(estimate: f64, count: f64) -> bool {
        (estimate - count).abs() <= 0.06 * count + 0.5
    }

    #[test]
    fn callers_of_all_workers_count_once_and_anew_from_each_stage() {
        let exposed = ExposedCallers::of_tenants(3);
        for worker in 0..3 {
            (0..5_000).for_each(|number| exposed.add_key(worker, key(number)));
            (0..100).for_each(|number| exposed.add_tenant(worker, key(number).number()));
        }
        assert!(near(exposed.keys().estimate(), 5_000.0), "{}", exposed.keys().estimate());
        exposed.begin_keys();
        assert!(exposed.keys().estimate() < 0.5);
        // One worker still has the sketch of before.
        (0..2).for_each(|worker| (0..40).for_each(|number| exposed.add_key(worker, key(number))));
        assert!(near(exposed.keys().estimate(), 40.0), "{}", exposed.keys().estimate());
        let tenants = || exposed.tenants().map(|tenants| tenants.estimate());
        assert!(tenants().is_some_and(|tenants| near(tenants, 100.0)), "{:?}", tenants());
        exposed.begin_tenants();
        assert!(tenants().is_some_and(|tenants| tenants < 0.5));
        assert_eq!(ExposedCallers::of_keys(1).tenants(), None);
        exposed.add_key(9, key(1));
    }
}
