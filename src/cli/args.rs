//! The command line: commands and arguments, with an example for each.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::admin::AdminPlace;
use super::check::CheckFormat;
use super::paint::ColorChoice;
use crate::config;

mod act;
mod dashboard;
mod journal;
mod limit;
mod live;
mod notify;
mod plan;
mod rehearse;
mod rollout;
mod start;
mod token;
mod traffic;
mod upstream;

pub use act::{ActOutput, KillArguments, ReviveArguments};
pub use dashboard::DashboardArguments;
pub use journal::{EventsArguments, JournalArguments};
pub use limit::{LimitArguments, LimitCommand, LimitListArguments};
pub use live::{AdminArguments, CompareArguments, CredentialArguments, ReloadArguments, ReportFormat, StatusArguments};
pub use notify::{NotifyArguments, NotifyCommand, NotifyListArguments, NotifyTestArguments};
pub use plan::PlanArguments;
#[cfg(test)]
pub use plan::start_date;
pub use rehearse::{RehearseArguments, underlined};
pub use rollout::{
    RolloutActArguments, RolloutArguments, RolloutCommand, RolloutListArguments, RolloutShowArguments,
    RolloutWaitArguments,
};
pub use start::{DEFAULT_FILE, InitArguments, SketchArguments};
pub use token::{NewTokenArguments, TokenArguments, TokenCommand};
#[cfg(test)]
pub use traffic::RateArgument;
pub use traffic::TrafficArguments;
pub use upstream::{EndpointActArguments, UpstreamArguments, UpstreamCommand, UpstreamListArguments};

const EXIT_CODES: &str = "\
EXIT CODES
  0   success; `run` and `demo`: stopped after a drain
  1   failure: at startup, while running, by a second signal, or no proxy answers
  2   the proxy refuses the act, or the question was answered with no
  64  wrong usage
  78  the routes file is invalid; `reload`: it was rejected

EXAMPLE
  pointsman demo                    # a guided tour, nothing else needed
  pointsman run --to 3000           # in front of a service, without a file
  pointsman init --to 3000          # the same as a file, to be edited
  pointsman check                   # every error at once, with line and column
  pointsman run
  pointsman status                  # what runs
  pointsman kill --variant shop:canary --reason 'INC-4711'";

/// Pointsman stands in front of your services and decides for every request which variant answers it.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    /// When to use colour; `auto`: on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    #[arg(display_order = 900)]
    #[arg(help = "When to use colour: auto (on a terminal, unless NO_COLOR is set), always or never")]
    pub color: ColorChoice,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy until it is stopped
    Run(RunArguments),
    /// Take a guided tour: three small services, the proxy and its admin listener in one process
    Demo(DemoArguments),
    /// Write a small routes file to start from
    Init(InitArguments),
    /// Check a routes file: errors, warnings, and the `[[test]]` requests in it
    #[command(alias = "validate")]
    Check(CheckArguments),
    /// Show the state of a running proxy: generation, last reload, kills, shares, errors and durations by route and variant
    Status(StatusArguments),
    /// Print a link that opens the dashboard of a running proxy, or open it in the browser
    Dashboard(DashboardArguments),
    /// Take a route, a variant, a tenant, a shadow or everything out of service, at once; or list what is
    Kill(KillArguments),
    /// Lift a kill
    Revive(ReviveArguments),
    /// Show rollouts and releases with their stages and evidence; approve, hold, resume, roll back, or wait for one
    Rollout(RolloutArguments),
    /// Rehearse a rollout in virtual time: when a fault would be found, and when each stage would be entered
    Rehearse(RehearseArguments),
    /// Write the plan of a rollout as a document to sign: stages with dates, criteria, expected figures, rollback steps
    Plan(PlanArguments),
    /// Show the endpoints of upstreams; drain, eject or admit one
    Upstream(UpstreamArguments),
    /// Show the rate limits of routes, and what they refuse
    Limit(LimitArguments),
    /// Show the receivers of notifications, and what waits for them; or send a test message
    Notify(NotifyArguments),
    /// Reload the routes file of a running proxy, and wait for the result
    Reload(ReloadArguments),
    /// Show who changed what, when and why; or verify the journal
    Journal(JournalArguments),
    /// Print the records of the journal as they are made
    Events(EventsArguments),
    /// Make a token for the admin API
    Token(TokenArguments),
    /// Explain which variant a request gets, and why
    Explain(ExplainArguments),
    /// Show which routes an edit changes, and the share of callers that it moves
    WhatIf(WhatIfArguments),
    /// Show which response fields differ in a dark launch
    Compare(CompareArguments),
    /// Print the JSON Schema of the routes file
    Schema(SchemaArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
    /// Print the version
    #[command(hide = true)]
    Version(VersionArguments),
}

/// `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
The proxy reloads the file when it changes, and on SIGHUP. SIGTERM and SIGINT drain and stop; a second signal stops \
at once. SIGUSR2 starts a new process from the binary, which may have been replaced, and hands the sockets over to it: \
no connection is refused, and the old process finishes its requests. Sockets from systemd are matched by address or name.

