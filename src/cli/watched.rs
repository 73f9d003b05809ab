//! A page again and again: painted over on a terminal, one after the other elsewhere, until Ctrl-C.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::cli::out::wrapped;
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::telemetry::{Size, WRAP};

/// Clears the screen and goes to its first line. Written before the first page only, so that an earlier error stays
/// visible below the command.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// Goes to the first line of the screen.
const HOME: &str = "\x1b[H";

/// Shows what `look` draws until Ctrl-C. A proxy that does not answer at first is a failure; one that does not answer later
/// is waited for, since it is perhaps being replaced.
///
/// # Errors
/// If the proxy does not respond at first.
pub async fn watched(
    every: Duration,
    terminal: Terminal,
    mut look: impl AsyncFnMut() -> anyhow::Result<String>,
) -> anyhow::Result<Exit> {
    let ended = tokio::signal::ctrl_c();
    tokio::pin!(ended);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut begin, mut has_answered) = (CLEAR, false);
    loop {
        tokio::select! {
            ended = &mut ended => return ended.map(|()| Exit::Ok).map_err(anyhow::Error::from),
            _ = ticks.tick() => {}
        }
        let looked = tokio::select! {
            ended = &mut ended => return ended.map(|()| Exit::Ok).map_err(anyhow::Error::from),
            looked = look() => looked,
        };
        let text = match looked {
            Ok(text) => {
                has_answered = true;
                text
            }
            Err(error) if !has_answered => return Err(error),
            Err(error) => unanswered(&error, terminal.stdout),
        };
        if !show(begin, &text)? {
            return Ok(Exit::Ok);
        }
        begin = HOME;
    }
}

/// Why there is no page.
fn unanswered(error: &anyhow::Error, paint: Paint) -> String {
    let columns = Size::of_stdout().unwrap_or(Size::USUAL).columns;
    let text = format!("no answer: {error:#}");
    text.lines().flat_map(|line| wrapped(line, columns)).map(|line| paint.red(&line) + "\n").collect()
}

/// Shows a page: in the place of the last one on a terminal, below it elsewhere. Returns whether it has a reader.
fn show(begin: &str, text: &str) -> anyhow::Result<bool> {
    match Size::of_stdout() {
        Some(size) => out::show(&painted(begin, text, size.rows)),
        None => out::show(&format!("{text}\n")),
    }
}

/// The page for a terminal. What does not fit is cut, in both directions: a terminal that wraps a line or scrolls
/// cannot be painted over.
fn painted(begin: &str, text: &str, rows: usize) -> String {
    let [off, on] = WRAP;
    let mut painted = format!("{begin}{off}");
    for line in text.lines().take(rows.saturating_sub(1)) {
        // Erased first: after a line that takes the last column too, the terminal would erase its last letter.
        let _ = write!(painted, "\x1b[K{line}\r\n");
    }
    let _ = write!(painted, "\x1b[J{on}");
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_and_not_wrapped() {
        let text = "one\ntwo\nthree\n";
        let whole = painted(CLEAR, text, 24);
        assert_eq!(whole, "\x1b[2J\x1b[H\x1b[?7l\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[Kthree\r\n\x1b[J\x1b[?7h");
        assert_eq!(painted(HOME, text, 3), "\x1b[H\x1b[?7l\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[J\x1b[?7h");
    }
}
