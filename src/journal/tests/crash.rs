//! Crashes and refusing disks, at every step that a writer does.
//!
//! After each: what was reported durable is there, kills and latches are exactly those of the records that are there, the chain is
//! intact, and writing goes on.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::super::memory_files::{Loss, MemoryFiles};
use super::super::verify;
use super::{Act, Run, SCRIPT, in_force, look, numbered, replay, small};

const LOSSES: &[Loss] = &[Loss::Nothing, Loss::Half, Loss::All];

/// Examines the folder after a restart: at least `durable` records of the script are there, and it says what they say.
/// Returns how many are there.
fn examine(files: &MemoryFiles, durable: u64, script: &[Act], context: &str) -> u64 {
    let opened = look(files);
    assert_eq!(opened.folded.damage, None, "{context}: {opened:?}");
    assert_eq!(opened.failure, None, "{context}");
    let last = opened.folded.last_seq;
    assert!(last >= durable, "{context}: {durable} records were durable, {last} are there");
    let there = usize::try_from(last).expect("small");
    assert!(there <= script.len(), "{context}: nothing is there that was not decided");
    assert_eq!(
        in_force(&opened.folded),
        replay(numbered(&script[..there])),
        "{context}: in force after {last} records"
    );
    let report = verify(files).expect("readable");
    assert!(report.is_intact(), "{context}: {report:?}");
    last
}

/// Plays what is left of the script.
fn go_on(files: &MemoryFiles, script: &[Act]) -> Run {
    let mut run = Run::begin(files, small());
    let there = usize::try_from(run.opened.folded.last_seq).expect("small").min(script.len());
    run.play(&script[there..]);
    run
}

/// The steps of a whole script without a fault.
fn steps(script: &[Act]) -> u64 {
    let files = MemoryFiles::default();
    go_on(&files, script);
    let steps = files.steps();
    examine(&files, script.len() as u64, script, "without a fault");
    let names: BTreeSet<String> = super::JournalFiles::list(&files).expect("a list").into_iter().collect();
    assert!(names.contains("journal-10.jsonl") || names.len() >= 4, "files were rotated: {names:?}");
    assert!(names.iter().filter(|name| name.starts_with("journal-")).count() <= 2, "old files are gone: {names:?}");
    steps
}

#[test]
fn nothing_durable_is_lost_in_a_crash_at_any_step() {
    let all = steps(SCRIPT);
    assert!(all > 50, "{all} steps");
    for crash in 0..all {
        for loss in LOSSES {
            let context = format!("a crash at step {crash}, lost {loss:?}");
            let files = MemoryFiles::default();
            files.crash_at(crash);
            let durable = go_on(&files, SCRIPT).happened.durable.get();
            assert!(files.is_down(), "{context}: it has happened");
            files.restart(*loss);
            examine(&files, durable, SCRIPT, &context);
            let run = go_on(&files, SCRIPT);
            assert_eq!(run.happened.failures.get(), 0, "{context}: writing goes on");
            let last = examine(&files, run.happened.durable.get(), SCRIPT, &context);
            assert_eq!(last, SCRIPT.len() as u64, "{context}: the script comes to its end");
        }
    }
}

#[test]
fn nothing_durable_is_lost_in_two_crashes() {
    let all = steps(SCRIPT);
    for first in (0..all).step_by(5) {
        for second in (0..20).step_by(3) {
            let files = MemoryFiles::default();
            files.crash_at(first);
            let mut durable = go_on(&files, SCRIPT).happened.durable.get();
            files.restart(Loss::Nothing);
            // What the first process left in memory only, the second one made durable before it relied on it.
            files.crash_at(files.steps() + second);
            let run = go_on(&files, SCRIPT);
            durable = durable.max(run.happened.durable.get());
            files.restart(Loss::All);
            let context = format!("crashes at step {first} and {second} steps after");
            examine(&files, durable, SCRIPT, &context);
            go_on(&files, SCRIPT);
            examine(&files, SCRIPT.len() as u64, SCRIPT, &context);
        }
    }
}

#[test]
fn a_state_that_was_relied_on_outlives_a_power_failure() {
    for crash in 0..steps(SCRIPT) {
        let files = MemoryFiles::default();
        files.crash_at(crash);
        go_on(&files, SCRIPT);
        files.restart(Loss::Nothing);
        let relied = Run::begin(&files, small()).opened.folded;
        files.restart(Loss::All);
        let after = look(&files).folded;
        assert_eq!((in_force(&after), after.last_seq), (in_force(&relied), relied.last_seq), "a crash at step {crash}");
    }
}

#[test]
fn a_disk_that_refuses_for_a_while_loses_nothing() {
    let all = steps(SCRIPT);
    for first in 0..all {
        for (count, kind) in [(1, ErrorKind::StorageFull), (2, ErrorKind::Other), (9, ErrorKind::ReadOnlyFilesystem)] {
            let context = format!("{kind:?} for {count} steps from {first} on");
            let files = MemoryFiles::default();
            files.refuse(first..first + count, kind);
            let mut run = Run::begin(&files, small());
            if run.opened.failure.is_some() {
                // It could not be read: nothing is written until the next start.
                continue;
            }
            let taken = run.play(SCRIPT);
            let refused = run.happened.refused.borrow().clone();
            let last = taken.last().expect("acts").0;
            assert_eq!(run.happened.durable.get(), last, "{context}: all that was taken is durable");
            files.restart(Loss::All);
            let opened = look(&files);
            assert_eq!(opened.folded.damage, None, "{context}");
            assert_eq!(opened.folded.last_seq, last, "{context}");
            let done = taken.into_iter().filter(|(seq, _)| !refused.contains(seq));
            assert_eq!(in_force(&opened.folded), replay(done), "{context}, refused {refused:?}");
            let report = verify(&files).expect("readable");
            assert!(report.is_intact(), "{context}: {report:?}");
        }
    }
}

#[test]
fn a_revive_that_the_disk_refused_is_not_done_later() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    run.play(&[Act::Kill(1)]);
    // The next append: opened, written, refused when it is made durable.
    files.refuse(files.steps() + 2..files.steps() + 3, ErrorKind::StorageFull);
    let record = run.pending.add(super::draft(super::deed(Act::Revive(1)))).expect("the disk was good so far");
    assert!(run.write());
    assert_eq!(run.happened.refused.borrow().iter().copied().collect::<Vec<_>>(), [record.seq]);
    let opened = look(&files);
    assert_eq!(in_force(&opened.folded).len(), 1, "the scope stays killed: {opened:?}");
    assert_eq!(opened.folded.last_seq, record.seq, "a record says so");
}

proptest! {
    #[test]
    fn any_script_is_replayed(script in proptest::collection::vec(acts(), 0..40), crash in any::<u16>()) {
        let files = MemoryFiles::default();
        files.crash_at(u64::from(crash) % 400);
        let durable = go_on(&files, &script).happened.durable.get();
        files.restart(Loss::Half);
        examine(&files, durable, &script, "a random script");
        go_on(&files, &script);
        examine(&files, script.len() as u64, &script, "a random script");
    }
}

pub(super) fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_u8..6).prop_map(Act::Kill),
        (0_u8..6).prop_map(Act::Revive),
        (0_u8..4).prop_map(Act::Rollback),
        (0_u8..4).prop_map(Act::Resume),
        (0_u8..9).prop_map(Act::Raise),
        (0_u8..9).prop_map(Act::Lower),
        (0_u8..9).prop_map(Act::Stop),
        proptest::strategy::Just(Act::Reload)
    ]
}
