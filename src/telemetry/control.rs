//! The metrics that the control plane counts: a function for each event counts it in the recorder of the control plane,
//! through the facade. The caller passes the recorder, so that a count does not depend on the thread.

#![expect(clippy::disallowed_macros, reason = "this file names the metrics of the control plane")]

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{
    Key, Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder,
};

use super::guards;
use super::recorder::ControlRecorder;
use crate::drain::Phase;

pub(super) const RELOADS: &str = "pointsman_config_reloads_total";
pub(super) const LAST_RELOAD_SUCCESS: &str = "pointsman_config_last_reload_success";
pub(super) const LAST_RELOAD_AT: &str = "pointsman_config_last_reload_timestamp_seconds";
pub(super) const LOOKUPS: &str = "pointsman_dns_resolutions_total";
pub(super) const HAND_OVERS_FAILED: &str = "pointsman_hand_overs_failed_total";
pub(super) const WORKER_STALLS: &str = "pointsman_worker_stalls_total";
pub(super) const KILLS: &str = "pointsman_kills";
pub(super) const ACT_IN_FORCE: &str = "pointsman_kill_in_force_seconds";
pub(super) const JOURNAL_WRITABLE: &str = "pointsman_journal_writable";
pub(super) const JOURNAL_DAMAGED: &str = "pointsman_journal_damaged";
pub(super) const JOURNAL_SEQUENCE: &str = "pointsman_journal_sequence";
pub(super) const JOURNAL_DURABLE: &str = "pointsman_journal_durable_sequence";
pub(super) const JOURNAL_RECORDS: &str = "pointsman_journal_records_total";
pub(super) const JOURNAL_FAILURES: &str = "pointsman_journal_failures_total";
pub(super) const HISTORY_BYTES: &str = "pointsman_history_bytes";
pub(super) const HISTORY_DROPPED: &str = "pointsman_history_series_dropped_total";
pub(super) const DRAIN_PHASE: &str = "pointsman_drain_phase";
/// Workers count the lines that they drop (`exposition/edge.rs`); here are the lines that the sink did not take.
pub(super) const LOG_LINES_DROPPED: &str = "pointsman_access_log_dropped_total";

/// The phases in the order of their names, which are the label's values.
const PHASES: [(Phase, &str); 4] =
    [(Phase::Draining, "draining"), (Phase::Forced, "forced"), (Phase::Lame, "lame"), (Phase::Running, "running")];

/// The outcome of a reload; the label of `pointsman_config_reloads_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadLabel {
    /// The files have not changed.
    Unchanged,
    /// The new rules are in use.
    Applied,
    /// The files were rejected.
    Rejected,
}

impl ReloadLabel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unchanged, Self::Applied, Self::Rejected];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// The values of the label `what` of `pointsman_journal_records_total`.
pub const JOURNAL_RECORD_KINDS: [&str; 8] =
    ["start", "reload", "kill", "revive", "refused", "endpoint", "release", "rollout"];

/// The state of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Whether it can be written.
    pub is_writable: bool,
    /// Whether it was found damaged at the start.
    pub is_damaged: bool,
    /// The last sequence number that was decided.
    pub seq: u64,
    /// The last sequence number that is on the disk.
    pub durable_seq: u64,
}

/// The number of lookups of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// With addresses.
    pub succeeded: u64,
    /// Without addresses.
    pub failed: u64,
}

