//! A line of a chart: its values, and how it is distinguished from others, besides its colour.

use maud::{Markup, html};

use super::series::PointValues;
use super::trace::LineShape;

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartLine {
    /// Whose it is: a class of the style sheet, and the mark at its end.
    pub class: &'static str,
    /// How it is drawn: a class of the style sheet.
    pub stroke: &'static str,
    /// Whose it is, in the label.
    pub owner: String,
    /// What it is, in the label: `p50`.
    pub measure: &'static str,
    /// Its values.
    pub values: PointValues,
    /// How it goes from point to point.
    pub shape: LineShape,
}

impl ChartLine {
    /// The last point that is known.
    pub fn last_known(&self) -> Option<(usize, f64)> {
        self.values.iter().enumerate().rev().find_map(|(at, value)| Some((at, (*value)?)))
    }

    /// How it looks, in the size of a word.
    pub fn swatch(&self) -> Markup {
        html! {
            svg class="swatch" width="26" height="10" viewBox="0 0 26 10" aria-hidden="true" {
                path class={ "line " (self.class) " " (self.stroke) } d="M0 5h19" {}
                g transform="translate(21 5)" { (mark(self.class)) }
            }
        }
    }
}

/// The mark of an arm: each has a shape of its own.
pub fn mark(class: &'static str) -> Markup {
    html! {
        @match class {
            "set" => {},
            "third" => rect class={ "end-mark " (class) } x="-3" y="-3" width="6" height="6" {},
            "fourth" => path class={ "end-mark " (class) } d="M0-4L4 0 0 4-4 0z" {},
            "fifth" => path class={ "end-mark " (class) } d="M0-4L4 3H-4z" {},
            _ => circle class={ "end-mark " (class) } r="3" {},
        }
    }
}
