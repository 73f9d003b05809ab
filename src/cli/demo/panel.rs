//! The output of the running demo: events, and below them the live line, which is overwritten.
//!
//! The live line is written without automatic wrap, and the cursor goes back to its first column. So whatever the
//! terminal makes of the line when its window changes, the cursor stays at its beginning, and erasing from there to the
//! end of the screen takes all of the line and nothing above it.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::live_figures::LiveFigures;
use crate::cli::out;
use crate::cli::paint::Paint;
use crate::telemetry::{self, Medium, WRAP};

/// Erases the live line.
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

/// What the live line shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Live {
    /// There is none yet.
    None,
    /// There are not enough readings yet.
    Measuring,
    /// The figures.
    Figures(LiveFigures),
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
            Medium::Terminal => shown.frame(news, telemetry::columns()),
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
            let line = shown.line(usize::MAX);
            shown.write(&lines(&[line]));
        }
    }

    /// Writes the last words, below the live line as it was. Nothing is written after them.
    pub(super) fn close(&self, words: &[String]) {
        let mut shown = self.shown();
        let text = match shown.medium {
            Medium::Terminal => {
                let line = shown.line(telemetry::columns().saturating_sub(1));
                format!("{ERASE}{line}\n{}", lines(words))
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
    fn line(&self, columns: usize) -> String {
        match self.live {
            Live::None => String::new(),
            Live::Measuring => "measuring…".to_owned(),
            Live::Figures(gauge) => gauge.line(columns, self.paint),
        }
    }

    /// News and the live line, for a terminal of so many columns.
    fn frame(&self, news: &[String], columns: usize) -> String {
        let [off, on] = WRAP;
        let news: Vec<String> = news.iter().flat_map(|one| fitted(one, columns)).collect();
        format!("{ERASE}{}{off}{}{on}\r", lines(&news), self.line(columns.saturating_sub(1)))
    }

    fn write(&mut self, text: &str) {
        if !self.closed {
            let mut out = std::io::stdout().lock();
            // The demo goes on when standard output is closed.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
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
    use super::*;

    #[test]
    fn news_stand_above_the_live_line() {
        let mut shown = Shown { medium: Medium::Terminal, paint: Paint::Plain, live: Live::Measuring, closed: false };
        assert_eq!(shown.frame(&[], 80), "\r\x1b[J\x1b[?7lmeasuring…\x1b[?7h\r");
        let news = ["generation 2: a".to_owned(), "two\nrows".to_owned()];
        assert_eq!(shown.frame(&news, 80), "\r\x1b[Jgeneration 2: a\ntwo\nrows\n\x1b[?7lmeasuring…\x1b[?7h\r");
        let long = shown.frame(&["two answers of the old version differ there, too".to_owned()], 40);
        assert!(long.starts_with("\r\x1b[Jtwo answers of the old version differ\n    there, too\n"), "{long:?}");
        let source = "12 | serve = \"a name that is longer than the screen\"";
        assert_eq!(fitted(source, 20), [source]);
        shown.live = Live::None;
        assert_eq!(shown.frame(&[], 80), "\r\x1b[J\x1b[?7l\x1b[?7h\r");
    }
}
