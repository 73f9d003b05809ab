//! Commands that ask a running proxy.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::admin::{AdminEndpoint, AdminPlace, BearerToken, Credentials, Purpose, TOKEN_VARIABLE, VARIABLE};
use crate::config;

/// Bounds on the time between two looks of `--watch`.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// Which proxy is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminArguments {
    /// Its admin listener.
    #[arg(long, value_name = "URL", value_parser = AdminPlace::named)]
    #[arg(help = "The proxy's admin listener: a URL, HOST:PORT or unix:/path [default: POINTSMAN_ADMIN, else the \
        socket, else http://127.0.0.1:9900]")]
    pub admin: Option<AdminPlace>,
    /// Who asks.
    #[command(flatten)]
    pub credentials: CredentialArguments,
}

/// Who asks.
#[derive(Clone, Debug, Default, Args)]
pub struct CredentialArguments {
    /// The file of the token.
    #[arg(long, value_name = "FILE", display_order = 890)]
    #[arg(help = "A file with the token of this user [default: POINTSMAN_TOKEN, else none]")]
    pub token_file: Option<PathBuf>,
    /// The authorities of `https://`.
    #[arg(long, value_name = "FILE", display_order = 891)]
    #[arg(help = "The certificate authorities that https:// trusts [default: those of the system]")]
    pub ca: Option<PathBuf>,
}

impl AdminArguments {
    /// The listener that is asked.
    ///
    /// # Errors
    /// The variable names no place, or the token cannot be read.
    pub fn find(&self, purpose: Purpose) -> anyhow::Result<AdminEndpoint> {
        let variable = std::env::var(VARIABLE).ok();
        AdminEndpoint::find(self.admin.as_ref(), variable.as_deref(), purpose, self.credentials.read()?)
    }
}

impl CredentialArguments {
    /// The token and the authorities.
    ///
    /// # Errors
    /// The token cannot be read.
    pub fn read(&self) -> anyhow::Result<Credentials> {
        let token = BearerToken::find(self.token_file.as_deref(), std::env::var(TOKEN_VARIABLE).ok().as_deref())?;
        Ok(Credentials { token, ca: self.ca.clone() })
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal.
    #[default]
    Table,
    /// Markdown.
    Md,
    /// As the admin listener gives it.
    Json,
}

/// `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Shares, and the durations of routes with several variants, are measured since the weights last changed; requests and \
errors since the start. With --watch, requests and errors are those of the last interval.

EXAMPLE
  pointsman status                    # of the proxy on this machine
  pointsman status --watch            # again every 2 seconds, until Ctrl-C
  pointsman status --json | jq .generation
  pointsman status --health           # exit 0 or 1, for health checks")]
pub struct StatusArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// Again and again.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = interval)]
    #[arg(conflicts_with_all = ["health", "json", "format", "all"])]
    #[arg(help = "Show it again every 2 seconds, or as often as given, until Ctrl-C")]
    pub watch: Option<Duration>,
    /// All rows.
    #[arg(long, help = "Show all routes and upstreams, not only those with most requests")]
    pub all: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help = "table, md (Markdown) or json")]
    #[arg(hide_possible_values = true)]
    pub format: ReportFormat,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format", help = "The same as --format json: the response of /status")]
    pub json: bool,
    /// Only whether it works.
    #[arg(long, conflicts_with_all = ["json", "format", "all"])]
    #[arg(help = "Check /healthz only, and print one line: exit 0 while the process is healthy, else 1")]
    pub health: bool,
}

/// `reload`.
#[derive(Debug, Args)]
#[command(after_help = "\
The proxy reads its file again. An invalid file is rejected as a whole: the diagnostics are printed as by `check`, and \
the exit code is 78.

EXAMPLE
  pointsman reload                            # the proxy on this machine
  pointsman reload --admin 10.0.0.7:9900 --json")]
pub struct ReloadArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

/// `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  pointsman compare                           # of the proxy on this machine
  pointsman compare --route checkout --format md > report.md")]
pub struct CompareArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// One route.
    #[arg(long, value_name = "NAME", help = "Only this route")]
    pub route: Option<String>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help = "table, md (Markdown) or json")]
    #[arg(hide_possible_values = true)]
    pub format: ReportFormat,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format", help = "The same as --format json")]
    pub json: bool,
}

/// Seconds, or a duration as the routes file writes it.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let read = seconds.or_else(|| config::parse_duration(text)).filter(|every| EVERY.contains(every));
    read.ok_or_else(|| "write seconds such as 2, or a duration from 100ms to 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        for (typed, expected) in [("1", Some(1_000)), ("100ms", Some(100)), ("1m", Some(60_000)), ("0", None)] {
            assert_eq!(interval(typed).ok(), expected.map(Duration::from_millis), "{typed}");
        }
        assert!(interval("soon").is_err() && interval("99ms").is_err() && interval("7200").is_err());
    }
}
