//! Tests of the journal as a whole.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{
    Actor, Deed, DiskFiles, Draft, HeldJournal, JournalFiles, JournalProgress, JournalWriter, ScopeFields,
    WriterLimits, open, peek, records_after, verify,
};
use crate::clock::Clock;
use crate::route::KillScope;

/// How long a test waits for the writer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A draft at a fixed time.
fn draft(what: Deed) -> Draft {
    Draft {
        at: "2026-11-29T12:00:00.000Z".to_owned(),
        who: Actor::process(),
        what,
        reason: Some("a test".to_owned()),
        key: None,
        config: "c".to_owned(),
        generation: 1,
    }
}

fn kill(route: &str) -> Draft {
    draft(Deed::Kill { scope: ScopeFields::from(&KillScope::Route(route.to_owned())), close_streams_ms: None })
}

fn revive(route: &str) -> Draft {
    draft(Deed::Revive { scope: ScopeFields::from(&KillScope::Route(route.to_owned())) })
}

fn start(held: HeldJournal) -> (JournalWriter, Receiver<JournalProgress>) {
    let (sender, progress) = channel();
    let report = move |news| drop(sender.send(news));
    (JournalWriter::start(held, WriterLimits::default(), Clock, report).expect("a thread"), progress)
}

#[test]
fn what_is_durable_is_there_after_a_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let files: Arc<dyn JournalFiles> = Arc::new(DiskFiles::new(&state));
    let held = open(Arc::clone(&files), Duration::ZERO, "here");
    assert!(held.opened.is_fresh && held.opened.failure.is_none(), "{:?}", held.opened);
    let (mut writer, progress) = start(held);
    for (at, draft) in [kill("a"), kill("b"), revive("a")].into_iter().enumerate() {
        let record = writer.append(draft).expect("it is taken");
        assert_eq!(record.seq, at as u64 + 1);
    }
    while progress.recv_timeout(PATIENCE).expect("progress") != JournalProgress::Durable(3) {}
    assert!(writer.stop(PATIENCE));
    let opened = peek(&*files, Duration::ZERO, "here");
    assert_eq!(opened.folded.damage, None);
    assert_eq!(opened.folded.kills.iter().map(|kill| kill.seq).collect::<Vec<_>>(), [2]);
    assert_eq!(records_after(&*files, 1, 10).expect("readable").records.len(), 2);
    let verified = verify(&*files).expect("readable");
    assert!(verified.is_intact() && verified.records == 3, "{verified:?}");
}
