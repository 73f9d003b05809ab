//! Exact counts of the last ten seconds, in ten buckets of one second. A moving average would trip falsely where there
//! are few requests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The seconds that are counted: the current one and those before it.
const SECONDS: usize = 10;

/// Requests and failures of the last ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentCounts {
    /// Requests.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
}

/// The counts of one second.
#[derive(Debug, Default)]
struct Bucket {
    second: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
}

/// The buckets of one worker, the only writer.
#[derive(Debug, Default)]
struct RecentWindow([Bucket; SECONDS]);

/// The buckets of each worker, allocated at first use: no cache line is shared among workers.
#[derive(Debug)]
pub struct RecentWindows(Box<[OnceLock<Box<RecentWindow>>]>);

impl RecentWindows {
    /// Buckets for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// Counts a request in this second. Only `worker` calls it.
    ///
    /// # Panics
    /// When `worker` is not below the number of workers.
    #[inline]
    pub fn add_request(&self, worker: usize, second: u64) {
        add(&self.bucket(worker, second).requests);
    }

    /// Counts a failure in this second. Only `worker` calls it.
    ///
    /// # Panics
    /// When `worker` is not below the number of workers.
    pub fn add_failure(&self, worker: usize, second: u64) {
        add(&self.bucket(worker, second).failures);
    }

    #[inline]
    fn bucket(&self, worker: usize, second: u64) -> &Bucket {
        let window = self.0[worker].get_or_init(Box::default);
        #[expect(clippy::cast_possible_truncation, reason = "below ten")]
        let bucket = &window.0[(second % SECONDS as u64) as usize];
        if bucket.second.load(Relaxed) != second {
            bucket.requests.store(0, Relaxed);
            bucket.failures.store(0, Relaxed);
            bucket.second.store(second, Relaxed);
        }
        bucket
    }

    /// The counts of all workers in the ten seconds that end with this one.
    #[must_use]
    pub fn sum(&self, second: u64) -> RecentCounts {
        self.sum_since(second, 0)
    }

    /// The same without the seconds before `first`.
    pub(super) fn sum_since(&self, second: u64, first: u64) -> RecentCounts {
        let mut sum = RecentCounts::default();
        for bucket in self.0.iter().filter_map(OnceLock::get).flat_map(|window| &window.0) {
            let at = bucket.second.load(Relaxed);
            let age = second.checked_sub(at).filter(|_| at >= first);
            if age.is_some_and(|age| age < SECONDS as u64) {
                sum.requests += u64::from(bucket.requests.load(Relaxed));
                sum.failures += u64::from(bucket.failures.load(Relaxed));
            }
        }
        debug_assert!(sum.requests < u64::MAX, "a sum of 32-bit counts");
        sum
    }
}

/// Adds one. One writer: no read-modify-write instruction.
#[inline]
fn add(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_leaves_after_ten_seconds() {
        let windows = RecentWindows::new(2);
        assert_eq!(windows.sum(0), RecentCounts::default());
        windows.add_request(0, 0);
        windows.add_request(1, 5);
        windows.add_failure(1, 5);
        assert_eq!(windows.sum(5), RecentCounts { requests: 2, failures: 1 });
        assert_eq!(windows.sum(9), RecentCounts { requests: 2, failures: 1 });
        assert_eq!(windows.sum(10), RecentCounts { requests: 1, failures: 1 });
        assert_eq!(windows.sum(14), RecentCounts { requests: 1, failures: 1 });
        assert_eq!(windows.sum(15), RecentCounts::default());
        assert_eq!(windows.sum_since(5, 1), RecentCounts { requests: 1, failures: 1 });
        // The same bucket, ten seconds later.
        windows.add_request(0, 10);
        assert_eq!(windows.sum(14), RecentCounts { requests: 2, failures: 1 });
    }
}
