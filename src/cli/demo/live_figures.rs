//! The live line as text: the bar and the figures, fitted to the width of the terminal. A narrow line leaves out the
//! least important parts; the share of the canary and its errors are always shown.

use super::service::DemoFault;
use crate::cli::paint::Paint;

/// How wide the bar is where there is room.
const BAR: usize = 32;
/// A bar that is shorter than this shows nothing.
const BAR_MIN: usize = 8;

/// The figures of the last seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LiveFigures {
    /// The share of the canary, 0 to 1.
    pub(super) share: f64,
    /// What the file gives it.
    pub(super) set: SetWeight,
    /// Requests a second.
    pub(super) requests: f64,
    /// Errors a second.
    pub(super) errors: f64,
    /// The generation in force.
    pub(super) generation: u64,
    /// What is wrong with the canary.
    pub(super) fault: DemoFault,
}

/// What the file gives the canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SetWeight {
    /// So many percent.
    Percent(f64),
    /// Nothing: a guard has rolled it back.
    RolledBack,
    /// Nothing: it is killed.
    Killed,
}

/// A part of the line after the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Set,
    Requests,
    Errors,
    Generation,
    Fault,
}

/// What is given up, in this order. The bar is shortened once the first is gone.
const EXPENDABLE: [Part; 4] = [Part::Generation, Part::Requests, Part::Set, Part::Fault];

impl LiveFigures {
    /// The line in at most so many columns, however few: 26 are enough.
    pub(super) fn line(&self, columns: usize, paint: Paint) -> String {
        let mut parts = vec![Part::Set, Part::Requests, Part::Errors, Part::Generation, Part::Fault];
        let percent = format!("canary {:>5.1} %", self.share * 100.0);
        let bare = "stable ".len() + 1 + percent.len();
        let mut least = BAR;
        for given_up in [None].into_iter().chain(EXPENDABLE.map(Some)) {
            if let Some(given_up) = given_up {
                parts.retain(|part| *part != given_up);
                least = BAR_MIN;
            }
            let room = columns.saturating_sub(bare + self.width(&parts));
            if room >= least {
                return format!(
                    "stable {} {percent}{}",
                    bar(self.share, room.min(BAR), paint),
                    self.tail(&parts, paint)
                );
            }
        }
        format!("{percent}{}", self.tail(&parts, paint))
    }

    fn width(&self, parts: &[Part]) -> usize {
        self.tail(parts, Paint::Plain).chars().count()
    }

    fn tail(&self, parts: &[Part], paint: Paint) -> String {
        parts.iter().map(|part| self.part(*part, paint)).collect()
    }

    fn part(&self, part: Part, paint: Paint) -> String {
        match (part, self.set) {
            (Part::Set, SetWeight::Percent(set)) => format!(" (set {set})"),
            (Part::Set, SetWeight::RolledBack) => format!(" ({})", paint.red("rolled back")),
            (Part::Set, SetWeight::Killed) => format!(" ({})", paint.red("killed")),
            (Part::Requests, _) => format!("  {:.0} req/s", self.requests),
            (Part::Errors, _) => {
                let errors = format!("{:.0} errors/s", self.errors);
                format!("  {}", if errors.starts_with("0 ") { errors } else { paint.red(&errors) })
            }
            (Part::Generation, _) => format!("  generation {}", self.generation),
            (Part::Fault, _) if self.fault == DemoFault::Off => String::new(),
            (Part::Fault, _) => paint.red(&format!("  fault: {}", self.fault.name())),
        }
    }
}

/// A bar whose right part is the canary's share; a share above zero is always seen.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to BAR")]
fn bar(share: f64, width: usize, paint: Paint) -> String {
    let cells = (share * width as f64).round() as usize;
    let cells = if share > 0.0 { cells.max(1) } else { 0 }.min(width);
    format!("{}{}", paint.variant(0, &"█".repeat(width - cells)), paint.variant(1, &"▒".repeat(cells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: LiveFigures = LiveFigures {
        share: 0.56,
        set: SetWeight::Percent(50.0),
        requests: 38.0,
        errors: 12.0,
        generation: 14,
        fault: DemoFault::Errors,
    };

    /// Without its escape sequences.
    fn bare(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let first = parts.next().unwrap_or_default();
        first.to_owned() + &parts.filter_map(|part| part.split_once('m')).map(|(_, text)| text).collect::<String>()
    }

    #[test]
    fn a_small_share_is_seen() {
        for (share, cells) in [(0.0, 0), (0.001, 1), (0.5, BAR / 2), (1.0, BAR)] {
            assert_eq!(bar(share, BAR, Paint::Plain).matches('▒').count(), cells, "{share}");
        }
    }

    #[test]
    fn a_wide_line_has_everything() {
        let line = LiveFigures { fault: DemoFault::Off, ..BUSY }.line(120, Paint::Plain);
        assert!(line.ends_with("▒ canary  56.0 % (set 50)  38 req/s  12 errors/s  generation 14"), "{line}");
        assert!(BUSY.line(usize::MAX, Paint::Plain).ends_with("  generation 14  fault: errors"));
        let killed = LiveFigures { set: SetWeight::Killed, ..BUSY }.line(120, Paint::Plain);
        assert!(killed.contains("56.0 % (killed)  38 req/s"), "{killed}");
        let rolled_back = LiveFigures { set: SetWeight::RolledBack, ..BUSY }.line(120, Paint::Plain);
        assert!(rolled_back.contains("56.0 % (rolled back)  38 req/s"), "{rolled_back}");
    }

    #[test]
    fn a_narrow_line_gives_up_parts_in_order_of_worth() {
        for (columns, there, gone) in [
            (120, vec!["generation 14", "req/s", "fault: errors"], vec![]),
            (99, vec!["(set 50)", "38 req/s", "fault: errors", "████"], vec!["generation"]),
            (79, vec!["(set 50)", "38 req/s", "fault: errors", "████"], vec!["generation"]),
            (70, vec!["(set 50)", "fault: errors", "████"], vec!["generation", "req/s"]),
            (59, vec!["fault: errors", "████"], vec!["generation", "req/s", "set"]),
            (45, vec!["stable ███"], vec!["fault", "req/s", "set"]),
            (39, vec![], vec!["stable", "fault", "req/s", "set"]),
        ] {
            let line = BUSY.line(columns, Paint::Plain);
            assert!(there.iter().all(|part| line.contains(part)), "{columns}: {line}");
            assert!(gone.iter().all(|part| !line.contains(part)), "{columns}: {line}");
        }
    }

    #[test]
    fn a_line_never_takes_more_columns_than_there_are() {
        let wild = LiveFigures { share: 1.0, requests: 12_345.0, errors: 12_345.0, generation: 1_000_000, ..BUSY };
        for gauge in [BUSY, wild, LiveFigures { errors: 0.0, fault: DemoFault::Off, ..BUSY }] {
            for columns in 39..=200 {
                for paint in [Paint::Plain, Paint::Colour] {
                    let line = bare(&gauge.line(columns, paint));
                    assert!(line.chars().count() <= columns, "{columns}: {line}");
                    assert!(line.contains(" % ") && line.contains(" errors/s"), "{columns}: {line}");
                }
            }
        }
    }
}
