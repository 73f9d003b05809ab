//! `limit ls`: the rate limits of routes, and what they refuse. The answer is untrusted: control characters are escaped.

use serde_json::{Value, json};

use crate::cli::admin::{FetchOptions, Purpose};
use crate::cli::args::{ActOutput, LimitArguments, LimitCommand, LimitListArguments};
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::compare::escape_controls;

/// The titles of the columns.
const TITLES: [&str; 8] = ["ROUTE", "LIMIT", "PER", "RATE", "BURST", "KEYS", "REFUSED", "EVICTED"];
/// The first column that has figures, which stand to the right.
const FIGURES: usize = 3;
/// The most routes that are listed for one that is not there.
const LISTED_MAX: usize = 10;
/// The most letters of a name.
const NAME_MAX: usize = 24;

/// A limit as a row.
struct LimitRow {
    cells: [String; TITLES.len()],
    /// What else is to be known; may be empty.
    notes: String,
    refuses: bool,
    forgets: bool,
}

/// Runs `limit`.
///
/// # Errors
/// No proxy answers.
pub fn limit(arguments: &LimitArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    match &arguments.command {
        LimitCommand::Ls(arguments) => list(arguments, terminal),
    }
}

fn list(arguments: &LimitListArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let page = arguments.admin.find(Purpose::Read)?.ask_blocking("/v1/limits", FetchOptions::get())?.page()?;
    let is_meant = |one: &&Value| arguments.route.as_ref().is_none_or(|route| one["route"] == route.as_str());
    let all: Vec<&Value> = page["limits"].as_array().into_iter().flatten().collect();
    let chosen: Vec<&Value> = all.iter().copied().filter(is_meant).collect();
    if let (Some(route), []) = (&arguments.route, chosen.as_slice()) {
        let error = terminal.stderr.red("error");
        out::print_error(&format!("{error}: {}", without_limits(route, &all)));
        return Ok(Exit::Refused);
    }
    match arguments.output() {
        ActOutput::Json => out::print_json(&json!({ "generation": page["generation"], "limits": chosen }))?,
        ActOutput::Text => out::print(&table(&chosen, terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

/// What is wrong with a route that has no limits, and the routes that have some.
fn without_limits(route: &str, all: &[&Value]) -> String {
    let mut names: Vec<&str> = all.iter().filter_map(|one| one["route"].as_str()).collect();
    // The limits of a route are side by side.
    names.dedup();
    let more = names.len().saturating_sub(LISTED_MAX);
    let end = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.truncate(LISTED_MAX);
    let help = match names.as_slice() {
        [] => "no route has a rate limit: add `[[route.rate_limit]]` to one".to_owned(),
        names => format!("routes with rate limits: {}{end}", escape_controls(&names.join(", "))),
    };
    format!("there is no rate limit of a route `{}`\n  = help: {help}", escape_controls(route))
}

fn table(limits: &[&Value], paint: Paint) -> String {
    if limits.is_empty() {
        return "there is no rate limit: add `[[route.rate_limit]]` to a route".to_owned();
    }
    let rows: Vec<LimitRow> = limits.iter().map(|one| LimitRow::read(one)).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row.cells[at].chars().count());
        cells.max().unwrap_or(0).max(TITLES[at].len())
    };
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let padded = |at: usize, cell: &str| {
        let width = widths[at];
        if at < FIGURES { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    let head: Vec<String> = TITLES.iter().enumerate().map(|(at, title)| padded(at, title)).collect();
    let mut lines = vec![paint.dim(&head.join("  "))];
    for row in &rows {
        let cells = row.cells.iter().enumerate().map(|(at, cell)| match TITLES[at] {
            "REFUSED" if row.refuses => paint.yellow(&padded(at, cell)),
            "EVICTED" if row.forgets => paint.red(&padded(at, cell)),
            _ => padded(at, cell),
        });
        let line = cells.chain([row.notes.clone()]).collect::<Vec<_>>().join("  ");
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

impl LimitRow {
    fn read(limit: &Value) -> Self {
        let text = |key: &str| escape_controls(limit[key].as_str().unwrap_or_default()).into_owned();
        let number = |key: &str| limit[key].as_u64().unwrap_or(0);
        let name = |key: &str| out::shortened(&text(key), NAME_MAX);
        let is_dry_run = limit["dry_run"] == true;
        let dry_run = is_dry_run.then(|| format!("dry run: would refuse {}", number("passed_by_dry_run")));
        let except = limit["except"].as_str().map(|_| format!("but {}", name("except")));
        Self {
            cells: [
                name("route"),
                name("name"),
                name("per"),
                text("rate"),
                number("burst").to_string(),
                number("keys").to_string(),
                number("refused").to_string(),
                number("evicted").to_string(),
            ],
            notes: except.into_iter().chain(dry_run).collect::<Vec<_>>().join("; "),
            refuses: number("refused") > 0,
            forgets: number("evicted") > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_a_table() {
        let by_tenant = json!({ "route": "api", "name": "by-tenant", "per": "tenant", "rate": "100/s", "burst": 200,
            "except": "staff", "dry_run": true, "keys": 12, "refused": 0, "passed_by_dry_run": 7, "evicted": 0 });
        let by_key = json!({ "route": "search", "name": "header-x-api-key", "per": "header:x-api-key", "rate": "6000/min",
            "burst": 100, "except": null, "dry_run": false, "keys": 65_536, "refused": 1_234_567, "passed_by_dry_run": 0,
            "evicted": 3 });
        let text = table(&[&by_tenant, &by_key], Paint::Plain);
        assert_eq!(
            text,
            "ROUTE   LIMIT             PER                   RATE  BURST   KEYS  REFUSED  EVICTED\n\
             api     by-tenant         tenant               100/s    200     12        0        0  but staff; dry run: would refuse 7\n\
             search  header-x-api-key  header:x-api-key  6000/min    100  65536  1234567        3"
        );
        assert!(table(&[], Paint::Plain).starts_with("there is no rate limit"));
        assert_eq!(
            without_limits("ap\u{1b}", &[&by_tenant, &by_tenant, &by_key]),
            "there is no rate limit of a route `ap\\u{1b}`\n  = help: routes with rate limits: api, search"
        );
        assert!(without_limits("api", &[]).contains("no route has a rate limit"));
        let hostile = json!({ "route": "a\u{1b}[2J" });
        assert!(!table(&[&hostile], Paint::Plain).contains('\u{1b}'));
    }
}
