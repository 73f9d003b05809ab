//! `journal --verify`: whether the chain of the files is whole.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::cli::args::ActOutput;
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::compare::escape_controls;
use crate::journal::{DiskFiles, VerifyReport, verify};

/// Verifies the journal in a state folder.
///
/// # Errors
/// The folder or a file cannot be read, or there is no journal.
pub(super) fn verified(dir: &Path, output: ActOutput, terminal: Terminal) -> anyhow::Result<Exit> {
    let shown = dir.display();
    let report = verify(&DiskFiles::new(dir)).with_context(|| format!("cannot read the journal in {shown}"))?;
    let is_there = !report.files.is_empty() || !report.is_intact();
    ensure!(
        is_there,
        "there is no journal in {shown}\n  = help: the folder is `[state] dir` of the proxy's routes file"
    );
    match output {
        ActOutput::Json => out::print_json(&as_json(&report))?,
        ActOutput::Text if report.is_intact() => out::print(&text(&report, terminal.stdout))?,
        ActOutput::Text => out::print_error(&text(&report, terminal.stderr)),
    }
    Ok(if report.is_intact() { Exit::Ok } else { Exit::Failed })
}

fn text(report: &VerifyReport, paint: Paint) -> String {
    let mut text = String::new();
    for file in &report.files {
        let numbers = match (file.first_seq, file.last_seq) {
            (Some(first), Some(last)) => format!("#{first} to #{last}"),
            _ => "no records".to_owned(),
        };
        let _ = writeln!(text, "{}  {numbers}  {} bytes", file.name, file.bytes); // writing to memory cannot fail
    }
    for note in &report.notes {
        let _ = writeln!(text, "{}: {}", paint.yellow("note"), escape_controls(note));
    }
    for problem in &report.problems {
        let damage = &problem.damage;
        let place = match (damage.file.as_str(), damage.line) {
            ("", 0) => String::new(),
            ("", line) => format!("line {line}: "),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}: "),
        };
        let _ = writeln!(text, "{}: {place}{}", paint.red("broken"), escape_controls(&damage.kind.to_string()));
        if damage.line > 0 {
            let (from, to) = (problem.from_byte, problem.to_byte);
            let (begins, ends) = (escape_controls(&problem.begins), escape_controls(&problem.ends));
            let _ = writeln!(text, "  bytes {from} to {to}: {begins} … {ends}");
        }
        let _ = writeln!(text, "  = help: {}", damage.kind.remedy());
    }
    if report.more_problems > 0 {
        let _ = writeln!(text, "… and {} more", report.more_problems);
    }
    let records = out::count(usize::try_from(report.records).unwrap_or(usize::MAX), "record");
    let span = match (&report.first_at, &report.last_at) {
        (Some(first), Some(last)) => format!(" from {} to {}", escape_controls(first), escape_controls(last)),
        _ => String::new(),
    };
    let verdict = if report.is_intact() {
        paint.green(&format!("the chain is whole: {records}{span}"))
    } else {
        paint.red(&format!("the chain is broken: {records}{span}"))
    };
    text + &verdict
}

fn as_json(report: &VerifyReport) -> Value {
    let files = report.files.iter().map(|file| {
        json!({ "file": file.name, "bytes": file.bytes, "records": file.records, "first_seq": file.first_seq,
            "last_seq": file.last_seq })
    });
    let problems = report.problems.iter().map(|problem| {
        json!({
            "file": problem.damage.file,
            "line": problem.damage.line,
            "message": problem.damage.kind.to_string(),
            "help": problem.damage.kind.remedy(),
            "from_byte": problem.from_byte,
            "to_byte": problem.to_byte,
        })
    });
    json!({
        "intact": report.is_intact(),
        "records": report.records,
        "first_at": report.first_at,
        "last_at": report.last_at,
        "files": files.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
        "more_problems": report.more_problems,
        "notes": report.notes,
    })
}
