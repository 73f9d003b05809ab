//! Records of decisions: made, handed to the journal, logged, counted and shown.

use std::sync::Arc;

use serde_json::{Value, json};

use super::act::{Act, PersonAct};
use super::ledger::Written;
use super::rollback::NO_TARGET;
use super::view::JournalHealth;
use crate::control::controller::Controller;
use crate::control::event::ReloadRequest;
use crate::control::outcome::{ReloadCause, ReloadOutcome};
use crate::journal::{Actor, Deed, Draft, Record, ReleaseDeed, ReleaseVerb, RolloutDeed, ScopeFields, Via, rfc3339};
use crate::release::RolloutVerb;
use crate::telemetry;
use crate::telemetry::control::JournalFigures;

/// The most lines of a summary in a record.
const SUMMARY_MAX: usize = 100;
/// The most diagnostics in a record.
const DIAGNOSTICS_MAX: usize = 20;
/// The longest diagnostics in a record, in bytes.
const DIAGNOSTICS_BYTES_MAX: usize = 64 * 1024;

impl Controller {
    /// A decision under the configuration in effect.
    pub(super) fn draft(&self, who: Actor, what: Deed, reason: Option<String>) -> Draft {
        let (at, config) = (rfc3339(self.state.clock.wall()), self.state.lock().hash.clone());
        Draft { at, who, what, reason, key: None, config, generation: self.store.load().generation.0 }
    }

    /// What an act decides.
    pub(super) fn draft_of(&self, act: Act) -> Draft {
        let Act { who, what, reason, key, expect: _ } = act;
        let what = match what {
            PersonAct::Kill { scope, close_streams } => Deed::Kill {
                scope: ScopeFields::from(&scope),
                close_streams_ms: close_streams.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            },
            PersonAct::Revive(scope) => Deed::Revive { scope: ScopeFields::from(&scope) },
            // An act on a rollout has a record of its own.
            PersonAct::Resume { release } | PersonAct::Rollout { rollout: release, .. } => {
                Deed::Release(self.resume_of(release))
            }
        };
        // An approval may have none.
        Draft { key, ..self.draft(who, what, Some(reason).filter(|reason| !reason.is_empty())) }
    }

    /// Records what is already done, and returns the sequence number. It needs no durability: nothing waits for it.
    pub(in crate::control) fn record_deed(&mut self, who: Actor, what: Deed, reason: Option<String>) -> Option<u64> {
        let draft = self.draft(who, what, reason);
        match self.release.ledger.append(draft) {
            Ok(record) => {
                self.announce(&record);
                Some(record.seq)
            }
            Err(why) => {
                tracing::error!("not recorded in the journal: {why}");
                None
            }
        }
    }

    /// Records a reload that applied or rejected the files, and returns the sequence number.
    pub(in crate::control) fn record_reload(
        &mut self,
        cause: ReloadCause,
        request: Option<ReloadRequest>,
        outcome: &ReloadOutcome,
    ) -> Option<u64> {
        let (mut summary, mut diagnostics) = (Vec::new(), Value::Null);
        match outcome {
            ReloadOutcome::Unchanged { .. } => {
                self.notice_unchanged_config();
                return None;
            }
            ReloadOutcome::Applied { summary: changes, .. } => {
                summary.extend(changes.iter().take(SUMMARY_MAX).cloned());
                if let Some(more @ 1..) = changes.len().checked_sub(SUMMARY_MAX) {
                    summary.push(format!("and {more} more"));
                }
            }
            ReloadOutcome::Rejected(rejection) => diagnostics = shortened(&rejection.json),
        }
        let via = match cause {
            ReloadCause::Start | ReloadCause::Call => Via::Process,
            ReloadCause::Watch => Via::File,
            ReloadCause::Signal => Via::Signal,
        };
        let (cause, outcome) = (cause.name().to_owned(), outcome.name().to_owned());
        let deed = Deed::Reload { cause, outcome, summary, diagnostics };
        let seq = match request {
            Some(ReloadRequest { who, reason }) => self.record_deed(who, deed, reason),
            None => self.record_deed(Actor { via, ..Actor::process() }, deed, None),
        };
        self.show_release();
        seq
    }

