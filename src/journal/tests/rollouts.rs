//! Where rollouts stand: their last record with a state, its bound and its length, refused raises, damage, and versions.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::memory_files::MemoryFiles;
use super::super::pending::Pending;
use super::super::{DamageKind, Deed, JOURNAL_VERSION, RolloutDeed, SavedState, ScopeFields, fold, hash, verify};
use super::{
    Act, Folded, Record, Run, WriterLimits, deed, draft, in_force, look, rolled_out, rollout_deed, small, written,
};
use crate::route::KillScope;

const CURRENT: &str = "journal.jsonl";

fn lines(files: &MemoryFiles) -> Vec<Record> {
    let text = files.content(CURRENT).expect("a journal");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
}

fn deed_of(record: &Record) -> &RolloutDeed {
    let Deed::Rollout(deed) = &record.what else { panic!("{record:?}") };
    deed
}

/// What each rollout does by the folded journal: its act, and the weight.
fn shown(folded: &Folded) -> Vec<(&str, f64)> {
    folded.rollouts.iter().map(deed_of).map(|deed| (deed.act.as_str(), deed.to)).collect()
}

/// The text of a journal with these deeds.
fn text(deeds: impl IntoIterator<Item = Deed>) -> Vec<u8> {
    let (mut text, mut prev) = (Vec::new(), String::new());
    for (seq, what) in (1..).zip(deeds) {
        let record = Record { seq, prev, ..draft(what).unrecorded() };
        let line = serde_json::to_vec(&record).expect("JSON");
        prev = hash(&line);
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    text
}

#[test]
fn the_last_record_of_each_rollout_is_where_it_stands() {
    let files = written(&[Act::Raise(0), Act::Raise(1), Act::Raise(3), Act::Stop(1), Act::Kill(5)]);
    let folded = look(&files).folded;
    assert_eq!(shown(&folded), [("enter", 11.0), ("rollback", 0.0)]);
    assert_eq!(deed_of(&folded.rollouts[0]).state, rollout_deed(Act::Raise(3)).state);
    // It has left the file: its state is kept, with a record of its own or with the one before.
    let mut run = Run::begin(&files, small());
    let archive = RolloutDeed { act: "archive".to_owned(), ..rollout_deed(Act::Lower(3)) };
    let without = RolloutDeed { state: Value::Null, ..RolloutDeed { rollout: "ro1 é".to_owned(), ..archive.clone() } };
    for deed in [archive, without] {
        run.pending.add(draft(Deed::Rollout(deed))).expect("taken");
    }
    assert!(run.write());
    assert_eq!(shown(&look(&files).folded), [("rollback", 0.0), ("archive", 0.0)]);
    // The full file goes; a checkpoint carries all over.
    let mut run = Run::begin(&files, WriterLimits { files_max: 1, ..small() });
    run.play(&[Act::Reload; 40]);
    assert_eq!(shown(&look(&files).folded), [("rollback", 0.0), ("archive", 0.0)]);
    assert!(verify(&files).expect("readable").is_intact());
}

#[test]
fn a_raise_that_the_disk_refused_leaves_the_state_before() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    run.play(&[Act::Raise(0)]);
    // The next append: opened, written, refused when it is made durable.
    files.refuse(files.steps() + 2..files.steps() + 3, ErrorKind::StorageFull);
    let raise = run.pending.add(draft(deed(Act::Raise(3)))).expect("the disk was good so far");
    run.pending.add(draft(deed(Act::Lower(1)))).expect("what lowers is always taken");
    assert!(run.write());
    assert_eq!(run.happened.refused.borrow().iter().copied().collect::<Vec<_>>(), [raise.seq]);
    assert_eq!(shown(&look(&files).folded), [("enter", 1.0), ("hold", 0.0)]);
    let lines = lines(&files);
    let refused = deed_of(&lines[1]);
    assert_eq!((lines[1].seq, refused.act.as_str(), &*refused.stage, refused.raises), (2, "refused", "s1", false));
    assert!(refused.state.is_null() && refused.evidence.is_null(), "{refused:?}");
    assert!(refused.to.total_cmp(&refused.from).is_eq(), "the weight stays: {refused:?}");
    assert!(refused.because.starts_with("enter (0.5 % to 11 %) was refused: "), "{refused:?}");
    assert!(refused.because.contains("make room"), "{refused:?}");
}

