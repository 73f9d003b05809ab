//! A chart as a figure: its name, the plot, the table of its figures.
//!
//! The plot is as wide as its place and has a fixed height: places from left to right are parts of the width, so that
//! letters and lines keep their size. The margins are the padding of the style sheet; marks of the axes lie in them.

use maud::{Markup, html};

use super::axis::{AxisUnit, ValueAxis};
use super::key::ChartKey;
use super::labels::spread;
use super::span::{ChartSpan, TickRoom};
use super::stroke::{ChartLine, mark};
use super::trace::{LineTrace, TraceFrame, place};
use super::words::plain;

/// The height of a plot, in pixels.
const HEIGHT: f64 = 128.0;
/// The width of a point in the view of the lines, which is stretched: a whole number is short in the data of a path.
const POINT_WIDTH: usize = 4;
/// The least distance of labels.
const LABEL_GAP: f64 = 14.0;

/// What stands in the place of a plot without points.
pub const NO_HISTORY: &str = "No history yet: the first point comes after 10\u{a0}s.";

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartPlot {
    /// Its class in the style sheet.
    pub kind: &'static str,
    /// Its name.
    pub title: String,
    /// What its figures are.
    pub unit_words: String,
    /// Its points in time.
    pub span: ChartSpan,
    /// Its axis of values.
    pub axis: ValueAxis,
    /// The unit of the axis.
    pub unit: AxisUnit,
    /// Its lines; the last one is on top.
    pub lines: Vec<ChartLine>,
    /// The value at which a guard trips.
    pub threshold: Option<f64>,
    /// Its figures.
    pub key: ChartKey,
}

/// A label at the right end.
#[derive(Clone, Debug)]
struct EndLabel {
    class: &'static str,
    owner: String,
    figure: String,
    /// The height of what it belongs to.
    y: f64,
}

/// A figure without a plot: a sentence in its place.
pub fn empty_figure(kind: &str, title: &str, sentence: &str) -> Markup {
    html! {
        figure class={ "chart no-points " (kind) } {
            figcaption { b { bdi { (title) } } }
            p class="nothing" { (sentence) }
        }
    }
}

impl ChartPlot {
    /// The figure.
    pub fn figure(&self) -> Markup {
        debug_assert!(self.lines.iter().all(|line| line.values.len() == self.span.points()), "a value for each point");
        let labels = self.labels();
        html! {
            figure class={ "chart " (self.kind) } {
                figcaption { b { bdi { (self.title) } } " " span class="unit" { (self.unit_words) } }
                svg class="plot" role="img" width="100%" height="166" {
                    title { (self.title) ", " (self.span.words()) }
                    desc { (self.unit_words) ". " (self.key.words()) }
                    (self.region())
                    (self.grid())
                    (self.times())
                    svg class="lines" viewBox={ "0 0 " (self.view_width()) " " (HEIGHT) } preserveAspectRatio="none"
                        width="100%" height=(HEIGHT) {
                        @for line in &self.lines { (self.line(line)) }
                    }
                    @for line in &self.lines { (self.end_mark(line)) }
                    (ends(&labels))
                }
                (self.key.table(&self.lines))
            }
        }
    }

