//! `rollout`: the releases that guards of a running proxy watch.

use clap::{Args, Subcommand};

use super::act::{ActOutput, reason};
use super::live::AdminArguments;

/// `rollout`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
A release is a variant of a route, named ROUTE:VARIANT, under one revision of its upstream. Guards compare it with \
stable. One that rolls it back latches it: it gets no request, over reloads and restarts, until its upstream has \
another revision or a person resumes it.

EXIT CODES
  0   done
  1   no proxy answers, or the journal cannot be written
  2   refused: no such release, not rolled back, no permission, or the question was answered with no

EXAMPLE
  pointsman rollout ls
  pointsman rollout show checkout:canary
  pointsman rollout resume checkout:canary --reason 'the database is back'")]
pub struct RolloutArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do about releases.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show the releases that guards watch: those that need a person first
    Ls(RolloutListArguments),
    /// Show a release: its state, what would end it, and the evidence of each guard
    Show(RolloutShowArguments),
    /// End the latch of a release that was rolled back: it gets its weight again, and its guards begin anew
    Resume(RolloutResumeArguments),
}

/// `rollout ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
The bar shows how far the evidence of the closest guard is on its way to the threshold, as powers of ten.

EXAMPLE
  pointsman rollout ls
  pointsman rollout ls --json | jq '.rollouts[] | select(.state == \"rolled_back\") | .name'")]
pub struct RolloutListArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

/// `rollout show`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman rollout show checkout:canary
  pointsman rollout show checkout:canary --json | jq '.guards[].says'")]
pub struct RolloutShowArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The release.
    #[arg(value_name = "ROUTE:VARIANT", help = "The release; `pointsman rollout ls` lists all")]
    pub name: String,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

/// `rollout resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
The release gets the weight of the file again, and its guards begin without evidence: they may trip again. On a \
terminal the command shows why it was rolled back, and asks for the reason and for a yes. A new revision of the \
upstream ends the latch without this command.

EXAMPLE
  pointsman rollout resume checkout:canary --reason 'the database is back'
  pointsman rollout resume checkout:canary --reason 'INC-4711 is over' --yes")]
pub struct RolloutResumeArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The release.
    #[arg(value_name = "ROUTE:VARIANT", help = "The release; `pointsman rollout ls` lists all")]
    pub name: String,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason, help = "Why, for the journal")]
    pub reason: Option<String>,
    /// No question.
    #[arg(long, help = "Do not ask for a yes")]
    pub yes: bool,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

impl RolloutListArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

impl RolloutShowArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

impl RolloutResumeArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}
