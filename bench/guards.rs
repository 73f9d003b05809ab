//! The figures of the guards in virtual time, as Markdown and, with `--json FILE`, as JSON: how often a healthy release is
//! stopped, and how soon a bad one is found. `cargo run --release --example guards -- [--part N] [--json FILE]`, where a part
//! of 10 plays a tenth of the runs.

#![expect(clippy::cast_precision_loss, clippy::expect_used, reason = "counts are small; a measurement may fail")]

use std::fmt::Write as _;

use serde_json::{Value, json};

#[path = "../tests/guards/counting.rs"]
mod counting;
#[path = "../tests/guards/detection.rs"]
mod detection;
#[path = "../tests/guards/healthy.rs"]
mod healthy;
#[path = "../tests/guards/route.rs"]
mod route;

use counting::COUNTING;
use detection::DETECTION;
use healthy::HEALTHY;
use route::{Plays, Stopped};

/// Runs of each row, and how long each lasts, in seconds.
const HEALTHY_PLAYS: Plays = Plays { runs: 1_000, seed: 11, seconds: 7_200 };
const COUNTING_PLAYS: Plays = Plays { runs: 400, seed: 12, seconds: 3_600 };
/// Runs of each cell with fresh evidence, and of those after healthy minutes.
const FRESH_RUNS: u64 = 1_500;
const LATE_RUNS: u64 = 300;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value_of = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let part: u64 = value_of("--part").map_or(1, |part| part.parse().expect("--part N: a number"));
    let (mut text, mut rows) = (String::new(), Vec::new());
    stopped(&mut text, &mut rows, part);
    delays(&mut text, &mut rows, part);
    print!("{text}");
    if let Some(file) = value_of("--json") {
        std::fs::write(file, format!("{:#}\n", json!({ "rows": rows }))).expect("the file of --json");
    }
}

fn stopped(text: &mut String, rows: &mut Vec<Value>, part: u64) {
    *text += "| healthy release | runs | rolled back | held by the sample ratio |\n|---|---|---|---|\n";
    let mut add = |name: &str, of: Stopped| {
        let percent = |count: u64| 100.0 * count as f64 / of.runs as f64;
        let (back, held) = (percent(of.rolled_back), percent(of.held));
        writeln!(text, "| {name} | {} | {back:.2} % | {held:.2} % |", of.runs).expect("a string takes text");
        eprintln!("{name}: {} of {} rolled back, {} held", of.rolled_back, of.runs, of.held);
        rows.push(json!({ "healthy": name, "runs": of.runs, "rolled_back": of.rolled_back, "held": of.held }));
    };
    for row in HEALTHY {
        add(row.name, row.run(&Plays { runs: (HEALTHY_PLAYS.runs / part).max(1), ..HEALTHY_PLAYS }));
    }
    for row in COUNTING {
        add(row.name, row.run(&Plays { runs: (COUNTING_PLAYS.runs / part).max(1), ..COUNTING_PLAYS }));
    }
}

fn delays(text: &mut String, rows: &mut Vec<Value>, part: u64) {
    *text += "\n| stable fails | canary fails | evidence | median | p90 | p99 | bad answers p90 | stated |\n";
    *text += "|---|---|---|---|---|---|---|---|\n";
    for cell in DETECTION {
        let runs = if cell.healthy_s == 0 { FRESH_RUNS } else { LATE_RUNS };
        let found = cell.run((runs / part).max(1), 13);
        let evidence = if cell.healthy_s == 0 { "fresh" } else { "after 30 healthy minutes" };
        let [median, p90, p99] = cell.stated;
        writeln!(
            text,
            "| {} % | {} % | {evidence} | {:.2} s | {:.2} s | {:.2} s | {} | {median} / {p90} / {p99} |",
            cell.stable * 100.0,
            cell.bad * 100.0,
            found.median,
            found.p90,
            found.p99,
            found.bad_p90
        )
        .expect("a string takes text");
        eprintln!("{cell:?}: {found:?}");
        rows.push(json!({
            "stable": cell.stable, "canary": cell.bad, "healthy_s": cell.healthy_s, "median_s": found.median,
            "p90_s": found.p90, "p99_s": found.p99, "worst_s": found.worst, "bad_answers_p90": found.bad_p90, "stated_s": cell.stated,
        }));
    }
}
