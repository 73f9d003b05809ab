//! WatchTask: notices that a file changed, whatever way it changed, and asks for a reload.
//!
//! The *directories* of every hop of every [`WatchedPaths`] are watched, since a watch on a file does not survive its
//! replacement. What is noticed is let settle for 100 ms (a file that is still being written: until its writer has
//! closed it or paused for a second). Changes that go on are not waited for longer than half a second, a file that stays
//! open not longer than two. Every two seconds a fingerprint at everything catches what was not noticed: network
//! file systems, bind mounts, directories that were replaced, a system without inotify watches to spare.
//! Whether anything changed in content is decided by the reload, not here.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};

use super::watched_paths::{Fingerprint, WatchedPaths};
use crate::clock::Clock;
use crate::control::event::{Event, FilesEvent};
use crate::control::outcome::ReloadCause;

/// Changes are let settle for so long.
const SETTLE: Duration = Duration::from_millis(100);
/// A file that was not closed yet is waited for so long after its last change.
const SETTLE_OPEN: Duration = Duration::from_secs(1);
/// Changes that go on are waited for no longer than this since the first of them: something may change all the time.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// The same while a file is open, which would be read half written.
const SETTLE_OPEN_MAX: Duration = Duration::from_secs(2);
/// File systems note times in ticks of a few milliseconds.
const TICK: Duration = Duration::from_millis(20);
/// Notices that may wait; more of them say nothing new.
const NOTICES_MAX: usize = 256;

/// Says what to watch.
pub struct Watcher {
    follow: watch::Sender<WatchRequest>,
}

/// What to watch.
#[derive(Clone, Debug, Default)]
struct WatchRequest {
    paths: Vec<PathBuf>,
    /// When these paths began to be read, by the wall clock.
    read_at: Duration,
}

impl Watcher {
    /// Begins to watch, with a fingerprint every `poll` besides; events go to `events` until nobody receives them. Without `poll`
    /// nothing is watched.
    #[must_use]
    pub fn start(poll: Option<Duration>, clock: Clock, events: mpsc::Sender<Event>) -> Self {
        let (follow, request) = watch::channel(WatchRequest::default());
        let Some(poll) = poll else { return Self { follow } };
        let (notices_in, notices) = mpsc::channel(NOTICES_MAX);
        let watches = SystemWatches::new(notices_in);
        tokio::spawn(
            WatchTask { watches, request, seen: None, reported: None, requested: None, pending: None, clock, events }
                .run(notices, poll),
        );
        Self { follow }
    }

    /// Watches these paths, which were read from `read_at` on, and no others.
    pub fn follow(&self, paths: &[PathBuf], read_at: Duration) {
        self.follow.send_replace(WatchRequest { paths: paths.to_vec(), read_at });
    }

    /// Watches these paths besides: a file that was refused must be watched like those that are in use.
    pub fn also(&self, paths: &[PathBuf], read_at: Duration) {
        self.follow.send_modify(|request| {
            let new: Vec<PathBuf> = paths.iter().filter(|path| !request.paths.contains(path)).cloned().collect();
            request.paths.extend(new);
            request.read_at = read_at;
        });
    }
}

/// Something that the system reported.
struct Notice {
    paths: Vec<PathBuf>,
    kind: NoticeKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NoticeKind {
    /// Written to, perhaps not for the last time.
    Written,
    /// Changed, and whole.
    Changed,
    /// Something else, or nothing, has its name now.
    Moved,
    /// Some notices were lost.
    Lost,
}

impl Notice {
    fn of(event: notify::Result<notify::Event>) -> Option<Self> {
        let Ok(event) = event else { return Some(Self { paths: Vec::new(), kind: NoticeKind::Lost }) };
        let kind = match event.kind {
            _ if event.need_rescan() => NoticeKind::Lost,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => NoticeKind::Written,
            // Our own reading.
            EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write) => return None,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => NoticeKind::Moved,
            EventKind::Access(_)
            | EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Other)
            | EventKind::Other => NoticeKind::Changed,
        };
        Some(Self { paths: event.paths, kind })
    }
}

/// The system's watches.
struct SystemWatches {
    watcher: Option<RecommendedWatcher>,
    /// What is watched, with device and inode: a directory that was replaced must be watched anew.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    warned: bool,
}

impl SystemWatches {
    fn new(notices: mpsc::Sender<Notice>) -> Self {
        let tell = move |event| {
            if let Some(notice) = Notice::of(event) {
                // When there is no room, others wait that have the same effect.
                let _ = notices.try_send(notice);
            }
        };
        let watcher = notify::recommended_watcher(tell);
        let mut watches = Self { watcher: None, watched: BTreeMap::new(), warned: false };
        match watcher {
            Ok(watcher) => watches.watcher = Some(watcher),
            Err(error) => watches.warn(&error),
        }
        watches
    }

