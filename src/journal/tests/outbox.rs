//! The notifications that wait: the newest is saved, the first before the records that follow, and a damaged one is kept.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::super::memory_files::{Loss, MemoryFiles};
use super::super::{DamageKind, JournalFiles, OUTBOX_MAX, Opened, open, set_outbox_aside};
use super::{Act, Run, small};

const OUTBOX: &str = "outbox.json";

fn text(number: u32) -> Vec<u8> {
    format!("{{\"seen\":{number},\"of\":\"a \\\" é\"}}").into_bytes()
}

fn held(files: &MemoryFiles) -> Opened {
    let files: Arc<dyn JournalFiles> = Arc::new(files.clone());
    open(files, Duration::ZERO, "here").opened
}

/// A folder with a kill and this outbox.
fn saved(number: u32) -> MemoryFiles {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    run.pending.set_outbox(text(number));
    run.play(&[Act::Kill(1)]);
    files
}

#[test]
fn the_newest_outbox_outlives_the_process() {
    let files = saved(1);
    let mut run = Run::begin(&files, small());
    assert_eq!(run.opened.outbox, Some(text(1)));
    run.pending.set_outbox(text(2));
    run.pending.set_outbox(text(3));
    run.play(&[Act::Kill(2)]);
    let opened = held(&files);
    assert_eq!((opened.outbox, opened.folded.notes.len()), (Some(text(3)), 0));
    assert_eq!(super::look(&files).outbox, None, "a process that only reads does not go on with it");
}

#[test]
fn an_outbox_that_was_changed_is_set_aside() {
    let files = saved(1);
    let whole = files.content(OUTBOX).expect("an outbox");
    let newer = String::from_utf8(whole.clone()).expect("text").replacen("\"v\":1", "\"v\":2", 1).into_bytes();
    for changed in [whole[..whole.len() / 2].to_vec(), Vec::new(), newer] {
        files.set(OUTBOX, &changed);
        let opened = held(&files);
        assert_eq!((&opened.outbox, &opened.failure, opened.folded.notes.len()), (&None, &None, 1), "{opened:?}");
        assert!(opened.folded.notes[0].contains("outbox.damaged.json"), "{:?}", opened.folded.notes);
        assert_eq!((files.content("outbox.damaged.json"), files.content(OUTBOX)), (Some(changed), None));
    }
    files.set(OUTBOX, &vec![b'1'; OUTBOX_MAX * 2]);
    assert_eq!(held(&files).outbox, None);
    assert_eq!(held(&files).folded.notes.len(), 0, "there is none now");
}

/// After a crash at any step each record that is there follows an outbox, or is in one: none is missing in it.
#[test]
fn after_a_crash_the_outbox_is_no_newer_than_what_was_decided_and_never_missing_behind_a_record() {
    let all = {
        let files = MemoryFiles::default();
        let mut run = Run::begin(&files, small());
        run.pending.set_outbox(text(0));
        run.play(&[Act::Kill(1), Act::Reload]);
        files.steps()
    };
    for crash in 0..all {
        for loss in [Loss::Nothing, Loss::Half, Loss::All] {
            let files = MemoryFiles::default();
            files.crash_at(crash);
            let mut run = Run::begin(&files, small());
            run.pending.set_outbox(text(0));
            run.play(&[Act::Kill(1), Act::Reload]);
            files.restart(loss);
            let opened = held(&files);
            let context = format!("a crash at step {crash}, lost {loss:?}");
            assert!(opened.folded.last_seq == 0 || opened.outbox == Some(text(0)), "{context}: {opened:?}");
        }
    }
}

#[test]
fn an_outbox_that_is_not_saved_is_tried_again_and_holds_nothing_up() {
    let files = saved(1);
    let mut run = Run::begin(&files, small());
    run.play(&[]);
    files.refuse(files.steps()..files.steps() + 1, ErrorKind::StorageFull);
    run.pending.set_outbox(text(2));
    assert!(run.write());
    assert_eq!((run.happened.failures.get(), run.happened.outbox_failures.get()), (0, 1));
    run.play(&[Act::Kill(2)]);
    assert_eq!(held(&files).outbox, Some(text(2)), "it is written with what follows");
    run.pending.set_outbox(vec![b'1'; OUTBOX_MAX + 1]);
    run.play(&[Act::Kill(3)]);
    assert_eq!((run.happened.outbox_failures.get(), run.happened.failures.get()), (2, 0), "it is too long");
    assert_eq!(held(&files).outbox, Some(text(2)));
    run.pending.set_outbox(text(4));
    run.pending.put_back_outbox(text(3));
    run.play(&[]);
    assert_eq!(held(&files).outbox, Some(text(4)), "the newest counts");
}

#[test]
fn a_journal_that_is_missing_beside_an_outbox_is_damage() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    run.pending.set_outbox(text(0));
    assert!(run.write());
    let opened = held(&files);
    assert_eq!(
        (opened.is_fresh, &opened.folded.damage, opened.outbox),
        (true, &None, Some(text(0))),
        "no record was written"
    );
    run.play(&[Act::Reload]);
    run.pending.set_outbox(text(1));
    assert!(run.write());
    assert_eq!(held(&files).folded.damage, None);
    let whole = files.content(OUTBOX).expect("an outbox");
    files.take("journal.jsonl");
    let damaged = [whole[..whole.len() / 2].to_vec(), whole];
    for outbox in damaged {
        files.set(OUTBOX, &outbox);
        for opened in [super::look(&files), held(&files)] {
            assert_eq!(opened.folded.damage.map(|damage| damage.kind), Some(DamageKind::Missing));
            assert!(!opened.is_fresh && opened.failure.is_none());
        }
    }
}

#[test]
fn an_outbox_whose_content_is_of_another_form_is_kept_too() {
    let files = saved(1);
    let whole = files.content(OUTBOX);
    let note = set_outbox_aside(&files, "it is odd");
    assert!(note.contains("it is odd") && note.contains("outbox.damaged.json"), "{note}");
    assert_eq!((files.content("outbox.damaged.json"), files.content(OUTBOX)), (whole, None));
}