#[test]
fn while_the_disk_fails_nothing_is_raised_and_what_lowers_is_taken() {
    let files = written(&[Act::Raise(0), Act::Raise(1)]);
    let mut run = Run::begin(&files, small());
    files.refuse(files.steps()..u64::MAX, ErrorKind::StorageFull);
    run.pending.add(draft(deed(Act::Stop(0)))).expect("a rollback is always taken");
    let report = |progress| run.happened.note(&progress);
    let Err(super::WriteFault::Disk(why)) = run.writing.step(&report) else { panic!("the disk is full") };
    run.writing.fail(&why, &report);
    let refused = run.pending.add(draft(deed(Act::Raise(4)))).expect_err("nothing is raised");
    assert!(refused.0.contains("make room on its disk"), "{refused}");
    files.refuse(0..0, ErrorKind::StorageFull);
    assert!(run.write());
    assert_eq!(shown(&look(&files).folded), [("enter", 1.0), ("rollback", 0.0)]);
}

#[test]
fn records_that_do_not_fit_leave_the_lowered_rollouts_and_refuse_the_raises() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    run.play(&[Act::Raise(0), Act::Raise(1)]);
    let raise = run.pending.add(draft(deed(Act::Raise(2)))).expect("the disk is good").seq;
    let lower = run.pending.add(draft(deed(Act::Lower(0)))).expect("taken").seq;
    let again = run.pending.add(draft(deed(Act::Raise(3)))).expect("the disk is good").seq;
    for _ in 0..1_100 {
        run.pending.add(draft(deed(Act::Reload))).expect("taken");
    }
    assert!(run.pending.add(draft(deed(Act::Raise(2)))).is_err(), "nothing is raised while the disk is behind");
    assert!(run.write());
    assert_eq!(run.happened.refused.borrow().iter().copied().collect::<Vec<_>>(), [raise, again]);
    let expected = [(rolled_out(1), 2), (rolled_out(0), lower)].into();
    assert_eq!(in_force(&look(&files).folded), expected);
    assert!(verify(&files).expect("readable").is_intact());
}

/// The act and the weight of each rollout.
type Expected = &'static [(&'static str, f64)];

#[test]
fn behind_damage_a_rollout_is_lowered_and_never_raised() {
    let cases: [(&[Act], Act, Expected); 9] = [
        (&[Act::Raise(3)], Act::Lower(3), &[("hold", 0.0)]),
        (&[Act::Raise(3)], Act::Stop(3), &[("rollback", 0.0)]),
        (&[Act::Raise(0)], Act::Raise(3), &[("enter", 1.0)]),
        // A raise is one, also where it leads to less.
        (&[Act::Raise(3)], Act::Raise(0), &[("enter", 11.0)]),
        (&[Act::Stop(3)], Act::Raise(3), &[("rollback", 0.0)]),
        // A hold after a resume that is not done does not end the rollback.
        (&[Act::Stop(3)], Act::Lower(3), &[("rollback", 0.0)]),
        (&[Act::Lower(3)], Act::Stop(0), &[("rollback", 0.0)]),
        (&[], Act::Raise(0), &[]),
        (&[], Act::Stop(0), &[("rollback", 0.0)]),
    ];
    for (before, behind, expected) in cases {
        let all = before.iter().copied().chain([Act::Reload, behind]).map(deed);
        let mut changed = text(all);
        let at = String::from_utf8_lossy(&changed).find("\"reload\"").expect("the record between");
        changed[at + 1] = b'#';
        let folded = fold(&changed, None, Duration::ZERO);
        assert!(folded.damage.is_some());
        assert_eq!(shown(&folded), expected, "{before:?}, then {behind:?}");
    }
}

#[test]
fn beside_a_damaged_journal_the_lower_of_two_states_stays() {
    let saved = |act: Act, seq: u64| {
        let record = Record { seq, ..draft(deed(act)).unrecorded() };
        SavedState::new(seq, "another", Vec::new(), Vec::new()).with_rollouts(vec![record])
    };
    for (in_journal, in_saved, expected) in [
        (Act::Raise(0), Act::Raise(3), ("enter", 1.0)),
        (Act::Raise(3), Act::Raise(0), ("enter", 1.0)),
        (Act::Raise(3), Act::Lower(3), ("hold", 0.0)),
        (Act::Raise(3), Act::Stop(3), ("rollback", 0.0)),
        (Act::Stop(3), Act::Lower(3), ("rollback", 0.0)),
    ] {
        for seq in [1, 9] {
            let folded = fold(&text([deed(in_journal)]), Some(saved(in_saved, seq)), Duration::ZERO);
            assert!(folded.damage.is_some(), "the saved state is of another journal");
            assert_eq!(shown(&folded), [expected], "{in_journal:?}, saved {in_saved:?} as record {seq}");
        }
    }
    let folded = fold(b"", Some(saved(Act::Raise(3), 4)), Duration::ZERO);
    assert_eq!((folded.damage.map(|damage| damage.kind), folded.rollouts.len()), (Some(DamageKind::Missing), 1));
}