    /// Watches the directories of these watched and no others.
    fn watch(&mut self, watched: &WatchedPaths) {
        let Some(mut watcher) = self.watcher.take() else { return };
        let wanted = watched.directories_to_watch();
        self.watched.retain(|directory, known| {
            let keep = wanted.contains(directory) && identity(directory) == Some(*known);
            if !keep {
                // A directory that is gone has lost its watch already.
                let _ = watcher.unwatch(directory);
            }
            keep
        });
        for directory in wanted {
            let Some(identity) = identity(&directory) else { continue };
            if self.watched.contains_key(&directory) {
                continue;
            }
            if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
                self.warn(&error);
            } else {
                self.watched.insert(directory, identity);
            }
        }
        self.watcher = Some(watcher);
    }

    /// A directory that was removed or renamed has lost its watch, or should: the next one of its name may even have
    /// its inode.
    fn forget(&mut self, directory: &Path) {
        if self.watched.remove(directory).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // It has perhaps gone by itself.
            let _ = watcher.unwatch(directory);
        }
    }

    fn warn(&mut self, error: &notify::Error) {
        if !self.warned {
            tracing::warn!(%error, "files cannot be watched (fs.inotify.max_user_watches or max_user_instances?): they are polled");
            self.warned = true;
        }
    }
}

