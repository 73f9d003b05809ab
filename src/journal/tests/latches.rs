//! Latches: what a rollback leaves behind, their bound, long evidence, and the versions of records that have them.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::memory_files::MemoryFiles;
use super::super::pending::Pending;
use super::super::{Deed, JournalFiles, SavedState, fold, verify};
use super::{
    Act, Draft, LatchScope, Record, ReleaseDeed, ReleaseVerb, Run, WriterLimits, deed, draft, in_force, killed,
    latched, look, release_deed, small, written,
};

const CURRENT: &str = "journal.jsonl";

/// A rollback of this release with this evidence.
fn rollback(release: &str, evidence: Value) -> Draft {
    let (release, revision) = (release.to_owned(), "v2=1".to_owned());
    draft(Deed::Release(ReleaseDeed { act: ReleaseVerb::Rollback, release, revision, because: None, evidence }))
}

fn lines(files: &MemoryFiles) -> Vec<Record> {
    let text = files.content(CURRENT).expect("a journal");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
}

fn deed_of(record: &Record) -> &ReleaseDeed {
    let Deed::Release(deed) = &record.what else { panic!("{record:?}") };
    deed
}

#[test]
fn a_rollback_latches_until_its_revision_is_resumed() {
    let files = written(&[Act::Rollback(1), Act::Rollback(3), Act::Kill(1)]);
    // The same release under another revision.
    assert_eq!(in_force(&look(&files).folded), [(latched(1), 1), (latched(3), 2), (killed(1), 3)].into());
    let mut run = Run::begin(&files, small());
    for act in [ReleaseVerb::Warn, ReleaseVerb::Hold, ReleaseVerb::Unhold, ReleaseVerb::Refused] {
        run.pending.add(draft(release_deed(act, 1))).expect("taken");
    }
    run.pending.add(draft(release_deed(ReleaseVerb::Hold, 2))).expect("taken");
    assert!(run.write());
    assert_eq!(in_force(&look(&files).folded), [(latched(1), 1), (latched(3), 2), (killed(1), 3)].into());
    run.play(&[Act::Resume(1), Act::Resume(2), Act::Rollback(3)]);
    let opened = look(&files);
    assert_eq!(in_force(&opened.folded), [(latched(3), 11), (killed(1), 3)].into(), "a later rollback is the one kept");
    assert_eq!(deed_of(&opened.folded.latches[0]).sentence(), Some("errors 3 × stable \n é"));
}

#[test]
fn the_newest_thousand_latches_are_kept() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    for number in 0..1_100 {
        run.pending.add(rollback(&format!("r{number}:v"), Value::Null)).expect("a rollback is always taken");
    }
    assert!(run.write());
    let latches = look(&files).folded.latches;
    assert_eq!((latches.len(), latches[0].seq, latches[999].seq), (1_000, 101, 1_100));
    let saved = SavedState::parse(&files.content("snapshot.json").expect("a saved state")).expect("whole");
    let numbers = |records: &[Record]| records.iter().map(|record| record.seq).collect::<Vec<_>>();
    assert_eq!(numbers(&saved.latches), numbers(&latches));
}

#[test]
fn a_rollback_is_taken_while_the_disk_fails_and_a_resume_is_not() {
    let files = written(&[Act::Rollback(1)]);
    let mut run = Run::begin(&files, small());
    files.refuse(files.steps()..u64::MAX, ErrorKind::StorageFull);
    run.pending.add(draft(deed(Act::Rollback(2)))).expect("a rollback is always taken");
    let report = |progress| run.happened.note(&progress);
    let Err(super::WriteFault::Disk(why)) = run.writing.step(&report) else { panic!("the disk is full") };
    run.writing.fail(&why, &report);
    let refused = run.pending.add(draft(deed(Act::Resume(1)))).expect_err("nothing is raised");
    assert!(refused.0.contains("make room on its disk"), "{refused}");
    files.refuse(0..0, ErrorKind::StorageFull);
    assert!(run.write());
    assert_eq!(in_force(&look(&files).folded), [(latched(1), 1), (latched(2), 2)].into());
}

