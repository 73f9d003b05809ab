//! Damaged, cut, missing, newer and foreign files. The law: with the saved state beside it, no kill, no latch and no state of
//! a rollout is lost, and none of these states serves more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::super::memory_files::{Loss, MemoryFiles};
use super::super::{DamageKind, JournalFiles, Problem, SavedState, fold, records_after, verify, verify_bytes};
use super::crash::acts;
use super::{
    Act, Run, SCRIPT, Stopped, WriterLimits, draft, in_force, killed, latched, look, numbered, replay, small, written,
};
use crate::journal::{Deed, Folded, Record, RolloutDeed};

const CURRENT: &str = "journal.jsonl";
const SAVED: &str = "snapshot.json";

/// How many acts of the script come before those about rollouts.
const WITHOUT_ROLLOUTS: usize = 19;

/// What another program does to the files.
type Change = fn(&MemoryFiles);

fn stops(folded: &Folded) -> BTreeSet<Stopped> {
    in_force(folded).into_keys().collect()
}

fn text(files: &MemoryFiles) -> Vec<u8> {
    files.content(CURRENT).expect("a journal")
}

fn saved(files: &MemoryFiles) -> Option<SavedState> {
    files.content(SAVED).map(|bytes| SavedState::parse(&bytes).expect("a saved state"))
}

/// Where the line with this byte begins and ends.
fn line_at(text: &[u8], at: usize) -> (usize, usize) {
    let begin = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    (begin, text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| at + end + 1))
}

/// Whether nothing that is out of service is lost, and no rollout serves more. What is missing otherwise.
fn loss(intact: &Folded, folded: &Folded) -> Option<String> {
    let (before, after) = (stops(intact), stops(folded));
    let missing: Vec<_> = before.difference(&after).collect();
    let deeds = |folded: &Folded| -> BTreeMap<String, RolloutDeed> {
        let deed = |record: &Record| {
            let Deed::Rollout(deed) = record.what.clone() else { panic!("{record:?}") };
            (deed.rollout.clone(), deed)
        };
        folded.rollouts.iter().map(deed).collect()
    };
    let found = deeds(folded);
    let is_stopped = |deed: &RolloutDeed| deed.state["phase"]["is"] == "rolled_back";
    let is_more = |before: &RolloutDeed| {
        let after = &found[&before.rollout];
        after.to > before.to || (is_stopped(before) && !is_stopped(after))
    };
    if !missing.is_empty() {
        return Some(format!("{missing:?} lost; {:?}", folded.damage));
    }
    let more: Vec<RolloutDeed> = deeds(intact).into_values().filter(is_more).collect();
    (!more.is_empty()).then(|| format!("more than {more:?}: {found:?}"))
}

/// Folds a changed journal with its saved state and without.
fn survives(changed: &[u8], saved: Option<SavedState>, intact: &Folded, context: &str) {
    let folded = fold(changed, saved, Duration::ZERO);
    assert_eq!(loss(intact, &folded), None, "{context}");
}

#[test]
fn no_flipped_bit_loses_a_kill() {
    for end in [3, 6, 11, SCRIPT.len()] {
        let files = written(&SCRIPT[..end]);
        let (text, saved) = (text(&files), saved(&files));
        let intact = look(&files).folded;
        assert_eq!(stops(&intact), replay(numbered(&SCRIPT[..end])).into_keys().collect());
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1 << (at % 8);
            survives(&changed, saved.clone(), &intact, &format!("{end} records, byte {at}"));
        }
    }
}

#[test]
fn no_cut_loses_a_kill() {
    let files = written(SCRIPT);
    let (text, saved) = (text(&files), saved(&files));
    let intact = look(&files).folded;
    for end in 0..text.len() {
        survives(&text[..end], saved.clone(), &intact, &format!("cut to {end} bytes"));
    }
}

