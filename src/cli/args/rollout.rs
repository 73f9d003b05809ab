//! `rollout`: rollouts, and the releases of static weights, of a running proxy.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::act::{ActOutput, reason};
use super::live::{AdminArguments, interval};
use crate::config;

/// `rollout`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
A rollout moves callers to a new version in stages, by the plan `[rollout.NAME]` of the file. A variant with a static \
weight is a release too, named ROUTE:VARIANT; it takes `ls`, `show` and `resume`. Guards compare both with stable. One \
that rolls back latches: the new version gets no request, over reloads and restarts, until its upstream has another \
revision or a person resumes it.

EXIT CODES
  0   done
  1   no proxy answers, or the journal cannot be written
  2   refused: no such name, not in this state, no permission, or the question was answered with no
  `rollout wait` has codes of its own, see its help

EXAMPLE
  pointsman rollout ls
  pointsman rollout show checkout-v2
  pointsman rollout approve checkout-v2 --as tech-lead
  pointsman rollout rollback checkout-v2 --reason 'INC-4711'
  pointsman rollout resume checkout-v2 --reason 'the database is back'
  pointsman rollout wait checkout-v2 --until beta --timeout 2h")]
pub struct RolloutArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do about rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show rollouts and the releases that guards watch: those that need a person first
    Ls(RolloutListArguments),
    /// Show one: its stages, what stands in its way, who is asked, and the evidence of each guard
    Show(RolloutShowArguments),
    /// Approve the stage where a rollout is: it goes on when all roles have approved
    Approve(RolloutApproveArguments),
    /// Hold a rollout at its weight, until it is resumed
    #[command(after_help = "\
The rollout keeps its weight and does not go on; its guards watch, and roll back when they trip. Time in the stage does \
not count meanwhile.

EXAMPLE
  pointsman rollout hold checkout-v2 --reason 'we look at the logs first'")]
    Hold(RolloutActArguments),
    /// End a hold, or the latch of a rollback: it goes on in its stage
    #[command(after_help = "\
After a hold the rollout goes on where it was. After a rollback it gets the weight of its stage again, and its guards \
begin without evidence: they may trip again. A release of a static weight gets the weight of the file. On a terminal \
the command shows why it was stopped, and asks for the reason and for a yes. A new revision of the upstream ends a \
latch without this command.

EXAMPLE
  pointsman rollout resume checkout-v2 --reason 'the database is back'
  pointsman rollout resume checkout:canary --reason 'INC-4711 is over' --yes")]
    Resume(RolloutActArguments),
    /// Roll a rollout back: all its callers get stable, until it is resumed
    #[command(after_help = "\
The callers go to stable at once, or within `on_rollback.over` of the plan. On a terminal the command shows first \
whether stable has usable endpoints, and asks for a yes when more than one route is concerned. `kill --rollout NAME` \
always acts at once, also while the file on disk is invalid.

EXAMPLE
  pointsman rollout rollback checkout-v2 --reason 'INC-4711'
  pointsman rollout rollback checkout-v2 --reason 'INC-4711' --yes")]
    Rollback(RolloutActArguments),
    /// Move a rollout to another stage: down freely, up when the gates hold
    Goto(RolloutGotoArguments),
    /// Begin a rollout anew at its first stage, without evidence and approvals
    #[command(after_help = "\
The weight becomes that of the first stage, after the checks before a raise. Evidence, time in stages and approvals \
begin anew.

EXAMPLE
  pointsman rollout restart checkout-v2 --reason 'the plan has changed'")]
    Restart(RolloutActArguments),
    /// Wait until a rollout has reached a stage, for pipelines
    Wait(RolloutWaitArguments),
}

/// `rollout ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
STAGES: ● left, ◐ where it is, ○ ahead. The bar of a guard shows how far its evidence is on its way to the threshold, \
as powers of ten.

EXAMPLE
  pointsman rollout ls
  pointsman rollout ls --json | jq '.rollouts[] | select(.needs_person).name'")]
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
  pointsman rollout show checkout-v2
  pointsman rollout show checkout-v2 --watch
  pointsman rollout show checkout-v2 --json | jq '.blocks[].says'
  pointsman rollout show checkout:canary --json | jq '.guards[].says'")]
pub struct RolloutShowArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The rollout.
    #[arg(value_name = "NAME", help = "The rollout, or ROUTE:VARIANT; `pointsman rollout ls` lists all")]
    pub name: String,
    /// Again and again.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = interval)]
    #[arg(conflicts_with = "json")]
    #[arg(help = "Show it again every 2 seconds, or as often as given, until Ctrl-C")]
    pub watch: Option<Duration>,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

/// `rollout hold`, `resume`, `rollback` and `restart`.
#[derive(Clone, Debug, Args)]
pub struct RolloutActArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The rollout.
    #[arg(value_name = "NAME", help = "The rollout, or ROUTE:VARIANT; `pointsman rollout ls` lists all")]
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

/// `rollout approve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The name of who approves must stand in `approvers` of the rollout: that of the user over the socket, or that of a token \
that has `approver:ROLE`. root and the user of the proxy cannot approve. An approval counts for one revision and for \
the plan as it is: an edit of a stage so far voids it. One person fills one role of a stage.

