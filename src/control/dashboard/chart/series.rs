//! What charts are drawn from: a history of the API, with what does not belong there left out.

use serde_json::Value;

use super::super::figures::{list, text};
use super::span::ChartSpan;
use super::words::plain;

/// The most points of a line, where two arms are drawn; more arms have fewer.
pub const POINTS_MAX: usize = 300;
/// The most arms that a chart shows.
const ARMS_MAX: usize = 5;
/// The largest figure that is taken for one.
const LARGEST: f64 = 1e12;
/// The classes of the arms in the style sheet.
const CLASSES: [&str; ARMS_MAX] = ["stable", "canary", "third", "fourth", "fifth"];

/// A value of each point, oldest first; `None`: not known.
pub type PointValues = Vec<Option<f64>>;
/// A count of each point.
pub type PointCounts = Vec<Option<u64>>;

/// A history with at least one point.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartHistory {
    /// Its points in time.
    pub span: ChartSpan,
    /// The weight that is set, in percent.
    pub weight: PointValues,
    /// The share that is measured, in percent.
    pub share: PointValues,
    /// Its arms, stable first.
    pub arms: Vec<ChartArm>,
    /// How many arms more it has.
    pub arms_left_out: usize,
    /// How many points of the history are one of a line.
    factor: usize,
    /// How many points the history has.
    points: usize,
}

/// An arm of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartArm {
    /// Its name, without what changes the direction of text, and not longer than a line.
    pub name: String,
    /// Its class in the style sheet.
    pub class: &'static str,
    /// Its requests.
    pub requests: PointCounts,
    /// Those that failed.
    pub errors: PointCounts,
    /// The median of their times.
    pub p50_ms: PointValues,
    /// The time that one in 100 exceeds.
    pub p99_ms: PointValues,
}

impl ChartHistory {
    /// Of what the API answers, with at most `most` points a line; `None`: it has no points.
    pub fn read(history: &Value, most: usize) -> Option<Self> {
        let from = text(&history["from"]).parse::<jiff::Timestamp>().ok()?;
        let step = history["step_s"].as_i64()?;
        let declared = usize::try_from(history["points"].as_u64()?).ok()?;
        let points = declared.min(longest(history)).min(10_000);
        let arms = list(&history["arms"]).count().clamp(2, ARMS_MAX);
        let factor = points.div_ceil((most * 4 / (arms * arms)).max(1)).max(1);
        let drawn = points.div_ceil(factor);
        // The last point of a line ends with the last one of the history.
        let lead = i64::try_from(drawn * factor - points).ok()?;
        let begin = from.checked_sub(jiff::SignedDuration::from_secs(step.checked_mul(lead)?)).ok()?;
        let span = ChartSpan::new(begin, step.checked_mul(i64::try_from(factor).ok()?)?, drawn)?;
        let grid = PointGrid { points, factor };
        let arms = list(&history["arms"]).zip(CLASSES).map(|(arm, class)| grid.arm(arm, class)).collect();
        Some(Self {
            span,
            weight: grid.values(&history["weight"], percent, last),
            share: grid.values(&history["share"], percent, last),
            arms,
            arms_left_out: list(&history["arms"]).count().saturating_sub(ARMS_MAX),
            factor,
            points,
        })
    }

    /// The evidence of a guard of the history: decimal logarithms.
    pub fn evidence(&self, guard: &Value) -> PointValues {
        let grid = PointGrid { points: self.points, factor: self.factor };
        grid.values(&guard["evidence_log10"], |value| figure(value).filter(|log| log.abs() <= 1e6), largest)
    }
}

impl ChartArm {
    /// The part of failed requests of each point, in percent.
    pub fn error_percents(&self) -> PointValues {
        let counts = self.requests.iter().zip(&self.errors);
        counts.map(|(requests, errors)| part_of((*errors)?, (*requests)?)).collect()
    }

    /// All requests of the points.
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().flatten().sum()
    }

    /// All failed requests of the points.
    pub fn all_errors(&self) -> u64 {
        self.errors.iter().flatten().sum()
    }
}

/// A figure of the API: a number that is one, and of a size that is drawn.
pub fn figure(value: &Value) -> Option<f64> {
    value.as_f64().filter(|figure| figure.is_finite() && figure.abs() <= LARGEST)
}

/// `part` of `whole` in percent; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
pub fn part_of(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 100.0).min(100.0))
}

/// How the points of a history become those of a line.
#[derive(Clone, Copy, Debug)]
struct PointGrid {
    points: usize,
    factor: usize,
}

impl PointGrid {
    fn arm(self, arm: &Value, class: &'static str) -> ChartArm {
        ChartArm {
            name: plain(text(&arm["name"]), 40),
            class,
            requests: self.values(&arm["requests"], count, sum),
            errors: self.values(&arm["errors"], count, sum),
            p50_ms: self.values(&arm["p50_ms"], millis, mean),
            p99_ms: self.values(&arm["p99_ms"], millis, largest),
        }
    }

