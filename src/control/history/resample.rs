//! Coarser points: the rows of a series as at most so many points, each of as many slots.

use std::ops::Range;

use super::codes::UNKNOWN;
use super::codes::time_units;
use super::packed::{PackedColumn, PackedColumns};
use super::point::{ArmColumn, CoarseRule, SeriesShape};

/// The slots of coarser points. The last point ends with the last slot; the first may have fewer slots than the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CoarseGrid {
    /// The first slot.
    pub first: u64,
    /// The slot after the last one.
    pub end: u64,
    /// The slots of a point.
    pub step: u64,
    /// The number of points.
    pub points: usize,
}

/// The columns of coarser points.
#[derive(Clone, Debug)]
pub(super) struct CoarseColumns<'a> {
    shape: &'a SeriesShape,
    grid: CoarseGrid,
    /// By column, by point: one more than its value; 0: not known.
    columns: Vec<Vec<u64>>,
    /// By arm, by point: the requests whose medians are known.
    timed: Vec<Vec<u64>>,
}

/// A run of slots within one point: the slots as points of packed columns.
#[derive(Clone, Debug)]
struct PointPart {
    point: usize,
    slots: Range<usize>,
}

impl CoarseGrid {
    /// The slots from `first` to `end` as at most so many points.
    pub fn new(first: u64, end: u64, points: usize) -> Self {
        let (slots, most) = (end.saturating_sub(first), u64::try_from(points).unwrap_or(u64::MAX).max(1));
        let step = slots.div_ceil(most).max(1);
        let points = usize::try_from(slots.div_ceil(step)).unwrap_or(points);
        debug_assert!(u64::try_from(points).is_ok_and(|points| points <= most), "at most so many points");
        Self { first, end, step, points }
    }

    /// The first slot of the first point; maybe one before the first slot.
    pub fn begin(&self) -> u64 {
        self.end.saturating_sub(self.step * self.points as u64)
    }

    /// The parts of points in which these slots lie.
    fn parts(&self, slots: Range<u64>) -> Vec<PointPart> {
        let (end, mut at, mut parts) = (slots.end.min(self.end), slots.start.max(self.first), Vec::new());
        let begin = self.begin();
        let index = |slot: u64| usize::try_from(slot.saturating_sub(slots.start)).unwrap_or(usize::MAX);
        while at < end {
            let point = (at - begin) / self.step;
            let until = (begin + (point + 1) * self.step).min(end);
            let point = usize::try_from(point).unwrap_or(usize::MAX);
            parts.push(PointPart { point, slots: index(at)..index(until) });
            at = until;
        }
        parts
    }
}

impl<'a> CoarseColumns<'a> {
    /// Of a series of this shape.
    pub fn new(shape: &'a SeriesShape, grid: CoarseGrid) -> Self {
        let columns = vec![vec![0; grid.points]; shape.columns()];
        let timed = vec![vec![0; grid.points]; shape.arms.len()];
        Self { shape, grid, columns, timed }
    }

    /// Adds packed points, the first of which is that of `slot`. They may have another shape. Points are added in their
    /// order.
    pub fn add(&mut self, packed: &PackedColumns, shape: &SeriesShape, slot: u64) {
        let parts = self.grid.parts(slot..slot + packed.points());
        if parts.is_empty() {
            return;
        }
        let columns = packed.columns();
        let is_same = std::ptr::eq(self.shape, shape) || self.shape == shape;
        let places = (!is_same).then(|| self.shape.places_in(shape));
        let found = |column: usize| {
            let place = places.as_ref().map_or(Some(column), |places| places.get(column).copied().flatten());
            place.and_then(|at| columns.get(at))
        };
        for column in 0..self.shape.columns() {
            let Some(codes) = found(column) else { continue };
            let values = &mut self.columns[column];
            match self.shape.rule(column) {
                CoarseRule::Sum => parts.iter().for_each(|part| add_sum(values, codes, part)),
                CoarseRule::Last => parts.iter().for_each(|part| keep_last(values, codes, part)),
                CoarseRule::Largest => parts.iter().for_each(|part| keep_largest(values, codes, part)),
                CoarseRule::Mean => {
                    let arm = (column - ArmColumn::Median.of(0)) / super::point::OF_ARM;
                    let Some(requests) = found(ArmColumn::Requests.of(arm)) else { continue };
                    let timed = &mut self.timed[arm];
                    for part in &parts {
                        add_times(values, timed, [codes, requests], part);
                    }
                }
            }
        }
    }

