//! `journal --replay`: whether each decision of a guard follows from the counts in its record.

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
use crate::release::{ReplayedTrip, replay};

/// How far the recorded logarithm may be from the one that is computed again: records have rounded figures.
const TOLERANCE: f64 = 0.01;

/// What to do about a decision that does not follow from its counts.
const HELP: &str = "`pointsman journal --verify` says whether the record was changed after it was written; a record of another \
                    version is replayed by that version: the record `start` before it has its number; else report it, with \
                    the line that `--json` prints";

/// Replays the decisions of guards that a state folder has.
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
            report.take(record, &replay);
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

/// The decisions that were replayed.
#[derive(Debug, Default)]
struct ReplayReport {
    decisions: Vec<ReplayedDecision>,
    /// Decisions of guards without counts, such as the end of a hold.
    without_evidence: u64,
    notes: ReadNotes,
}

/// A decision of a guard, and what its counts say.
#[derive(Debug)]
struct ReplayedDecision {
    seq: u64,
    at: String,
    act: String,
    release: String,
    revision: String,
    guard: String,
    result: Result<ReplayedTrip, String>,
}

/// Whether a decision follows from its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayVerdict {
    Agrees,
    Differs,
    CannotBeReplayed,
}

impl ReplayReport {
    /// Replays a record, if it is a decision of a guard.
    fn take(&mut self, record: &Value, replay: &dyn Fn(&Value) -> Result<ReplayedTrip, String>) {
        if record["what"] != "release" || record["who"]["via"] != "guard" {
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
            release: of(&record["release"]),
            revision: of(&record["revision"]),
            guard: of(&record["who"]["name"]),
            result: replay(evidence),
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
            (self.without_evidence, "without counts: nothing to replay", "decision of guards"),
            (self.notes.unreadable, "that cannot be read: --verify shows what is wrong", "line"),
            (self.notes.set_aside, "from files that were set aside because of damage", "record"),
        ];
        for (number, what, one) in notes.into_iter().filter(|(number, ..)| *number > 0) {
            let counted = out::count(usize::try_from(number).unwrap_or(usize::MAX), one);
            let _ = writeln!(text, "{}: {counted} {what}", paint.yellow("note"));
        }
        let decisions = out::count(self.decisions.len(), "decision");
        if self.agrees() {
            return text + &paint.green(&format!("all agree: {decisions} of guards replayed"));
        }
        let (differ, unclear) = (self.count(ReplayVerdict::Differs), self.count(ReplayVerdict::CannotBeReplayed));
        let failed = format!("of {decisions} of guards, {differ} differ and {unclear} cannot be replayed");
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
            Ok(replayed) if replayed.trips && is_same(replayed) => ReplayVerdict::Agrees,
            Ok(_) => ReplayVerdict::Differs,
        }
    }

    /// The recorded logarithm of the evidence, and the one that was computed again.
    fn figures(&self) -> (Option<f64>, Option<f64>) {
        self.result.as_ref().map_or((None, None), |replayed| (replayed.recorded_log10, replayed.evidence_log10))
    }

    /// Why it does not agree.
    fn why(&self) -> String {
        match &self.result {
            Err(why) => format!("cannot be replayed: {}", escape_controls(why)),
            Ok(replayed) if !replayed.trips => "differs: by its counts the guard does not trip".to_owned(),
            Ok(_) => "differs: the evidence of its counts is another".to_owned(),
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

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            report.take(record, &replay);
        }
        report
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
            verdict.starts_with("of 4 decisions of guards, 3 differ and 1 cannot be replayed\n  = help: "),
            "{verdict}"
        );
    }
}
