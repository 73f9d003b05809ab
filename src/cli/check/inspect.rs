//! Inspecting: everything that `run` would refuse, warnings, and the goldens.

use std::path::Path;

use serde_json::json;

use super::format::CheckFormat;
use super::{against, github, sarif};
use crate::cli::args::CheckArguments;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, load, out};
use crate::config::{self, Diagnostics, Loaded, RouteTestRun};
use crate::route::{Route, Rules, Shadow};

/// How standard input is called.
const STDIN: &str = "<stdin>";

/// What came of a check.
struct Report {
    loaded: Option<Loaded>,
    diagnostics: Diagnostics,
    /// How many tests failed.
    failed: usize,
}

/// Checks the file.
pub fn check(arguments: &CheckArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    if arguments.stdin_name.is_some() && arguments.file != Path::new("-") {
        out::print_error("--stdin-name is the name of standard input: write `pointsman check - --stdin-name FILE`");
        return Ok(Exit::Usage);
    }
    if let Some(place) = &arguments.against {
        return against::against(place.as_ref(), arguments, terminal);
    }
    let report = inspect(arguments);
    let exit = if report.diagnostics.errors() == 0 { Exit::Ok } else { Exit::BadFile };
    let file = name(arguments);
    // Standard input without a name is no file.
    let stdin = Some(STDIN).filter(|stdin| *stdin == file);
    match arguments.format() {
        CheckFormat::Text => load::print_each(&report.diagnostics, terminal.stderr),
        CheckFormat::Json => {
            out::print_json(&report.json(&file, exit))?;
            return Ok(exit);
        }
        CheckFormat::Sarif => {
            out::print_json(&sarif::log(&report.diagnostics, stdin))?;
            return Ok(exit);
        }
        CheckFormat::Github if report.diagnostics.is_empty() => {}
        CheckFormat::Github => out::print(&github::annotations(&report.diagnostics, stdin))?,
    }
    let summary = report.summary();
    match exit {
        _ if arguments.quiet => {}
        Exit::Ok => out::print(&format!("{file}: {}", terminal.stdout.green(&summary)))?,
        Exit::BadFile
        | Exit::Failed
        | Exit::Refused
        | Exit::Held
        | Exit::TimedOut
        | Exit::NotRecorded
        | Exit::Usage => {
            out::print_error(&format!("{file}: {}", terminal.stderr.red(&summary)));
        }
    }
    Ok(exit)
}

/// How the file is called.
fn name(arguments: &CheckArguments) -> String {
    let (file, stdin) = (&arguments.file, arguments.stdin_name.as_ref());
    let named = if file == Path::new("-") { stdin } else { Some(file) };
    named.map_or_else(|| STDIN.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn inspect(arguments: &CheckArguments) -> Report {
    let loaded = if arguments.file == Path::new("-") {
        load::load_input(&name(arguments), std::io::stdin().lock())
    } else {
        load::load(&arguments.file)
    };
    match loaded {
        Err(diagnostics) => Report { loaded: None, diagnostics, failed: 0 },
        Ok(loaded) => {
            let mut diagnostics = loaded.warnings.clone().for_check();
            let RouteTestRun { failed, diagnostics: wrong } = config::run_route_tests(&loaded);
            diagnostics.append(wrong);
            Report { loaded: Some(loaded), diagnostics, failed }
        }
    }
}

/// The routes that have a shadow.
fn shadows(rules: &Rules) -> impl Iterator<Item = (&Route, &Shadow)> {
    rules.routes.iter().filter_map(|route| Some((route, route.split()?.shadow.as_deref()?)))
}

impl Report {
    fn summary(&self) -> String {
        let errors = self.diagnostics.errors();
        let warnings = self.diagnostics.len() - errors;
        let mut parts = Vec::new();
        if let Some(loaded) = &self.loaded {
            parts.push(out::count(loaded.rules.routes.len(), "route"));
            parts.push(out::count(loaded.rules.upstreams.len(), "upstream"));
            parts.extend(Some(shadows(&loaded.rules).count()).filter(|n| *n > 0).map(|n| out::count(n, "shadow")));
            match (loaded.tests.len(), self.failed) {
                (0, _) => {}
                (all, 0) => parts.push(format!("{} passed", out::count(all, "test"))),
                (all, failed) => parts.push(format!("{failed} of {} failed", out::count(all, "test"))),
            }
        } else {
            parts.push(out::count(errors, "error"));
        }
        if warnings > 0 {
            parts.push(out::count(warnings, "warning"));
        }
        parts.join(", ")
    }

    fn json(&self, file: &str, exit: Exit) -> serde_json::Value {
        let rules = self.loaded.as_ref().map(|loaded| &loaded.rules);
        let goldens = self.loaded.as_ref().map_or(0, |loaded| loaded.tests.len());
        json!({
            "file": file,
            "ok": exit == Exit::Ok,
            "routes": rules.map(|rules| rules.routes.len()),
            "upstreams": rules.map(|rules| rules.upstreams.len()),
            "shadows": rules.map(|rules| shadows(rules).map(|(route, shadow)| json!({
                "route": route.name,
                "upstream": rules.upstreams.get(shadow.upstream.0 as usize).map(|upstream| upstream.name.as_str()),
                "weight": shadow.weight.percent(),
                "sample_by": shadow.sample_by.name(),
                "compared": shadow.compare.is_some(),
            })).collect::<Vec<_>>()),
            "goldens": { "passed": goldens - self.failed, "failed": self.failed },
            "errors": self.diagnostics.errors(),
            "warnings": self.diagnostics.len() - self.diagnostics.errors(),
            "diagnostics": self.diagnostics.to_json(),
        })
    }
}