#[test]
fn a_resume_that_the_disk_refused_is_not_done_later() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    run.play(&[Act::Rollback(1)]);
    // The next append: opened, written, refused when it is made durable.
    files.refuse(files.steps() + 2..files.steps() + 3, ErrorKind::StorageFull);
    let record = run.pending.add(draft(deed(Act::Resume(1)))).expect("the disk was good so far");
    assert!(run.write());
    assert_eq!(run.happened.refused.borrow().iter().copied().collect::<Vec<_>>(), [record.seq]);
    let opened = look(&files);
    assert_eq!(in_force(&opened.folded), [(latched(1), 1)].into(), "the latch stays");
    let last = lines(&files).pop().expect("records");
    let deed = deed_of(&last);
    assert_eq!((last.seq, deed.act, &deed.scope()), (2, ReleaseVerb::Refused, &super::release(1)));
    assert!(deed.because.as_ref().is_some_and(|why| why.contains("make room")), "{deed:?}");
}

#[test]
fn long_evidence_is_cut_to_its_sentence_where_many_would_not_fit() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    let long = json!({ "sentence": "é".repeat(600), "counts": "9".repeat(50_000) });
    for number in 0..400 {
        run.pending.add(rollback(&format!("r{number}:v"), long.clone())).expect("a rollback is always taken");
    }
    run.pending.add(draft(deed(Act::Kill(1)))).expect("taken");
    assert!(run.write());
    assert_eq!((run.happened.failures.get(), run.happened.durable.get()), (0, 401));
    let opened = look(&files);
    assert_eq!((opened.folded.damage, opened.folded.latches.len()), (None, 400));
    // The checkpoint of the second file, and the saved state.
    let first = lines(&files).swap_remove(0);
    let Deed::Checkpoint { latches, .. } = &first.what else { panic!("a second file was begun") };
    let saved = SavedState::parse(&files.content("snapshot.json").expect("a saved state")).expect("whole");
    for latch in [&latches[0], &saved.latches[0], &saved.latches[399]] {
        assert_eq!(deed_of(latch).evidence, json!({ "sentence": "é".repeat(512) }));
    }
    // A folder that has lost its journal still latches all of them.
    for name in files.list().expect("a folder").iter().filter(|name| name.starts_with("journal")) {
        files.take(name);
    }
    let mut run = Run::begin(&files, WriterLimits::default());
    assert!(run.opened.folded.damage.is_some() && run.write());
    let opened = look(&files);
    assert_eq!((opened.folded.damage, opened.folded.latches.len(), opened.folded.kills.len()), (None, 400, 1));
}

#[test]
fn a_record_is_cut_to_what_a_line_takes_and_never_loses_its_release() {
    let pending = Pending::after(0);
    let record = pending.add(rollback("shop:canary", json!({ "sentence": "short", "counts": "9".repeat(100_000) })));
    let record = record.expect("a rollback is always taken");
    assert_eq!(deed_of(&record).evidence, json!({ "sentence": "short" }));
    let mut long = rollback("shop:canary", json!("9".repeat(100_000)));
    long.reason = Some("é".repeat(100_000));
    let record = pending.add(long).expect("a rollback is always taken");
    assert_eq!((&deed_of(&record).evidence, record.reason.as_deref()), (&Value::Null, Some(&*"é".repeat(64))));
    for release in [String::new(), "x".repeat(5_000)] {
        assert!(pending.add(rollback(&release, Value::Null)).is_err(), "{release}");
    }
    assert_eq!(pending.seq(), 2, "no number is used up");
}

#[test]
fn what_an_older_program_can_read_has_its_version() {
    let versions = |files: &MemoryFiles| lines(files).iter().map(|record| record.v).collect::<Vec<_>>();
    let saved = |files: &MemoryFiles| {
        SavedState::parse(&files.content("snapshot.json").expect("a saved state")).expect("whole").v
    };
    let files = written(&[Act::Kill(1), Act::Reload, Act::Revive(1), Act::Kill(2)]);
    assert_eq!((versions(&files), saved(&files)), (vec![1; 4], 1), "without a decision about a release");
    let files = written(&[Act::Kill(1), Act::Rollback(1), Act::Kill(2)]);
    assert_eq!((versions(&files), saved(&files)), (vec![1, 2, 1], 2), "an older program leaves it alone");
    // The next file of a journal in which a latch is in force, and of one without.
    let next_file = |acts: &[Act]| {
        let files = written(acts);
        let limits = WriterLimits { file_bytes_max: 1, ..WriterLimits::default() };
        Run::begin(&files, limits).play(&[Act::Reload]);
        lines(&files).swap_remove(0)
    };
    let first = next_file(&[Act::Rollback(1)]);
    assert!(matches!(&first.what, Deed::Checkpoint { latches, .. } if latches.len() == 1 && first.v == 2), "{first:?}");
    let first = next_file(&[Act::Rollback(1), Act::Resume(1)]);
    assert!(matches!(&first.what, Deed::Checkpoint { latches, .. } if latches.is_empty() && first.v == 1), "{first:?}");
}