/// A recorder with the descriptions of the control plane's metrics, and the series that exist from the start.
#[must_use]
pub fn new_recorder() -> ControlRecorder {
    let recorder = ControlRecorder::default();
    with_local_recorder(&recorder, || {
        describe_counter!(RELOADS, "Reloads by outcome.");
        for label in ReloadLabel::ALL {
            counter!(RELOADS, "outcome" => label.name()).increment(0);
        }
        describe_gauge!(LAST_RELOAD_SUCCESS, "1 when the last reload succeeded, 0 when it was rejected.");
        gauge!(LAST_RELOAD_SUCCESS).set(1.0);
        describe_gauge!(LAST_RELOAD_AT, "When the current configuration was applied.");
        gauge!(LAST_RELOAD_AT).set(0.0);
        describe_counter!(LOOKUPS, "DNS lookups by outcome.");
        describe_counter!(HAND_OVERS_FAILED, "Hand-overs that failed; this process continued to serve.");
        counter!(HAND_OVERS_FAILED).increment(0);
        describe_counter!(WORKER_STALLS, "How often a worker was found stuck.");
        counter!(WORKER_STALLS).increment(0);
        set_log_lines_lost(&recorder, 0);
        describe_gauge!(KILLS, "Kills in force, by who made them: the file, or people by call.");
        set_kills(&recorder, 0, 0);
        describe_histogram!(ACT_IN_FORCE, "Time from a kill or revive by call until every worker used it.");
        drop(histogram!(ACT_IN_FORCE));
        describe_gauge!(JOURNAL_WRITABLE, "1 when the journal can be written, 0 when it cannot.");
        describe_gauge!(JOURNAL_DAMAGED, "1 when the journal was found damaged at the start.");
        describe_gauge!(JOURNAL_SEQUENCE, "The number of the last record that was decided.");
        describe_gauge!(JOURNAL_DURABLE, "The number of the last record that is on the disk.");
        set_journal(&recorder, &JournalFigures { is_writable: true, ..JournalFigures::default() });
        describe_counter!(JOURNAL_RECORDS, "Records decided, by what they say.");
        for what in JOURNAL_RECORD_KINDS {
            counter!(JOURNAL_RECORDS, "what" => what).increment(0);
        }
        describe_counter!(JOURNAL_FAILURES, "How often the disk did not take what was to be written.");
        counter!(JOURNAL_FAILURES).increment(0);
        describe_gauge!(
            HISTORY_BYTES,
            "Memory of the points that charts of the dashboard are drawn from; at most 64 MiB."
        );
        describe_counter!(
            HISTORY_DROPPED,
            "Series of charts that were dropped because all were more than their memory."
        );
        set_history(&recorder, 0, 0);
        guards::describe();
        describe_gauge!(DRAIN_PHASE, "1 for the current phase of a shutdown.");
        set_phase(&recorder, Phase::Running);
    });
    recorder
}

/// Counts a reload.
pub fn count_reload(recorder: &ControlRecorder, label: ReloadLabel) {
    with_local_recorder(recorder, || {
        counter!(RELOADS, "outcome" => label.name()).increment(1);
        gauge!(LAST_RELOAD_SUCCESS).set(if label == ReloadLabel::Rejected { 0.0 } else { 1.0 });
    });
}

/// Sets when the current configuration was applied (wall clock).
pub fn set_applied_at(recorder: &ControlRecorder, at: Duration) {
    with_local_recorder(recorder, || gauge!(LAST_RELOAD_AT).set(at));
}

/// Counts a lookup.
pub fn count_lookup<A, E>(recorder: &ControlRecorder, name: &str, answered: &Result<A, E>) {
    let (failed, succeeded) = (u64::from(answered.is_err()), u64::from(answered.is_ok()));
    with_local_recorder(recorder, || {
        counter!(LOOKUPS, "name" => name.to_owned(), "outcome" => "failed").increment(failed);
        counter!(LOOKUPS, "name" => name.to_owned(), "outcome" => "succeeded").increment(succeeded);
    });
}

/// The number of lookups of a name.
#[must_use]
pub fn lookups(recorder: &ControlRecorder, name: &str) -> Lookups {
    let count = |outcome: &'static str| {
        let labels = vec![Label::new("name", name.to_owned()), Label::new("outcome", outcome)];
        recorder.count(&Key::from_parts(LOOKUPS, labels))
    };
    Lookups { succeeded: count("succeeded"), failed: count("failed") }
}

/// Removes the series of names that are no longer looked up.
pub fn retain_names(recorder: &ControlRecorder, wanted: &BTreeSet<String>) {
    recorder.retain(LOOKUPS, |key| key.labels().all(|label| label.key() != "name" || wanted.contains(label.value())));
}

