//! Errors and durations of the arms over time, on one axis.

use maud::Markup;
use serde_json::Value;

use super::super::figures::grouped;
use super::axis::{AxisUnit, ValueAxis};
use super::key::{ChartKey, KeyCell, KeyRow, LargestPoint};
use super::plot::{ChartPlot, NO_HISTORY, empty_figure};
use super::series::{ChartArm, ChartHistory, POINTS_MAX, PointValues, part_of};
use super::span::ChartSpan;
use super::stroke::ChartLine;
use super::trace::LineShape;
use super::words::{of, requests};

/// The largest range of durations on a linear axis.
const LINEAR_RANGE: f64 = 20.0;

/// The part of failed requests of each arm over time, from a history.
pub fn error_chart(history: &Value) -> Markup {
    let title = "Errors";
    let Some(history) = ChartHistory::read(history, POINTS_MAX) else {
        return empty_figure("errors", title, NO_HISTORY);
    };
    let span = history.span;
    let rows = history.arms.iter().map(|arm| error_row(arm, &span)).collect();
    let line = |arm: &ChartArm| ChartLine { values: arm.error_percents(), ..arm_line(arm) };
    let lines: Vec<ChartLine> = history.arms.iter().map(line).collect();
    let Some(highest) = extreme(&lines, f64::max) else { return no_requests("errors", title, &span) };
    ChartPlot {
        kind: "errors",
        title: title.to_owned(),
        unit_words: format!("failed requests, % of those of each arm, by {}{}", span.step_words(), left_out(&history)),
        span,
        axis: ValueAxis::from_zero(highest, AxisUnit::Percent),
        unit: AxisUnit::Percent,
        lines,
        threshold: None,
        key: ChartKey { heads: ChartKey::heads_of(&span), rows },
    }
    .figure()
}

/// p50 and p99 of each arm over time.
pub fn latency_chart(history: &Value) -> Markup {
    let title = "Durations";
    let Some(history) = ChartHistory::read(history, POINTS_MAX) else {
        return empty_figure("durations", title, NO_HISTORY);
    };
    let span = history.span;
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for arm in &history.arms {
        for (measure, stroke, values) in [("p50", "main", &arm.p50_ms), ("p99", "thin", &arm.p99_ms)] {
            lines.push(ChartLine { measure, stroke, values: values.clone(), ..arm_line(arm) });
            rows.push(time_row(arm, measure, values, &span));
        }
    }
    let Some(highest) = extreme(&lines, f64::max) else { return no_requests("durations", title, &span) };
    let least = lines.iter().flat_map(|line| line.values.iter().flatten()).copied().filter(|ms| *ms > 0.0);
    let lowest = least.fold(highest, f64::min);
    let unit = AxisUnit::Millis;
    let (axis, scale) = if highest > lowest * LINEAR_RANGE {
        (ValueAxis::logarithmic(lowest, highest, unit), ", logarithmic")
    } else {
        (ValueAxis::from_zero(highest, unit), "")
    };
    ChartPlot {
        kind: "durations",
        title: title.to_owned(),
        unit_words: format!("p50 and p99 of each arm, by {}{scale}{}", span.step_words(), left_out(&history)),
        span,
        axis,
        unit,
        lines,
        threshold: None,
        key: ChartKey { heads: ChartKey::heads_of(&span), rows },
    }
    .figure()
}

/// A line of an arm, without values.
fn arm_line(arm: &ChartArm) -> ChartLine {
    ChartLine {
        class: arm.class,
        stroke: "main",
        owner: arm.name.clone(),
        measure: "",
        values: PointValues::new(),
        shape: LineShape::Straight,
    }
}

fn error_row(arm: &ChartArm, span: &ChartSpan) -> KeyRow {
    let unit = AxisUnit::Percent;
    let counts = |at: usize| {
        let [requests, errors] = [&arm.requests, &arm.errors].map(|counts| counts.get(at).copied().flatten());
        (errors.unwrap_or(0), requests)
    };
    let values = arm.error_percents();
    let last = match (values.last().copied().flatten(), counts(span.points().saturating_sub(1))) {
        (Some(now), (errors, Some(requests))) => KeyCell::new(unit.of(now), of(errors, requests)),
        (None, (_, Some(0))) => KeyCell::new("–".to_owned(), "no request".to_owned()),
        (Some(_) | None, _) => KeyCell::new("–".to_owned(), "not known".to_owned()),
    };
    let largest = LargestPoint::of(&values).map_or_else(KeyCell::default, |largest| {
        let (errors, requests) = counts(largest.at);
        let counts = of(errors, requests.unwrap_or(0));
        let at = if largest.value > 0.0 { format!(", {}", span.moment(largest.at)) } else { String::new() };
        KeyCell::new(unit.of(largest.value), counts + &at)
    });
    let (errors, requests) = (arm.all_errors(), arm.all_requests());
    let all = part_of(errors, requests).map_or_else(
        || KeyCell::new("–".to_owned(), "no request".to_owned()),
        |all| KeyCell::new(unit.of(all), of(errors, requests)),
    );
    KeyRow { name: arm.name.clone(), cells: [last, largest, all] }
}

fn time_row(arm: &ChartArm, measure: &str, values: &PointValues, span: &ChartSpan) -> KeyRow {
    let unit = AxisUnit::Millis;
    let count = |at: usize| {
        let count = arm.requests.get(at).copied().flatten();
        count.map_or_else(|| "n not known".to_owned(), |count| format!("n\u{a0}=\u{a0}{}", grouped(count)))
    };
    let last = values.last().copied().flatten().map_or_else(|| "–".to_owned(), |last| unit.of(last));
    let largest = LargestPoint::of(values).map_or_else(KeyCell::default, |largest| {
        KeyCell::new(unit.of(largest.value), format!("{}, {}", count(largest.at), span.moment(largest.at)))
    });
    KeyRow {
        name: format!("{}\u{a0}{measure}", arm.name),
        cells: [
            KeyCell::new(last, count(span.points().saturating_sub(1))),
            largest,
            KeyCell::new(String::new(), requests(arm.all_requests())),
        ],
    }
}

fn no_requests(kind: &str, title: &str, span: &ChartSpan) -> Markup {
    empty_figure(kind, title, &format!("No requests from {}.", span.words()))
}

fn left_out(history: &ChartHistory) -> String {
    match history.arms_left_out {
        0 => String::new(),
        1 => "; 1 more variant is not shown".to_owned(),
        more => format!("; {more} more variants are not shown"),
    }
}

/// The largest or least of all values.
fn extreme(lines: &[ChartLine], pick: fn(f64, f64) -> f64) -> Option<f64> {
    lines.iter().flat_map(|line| line.values.iter().flatten()).copied().reduce(pick)
}
