//! The status as a table: what needs a person comes first, then a row for each route and variant, those with most
//! requests first, and only as many as fit.

use super::figures::{bar, count, cut, milliseconds, rate, ratio, share, span};
use super::page::{Rejected, Reload, RouteStatus, ShadowStatus, StatusPage, Traffic, UpstreamStatus, VariantStatus};
use crate::cli::out::wrapped;
use crate::cli::paint::Paint;
use crate::cli::release_row::Urgency;
use crate::telemetry::Size;

/// How many rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// As many as fit, and a hint how to see the others.
    Most,
    /// As many as fit, on a page that is shown again and again: `--all` and `--json` cannot be combined with `--watch`.
    Watched,
    /// All.
    All,
}

/// The least number of lines that routes get, however small the terminal is.
const ROUTE_LINES_MIN: usize = 6;
/// The least width of the two columns with names.
const NAMES_MIN: usize = 18;
/// Errors from here on are red.
const ERRORS_BAD: f64 = 0.05;
/// Why a variant gets nothing, in the column of its share.
const STOPS: [&str; 3] = ["killed", "latched", "held"];
/// Releases that are shown.
const RELEASES_MAX: usize = 4;
/// Rollouts that are shown.
const ROLLOUTS_MAX: usize = 4;
/// Receivers in trouble that are shown.
const RECEIVERS_MAX: usize = 3;
/// Kills that are shown.
const KILLS_MAX: usize = 6;
/// Listeners that are shown.
const LISTENERS_MAX: usize = 4;

/// The columns after the names: title and width.
const COLUMNS: [(&str, usize); 7] =
    [("SET %", 6), ("SHARE", 8), ("", 7), ("REQUESTS", 8), ("ERRORS", 7), ("P50 MS", 6), ("P99 MS", 6)];
/// The columns that a narrow terminal does without, in this order.
const SPARED: [usize; 4] = [1, 5, 2, 6];

/// How an error ratio is coloured, and everything else that is.
type Ink = fn(Paint, &str) -> String;

/// The status, `size` wide and, unless all rows are asked for, so many lines long.
#[must_use]
pub fn table(page: &StatusPage, size: Size, rows: Rows, paint: Paint) -> String {
    let mut lines = head(page, size.columns, paint);
    lines.push(String::new());
    let columns = size.columns;
    let layout = Layout::of(page, columns);
    let mut order: Vec<&RouteStatus> = page.routes.iter().collect();
    order.sort_by_key(|route| std::cmp::Reverse(route.total));
    let routes: Vec<Vec<String>> = order.into_iter().map(|route| layout.route(route, paint)).collect();
    let shadows: Vec<Vec<String>> = page.shadows.iter().map(|one| vec![shadow(one, size.columns, paint)]).collect();
    let upstreams = upstreams(page, size.columns, paint);
    // Titles, blank lines, and a line for each list that says how many more there are.
    let free = size.rows.saturating_sub(lines.len() + 8).max(ROUTE_LINES_MIN * 3 / 2);
    let (room, hint) = match rows {
        Rows::Most => (free, ": --all shows them, --json has everything"),
        Rows::Watched => (free, ""),
        Rows::All => (usize::MAX, ""),
    };
    let for_upstreams = height(&upstreams).min(room / 3);
    let for_shadows = height(&shadows).min(room / 6);
    let for_routes = room - for_upstreams - for_shadows;
    let has_rates = page.routes.iter().any(|route| route.traffic.rate.is_some());
    lines.push(paint.dim(&layout.title(if has_rates { "REQ/S" } else { "REQUESTS" })));
    list(&mut lines, &Section { what: "route", blocks: &routes, room: for_routes, columns }, hint, paint);
    if !shadows.is_empty() {
        lines.extend([String::new(), paint.dim("SHADOW")]);
        list(&mut lines, &Section { what: "shadow", blocks: &shadows, room: for_shadows, columns }, hint, paint);
    }
    if !upstreams.is_empty() {
        let title = upstream_row(widths(page, size.columns), ["UPSTREAM", "ENDPOINTS", "CONNECTIONS", "IN FLIGHT"]);
        lines.extend([String::new(), paint.dim(&title)]);
        list(&mut lines, &Section { what: "upstream", blocks: &upstreams, room: for_upstreams, columns }, hint, paint);
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n") + "\n"
}

fn height(blocks: &[Vec<String>]) -> usize {
    blocks.iter().map(Vec::len).sum()
}

/// A list of the page, and the number of lines that it may take.
struct Section<'a> {
    what: &'a str,
    /// The lines of each entry.
    blocks: &'a [Vec<String>],
    room: usize,
    columns: usize,
}