/// A journal and a saved state as version 1 wrote them.
#[test]
fn a_journal_of_version_1_is_read_and_continued() {
    let files = MemoryFiles::default();
    let kill = r#"{"v":1,"seq":1,"at":"2026-11-29T12:00:00.000Z","who":{"name":"ana","via":"socket"},"what":"kill","tenant":"acme","reason":"x","config":"c0ffee","generation":3,"prev":""}"#;
    files.set(CURRENT, format!("{kill}\n").as_bytes());
    let object =
        format!(r#"{{"v":1,"seq":1,"head":"{}","kills":[{kill}],"latches":[]"#, super::super::hash(kill.as_bytes()));
    let sum = super::super::hash(object.as_bytes());
    files.set("snapshot.json", format!("{object},\"sum\":\"{sum}\"}}\n").as_bytes());
    let mut run = Run::begin(&files, WriterLimits::default());
    let folded = &run.opened.folded;
    assert_eq!((&folded.damage, folded.kills.len(), folded.latches.len()), (&None, 1, 0));
    assert!(folded.notes.is_empty(), "{:?}", folded.notes);
    run.play(&[Act::Rollback(1)]);
    let opened = look(&files);
    assert_eq!((&opened.folded.damage, opened.folded.kills.len()), (&None, 1));
    assert_eq!(opened.folded.latches.len(), 1);
    assert!(verify(&files).expect("readable").is_intact());
    // Before there was a list of latches at all.
    let object = object.replace(",\"latches\":[]", "");
    let sum = super::super::hash(object.as_bytes());
    let saved = SavedState::parse(format!("{object},\"sum\":\"{sum}\"}}\n").as_bytes()).expect("readable");
    assert_eq!((saved.kills.len(), saved.latches.len()), (1, 0));
}

#[test]
fn a_checkpoint_whose_latches_are_no_rollbacks_is_damage() {
    let record = lines(&written(&[Act::Rollback(1)])).swap_remove(0);
    let checkpoint = |latch: Record| {
        let (kills, keys, because) = (Vec::new(), Vec::new(), "a test".to_owned());
        let what = Deed::Checkpoint { kills, keys, latches: vec![latch], rollouts: Vec::new(), because };
        let mut line = serde_json::to_vec(&Record { what, ..record.clone() }).expect("JSON");
        line.push(b'\n');
        fold(&line, None, Duration::ZERO)
    };
    assert_eq!(in_force(&checkpoint(record.clone())), [(latched(1), 1)].into());
    let nameless = LatchScope { release: String::new(), revision: "v2=1".to_owned() };
    let LatchScope { release, revision } = nameless;
    let nameless = ReleaseDeed { release, revision, ..deed_of(&record).clone() };
    for what in [release_deed(ReleaseVerb::Resume, 1), deed(Act::Kill(1)), Deed::Release(nameless)] {
        let folded = checkpoint(Record { what, ..record.clone() });
        assert!(folded.damage.is_some() && folded.latches.is_empty(), "{folded:?}");
    }
}

#[test]
fn a_file_that_is_full_carries_latches_over() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits { files_max: 1, ..small() });
    run.play(&[Act::Rollback(1), Act::Rollback(2)]);
    run.play(&[Act::Reload; 40]);
    let names = files.list().expect("a folder");
    assert!(!names.contains(&"journal-1.jsonl".to_owned()), "the file with the rollbacks is gone: {names:?}");
    assert_eq!(in_force(&look(&files).folded), [(latched(1), 1), (latched(2), 2)].into());
}
