//! The output of the running demo: events, and below them the live lines, which are overwritten.
//!
//! The live lines are written without automatic wrap, and the cursor goes back to the first column of the first one. So
//! whatever the terminal makes of them when its window changes, the cursor stays at their beginning, and erasing from there
//! to the end of the screen takes all of them and nothing above.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::live_figures::LiveFigures;
use super::staged_screen::StagedScreen;
use crate::cli::out;
use crate::cli::paint::Paint;
use crate::telemetry::{Medium, Size, WRAP};

/// Erases the live lines.
const ERASE: &str = "\r\x1b[J";

/// Writes to standard output: the live line and the news, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Panel(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    medium: Medium,
    paint: Paint,
    live: Live,
    /// After the last lines nothing is written.
    closed: bool,
}

/// What the live lines show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Live {
    /// There is none yet.
    None,
    /// There are not enough readings yet.
    Measuring,
    /// The figures.
    Figures(LiveFigures),
    /// A rollout.
    Stages(Box<StagedScreen>),
}

impl Panel {
    /// On standard output, which leads to `medium`.
    pub(super) fn new(medium: Medium, paint: Paint) -> Self {
        Self(Arc::new(Mutex::new(Shown { medium, paint, live: Live::None, closed: false })))
    }

    /// Writes news above the live line.
    pub(super) fn news(&self, news: &[String]) {
        let mut shown = self.shown();
        let text = match shown.medium {
            Medium::Terminal => shown.frame(news, size()),
            Medium::File => lines(news),
        };
        shown.write(&text);
    }

    /// Paints the live line, below news. Into a file go the news alone.
    pub(super) fn paint(&self, live: Live, news: &[String]) {
        self.shown().live = live;
        self.news(news);
    }

    /// Writes the live line into a file.
    pub(super) fn note(&self) {
        let mut shown = self.shown();
        if shown.medium == Medium::File {
            let live = shown.lines(usize::MAX);
            shown.write(&lines(&live));
        }
    }

    /// Writes the last words, below the live line as it was. Nothing is written after them.
    pub(super) fn close(&self, words: &[String]) {
        let mut shown = self.shown();
        let text = match shown.medium {
            Medium::Terminal => {
                let live = shown.lines(size().columns.saturating_sub(1));
                format!("{ERASE}{}{}", lines(&live), lines(words))
            }
            Medium::File => lines(words),
        };
        shown.write(&text);
        shown.closed = true;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn lines(&self, columns: usize) -> Vec<String> {
        match &self.live {
            Live::None => vec![String::new()],
            Live::Measuring => vec!["measuring…".to_owned()],
            Live::Figures(gauge) => vec![gauge.line(columns, self.paint)],
            Live::Stages(screen) => screen.lines(columns, self.paint),
        }
    }

    /// News and the live lines, for a terminal of this size.
    fn frame(&self, news: &[String], size: Size) -> String {
        let [off, on] = WRAP;
        let news: Vec<String> = news.iter().flat_map(|one| fitted(one, size.columns)).collect();
        let mut live = self.lines(size.columns.saturating_sub(1));
        // What does not fit would scroll, and the cursor could not go back above it.
        live.truncate(size.rows.saturating_sub(1).max(1));
        let up = match live.len() {
            0 | 1 => String::new(),
            more => format!("\x1b[{}A", more - 1),
        };
        format!("{ERASE}{}{off}{}{on}{up}\r", lines(&news), live.join("\n"))
    }

    fn write(&mut self, text: &str) {
        if !self.closed {
            let mut out = std::io::stdout().lock();
            // The demo goes on when standard output is closed.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

fn size() -> Size {
    Size::of_stdout().unwrap_or(Size::USUAL)
}

/// The lines of one piece of news, none of which is broken in the middle of a word. Lines of a file that are shown in a
/// diagnostic stay whole, with what is drawn below them.
fn fitted(news: &str, columns: usize) -> Vec<String> {
    let is_shown = |line: &str| {
        line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start().starts_with('|')
    };
    let fit = |line: &str| if is_shown(line) { vec![line.to_owned()] } else { out::wrapped(line, columns) };
    news.split('\n').flat_map(fit).collect()
}

fn lines(news: &[String]) -> String {
    news.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::service::DemoFault;
    use super::*;
    use crate::cli::rollout_row::RolloutRow;

    const fn size_of(columns: usize) -> Size {
        Size { columns, rows: 24 }
    }

    #[test]
    fn the_cursor_goes_back_above_all_live_lines() {
        let row = RolloutRow { state: "gated".to_owned(), shape: '◐', ..RolloutRow::default() };
        let screen = StagedScreen { row, next_in: None, figures: None, fault: DemoFault::Off };
        let live = Live::Stages(Box::new(screen));
        let shown = Shown { medium: Medium::Terminal, paint: Paint::Plain, live, closed: false };
        let frame = shown.frame(&["a".to_owned()], size_of(80));
        assert_eq!(frame, "\r\x1b[Ja\n\x1b[?7l\nmeasuring…\n◐ gated: \nnext: complete\x1b[?7h\x1b[3A\r", "{frame:?}");
        let low = shown.frame(&[], Size { columns: 80, rows: 3 });
        assert_eq!(low, "\r\x1b[J\x1b[?7l\nmeasuring…\x1b[?7h\x1b[1A\r", "{low:?}");
    }

    #[test]
    fn news_stand_above_the_live_line() {
        let mut shown = Shown { medium: Medium::Terminal, paint: Paint::Plain, live: Live::Measuring, closed: false };
        assert_eq!(shown.frame(&[], size_of(80)), "\r\x1b[J\x1b[?7lmeasuring…\x1b[?7h\r");
        let news = ["generation 2: a".to_owned(), "two\nrows".to_owned()];
        assert_eq!(shown.frame(&news, size_of(80)), "\r\x1b[Jgeneration 2: a\ntwo\nrows\n\x1b[?7lmeasuring…\x1b[?7h\r");
        let long = shown.frame(&["two answers of the old version differ there, too".to_owned()], size_of(40));
        assert!(long.starts_with("\r\x1b[Jtwo answers of the old version differ\n    there, too\n"), "{long:?}");
        let source = "12 | serve = \"a name that is longer than the screen\"";
        assert_eq!(fitted(source, 20), [source]);
        shown.live = Live::None;
        assert_eq!(shown.frame(&[], size_of(80)), "\r\x1b[J\x1b[?7l\x1b[?7h\r");
    }
}