#[test]
fn a_long_record_loses_its_evidence_and_never_its_state() {
    let pending = Pending::after(0);
    let add = |deed: RolloutDeed, reason: Option<String>| {
        let what = Deed::Rollout(deed);
        pending.add(super::Draft { reason, ..draft(what) })
    };
    let long = |bytes: usize| Value::String("9".repeat(bytes));
    let of = |state: usize, evidence: usize| RolloutDeed {
        state: json!({ "warned": long(state) }),
        evidence: json!({ "facts": long(evidence) }),
        ..rollout_deed(Act::Stop(3))
    };
    let whole = add(of(1_000, 100_000), None).expect("taken");
    assert_eq!(deed_of(&whole), &of(1_000, 100_000), "plan, state and facts fit");
    let cut = add(of(60_000, 100_000), Some("short".to_owned())).expect("taken");
    assert_eq!(deed_of(&cut), &RolloutDeed { evidence: Value::Null, ..of(60_000, 0) });
    assert_eq!(cut.reason.as_deref(), Some("short"));
    let cut = add(of(60_000, 0), Some("é".repeat(70_000))).expect("taken");
    assert_eq!((&deed_of(&cut).state, cut.reason.clone()), (&of(60_000, 0).state, Some("é".repeat(64))));
    let cut = add(RolloutDeed { because: "é".repeat(70_000), ..of(60_000, 0) }, None).expect("taken");
    assert_eq!((&deed_of(&cut).state, deed_of(&cut).because.chars().count()), (&of(60_000, 0).state, 512));
    let refused = add(of(70_000, 0), None).expect_err("its state is too long");
    assert!(refused.0.starts_with("the state of rollout ro0 é has 70"), "{refused}");
    assert!(
        refused.0.ends_with("at most 65536 are possible: use fewer stages and roles, or shorter names"),
        "{refused}"
    );
    assert_eq!(pending.seq(), 4, "no number is used up");
}

#[test]
fn a_record_that_says_nothing_about_the_state_is_not_taken_and_is_damage() {
    let pending = Pending::after(0);
    let good = rollout_deed(Act::Lower(0));
    let refused = RolloutDeed { act: "refused".to_owned(), state: Value::Null, ..good.clone() };
    for (deed, why) in [
        (RolloutDeed { rollout: String::new(), ..good.clone() }, "does not name the rollout"),
        (RolloutDeed { act: String::new(), ..good.clone() }, "does not say what was decided"),
        (RolloutDeed { state: Value::Null, ..good.clone() }, "does not have the state"),
        (RolloutDeed { state: json!([1]), ..good.clone() }, "does not have the state"),
        (RolloutDeed { to: 100.5, ..good.clone() }, "not from 0 to 100"),
        (RolloutDeed { from: -1.0, ..good.clone() }, "not from 0 to 100"),
        (RolloutDeed { to: f64::NAN, ..good.clone() }, "f64"),
        (RolloutDeed { state: good.state.clone(), ..refused.clone() }, "refuses and raises"),
        (RolloutDeed { raises: true, ..refused.clone() }, "refuses and raises"),
        (RolloutDeed { act: "rehearsed".to_owned(), ..good.clone() }, "measured a rehearsal and raises"),
    ] {
        let error = pending.add(draft(Deed::Rollout(deed.clone()))).expect_err("it is not taken");
        assert!(error.0.contains(why), "{deed:?}: {error}");
        let folded = fold(&text([Deed::Rollout(deed.clone())]), None, Duration::ZERO);
        let damage = folded.damage.expect("damage").kind;
        assert!(matches!(&damage, DamageKind::NotARecord(said) if said.contains(why)), "{deed:?}: {damage:?}");
    }
    // A newer version has other rules.
    let newer = Record { v: JOURNAL_VERSION + 1, seq: 1, ..draft(Deed::Rollout(refused)).unrecorded() };
    let mut line = serde_json::to_vec(&newer).expect("JSON");
    let odd = String::from_utf8_lossy(&line).replace("\"refused\"", "\"merge\"");
    for text in [line.clone(), odd.into_bytes()] {
        line = [text, b"\n".to_vec()].concat();
        let damage = fold(&line, None, Duration::ZERO).damage.expect("damage").kind;
        assert_eq!(damage, DamageKind::NewerVersion(JOURNAL_VERSION + 1));
    }
}

#[test]
fn what_a_rehearsal_measured_changes_no_state() {
    let rollback = rollout_deed(Act::Lower(0));
    let evidence = json!({ "in_force_ms": 4.5, "requests_after": 2 });
    let measured =
        RolloutDeed { act: "rehearsed".to_owned(), evidence, state: Value::Null, raises: false, ..rollback.clone() };
    assert_eq!(Deed::Rollout(measured.clone()).version(), JOURNAL_VERSION);
    assert_eq!(Deed::Rollout(rollback.clone()).version(), 3, "an earlier program reads it");
    let folded = fold(&text([Deed::Rollout(rollback.clone()), Deed::Rollout(measured)]), None, Duration::ZERO);
    assert_eq!((folded.damage, folded.last_seq), (None, 2));
    let kept: Vec<&RolloutDeed> = folded.rollouts.iter().map(deed_of).collect();
    assert_eq!(kept, [&RolloutDeed { evidence: Value::Null, ..rollback }]);
}