/// Adds as many blocks as fit, and a line with the number of blocks left out. The first block is always shown; it is
/// cut where it is longer than the room.
fn list(lines: &mut Vec<String>, section: &Section<'_>, hint: &str, paint: Paint) {
    let Section { what, blocks, room, columns } = *section;
    let Some((first, others)) = blocks.split_first() else { return };
    let cut = first.len().saturating_sub(room.max(1));
    lines.extend(first[..first.len() - cut].iter().cloned());
    let mut left = room.saturating_sub(first.len());
    let fits = |block: &&Vec<String>| match left.checked_sub(block.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let shown = if cut > 0 { 0 } else { others.iter().take_while(fits).count() };
    lines.extend(others[..shown].iter().flatten().cloned());
    let more = |number: usize, one: &str| {
        let plural = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} more {one}{plural}"))
    };
    let rows = more(cut, "row").map(|rows| format!("{rows} of this {what}"));
    let left_out: Vec<String> = rows.into_iter().chain(more(others.len() - shown, what)).collect();
    if !left_out.is_empty() {
        let text = format!("… and {}{hint}", left_out.join(", "));
        lines.extend(wrapped(&text, columns).iter().map(|line| paint.dim(line)));
    }
}

/// Everything above the routes.
fn head(page: &StatusPage, columns: usize, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add_line = |ink: Ink, text: &str| {
        lines.extend(wrapped(text, columns).iter().map(|line| ink(paint, line)));
    };
    if let Some(reload) = &page.reload
        && let Some(rejected) = &reload.rejected
    {
        rejection(page, reload, rejected, &mut add_line);
    }
    let file = page.file.as_deref().unwrap_or("no file: routes of the command line");
    let workers = counted(page.workers, "worker");
    let up = span(page.uptime_s);
    let StatusPage { version, generation, pid, .. } = page;
    add_line(
        Paint::bold,
        &format!("Pointsman {version}  up {up}  generation {generation}  {workers}  pid {pid}  {file}"),
    );
    match (page.phase.as_str(), &page.unready) {
        ("running", None) => add_line(Paint::green, "ready"),
        ("running", Some(why)) => add_line(Paint::red, &format!("NOT READY: {why}")),
        (phase, _) => {
            add_line(Paint::yellow, &format!("STOPPING ({phase}): open requests are being finished"));
        }
    }
    if let Some(reload) = page.reload.as_ref().filter(|reload| reload.rejected.is_none()) {
        add_line(plain, &reloaded(reload));
    }
    rollouts(page, &mut add_line);
    releases(page, &mut add_line);
    for kill in page.kills.iter().take(KILLS_MAX) {
        add_line(Paint::red, &format!("KILLED  {kill}"));
    }
    if page.kills.len() > KILLS_MAX {
        let more = page.kills.len() - KILLS_MAX;
        add_line(Paint::red, &format!("… and {more} more kills: `pointsman kill` lists them"));
    }
    for trouble in page.socket_trouble.iter().chain(&page.journal_trouble) {
        add_line(|paint, line| paint.bold(&paint.red(line)), trouble);
    }
    for trouble in page.receiver_troubles.iter().take(RECEIVERS_MAX) {
        add_line(Paint::yellow, trouble);
    }
    if let Some(why) = &page.hand_over_failure {
        add_line(Paint::yellow, &format!("the last hand-over failed: {why}"));
    }
    for listener in page.listeners.iter().take(LISTENERS_MAX) {
        let (name, url) = (&listener.name, &listener.url);
        let name = if url.ends_with(name.as_str()) { String::new() } else { format!("{name}  ") };
        let (connections, in_flight) =
            (counted(listener.connections, "connection"), counted(listener.in_flight, "request"));
        add_line(plain, &format!("listener  {name}{url}  {connections}, {in_flight} in flight"));
        for kept in &listener.kept {
            add_line(Paint::yellow, &format!("  an old certificate stays in use: {kept}"));
        }
    }
    if page.listeners.len() > LISTENERS_MAX {
        add_line(Paint::dim, &format!("… and {} more listeners: --json has all", page.listeners.len() - LISTENERS_MAX));
    }
    lines
}

