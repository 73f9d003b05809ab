//! Records that wait: the queue has a bound, and what does not fit leaves its kills and latches behind.

use std::sync::Arc;

use super::super::memory_files::MemoryFiles;
use super::super::pending::{Pending, Work};
use super::super::verify;
use super::{Act, Deed, IdempotencyKey, Run, ScopeFields, WriterLimits, deed, draft, in_force, killed, latched, look};

#[test]
fn records_that_do_not_fit_leave_their_kills_and_latches() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    run.play(&[Act::Kill(1), Act::Kill(2), Act::Rollback(1)]);
    for _ in 0..1_000 {
        run.pending.add(draft(deed(Act::Reload))).expect("taken");
    }
    let revive = run.pending.add(draft(deed(Act::Revive(1)))).expect("the disk is good").seq;
    let resume = run.pending.add(draft(deed(Act::Resume(1)))).expect("the disk is good").seq;
    let kill = run.pending.add(draft(deed(Act::Kill(3)))).expect("taken").seq;
    let rollback = run.pending.add(draft(deed(Act::Rollback(2)))).expect("taken").seq;
    for _ in 0..100 {
        run.pending.add(draft(deed(Act::Reload))).expect("taken");
    }
    assert!(run.pending.add(draft(deed(Act::Revive(2)))).is_err(), "nothing is raised while the disk is behind");
    assert!(run.pending.add(draft(deed(Act::Resume(2)))).is_err(), "nothing is raised while the disk is behind");
    let last = run.pending.add(draft(deed(Act::Kill(4)))).expect("a kill is always taken").seq;
    assert!(run.write());
    assert_eq!(run.happened.refused.borrow().iter().copied().collect::<Vec<_>>(), [revive, resume]);
    assert_eq!(run.happened.durable.get(), last);
    let opened = look(&files);
    assert_eq!((&opened.folded.damage, opened.folded.last_seq), (&None, last));
    let kills = [(killed(1), 1), (killed(2), 2), (killed(3), kill), (killed(4), last)];
    let expected = kills.into_iter().chain([(latched(1), 3), (latched(2), rollback)]).collect();
    assert_eq!(in_force(&opened.folded), expected);
    assert!(verify(&files).expect("readable").is_intact());
}

#[test]
fn a_record_without_a_valid_scope_is_not_taken() {
    let pending = Pending::after(0);
    let kill = |scope| draft(Deed::Kill { scope, close_streams_ms: None });
    let twice = ScopeFields { all: Some(true), route: Some("a".to_owned()), ..ScopeFields::default() };
    let long = ScopeFields { tenant: Some("t".repeat(5_000)), ..ScopeFields::default() };
    for scope in [ScopeFields::default(), twice, long] {
        assert!(pending.add(kill(scope.clone())).is_err(), "{scope:?}");
    }
    assert_eq!(pending.seq(), 0, "no number is used up");
}

#[test]
fn a_long_record_loses_its_details() {
    let pending = Pending::after(0);
    let what = Deed::Reload {
        cause: "asked".to_owned(),
        outcome: "rejected".to_owned(),
        summary: vec!["a change".to_owned(); 1_000],
        diagnostics: serde_json::Value::String("x".repeat(1_000_000)),
    };
    let record = pending.add(draft(what)).expect("it is taken");
    let Deed::Reload { summary, diagnostics, .. } = &record.what else { panic!("{record:?}") };
    assert!(diagnostics.is_null() && summary.len() == 1_000);
    let mut long = draft(deed(Act::Kill(1)));
    long.reason = Some("é".repeat(100_000));
    let record = pending.add(long).expect("it is taken");
    assert_eq!(record.reason, Some("é".repeat(64)));
}

#[test]
fn keys_are_found_again_for_a_day() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, super::small());
    for number in 0..30 {
        let mut kill = draft(deed(Act::Kill(number % 5)));
        kill.key = Some(IdempotencyKey { key: format!("k{number}"), call: "c".to_owned() });
        run.pending.add(kill).expect("taken");
        assert!(run.write());
    }
    let found = look(&files).folded.keys;
    // Checkpoints carry keys over for a day by the wall clock, which is later than the fixed time of the records.
    assert!(found.last().is_some_and(|record| record.key.as_ref().is_some_and(|key| key.key == "k29")), "{found:?}");
    let mut sorted = found.clone();
    sorted.sort_by_key(|record| record.seq);
    sorted.dedup_by_key(|record| record.seq);
    assert_eq!(found, sorted, "each once, in order");
}

#[test]
fn what_waits_is_taken_in_order() {
    let pending = Arc::new(Pending::after(41));
    for _ in 0..300 {
        pending.add(draft(deed(Act::Reload))).expect("taken");
    }
    let mut seen = Vec::new();
    while let Work::Records(records) = pending.take() {
        assert!(records.len() <= 256);
        seen.extend(records.iter().map(|record| record.seq));
    }
    assert_eq!(seen, (42..342).collect::<Vec<_>>());
}

#[test]
fn ten_thousand_kills_outlive_damage() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    for number in 0..10_000 {
        let tenant = Some(format!("{number:0>256}"));
        let mut kill = draft(Deed::Kill {
            scope: ScopeFields { tenant, ..ScopeFields::default() },
            close_streams_ms: Some(1_000),
        });
        kill.reason = Some("why ".repeat(300));
        run.pending.add(kill).expect("a kill is always taken");
    }
    assert!(run.write());
    assert_eq!((run.happened.failures.get(), run.happened.durable.get()), (0, 10_000));
    let mut changed = files.content("journal.jsonl").expect("a journal");
    changed[5] ^= 1;
    files.set("journal.jsonl", &changed);
    let mut run = Run::begin(&files, WriterLimits::default());
    assert!(run.opened.folded.damage.is_some() && run.write());
    let opened = look(&files);
    assert_eq!((opened.folded.damage, opened.folded.kills.len()), (None, 10_000));
}
