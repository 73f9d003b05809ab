//! `journal --replay`: whether each decision of a guard follows from the counts in its record, and each automatic decision
//! about a rollout from plan, state and facts in it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};

use super::filter::RecordFilter;
use super::line::{act_of, text, time};
use super::offline::{ReadNotes, records};
use crate::cli::args::ActOutput;
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};
use crate::compare::escape_controls;
use crate::release::{ReplayedRollout, ReplayedTrip, replay, replay_rollout};

/// How far the recorded logarithm may be from the one that is computed again: records have rounded figures.
const TOLERANCE: f64 = 0.01;

/// What to do about a decision that does not follow from its counts.
const HELP: &str = "`pointsman journal --verify` says whether the record was changed after it was written; a record of another \
                    version is replayed by that version: the record `start` before it has its number; else report it, with \
                    the line that `--json` prints";

/// Replays the decisions of guards and rollouts that a state folder has.
///
/// # Errors
/// The folder or a file cannot be read, or there is no journal.
pub(super) fn replayed(
    dir: &Path,
    filter: &RecordFilter,
    output: ActOutput,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let mut report = ReplayReport::default();
    let mut count = 0_u64;
    report.notes = records(dir, &mut |record| {
        count += 1;
        if filter.wants(record) {
            report.take(record, Replays { guard: replay, rollout: replay_rollout });
        }
        Ok(true)
    })?;
    ensure!(
        count > 0 || report.notes.unreadable > 0,
        "there is no journal in {}\n  = help: the folder is `[state] dir` of the proxy's routes file",
        dir.display()
    );
    match output {
        ActOutput::Json => out::print_json(&report.as_json())?,
        ActOutput::Text => {
            out::print(&report.table(terminal.stdout))?;
            let verdict = report.verdict(terminal);
            if report.agrees() { out::print(&verdict)? } else { out::print_error(&verdict) }
        }
    }
    Ok(if report.agrees() { Exit::Ok } else { Exit::Failed })
}

/// How decisions are made again.
#[derive(Clone, Copy)]
struct Replays {
    guard: fn(&Value) -> Result<ReplayedTrip, String>,
    rollout: fn(&Value) -> Result<ReplayedRollout, String>,
}

/// The decisions that were replayed.
#[derive(Debug, Default)]
struct ReplayReport {
    decisions: Vec<ReplayedDecision>,
    /// Decisions without counts, such as the end of a hold.
    without_evidence: u64,
    notes: ReadNotes,
}

/// A decision of a guard or about a rollout, and what its record says.
#[derive(Debug)]
struct ReplayedDecision {
    seq: u64,
    at: String,
    act: String,
    release: String,
    revision: String,
    guard: String,
    result: Result<Again, String>,
}

/// What a record says.
#[derive(Debug)]
enum Again {
    /// The counts of a guard.
    Trip(ReplayedTrip),
    /// Plan, state and facts of a rollout: why they decide otherwise, if they do.
    Rollout(Option<String>),
}

/// Whether a decision follows from its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayVerdict {
    Agrees,
    Differs,
    CannotBeReplayed,
}

impl ReplayReport {
    /// Replays a record, if it is a decision of a guard, or an automatic one about a rollout.
    fn take(&mut self, record: &Value, replays: Replays) {
        let is_guard = record["who"]["via"] == "guard";
        let is_rollout = record["what"] == "rollout" && (is_guard || record["who"]["via"] == "process");
        if !is_rollout && (record["what"] != "release" || !is_guard) {
            return;
        }
        let evidence = &record["evidence"];
        if evidence.is_null() {
            self.without_evidence += 1;
            return;
        }
        let of = |value: &Value| text(value).unwrap_or_default();
        self.decisions.push(ReplayedDecision {
            seq: record["seq"].as_u64().unwrap_or_default(),
            at: time(record),
            act: act_of(record).to_owned(),
            release: of(&record[if is_rollout { "rollout" } else { "release" }]),
            revision: of(&record["revision"]),
            guard: of(&record["who"]["name"]),
            result: if is_rollout {
                (replays.rollout)(evidence).map(|again| Again::Rollout(difference(record, &again)))
            } else {
                (replays.guard)(evidence).map(Again::Trip)
            },
        });
    }

    fn agrees(&self) -> bool {
        self.decisions.iter().all(|decision| decision.verdict() == ReplayVerdict::Agrees)
    }