    /// The values of a list, read by `one`, merged by `many`.
    fn values<T>(
        self,
        values: &Value,
        one: impl Fn(&Value) -> Option<T>,
        many: impl Fn(&[T]) -> Option<T>,
    ) -> Vec<Option<T>> {
        let read: Vec<&Value> = (0..self.points).map(|at| values.get(at).unwrap_or(&Value::Null)).collect();
        read.rchunks(self.factor)
            .rev()
            .map(|chunk| many(&chunk.iter().filter_map(|value| one(value)).collect::<Vec<T>>()))
            .collect()
    }
}

/// The length of its longest list.
fn longest(history: &Value) -> usize {
    let arms = list(&history["arms"]).flat_map(|arm| ["requests", "errors", "p50_ms", "p99_ms"].map(|name| &arm[name]));
    let guards = list(&history["guards"]).map(|guard| &guard["evidence_log10"]);
    let lists = arms.chain(guards).chain([&history["weight"], &history["share"]]);
    lists.map(|values| values.as_array().map_or(0, Vec::len)).max().unwrap_or(0)
}

fn count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|count| *count <= 1_000_000_000_000)
}

fn percent(value: &Value) -> Option<f64> {
    figure(value).filter(|percent| (0.0..=100.0).contains(percent))
}

fn millis(value: &Value) -> Option<f64> {
    figure(value).filter(|millis| *millis >= 0.0)
}

fn sum(values: &[u64]) -> Option<u64> {
    (!values.is_empty()).then(|| values.iter().sum())
}

fn last(values: &[f64]) -> Option<f64> {
    values.last().copied()
}

fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_history_has_no_points() {
        let from = "2026-12-01T13:00:00Z";
        let arm = json!([{ "name": "stable", "requests": [1] }]);
        for history in [
            json!(null),
            json!("text"),
            json!([1, 2]),
            json!({ "from": from, "step_s": 10, "points": 0, "arms": [] }),
            json!({ "from": from, "step_s": 10, "points": 5, "arms": [] }),
            json!({ "from": from, "step_s": 0, "points": 1, "arms": arm }),
            json!({ "from": from, "step_s": i64::MIN, "points": 1, "arms": arm }),
            json!({ "from": from, "step_s": 10, "points": -1, "arms": arm }),
            json!({ "from": "yesterday", "step_s": 10, "points": 1, "arms": arm }),
        ] {
            assert_eq!(ChartHistory::read(&history, POINTS_MAX), None, "{history}");
        }
        let one =
            ChartHistory::read(&json!({ "from": from, "step_s": 10, "points": u64::MAX, "arms": arm }), POINTS_MAX)
                .unwrap();
        assert_eq!((one.span.points(), one.arms[0].requests.as_slice()), (1, [Some(1)].as_slice()));
    }

    #[test]
    fn values_that_are_none_are_holes() {
        let history = json!({
            "from": "2026-12-01T13:00:00Z", "step_s": 10, "points": 7, "weight": [1, 101, -1, null, "5", 100.0],
            "arms": [{ "name": 5, "requests": [10, -1, 1.5, null, "9", 1e300], "errors": [20, 1],
                       "p99_ms": [1.5, -2.0, 1e300, null, "x", [3]] }],
        });
        let history = ChartHistory::read(&history, POINTS_MAX).unwrap();
        assert_eq!(history.weight, [Some(1.0), None, None, None, None, Some(100.0)]);
        let arm = &history.arms[0];
        assert_eq!(arm.requests, [Some(10), None, None, None, None, None]);
        assert_eq!(
            (arm.error_percents()[0], arm.error_percents()[1]),
            (Some(100.0), None),
            "a part is no more than all"
        );
        assert_eq!(arm.p99_ms, [Some(1.5), None, None, None, None, None]);
    }

    #[test]
    fn long_histories_become_shorter_and_end_at_the_same_moment() {
        let points = 1_000;
        let history = json!({
            "from": "2026-12-01T00:00:00Z", "step_s": 10, "points": points,
            "share": (0..points).map(|at| at % 100).collect::<Vec<_>>(),
            "arms": [{ "name": "stable", "requests": vec![3; points], "p50_ms": (0..points).collect::<Vec<_>>() }],
            "guards": [{ "evidence_log10": (0..points).collect::<Vec<_>>() }],
        });
        let read = ChartHistory::read(&history, POINTS_MAX).unwrap();
        assert_eq!(read.span.points(), 250);
        assert_eq!(read.arms[0].all_requests(), 3_000);
        assert_eq!(read.span.moment(249), "02:46:40\u{a0}UTC");
        assert_eq!(read.arms[0].p50_ms[249], Some(997.5));
        assert_eq!(read.share[249], Some(99.0));
        assert_eq!(read.evidence(&history["guards"][0])[0], Some(3.0));
    }
}