EXAMPLE
  pointsman rollout approve checkout-v2
  pointsman rollout approve checkout-v2 --as tech-lead --token-file ana.token")]
pub struct RolloutApproveArguments {
    /// The proxy, the rollout, and how to ask.
    #[command(flatten)]
    pub act: RolloutActArguments,
    /// The role.
    #[arg(long = "as", value_name = "ROLE", help = "The role; needed where you may fill several")]
    pub role: Option<String>,
}

/// `rollout goto`.
#[derive(Debug, Args)]
#[command(after_help = "\
To an earlier stage it moves at once, and goes on from there. To a later stage it moves when the gates of its present \
stage and the checks before a raise hold now, and no stage between asks for an approval.

EXAMPLE
  pointsman rollout goto checkout-v2 internal --reason 'fewer callers first'")]
pub struct RolloutGotoArguments {
    /// The proxy, the rollout, and how to ask.
    #[command(flatten)]
    pub act: RolloutActArguments,
    /// The stage.
    #[arg(value_name = "STAGE", help = "The name of the stage; `pointsman rollout show NAME` lists them")]
    pub stage: String,
}

/// `rollout wait`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line at each change. A hold that ends by itself, such as a canary that is down for a moment, is waited for. \
A proxy that restarts is waited for.

EXIT CODES
  0   the stage is reached, or the rollout is complete
  1   no proxy answers at first, no such rollout, or no permission
  2   rolled back or killed
  3   held until a person resumes it
  4   not reached within --timeout
  64  the plan has no such stage

EXAMPLE
  pointsman rollout wait checkout-v2 --until beta --timeout 2h
  pointsman rollout wait checkout-v2 --until complete --json")]
pub struct RolloutWaitArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The rollout.
    #[arg(value_name = "NAME", help = "The rollout; `pointsman rollout ls` lists all")]
    pub name: String,
    /// What to wait for.
    #[arg(long, value_name = "STAGE", default_value = "complete")]
    #[arg(help = "A stage that it enters, or `complete`: the last stage is left")]
    pub until: String,
    /// How long.
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    #[arg(help = "Give up after this time, such as 90s or 2h [default: never]")]
    pub timeout: Option<Duration>,
    /// JSON instead of text.
    #[arg(long, help = "Print one JSON object a line")]
    pub json: bool,
}

const fn output(is_json: bool) -> ActOutput {
    if is_json { ActOutput::Json } else { ActOutput::Text }
}

impl RolloutListArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        output(self.json)
    }
}

impl RolloutShowArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        output(self.json)
    }
}

impl RolloutActArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        output(self.json)
    }
}

impl RolloutWaitArguments {
    /// How changes are printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        output(self.json)
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let read = config::parse_duration(text).filter(|timeout| !timeout.is_zero());
    read.ok_or_else(|| "write a duration above zero, such as 90s, 30m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;
    use crate::cli::args::Command;

    fn parsed(words: &str) -> Result<RolloutCommand, String> {
        let arguments = Arguments::try_parse_from(format!("pointsman rollout {words}").split_whitespace());
        let command = arguments.map_err(|error| error.to_string())?.command;
        let Command::Rollout(rollout) = command else { return Err(format!("{command:?}")) };
        Ok(rollout.command)
    }

    #[test]
    fn each_act_takes_its_own_words() {
        match parsed("approve checkout-v2 --as tech-lead") {
            Ok(RolloutCommand::Approve(approve)) => {
                assert_eq!((approve.act.name.as_str(), approve.role.as_deref()), ("checkout-v2", Some("tech-lead")));
                assert_eq!(approve.act.reason, None);
            }
            other => panic!("{other:?}"),
        }
        match parsed("goto checkout-v2 beta --reason INC-1 --yes") {
            Ok(RolloutCommand::Goto(goto)) => {
                assert_eq!((goto.act.name.as_str(), goto.stage.as_str()), ("checkout-v2", "beta"));
                assert!(goto.act.yes && goto.act.reason.as_deref() == Some("INC-1"));
            }
            other => panic!("{other:?}"),
        }
        for act in ["hold", "resume", "rollback", "restart"] {
            assert!(parsed(&format!("{act} checkout-v2 --reason INC-1 --json")).is_ok(), "{act}");
            assert!(parsed(&format!("{act} checkout-v2 --as lead")).is_err(), "{act}");
            assert!(parsed(act).is_err(), "{act}: the name is missing");
        }
        assert!(parsed("goto checkout-v2").is_err(), "the stage is missing");
    }

    #[test]
    fn a_wait_has_a_goal_and_a_limit() {
        match parsed("wait checkout-v2 --until beta --timeout 2h --json") {
            Ok(RolloutCommand::Wait(wait)) => {
                assert_eq!((wait.until.as_str(), wait.timeout), ("beta", Some(Duration::from_hours(2))));
                assert_eq!(wait.output(), ActOutput::Json);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parsed("wait x"), Ok(RolloutCommand::Wait(wait)) if wait.until == "complete"));
        for wrong in ["0s", "soon", "2"] {
            assert!(parsed(&format!("wait x --timeout {wrong}")).is_err(), "{wrong}");
        }
    }
}