    fn view_width(&self) -> usize {
        self.span.points().max(1) * POINT_WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - self.axis.part(value))
    }

    fn grid(&self) -> Markup {
        html! {
            @for tick in &self.axis.ticks {
                @let y = place((HEIGHT * (1.0 - tick.part)).round());
                line class="grid" x1="0" x2="100%" y1=(y) y2=(y) {}
                text class="tick value" x="-8" y=(y) dy="4" { (tick.label) }
            }
        }
    }

    /// The axis of time, at the lower end.
    fn times(&self) -> Markup {
        let y = place(HEIGHT);
        html! {
            line class="base" x1="0" x2="100%" y1=(y) y2=(y) {}
            @for tick in self.span.ticks() {
                @let x = percent(tick.part);
                // The name of the zone is to the right.
                @let is_near_zone = tick.part > if tick.label.len() > 5 { 0.85 } else { 0.96 };
                g class=[(tick.room == TickRoom::Wide).then_some("wide")] {
                    line class="base" x1=(x) x2=(x) y1=(y) y2=(place(HEIGHT + 5.0)) {}
                    text class={ "tick time" @if is_near_zone { " last" } } x=(x) y=(place(HEIGHT + 18.0)) {
                        (tick.label)
                    }
                }
            }
            text class="tick zone" x="100%" dx="13" y=(place(HEIGHT + 18.0)) { "UTC" }
        }
    }

    /// The values at which a guard trips.
    fn region(&self) -> Markup {
        let Some(threshold) = self.threshold else { return html! {} };
        let y = place(self.y(threshold));
        html! {
            rect class="over" x="0" y="0" width="100%" height=(y) {}
            line class="threshold" x1="0" x2="100%" y1=(y) y2=(y) {}
        }
    }

    fn line(&self, line: &ChartLine) -> Markup {
        let parts: Vec<Option<f64>> =
            line.values.iter().map(|value| value.map(|value| self.axis.part(value))).collect();
        let trace = LineTrace::new(&parts, line.shape, TraceFrame { width: self.view_width(), height: HEIGHT });
        html! {
            @if !trace.line.is_empty() { path class={ "line " (line.class) " " (line.stroke) } d=(trace.line) {} }
            @if !trace.dots.is_empty() { path class={ "dots " (line.class) } d=(trace.dots) {} }
        }
    }

    /// The mark at the last known point of a line.
    fn end_mark(&self, line: &ChartLine) -> Markup {
        let Some((at, value)) = line.last_known() else { return html! {} };
        html! {
            svg x=(percent(self.span.part(at))) y=(place(self.y(value))) { (mark(line.class)) }
        }
    }

    fn labels(&self) -> Vec<EndLabel> {
        let of_line = |line: &ChartLine| {
            let (_, value) = line.last_known()?;
            let now = line.values.last().copied().flatten();
            let figure = now.map_or_else(|| "–".to_owned(), |now| self.labelled(now));
            let measure = if line.measure.is_empty() { String::new() } else { format!("{}\u{a0}", line.measure) };
            let owner = plain(&line.owner, 10);
            Some(EndLabel { class: line.class, owner, figure: measure + &figure, y: self.y(value) })
        };
        let threshold = self.threshold.map(|threshold| EndLabel {
            class: "threshold",
            owner: String::new(),
            figure: format!("trips\u{a0}{}", self.unit.of(threshold)),
            y: self.y(threshold),
        });
        self.lines.iter().filter_map(of_line).chain(threshold).collect()
    }

    /// A figure; with an arrow where it is beyond the axis.
    fn labelled(&self, value: f64) -> String {
        let beyond = if value > self.axis.high() {
            "\u{a0}↑"
        } else if value < self.axis.low() {
            "\u{a0}↓"
        } else {
            ""
        };
        self.unit.of(value) + beyond
    }
}

/// The labels at the right end, with a line to where each belongs.
fn ends(labels: &[EndLabel]) -> Markup {
    let wanted: Vec<f64> = labels.iter().map(|label| label.y).collect();
    let places = spread(&wanted, LABEL_GAP, 0.0, HEIGHT);
    html! {
        svg x="100%" {
            @for (label, y) in labels.iter().zip(places) {
                @if (y - label.y).abs() > 3.0 { path class="leader" d={ "M5 " (place(label.y)) "L11 " (place(y)) } {} }
                text class={ "end " (label.class) } x="13" y=(place(y)) dy="4" {
                    @if !label.owner.is_empty() { tspan class="owner" { (label.owner) "\u{a0}" } }
                    (label.figure)
                }
            }
        }
    }
}

/// A part as an attribute.
fn percent(part: f64) -> String {
    format!("{}%", place(part * 100.0))
}
