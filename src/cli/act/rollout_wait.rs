//! `rollout wait`: a line at each change of a rollout, until it has reached a stage or does not go on by itself.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::rollout_names::{not_found, path};
use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, ProblemDocument, Purpose};
use crate::cli::args::{ActOutput, RolloutWaitArguments};
use crate::cli::paint::Terminal;
use crate::cli::release_row::moment;
use crate::cli::rollout_row::RolloutRow;
use crate::cli::{Exit, out};
use crate::clock::Clock;
use crate::compare::escape_controls;
use crate::journal::rfc3339;

/// The goal that is no stage: the last stage is left.
const COMPLETE: &str = "complete";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a name may be missing that was there: a proxy that starts has not read its plan yet.
const MISSING_MAX: u32 = 15;

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitEnd {
    Reached,
    RolledBack,
    Killed,
    Held,
    TimedOut,
}

impl WaitEnd {
    const fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::RolledBack => "rolled_back",
            Self::Killed => "killed",
            Self::Held => "held",
            Self::TimedOut => "timed_out",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Reached => Exit::Ok,
            Self::RolledBack | Self::Killed => Exit::Refused,
            Self::Held => Exit::Held,
            Self::TimedOut => Exit::TimedOut,
        }
    }
}

/// What a look shows.
enum Look {
    /// How the rollout stands.
    Page(Value),
    /// The proxy does not know it.
    Missing(AdminResponse),
    /// It is a release of a static weight, which has no stages.
    Static,
}

/// Runs `rollout wait`.
///
/// # Errors
/// No proxy answers at first, or it refuses.
pub(super) async fn wait(arguments: &RolloutWaitArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let mut waiting = Waiting { arguments, terminal, shown: None };
    let watching = waiting.watch(&admin);
    let exit = match arguments.timeout {
        Some(timeout) => tokio::time::timeout(timeout, watching).await.ok(),
        None => Some(watching.await),
    };
    if let Some(exit) = exit {
        return exit;
    }
    waiting.print_end(WaitEnd::TimedOut)?;
    Ok(WaitEnd::TimedOut.exit())
}

/// A wait under way.
struct Waiting<'a> {
    arguments: &'a RolloutWaitArguments,
    terminal: Terminal,
    /// What was printed last.
    shown: Option<Value>,
}

impl Waiting<'_> {
    async fn watch(&mut self, admin: &AdminEndpoint) -> anyhow::Result<Exit> {
        let (mut is_silent, mut missing) = (false, 0);
        loop {
            match self.look(admin).await {
                Ok(Look::Page(page)) => {
                    (is_silent, missing) = (false, 0);
                    if let Some(exit) = self.follow(&page)? {
                        return Ok(exit);
                    }
                }
                Ok(Look::Missing(answer)) if self.shown.is_none() || missing >= MISSING_MAX => {
                    not_found(admin, &answer, self.arguments.output(), self.terminal).await?;
                    return Ok(Exit::Failed);
                }
                Ok(Look::Missing(_)) => missing += 1,
                Ok(Look::Static) => {
                    self.complain(&format!(
                        "`{}` has a static weight: it has no stages to wait for",
                        escape_controls(&self.arguments.name)
                    ));
                    return Ok(Exit::Usage);
                }
                Err(error) if self.shown.is_none() => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut is_silent, true) {
                        out::print_error(&format!("no answer, trying again every second: {error:#}"));
                    }
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&self, admin: &AdminEndpoint) -> anyhow::Result<Look> {
        let answer = admin.ask(&path(&self.arguments.name), FetchOptions::get()).await?;
        if answer.status == StatusCode::NOT_FOUND && ProblemDocument::read(&answer).is_some() {
            return Ok(Look::Missing(answer));
        }
        let page = answer.page()?;
        Ok(if RolloutRow::is(&page) { Look::Page(page) } else { Look::Static })
    }

    /// Prints what has changed; the exit code, when the wait is over.
    fn follow(&mut self, page: &Value) -> anyhow::Result<Option<Exit>> {
        let row = RolloutRow::read(page);
        let until = self.arguments.until.as_str();
        if until != COMPLETE && row.find(until).is_none() {
            let names: Vec<&str> = row.stages.iter().map(|stage| stage.name.as_str()).collect();
            let (name, until) = (&row.name, escape_controls(until));
            self.complain(&format!("{name} has no stage `{until}`\n  = help: its stages: {}", names.join(", ")));
            return Ok(Some(Exit::Usage));
        }
        let line = line(page);
        if self.shown.as_ref().is_none_or(|shown| what_counts(shown) != what_counts(&line)) {
            if !self.print(&line)? {
                return Ok(Some(Exit::Ok));
            }
            self.shown = Some(line);
        }
        let Some(end) = end(&row, until) else { return Ok(None) };
        self.print_end(end)?;
        Ok(Some(end.exit()))
    }

    /// Prints a change; whether there is a reader.
    fn print(&self, line: &Value) -> anyhow::Result<bool> {
        match self.arguments.output() {
            ActOutput::Json => out::show(&format!("{line}\n")),
            ActOutput::Text => out::show(&format!("{}\n", sentence(line))),
        }
    }

    fn print_end(&self, end: WaitEnd) -> anyhow::Result<()> {
        let (name, until) = (escape_controls(&self.arguments.name), escape_controls(&self.arguments.until));
        if self.arguments.output() == ActOutput::Json {
            let at = now();
            return out::show(&format!("{}\n", json!({ "at": at, "name": name, "until": until, "end": end.name() })))
                .map(drop);
        }
        let words = match end {
            WaitEnd::Reached if until == COMPLETE => format!("{name} is complete"),
            WaitEnd::Reached => format!("{name} has reached {until}"),
            WaitEnd::RolledBack => format!("{name} is rolled back: `pointsman rollout show {name}` shows why"),
            WaitEnd::Killed => format!("{name} is killed: `pointsman kill` shows by whom"),
            WaitEnd::Held => {
                format!("{name} is held until a person resumes it: `pointsman rollout show {name}` shows why")
            }
            WaitEnd::TimedOut => format!("{name} has not reached {until} in time"),
        };
        let paint = self.terminal.stderr;
        out::print_error(&if end == WaitEnd::Reached { paint.green(&words) } else { paint.red(&words) });
        Ok(())
    }

    fn complain(&self, text: &str) {
        out::print_error(&format!("{}: {text}", self.terminal.stderr.red("error")));
    }
}

