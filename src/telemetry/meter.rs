//! Meters with one writer and any number of readers: a worker adds with a plain load and store, the control plane
//! reads. No atomic read-modify-write, no cache line shared among workers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A count that only grows. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Sums the counters of several writers.
pub(super) fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::value).sum()
}

/// A value that goes up and down. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets. One writer.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; Self::BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Upper bounds of the buckets in microseconds; one more bucket holds longer durations.
    pub const BOUNDS_US: [u64; 17] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000,
    ];

    /// Records one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = Self::BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(Self::BOUNDS_US.len());
        let count = &self.counts[at];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        self.sum_us.store(self.sum_us.load(Relaxed).wrapping_add(us), Relaxed);
    }

    /// The sum in microseconds. It changes with each duration of a microsecond or more.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Relaxed)
    }

    /// The counts per bucket (not cumulative) and the sum in microseconds.
    #[must_use]
    pub fn read(&self) -> ([u64; Self::BOUNDS_US.len() + 1], u64) {
        (std::array::from_fn(|i| self.counts[i].load(Relaxed)), self.sum_us.load(Relaxed))
    }
}

/// A meter for each worker, allocated at first use.
#[derive(Debug)]
pub struct PerWorker<M>(Box<[OnceLock<Box<M>>]>);

impl<M: Default> PerWorker<M> {
    /// Slots for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The meter of a worker; only that worker may write to it.
    ///
    /// # Panics
    /// When `worker` is not below the number of workers.
    #[must_use]
    pub fn of(&self, worker: usize) -> &M {
        self.0[worker].get_or_init(Box::default)
    }

    /// The meters that are in use, for reading.
    pub fn used(&self) -> impl Iterator<Item = &M> {
        self.0.iter().filter_map(|slot| slot.get().map(AsRef::as_ref))
    }
}
