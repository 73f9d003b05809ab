//! The status again and again: painted over on a terminal, one after the other elsewhere, until Ctrl-C.

use std::fmt::Write;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::ask::parsed;
use super::page::Page;
use super::table::{Rows, table};
use crate::cli::admin::Admin;
use crate::cli::entry::Terminal;
use crate::cli::fetch::Wish;
use crate::cli::paint::Paint;
use crate::cli::{Exit, out};
use crate::clock::Clock;
use crate::telemetry::Size;

/// The last look.
struct Seen {
    page: Page,
    at: Instant,
}

/// Shows the status until Ctrl-C. A proxy that does not answer at first is a failure; one that does not answer later is
/// waited for, since it is perhaps being replaced.
///
/// # Errors
/// When the proxy cannot be asked at first.
pub fn watch(admin: &Admin, every: Duration, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ended = tokio::signal::ctrl_c();
        tokio::pin!(ended);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: Option<Seen> = None;
        if Size::of_stdout().is_some() {
            out::show("\x1b[2J")?;
        }
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
                Ok(page) => draw(&mut seen, page, admin, terminal.stdout),
                Err(error) if seen.is_none() => return Err(error),
                Err(error) => format!("{}\n", terminal.stdout.red(&format!("no answer: {error:#}"))),
            };
            if !show(&text)? {
                return Ok(Exit::Ok);
            }
        }
    })
}

async fn look(admin: &Admin) -> anyhow::Result<Page> {
    let value = admin.page(&admin.ask("/status", Wish::get()).await?)?;
    parsed(admin, &value)
}

/// The page, with rates since the last look.
fn draw(seen: &mut Option<Seen>, page: Page, admin: &Admin, paint: Paint) -> String {
    let at = Clock.now();
    let mut shown = page.clone();
    if let Some(before) = &*seen {
        shown.since(&before.page, at.duration_since(before.at).as_secs_f64());
    }
    *seen = Some(Seen { page, at });
    let size = match Size::of_stdout() {
        // A line for where it is from.
        Some(size) => Size { rows: size.rows.saturating_sub(2), ..size },
        None => Size::USUAL,
    };
    format!("{}\n{}", paint.dim(admin.url()), table(&shown, (size, Rows::Most), paint))
}

/// Shows a page: in the place of the last one on a terminal, below it elsewhere. Returns whether it has a reader.
fn show(text: &str) -> anyhow::Result<bool> {
    let Some(size) = Size::of_stdout() else { return out::show(&format!("{text}\n")) };
    let mut painted = String::from("\x1b[H");
    // What does not fit is cut: a terminal that scrolls cannot be painted over.
    for line in text.lines().take(size.rows.saturating_sub(1)) {
        let _ = write!(painted, "{line}\x1b[K\r\n");
    }
    painted.push_str("\x1b[J");
    out::show(&painted)
}