#[test]
fn a_checkpoint_whose_rollouts_have_no_state_is_damage() {
    let checkpoint = |what: Deed| {
        let record = Record { seq: 1, ..draft(what).unrecorded() };
        let (kills, keys, latches, because) = (Vec::new(), Vec::new(), Vec::new(), "a test".to_owned());
        fold(&text([Deed::Checkpoint { kills, keys, latches, rollouts: vec![record], because }]), None, Duration::ZERO)
    };
    assert_eq!(shown(&checkpoint(deed(Act::Raise(3)))), [("enter", 11.0)]);
    let nothing = RolloutDeed { act: "archive".to_owned(), state: Value::Null, ..rollout_deed(Act::Lower(0)) };
    for what in [deed(Act::Kill(1)), Deed::Rollout(nothing)] {
        let folded = checkpoint(what);
        assert!(folded.damage.is_some() && folded.rollouts.is_empty(), "{folded:?}");
    }
}

#[test]
fn what_an_older_program_would_misread_has_a_version_that_it_refuses() {
    let versions = |acts: &[Act]| {
        let files = written(acts);
        let saved = SavedState::parse(&files.content("snapshot.json").expect("a saved state")).expect("whole").v;
        (lines(&files).iter().map(|record| record.v).collect::<Vec<_>>(), saved)
    };
    assert_eq!(versions(&[Act::Kill(1), Act::Rollback(1), Act::Raise(0), Act::Kill(2)]), (vec![1, 2, 3, 1], 3));
    assert_eq!(versions(&[Act::Kill(1), Act::Kill(5), Act::Revive(5)]), (vec![1, 3, 3], 1), "a kill of a rollout");
    assert_eq!(versions(&[Act::Kill(5)]), (vec![3], 3));
    let refused = Deed::Refused { scope: ScopeFields::from(&KillScope::Rollout("r".into())), because: String::new() };
    assert_eq!(refused.version(), 3);
    // The next file of a journal in which a rollout has a state.
    let files = written(&[Act::Raise(0)]);
    let limits = WriterLimits { file_bytes_max: 1, ..WriterLimits::default() };
    Run::begin(&files, limits).play(&[Act::Reload]);
    let first = lines(&files).swap_remove(0);
    assert!(
        matches!(&first.what, Deed::Checkpoint { rollouts, .. } if rollouts.len() == 1 && first.v == 3),
        "{first:?}"
    );
}

#[test]
fn the_newest_thousand_rollouts_are_kept_and_those_that_left_the_file_go_first() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    let named = |number: u32, act: &str| {
        let (act, rollout) = (act.to_owned(), format!("r{number}"));
        Deed::Rollout(RolloutDeed { act, rollout, ..rollout_deed(Act::Stop(0)) })
    };
    for number in 0..1_005 {
        let act = if (500..510).contains(&number) { "archive" } else { "rollback" };
        run.pending.add(draft(named(number, act))).expect("taken");
        if number % 500 == 0 {
            assert!(run.write());
        }
    }
    assert!(run.write());
    let rollouts = look(&files).folded.rollouts;
    let kept: Vec<&str> = rollouts.iter().map(|record| &*deed_of(record).rollout).collect();
    assert_eq!((kept.len(), kept[0], kept[500], kept[999]), (1_000, "r0", "r505", "r1004"));
    let saved = SavedState::parse(&files.content("snapshot.json").expect("a saved state")).expect("whole");
    assert_eq!(
        saved.rollouts,
        rollouts.iter().map(|record| Record { prev: String::new(), ..record.clone() }).collect::<Vec<_>>()
    );
}

#[test]
fn long_states_have_a_bound_together_and_the_journal_goes_on() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    for number in 0..200 {
        let state = json!({ "stage": "s", "warned": "9".repeat(60_000) });
        let deed = RolloutDeed { rollout: format!("r{number}"), state, ..rollout_deed(Act::Stop(0)) };
        run.pending.add(draft(Deed::Rollout(deed))).expect("taken");
    }
    assert!(run.write());
    assert_eq!((run.happened.failures.get(), run.happened.durable.get()), (0, 200));
    let rollouts = look(&files).folded.rollouts;
    assert!((130..140).contains(&rollouts.len()), "8 MiB of them: {}", rollouts.len());
    assert_eq!(deed_of(rollouts.last().expect("rollouts")).rollout, "r199");
    run.play(&[Act::Kill(1)]);
    assert!(verify(&files).expect("readable").is_intact());
}
