//! `rehearse`: a rollout in virtual time, or its rollback on live traffic.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::act::reason;
use super::live::AdminArguments;
use super::plan::{StartDate, approval_delay, start_date};
use super::rollout::RolloutActArguments;
use super::start::DEFAULT_FILE;
use super::traffic::TrafficArguments;
use crate::rehearsal::{FaultError, ReleaseFault};

/// `rehearse`.
#[derive(Debug, Args)]
#[command(after_help = "\
Plays the plan in virtual time, with the state machine and the guards of the proxy and with callers that are made up: \
when a fault is found, how many requests and callers it hurts until then, how often a healthy release is stopped, and \
when each stage is entered. Nothing is sent to a proxy; without --rate the traffic is what the running proxy has \
measured.

FAULTS, separated by commas
  errors=3x      three times the errors of stable; or a share: errors=5%
  slow=p99*2     each response takes twice as long; or a share: slow=20%
  event:NAME=3x  more events of x-pointsman-event
  status:404=5%  more responses with this status
  callers=10%    a tenth of the callers is hit
  route=NAME     one route of several is hit
  from=stage:NAME, from=2h   when it begins [default: the first stage with
                             a weight]; 2h: of running time

--live trips a guard by hand on a running proxy, where the plan has `rehearsal = true`, and measures the rollback.

EXAMPLE
  pointsman rehearse checkout-v2 --rate 200
  pointsman rehearse checkout-v2 --rate 200 --fault errors=3x
  pointsman rehearse checkout-v2 edge.toml --rate checkout=200 \\
    --callers 36000 --errors 0.1% --p99 80ms \\
    --fault slow=p99*2,from=stage:beta --start 2026-12-01T09:00
  pointsman rehearse --live checkout-v2 --reason 'rollback drill'")]
pub struct RehearseArguments {
    /// The rollout.
    #[arg(value_name = "ROLLOUT", help = "The rollout: NAME of its table [rollout.NAME]")]
    pub name: String,
    /// The routes file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE, help = "The routes file")]
    pub file: PathBuf,
    /// What is wrong with the canary.
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    #[arg(help = "What is wrong with the canary, such as errors=3x,from=stage:beta [default: nothing]")]
    pub fault: Option<ReleaseFault>,
    /// The traffic.
    #[command(flatten)]
    pub traffic: TrafficArguments,
    /// How many releases are played.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[arg(help = "How many releases are played, with and without the fault")]
    pub runs: u32,
    /// The seed of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 1, help = "Another seed plays other releases")]
    pub seed: u64,
    /// When the release begins.
    #[arg(long, value_name = "DATE", value_parser = start_date)]
    #[arg(help = "When it begins, in the zone of the rollout: 2026-12-01 or 2026-12-01T09:00 [default: now]")]
    pub start: Option<StartDate>,
    /// How long people take to approve.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = approval_delay)]
    #[arg(help = "How long people take to approve a stage")]
    pub approval_delay: Duration,
    /// On live traffic.
    #[arg(long, conflicts_with_all = ["fault", "rates", "callers", "errors", "p99", "runs", "seed", "start"])]
    #[arg(conflicts_with_all = ["approval_delay", "file"])]
    #[arg(help = "Roll the rollout back on live traffic, by the trip of a guard, and measure it")]
    pub live: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", value_parser = reason, requires = "live")]
    #[arg(help = "With --live: why, for the journal")]
    pub reason: Option<String>,
    /// No question.
    #[arg(long, requires = "live", help = "With --live: do not ask; demanded without a terminal")]
    pub yes: bool,
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON")]
    pub json: bool,
}

impl RehearseArguments {
    /// The order to rehearse on live traffic.
    #[must_use]
    pub fn order(&self) -> RolloutActArguments {
        RolloutActArguments {
            admin: self.admin.clone(),
            name: self.name.clone(),
            reason: self.reason.clone(),
            yes: self.yes,
            json: self.json,
        }
    }
}

/// Reads a fault; a mistake is underlined.
fn fault(text: &str) -> Result<ReleaseFault, String> {
    ReleaseFault::parse(text).map_err(|error| underlined(text, &error))
}

/// A mistake in a fault, with its place underlined.
#[must_use]
pub fn underlined(text: &str, error: &FaultError) -> String {
    let width = |part: &str| part.chars().count();
    let before = width(text.get(..error.at.start).unwrap_or_default());
    let marked = width(text.get(error.at.clone()).unwrap_or_default()).max(1);
    let FaultError { message, help, .. } = error;
    format!("{message}\n    {text}\n    {:before$}{}\n  = help: {help}", "", "^".repeat(marked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_underlined() {
        let text = fault("errors=3x,speed=2").unwrap_err();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["`speed=2` is no fault", "    errors=3x,speed=2", "              ^^^^^^^"]);
        assert!(lines[3].starts_with("  = help: write errors=3x, errors=5%"), "{text}");
        assert!(fault("").unwrap_err().contains("\n    ^\n"));
        assert!(fault("slow=20%").is_ok());
    }
}