fn identity(directory: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Changes that have not settled yet.
#[derive(Clone, Copy, Debug)]
struct PendingChange {
    first: Instant,
    last: Instant,
    open: bool,
}

impl PendingChange {
    fn due(self) -> Instant {
        let (quiet, longest) = if self.open { (SETTLE_OPEN, SETTLE_OPEN_MAX) } else { (SETTLE, SETTLE_MAX) };
        (self.last + quiet).min(self.first + longest)
    }
}

struct WatchTask {
    watches: SystemWatches,
    request: watch::Receiver<WatchRequest>,
    seen: Option<Fingerprint>,
    /// The hash that a reload was requested for because it is younger than the last reading.
    reported: Option<u64>,
    /// What was seen when a reload was last requested for: the hash and the last change. Nothing if that change was so
    /// young that another one could fingerprint the same.
    requested: Option<(u64, Duration)>,
    pending: Option<PendingChange>,
    clock: Clock,
    events: mpsc::Sender<Event>,
}

impl WatchTask {
    async fn run(mut self, mut notices: mpsc::Receiver<Notice>, poll: Duration) {
        let mut ticks = tokio::time::interval(poll.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.pending.map(PendingChange::due);
            tokio::select! {
                changed = self.request.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow().await;
                }
                // The watches holds the sender.
                Some(notice) = notices.recv() => self.notice(&notice),
                _ = ticks.tick() => self.poll().await,
                () = sleep_until(due), if due.is_some() => {
                    self.pending = None;
                    let reload = Event::Files(FilesEvent::Reload(ReloadCause::Watch, None));
                    if self.changed().await && self.events.send(reload).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// What to watch may have changed, and so may the files since they were read.
    async fn follow(&mut self) {
        let request = self.request.borrow_and_update().clone();
        let Some(mut fingerprint) = fingerprint(request.paths.clone()).await else { return };
        self.watches.watch(&fingerprint.watched);
        // What changed before the watches stood is seen by a second fingerprint.
        if let Some(again) = self::fingerprint(request.paths).await {
            fingerprint = again;
        }
        let younger = fingerprint.changed_at + TICK >= request.read_at;
        if younger && self.reported != Some(fingerprint.hash) {
            self.reported = Some(fingerprint.hash);
            self.note_change(NoticeKind::Changed);
        }
        self.seen = Some(fingerprint);
    }

    async fn poll(&mut self) {
        let paths = self.request.borrow().paths.clone();
        if paths.is_empty() {
            return;
        }
        let Some(fingerprint) = fingerprint(paths).await else { return };
        self.watches.watch(&fingerprint.watched);
        let differs = self.seen.as_ref().is_some_and(|seen| seen.hash != fingerprint.hash);
        self.seen = Some(fingerprint);
        if differs {
            self.note_change(NoticeKind::Changed);
        }
    }

    /// Whether anything has changed since a reload was last requested for. One change is often noticed twice: by the system's
    /// notice, and by a fingerprint while the file is being read, which takes a second where it is large. What changes after this
    /// fingerprint differs from what it has seen, and is requested for in its turn.
    async fn changed(&mut self) -> bool {
        let paths = self.request.borrow().paths.clone();
        let now = self.clock.wall();
        let Some(fingerprint) = fingerprint(paths).await else { return true };
        self.watches.watch(&fingerprint.watched);
        let seen = (fingerprint.hash, fingerprint.changed_at);
        let changed = self.requested != Some(seen);
        self.requested = (fingerprint.changed_at + TICK < now).then_some(seen);
        self.seen = Some(fingerprint);
        changed
    }

    fn notice(&mut self, notice: &Notice) {
        if notice.kind == NoticeKind::Moved {
            notice.paths.iter().for_each(|path| self.watches.forget(path));
        }
        let matters = |path: &PathBuf| self.seen.as_ref().is_none_or(|seen| seen.watched.contains(path));
        if notice.kind == NoticeKind::Lost || notice.paths.iter().any(matters) {
            self.note_change(notice.kind);
        }
    }

    fn note_change(&mut self, kind: NoticeKind) {
        let now = self.clock.now();
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(PendingChange { first, last: now, open: kind == NoticeKind::Written });
    }
}

async fn fingerprint(paths: Vec<PathBuf>) -> Option<Fingerprint> {
    tokio::task::spawn_blocking(move || Fingerprint::read(&paths)).await.ok()
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_go_on_are_not_waited_for_without_end() {
        let first = Clock.now();
        let due = |last_ms: u64, open| {
            let pending = PendingChange { first, last: first + Duration::from_millis(last_ms), open };
            pending.due().duration_since(first)
        };
        assert_eq!(due(0, false), SETTLE);
        assert_eq!(due(50, false), Duration::from_millis(150));
        // Written every 50 ms: each write opens the file, and closes it.
        assert_eq!(due(450, false), SETTLE_MAX);
        assert_eq!(due(800, false), SETTLE_MAX, "it is over when the file is closed next");
        assert_eq!(due(450, true), Duration::from_millis(1450));
        assert_eq!(due(1900, true), SETTLE_OPEN_MAX);
    }

    /// A watched file, and the requests to reload.
    struct Watched {
        dir: tempfile::TempDir,
        watcher: Watcher,
        events: mpsc::Receiver<Event>,
    }

    /// Longer than changes are let settle.
    const QUIET: Duration = Duration::from_millis(800);

    impl Watched {
        /// A file that was read, and is looked at so often.
        async fn start(poll: Duration) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (sender, events) = mpsc::channel(16);
            let mut watched = Self { dir, watcher: Watcher::start(Some(poll), Clock, sender), events };
            watched.put("first");
            watched.is_read();
            while watched.asks_within(QUIET).await {
                watched.is_read();
            }
            watched
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("routes.toml")
        }

        /// Puts a file of this content in the place of the watched one.
        fn put(&self, content: &str) {
            let new = self.dir.path().join("new");
            std::fs::write(&new, content).unwrap();
            std::fs::rename(new, self.file()).unwrap();
        }

        /// A reading begins and ends.
        fn is_read(&self) {
            self.watcher.follow(&[self.file()], Clock.wall());
        }

        async fn asks_within(&mut self, time: Duration) -> bool {
            matches!(
                tokio::time::timeout(time, self.events.recv()).await,
                Ok(Some(Event::Files(FilesEvent::Reload(ReloadCause::Watch, None))))
            )
        }

        async fn asks(&mut self) -> bool {
            self.asks_within(Duration::from_mins(1)).await
        }
    }

    #[tokio::test]
    async fn a_file_whose_reading_takes_long_is_read_once() {
        // Between the request to reload and the next fingerprint stands a reading, more often than not.
        let mut watched = Watched::start(Duration::from_millis(300)).await;
        for content in ["second", "third", "fourth"] {
            watched.put(content);
            assert!(watched.asks().await);
            let began = Clock.wall();
            assert!(!watched.asks_within(QUIET).await, "it is looked at while it is read");
            watched.watcher.follow(&[watched.file()], began);
            assert!(!watched.asks_within(QUIET).await, "and when it was read");
        }
    }

    #[tokio::test]
    async fn a_change_while_a_file_is_read_is_not_lost() {
        for poll in [Duration::from_millis(300), Duration::from_hours(1)] {
            let mut watched = Watched::start(poll).await;
            watched.put("second");
            assert!(watched.asks().await);
            let began = Clock.wall();
            watched.put("third");
            assert!(watched.asks().await, "while the second is read");
            watched.put("second");
            watched.watcher.follow(&[watched.file()], began);
            assert!(watched.asks().await, "when it was read");
            assert!(!watched.asks_within(QUIET).await);
        }
    }
}
