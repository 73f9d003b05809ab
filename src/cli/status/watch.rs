//! The status again and again: painted over on a terminal, one after the other elsewhere, until Ctrl-C.

use std::time::{Duration, Instant};

use super::page::{StatusPage, parsed};
use super::table::{Rows, table};
use crate::cli::Exit;
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::paint::{Paint, Terminal};
use crate::cli::watched::watched;
use crate::clock::Clock;
use crate::telemetry::Size;

/// The last look.
struct PreviousPage {
    page: StatusPage,
    at: Instant,
}

/// Shows the status until Ctrl-C.
///
/// # Errors
/// If the proxy does not respond at first.
pub fn watch(admin: &AdminEndpoint, every: Duration, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut seen: Option<PreviousPage> = None;
    runtime.block_on(watched(every, terminal, async || {
        let looked = look(admin).await?;
        Ok(draw(&mut seen, looked, terminal.stdout))
    }))
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