/// Without a saved state: what is lost is at most what the damaged lines say themselves.
#[test]
fn without_a_saved_state_only_the_damaged_lines_are_lost() {
    // Without rollouts: behind damage a raise is not done, so that nothing is known of one whose record before was lost.
    let files = written(&SCRIPT[..WITHOUT_ROLLOUTS]);
    let text = text(&files);
    let intact = look(&files).folded;
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1 << (at % 8);
        let (begin, end) = line_at(&text, at);
        // A changed line feed joins two lines.
        let end = if text[at] == b'\n' && end < text.len() { line_at(&text, end).1 } else { end };
        let said: Vec<u64> = in_force(&fold(&text[..end], None, Duration::ZERO)).into_values().collect();
        let before = fold(&text[..begin], None, Duration::ZERO).last_seq;
        let lost = |seq: u64| said.contains(&seq) && seq > before;
        let found = stops(&fold(&changed, None, Duration::ZERO));
        for (stop, _) in in_force(&intact).into_iter().filter(|(_, seq)| !lost(*seq)) {
            assert!(found.contains(&stop), "byte {at}: {stop:?}");
        }
    }
}

#[test]
fn verification_finds_every_changed_byte() {
    let files = written(SCRIPT);
    let text = text(&files);
    assert!(verify(&files).expect("readable").is_intact());
    let last = line_at(&text, text.len() - 1).0;
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 0x15;
        let report = verify_bytes(&changed);
        if at < last {
            assert!(!report.is_intact(), "byte {at}");
        } else {
            // The last line is covered by the saved state, unless its line feed alone is gone.
            files.set(CURRENT, &changed);
            let report = verify(&files).expect("readable");
            assert!(!report.is_intact(), "byte {at} of the last line");
        }
    }
}

#[test]
fn behind_damage_kills_and_rollbacks_apply_and_revives_and_resumes_do_not() {
    let files = written(&[
        Act::Kill(1),
        Act::Rollback(1),
        Act::Reload,
        Act::Revive(1),
        Act::Resume(1),
        Act::Kill(2),
        Act::Rollback(2),
    ]);
    let mut changed = text(&files);
    let rollback = line_at(&changed, 0).1;
    let reload = line_at(&changed, rollback).1;
    changed[reload] = b'#';
    for saved in [None, saved(&files)] {
        let folded = fold(&changed, saved, Duration::ZERO);
        let damage = folded.damage.clone().expect("the third line is no record");
        assert!(matches!(damage.kind, DamageKind::NotARecord(_)) && damage.line == 3, "{damage}");
        assert_eq!(stops(&folded), [killed(1), killed(2), latched(1), latched(2)].into());
        assert_eq!(folded.last_seq, 7);
    }
}

#[test]
fn a_problem_names_its_place() {
    let files = written(SCRIPT);
    let mut changed = text(&files);
    let second = line_at(&changed, 0).1;
    changed[second + 1] = b'#';
    files.set(CURRENT, &changed);
    let report = verify(&files).expect("readable");
    let problem = &report.problems[0];
    assert_eq!((problem.damage.file.as_str(), problem.damage.line), (CURRENT, 2));
    assert_eq!((problem.from_byte, problem.to_byte), (second as u64, line_at(&changed, second).1 as u64));
    assert!(problem.begins.starts_with("{#v\":1") && problem.ends.ends_with('}'), "{problem:?}");
    assert!(problem.damage.to_string().starts_with("journal.jsonl:2: the line is no record: "), "{problem:?}");
}

