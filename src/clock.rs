//! The only file that reads clocks. Other code takes a time, a [`Clock`] or a [`WorkerClock`] as an argument.

use std::ops::Add;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The monotonic time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now(self) -> Instant {
        Instant::now()
    }

    /// The wall clock, since the Unix epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn wall(self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The kernel's monotonic clock, as systemd compares it (`CLOCK_MONOTONIC`).
    #[must_use]
    pub fn monotonic(self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
    }
}

/// A time of the monotonic clock, in nanoseconds since the process started. The difference of two is one subtraction; that
/// of two [`Instant`]s takes forty instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time since `earlier`; zero if that is later.
    #[inline]
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds since the process started.
    #[inline]
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// The last time that there is, if the sum is later.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The clocks as a worker reads them.
#[derive(Clone, Copy, Debug)]
pub struct WorkerClock {
    clock: Clock,
    process_started: Instant,
}

impl WorkerClock {
    /// Reads this clock, in a process that started then.
    #[must_use]
    pub const fn new(clock: Clock, process_started: Instant) -> Self {
        Self { clock, process_started }
    }

    /// The clocks of a process that starts now.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self::new(Clock, Clock.now())
    }

    /// The monotonic time.
    #[inline]
    #[must_use]
    pub fn now(self) -> Timestamp {
        let uptime = self.instant().saturating_duration_since(self.process_started);
        Timestamp(uptime.as_secs() * 1_000_000_000 + u64::from(uptime.subsec_nanos()))
    }

    /// The monotonic time, for what compares it with that of other threads.
    #[inline]
    #[must_use]
    pub fn instant(self) -> Instant {
        self.clock.now()
    }

    /// The wall clock, since the Unix epoch.
    #[must_use]
    pub fn wall(self) -> Duration {
        self.clock.wall()
    }
}
