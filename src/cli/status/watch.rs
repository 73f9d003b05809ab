//! The status again and again: painted over on a terminal, one after the other elsewhere, until Ctrl-C.

use std::fmt::Write;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::page::{StatusPage, parsed};
use super::table::{Rows, table};
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::out::wrapped;
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::clock::Clock;
use crate::telemetry::{Size, WRAP};

/// Clears the screen and goes to its first line. Written before the first page only, so that an earlier error stays
/// visible below the command.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// Goes to the first line of the screen.
const HOME: &str = "\x1b[H";

/// The last look.
struct PreviousPage {
    page: StatusPage,
    at: Instant,
}

/// Shows the status until Ctrl-C. A proxy that does not answer at first is a failure; one that does not answer later is
/// waited for, since it is perhaps being replaced.
///
/// # Errors
/// If the proxy does not respond at first.
pub fn watch(admin: &AdminEndpoint, every: Duration, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ended = tokio::signal::ctrl_c();
        tokio::pin!(ended);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: Option<PreviousPage> = None;
        let mut begin = CLEAR;
        loop {
            tokio::select! {
                ended = &mut ended => return ended.map(|()| Exit::Ok).map_err(anyhow::Error::from),
                _ = ticks.tick() => {}
            }
            let looked = tokio::select! {
                ended = &mut ended => return ended.map(|()| Exit::Ok).map_err(anyhow::Error::from),
                looked = look(admin) => looked,
            };
            let text = match looked {
                Ok(looked) => draw(&mut seen, looked, terminal.stdout),
                Err(error) if seen.is_none() => return Err(error),
                Err(error) => unanswered(&error, terminal.stdout),
            };
            if !show(begin, &text)? {
                return Ok(Exit::Ok);
            }
            begin = HOME;
        }
    })
}

/// A page, and the place that gave it.
struct Look {
    page: StatusPage,
    place: String,
}

async fn look(admin: &AdminEndpoint) -> anyhow::Result<Look> {
    let answer = admin.ask("/status", FetchOptions::get()).await?;
    let page = parsed(&answer.place, &answer.page()?)?;
    Ok(Look { page, place: answer.place })
}

/// The page, with rates since the last look.
fn draw(seen: &mut Option<PreviousPage>, Look { page, place }: Look, paint: Paint) -> String {
    let at = Clock.now();
    let mut shown = page.clone();
    if let Some(before) = &*seen {
        shown.since(&before.page, at.duration_since(before.at).as_secs_f64());
    }
    *seen = Some(PreviousPage { page, at });
    let size = match Size::of_stdout() {
        // A line for where it is from.
        Some(size) => Size { rows: size.rows.saturating_sub(2), ..size },
        None => Size::USUAL,
    };
    format!("{}\n{}", paint.dim(&place), table(&shown, size, Rows::Watched, paint))
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