    fn count(&self, verdict: ReplayVerdict) -> usize {
        self.decisions.iter().filter(|decision| decision.verdict() == verdict).count()
    }

    /// A row a decision.
    fn table(&self, paint: Paint) -> String {
        let mut table = String::new();
        if self.decisions.is_empty() {
            return table;
        }
        let widest = |of: fn(&ReplayedDecision) -> &str, least: usize| {
            self.decisions.iter().map(|decision| of(decision).chars().count()).fold(least, usize::max)
        };
        let (release, guard) = (widest(|one| &one.release, 7), widest(|one| &one.guard, 5));
        let title = format!(
            "{:>6}  {:<20}  {:<release$}  {:<guard$}  {:<12}  {:>8}  {:>8}  VERDICT",
            "SEQ", "TIME", "RELEASE", "GUARD", "ACT", "RECORDED", "REPLAYED"
        );
        let _ = writeln!(table, "{}", paint.dim(&title)); // writing to memory cannot fail
        for one in &self.decisions {
            let (recorded, replayed) = one.figures();
            let verdict = match one.verdict() {
                ReplayVerdict::Agrees => paint.green("agrees"),
                ReplayVerdict::Differs | ReplayVerdict::CannotBeReplayed => paint.red(&one.why()),
            };
            let _ = writeln!(
                table,
                "{:>6}  {:<20}  {:<release$}  {:<guard$}  {:<12}  {:>8}  {:>8}  {verdict}",
                one.seq,
                one.at,
                one.release,
                one.guard,
                one.act,
                shown(recorded),
                shown(replayed),
            );
        }
        table
    }

    /// The summary.
    fn verdict(&self, terminal: Terminal) -> String {
        let mut text = String::new();
        let paint = if self.agrees() { terminal.stdout } else { terminal.stderr };
        let notes = [
            (self.without_evidence, "without counts: nothing to replay", "decision"),
            (self.notes.unreadable, "that cannot be read: --verify shows what is wrong", "line"),
            (self.notes.set_aside, "from files that were set aside because of damage", "record"),
        ];
        for (number, what, one) in notes.into_iter().filter(|(number, ..)| *number > 0) {
            let counted = out::count(usize::try_from(number).unwrap_or(usize::MAX), one);
            let _ = writeln!(text, "{}: {counted} {what}", paint.yellow("note"));
        }
        let decisions = out::count(self.decisions.len(), "decision");
        if self.agrees() {
            return text + &paint.green(&format!("all agree: {decisions} of guards and rollouts replayed"));
        }
        let (differ, unclear) = (self.count(ReplayVerdict::Differs), self.count(ReplayVerdict::CannotBeReplayed));
        let failed = format!("of {decisions} of guards and rollouts, {differ} differ and {unclear} cannot be replayed");
        text + &format!("{}\n  = help: {HELP}", paint.red(&failed))
    }

    fn as_json(&self) -> Value {
        json!({
            "agree": self.agrees(),
            "decisions": self.decisions.iter().map(ReplayedDecision::as_json).collect::<Vec<_>>(),
            "differ": self.count(ReplayVerdict::Differs),
            "not_replayable": self.count(ReplayVerdict::CannotBeReplayed),
            "without_evidence": self.without_evidence,
            "unreadable_lines": self.notes.unreadable,
        })
    }
}

impl ReplayedDecision {
    fn verdict(&self) -> ReplayVerdict {
        match &self.result {
            Err(_) => ReplayVerdict::CannotBeReplayed,
            Ok(Again::Trip(replayed)) if replayed.trips && is_same(replayed) => ReplayVerdict::Agrees,
            Ok(Again::Rollout(None)) => ReplayVerdict::Agrees,
            Ok(_) => ReplayVerdict::Differs,
        }
    }

    /// The recorded logarithm of the evidence, and the one that was computed again.
    fn figures(&self) -> (Option<f64>, Option<f64>) {
        match &self.result {
            Ok(Again::Trip(replayed)) => (replayed.recorded_log10, replayed.evidence_log10),
            Ok(Again::Rollout(_)) | Err(_) => (None, None),
        }
    }

    /// Why it does not agree.
    fn why(&self) -> String {
        match &self.result {
            Err(why) => format!("cannot be replayed: {}", escape_controls(why)),
            Ok(Again::Trip(replayed)) if !replayed.trips => "differs: by its counts the guard does not trip".to_owned(),
            Ok(Again::Rollout(Some(why))) => format!("differs: {}", escape_controls(why)),
            Ok(Again::Trip(_) | Again::Rollout(None)) => "differs: the evidence of its counts is another".to_owned(),
        }
    }