#[test]
fn writing_goes_on_after_damage_in_a_new_file() {
    let files = written(SCRIPT);
    let intact = in_force(&look(&files).folded);
    for _ in 0..3 {
        let mut changed = text(&files);
        changed[5] = b'0';
        files.set(CURRENT, &changed);
        let mut run = Run::begin(&files, WriterLimits::default());
        assert!(run.opened.folded.damage.is_some() && run.opened.failure.is_none());
        run.play(&[]);
        let opened = look(&files);
        assert_eq!(opened.folded.damage, None);
        for scope in intact.keys() {
            assert!(in_force(&opened.folded).contains_key(scope), "{scope:?} stays out of service");
        }
        assert_eq!(opened.folded.last_seq, SCRIPT.len() as u64, "no number is given twice");
        let report = verify(&files).expect("readable");
        let is_aside = |problem: &&Problem| problem.damage.file.contains(".damaged");
        assert_eq!(report.problems.iter().filter(is_aside).count(), report.problems.len(), "{report:?}");
        assert!(!report.is_intact() && !report.notes.is_empty() && report.problems[0].damage.line == 1, "{report:?}");
    }
    // What was set aside is read too, by rising numbers.
    let page = records_after(&files, 0, 100).expect("readable");
    let seqs: Vec<u64> = page.records.iter().map(|record| record.seq).collect();
    assert!(seqs.is_sorted() && seqs.len() + 1 >= SCRIPT.len() && page.set_aside > 0, "{seqs:?}");
    let rest = records_after(&files, seqs[2], 2).expect("readable");
    assert_eq!(rest.records.iter().map(|record| record.seq).collect::<Vec<_>>(), seqs[3..5]);
    let names = files.list().expect("a list");
    let aside: Vec<_> = names.iter().filter(|name| name.contains("damaged")).collect();
    assert_eq!(aside.len(), 3, "damaged files are kept: {names:?}");
    let mut run = Run::begin(&files, WriterLimits::default());
    assert_eq!(run.play(&[Act::Kill(4)]), [(SCRIPT.len() as u64 + 1, Act::Kill(4))]);
}

#[test]
fn damage_and_crashes_together_lose_no_kill() {
    let with_saved = || {
        let files = written(SCRIPT);
        let mut changed = text(&files);
        changed[5] = b'0';
        files.set(CURRENT, &changed);
        files
    };
    let without_saved = || {
        let files = with_saved();
        files.take(SAVED);
        files
    };
    let cases: [&dyn Fn() -> MemoryFiles; 2] = [&with_saved, &without_saved];
    for damaged in cases {
        let files = damaged();
        let readable = stops(&look(&files).folded);
        assert!(readable.len() >= 2, "{readable:?}");
        let before = files.steps();
        Run::begin(&files, small()).play(&[Act::Kill(4)]);
        let steps = files.steps() - before;
        for crash in 0..steps {
            let files = damaged();
            files.crash_at(files.steps() + crash);
            Run::begin(&files, small()).play(&[Act::Kill(4)]);
            files.restart(Loss::All);
            assert!(stops(&look(&files).folded).is_superset(&readable), "a crash at step {crash}");
            Run::begin(&files, small()).play(&[]);
            let opened = look(&files);
            assert_eq!(opened.folded.damage, None, "a crash at step {crash}");
            assert!(stops(&opened.folded).is_superset(&readable), "a crash at step {crash}");
        }
    }
}

#[test]
fn a_journal_that_is_removed_or_emptied_leaves_the_saved_kills() {
    let files = written(SCRIPT);
    let intact = in_force(&look(&files).folded);
    let removed: Change = |files| files.take(CURRENT);
    let emptied: Change = |files| files.set(CURRENT, b"");
    let cut: Change = |files| files.set(CURRENT, &text(files)[..line_at(&text(files), 0).1]);
    let cases: [(Change, DamageKind); 3] = [
        (removed, DamageKind::Missing),
        (emptied, DamageKind::Missing),
        (cut, DamageKind::EndsBefore { saved: SCRIPT.len() as u64, last: 1 }),
    ];
    for (change, expected) in cases {
        let files = written(SCRIPT);
        change(&files);
        let mut run = Run::begin(&files, small());
        assert_eq!(run.opened.folded.damage.as_ref().map(|damage| &damage.kind), Some(&expected));
        assert!(!run.opened.is_fresh);
        assert_eq!(in_force(&run.opened.folded), intact);
        assert_eq!(run.play(&[Act::Reload]), [(SCRIPT.len() as u64 + 1, Act::Reload)], "numbers go on");
        assert_eq!(look(&files).folded.damage, None);
    }
    // While the process runs.
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    run.play(&[Act::Kill(1)]);
    files.take(CURRENT);
    run.play(&[Act::Kill(2)]);
    files.set(CURRENT, b"");
    run.play(&[Act::Kill(3)]);
    assert_eq!(run.happened.failures.get(), 0);
    let opened = look(&files);
    assert_eq!((opened.folded.damage, opened.folded.kills.len()), (None, 3));
}

