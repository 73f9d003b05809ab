//! The entry: reads the command line, runs one command, and turns what came of it into an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, ValueEnum};

use super::args::{Arguments, Command};
use super::paint::{ColorChoice, Terminal};
use super::{
    Exit, act, check, compare, completions, dashboard, demo, explain, guess, init, journal, out, plan, rehearse,
    reload, run, schema, status, token, what_if,
};

/// The output of `--version`, of every command.
const VERSION: &str = concat!("pointsman ", env!("CARGO_PKG_VERSION"));

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    enter(std::env::args_os().collect()).into()
}

fn enter(words: Vec<OsString>) -> Exit {
    let color = early_color(&words);
    let mut command = Arguments::command().color(color.clap());
    let parsed = command.try_get_matches_from_mut(words).and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error.format(&mut command), color),
    };
    let terminal = Terminal { stdout: arguments.color.stdout(), stderr: arguments.color.stderr() };
    dispatch(&arguments.command, terminal).unwrap_or_else(|error| {
        out::print_error(&format!("{}: {error:#}", terminal.stderr.red("error")));
        Exit::Failed
    })
}

/// Prints help, the version, or the error of a command line that calls no command.
fn unparsed(error: &clap::Error, color: ColorChoice) -> Exit {
    // A failure to print is ignored: there is no other place to report it.
    if error.kind() == ErrorKind::DisplayVersion {
        let _ = out::print(VERSION);
        return Exit::Ok;
    }
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.as_str(),
        Some(_) | None => "",
    };
    if let Some(instead) = guess::suggestion(word) {
        let error = color.stderr().red("error");
        out::print_error(&format!("{error}: there is no command `{word}`\n  = help: {instead}"));
        return Exit::Usage;
    }
    let _ = error.print();
    if error.kind() == ErrorKind::DisplayHelp { Exit::Ok } else { Exit::Usage }
}

fn dispatch(command: &Command, terminal: Terminal) -> anyhow::Result<Exit> {
    match command {
        Command::Run(arguments) => Ok(run::run(arguments, terminal)),
        Command::Demo(arguments) => demo::demo(arguments, terminal),
        Command::Init(arguments) => init::init(arguments, terminal),
        Command::Status(arguments) => status::status(arguments, terminal),
        Command::Dashboard(arguments) => dashboard::dashboard(arguments, terminal),
        Command::Kill(arguments) => act::kill(arguments, terminal),
        Command::Revive(arguments) => act::revive(arguments, terminal),
        Command::Rollout(arguments) => act::rollout(arguments, terminal),
        Command::Rehearse(arguments) => rehearse::rehearse(arguments, terminal),
        Command::Plan(arguments) => plan::plan(arguments, terminal),
        Command::Upstream(arguments) => act::upstream(arguments, terminal),
        Command::Limit(arguments) => act::limit(arguments, terminal),
        Command::Notify(arguments) => act::notify(arguments, terminal),
        Command::Journal(arguments) => journal::journal(arguments, terminal),
        Command::Events(arguments) => journal::events(arguments, terminal),
        Command::Token(arguments) => token::token(arguments, terminal),
        Command::Reload(arguments) => reload::reload(arguments, terminal),
        Command::Check(arguments) => check::check(arguments, terminal),
        Command::Explain(arguments) => explain::explain(arguments, terminal),
        Command::WhatIf(arguments) => what_if::what_if(arguments, terminal),
        Command::Compare(arguments) => compare::compare(arguments, terminal),
        Command::Schema(_) => schema::schema(),
        Command::Completions(arguments) => completions::completions(arguments),
        Command::Version(_) => out::print(VERSION).map(|()| Exit::Ok),
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

    #[test]
    fn help_fits_a_terminal_and_its_examples_stay_whole() {
        for columns in [80, 100] {
            let mut command = Arguments::command().term_width(columns);
            command.build();
            let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
            for name in names.iter().filter(|name| *name != "help") {
                let found = command.find_subcommand_mut(name).unwrap();
                let after = found.get_after_help().unwrap().to_string();
                let help = found.render_help().to_string();
                let long = help.lines().find(|line| line.chars().count() > columns);
                assert_eq!(long, None, "{name} at {columns}");
                let examples = after.split_once("EXAMPLE\n").unwrap().1;
                assert!(help.contains(examples.trim_end()), "{name} at {columns}:\n{help}");
                let color = help.find("--color").unwrap();
                assert!(
                    help.rfind("\n      --").unwrap() < color || help[color..].find("\n      --").is_none(),
                    "{name}"
                );
            }
            let help = command.render_help().to_string();
            assert_eq!(help.lines().find(|line| line.chars().count() > columns), None, "at {columns}");
        }
    }
}
