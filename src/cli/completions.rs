//! `completions`: a completion script for a shell, made from the same definitions that read the command line.

use clap::CommandFactory;

use super::args::{Arguments, CompletionsArguments};
use super::{Exit, out};

/// Prints the script.
pub fn completions(arguments: &CompletionsArguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "pointsman", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
