//! `notify`: the receivers of notifications of a running proxy.

use clap::{Args, Subcommand};

use super::act::ActOutput;
use super::live::AdminArguments;

/// `notify`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
Receivers are those of `[notify] to` and of `notify` in rollouts. Their name is kind and host.

EXIT CODES
  0   done; `test`: the message has arrived at each receiver
  1   no proxy answers; `test`: it has not arrived everywhere
  2   refused: no such receiver, none in the file, no permission

EXAMPLE
  pointsman notify ls
  pointsman notify test
  pointsman notify test slack:hooks.slack.com")]
pub struct NotifyArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: NotifyCommand,
}

/// What to do about notifications.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Show the receivers, and what waits for them
    Ls(NotifyListArguments),
    /// Send a test message to one receiver or all, and wait for their answers
    Test(NotifyTestArguments),
}

/// `notify ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman notify ls
  pointsman notify ls --json")]
pub struct NotifyListArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

/// `notify test`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman notify test
  pointsman notify test alertmanager:alertmanager:9093 --json")]
pub struct NotifyTestArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// One receiver.
    #[arg(value_name = "RECEIVER", help = "Only this receiver, by its name in `notify ls`")]
    pub receiver: Option<String>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

impl NotifyListArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

impl NotifyTestArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}