/// Whether the wait is over.
fn end(row: &RolloutRow, until: &str) -> Option<WaitEnd> {
    match row.phase.as_str() {
        "rolled_back" => return Some(WaitEnd::RolledBack),
        "killed" => return Some(WaitEnd::Killed),
        "held" if row.needs_person => return Some(WaitEnd::Held),
        "held" => return None,
        "complete" => return Some(WaitEnd::Reached),
        _ => {}
    }
    if until == COMPLETE || row.phase != "running" {
        return None;
    }
    let (now, goal) = (row.find(&row.stage)?, row.find(until)?);
    (now >= goal).then_some(WaitEnd::Reached)
}

/// A change as one object.
fn line(page: &Value) -> Value {
    let members =
        ["name", "stage", "state", "doing", "because", "weight", "share", "says", "unblock", "next", "needs_person"];
    let mut line = json!({ "at": now() });
    for member in members {
        line[member] = page[member].clone();
    }
    let kinds = page["blocks"].as_array().into_iter().flatten().map(|block| block["kind"].clone());
    line["blocks"] = kinds.collect();
    let roles = page["awaited"].as_array().into_iter().flatten().map(|awaited| awaited["role"].clone());
    line["awaited"] = roles.collect();
    line
}

/// What makes a change: figures that move by themselves are none.
fn what_counts(line: &Value) -> [&Value; 7] {
    ["name", "stage", "state", "doing", "because", "blocks", "awaited"].map(|member| &line[member])
}

/// `2026-11-29 14:03:10Z  checkout-v2: beta at 10 %, gated: 12 min of 2 h`.
fn sentence(line: &Value) -> String {
    let row = RolloutRow::read(line);
    let at = moment(&line["at"]);
    let says = if row.says.is_empty() { String::new() } else { format!(": {}", row.says) };
    format!("{at}  {}: {} at {} %, {}{says}", row.name, row.stage, row.weight, row.state)
}

/// RFC 3339, to the second.
fn now() -> String {
    rfc3339(Duration::from_secs(Clock.wall().as_secs())).replace(".000", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout_row::tests::{in_beta, in_state};

    #[test]
    fn a_wait_ends_by_itself_or_by_what_a_person_must_end() {
        let end_of = |page: &Value, until: &str| end(&RolloutRow::read(page), until).map(WaitEnd::exit);
        let held =
            |because: &str, needs: bool| in_state("a", "held", &json!({ "because": because, "needs_person": needs }));
        for (page, until, exit) in [
            (in_beta(), "internal", Some(Exit::Ok)),
            (in_beta(), "beta", Some(Exit::Ok)),
            (in_beta(), "full", None),
            (in_beta(), COMPLETE, None),
            (in_state("a", "pending", &Value::Null), "beta", None),
            (in_state("a", "complete", &Value::Null), COMPLETE, Some(Exit::Ok)),
            (in_state("a", "complete", &Value::Null), "full", Some(Exit::Ok)),
            (in_state("a", "rolled_back", &Value::Null), "dark", Some(Exit::Refused)),
            (in_state("a", "killed", &Value::Null), "dark", Some(Exit::Refused)),
            (held("person", true), "dark", Some(Exit::Held)),
            (held("no rollback target", true), COMPLETE, Some(Exit::Held)),
            (held("canary down", false), "dark", None),
        ] {
            assert_eq!(end_of(&page, until), exit, "{until}: {page:#}");
        }
        assert_eq!(WaitEnd::TimedOut.exit().code(), 4);
        assert_eq!([Exit::Refused, Exit::Held].map(Exit::code), [2, 3]);
    }

    #[test]
    fn only_what_changes_is_printed() {
        let first = line(&in_beta());
        let mut later = in_beta();
        later["says"] = json!("in stage beta: 13 min of 2 h");
        later["share"] = json!(9.79);
        assert_eq!(what_counts(&first), what_counts(&line(&later)));
        later["blocks"] = json!([]);
        assert_ne!(what_counts(&first), what_counts(&line(&later)));
        let mut shown = first;
        shown["at"] = json!("2026-11-29T14:03:10Z");
        assert_eq!(
            sentence(&shown),
            "2026-11-29 14:03:10Z  checkout-v2: beta at 10 %, gated: in stage beta: 12 min of 2 h"
        );
        let members: Vec<&String> = shown.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        assert!(members.len() == 14 && shown["blocks"] == json!(["duration"]), "{shown:#}");
    }
}