    fn as_json(&self) -> Value {
        let (recorded, replayed) = self.figures();
        let verdict = self.verdict();
        json!({
            "seq": self.seq,
            "at": self.at,
            "act": self.act,
            "release": self.release,
            "revision": self.revision,
            "guard": self.guard,
            "recorded_log10": recorded,
            "replayed_log10": replayed,
            "verdict": verdict.name(),
            "why": (verdict != ReplayVerdict::Agrees).then(|| self.why()),
        })
    }
}

impl ReplayVerdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "differs",
            Self::CannotBeReplayed => "not_replayable",
        }
    }
}

/// Whether both figures are the same. A test without one has none in the record either.
fn is_same(replayed: &ReplayedTrip) -> bool {
    match (replayed.recorded_log10, replayed.evidence_log10) {
        (None, None) => true,
        // An infinite figure is the same as itself only.
        (Some(recorded), Some(again)) => recorded.total_cmp(&again).is_eq() || (recorded - again).abs() <= TOLERANCE,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Why a rollout decides otherwise by its record; `None`: it decides the same.
fn difference(record: &Value, again: &ReplayedRollout) -> Option<String> {
    if again.agrees(act_of(record), &record["state"]) {
        return None;
    }
    if let Some(guard) = again.trips.iter().find(|guard| !guard.trips()) {
        return Some(format!("by its counts the guard {} does not trip", guard.guard));
    }
    let acts: Vec<&str> = again.decisions.iter().map(|decision| decision.act.name()).collect();
    Some(if acts.contains(&act_of(record)) {
        "by plan, state and facts the state after it is another".to_owned()
    } else if acts.is_empty() {
        "by plan, state and facts nothing is decided".to_owned()
    } else {
        format!("by plan, state and facts it decides {}", acts.join(", "))
    })
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{ReplayedGuard, RolloutDecision, RolloutState, RolloutVerb};

    fn record(seq: u64, via: &str, evidence: &Value) -> Value {
        json!({
            "seq": seq, "at": "2026-11-29T14:03:10.123Z", "who": { "name": "errors", "via": via }, "what": "release",
            "act": "rollback", "release": "shop:canary", "revision": "shop-v2=7", "evidence": evidence,
        })
    }

    /// A replay of evidence such as `{ "log10": 3.1, "again": 3.1, "trips": true }`.
    fn replay(evidence: &Value) -> Result<ReplayedTrip, String> {
        let trips = evidence["trips"].as_bool().ok_or("the counts are missing")?;
        let (recorded_log10, evidence_log10) = (evidence["log10"].as_f64(), evidence["again"].as_f64());
        Ok(ReplayedTrip { trips, evidence_log10, recorded_log10 })
    }

    fn report(all: &[Value]) -> ReplayReport {
        let mut report = ReplayReport::default();
        for record in all {
            report.take(record, Replays { guard: replay, rollout: replay_of_rollout });
        }
        report
    }

    /// A replay of evidence such as `{ "decides": "hold" }`: the decisions of a rollout, each with an empty state.
    fn replay_of_rollout(evidence: &Value) -> Result<ReplayedRollout, String> {
        let act = evidence["decides"].as_str().ok_or("the plan is missing")?;
        let verbs = [RolloutVerb::Enter, RolloutVerb::Hold, RolloutVerb::Rollback];
        let decision = |act: RolloutVerb| RolloutDecision {
            act,
            guard: None,
            sentence: String::new(),
            state: RolloutState::default(),
            raises: false,
            begins_anew: false,
        };
        let decisions = verbs.into_iter().filter(|verb| verb.name() == act).map(decision).collect();
        let (counts, guard) = (&evidence["counts"], "errors".to_owned());
        let trips = if counts.is_null() { Vec::new() } else { vec![ReplayedGuard { guard, outcome: replay(counts) }] };
        Ok(ReplayedRollout { decisions, trips })
    }

    fn of_rollout(act: &str, via: &str, evidence: &Value) -> Value {
        let state = serde_json::to_value(RolloutState::default()).expect("JSON");
        json!({
            "seq": 4, "at": "2026-11-29T14:03:10.123Z", "who": { "name": "pointsman", "via": via }, "what": "rollout",
            "act": act, "rollout": "shop-v2", "revision": "shop-v2=7", "evidence": evidence, "state": state,
        })
    }

    #[test]
    fn decisions_about_rollouts_are_made_again() {
        let whole = report(&[
            of_rollout("enter", "process", &json!({ "decides": "enter" })),
            of_rollout("rollback", "guard", &json!({ "decides": "rollback", "counts": { "trips": true } })),
            of_rollout("archive", "process", &Value::Null),
            // By people, and by an edit of the file.
            of_rollout("hold", "token", &Value::Null),
            of_rollout("lower", "file", &Value::Null),
        ]);
        assert!(whole.agrees(), "{whole:?}");
        assert_eq!((whole.decisions.len(), whole.without_evidence), (2, 1));
        let row = "     4  2026-11-29 14:03:10Z  shop-v2  pointsman  enter                -         -  agrees\n";
        assert!(whole.table(Paint::Plain).contains(row), "{}", whole.table(Paint::Plain));
        let mut other = of_rollout("enter", "process", &json!({ "decides": "enter" }));
        other["state"]["stage"] = json!("gamma");
        for (record, why) in [
            (
                of_rollout("enter", "process", &json!({ "decides": "hold" })),
                "differs: by plan, state and facts it decides hold",
            ),
            (
                of_rollout("enter", "process", &json!({ "decides": "" })),
                "differs: by plan, state and facts nothing is decided",
            ),
            (other, "differs: by plan, state and facts the state after it is another"),
            (
                of_rollout("rollback", "guard", &json!({ "decides": "rollback", "counts": { "trips": false } })),
                "differs: by its counts the guard errors does not trip",
            ),
            (of_rollout("enter", "process", &json!({})), "cannot be replayed: the plan is missing"),
        ] {
            let report = report(std::slice::from_ref(&record));
            assert!(!report.agrees(), "{record}");
            assert_eq!(report.as_json()["decisions"][0]["why"], why);
        }
    }

    #[test]
    fn decisions_that_follow_from_their_counts_agree() {
        let rounded = json!({ "trips": true, "log10": 3.1, "again": 3.1004 });
        let run = json!({ "trips": true });
        let report = report(&[
            record(4, "guard", &rounded),
            record(5, "guard", &run),
            record(6, "guard", &Value::Null),
            record(7, "token", &json!({ "trips": false })),
            json!({ "seq": 8, "what": "kill", "who": { "name": "ana", "via": "guard" }, "all": true }),
        ]);
        assert!(report.agrees(), "{report:?}");
        assert_eq!((report.decisions.len(), report.without_evidence), (2, 1));
        let row = "     4  2026-11-29 14:03:10Z  shop:canary  errors  rollback          3.10      3.10  agrees\n";
        assert!(report.table(Paint::Plain).contains(row), "{}", report.table(Paint::Plain));
        assert!(report.table(Paint::Plain).contains("-         -  agrees"), "{}", report.table(Paint::Plain));
        let page = report.as_json();
        assert_eq!((&page["agree"], &page["decisions"][0]["verdict"]), (&json!(true), &json!("agrees")), "{page}");
    }

    #[test]
    fn a_decision_that_does_not_follow_differs() {
        let other = [
            (json!({ "trips": false, "log10": 3.1, "again": 1.2 }), "differs: by its counts the guard does not trip"),
            (json!({ "trips": true, "log10": 3.1, "again": 3.9 }), "differs: the evidence of its counts is another"),
            (json!({ "trips": true, "log10": 3.1 }), "differs: the evidence of its counts is another"),
            (json!({ "sentence": "errors" }), "cannot be replayed: the counts are missing"),
        ];
        for (evidence, words) in &other {
            let report = report(&[record(4, "guard", evidence)]);
            assert!(!report.agrees(), "{evidence}");
            assert!(report.table(Paint::Plain).contains(words), "{}", report.table(Paint::Plain));
            assert_eq!(report.as_json()["decisions"][0]["why"], *words);
        }
        let all: Vec<Value> = other.iter().map(|(evidence, _)| record(4, "guard", evidence)).collect();
        let report = report(&all);
        let page = report.as_json();
        assert_eq!((&page["agree"], &page["differ"], &page["not_replayable"]), (&json!(false), &json!(3), &json!(1)));
        let terminal = Terminal { stdout: Paint::Plain, stderr: Paint::Plain };
        let verdict = report.verdict(terminal);
        assert!(
            verdict.starts_with("of 4 decisions of guards and rollouts, 3 differ and 1 cannot be replayed\n  = help: "),
            "{verdict}"
        );
    }
}
