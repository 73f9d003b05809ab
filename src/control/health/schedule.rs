//! When active checks begin: each at its interval, at most 64 at once, and an address not more often than every 250 ms.
//! No clock, no randomness: times and draws are arguments. Times are milliseconds since the start of the process.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// The most checks at once; more wait, and are late.
pub(super) const CHECKS_AT_ONCE_MAX: usize = 64;
/// The least time between the begins of two checks of one address.
const SPACING_MS: u64 = 250;
/// The deviation of an interval to both sides.
const JITTER: f64 = 0.1;
/// After a change the next check comes this many times sooner.
const SOONER: f64 = 4.0;

/// The number of a check; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CheckId(pub u64);

/// How soon the next check follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckPace {
    /// After the interval.
    Usual,
    /// After a quarter of it: a verdict has changed.
    Soon,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCheck {
    /// Begin this check.
    Begin {
        /// Which.
        id: CheckId,
        /// By how much it is later than its interval and the jitter say; 0: it is on time.
        late_ms: u64,
    },
    /// Nothing before this time.
    At(u64),
    /// Nothing before a check ends, or one is added.
    Nothing,
}

/// The times of all checks.
#[derive(Debug, Default)]
pub(super) struct CheckSchedule {
    /// Those that wait: from when they may begin, when they are due, and which.
    waiting: BTreeSet<(u64, u64, CheckId)>,
    entries: HashMap<CheckId, ScheduleEntry>,
    addresses: HashMap<SocketAddr, AddressPace>,
    under_way: usize,
}

#[derive(Clone, Copy, Debug)]
struct ScheduleEntry {
    address: SocketAddr,
    interval_ms: u64,
    phase: CheckPhase,
}

#[derive(Clone, Copy, Debug)]
enum CheckPhase {
    Waits { ready_ms: u64, due_ms: u64 },
    UnderWay { began_ms: u64 },
}

/// The last begin of a check of an address, and how many checks it has.
#[derive(Clone, Copy, Debug, Default)]
struct AddressPace {
    last_ms: Option<u64>,
    checks: usize,
}

impl CheckSchedule {
    /// Adds a check, which is due now.
    pub(super) fn add(&mut self, id: CheckId, address: SocketAddr, interval: Duration, now_ms: u64) {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let phase = CheckPhase::Waits { ready_ms: now_ms, due_ms: now_ms };
        let before = self.entries.insert(id, ScheduleEntry { address, interval_ms, phase });
        debug_assert!(before.is_none(), "a number is used once");
        self.waiting.insert((now_ms, now_ms, id));
        self.addresses.entry(address).or_default().checks += 1;
    }

    /// Removes a check, also one that is under way.
    pub(super) fn remove(&mut self, id: CheckId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        match entry.phase {
            CheckPhase::Waits { ready_ms, due_ms } => drop(self.waiting.remove(&(ready_ms, due_ms, id))),
            CheckPhase::UnderWay { .. } => self.under_way -= 1,
        }
        if let Some(pace) = self.addresses.get_mut(&entry.address) {
            pace.checks -= 1;
            if pace.checks == 0 {
                self.addresses.remove(&entry.address);
            }
        }
    }

    /// Begins the check that is due, or says when to ask again. Of those that may begin, the one that is due longest.
    pub(super) fn next(&mut self, now_ms: u64) -> NextCheck {
        if self.under_way >= CHECKS_AT_ONCE_MAX {
            return NextCheck::Nothing;
        }
        while let Some((ready_ms, due_ms, id)) = self.waiting.first().copied() {
            if ready_ms > now_ms {
                return NextCheck::At(ready_ms);
            }
            self.waiting.pop_first();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let pace = self.addresses.entry(entry.address).or_default();
            let free_ms = pace.last_ms.map_or(0, |last_ms| last_ms.saturating_add(SPACING_MS));
            if free_ms > now_ms {
                entry.phase = CheckPhase::Waits { ready_ms: free_ms, due_ms };
                self.waiting.insert((free_ms, due_ms, id));
                continue;
            }
            pace.last_ms = Some(now_ms);
            entry.phase = CheckPhase::UnderWay { began_ms: now_ms };
            self.under_way += 1;
            let late_ms = now_ms.saturating_sub(due_ms);
            // Within the jitter it is on time, and where it waits for another check of its address.
            let is_late = late_ms > (entry.interval_ms / 10).max(SPACING_MS);
            return NextCheck::Begin { id, late_ms: if is_late { late_ms } else { 0 } };
        }
        NextCheck::Nothing
    }

    /// A check has ended; `draw` is from 0 to 1. The next one is counted from the begin of this one.
    pub(super) fn end(&mut self, id: CheckId, pace: CheckPace, now_ms: u64, draw: f64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let CheckPhase::UnderWay { began_ms } = entry.phase else { return };
        let share = match pace {
            CheckPace::Usual => 1.0,
            CheckPace::Soon => 1.0 / SOONER,
        };
        let wait = Duration::from_millis(entry.interval_ms)
            .mul_f64(share * (1.0 - JITTER + 2.0 * JITTER * draw.clamp(0.0, 1.0)));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let due_ms = began_ms.saturating_add(wait_ms).max(now_ms);
        entry.phase = CheckPhase::Waits { ready_ms: due_ms, due_ms };
        self.waiting.insert((due_ms, due_ms, id));
        self.under_way -= 1;
    }

    /// The checks under way.
    #[cfg(test)]
    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// How many things it holds: checks, those that wait, and addresses.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.entries.len(), self.waiting.len(), self.addresses.len()]
    }
}
