//! Rollback: its steps as commands, how each was verified, and what is examined after it.

use std::fmt::Write as _;

use super::markup::{PaddedTable, bullets, code, text};
use super::proof::{DoneAct, RehearsalProof};
use super::sheet::PlanSheet;
use crate::release::span;

/// A step of a rollback.
struct RollbackStep<'a> {
    name: &'static str,
    /// The command without the program.
    command: String,
    /// What it does.
    does: String,
    verified: Verified<'a>,
}

enum Verified<'a> {
    /// When it was done last.
    Done(Option<&'a DoneAct>),
    /// It shows what the step before did.
    Shows,
}

/// The steps, each with the date on which it was done last.
pub(super) fn rollback(sheet: &PlanSheet<'_>) -> String {
    let mut all =
        "## Rollback\n\nA guard with the act *rollback* does step 1 by itself. By hand, on the machine of the proxy \
                   or with a token of an operator:\n\n"
            .to_owned();
    for (number, step) in (1..).zip(steps(sheet)) {
        let RollbackStep { name, command, does, verified } = step;
        let verified = match verified {
            Verified::Done(None) if sheet.proof.is_unknown => "verified: not known".to_owned(),
            Verified::Done(act) => format!("verified: {}", done(act)),
            Verified::Shows => "it changes nothing".to_owned(),
        };
        // Writing to memory cannot fail.
        let _ = write!(all, "{number}. **{name}**: `pointsman {command}`  \n   {does}; {verified}.\n");
    }
    all.push('\n');
    all.push_str(&irreversible(sheet));
    all.push_str(&rehearsal(sheet));
    all.push_str(&checks(sheet));
    all
}

fn steps<'a>(sheet: &'a PlanSheet<'_>) -> [RollbackStep<'a>; 5] {
    let (name, proof) = (&sheet.rollout.name, &sheet.proof);
    let over = match sheet.rollout.plan.rollback_over_ms {
        0 => "at the next request".to_owned(),
        ms => format!("within {}", span(ms)),
    };
    [
        RollbackStep {
            name: "roll back",
            command: format!("rollout rollback {name} --reason TEXT"),
            does: format!("all callers get stable {over}, and keep it over reloads and restarts"),
            verified: Verified::Done(proof.rollback.as_ref()),
        },
        RollbackStep {
            name: "or kill",
            command: format!("kill --rollout {name} --reason TEXT"),
            does: "the same at once, also while the file on disk is invalid or the disk is full".to_owned(),
            verified: Verified::Done(proof.kill.as_ref()),
        },
        RollbackStep {
            name: "look",
            command: format!("rollout show {name}"),
            does: "it shows `rolled back` or `killed`, by whom, and whether that is on the disk".to_owned(),
            verified: Verified::Shows,
        },
        RollbackStep {
            name: "go on after a rollback",
            command: format!("rollout resume {name} --reason TEXT"),
            does: "the same stage with fresh evidence; a new `revision` of the upstream begins at the first stage by itself"
                .to_owned(),
            verified: Verified::Done(proof.resume.as_ref()),
        },
        RollbackStep {
            name: "go on after a kill",
            command: format!("revive --rollout {name} --resume --reason TEXT"),
            does: "the kill ends, and the rollout goes on in the same stage".to_owned(),
            verified: Verified::Done(proof.revive.as_ref()),
        },
    ]
}

/// When it was done last.
fn done(act: Option<&DoneAct>) -> String {
    match act {
        Some(DoneAct { at, who, seq, .. }) => format!("{} by {}, record {seq}", day(at), text(who)),
        None => "not yet".to_owned(),
    }
}

/// The day and time of RFC 3339, in UTC.
fn day(at: &str) -> String {
    let minutes: String = at.chars().take(16).collect();
    format!("{} UTC", text(&minutes.replace('T', " ")))
}

fn irreversible(sheet: &PlanSheet<'_>) -> String {
    let about = &sheet.rollout.about;
    match (about.reversible, &about.data) {
        (Some(false), _) => {
            "**The change is not reversible**: a rollback takes callers back to stable, and leaves what the new \
            version has written. Say here how that is undone:\n\n____________________________________________\n\n"
                .to_owned()
        }
        (_, Some(data)) => format!(
            "Data: {}. A rollback moves callers, not data: stable must be able to read what the new version has written.\n\n",
            text(data)
        ),
        (Some(true) | None, None) => String::new(),
    }
}

/// The last rehearsal.
fn rehearsal(sheet: &PlanSheet<'_>) -> String {
    let name = &sheet.rollout.name;
    let head = "### The last rehearsal of the rollback\n\n";
    let how = format!(
        "`pointsman rehearse --live {name} --reason TEXT` trips a guard by hand on a rollout that has `rehearsal = true`, and \
         measures it. `pointsman rehearse {name} --fault errors=3x` plays the plan without requests.\n\n"
    );
    let Some(RehearsalProof { done, stage, last_request_ms, in_force_ms, durable_ms, requests_after }) =
        &sheet.proof.rehearsed
    else {
        if sheet.proof.is_unknown {
            return format!("{head}**Not known**: the running proxy does not say how long its journal is. {how}");
        }
        let why = match &sheet.proxy {
            Ok(_) if sheet.proof.unread > 0 => format!(" in the records after number {}", sheet.proof.unread),
            Ok(_) => String::new(),
            Err(_) => ", as far as is known: no proxy was asked".to_owned(),
        };
        return format!("{head}**Not rehearsed**{why}. {how}");
    };
    let ms = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), |ms| format!("{ms:.1} ms"));
    let now = text(&sheet.rules.revision_of_rollout(sheet.rollout));
    let mut table = PaddedTable::new(&["what", "measured"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("date", day(&done.at));
    row("by", format!("{}, record {}", text(&done.who), done.seq));
    row("stage", text(stage));
    row(
        "revision",
        if text(&done.revision) == now {
            format!("{now}, as now")
        } else {
            format!("{}, another one than now", text(&done.revision))
        },
    );
    row("in force on all workers after", ms(*in_force_ms));
    row(
        "last request to the canary ended after",
        if *requests_after == 0 { "no request ended later".to_owned() } else { ms(*last_request_ms) },
    );
    row("requests to the canary that ended later", requests_after.to_string());
    row("on the disk after", ms(*durable_ms));
    format!("{head}{}{how}", table.markdown())
}

/// What is examined after a rollback.
fn checks(sheet: &PlanSheet<'_>) -> String {
    let name = &sheet.rollout.name;
    let upstreams: Vec<String> = sheet.routes().iter().map(|moved| code(sheet.upstream(moved.canary))).collect();
    let points = [
        format!("`pointsman rollout show {name}`: the weight is 0, and the record is on the disk"),
        format!(
            "`pointsman status --watch`: the requests of {} go to 0, and those of stable grow by as many",
            upstreams.join(", ")
        ),
        "errors and durations of stable are those of before: it serves all callers again".to_owned(),
        "open streams and uploads to the canary end by themselves; `kill --close-streams DURATION` ends them"
            .to_owned(),
        format!("`pointsman journal --rollout {name} --since 1h`: who, when, why, and the counts of the guard"),
        "data that the new version has written is readable by stable".to_owned(),
        "the owner and the receivers of notifications know of it, and the ticket has the record's number".to_owned(),
    ];
    format!("### After a rollback, examine\n\n{}", bullets(&points))
}
