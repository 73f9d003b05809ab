//! Lines as path data: relative steps in tenths, so that a line of 300 points has few letters.

use std::fmt::Write as _;

/// How a line goes from point to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineShape {
    /// Straight.
    Straight,
    /// Each value over the whole time of its point.
    Steps,
}

/// The size of the place of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceFrame {
    /// The width, in units.
    pub width: usize,
    /// The height.
    pub height: f64,
}

/// The path data of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTrace {
    /// The line: a part for each run of known points.
    pub line: String,
    /// Points between holes, as lines without length: round ends make them dots.
    pub dots: String,
}

impl LineTrace {
    /// A line through `parts`: by point, where it stands from 0 (below) to 1 (above). Points that are not known are
    /// holes.
    pub fn new(parts: &[Option<f64>], shape: LineShape, frame: TraceFrame) -> Self {
        let mut trace = Self::default();
        let mut run: Vec<Spot> = Vec::new();
        let x_of = |at: usize| tenths(ratio(frame.width * at, parts.len()));
        for (at, part) in parts.iter().chain([&None]).enumerate() {
            if let Some(part) = part {
                let y = tenths(frame.height * (1.0 - part));
                if shape == LineShape::Steps {
                    run.push(Spot { x: x_of(at), y });
                }
                run.push(Spot { x: x_of(at + 1), y });
            } else {
                trace.add(&run);
                run.clear();
            }
        }
        trace
    }

    fn add(&mut self, run: &[Spot]) {
        match run {
            [] => {}
            [spot] => {
                self.dots.push('M');
                write_pair(&mut self.dots, *spot);
                self.dots.push_str("h0");
            }
            [first, ..] => {
                self.line.push('M');
                write_pair(&mut self.line, *first);
                self.line.push('l');
                let mut at = *first;
                for (index, spot) in run.iter().enumerate().skip(1) {
                    // The next one goes on level: one longer step does.
                    let goes_on = run.get(index + 1).is_some_and(|next| next.y == spot.y);
                    if goes_on && spot.y == at.y {
                        continue;
                    }
                    write_pair(&mut self.line, Spot { x: spot.x - at.x, y: spot.y - at.y });
                    at = *spot;
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    x: i64,
    y: i64,
}

/// Writes `12.3-4.5`, after a space where the figure before would go on.
fn write_pair(data: &mut String, spot: Spot) {
    for figure in [spot.x, spot.y] {
        if data.ends_with(|letter: char| letter.is_ascii_digit()) && figure >= 0 {
            data.push(' ');
        }
        let (sign, whole, tenth) = (if figure < 0 { "-" } else { "" }, figure.abs() / 10, figure.abs() % 10);
        // Writing to a string cannot fail.
        let _ = if tenth == 0 { write!(data, "{sign}{whole}") } else { write!(data, "{sign}{whole}.{tenth}") };
    }
}

/// A place in tenths of a unit; 0 for what is none.
#[expect(clippy::cast_possible_truncation, reason = "a place on a chart, within bounds by the line before")]
fn tenths(place: f64) -> i64 {
    let bounded = if place.is_finite() { place.clamp(-1e6, 1e6) } else { 0.0 };
    (bounded * 10.0).round() as i64
}

fn ratio(part: usize, whole: usize) -> f64 {
    let figure = |count: usize| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    figure(part) / figure(whole.max(1))
}

/// A place for an attribute: at most one decimal.
pub fn place(place: f64) -> String {
    let mut text = String::new();
    let tenths = tenths(place);
    let _ = write!(text, "{}", tenths.abs() / 10);
    if tenths % 10 != 0 {
        let _ = write!(text, ".{}", tenths.abs() % 10);
    }
    if tenths < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: TraceFrame = TraceFrame { width: 100, height: 10.0 };

    fn straight(parts: &[Option<f64>]) -> LineTrace {
        LineTrace::new(parts, LineShape::Straight, FRAME)
    }

    #[test]
    fn holes_stay_holes_and_points_between_them_are_dots() {
        let trace =
            straight(&[Some(0.0), Some(0.5), None, Some(1.0), None, Some(0.5), Some(0.5), Some(0.5), None, Some(0.0)]);
        assert_eq!(trace.line, "M10 10l10-5M60 5l20 0");
        assert_eq!(trace.dots, "M40 0h0M100 10h0");
        assert_eq!(straight(&[]), LineTrace::default());
        assert_eq!(straight(&[None, None]), LineTrace::default());
        assert_eq!(straight(&[Some(1.0)]).dots, "M100 0h0");
    }

    #[test]
    fn steps_last_for_the_time_of_their_points() {
        let trace = LineTrace::new(&[Some(0.0), Some(0.0), Some(1.0), None], LineShape::Steps, FRAME);
        assert_eq!(trace.line, "M0 10l50 0 0-10 25 0");
        let one = LineTrace::new(&[Some(0.3)], LineShape::Steps, FRAME);
        assert_eq!((one.line.as_str(), one.dots.as_str()), ("M0 7l100 0", ""));
    }

    #[test]
    fn a_line_ends_where_its_last_point_stands() {
        // Steps in tenths do not add up their roundings.
        let parts: Vec<Option<f64>> = (0..300_u32).map(|at| Some(f64::from(at * 7919 % 1_000) / 1_000.0)).collect();
        let trace = LineTrace::new(&parts, LineShape::Straight, TraceFrame { width: 1_000, height: 128.0 });
        let figures: Vec<f64> = trace.line[1..]
            .replace('l', " ")
            .replace('-', " -")
            .split_whitespace()
            .map(|figure| figure.parse::<f64>().unwrap())
            .collect();
        let [x, y] = [0, 1].map(|odd| figures.iter().skip(odd).step_by(2).sum::<f64>());
        assert!((x - 1_000.0).abs() < 0.1 && (y - 128.0 * (1.0 - parts[299].unwrap())).abs() < 0.1, "{x} {y}");
        assert!(trace.line.len() < 3_000, "{}", trace.line.len());
    }

    #[test]
    fn what_is_no_number_is_not_written() {
        let trace = straight(&[Some(f64::NAN), Some(f64::INFINITY), Some(f64::MAX), Some(-f64::MAX)]);
        assert!(!trace.line.contains("NaN") && !trace.line.contains("inf") && trace.line.len() < 80, "{trace:?}");
        assert_eq!(
            (place(f64::NAN), place(-0.04), place(-0.5), place(12.25)),
            ("0".into(), "0".into(), "-0.5".into(), "12.3".into())
        );
    }
}