/// How a line about a release is coloured.
fn ink_of(urgency: Urgency) -> Ink {
    match urgency {
        Urgency::NoTarget => |paint, line| paint.bold(&paint.red(line)),
        Urgency::Stopped => Paint::red,
        Urgency::Asked | Urgency::Warned => Paint::yellow,
        Urgency::Calm => plain,
    }
}

/// The rollouts: state, stage, share set and measured, and what stands in the way.
fn rollouts(page: &StatusPage, add_line: &mut dyn FnMut(Ink, &str)) {
    for row in page.rollouts.iter().take(ROLLOUTS_MAX) {
        let (shape, word, stage) = (row.shape, &row.state, &row.stage);
        let at = row.find(stage).map(|at| format!(" ({} of {})", at + 1, row.stages.len())).unwrap_or_default();
        let line = format!("ROLLOUT  {}  {shape} {word}  {stage}{at}  {}", row.name, row.shares());
        add_line(ink_of(row.urgency), &line);
        if row.urgency != Urgency::Calm {
            add_line(plain, &format!("  {}", row.says));
        }
        let first = row.blocks.first().map(|block| format!("  {}: {}", block.kind, block.says));
        if let Some(first) = first.filter(|_| row.urgency == Urgency::Calm) {
            add_line(plain, &first);
        }
        if !row.awaited.is_empty() {
            add_line(plain, &format!("  waits for {}", row.awaited.join(", ")));
        }
        if row.urgency != Urgency::Calm && !row.unblock.is_empty() {
            add_line(plain, &format!("  next: {}", row.unblock));
        }
    }
    if page.rollouts.len() > ROLLOUTS_MAX {
        let more = page.rollouts.len() - ROLLOUTS_MAX;
        add_line(Paint::dim, &format!("… and {more} more rollouts: `pointsman rollout ls` lists them"));
    }
}

/// The releases that need a person, and what to do next.
fn releases(page: &StatusPage, add_line: &mut dyn FnMut(Ink, &str)) {
    for row in page.releases.iter().take(RELEASES_MAX) {
        let ink = ink_of(row.urgency);
        let word = row.state.split(':').next().unwrap_or_default().to_uppercase();
        add_line(ink, &format!("{word}  {}", row.sentence()));
        add_line(plain, &format!("  next: {}", row.unblock));
    }
    if page.releases.len() > RELEASES_MAX {
        let more = page.releases.len() - RELEASES_MAX;
        add_line(Paint::red, &format!("… and {more} more releases: `pointsman rollout ls` lists them"));
    }
}

/// `1 worker`, `2 workers`.
fn counted(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {one}s", count(number)) }
}

fn rejection(page: &StatusPage, reload: &Reload, rejected: &Rejected, add_line: &mut dyn FnMut(Ink, &str)) {
    let (ago, generation) = (span(reload.ago_s), page.generation);
    let since = format!("REJECTED {ago} ago ({}): generation {generation} stays in effect", reload.at);
    add_line(|paint, line| paint.bold(&paint.red(line)), &since);
    add_line(Paint::red, &format!("  {}", rejected.first));
    if let Some(place) = &rejected.place {
        add_line(plain, &format!("    --> {place}"));
    }
    if let Some(help) = &rejected.help {
        add_line(plain, &format!("    = help: {help}"));
    }
    if rejected.mistakes > 1 {
        let more = rejected.mistakes - 1;
        let file = page.file.as_deref().unwrap_or_default();
        add_line(plain, &format!("  and {more} more: `pointsman check {file}` shows all"));
    }
}

