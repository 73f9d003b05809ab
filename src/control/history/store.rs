//! All series of the process, within a budget of memory.

use std::collections::HashMap;

use super::chart::HistoryChart;
use super::point::{SeriesPoint, SeriesShape};
use super::series::{HistorySeries, SlotRange};

/// The memory that all series may take, with what is kept to count them.
pub(super) const BUDGET_BYTES: usize = 64 << 20;
/// How many slots a rollout and a release have: 24 h of 10 s.
const RELEASE_SLOTS: u64 = 8_640;
/// How many slots a route has: 1 h of 10 s.
const ROUTE_SLOTS: u64 = 360;
/// A series without a request for so many slots goes before the points of others: 10 min of 10 s.
const IDLE_SLOTS: u64 = 60;
/// How often is looked for series that are over, in slots.
const EXPIRE_EVERY: u64 = 6;
/// What the entry of a series takes beside the series and its name.
const ENTRY_BYTES: usize = 64;

/// What a series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SeriesKind {
    /// A rollout.
    Rollout,
    /// A release of a static weight, `route:variant`.
    Release,
    /// A route.
    Route,
}

/// What was sampled of one series.
#[derive(Clone, Debug)]
pub(super) struct SampledSeries {
    /// What it is about.
    pub kind: SeriesKind,
    /// Its name.
    pub name: String,
    /// Its arms and guards.
    pub shape: SeriesShape,
    /// The thresholds of the guards.
    pub thresholds: Vec<f64>,
    /// The slots that were sampled.
    pub slots: SlotRange,
    /// What was counted in them.
    pub point: SeriesPoint,
}

/// The memory of all series, for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryMemory {
    /// The bytes in use.
    pub bytes: usize,
    /// The series.
    pub series: usize,
    /// The series that were dropped for others since the start.
    pub dropped: u64,
}

/// All series.
#[derive(Debug)]
pub(super) struct HistoryStore {
    /// By name, by kind.
    series: [HashMap<String, HistorySeries>; 3],
    budget: usize,
    /// The bytes of all series.
    bytes: usize,
    /// The bytes of what is kept to count them.
    beside: usize,
    dropped: u64,
    /// The series in use alone are more than the budget: no other begins.
    is_full: bool,
    /// The slot after the last sample.
    end: u64,
}

impl SeriesKind {
    const ALL: [Self; 3] = [Self::Rollout, Self::Release, Self::Route];

    /// How many slots its series have.
    pub const fn slots(self) -> u64 {
        match self {
            Self::Rollout | Self::Release => RELEASE_SLOTS,
            Self::Route => ROUTE_SLOTS,
        }
    }
}

impl HistoryStore {
    /// No series yet, and so many bytes for all.
    pub fn new(budget: usize) -> Self {
        Self { series: Default::default(), budget, bytes: 0, beside: 0, dropped: 0, is_full: false, end: 0 }
    }

    /// Whether it takes what is sampled of this series.
    pub fn admits(&self, kind: SeriesKind, name: &str) -> bool {
        // Routes make way for a rollout.
        !self.is_full || kind == SeriesKind::Rollout || self.series[kind as usize].contains_key(name)
    }

    /// Takes what was sampled of a series.
    pub fn take(&mut self, sampled: SampledSeries) {
        let SampledSeries { kind, name, shape, thresholds, slots, point } = sampled;
        if !self.admits(kind, &name) {
            return;
        }
        let all = &mut self.series[kind as usize];
        if !all.contains_key(&name) {
            let series = HistorySeries::new(shape.clone(), slots.first);
            self.bytes += bytes_of(&name, &series);
            all.insert(name.clone(), series);
        }
        let Some(series) = all.get_mut(&name) else { return };
        let before = series.bytes();
        series.idle_until(slots.first);
        series.follow(shape, thresholds);
        series.push(slots, &point);
        series.drop_before(series.end().saturating_sub(kind.slots()));
        self.bytes = self.bytes + series.bytes() - before;
    }

