//! The answer to an act: what was done and since when it is in force, or why it was refused.

use http::StatusCode;
use serde_json::Value;

use super::send::{ActOrder, Acted};
use crate::cli::admin::{AdminResponse, ProblemDocument};
use crate::cli::args::ActOutput;
use crate::cli::paint::Terminal;
use crate::cli::rollout_row::BlockRow;
use crate::cli::{Exit, out};
use crate::compare::escape_controls;

/// Prints the answer to a kill or revive.
pub(super) fn report(
    order: &ActOrder<'_>,
    answer: &AdminResponse,
    output: ActOutput,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let what = escape_controls(&order.scope.to_string()).into_owned();
    report_act(&order.acted(&what), answer, output, terminal)
}

/// Prints the answer to an act.
pub(super) fn report_act(
    acted: &Acted<'_>,
    answer: &AdminResponse,
    output: ActOutput,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let document = answer.json();
    if let (ActOutput::Json, Some(document)) = (output, &document) {
        out::print_json(document)?;
    }
    let Some(document) = document.filter(|document| answer.status == StatusCode::OK && document["record"].is_object())
    else {
        return refused(answer, output, terminal);
    };
    let outcome = ActReport::read(&document);
    if output == ActOutput::Text {
        let done = outcome.line(acted);
        out::print(&if outcome.is_everywhere() {
            terminal.stdout.green(&done)
        } else {
            terminal.stdout.yellow(&done)
        })?;
    }
    for alarm in outcome.alarms(acted) {
        out::print_error(&terminal.stderr.bold(&terminal.stderr.red(&alarm)));
    }
    Ok(outcome.exit())
}

/// Prints what the resume after a revive did. The revive holds whatever it did.
pub(super) fn report_resume(answer: &AdminResponse, output: ActOutput, terminal: Terminal) -> anyhow::Result<Exit> {
    let document = answer.json().unwrap_or_default();
    if let Some(problem) = document["resume_problem"].as_object() {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(escape_controls).unwrap_or_default();
        let words = format!("{}: {}", terminal.stderr.red("revived, but not resumed"), text("detail"));
        out::print_error(&format!("{words}\n  = help: {}", text("help")));
        return Ok(Exit::Refused);
    }
    let outcome = ActReport::read(&document["resumed"]);
    let rollout = document["resumed"]["record"]["rollout"].as_str().map(escape_controls).unwrap_or_default();
    if output == ActOutput::Text {
        let acted = Acted { verb: "resume", done: "resumed", what: &rollout };
        out::print(&terminal.stdout.green(&outcome.line(&acted)))?;
    }
    Ok(outcome.exit())
}

/// The answer to an act in one line, or why nothing was done.
///
/// # Errors
/// The act was refused.
pub fn said(order: &ActOrder<'_>, answer: &AdminResponse) -> Result<String, String> {
    if let Some(document) = answer.json().filter(|document| document["record"].is_object()) {
        let what = escape_controls(&order.scope.to_string()).into_owned();
        return Ok(ActReport::read(&document).line(&order.acted(&what)));
    }
    Err(ProblemDocument::read(answer).map_or_else(|| answer.line(), |problem| problem.text()))
}

/// Reports why nothing was done.
///
/// # Errors
/// The answer is not that of an admin listener of this version.
pub fn refused(answer: &AdminResponse, output: ActOutput, terminal: Terminal) -> anyhow::Result<Exit> {
    let Some(problem) = ProblemDocument::read(answer) else {
        let (place, status) = (&answer.place, answer.status);
        // An admin listener that is older than this command, or another program.
        anyhow::bail!(
            "{place} answers {status}: {}\n  = help: is this the admin listener, and as new as this command?",
            answer.line()
        );
    };
    if output == ActOutput::Text {
        out::print_error(&format!("{}: {}", terminal.stderr.red("refused"), problem.text()));
        for record in problem.document["records"].as_array().into_iter().flatten() {
            out::print_error(&format!("  since then: {}", crate::cli::journal::sentence(record)));
        }
        // The first one is the problem itself.
        for block in problem.document["blocks"].as_array().into_iter().flatten().skip(1).map(BlockRow::read) {
            out::print_error(&format!("  {}: {}; {}", block.kind, block.says, block.unblock));
        }
    }
    Ok(if problem.status.is_server_error() { Exit::Failed } else { Exit::Refused })
}

/// What an act did.
struct ActReport {
    seq: u64,
    in_force_ms: Option<f64>,
    workers_in_force: u64,
    workers: u64,
    /// Why it is not on the disk.
    not_durable: Option<String>,
    /// The same call was made before.
    repeated: bool,
    /// The place in the file that still kills the scope.
    still_killed_by: Option<String>,
}

