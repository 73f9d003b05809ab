//! The evidence of guards: the newest is saved, nothing waits for it, and a damaged file is no evidence.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::super::memory_files::{Loss, MemoryFiles};
use super::super::{DiskFiles, EVIDENCE_MAX, JournalFiles, JournalProgress, JournalWriter, WriterLimits, open, peek};
use super::{Act, Run, deed, draft, in_force, look, small};
use crate::clock::Clock;

const EVIDENCE: &str = "evidence.json";
/// How long a test waits for the writer.
const PATIENCE: Duration = Duration::from_mins(1);

fn text(number: u32) -> Vec<u8> {
    format!("{{\"log10\":{number}.25,\"of\":\"a \\\" é\"}}").into_bytes()
}

/// A folder with a kill and this evidence.
fn saved(number: u32) -> MemoryFiles {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    run.pending.set_evidence(text(number));
    run.play(&[Act::Kill(1)]);
    files
}

#[test]
fn the_newest_evidence_outlives_the_process() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    assert_eq!(run.opened.evidence, None);
    run.pending.set_evidence(text(1));
    run.pending.set_evidence(text(2));
    let before = files.steps();
    run.play(&[]);
    let once = files.steps() - before;
    assert_eq!(look(&files).evidence, Some(text(2)));
    assert!(once < 8, "one write: {once} steps");
    run.pending.set_evidence(text(3));
    run.play(&[]);
    let opened = look(&files);
    assert_eq!(opened.evidence, Some(text(3)));
    assert!(opened.folded.notes.is_empty() && opened.folded.damage.is_none(), "{opened:?}");
}

#[test]
fn evidence_that_was_changed_or_cut_is_none() {
    let files = saved(1);
    let whole = files.content(EVIDENCE).expect("evidence");
    let none = |changed: &[u8], context: &str| {
        files.set(EVIDENCE, changed);
        let opened = look(&files);
        assert_eq!((&opened.evidence, &opened.folded.damage, &opened.failure), (&None, &None, &None), "{context}");
        assert_eq!((opened.folded.kills.len(), opened.folded.notes.len()), (1, 1), "{context}");
        assert!(opened.folded.notes[0].starts_with("evidence.json is not usable"), "{:?}", opened.folded.notes);
    };
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        none(&changed, &format!("byte {at}"));
        none(&whole[..at], &format!("cut to {at} bytes"));
    }
    files.set(EVIDENCE, &whole);
    assert_eq!(look(&files).evidence, Some(text(1)));
    files.take(EVIDENCE);
    let opened = look(&files);
    assert!(opened.evidence.is_none() && opened.folded.notes.is_empty(), "a missing file is no news: {opened:?}");
}

#[test]
fn a_crash_leaves_the_evidence_before_or_the_new_one() {
    let all = {
        let files = saved(1);
        let before = files.steps();
        let mut run = Run::begin(&files, small());
        run.pending.set_evidence(text(2));
        run.play(&[Act::Rollback(1), Act::Reload]);
        files.steps() - before
    };
    for crash in 0..all {
        for loss in [Loss::Nothing, Loss::Half, Loss::All] {
            let files = saved(1);
            files.crash_at(files.steps() + crash);
            let mut run = Run::begin(&files, small());
            run.pending.set_evidence(text(2));
            run.play(&[Act::Rollback(1), Act::Reload]);
            let durable = run.happened.durable.get();
            files.restart(loss);
            let opened = look(&files);
            let context = format!("a crash at step {crash}, lost {loss:?}");
            assert!(opened.evidence.is_some_and(|found| found == text(1) || found == text(2)), "{context}");
            assert!(opened.folded.damage.is_none() && opened.folded.last_seq >= durable, "{context}");
        }
    }
}