#[test]
fn a_newer_journal_counts_as_far_as_it_is_read_and_is_not_written() {
    let files = written(&SCRIPT[..3]);
    let intact = in_force(&look(&files).folded);
    let mut changed = text(&files);
    changed.extend_from_slice(b"{\"v\":5,\"seq\":4,\"what\":\"rollback\",\"prev\":\"x\"}\n");
    files.set(CURRENT, &changed);
    let mut run = Run::begin(&files, small());
    let failure = run.opened.failure.clone().expect("it is not written");
    assert!(failure.contains("version 5") && failure.contains("run that version"), "{failure}");
    assert_eq!(in_force(&run.opened.folded), intact);
    assert!(run.pending.add(draft(super::deed(Act::Kill(3)))).is_ok(), "a kill is always taken");
    let report = |progress| run.happened.note(&progress);
    assert!(run.writing.step(&report).is_err());
    assert_eq!(text(&files), changed);
}

#[test]
fn a_journal_from_another_machine_is_noted() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, small());
    let start = |host: &str| Deed::Start { version: "1".to_owned(), host: host.to_owned(), pid: 1 };
    run.pending.add(draft(start("there"))).expect("taken");
    assert!(run.write());
    let opened = look(&files);
    assert_eq!(opened.folded.damage, None);
    assert!(opened.folded.notes[0].contains("machine there, this one is here"), "{:?}", opened.folded.notes);
    run.pending.add(draft(start("here"))).expect("taken");
    assert!(run.write());
    assert!(look(&files).folded.notes.is_empty());
}

#[test]
fn a_torn_last_line_is_a_note() {
    let files = written(SCRIPT);
    let intact = in_force(&look(&files).folded);
    let mut torn = text(&files);
    torn.extend_from_slice(b"{\"v\":1,\"seq\":14");
    files.set(CURRENT, &torn);
    let opened = look(&files);
    assert_eq!((opened.folded.damage.clone(), in_force(&opened.folded)), (None, intact));
    assert!(opened.folded.notes[0].starts_with("line 29 is not complete (15 bytes)"), "{:?}", opened.folded.notes);
    Run::begin(&files, small()).play(&[Act::Reload]);
    assert!(verify(&files).expect("readable").is_intact(), "it is cut off");
}

#[test]
fn a_damaged_saved_state_changes_nothing() {
    let files = written(SCRIPT);
    let intact = look(&files).folded;
    let bytes = files.content(SAVED).expect("a saved state");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        files.set(SAVED, &changed);
        let opened = look(&files);
        assert_eq!((&opened.folded.damage, in_force(&opened.folded)), (&None, in_force(&intact)), "byte {at}");
        assert_eq!(opened.folded.notes.len(), 1, "byte {at}");
    }
    files.set(SAVED, &bytes[..bytes.len() - 1]);
    files.take(CURRENT);
    let opened = look(&files);
    assert_eq!(opened.folded.damage.map(|damage| damage.kind), Some(DamageKind::Missing));
}

#[test]
fn a_file_that_is_missing_between_two_is_found() {
    let files = MemoryFiles::default();
    let script: Vec<Act> = (0..30).map(|number| Act::Kill(number % 5)).collect();
    let limits = WriterLimits { files_max: 20, ..small() };
    Run::begin(&files, limits).play(&script);
    assert!(verify(&files).expect("readable").is_intact());
    let names = files.list().expect("a list");
    let between = names.iter().filter(|name| name.starts_with("journal-")).nth(2).expect("many files");
    files.take(between);
    let report = verify(&files).expect("readable");
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!(report.problems[0].damage.kind, DamageKind::BrokenChain);
}

proptest! {
    #[test]
    fn no_changed_byte_loses_a_kill(
        script in proptest::collection::vec(acts(), 1..20), at in any::<usize>(), byte in any::<u8>(),
    ) {
        let files = written(&script);
        let intact = look(&files).folded;
        let mut changed = text(&files);
        let at = at % changed.len();
        changed[at] = byte;
        let folded = fold(&changed, saved(&files), Duration::ZERO);
        prop_assert_eq!(loss(&intact, &folded), None, "byte {}", at);
    }
}