    /// Logs a record, counts it, shows it to those who follow the journal, and forwards it to a process that drains.
    pub(super) fn announce(&mut self, record: &Arc<Record>) {
        log(record);
        telemetry::control::count_record(&self.state.counts.recorder, kind(&record.what));
        if matches!(record.what, Deed::Kill { .. } | Deed::Revive { .. } | Deed::Release(_) | Deed::Rollout(_)) {
            self.forward(record);
        }
        self.release.unseen.insert(record.seq, Arc::clone(record));
        self.show_records();
    }

    /// Shows records to those who follow the journal, in the order of their numbers: what comes after a revive waits until
    /// that is done or refused.
    pub(super) fn show_records(&mut self) {
        let of_people = self.release.revives.first_key_value().map(|(seq, _)| *seq);
        let waiting = of_people.into_iter().chain(self.release.rollouts.waiting()).min();
        while let Some(first) = self.release.unseen.first_entry()
            && waiting.is_none_or(|waiting| *first.key() < waiting)
        {
            let record = first.remove();
            self.state.release.add(Arc::clone(&record));
            self.notice_record(&record);
        }
    }

    /// Logs that the journal cannot be written, or can be again; once for each change.
    pub(super) fn report_failure(&mut self, written: Written) {
        let before = std::mem::replace(&mut self.release.known, written);
        let now = self.release.known.clone();
        for _ in before.failures..now.failures {
            telemetry::control::count_journal_failure(&self.state.counts.recorder);
        }
        match (&before.failure, &now.failure) {
            // What another process holds was logged when that was found.
            _ if !self.release.ledger.is_ours() => {}
            (before, Some(why)) if before.as_ref() != Some(why) => {
                tracing::error!("the journal cannot be written: {why}; kills are in force without being durable");
                self.notice_journal_failure(why);
            }
            (Some(_), None) => {
                tracing::info!(durable_seq = now.durable_seq, "the journal can be written again");
                self.notice_journal_works();
            }
            (_, Some(_)) | (None, None) => {}
        }
    }

    /// Shows kills and journal to the admin listener and in the metrics.
    pub(in crate::control) fn show_release(&self) {
        let (kills, ledger, recorder) = (&self.release.kills, &self.release.ledger, &self.state.counts.recorder);
        let Written { durable_seq, failure, .. } = ledger.written();
        let (counts, seq) = (kills.counts(), ledger.seq());
        let is_damaged = self.release.damage.is_some();
        let figures = JournalFigures { is_writable: failure.is_none(), is_damaged, seq, durable_seq };
        telemetry::control::set_kills(recorder, counts.by_file, counts.by_people);
        telemetry::control::set_journal(recorder, &figures);
        let rules = &self.store.load().rules;
        self.state.release.set_kills(kills.list(rules, durable_seq));
        let (dir, damage) = (rules.state.dir.display().to_string(), self.release.damage.clone());
        self.state.release.set_foresight(self.release.foresight());
        self.state.release.set_health(JournalHealth { dir, seq, durable_seq, failure, damage });
    }
}

/// The value of the label `what`, and the name of the event.
const fn kind(what: &Deed) -> &'static str {
    match what {
        Deed::Start { .. } => "start",
        Deed::Reload { .. } => "reload",
        Deed::Kill { .. } => "kill",
        Deed::Revive { .. } => "revive",
        Deed::Endpoint { .. } => "endpoint",
        Deed::Release(_) => "release",
        Deed::Rollout(_) => "rollout",
        // The journal's thread makes checkpoints; they are not announced.
        Deed::Refused { .. } | Deed::Checkpoint { .. } => "refused",
    }
}

/// Logs a kill or a revive, or what was decided about a release: who, what and why.
pub(super) fn log(record: &Record) {
    let (word, scope) = match &record.what {
        Deed::Kill { scope, .. } => ("killed", scope),
        Deed::Revive { scope } => ("revived", scope),
        Deed::Refused { scope, .. } => ("revive refused", scope),
        Deed::Release(deed) => return log_release(record, deed),
        Deed::Rollout(deed) => return log_rollout(record, deed),
        Deed::Start { .. } | Deed::Reload { .. } | Deed::Endpoint { .. } | Deed::Checkpoint { .. } => return,
    };
    let scope = scope.scope().map(|scope| scope.to_string()).unwrap_or_default();
    let (seq, who, why) = (record.seq, record.who.name.as_str(), record.reason.as_deref().unwrap_or_default());
    tracing::warn!(seq, who, via = ?record.who.via, why, "{word}: {scope}");
}

