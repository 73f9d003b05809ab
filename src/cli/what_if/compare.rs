//! Comparing: two files by the arithmetic of buckets, or by replaying an access log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

use super::log::{Line, LogReplay};
use super::tell;
use crate::cli::args::WhatIfArguments;
use crate::cli::entry::Terminal;
use crate::cli::{Exit, load, out};
use crate::route::{Comparison, compare};

/// Compares the files.
pub fn what_if(arguments: &WhatIfArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let old = load::load_quietly(&arguments.against, terminal.stderr);
    let new = load::load_quietly(&arguments.new, terminal.stderr);
    let (Some(old), Some(new)) = (old, new) else { return Ok(Exit::BadFile) };
    let comparison: Comparison = compare(&old.rules, &new.rules);
    let replay = match &arguments.requests {
        None => None,
        Some(log) => {
            let mut replay = LogReplay::new(&old.rules, &new.rules);
            read(log, &mut replay)?;
            Some(replay.finish())
        }
    };
    if arguments.json {
        out::say_json(&tell::json(&comparison, replay.as_ref()))?;
    } else {
        out::say(&tell::text(&comparison, replay.as_ref(), terminal.stdout))?;
    }
    Ok(Exit::Ok)
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
