//! The writer's thread, the lock and a real disk.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::memory_files::MemoryFiles;
use super::super::{
    DiskFiles, HeldJournal, JournalFiles, JournalProgress, JournalWriter, LockError, StateLock, WriterLimits, open,
    peek, records_after, verify,
};
use super::{Act, Run, SCRIPT, deed, draft, in_force, killed, look, numbered, replay, small};
use crate::clock::Clock;

/// How long a test waits for the writer.
const PATIENCE: Duration = Duration::from_mins(1);

fn start(held: HeldJournal, limits: WriterLimits) -> (JournalWriter, Receiver<JournalProgress>) {
    let (sender, progress) = channel();
    let report = move |news| drop(sender.send(news));
    (JournalWriter::start(held, limits, Clock, report).expect("a thread"), progress)
}

fn next(progress: &Receiver<JournalProgress>) -> JournalProgress {
    progress.recv_timeout(PATIENCE).expect("progress")
}

#[test]
fn what_is_durable_is_there_after_a_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("a/state");
    let files: Arc<dyn JournalFiles> = Arc::new(DiskFiles::new(&state));
    let held = open(Arc::clone(&files), Duration::ZERO, "here");
    assert!(held.opened.is_fresh && held.opened.failure.is_none(), "{:?}", held.opened);
    let limits = WriterLimits { file_bytes_max: 1_000, ..WriterLimits::default() };
    let (mut writer, progress) = start(held, limits);
    for (seq, act) in numbered(SCRIPT) {
        assert_eq!(writer.append(draft(deed(act))).expect("it is taken").seq, seq);
        while next(&progress) != JournalProgress::Durable(seq) {}
    }
    assert!(writer.stop(PATIENCE));
    let opened = peek(&*files, Duration::ZERO, "here");
    assert_eq!(opened.folded.damage, None);
    assert_eq!(in_force(&opened.folded), replay(numbered(SCRIPT)));
    let report = verify(&*files).expect("readable");
    assert!(report.is_intact() && report.files.len() > 2, "{report:?}");
    let all = records_after(&*files, 0, 100).expect("readable");
    assert_eq!(
        all.records.iter().map(|record| record.seq).collect::<Vec<_>>(),
        (1..=SCRIPT.len() as u64).collect::<Vec<_>>()
    );
    let page = records_after(&*files, 4, 3).expect("readable");
    assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(page.has_more && page.unreadable == 0);
    let mode = |name: &str| state.join(name).metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("journal.jsonl"), mode("snapshot.json")), (0o700, 0o600, 0o600));
}

#[test]
fn a_disk_that_refuses_is_reported_and_tried_again() {
    let files = MemoryFiles::default();
    let held = open(Arc::new(files.clone()), Duration::ZERO, "here");
    let limits = WriterLimits { pause_min: Duration::from_millis(1), ..WriterLimits::default() };
    files.refuse(files.steps()..u64::MAX, std::io::ErrorKind::StorageFull);
    let (mut writer, progress) = start(held, limits);
    writer.append(draft(deed(Act::Kill(1)))).expect("a kill is always taken");
    let JournalProgress::Failed { why } = next(&progress) else { panic!("the disk is full") };
    assert!(why.contains("make room on its disk"), "{why}");
    assert_eq!(writer.failure(), Some(why));
    assert!(writer.append(draft(deed(Act::Revive(1)))).is_err(), "nothing is raised");
    files.refuse(0..0, std::io::ErrorKind::StorageFull);
    assert_eq!(next(&progress), JournalProgress::Durable(1));
    assert_eq!(next(&progress), JournalProgress::Recovered);
    assert!(writer.append(draft(deed(Act::Revive(1)))).is_ok());
    assert_eq!(next(&progress), JournalProgress::Durable(2));
    assert!(writer.stop(PATIENCE));
    assert!(look(&files).folded.kills.is_empty());
}

#[test]
fn a_long_checkpoint_is_not_written_for_each_record() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits { files_max: 1_000, ..small() });
    for number in 0..100 {
        run.play(&[Act::Kill(number)]);
    }
    let begun = || files.list().expect("a folder").len();
    let before = begun();
    for _ in 0..20 {
        run.play(&[Act::Reload]);
    }
    assert!(begun() <= before + 1, "a checkpoint has 100 kills, a record is short: {:?}", files.list());
    assert_eq!(in_force(&look(&files).folded).len(), 84);
}

