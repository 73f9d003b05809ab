//! What a chart is drawn from: the points of a series, as lists of values.

use super::codes::{evidence_of, time_ms, time_units, weight_of};
use super::point::{ALL_COUNTED, ArmColumn, WEIGHT};
use super::resample::{CoarseColumns, CoarseGrid};
use super::series::HistorySeries;

/// The points of a series, oldest first. `None`: not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryChart {
    /// The first slot of the first point.
    pub begin: u64,
    /// The slots of a point.
    pub step: u64,
    /// The number of points.
    pub points: usize,
    /// The weight that is set, in percent.
    pub weight: Vec<Option<f64>>,
    /// The part of the requests dealt by weight that stable did not get, 0 to 1.
    pub share: Vec<Option<f64>>,
    /// The arms, stable first.
    pub arms: Vec<ArmLine>,
    /// The guards.
    pub guards: Vec<GuardLine>,
}

/// An arm of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmLine {
    /// Its name.
    pub name: String,
    /// All requests.
    pub requests: Vec<Option<u64>>,
    /// Those that failed.
    pub errors: Vec<Option<u64>>,
    /// Its part of the requests dealt by weight, 0 to 1.
    pub share: Vec<Option<f64>>,
    /// The median of their times, in milliseconds.
    pub p50_ms: Vec<Option<f64>>,
    /// The time that one in 100 exceeds.
    pub p99_ms: Vec<Option<f64>>,
}

/// A guard of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardLine {
    /// Its name.
    pub name: String,
    /// The decimal logarithm at which it trips.
    pub threshold_log10: f64,
    /// The decimal logarithm of its evidence.
    pub evidence_log10: Vec<Option<f64>>,
}

impl HistorySeries {
    /// Its last `slots` slots before slot `end` as at most so many points.
    pub fn chart(&self, end: u64, slots: u64, points: usize) -> HistoryChart {
        let end = end.max(self.end());
        let grid = CoarseGrid::new(self.begin().max(end.saturating_sub(slots)), end, points);
        let shape = self.shape();
        let mut columns = CoarseColumns::new(shape, grid);
        self.each_part(end, |packed, shape, slot| columns.add(packed, shape, slot));
        let all: Vec<Option<u64>> = columns.values(ALL_COUNTED).collect();
        let arms: Vec<ArmLine> =
            shape.arms.iter().enumerate().map(|(arm, name)| arm_line(&columns, arm, name, &all)).collect();
        let evidence = |at: usize| columns.codes(shape.guard(at)).map(evidence_of).collect();
        let guards = shape.guards.iter().zip(self.thresholds()).enumerate();
        HistoryChart {
            begin: grid.begin(),
            step: grid.step,
            points: grid.points,
            weight: columns.codes(WEIGHT).map(weight_of).collect(),
            share: others_share(&arms, grid.points),
            arms,
            guards: guards
                .map(|(at, (name, threshold))| GuardLine {
                    name: name.clone(),
                    threshold_log10: *threshold,
                    evidence_log10: evidence(at),
                })
                .collect(),
        }
    }
}

fn arm_line(columns: &CoarseColumns<'_>, arm: usize, name: &str, all: &[Option<u64>]) -> ArmLine {
    let values = |column: ArmColumn| columns.values(column.of(arm));
    let times = columns.codes(ArmColumn::P99.of(arm)).map(|code| time_units(code).map(f64::from).map(time_ms));
    ArmLine {
        name: name.to_owned(),
        requests: values(ArmColumn::Requests).collect(),
        errors: values(ArmColumn::Errors).collect(),
        share: values(ArmColumn::Counted).zip(all).map(|(own, all)| ratio(own?, (*all)?)).collect(),
        p50_ms: columns.medians(arm).map(|units| units.map(time_ms)).collect(),
        p99_ms: times.collect(),
    }
}

/// The part of all arms but stable.
fn others_share(arms: &[ArmLine], points: usize) -> Vec<Option<f64>> {
    let others = arms.get(1..).unwrap_or_default();
    let sum = |point: usize| {
        let parts = others.iter().map(|arm| arm.share.get(point).copied().flatten());
        parts.sum::<Option<f64>>().filter(|_| !others.is_empty())
    };
    (0..points).map(sum).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share is for people")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
