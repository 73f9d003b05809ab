//! When a worker sweeps: ten times a second while it has something to do. A worker without connections and timers rests:
//! then it sweeps every five seconds, so that an idle process wakes up seldom.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

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

/// The ticks of a worker's sweeps: a timer of the kernel, if there is a file descriptor for it. While the runtime has a
/// timer, each of its turns reads the clock once more.
pub(crate) struct SweepTicks(Option<AsyncFd<OwnedFd>>);

impl SweepTicks {
    /// Inside of the worker's runtime.
    #[expect(deprecated, reason = "unsound for a type that lends a descriptor which is not its own; this one owns it")]
    pub(crate) fn new() -> Self {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).ok();
        Self(timer.and_then(|timer| AsyncFd::with_interest(timer, Interest::READABLE).ok()))
    }

    /// Waits until the next sweep is due. One that ends a rest is due at once.
    pub(crate) async fn next(&mut self, sweeps: &Sweeps) {
        if sweeps.resting.get() {
            // During a rest the timer stays unset: it would wake the worker.
            let _ = timeout(REST_BEAT, sweeps.bell.notified()).await;
        } else if self.tick().await.is_err() {
            sleep(SWEEP).await;
        }
    }

    /// Sets the timer, and waits for it. It need not be read: it is set again.
    async fn tick(&self) -> io::Result<()> {
        let timer = self.0.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        const { assert!(SWEEP.as_secs() == 0, "the timer counts nanoseconds only") };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once =
            Itimerspec { it_interval: never, it_value: Timespec { tv_nsec: SWEEP.subsec_nanos().into(), ..never } };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        timer.readable().await?.clear_ready();
        Ok(())
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
        the_end_of_a_rest(SweepTicks::new()).await;
        // Without a file descriptor for the timer.
        the_end_of_a_rest(SweepTicks(None)).await;
    }

    async fn the_end_of_a_rest(mut ticks: SweepTicks) {
        let sweeps = Sweeps::default();
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