fn reloaded(reload: &Reload) -> String {
    let ago = span(reload.ago_s);
    match (reload.cause.as_str(), reload.summary.as_slice()) {
        ("start", _) => format!("routes loaded {ago} ago, at the start"),
        (cause, []) => match &reload.changed {
            Some((since, what)) => {
                format!("reload {ago} ago ({cause}): no change; last change {} ago: {what}", span(*since))
            }
            None => format!("reload {ago} ago ({cause}): no change"),
        },
        (cause, summary) => format!("reloaded {ago} ago ({cause}): {}", summary.join("; ")),
    }
}

fn plain(_: Paint, text: &str) -> String {
    text.to_owned()
}

/// The name columns of a row. The variant is already padded and coloured.
struct RowNames<'a> {
    route: &'a str,
    variant: &'a str,
}

/// How wide the columns are.
struct Layout {
    route: usize,
    variant: usize,
    shown: [bool; COLUMNS.len()],
}

impl Layout {
    fn of(page: &StatusPage, columns: usize) -> Self {
        let longest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0);
        let routes = longest(&mut page.routes.iter().map(|route| route.name.chars().count())).max("ROUTE".len());
        let variants = page.routes.iter().flat_map(|route| &route.variants).map(|one| one.name.chars().count());
        let variants = longest(&mut variants.chain(["redirect".len()]));
        let mut shown = [true; COLUMNS.len()];
        let free = |shown: &[bool]| {
            let taken = COLUMNS.iter().zip(shown).filter(|(_, shown)| **shown).map(|((_, width), _)| width + 1);
            columns.saturating_sub(taken.sum::<usize>() + 1)
        };
        for spared in SPARED {
            if free(&shown) < NAMES_MIN {
                shown[spared] = false;
            }
        }
        let room = free(&shown);
        let variant = variants.min(room.saturating_sub(routes).max(room * 2 / 5));
        Self { route: routes.min(room.saturating_sub(variant)), variant, shown }
    }

    fn title(&self, requests: &str) -> String {
        let (route, variant) = (self.route, self.variant);
        let mut line = format!("{:<route$} {:<variant$}", cut("ROUTE", route), cut("VARIANT", variant));
        for ((at, (title, width)), _) in COLUMNS.iter().enumerate().zip(self.shown).filter(|(_, shown)| *shown) {
            let title = if *title == "REQUESTS" { requests } else { title };
            line.push(' ');
            let padded = if at == 1 { format!("{title:<width$}") } else { format!("{title:>width$}") };
            line.push_str(&padded);
        }
        line
    }

    fn route(&self, route: &RouteStatus, paint: Paint) -> Vec<String> {
        if route.variants.is_empty() {
            let cells = ["", "", "", &traffic(&route.traffic), &ratio(route.traffic.error_ratio()), "", ""];
            return vec![self.row(
                RowNames { route: &route.name, variant: &paint.dim(&self.padded(&route.action)) },
                cells,
                &route.traffic,
                paint,
            )];
        }
        let mut lines = Vec::new();
        for (at, variant) in route.variants.iter().enumerate() {
            let name = if at == 0 { route.name.as_str() } else { "" };
            let padded = self.padded(&variant.name);
            let shown = if variant.stopped.is_some() { paint.red(&padded) } else { paint.variant(at, &padded) };
            let filled = variant.stopped.map_or_else(|| bar(variant.share.unwrap_or(0.0), 8), str::to_owned);
            let VariantStatus { traffic: counted, p50_ms, p99_ms, .. } = variant;
            let cells = [
                &variant.weight.to_string(),
                &filled,
                &share(variant.share),
                &traffic(counted),
                &ratio(counted.error_ratio()),
                &milliseconds(*p50_ms),
                &milliseconds(*p99_ms),
            ];
            lines.push(self.row(RowNames { route: name, variant: &shown }, cells.map(String::as_str), counted, paint));
            if let Some(says) = &variant.says {
                let indent = self.route + 1;
                let ink = if says.starts_with("fails more") { Paint::red } else { Paint::dim };
                lines.push(format!("{:indent$}{}", "", ink(paint, &format!("└ {says}"))));
            }
        }
        lines
    }

    fn padded(&self, name: &str) -> String {
        let width = self.variant;
        format!("{:<width$}", cut(name, width))
    }

    /// A row of the table.
    fn row(
        &self,
        RowNames { route, variant }: RowNames<'_>,
        cells: [&str; COLUMNS.len()],
        counted: &Traffic,
        paint: Paint,
    ) -> String {
        let width = self.route;
        let mut line = format!("{:<width$} {variant}", cut(route, width));
        for (at, ((_, width), cell)) in COLUMNS.iter().zip(cells).enumerate() {
            if !self.shown[at] {
                continue;
            }
            let padded = if at == 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            line.push(' ');
            line.push_str(&match (at, counted.error_ratio()) {
                (1, _) if STOPS.contains(&cell) => paint.red(&padded),
                (4, Some(ratio)) if ratio >= ERRORS_BAD => paint.red(&padded),
                (4, Some(ratio)) if ratio > 0.0 => paint.yellow(&padded),
                _ => padded,
            });
        }
        line
    }
}

