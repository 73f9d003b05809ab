//! Errors of the arms in the size of a line of text.

use maud::{Markup, html};
use serde_json::Value;

use super::axis::{AxisUnit, ValueAxis};
use super::key::LargestPoint;
use super::series::{ChartArm, ChartHistory};
use super::trace::{LineShape, LineTrace, TraceFrame, place};
use super::words::{of, plain};

const FRAME: TraceFrame = TraceFrame { width: 112, height: 14.0 };
/// The most points: about one a pixel.
const POINTS_MAX: usize = 100;
/// The least upper end of the axis, in percent: a smaller part of errors does not look like much.
const HIGH_LEAST: f64 = 1.0;

/// The errors of both arms on one axis, in the size of a line of text.
pub fn sparkline(history: &Value) -> Markup {
    let Some(history) = ChartHistory::read(history, POINTS_MAX) else {
        return html! { span class="spark-none" { "no history yet" } };
    };
    let percents: Vec<_> = history.arms.iter().map(ChartArm::error_percents).collect();
    let Some(highest) = percents.iter().flatten().flatten().copied().reduce(f64::max) else {
        return html! { span class="spark-none" title={ "from " (history.span.words()) } { "no requests" } };
    };
    let axis = ValueAxis::from_zero(highest.max(HIGH_LEAST), AxisUnit::Percent);
    let words: Vec<String> = history.arms.iter().map(|arm| words(arm, &history)).collect();
    html! {
        svg class="spark" role="img" viewBox="0 0 120 20" width="120" height="20" {
            title {
                "Errors, " (history.span.words()) ": " (words.join("; ")) ". The height is "
                (AxisUnit::Percent.of(axis.high())) "."
            }
            line class="base" x1="0" x2="112" y1="17.5" y2="17.5" {}
            @for (arm, values) in history.arms.iter().zip(&percents) {
                @let parts: Vec<Option<f64>> = values.iter().map(|value| value.map(|value| axis.part(value))).collect();
                @let trace = LineTrace::new(&parts, LineShape::Straight, FRAME);
                g transform="translate(0 3)" {
                    @if !trace.line.is_empty() { path class={ "line main " (arm.class) } d=(trace.line) {} }
                    @if !trace.dots.is_empty() { path class={ "dots " (arm.class) } d=(trace.dots) {} }
                    @if let Some(now) = parts.last().copied().flatten() {
                        @let y = place(FRAME.height * (1.0 - now));
                        circle class={ "end-mark " (arm.class) } cx="113" cy=(y) r="2" {}
                    }
                }
            }
        }
    }
}

/// `canary last 0.42 % (5 of 1 190), largest 2.1 % (10 of 480)`.
fn words(arm: &ChartArm, history: &ChartHistory) -> String {
    let values = arm.error_percents();
    let counts = |at: usize| {
        let [errors, requests] = [&arm.errors, &arm.requests].map(|counts| counts.get(at).copied().flatten());
        of(errors.unwrap_or(0), requests.unwrap_or(0))
    };
    let figure = |at: usize, value: f64| format!("{} ({})", AxisUnit::Percent.of(value), counts(at));
    let end = history.span.points().saturating_sub(1);
    let last = values.last().copied().flatten().map_or_else(|| "without requests".to_owned(), |last| figure(end, last));
    let largest =
        LargestPoint::of(&values).map_or_else(String::new, |one| format!(", largest {}", figure(one.at, one.value)));
    format!("{} last {last}{largest}", plain(&arm.name, 24))
}
