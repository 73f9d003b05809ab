//! A bar of buckets: who owns which part of them, and where a caller falls.

use std::fmt::Write;
use std::ops::Range;

use crate::cli::paint::Paint;
use crate::route::BUCKETS;

/// How many cells it has.
const WIDTH: usize = 60;
/// How a variant's cells look, by its number; without colour only this distinguishes them.
const CELLS: [char; 6] = ['█', '▒', '▓', '░', '#', '='];

/// One owner of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arm {
    /// Its number: decides colour and cell.
    pub(super) number: usize,
    /// Its name and a note.
    pub(super) label: String,
    /// Its buckets.
    pub(super) range: Range<u32>,
}

/// Draws the arms by their buckets, a mark below `bucket`, and a legend; each line begins with `indent`.
pub(super) fn bar(arms: &[Arm], bucket: u32, indent: &str, paint: Paint) -> String {
    let mut ordered: Vec<&Arm> = arms.iter().filter(|arm| !arm.range.is_empty()).collect();
    ordered.sort_by_key(|arm| arm.range.start);
    let cells: String = (0..WIDTH).map(|cell| owner(&ordered, cell)).map(|arm| glyph(arm, 1, paint)).collect();
    let mark = " ".repeat(cell_of(bucket));
    let legend: Vec<String> = ordered
        .iter()
        .map(|arm| format!("{} {} {}..{}", glyph(Some(arm), 1, paint), arm.label, arm.range.start, arm.range.end))
        .collect();
    let mut text = String::new();
    let _ = writeln!(text, "{indent}{cells}");
    let _ = writeln!(text, "{indent}{mark}{}", paint.bold(&format!("▲ {bucket}")));
    let _ = writeln!(text, "{indent}{}", legend.join("   "));
    text
}

/// The cell of a bucket.
fn cell_of(bucket: u32) -> usize {
    let cell = u64::from(bucket.min(BUCKETS - 1)) * WIDTH as u64 / u64::from(BUCKETS);
    usize::try_from(cell).unwrap_or(0)
}

/// The owner of a cell: an arm that begins in it, so that a narrow arm is visible, else the owner of its first bucket.
fn owner<'a>(arms: &[&'a Arm], cell: usize) -> Option<&'a Arm> {
    let begins = arms.iter().find(|arm| {
        let width = arm.range.end - arm.range.start;
        cell_of(arm.range.start) == cell && u64::from(width) * (WIDTH as u64) < u64::from(BUCKETS)
    });
    let first = u32::try_from((cell as u64 * u64::from(BUCKETS)).div_ceil(WIDTH as u64)).unwrap_or(0);
    begins.or_else(|| arms.iter().find(|arm| arm.range.contains(&first))).copied()
}

fn glyph(arm: Option<&Arm>, times: usize, paint: Paint) -> String {
    let Some(arm) = arm else { return " ".repeat(times) };
    let cell = CELLS[arm.number % CELLS.len()];
    paint.variant(arm.number, &cell.to_string().repeat(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(number: usize, range: Range<u32>) -> Arm {
        Arm { number, label: format!("v{number}"), range }
    }

    /// The first line of the bar, and the column of its mark.
    fn drawn(arms: &[Arm], bucket: u32) -> (String, usize) {
        let text = bar(arms, bucket, "", Paint::Plain);
        let mut lines = text.lines();
        (lines.next().unwrap().to_owned(), lines.next().unwrap().find('▲').unwrap())
    }

    #[test]
    fn shares_are_seen() {
        let (cells, mark) = drawn(&[arm(0, 500_000..1_000_000), arm(1, 0..500_000)], 500_000);
        assert_eq!(cells, "▒".repeat(30) + &"█".repeat(30));
        assert_eq!(mark, 30);
    }

    #[test]
    fn a_narrow_arm_is_seen() {
        let (cells, mark) = drawn(&[arm(0, 100..1_000_000), arm(1, 0..100)], 999_999);
        assert_eq!(cells, "▒".to_owned() + &"█".repeat(59));
        assert_eq!(mark, 59);
    }

    #[test]
    fn nothing_is_drawn_without_arms() {
        let (cells, _) = drawn(&[arm(0, 0..1_000_000), arm(1, 0..0)], 0);
        assert_eq!(cells, "█".repeat(60));
    }
}
