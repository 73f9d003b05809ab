//! The share of the canary over time: as it is set, and as it is measured.

use maud::Markup;
use serde_json::Value;

use super::axis::{AxisUnit, ValueAxis};
use super::key::{ChartKey, KeyCell, KeyRow, LargestPoint};
use super::plot::{ChartPlot, NO_HISTORY, empty_figure};
use super::series::{ChartHistory, POINTS_MAX, PointValues};
use super::stroke::ChartLine;
use super::trace::LineShape;
use super::words::requests;

/// The share of the canary: set, measured.
pub fn share_chart(history: &Value) -> Markup {
    let title = if history["kind"] == "route" { "Share of all variants but stable" } else { "Share of the canary" };
    let Some(history) = ChartHistory::read(history, POINTS_MAX) else {
        return empty_figure("share", title, NO_HISTORY);
    };
    let span = history.span;
    let known = [&history.weight, &history.share].into_iter().flatten().flatten().copied();
    let Some(highest) = known.reduce(f64::max) else {
        return empty_figure("share", title, &format!("No share from {}.", span.words()));
    };
    let points = |name: &str| if name == "set" { &history.weight } else { &history.share };
    let rows = ["measured", "set"].map(|name| row(name, points(name), &history));
    let line = |name: &str, class, stroke, shape| ChartLine {
        class,
        stroke,
        owner: name.to_owned(),
        measure: "",
        values: points(name).clone(),
        shape,
    };
    ChartPlot {
        kind: "share",
        title: title.to_owned(),
        unit_words: format!("% of the requests that the weight decides, by {}", span.step_words()),
        span,
        axis: ValueAxis::from_zero(highest, AxisUnit::Percent),
        unit: AxisUnit::Percent,
        lines: vec![
            line("measured", "canary", "main", LineShape::Straight),
            line("set", "set", "level", LineShape::Steps),
        ],
        threshold: None,
        key: ChartKey { heads: ChartKey::heads_of(&span), rows: rows.into() },
    }
    .figure()
}

fn row(name: &str, values: &PointValues, history: &ChartHistory) -> KeyRow {
    let unit = AxisUnit::Percent;
    // Requests of all arms: a measured share is of them.
    let count = |at: usize| {
        let known = history.arms.iter().filter_map(|arm| arm.requests.get(at).copied().flatten());
        let all = known.reduce(u64::saturating_add);
        all.filter(|_| name != "set").map_or_else(String::new, |all| format!("of {}", requests(all)))
    };
    let last = values.last().copied().flatten().map_or_else(|| "–".to_owned(), |last| unit.of(last));
    let largest = LargestPoint::of(values).map_or_else(KeyCell::default, |largest| {
        let counts = [count(largest.at), history.span.moment(largest.at)];
        let counts: Vec<String> = counts.into_iter().filter(|part| !part.is_empty()).collect();
        KeyCell::new(unit.of(largest.value), counts.join(", "))
    });
    let all: u64 = history.arms.iter().map(super::series::ChartArm::all_requests).sum();
    let all = if name == "set" { KeyCell::default() } else { KeyCell::new(String::new(), requests(all)) };
    KeyRow {
        name: name.to_owned(),
        cells: [KeyCell::new(last, count(history.span.points().saturating_sub(1))), largest, all],
    }
}
