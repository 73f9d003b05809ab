//! The verdict of active checks about an endpoint, and what is remembered of its checks. No request reads the memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The verdict of the active checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CheckedHealth {
    /// Nothing checks it.
    #[default]
    Unchecked,
    /// It is checked, and there is no verdict yet.
    Unknown,
    /// As many checks in a row as `healthy` says were good.
    Healthy,
    /// As many checks in a row as `unhealthy` says were bad.
    Unhealthy,
}

/// How many checks in a row change a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckThresholds {
    /// Good ones that make an unhealthy endpoint healthy, from 1.
    pub healthy: u32,
    /// Bad ones that make a healthy endpoint unhealthy, from 1.
    pub unhealthy: u32,
}

/// How a check has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The endpoint answered as it should.
    Good,
    /// It did not; why, in a few words, such as `answers 503`.
    Bad(Arc<str>),
}

/// A bad check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Why, in a few words, such as `answers 503`.
    pub why: Arc<str>,
    /// When it ended, in milliseconds since the start of the process.
    pub at_ms: u64,
}

/// The last checks of an endpoint, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckView {
    /// Good checks in a row; 0 when the last one was bad.
    pub good_in_row: u32,
    /// Bad checks in a row; 0 when the last one was good.
    pub bad_in_row: u32,
    /// When the last check ended, in milliseconds since the start of the process; `None`: there was none.
    pub last_ms: Option<u64>,
    /// The last bad check, also when good ones followed.
    pub failure: Option<FailedCheck>,
}

/// The checks of an upstream since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Good checks.
    pub good: u64,
    /// Bad checks.
    pub bad: u64,
    /// Checks that began later than their interval says.
    pub late: u64,
    /// By how many milliseconds the latest check was late; 0: it was on time.
    pub late_ms: u64,
}

/// The counts of an upstream's checks; the prober writes them.
#[derive(Debug, Default)]
pub(super) struct CheckTally {
    good: AtomicU64,
    bad: AtomicU64,
    late: AtomicU64,
    late_ms: AtomicU64,
}

/// What is remembered of an endpoint's checks. The prober writes it, the admin listener reads it.
#[derive(Debug, Default)]
pub(super) struct CheckHistory(Mutex<CheckView>);

impl CheckedHealth {
    /// All verdicts, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Unchecked, Self::Unknown, Self::Healthy, Self::Unhealthy];

    /// The verdict as text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The verdict of this name; `Unchecked` for any other.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|checked| checked.name() == name).unwrap_or_default()
    }

    /// The verdict after these checks in a row. The first check of an endpoint decides at once.
    #[must_use]
    pub(super) const fn after(self, checks: &CheckView, thresholds: CheckThresholds) -> Self {
        debug_assert!(checks.good_in_row == 0 || checks.bad_in_row == 0, "a check is good or bad");
        let CheckThresholds { healthy, unhealthy } = thresholds;
        match self {
            Self::Unchecked => Self::Unchecked,
            Self::Unknown if checks.bad_in_row > 0 => Self::Unhealthy,
            Self::Unknown if checks.good_in_row > 0 => Self::Healthy,
            Self::Healthy if checks.bad_in_row > 0 && checks.bad_in_row >= unhealthy => Self::Unhealthy,
            Self::Unhealthy if checks.good_in_row > 0 && checks.good_in_row >= healthy => Self::Healthy,
            Self::Unknown | Self::Healthy | Self::Unhealthy => self,
        }
    }
}

impl CheckHistory {
    fn lock(&self) -> MutexGuard<'_, CheckView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a check, and returns those so far.
    pub(super) fn add(&self, outcome: &CheckOutcome, now_ms: u64) -> CheckView {
        let mut view = self.lock();
        view.last_ms = Some(now_ms);
        match outcome {
            CheckOutcome::Good => {
                (view.good_in_row, view.bad_in_row) = (view.good_in_row.saturating_add(1), 0);
            }
            CheckOutcome::Bad(why) => {
                (view.good_in_row, view.bad_in_row) = (0, view.bad_in_row.saturating_add(1));
                view.failure = Some(FailedCheck { why: Arc::clone(why), at_ms: now_ms });
            }
        }
        view.clone()
    }

    /// What is remembered.
    pub(super) fn view(&self) -> CheckView {
        self.lock().clone()
    }

    /// Forgets all checks.
    pub(super) fn clear(&self) {
        *self.lock() = CheckView::default();
    }
}

impl CheckTally {
    /// Counts a check.
    pub(super) fn add(&self, outcome: &CheckOutcome) {
        let count = match outcome {
            CheckOutcome::Good => &self.good,
            CheckOutcome::Bad(_) => &self.bad,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Notes by how much the latest check was late.
    pub(super) fn note_late(&self, late_ms: u64) {
        self.late.fetch_add(u64::from(late_ms > 0), Relaxed);
        self.late_ms.store(late_ms, Relaxed);
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> CheckCounts {
        let of = |count: &AtomicU64| count.load(Relaxed);
        CheckCounts { good: of(&self.good), bad: of(&self.bad), late: of(&self.late), late_ms: of(&self.late_ms) }
    }
}
