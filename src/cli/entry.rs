//! The entry: reads the command line, runs one command, and turns what came of it into an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, ValueEnum};

use super::args::{Arguments, Command};
use super::paint::{ColorChoice, Paint};
use super::{Exit, check, compare, completions, demo, explain, out, run, schema, what_if};

/// What every command is told besides its own arguments.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// How to write to standard output.
    pub stdout: Paint,
    /// How to write to standard error.
    pub stderr: Paint,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    enter(std::env::args_os().collect()).into()
}

fn enter(words: Vec<OsString>) -> Exit {
    let mut command = Arguments::command().color(early_color(&words).clap());
    let parsed = command.try_get_matches_from_mut(words).and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            let error = error.format(&mut command);
            // Nobody is left to be told when the terminal has gone.
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for { Exit::Ok } else { Exit::Usage };
        }
    };
    let terminal = Terminal { stdout: arguments.color.stdout(), stderr: arguments.color.stderr() };
    dispatch(&arguments.command, terminal).unwrap_or_else(|error| {
        out::complain(&format!("{}: {error:#}", terminal.stderr.red("error")));
        Exit::Failed
    })
}

fn dispatch(command: &Command, terminal: Terminal) -> anyhow::Result<Exit> {
    match command {
        Command::Run(arguments) => Ok(run::run(arguments, terminal)),
        Command::Demo(arguments) => demo::demo(arguments, terminal),
        Command::Check(arguments) => check::check(arguments, terminal),
        Command::Explain(arguments) => explain::explain(arguments, terminal),
        Command::WhatIf(arguments) => what_if::what_if(arguments, terminal),
        Command::Compare(arguments) => compare::compare(arguments, terminal),
        Command::Schema(_) => schema::schema(),
        Command::Completions(arguments) => completions::completions(arguments),
    }
}

/// `--color` as far as it can be known before the command line is read, which may fail and wants to say so in colour.
fn early_color(words: &[OsString]) -> ColorChoice {
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let value = if word == "--color" { words.next() } else { word.strip_prefix("--color=") };
        if let Some(choice) = value.and_then(|value| ColorChoice::from_str(value, false).ok()) {
            return choice;
        }
    }
    ColorChoice::Auto
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn definitions_hold() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn color_is_known_early() {
        assert_eq!(early_color(&words("pointsman --color never check")), ColorChoice::Never);
        assert_eq!(early_color(&words("pointsman check --color=always")), ColorChoice::Always);
        assert_eq!(early_color(&words("pointsman --color")), ColorChoice::Auto);
        assert_eq!(early_color(&words("pointsman --color=pink")), ColorChoice::Auto);
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("\nEXAMPLE\n"), "{}:\n{help}", command.get_name());
        }
    }
}
