//! `limit`: the rate limits of a running proxy.

use clap::{Args, Subcommand};

use super::act::ActOutput;
use super::live::AdminArguments;

/// `limit`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
EXAMPLE
  pointsman limit ls
  pointsman limit ls checkout --json")]
pub struct LimitArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: LimitCommand,
}

/// What to do about rate limits.
#[derive(Debug, Subcommand)]
pub enum LimitCommand {
    /// Show rate limits, and what they refuse
    Ls(LimitListArguments),
}

/// `limit ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
REFUSED counts the requests beyond a limit since the start of the process; a dry run refuses none, and its row says how many it would refuse. \
KEYS are the callers that have a place, also those whose count is over. EVICTED were forgotten for new ones: \
a limit has 65536 places, or fewer (512 at least) once all limits use their 64 MiB. Of the 16 places that a new key may have, the one \
whose count ends first is taken.

EXAMPLE
  pointsman limit ls
  pointsman limit ls checkout --json")]
pub struct LimitListArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// One route.
    #[arg(value_name = "ROUTE", help = "Only the limits of this route")]
    pub route: Option<String>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: as in the response of the API")]
    pub json: bool,
}

impl LimitListArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}