#[test]
fn a_journal_that_appears_after_the_folder_was_read_is_kept() {
    let files = MemoryFiles::default();
    let mut run = Run::begin(&files, WriterLimits::default());
    files.replace("journal.jsonl", b"of another program\n").expect("written");
    run.play(&[Act::Kill(1)]);
    let mut text = String::new();
    let kept = files.list().expect("a folder").into_iter().find(|name| name.contains("damaged")).expect("it is kept");
    files.read(&kept).expect("there").read_to_string(&mut text).expect("text");
    assert_eq!(text, "of another program\n");
    assert_eq!(in_force(&look(&files).folded), [(killed(1), 1)].into());
}

#[test]
fn a_stop_ends_although_the_disk_refuses() {
    let files = MemoryFiles::default();
    let held = open(Arc::new(files.clone()), Duration::ZERO, "here");
    files.refuse(files.steps()..u64::MAX, std::io::ErrorKind::StorageFull);
    let (mut writer, progress) = start(held, WriterLimits { pause_min: PATIENCE, ..WriterLimits::default() });
    writer.append(draft(deed(Act::Kill(1)))).expect("a kill is always taken");
    assert!(matches!(next(&progress), JournalProgress::Failed { .. }));
    assert!(!writer.stop(PATIENCE * 10), "it is not on the disk");
}

#[test]
fn a_folder_that_cannot_be_used_is_a_failure_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("state");
    std::fs::write(&file, "not a folder").expect("a file");
    let files: Arc<dyn JournalFiles> = Arc::new(DiskFiles::new(&file));
    let held = open(files, Duration::ZERO, "here");
    let failure = held.opened.failure.clone().expect("it is no folder");
    assert!(failure.contains("not a folder"), "{failure}");
    let (mut writer, progress) = start(held, WriterLimits::default());
    assert!(matches!(next(&progress), JournalProgress::Failed { .. }), "it is reported at once");
    assert!(writer.append(draft(deed(Act::Kill(1)))).is_ok(), "a kill is always taken");
    assert!(writer.append(draft(deed(Act::Revive(1)))).is_err());
    assert!(!writer.stop(PATIENCE));
}

#[test]
fn one_process_holds_a_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let lock = StateLock::take(dir.path()).expect("it is free");
    let held = StateLock::take(dir.path()).expect_err("it is held");
    assert!(matches!(held, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{held}");
    assert!(held.to_string().contains(&format!("process {}", std::process::id())));
    lock.release();
    drop(StateLock::take(dir.path()).expect("it is free again"));
    drop(StateLock::take(dir.path()).expect("it is free again"));
    let missing = StateLock::take(&dir.path().join("missing")).expect_err("there is no folder");
    assert!(matches!(&missing, LockError::Unusable(why) if why.contains("missing/lock")), "{missing}");
}

/// A folder in which the writer begins new files after some looks at the names.
#[derive(Debug)]
struct Rotating {
    before: MemoryFiles,
    after: MemoryFiles,
    looks: AtomicU32,
    old_looks: u32,
}

impl JournalFiles for Rotating {
    fn place(&self) -> String {
        self.after.place()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let looks = self.looks.fetch_add(1, Relaxed);
        if looks < self.old_looks { self.before.list() } else { self.after.list() }
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.after.read(name)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.after.sync(name)
    }

    fn append(&self, name: &str, len: u64, bytes: &[u8]) -> io::Result<()> {
        self.after.append(name, len, bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.after.replace(name, bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.after.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.after.remove(name)
    }
}

#[test]
fn a_reader_misses_no_record_while_a_file_is_begun() {
    let played = |count: usize| {
        let files = MemoryFiles::default();
        Run::begin(&files, WriterLimits { files_max: 9, ..small() }).play(&SCRIPT[..count]);
        files
    };
    for count in 1..SCRIPT.len() {
        let folder =
            |old_looks| Rotating { before: played(count), after: played(SCRIPT.len()), looks: 0.into(), old_looks };
        let page = records_after(&folder(1), 0, 100).expect("readable");
        let found: Vec<u64> = page.records.iter().map(|record| record.seq).collect();
        assert_eq!(found, (1..=SCRIPT.len() as u64).collect::<Vec<_>>(), "from {count} records on");
        // Its first look is for the saved state.
        let report = verify(&folder(2)).expect("readable");
        assert!(report.is_intact() && report.files.len() > 3, "from {count} records on: {report:?}");
    }
}