impl ActReport {
    fn read(document: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(|text| escape_controls(text).into_owned());
        let number = |key: &str| document[key].as_u64().unwrap_or(0);
        let because =
            text(&document["not_durable_because"]).unwrap_or_else(|| "it took longer than a second".to_owned());
        Self {
            seq: document["record"]["seq"].as_u64().unwrap_or(0),
            in_force_ms: document["in_force_ms"].as_f64(),
            workers_in_force: number("workers_in_force"),
            workers: number("workers"),
            not_durable: (document["durable"] == false).then_some(because),
            repeated: document["repeated"] == true,
            still_killed_by: text(&document["still_killed_by"]),
        }
    }

    fn is_everywhere(&self) -> bool {
        (self.repeated || self.in_force_ms.is_some()) && self.workers_in_force >= self.workers
    }

    /// A kill that a restart forgets is no success for a script.
    fn exit(&self) -> Exit {
        if !self.is_everywhere() {
            Exit::Failed
        } else if self.not_durable.is_some() {
            Exit::NotRecorded
        } else {
            Exit::Ok
        }
    }

    fn line(&self, Acted { done, what: scope, .. }: &Acted<'_>) -> String {
        let Self { seq, workers_in_force, workers, .. } = self;
        let when = self.in_force_ms.map_or_else(|| " after 1 s".to_owned(), |ms| format!(" after {ms:.1} ms"));
        let plural = if *workers == 1 { "" } else { "s" };
        let recorded = if self.not_durable.is_some() {
            format!("#{seq}, not yet recorded")
        } else {
            format!("recorded as #{seq}")
        };
        if self.repeated {
            return format!("{done} {scope} before, by the same call: #{seq}");
        }
        format!("{done} {scope}: in force on {workers_in_force} of {workers} worker{plural}{when}, {recorded}")
    }

    /// What a person has to know at once.
    fn alarms(&self, acted: &Acted<'_>) -> Vec<String> {
        let mut alarms = Vec::new();
        if !self.is_everywhere() {
            let (in_force, workers) = (self.workers_in_force, self.workers);
            alarms.push(format!(
                "NOT IN FORCE EVERYWHERE: {in_force} of {workers} workers use it; `pointsman status` shows them"
            ));
        }
        if let Some(why) = &self.not_durable {
            alarms.push(format!(
                "NOT RECORDED: the {} is in force, but a restart forgets it: {why}\n  = help: `pointsman status` shows the \
                 state of the journal; it is written as soon as the disk permits",
                acted.verb
            ));
        }
        if let Some(place) = &self.still_killed_by {
            alarms.push(format!("STILL KILLED by the file: {place}\n  = help: edit it, and save it"));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACTED: Acted<'_> = Acted { verb: "kill", done: "killed", what: "all" };

    #[test]
    fn an_outcome_is_one_line() {
        let mut document = json!({ "record": { "seq": 12 }, "in_force_ms": 1.42, "workers_in_force": 2, "workers": 2,
            "durable": true, "repeated": false });
        let read = |document: &Value| ActReport::read(document);
        assert_eq!(
            read(&document).line(&ACTED),
            "killed all: in force on 2 of 2 workers after 1.4 ms, recorded as #12"
        );
        assert!(read(&document).exit() == Exit::Ok && read(&document).alarms(&ACTED).is_empty());
        document["durable"] = json!(false);
        document["not_durable_because"] = json!("no space left on device");
        let report = read(&document);
        assert!(report.line(&ACTED).ends_with("after 1.4 ms, #12, not yet recorded"), "{}", report.line(&ACTED));
        assert!(
            report.alarms(&ACTED)[0]
                .starts_with("NOT RECORDED: the kill is in force, but a restart forgets it: no space")
        );
        assert_eq!(report.exit(), Exit::NotRecorded);
        document["in_force_ms"] = Value::Null;
        document["workers_in_force"] = json!(1);
        let report = read(&document);
        assert!(report.exit() == Exit::Failed && report.alarms(&ACTED).len() == 2);
        assert!(report.line(&ACTED).contains("in force on 1 of 2 workers after 1 s"), "{}", report.line(&ACTED));
        document["still_killed_by"] = json!("routes.toml:7");
        assert!(read(&document).alarms(&ACTED)[2].contains("STILL KILLED by the file: routes.toml:7"));
        document["repeated"] = json!(true);
        assert_eq!(read(&document).line(&ACTED), "killed all before, by the same call: #12");
    }
}
