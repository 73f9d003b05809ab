//! What the other workers probably do since their last reports: as much as this one, times their share of the traffic.

use std::cell::Cell;

/// The largest multiple. A larger guess would hide what the worker knows of its own requests.
const MULTIPLE_MAX: f64 = 3.0;
/// What a tick leaves of the traffic before it.
const KEPT: f64 = 0.875;
/// With less traffic than this, nothing is known of the shares.
const TRAFFIC_MIN: f64 = 1.0;

/// The traffic of one worker at an upstream, and that of the others.
#[derive(Debug)]
pub struct OthersGuess {
    /// The number of other workers, at most `MULTIPLE_MAX`.
    most: f64,
    multiple: Cell<f64>,
    /// Recent requests.
    own: Cell<f64>,
    others: Cell<f64>,
    /// Requests up to the last tick; `None` before the first one.
    counted: Cell<Option<WorkerTraffic>>,
}

/// Requests since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerTraffic {
    /// Those of this worker.
    pub own: u64,
    /// Those of the other workers.
    pub others: u64,
}

impl OthersGuess {
    /// For one of so many workers and one more.
    #[must_use]
    pub fn new(other_workers: u32) -> Self {
        let most = f64::from(other_workers).min(MULTIPLE_MAX);
        let (own, others) = (Cell::new(0.0), Cell::new(0.0));
        Self { most, multiple: Cell::new(most), own, others, counted: Cell::new(None) }
    }

    /// How many times as much as this worker the others have done since their last reports.
    #[must_use]
    #[inline]
    pub fn multiple(&self) -> f64 {
        self.multiple.get()
    }

    /// The work of a tick: the traffic up to now.
    pub fn tick(&self, now: WorkerTraffic) {
        let Some(before) = self.counted.replace(Some(now)) else { return };
        let add = |sum: &Cell<f64>, more: u64| {
            #[expect(clippy::cast_precision_loss, reason = "requests of a tick")]
            sum.set(sum.get() * KEPT + more as f64);
            sum.get()
        };
        let own = add(&self.own, now.own.saturating_sub(before.own));
        let others = add(&self.others, now.others.saturating_sub(before.others));
        let is_known = own + others >= TRAFFIC_MIN;
        self.multiple.set(if is_known && others < own * self.most { others / own } else { self.most });
        debug_assert!((0.0..=self.most).contains(&self.multiple.get()), "a share of the other workers");
    }
}
