//! When a worker sweeps: ten times a second while it has something to do. A worker without connections and timers rests:
//! then it sweeps every five seconds, so that an idle process wakes up seldom.

use std::cell::Cell;

use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::connection_deadlines::SWEEP;
use crate::telemetry::REST_BEAT;

/// A worker rests after this many sweeps with nothing to do: three seconds, in which the last counts are read as usual.
const QUIET_SWEEPS: u32 = 30;

/// What a worker has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepWork {
    /// It has connections or timers.
    Some,
    /// Only a new connection or a new snapshot gives it work.
    None,
}

/// The sweeps of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    quiet: Cell<u32>,
    resting: Cell<bool>,
    /// Rung when a rest ends.
    bell: Notify,
}

/// The ticks of a worker's sweeps.
pub(crate) struct SweepTicks(Interval);

impl SweepTicks {
    /// Ticks from now on, inside of the worker's runtime.
    pub(crate) fn new() -> Self {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(ticks)
    }

    /// Waits until the next sweep is due. One that ends a rest is due at once.
    pub(crate) async fn next(&mut self, sweeps: &Sweeps) {
        if sweeps.resting.get() {
            let _ = timeout(REST_BEAT, sweeps.bell.notified()).await;
            // During a rest the ticks stay unset: they would wake the worker.
            if !sweeps.resting.get() {
                self.0.reset();
            }
        } else {
            self.0.tick().await;
        }
    }
}

impl Sweeps {
    /// Notes what the worker has to do after a sweep; returns whether a rest begins.
    pub(super) fn note(&self, work: SweepWork) -> bool {
        let quiet = if work == SweepWork::None { self.quiet.get().saturating_add(1) } else { 0 };
        self.quiet.set(quiet);
        quiet >= QUIET_SWEEPS && !self.resting.replace(true)
    }

    /// Ends a rest; returns whether the worker rested.
    #[inline]
    pub(super) fn rouse(&self) -> bool {
        self.quiet.set(0);
        self.resting.get() && self.end_rest()
    }

    #[cold]
    fn end_rest(&self) -> bool {
        self.resting.set(false);
        self.bell.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_worker_without_work_rests_until_it_is_roused() {
        let sweeps = Sweeps::default();
        for work in [SweepWork::None, SweepWork::Some] {
            assert!((1..QUIET_SWEEPS).all(|_| !sweeps.note(work)), "{work:?}");
        }
        assert!(!sweeps.rouse(), "it does not rest");
        let rests: Vec<u32> = (1..100).filter(|_| sweeps.note(SweepWork::None)).collect();
        assert_eq!(rests, [QUIET_SWEEPS]);
        assert!(sweeps.rouse() && !sweeps.rouse());
        assert!((1..QUIET_SWEEPS).all(|_| !sweeps.note(SweepWork::None)), "a rest begins after quiet sweeps only");
        assert!(!sweeps.rouse(), "it does not rest yet");
        assert!(!sweeps.note(SweepWork::None), "the count begins again");
    }

    #[tokio::test]
    async fn the_end_of_a_rest_is_swept_at_once() {
        let (sweeps, mut ticks) = (Sweeps::default(), SweepTicks::new());
        ticks.next(&sweeps).await;
        while !sweeps.note(SweepWork::None) {}
        // Not even begun to wait: a bell that rings is kept.
        assert!(sweeps.rouse());
        while !sweeps.note(SweepWork::None) {}
        let rest = async {
            ticks.next(&sweeps).await;
            ticks.next(&sweeps).await;
        };
        tokio::pin!(rest);
        assert!(timeout(Duration::ZERO, &mut rest).await.is_err(), "the second sweep waits");
        assert!(sweeps.rouse());
        rest.await;
    }
}