/// Counts a failed hand-over.
pub fn count_failed_hand_over(recorder: &ControlRecorder) {
    with_local_recorder(recorder, || counter!(HAND_OVERS_FAILED).increment(1));
}

/// Counts a worker that was found stuck.
pub fn count_worker_stall(recorder: &ControlRecorder) {
    with_local_recorder(recorder, || counter!(WORKER_STALLS).increment(1));
}

/// Sets the number of access log lines that the sink did not take since the start.
pub fn set_log_lines_lost(recorder: &ControlRecorder, lines: u64) {
    with_local_recorder(recorder, || counter!(LOG_LINES_DROPPED, "cause" => "sink").absolute(lines));
}

/// Sets the number of kills in force.
pub fn set_kills(recorder: &ControlRecorder, by_file: usize, by_call: usize) {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let counts = [("file", by_file as f64), ("call", by_call as f64)];
    with_local_recorder(recorder, || counts.map(|(source, count)| gauge!(KILLS, "source" => source).set(count)));
}

/// Sets the state of the journal.
pub fn set_journal(recorder: &ControlRecorder, figures: &JournalFigures) {
    let JournalFigures { is_writable, is_damaged, seq, durable_seq } = *figures;
    #[expect(clippy::cast_precision_loss, reason = "sequence numbers are far below 2^53")]
    let (seq, durable_seq) = (seq as f64, durable_seq as f64);
    let flag = |is_set| if is_set { 1.0 } else { 0.0 };
    with_local_recorder(recorder, || {
        gauge!(JOURNAL_WRITABLE).set(flag(is_writable));
        gauge!(JOURNAL_DAMAGED).set(flag(is_damaged));
        gauge!(JOURNAL_SEQUENCE).set(seq);
        gauge!(JOURNAL_DURABLE).set(durable_seq);
    });
}

/// Counts a record; `what` is one of [`JOURNAL_RECORD_KINDS`].
pub fn count_record(recorder: &ControlRecorder, what: &'static str) {
    debug_assert!(JOURNAL_RECORD_KINDS.contains(&what), "the page of the metrics explains it");
    with_local_recorder(recorder, || counter!(JOURNAL_RECORDS, "what" => what).increment(1));
}

/// Sets the memory of the points of charts, and how many series were dropped for it since the start.
pub fn set_history(recorder: &ControlRecorder, bytes: usize, dropped: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a memory is far below 2^53 bytes")]
    let bytes = bytes as f64;
    with_local_recorder(recorder, || {
        gauge!(HISTORY_BYTES).set(bytes);
        counter!(HISTORY_DROPPED).absolute(dropped);
    });
}

/// Counts a failure of the journal's disk.
pub fn count_journal_failure(recorder: &ControlRecorder) {
    with_local_recorder(recorder, || counter!(JOURNAL_FAILURES).increment(1));
}

/// Records the time until a kill or revive was in force.
pub fn record_act_in_force(recorder: &ControlRecorder, took: Duration) {
    with_local_recorder(recorder, || histogram!(ACT_IN_FORCE).record(took));
}

/// Sets the drain phase.
pub fn set_phase(recorder: &ControlRecorder, now: Phase) {
    with_local_recorder(recorder, || {
        for (phase, name) in PHASES {
            gauge!(DRAIN_PHASE, "phase" => name).set(if phase == now { 1.0 } else { 0.0 });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_removed_names_are_removed() {
        let recorder = ControlRecorder::default();
        for (name, answered) in [("a.test", Ok(())), ("a.test", Err(())), ("b.test", Ok(())), ("b.test", Ok(()))] {
            count_lookup(&recorder, name, &answered);
        }
        assert_eq!(lookups(&recorder, "a.test"), Lookups { succeeded: 1, failed: 1 });
        retain_names(&recorder, &["b.test".to_owned()].into());
        assert_eq!(lookups(&recorder, "a.test"), Lookups::default());
        assert_eq!(lookups(&recorder, "b.test"), Lookups { succeeded: 2, failed: 0 });
    }
}