fn traffic(counted: &Traffic) -> String {
    counted.rate.map_or_else(|| count(counted.requests), rate)
}

fn shadow(ShadowStatus { route, upstream, weight, killed }: &ShadowStatus, columns: usize, paint: Paint) -> String {
    let text = format!("{route} → {upstream}  {weight} % of the requests are copied");
    if *killed { paint.red(&cut(&format!("KILLED {text}"), columns)) } else { cut(&text, columns) }
}

/// The upstreams, those with a fault first.
fn upstreams(page: &StatusPage, columns: usize, paint: Paint) -> Vec<Vec<String>> {
    let is_faulty = |one: &UpstreamStatus| one.is_down || !one.unresolved.is_empty() || one.endpoints.is_empty();
    let mut order: Vec<&UpstreamStatus> = page.upstreams.iter().collect();
    order.sort_by_key(|one| {
        (
            !one.is_down,
            !is_faulty(one),
            one.trouble.is_none() && one.tls_failure.is_none(),
            std::cmp::Reverse(one.in_flight),
        )
    });
    let widths = widths(page, columns);
    let block = |one: &UpstreamStatus| {
        let endpoints = match one.endpoints.as_slice() {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [one, other] => format!("{one}, {other}"),
            [one, other, more @ ..] => format!("{one}, {other} and {} more", more.len()),
        };
        let row = upstream_row(widths, [&one.name, &endpoints, &count(one.connections), &count(one.in_flight)]);
        let mut lines = vec![if is_faulty(one) { paint.red(&row) } else { row }];
        let unresolved = one.unresolved.iter().map(|name| paint.red(&cut(&format!("  no address: {name}"), columns)));
        lines.extend(unresolved);
        let failure =
            one.tls_failure.iter().map(|why| paint.yellow(&cut(&format!("  last TLS failure: {why}"), columns)));
        lines.extend(failure);
        let ink = if one.is_down { Paint::red } else { Paint::yellow };
        lines.extend(one.trouble.iter().map(|why| ink(paint, &cut(&format!("  {why}"), columns))));
        lines
    };
    order.into_iter().map(block).collect()
}

/// The widths of the first two columns of the upstreams.
#[derive(Clone, Copy)]
struct UpstreamWidths {
    name: usize,
    endpoints: usize,
}

fn widths(page: &StatusPage, columns: usize) -> UpstreamWidths {
    let room = columns.saturating_sub(24);
    let longest = page.upstreams.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).max("UPSTREAM".len());
    let name = longest.min(room * 2 / 5);
    // Two endpoints of IPv4 and their number, or one of IPv6.
    UpstreamWidths { name, endpoints: (room - name).min(58) }
}

fn upstream_row(widths: UpstreamWidths, [name, endpoints, connections, in_flight]: [&str; 4]) -> String {
    let UpstreamWidths { name: first, endpoints: second } = widths;
    let (name, endpoints) = (cut(name, first), cut(endpoints, second));
    format!("{name:<first$} {endpoints:<second$} {connections:>11} {in_flight:>9}")
}
