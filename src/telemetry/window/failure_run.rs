//! The run of failures of a variant, in order of arrival over all workers. A success writes only while a run is under
//! way.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::route::KeyHash;

/// How many failures of a run are kept.
const KEPT: usize = 64;

/// A run of failures.
#[derive(Debug)]
pub struct FailureRun {
    /// The number of the run in the upper half, its length in the lower.
    state: AtomicU64,
    /// By the place of a failure in its run: the number of the run in the upper half, a part of the key in the lower.
    keys: [AtomicU64; KEPT],
}

/// A run as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunView {
    /// The number of the run: another one began anew.
    pub number: u32,
    /// How many failures it has.
    pub length: u32,
    /// A part of the key of each, of the last 64; one that is being written is missing.
    pub keys: Vec<u32>,
}

impl Default for FailureRun {
    fn default() -> Self {
        Self { state: AtomicU64::new(0), keys: [const { AtomicU64::new(0) }; KEPT] }
    }
}

impl FailureRun {
    /// Records a success.
    #[inline]
    pub fn succeed(&self) {
        let state = self.state.load(Relaxed);
        if length(state) != 0 {
            self.end(state);
        }
    }

    /// Ends the run; when a failure came meanwhile, it is a part of the run that ends.
    #[cold]
    fn end(&self, state: u64) {
        let next = u64::from(number(state).wrapping_add(1)) << 32;
        let ended = |now: u64| (number(now) == number(state)).then_some(next);
        // An error means that another worker has ended it.
        let _ = self.state.fetch_update(Relaxed, Relaxed, ended);
    }

    /// Records a failure; returns whether a run begins.
    #[cold]
    pub fn fail(&self, key: KeyHash) -> bool {
        let before = self.state.fetch_add(1, Relaxed);
        // The bits that select a place in the tables of callers, and those above.
        let part = key.number() >> 12 & u64::from(u32::MAX);
        self.keys[length(before) as usize % KEPT].store(u64::from(number(before)) << 32 | part, Release);
        length(before) == 0
    }

    /// The run as it is now.
    #[must_use]
    pub fn read(&self) -> RunView {
        let state = self.state.load(Relaxed);
        let kept = (length(state) as usize).min(KEPT);
        // A place may still have the key of an earlier run.
        let keys = self.keys.iter().take(kept).map(|key| key.load(Acquire));
        let keys = keys.filter(|key| number(*key) == number(state)).map(length).collect();
        RunView { number: number(state), length: length(state), keys }
    }
}

/// The lower half: the length of a run, or the part of a key.
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn length(state: u64) -> u32 {
    state as u32
}

const fn number(state: u64) -> u32 {
    (state >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> KeyHash {
        KeyHash::of(number << 12)
    }

    #[test]
    fn a_success_ends_a_run_and_the_keys_of_the_last_one_do_not_count() {
        let run = FailureRun::default();
        run.succeed();
        assert_eq!(run.read(), RunView::default(), "a success without a run writes nothing");
        (1..=3).for_each(|number| assert_eq!(run.fail(key(number)), number == 1));
        assert_eq!(run.read(), RunView { number: 0, length: 3, keys: vec![1, 2, 3] });
        run.succeed();
        assert_eq!(run.read(), RunView { number: 1, length: 0, keys: vec![] });
        run.fail(key(9));
        assert_eq!(run.read(), RunView { number: 1, length: 1, keys: vec![9] });
    }

    #[test]
    fn the_last_64_keys_are_kept() {
        let run = FailureRun::default();
        (1..=100).for_each(|number| assert_eq!(run.fail(key(number)), number == 1));
        let RunView { number, length, mut keys } = run.read();
        keys.sort_unstable();
        assert_eq!((number, length, keys), (0, 100, (37..=100).collect()));
    }

    #[test]
    fn failures_of_all_workers_are_one_run() {
        let run = FailureRun::default();
        let fails = |from: u64| (from..from + 1000).filter(|number| run.fail(key(*number))).count();
        let begun: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (1..=4).map(|worker| scope.spawn(move || fails(worker * 1000))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(begun, 1, "one failure begins it");
        let view = run.read();
        assert_eq!((view.number, view.length, view.keys.len()), (0, 4000, KEPT));
    }

    #[test]
    fn a_success_during_failures_ends_one_run_and_no_failure_is_lost() {
        let run = FailureRun::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (1..=2000).filter(|number| run.fail(key(*number))).count());
            }
            scope.spawn(|| (0..500).for_each(|_| run.succeed()));
        });
        let view = run.read();
        assert!(view.number <= 500 && view.length <= 4000 && view.keys.len() <= KEPT, "{view:?}");
        run.fail(key(7));
        assert_eq!(run.read().length, view.length + 1);
        run.succeed();
        assert_eq!(run.read(), RunView { number: view.number + 1, length: 0, keys: vec![] });
    }
}
