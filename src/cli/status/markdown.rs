//! The status as Markdown, for a ticket or a chat.

use std::fmt::Write;

use super::figures::{milliseconds, ratio, share, span};
use super::page::{StatusPage, Traffic};

/// The status as Markdown.
#[must_use]
pub fn markdown(page: &StatusPage) -> String {
    let StatusPage { version, generation, .. } = page;
    let file = page.file.as_deref().unwrap_or("no file");
    let mut text = format!("# Pointsman {version}\n\n");
    // Writing to a string cannot fail.
    if let Some(rejected) = page.reload.as_ref().and_then(|reload| Some((reload, reload.rejected.as_ref()?))) {
        let (reload, rejected) = rejected;
        let place = rejected.place.as_ref().map(|place| format!(" at {}", cell(place))).unwrap_or_default();
        let _ = writeln!(
            text,
            "* **rejected** at {}: {}{place}; generation {generation} stays in effect",
            reload.at,
            cell(&rejected.first)
        );
    }
    let up = span(page.uptime_s);
    let _ = writeln!(text, "* generation {generation}, {}, up {up}", cell(file));
    let state = page.unready.as_ref().map_or_else(|| "ready".to_owned(), |why| format!("**not ready**: {}", cell(why)));
    let _ = writeln!(text, "* {}, {state}", page.phase);
    if let Some(reload) = page.reload.as_ref().filter(|reload| reload.rejected.is_none() && reload.cause != "start") {
        let summary = if reload.summary.is_empty() { "no change".to_owned() } else { reload.summary.join("; ") };
        let _ = writeln!(text, "* last reload at {}: {}", reload.at, cell(&summary));
    }
    for row in &page.releases {
        let _ = writeln!(text, "* **{}**: {}; next: {}", row.state, cell(&row.sentence()), cell(&row.unblock));
    }
    if !page.kills.is_empty() {
        let _ = writeln!(text, "* **killed**: {}", cell(&page.kills.join("; ")));
    }
    if let Some(trouble) = &page.socket_trouble {
        let _ = writeln!(text, "* **admin socket**: {}", cell(trouble));
    }
    let journal = page.journal_trouble.iter().map(|trouble| ("journal", trouble));
    for (what, trouble) in journal.chain(page.receiver_troubles.iter().map(|trouble| ("notifications", trouble))) {
        let _ = writeln!(text, "* **{what}**: {}", cell(trouble));
    }
    for trouble in page.upstreams.iter().filter_map(|one| one.trouble.as_ref()) {
        let _ = writeln!(text, "* **upstream** {}", cell(trouble));
    }
    text.push_str("\n| route | variant | set | share | requests | errors | p50 ms | p99 ms | comparison |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for route in &page.routes {
        if route.variants.is_empty() {
            let Traffic { requests, .. } = route.traffic;
            let errors = ratio(route.traffic.error_ratio());
            let _ =
                writeln!(text, "| {} | {} | | | {requests} | {errors} | | | |", cell(&route.name), cell(&route.action));
        }
        for one in &route.variants {
            let stopped = one.stopped.map(|word| format!(" ({word})")).unwrap_or_default();
            let _ = writeln!(
                text,
                "| {} | {}{stopped} | {} % | {} | {} | {} | {} | {} | {} |",
                cell(&route.name),
                cell(&one.name),
                one.weight,
                share(one.share),
                one.traffic.requests,
                ratio(one.traffic.error_ratio()),
                milliseconds(one.p50_ms),
                milliseconds(one.p99_ms),
                cell(one.says.as_deref().unwrap_or_default()),
            );
        }
    }
    text.push_str("\n| upstream | endpoints | connections | in flight |\n|---|---|---|---|\n");
    for one in &page.upstreams {
        let endpoints: Vec<&str> = one.endpoints.iter().chain(&one.unresolved).map(String::as_str).collect();
        let endpoints = cell(&endpoints.join(", "));
        let _ = writeln!(text, "| {} | {endpoints} | {} | {} |", cell(&one.name), one.connections, one.in_flight);
    }
    text
}

/// Text that cannot end a cell or begin markup.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '|' | '*' | '<' | '\\' | '[' | ']') {
            shown.push('\\');
        }
        shown.push(letter);
    }
    shown
}