#[test]
fn evidence_that_is_not_saved_holds_nothing_up() {
    let files = saved(1);
    let mut run = Run::begin(&files, small());
    run.play(&[]);
    for round in 1..=2 {
        files.refuse(files.steps()..files.steps() + 1, ErrorKind::StorageFull);
        run.pending.set_evidence(text(2));
        assert!(run.write());
        assert_eq!((run.happened.failures.get(), run.happened.evidence_failures.get()), (0, 1), "round {round}");
    }
    run.play(&[Act::Revive(1)]);
    assert!(in_force(&look(&files).folded).is_empty(), "the journal can be written");
    assert_eq!(look(&files).evidence, Some(text(1)));
    run.pending.set_evidence(vec![b'1'; EVIDENCE_MAX]);
    run.play(&[]);
    assert_eq!(look(&files).evidence.map(|evidence| evidence.len()), Some(EVIDENCE_MAX));
    run.pending.set_evidence(vec![b'1'; EVIDENCE_MAX + 1]);
    run.play(&[Act::Kill(2)]);
    assert_eq!((run.happened.failures.get(), run.happened.evidence_failures.get()), (0, 2), "it is too long");
    assert_eq!(look(&files).evidence.map(|evidence| evidence.len()), Some(EVIDENCE_MAX));
    files.set(EVIDENCE, &vec![b'1'; EVIDENCE_MAX * 2]);
    assert_eq!(look(&files).evidence, None);
}

#[test]
fn a_journal_of_a_newer_version_gets_no_evidence() {
    let files = saved(1);
    files.set("journal.jsonl", b"{\"v\":5,\"seq\":1,\"what\":\"other\",\"prev\":\"\"}\n");
    let mut run = Run::begin(&files, small());
    run.pending.set_evidence(text(2));
    let report = |progress| run.happened.note(&progress);
    assert!(run.writing.step(&report).is_err());
    assert_eq!(look(&files).evidence, Some(text(1)));
}

/// The writer's thread: evidence is written at once, then not before the pause is over, and at the end.
#[test]
fn evidence_is_written_once_a_pause_and_at_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let files: Arc<dyn JournalFiles> = Arc::new(DiskFiles::new(dir.path()));
    let limits = WriterLimits { evidence_pause: PATIENCE * 60, ..WriterLimits::default() };
    let (sender, progress) = channel();
    let report = move |news| drop(sender.send(news));
    let held = open(Arc::clone(&files), Duration::ZERO, "here");
    let mut writer = JournalWriter::start(held, limits, Clock, report).expect("a thread");
    let next = || progress.recv_timeout(PATIENCE).expect("progress");
    writer.save_evidence(text(1));
    writer.append(draft(deed(Act::Kill(1)))).expect("taken");
    assert_eq!(next(), JournalProgress::Durable(1));
    writer.append(draft(deed(Act::Kill(2)))).expect("taken");
    assert_eq!(next(), JournalProgress::Durable(2));
    // The step that wrote the first record has ended: its evidence is written.
    assert_eq!(peek(&*files, Duration::ZERO, "here").evidence, Some(text(1)));
    writer.save_evidence(text(2));
    writer.append(draft(deed(Act::Kill(3)))).expect("taken");
    assert_eq!(next(), JournalProgress::Durable(3));
    assert_eq!(peek(&*files, Duration::ZERO, "here").evidence, Some(text(1)), "the pause is not over");
    assert!(writer.stop(PATIENCE));
    assert_eq!(peek(&*files, Duration::ZERO, "here").evidence, Some(text(2)), "the last one is written at the end");
}

#[test]
fn evidence_alone_wakes_the_thread() {
    let files = MemoryFiles::default();
    let limits = WriterLimits { evidence_pause: Duration::from_millis(1), ..WriterLimits::default() };
    let held = open(Arc::new(files.clone()), Duration::ZERO, "here");
    let mut writer = JournalWriter::start(held, limits, Clock, |_| ()).expect("a thread");
    for number in 1..=3 {
        writer.save_evidence(text(number));
        let deadline = Clock.now() + PATIENCE;
        while look(&files).evidence != Some(text(number)) {
            assert!(Clock.now() < deadline, "evidence {number} is not written");
            std::thread::yield_now();
        }
    }
    assert!(writer.stop(PATIENCE));
}

#[test]
fn a_folder_in_the_place_of_evidence_is_a_note() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join(EVIDENCE)).expect("a folder");
    let opened = peek(&DiskFiles::new(dir.path()), Duration::ZERO, "here");
    assert!(opened.evidence.is_none() && opened.failure.is_none() && opened.folded.damage.is_none(), "{opened:?}");
    assert_eq!(opened.folded.notes.len(), 1, "{:?}", opened.folded.notes);
}
