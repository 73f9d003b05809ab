//! Comparing: two files by the arithmetic of buckets, or by replaying an access log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, ensure};

use super::log::{Line, LogReplay};
use super::render;
use crate::cli::args::WhatIfArguments;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, load, out};
use crate::route::{ConfigDiff, compare};

/// Two files do not have where their rollouts are.
const AT_FIRST_STAGE: &str =
    "note: rollouts are compared at their first stage; `pointsman check --against` compares with where they are";

/// Compares the files.
pub fn what_if(arguments: &WhatIfArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let old = load::load_quietly(&arguments.against, terminal.stderr);
    let new = load::load_quietly(&arguments.new, terminal.stderr);
    let (Some(old), Some(new)) = (old, new) else { return Ok(Exit::BadFile) };
    let comparison: ConfigDiff = compare(old.effective(), new.effective());
    let replay = match &arguments.requests {
        None => None,
        Some(log) => {
            let mut replay = LogReplay::new(old.effective(), new.effective());
            read(log, &mut replay)?;
            let replayed = replay.finish(&comparison);
            ensure!(replayed.replayed.requests > 0, "{}", unreadable(log, replayed.foreign));
            Some(replayed)
        }
    };
    if arguments.json {
        out::print_json(&render::json(&comparison, replay.as_ref()))?;
    } else {
        out::print(&render::text(&comparison, replay.as_ref(), terminal.stdout))?;
        if !(old.rules.rollouts.is_empty() && new.rules.rollouts.is_empty()) {
            out::print_error(&terminal.stderr.dim(AT_FIRST_STAGE));
        }
    }
    Ok(Exit::Ok)
}

/// Why a log contains nothing to replay.
fn unreadable(log: &Path, foreign: u64) -> String {
    let (name, foreign) = (log.display(), usize::try_from(foreign).unwrap_or(usize::MAX));
    match foreign {
        0 => format!("{name} is empty: there is nothing to replay"),
        _ => format!(
            "{name} has {}, and none is from an access log with format = \"json\": there is nothing to replay",
            out::count(foreign, "line")
        ),
    }
}

/// Replays a log line by line.
fn read(log: &Path, replay: &mut LogReplay<'_>) -> anyhow::Result<()> {
    let name = log.display();
    let reader: Box<dyn BufRead> = if log == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(log).with_context(|| format!("cannot read {name}"))?))
    };
    for line in reader.split(b'\n') {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        if !line.iter().all(u8::is_ascii_whitespace) {
            replay.take(Line::parse(&line).as_ref());
        }
    }
    Ok(())
}
