//! `upstream`: the endpoints of upstreams of a running proxy.

use clap::{Args, Subcommand};

use super::act::{ActOutput, reason};
use super::live::AdminArguments;

/// `upstream`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
An act is in force at once, and holds until the next start: a reload and a hand-over keep it. It is refused when no \
usable endpoint would be left, unless --force is given. ENDPOINT is HOST:PORT as in the routes file, which means all \
addresses of the name, or one address.

EXIT CODES
  0   done, or it was so already
  1   no proxy answers
  2   refused: no such upstream or endpoint, the last usable endpoint, no permission
  5   in force, but not recorded in the journal

EXAMPLE
  pointsman upstream ls
  pointsman upstream drain checkout-v1 10.0.0.2:8080 --reason 'new kernel'
  pointsman upstream undrain checkout-v1 10.0.0.2:8080 --reason 'done'
  pointsman upstream admit checkout-v1 10.0.0.3:8080 --reason 'it is back'")]
pub struct UpstreamArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: UpstreamCommand,
}

/// What to do about upstreams.
#[derive(Debug, Subcommand)]
pub enum UpstreamCommand {
    /// Show upstreams and the state of their endpoints
    Ls(UpstreamListArguments),
    /// Give an endpoint no new request; those under way finish
    #[command(override_usage = "pointsman upstream drain [OPTIONS] --reason <TEXT> <UPSTREAM> <ENDPOINT>")]
    Drain(EndpointActArguments),
    /// End the drain of an endpoint
    #[command(override_usage = "pointsman upstream undrain [OPTIONS] --reason <TEXT> <UPSTREAM> <ENDPOINT>")]
    Undrain(EndpointActArguments),
    /// Eject an endpoint, until `admit`
    #[command(override_usage = "pointsman upstream eject [OPTIONS] --reason <TEXT> <UPSTREAM> <ENDPOINT>")]
    Eject(EndpointActArguments),
    /// End the ejection of an endpoint, whatever its cause
    #[command(override_usage = "pointsman upstream admit [OPTIONS] --reason <TEXT> <UPSTREAM> <ENDPOINT>")]
    Admit(EndpointActArguments),
}

/// `upstream ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
An endpoint is usable, failing (it fails and may not be ejected), ejected, trial (its next try decides), drained, \
unhealthy (its checks fail), unknown (not checked yet) or standby (a backup, while a primary serves); a name without an \
address is unresolved. Of more than 20 endpoints, those that are not well come first.

\"4 of 50 retries in 10 s\": 4 retries were made, and the budget allows 50; a further try after a refused connection is \
outside it.

EXAMPLE
  pointsman upstream ls
  pointsman upstream ls checkout-v1 --json")]
pub struct UpstreamListArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// One upstream.
    #[arg(value_name = "NAME", help = "Only this upstream, with its settings and all endpoints")]
    pub name: Option<String>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: as in the response of the API")]
    pub json: bool,
}

/// `upstream drain` and its like.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman upstream drain checkout-v1 10.0.0.2:8080 --reason 'new kernel'
  pointsman upstream admit checkout-v1 '[fd00::2]:8080' --reason 'it is back'")]
pub struct EndpointActArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The upstream.
    #[arg(value_name = "UPSTREAM", help = "The upstream")]
    pub upstream: String,
    /// The endpoint.
    #[arg(value_name = "ENDPOINT", help = "HOST:PORT as in the routes file, or an address")]
    pub endpoint: String,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason, help = "Why, for the journal; on a terminal it is asked for")]
    pub reason: Option<String>,
    /// Also the last usable endpoint.
    #[arg(long, help = "Also if no usable endpoint is left")]
    pub force: bool,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

impl UpstreamListArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

impl EndpointActArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}
