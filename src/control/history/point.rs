//! A point of a series: what was counted in one slot, and its row of codes.

use super::codes::{UNKNOWN, count_code, evidence_code, time_code, weight_code};

/// The columns before those of the arms.
pub(super) const WEIGHT: usize = 0;
/// Requests that were dealt by weight, to all variants.
pub(super) const ALL_COUNTED: usize = 1;
/// The columns before the first arm.
pub(super) const BEFORE_ARMS: usize = 2;
/// The columns of an arm.
pub(super) const OF_ARM: usize = 5;

/// A column of an arm, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArmColumn {
    /// All requests.
    Requests,
    /// Those that failed.
    Errors,
    /// Those that were dealt by weight.
    Counted,
    /// The median of their times.
    Median,
    /// The time that one in 100 exceeds.
    P99,
}

/// What the columns of a series are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeriesShape {
    /// The names of the arms, stable first.
    pub arms: Vec<String>,
    /// The names of the guards.
    pub guards: Vec<String>,
}

/// How the codes of a column become one when points become coarser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoarseRule {
    /// Their sum.
    Sum,
    /// The last one.
    Last,
    /// The largest one.
    Largest,
    /// Their mean, each as often as there were requests.
    Mean,
}

/// What was counted in one slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SeriesPoint {
    /// The weight that is set, in percent.
    pub weight: Option<f64>,
    /// Requests that were dealt by weight, to all variants of the routes.
    pub counted: u64,
    /// By arm; `None`: not known.
    pub arms: Vec<Option<ArmPoint>>,
    /// The decimal logarithm of the evidence, by guard; `None`: it does not judge.
    pub guards: Vec<Option<f64>>,
}

/// What was counted about an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ArmPoint {
    /// All requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that were dealt by weight.
    pub counted: u64,
    /// The median of their times, in milliseconds; `None` without a response.
    pub p50_ms: Option<f64>,
    /// The time that one in 100 exceeds.
    pub p99_ms: Option<f64>,
}

impl ArmColumn {
    /// The index of this column of an arm.
    pub const fn of(self, arm: usize) -> usize {
        BEFORE_ARMS + arm * OF_ARM + self as usize
    }
}

impl SeriesShape {
    /// The number of columns.
    pub const fn columns(&self) -> usize {
        BEFORE_ARMS + self.arms.len() * OF_ARM + self.guards.len()
    }

    /// The index of the column of a guard.
    pub const fn guard(&self, at: usize) -> usize {
        BEFORE_ARMS + self.arms.len() * OF_ARM + at
    }

    /// How the points of a column become coarser.
    pub fn rule(&self, column: usize) -> CoarseRule {
        if column == WEIGHT {
            return CoarseRule::Last;
        }
        if column >= self.guard(0) {
            return CoarseRule::Largest;
        }
        match column.checked_sub(BEFORE_ARMS).map(|at| at % OF_ARM) {
            Some(at) if at == ArmColumn::Median as usize => CoarseRule::Mean,
            Some(at) if at == ArmColumn::P99 as usize => CoarseRule::Largest,
            Some(_) | None => CoarseRule::Sum,
        }
    }

    /// For each column its index in another shape; `None`: that one does not have it.
    pub fn places_in(&self, other: &Self) -> Vec<Option<usize>> {
        let mut places = vec![Some(WEIGHT), Some(ALL_COUNTED)];
        for name in &self.arms {
            let arm = other.arms.iter().position(|known| known == name);
            places.extend((0..OF_ARM).map(|at| arm.map(|arm| BEFORE_ARMS + arm * OF_ARM + at)));
        }
        let guard = |name: &String| other.guards.iter().position(|known| known == name);
        places.extend(self.guards.iter().map(|name| guard(name).map(|at| other.guard(at))));
        debug_assert_eq!(places.len(), self.columns(), "a place for each column");
        places
    }

    /// The bytes of the names.
    pub fn bytes(&self) -> usize {
        let all = self.arms.iter().chain(&self.guards);
        size_of::<Self>() + all.map(|name| size_of::<String>() + name.capacity()).sum::<usize>()
    }

    /// The row of a point in which nothing is counted, after this one: weight and evidence stay.
    pub fn idle_after(&self, row: &[u32]) -> Vec<u32> {
        let of = |(column, code): (usize, &u32)| match self.rule(column) {
            CoarseRule::Sum => count_code(0),
            CoarseRule::Mean => UNKNOWN,
            CoarseRule::Largest if column < self.guard(0) => UNKNOWN,
            CoarseRule::Last | CoarseRule::Largest => *code,
        };
        row.iter().enumerate().map(of).collect()
    }
}