EXAMPLE
  pointsman run                               # routes.toml, one worker per core
  pointsman run --to 3000 --canary 3001=5     # without a file
  pointsman run edge.toml --workers 2 --drain-delay 5s --drain-deadline 30s")]
pub struct RunArguments {
    /// The routes file.
    #[arg(value_name = "FILE", conflicts_with = "to", help = "The routes file [default: routes.toml]")]
    pub file: Option<PathBuf>,
    /// Routes without a file.
    #[command(flatten)]
    pub sketch: SketchArguments,
    /// Worker threads.
    #[arg(long, value_name = "N", value_parser = workers)]
    #[arg(help = "Worker threads [default: one per core]")]
    pub workers: Option<u16>,
    /// How long readiness fails before connections are refused.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    #[arg(help = "On a stop, keep accepting for this long while readiness already fails")]
    pub drain_delay: Duration,
    /// How long open requests may take to finish.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    #[arg(help = "On a stop, close requests that are still open after this time")]
    pub drain_deadline: Duration,
    /// How long the new process of a hand-over may take until it serves.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    #[arg(help = "On a hand-over (SIGUSR2), the new process must serve within this time, or the old one continues")]
    pub hand_over_patience: Duration,
}

/// `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman demo                      # then follow what it prints
  pointsman demo --rollout            # keys: `a` approves, `f` is a fault
  pointsman demo --rollout | cat      # by itself, from a fault to complete
  pointsman demo --dir ./playground   # keep its routes.toml there")]
pub struct DemoArguments {
    /// Where its routes.toml is written.
    #[arg(long, value_name = "DIR", help = "Where its routes.toml is written [default: a fresh temporary directory]")]
    pub dir: Option<PathBuf>,
    /// A rollout.
    #[arg(long, conflicts_with = "no_traffic")]
    #[arg(help = "Show a rollout in three stages, with an approval; without a terminal it goes by itself, and ends")]
    pub rollout: bool,
    /// HTTPS too.
    #[arg(long, help = "Serve HTTPS too, with a certificate made in memory")]
    pub tls: bool,
    /// No traffic of its own.
    #[arg(long, help = "Do not generate traffic")]
    pub no_traffic: bool,
    /// The port of the proxy.
    #[arg(long, value_name = "PORT", default_value_t = 8080, help = "The proxy's port; a free one when it is in use")]
    pub port: u16,
    /// The port of the admin listener.
    #[arg(long, value_name = "PORT", default_value_t = 9900)]
    #[arg(help = "The admin listener's port; a free one when it is in use")]
    pub admin_port: u16,
}

/// `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman check                            # routes.toml
  pointsman check edge.toml --format github  # annotations in CI; or sarif
  git show :routes.toml | pointsman check - --stdin-name routes.toml
  pointsman check --against                  # what it would change here
  pointsman check edge.toml --against 10.0.0.7:9900")]
