//! The evidence of a guard over time against its threshold.

use maud::Markup;
use serde_json::Value;

use super::super::figures::{grouped, short, text};
use super::axis::{AxisUnit, ValueAxis};
use super::key::{ChartKey, KeyCell, KeyRow, LargestPoint};
use super::plot::{ChartPlot, NO_HISTORY, empty_figure};
use super::series::{ChartHistory, POINTS_MAX, PointValues, figure};
use super::stroke::ChartLine;
use super::trace::LineShape;
use super::words::{evidence, plain};

/// The chart of one guard: `guard` is a member of `guards` of a history.
pub fn evidence_chart(history: &Value, guard: &Value) -> Markup {
    let name = plain(text(&guard["name"]), 40);
    let Some(history) = ChartHistory::read(history, POINTS_MAX) else {
        return empty_figure("evidence", &name, NO_HISTORY);
    };
    let values = history.evidence(guard);
    let threshold = figure(&guard["threshold_log10"]).filter(|threshold| threshold.abs() <= 1e6);
    let Some(largest) = LargestPoint::of(&values) else {
        let sentence = format!("No evidence from {}.", history.span.words());
        return empty_figure("evidence", &name, &sentence);
    };
    let unit = AxisUnit::Log10;
    let last = values.last().copied().flatten();
    let arms: Vec<String> =
        history.arms.iter().map(|arm| format!("{}\u{a0}{}", arm.name, grouped(arm.all_requests()))).collect();
    let cells = [
        last.map_or_else(
            || KeyCell::new("–".to_owned(), String::new()),
            |last| KeyCell::new(unit.of(last), evidence(last)),
        ),
        KeyCell::new(unit.of(largest.value), format!("at {}", history.span.moment(largest.at))),
        KeyCell::new(String::new(), format!("requests: {}", arms.join(", "))),
    ];
    let trips = threshold
        .map_or_else(String::new, |threshold| format!("; trips at {}, {}", short(threshold), evidence(threshold)));
    let row = KeyRow { name: "evidence".to_owned(), cells };
    ChartPlot {
        kind: "evidence",
        title: name,
        unit_words: format!(
            "log10 of the evidence E that the canary is worse, by {}{trips}",
            history.span.step_words()
        ),
        span: history.span,
        axis: axis(&values, threshold),
        unit,
        lines: vec![ChartLine {
            class: "canary",
            stroke: "main",
            owner: String::new(),
            measure: "",
            values,
            shape: LineShape::Straight,
        }],
        threshold,
        key: ChartKey { heads: ChartKey::heads_of(&history.span), rows: vec![row] },
    }
    .figure()
}

/// From -1 or less to a little more than the threshold, and further for evidence beyond it; within bounds, so that one
/// point far away does not press all others into a line.
fn axis(values: &PointValues, threshold: Option<f64>) -> ValueAxis {
    let known = || values.iter().flatten().copied();
    let size = threshold.unwrap_or(1.0).abs().max(1.0);
    let lowest = known().fold(0.0, f64::min).max(-2.0 * size);
    let highest = known().fold(0.0, f64::max).min(4.0 * size);
    let above = threshold.map_or(1.0, |threshold| threshold + 0.3 * size);
    ValueAxis::between((lowest * 1.1).min(-1.0), above.max(highest * 1.08), AxisUnit::Log10)
}