impl SeriesPoint {
    /// The part of it that falls on slot `at` of `slots`: counts are spread evenly, and their sum stays.
    pub fn part(&self, at: u64, slots: u64) -> Self {
        debug_assert!(at < slots, "a slot among them");
        if slots <= 1 {
            return self.clone();
        }
        let of = |count: u64| {
            let until = |slot: u64| {
                let part = u128::from(count) * u128::from(slot) / u128::from(slots);
                u64::try_from(part).unwrap_or(count)
            };
            until(at + 1) - until(at)
        };
        let arm = |arm: &ArmPoint| ArmPoint {
            requests: of(arm.requests),
            errors: of(arm.errors),
            counted: of(arm.counted),
            ..*arm
        };
        Self {
            counted: of(self.counted),
            arms: self.arms.iter().map(|one| one.as_ref().map(arm)).collect(),
            ..self.clone()
        }
    }

    /// Whether a request was counted.
    pub fn has_requests(&self) -> bool {
        self.arms.iter().flatten().any(|arm| arm.requests > 0)
    }

    /// Its row.
    pub fn row(&self) -> impl Iterator<Item = u32> {
        let weight = self.weight.map_or(UNKNOWN, weight_code);
        let evidence = self.guards.iter().map(|log10| log10.map_or(UNKNOWN, evidence_code));
        [weight, count_code(self.counted)]
            .into_iter()
            .chain(self.arms.iter().flat_map(|arm| arm_row(arm.as_ref())))
            .chain(evidence)
    }
}

fn arm_row(arm: Option<&ArmPoint>) -> [u32; OF_ARM] {
    let Some(arm) = arm else { return [UNKNOWN; OF_ARM] };
    let time = |ms: Option<f64>| ms.map_or(UNKNOWN, time_code);
    let [requests, errors, counted] = [arm.requests, arm.errors, arm.counted].map(count_code);
    [requests, errors, counted, time(arm.p50_ms), time(arm.p99_ms)]
}

#[cfg(test)]
mod tests {
    use super::CoarseRule::{Largest, Last, Mean, Sum};
    use super::*;

    fn shape(arms: &[&str], guards: &[&str]) -> SeriesShape {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SeriesShape { arms: owned(arms), guards: owned(guards) }
    }

    #[test]
    fn each_column_has_its_place_and_its_rule() {
        let shape = shape(&["stable", "canary"], &["errors"]);
        assert_eq!((shape.columns(), shape.guard(0), ArmColumn::P99.of(1)), (13, 12, 11));
        let rules: Vec<CoarseRule> = (0..13).map(|column| shape.rule(column)).collect();
        assert_eq!(rules, [Last, Sum, Sum, Sum, Sum, Mean, Largest, Sum, Sum, Sum, Mean, Largest, Largest]);
        let arm = ArmPoint { requests: 4, errors: 1, counted: 3, p50_ms: Some(0.5), p99_ms: None };
        let point =
            SeriesPoint { weight: Some(25.0), counted: 9, arms: vec![Some(arm), None], guards: vec![Some(-1.0)] };
        let row: Vec<u32> = point.row().collect();
        assert_eq!(row, [250_001, 10, 5, 2, 4, 51, 0, 0, 0, 0, 0, 0, 31_901]);
        assert_eq!(shape.idle_after(&row), [250_001, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 31_901]);
    }

    #[test]
    fn columns_are_found_by_name_in_another_shape() {
        let (now, before) = (shape(&["stable", "b"], &["x", "y"]), shape(&["stable", "a", "b"], &["y"]));
        let places = now.places_in(&before);
        assert_eq!(places[..3], [Some(0), Some(1), Some(2)]);
        assert_eq!((places[7], places[12], places[13]), (Some(12), None, Some(17)));
        assert_eq!(before.places_in(&now)[7], None);
    }

    #[test]
    fn parts_have_the_sum_of_the_whole() {
        let arm = ArmPoint { requests: 10, errors: 2, counted: 7, p50_ms: Some(3.0), p99_ms: Some(9.0) };
        let whole = SeriesPoint { weight: Some(5.0), counted: 11, arms: vec![Some(arm), None], guards: vec![None] };
        let parts: Vec<SeriesPoint> = (0..4).map(|at| whole.part(at, 4)).collect();
        let requests: Vec<u64> = parts.iter().map(|part| part.arms[0].unwrap().requests).collect();
        assert_eq!(requests, [2, 3, 2, 3]);
        assert_eq!(parts.iter().map(|part| part.counted).sum::<u64>(), 11);
        assert!(parts.iter().all(|part| part.arms[1].is_none() && part.arms[0].unwrap().p99_ms == Some(9.0)));
        assert_eq!(whole.part(0, 1), whole);
    }
}