pub struct CheckArguments {
    /// The routes file.
    #[arg(default_value = DEFAULT_FILE, help = "The routes file, `-` for standard input")]
    pub file: PathBuf,
    /// How diagnostics are printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", hide_possible_values = true)]
    #[arg(help = "How diagnostics are printed: text, json, github (annotations of Actions) or sarif (2.1.0)")]
    format: CheckFormat,
    /// JSON instead of text.
    #[arg(long, conflicts_with = "format", help = "The same as --format json")]
    json: bool,
    /// No summary.
    #[arg(short, long, help = "Print nothing but diagnostics")]
    pub quiet: bool,
    /// The name of standard input.
    #[arg(long, value_name = "FILE")]
    #[arg(help = "The name of standard input in diagnostics; `include` is relative to it [default: none]")]
    pub stdin_name: Option<PathBuf>,
    /// The proxy that is asked instead.
    #[arg(long, value_name = "URL", value_parser = proxy, num_args = 0..=1, conflicts_with = "stdin_name")]
    #[arg(help = "Ask a running proxy instead, what the file would change there: a URL, HOST:PORT or unix:/path \
        [default: POINTSMAN_ADMIN, else the socket, else http://127.0.0.1:9900]")]
    #[expect(clippy::option_option, reason = "how clap reads an option with an optional value")]
    pub against: Option<Option<AdminPlace>>,
    /// Who asks.
    #[command(flatten)]
    pub credentials: CredentialArguments,
}

impl CheckArguments {
    /// How diagnostics are printed.
    pub const fn format(&self) -> CheckFormat {
        if self.json { CheckFormat::Json } else { self.format }
    }
}

/// `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Identity headers are accepted only from identity.trusted_proxies, as in live traffic. Without --peer, the request \
comes from the first trusted proxy, which forwards --client-ip as the client.

EXAMPLE
  pointsman explain --host shop.example.com --path /pay --cookie uid=alice
  pointsman explain edge.toml --path /     # no host: the routes match any
  pointsman explain --admin --path /       # what runs, with its kills
  pointsman explain --admin 127.0.0.1:9900 --path / --header 'x-canary: always'")]
pub struct ExplainArguments {
    /// The routes file.
    #[arg(value_name = "FILE", conflicts_with_all = ["admin", "file_option"])]
    #[arg(help = "The routes file [default: routes.toml]")]
    pub file: Option<PathBuf>,
    /// The same, as it was written before.
    #[arg(long = "file", value_name = "FILE", conflicts_with = "admin", hide = true)]
    pub file_option: Option<PathBuf>,
    /// Ask a running proxy.
    #[arg(long, value_name = "URL", value_parser = proxy, num_args = 0..=1)]
    #[arg(help = "Ask a running proxy instead of a file: its admin listener, as a URL, HOST:PORT or unix:/path \
        [default: POINTSMAN_ADMIN, else the socket, else http://127.0.0.1:9900]")]
    #[expect(clippy::option_option, reason = "how clap reads an option with an optional value")]
    pub admin: Option<Option<AdminPlace>>,
    /// Who asks.
    #[command(flatten)]
    pub credentials: CredentialArguments,
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "GET", help = "The method")]
    pub method: String,
    /// The host.
    #[arg(long, value_name = "HOST")]
    #[arg(help = "The host, as in the Host header; required when routes match on it [default: localhost]")]
    pub host: Option<String>,
    /// Path and query.
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path, help = "The path and the query")]
    pub path: String,
    /// Headers.
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header, help = "A header; may be repeated")]
    pub headers: Vec<(String, String)>,
    /// Cookies.
    #[arg(long = "cookie", value_name = "NAME=VALUE", value_parser = cookie, help = "A cookie; may be repeated")]
    pub cookies: Vec<(String, String)>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", help = "The client's address [default: 127.0.0.1]")]
    pub client_ip: Option<IpAddr>,
    /// Parts of the client's certificate.
    #[arg(
        long = "client-cert",
        value_name = "FIELD:VALUE",
        help = "A field of the client's verified certificate: cn, dns, uri or email; may be repeated"
    )]
    pub client_cert: Vec<String>,
    /// The listener.
    #[arg(
        long,
        value_name = "NAME",
        help = "The listener that accepts it [default: the first that does not redirect]"
    )]
    pub listener: Option<String>,
    /// The peer's address.
    #[arg(long, value_name = "ADDRESS", help = "The peer that connects [default: a trusted proxy, else the client]")]
    pub peer: Option<IpAddr>,
    /// Stages of rollouts.
    #[arg(
        long = "rollout",
        value_name = "NAME=STAGE",
        help = "A rollout in this stage, instead of the one that it has reached, in a file the first; may be repeated"
    )]
    pub rollouts: Vec<String>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

/// `what-if`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman what-if routes.new.toml                        # against routes.toml
  git show main:routes.toml > old.toml
  pointsman what-if routes.toml --against old.toml
  pointsman what-if routes.new.toml --requests access.log    # by replaying it")]
pub struct WhatIfArguments {
    /// The edited file.
    #[arg(value_name = "NEW", help = "The edited routes file")]
    pub new: PathBuf,
    /// What it is compared with.
    #[arg(long, value_name = "OLD", default_value = DEFAULT_FILE, help = "The file to compare with")]
    pub against: PathBuf,
    /// An access log.
    #[arg(long, value_name = "LOG", help = "A JSON access log to replay, `-` for standard input")]
    pub requests: Option<PathBuf>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

/// `schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman schema > routes.schema.json
  # then, as the first line of routes.toml, for editors:
  #:schema ./routes.schema.json")]
pub struct SchemaArguments {}

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  dir=~/.local/share/bash-completion/completions
  pointsman completions bash > $dir/pointsman
  pointsman completions zsh  > ~/.zfunc/_pointsman
  pointsman completions fish > ~/.config/fish/completions/pointsman.fish")]
pub struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum, help = "The shell")]
    pub shell: clap_complete::Shell,
}

/// `version`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman version
  pointsman --version        # the same")]
pub struct VersionArguments {}

/// A proxy to ask, where a file may stand beside the option.
fn proxy(text: &str) -> Result<AdminPlace, String> {
    let is_file = Path::new(text).extension().is_some_and(|end| end == "toml");
    if is_file { Err(format!("that is a file: write `{text}` before the option")) } else { AdminPlace::named(text) }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as NAME:VALUE")?;
    http::HeaderName::try_from(name.trim()).map_err(|_| format!("`{name}` is not a valid header name"))?;
    http::HeaderValue::try_from(value.trim())
        .map_err(|_| "the value has a byte that is not allowed in a header".to_owned())?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// A path and perhaps a query. Whatever else there is, its grammar is a matter of routing.
fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path begins with a slash".to_owned()) }
}

fn cookie(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write a cookie as NAME=VALUE")?;
    if name.is_empty() || text.contains([';', '\r', '\n']) {
        return Err("a cookie needs a name, and must not contain `;` or a line break".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a number of worker threads.
fn workers(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "a whole number, 1 or more, at most 1024".to_owned())
}

/// Reads a duration as the routes file writes it: `250ms`, `5s`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "write a duration as 250ms, 5s, 2h or 1h30m".to_owned())
}