    /// The values of a column that is not a mean.
    pub fn values(&self, column: usize) -> impl Iterator<Item = Option<u64>> {
        debug_assert!(self.shape.rule(column) != CoarseRule::Mean, "a mean has a divisor");
        self.columns[column].iter().map(|value| value.checked_sub(1))
    }

    /// The codes of such a column.
    pub fn codes(&self, column: usize) -> impl Iterator<Item = u32> {
        self.values(column).map(|value| {
            let code = value.map_or(u64::from(UNKNOWN), |value| value + 1);
            u32::try_from(code).unwrap_or(u32::MAX)
        })
    }

    /// The medians of an arm, in units of time.
    pub fn medians(&self, arm: usize) -> impl Iterator<Item = Option<f64>> {
        let sums = self.columns[ArmColumn::Median.of(arm)].iter().zip(&self.timed[arm]);
        #[expect(clippy::cast_precision_loss, reason = "a time is for people")]
        sums.map(|(sum, requests)| (*requests > 0).then(|| *sum as f64 / *requests as f64))
    }
}

fn add_sum(values: &mut [u64], codes: &PackedColumn<'_>, part: &PointPart) {
    let known = codes.above_zero(part.slots.clone()) as u64;
    if known > 0
        && let Some(value) = values.get_mut(part.point)
    {
        // Each code is one more than its count.
        *value = (*value).max(1) + (codes.sum(part.slots.clone()) - known);
    }
}

fn keep_last(values: &mut [u64], codes: &PackedColumn<'_>, part: &PointPart) {
    let last = codes.last_above_zero(part.slots.clone());
    if last != UNKNOWN
        && let Some(value) = values.get_mut(part.point)
    {
        *value = u64::from(last);
    }
}

fn keep_largest(values: &mut [u64], codes: &PackedColumn<'_>, part: &PointPart) {
    if let Some(value) = values.get_mut(part.point) {
        *value = (*value).max(u64::from(codes.largest(part.slots.clone())));
    }
}

/// Adds the medians of points, each as often as it has requests.
fn add_times(values: &mut [u64], divisors: &mut [u64], [times, requests]: [&PackedColumn<'_>; 2], part: &PointPart) {
    let (mut sum, mut count) = (0_u64, 0_u64);
    let mut slot = part.slots.start;
    times.each(part.slots.clone(), |time| {
        if let Some(units) = time_units(time) {
            let requests = u64::from(requests.code(slot).saturating_sub(1).max(1));
            sum = sum.saturating_add(u64::from(units) * requests);
            count += requests;
        }
        slot += 1;
    });
    if let (Some(value), Some(divisor)) = (values.get_mut(part.point), divisors.get_mut(part.point)) {
        *value = value.saturating_add(sum);
        *divisor += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_point_ends_with_the_last_slot() {
        let grid = CoarseGrid::new(100, 110, 3);
        assert_eq!((grid.step, grid.points, grid.begin()), (4, 3, 98));
        let parts = grid.parts(90..105);
        let parts: Vec<(usize, Range<usize>)> = parts.into_iter().map(|part| (part.point, part.slots)).collect();
        assert_eq!(parts, [(0, 10..12), (1, 12..15)]);
        assert!(grid.parts(110..120).is_empty() && grid.parts(80..100).is_empty());
    }

    #[test]
    fn a_grid_has_no_more_points_than_asked_for() {
        for (slots, points, expected) in [(0, 10, 0), (1, 10, 1), (10, 10, 10), (11, 10, 6), (8_640, 60, 60)] {
            let grid = CoarseGrid::new(7, 7 + slots, points);
            assert_eq!(grid.points, expected, "{slots} slots as {points} points");
            assert!(grid.begin() <= 7 && grid.step * grid.points as u64 >= slots);
        }
    }
}