    /// All series are sampled up to this slot; `beside` is what is kept to count them, in bytes.
    pub fn finish(&mut self, end: u64, beside: usize) {
        let is_due = end / EXPIRE_EVERY != self.end / EXPIRE_EVERY;
        self.end = self.end.max(end);
        self.beside = beside;
        if is_due {
            let end = self.end;
            for kind in [SeriesKind::Release, SeriesKind::Route] {
                self.retain(kind, |_, series| series.requested() + kind.slots() > end);
            }
        }
        self.stay_within_budget();
        debug_assert!(self.bytes + self.beside.min(self.budget) <= self.budget, "the budget is for all");
    }

    /// Nothing was counted until this slot.
    pub fn advance(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Keeps the series of this kind for which `keep` is true.
    pub fn retain(&mut self, kind: SeriesKind, keep: impl Fn(&str, &HistorySeries) -> bool) {
        let mut freed = 0;
        self.series[kind as usize].retain(|name, series| {
            let is_kept = keep(name, series);
            freed += if is_kept { 0 } else { bytes_of(name, series) };
            is_kept
        });
        self.bytes -= freed;
    }

    /// The names of the series of this kind for which `wanted` is true.
    pub fn names(&self, kind: SeriesKind, wanted: impl Fn(&HistorySeries) -> bool) -> Vec<String> {
        let all = self.series[kind as usize].iter().filter(|(_, series)| wanted(series));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// The points of a series, as at most so many; `None`: there are none.
    pub fn chart(&self, kind: SeriesKind, name: &str, points: usize) -> Option<HistoryChart> {
        self.series[kind as usize].get(name).map(|series| series.chart(self.end, kind.slots(), points))
    }

    /// The memory in use.
    pub fn memory(&self) -> HistoryMemory {
        let series = self.series.iter().map(HashMap::len).sum();
        HistoryMemory { bytes: self.bytes + self.beside, series, dropped: self.dropped }
    }

    /// The series without a request for the longest time go; when all are in use, the oldest points of all; and when that is
    /// not enough, the series that have begun last.
    fn stay_within_budget(&mut self) {
        let limit = self.budget.saturating_sub(self.beside);
        self.is_full &= self.bytes > limit / 4 * 3;
        if self.bytes <= limit {
            return;
        }
        // A little more than needed, so that this is seldom.
        let limit = limit - limit / 16;
        let end = self.end;
        self.drop_series(limit, |_, series| {
            let is_idle = series.requested() + IDLE_SLOTS < end;
            is_idle.then(|| (0, series.requested()))
        });
        while self.bytes > limit && self.drop_oldest_points() {}
        if self.bytes > limit {
            self.is_full = true;
            self.drop_series(limit, |kind, series| Some((2 - kind as usize, u64::MAX - series.born())));
        }
    }

    /// Drops series, those with the smallest rank first, until the others fit. `None`: it stays.
    fn drop_series(&mut self, limit: usize, rank: impl Fn(SeriesKind, &HistorySeries) -> Option<(usize, u64)>) {
        if self.bytes <= limit {
            return;
        }
        let mut ranked = Vec::new();
        for kind in SeriesKind::ALL {
            let all = self.series[kind as usize].iter();
            ranked.extend(all.filter_map(|(name, series)| Some((rank(kind, series)?, kind, name.clone()))));
        }
        ranked.sort_unstable();
        for (_, kind, name) in ranked {
            if self.bytes <= limit {
                return;
            }
            if let Some(series) = self.series[kind as usize].remove(&name) {
                self.bytes -= bytes_of(&name, &series);
                self.dropped += 1;
            }
        }
    }

    /// Drops the oldest eighth of what is oldest in each series. Whether there was any.
    fn drop_oldest_points(&mut self) -> bool {
        let all = self.series.iter().flat_map(HashMap::values);
        let mut ends: Vec<u64> = all.filter_map(HistorySeries::first_chunk_end).collect();
        ends.sort_unstable();
        let Some(until) = ends.get(ends.len() / 8).copied() else { return false };
        let mut freed = 0;
        for series in self.series.iter_mut().flat_map(HashMap::values_mut) {
            let before = series.bytes();
            series.drop_before(until);
            freed += before - series.bytes();
        }
        self.bytes -= freed;
        true
    }
}

fn bytes_of(name: &str, series: &HistorySeries) -> usize {
    ENTRY_BYTES + name.len() + series.bytes()
}