/// Logs what was decided about a rollout: a rollback as an error.
fn log_rollout(record: &Record, deed: &RolloutDeed) {
    let RolloutDeed { act, rollout, revision, stage, from, to, because, .. } = deed;
    let (seq, who, why) = (record.seq, record.who.name.as_str(), record.reason.as_deref().unwrap_or_default());
    if act == RolloutVerb::Rollback.name() {
        tracing::error!(seq, rollout, revision, stage, who, from, to, because, why, "rolled back");
    } else if deed.raises || RolloutVerb::Ask.name() == act || RolloutVerb::Begin.name() == act {
        tracing::info!(seq, rollout, revision, stage, who, from, to, because, why, "rollout: {act}");
    } else {
        tracing::warn!(seq, rollout, revision, stage, who, from, to, because, why, "rollout: {act}");
    }
}

/// Logs what was decided about a release: a rollback, and one that has no target, as an error.
fn log_release(record: &Record, deed: &ReleaseDeed) {
    let (seq, who, release, revision) = (record.seq, record.who.name.as_str(), &*deed.release, &*deed.revision);
    let because = deed.because.as_deref().unwrap_or_default();
    let saw = deed.sentence().unwrap_or_default();
    match deed.act {
        ReleaseVerb::Rollback => tracing::error!(seq, release, revision, guard = who, because, saw, "rolled back"),
        ReleaseVerb::Hold if because == NO_TARGET => tracing::error!(
            seq,
            release,
            revision,
            guard = who,
            saw,
            "a guard wants a rollback, and stable has no usable endpoint: the weight stays until stable has one"
        ),
        ReleaseVerb::Hold => tracing::warn!(seq, release, revision, because, saw, "held at 0"),
        ReleaseVerb::Refused => {
            tracing::warn!(seq, release, revision, who, because, "resume refused: the release stays rolled back");
        }
        ReleaseVerb::Unhold => {
            tracing::warn!(seq, release, revision, "an endpoint accepts connections: no longer held");
        }
        ReleaseVerb::Warn => tracing::warn!(seq, release, revision, guard = who, saw, "a guard has tripped"),
        ReleaseVerb::Resume => {
            let why = record.reason.as_deref().unwrap_or_default();
            tracing::warn!(seq, release, revision, who, via = ?record.who.via, why, "resumed: evidence begins anew");
        }
    }
}

/// The first diagnostics, so that a record fits in a line.
fn shortened(diagnostics: &Value) -> Value {
    let Some(all) = diagnostics.as_array() else { return diagnostics.clone() };
    let mut first: Vec<Value> = all.iter().take(DIAGNOSTICS_MAX).cloned().collect();
    let size = |first: &[Value]| first.iter().map(|one| one.to_string().len()).sum::<usize>();
    while size(&first) > DIAGNOSTICS_BYTES_MAX {
        first.pop();
    }
    if let Some(more @ 1..) = all.len().checked_sub(first.len()) {
        first.push(json!({ "message": format!("and {more} more") }));
    }
    Value::Array(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_fit_in_a_line() {
        let few = json!([{ "message": "a" }, { "message": "b" }]);
        assert_eq!(shortened(&few), few);
        let one = |n: usize| json!({ "message": "x".repeat(n) });
        let many = shortened(&Value::Array(vec![one(10); 1_000]));
        assert_eq!(many.as_array().map(Vec::len), Some(DIAGNOSTICS_MAX + 1));
        assert_eq!(many[DIAGNOSTICS_MAX]["message"], "and 980 more");
        let long = shortened(&Value::Array(vec![one(DIAGNOSTICS_BYTES_MAX); 2]));
        assert_eq!(long, json!([{ "message": "and 2 more" }]));
    }
}
