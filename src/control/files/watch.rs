//! Watches the files of the configuration and requests a reload when one has changed.
//!
//! The *directories* of all [`WatchedPaths`] entries are watched, because a watch on a file does not survive its
//! replacement. A change settles for 100 ms; a file that is being written, until it is closed or has not been written
//! for a second. Repeated changes are waited for half a second at most, an open file two seconds at most. A poll every
//! two seconds finds changes that were not notified: network file systems, bind mounts, replaced directories, exhausted
//! inotify watches. The reload decides whether the content has changed.

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

/// How long a change settles.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a file that is open settles after its last change.
const SETTLE_OPEN: Duration = Duration::from_secs(1);
/// The longest wait since the first of several changes: something may change all the time.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// The same while a file is open; it would be read half written.
const SETTLE_OPEN_MAX: Duration = Duration::from_secs(2);
/// File system timestamps have a resolution of a few milliseconds.
const TICK: Duration = Duration::from_millis(20);
/// Capacity of the channel; more notices would add no information.
const NOTICES_MAX: usize = 256;

/// Controls the watch task.
pub struct Watcher {
    follow: watch::Sender<WatchRequest>,
}

/// The paths to watch.
#[derive(Clone, Debug, Default)]
struct WatchRequest {
    paths: Vec<PathBuf>,
    /// When the load that read these paths started (wall clock).
    read_at: Duration,
}

impl Watcher {
    /// Starts to watch, and polls every `poll`; runs until `events` is closed. Without `poll` nothing is watched.
    #[must_use]
    pub fn start(poll: Option<Duration>, clock: Clock, events: mpsc::Sender<Event>) -> Self {
        let (follow, request) = watch::channel(WatchRequest::default());
        let Some(poll) = poll else { return Self { follow } };
        let (notices_in, notices) = mpsc::channel(NOTICES_MAX);
        let watches = SystemWatches::new(notices_in);
        tokio::spawn(
            WatchTask { watches, request, seen: None, recent: None, requested: None, pending: None, clock, events }
                .run(notices, poll),
        );
        Self { follow }
    }

    /// Watches exactly these paths, which were read from `read_at` on.
    pub fn follow(&self, paths: &[PathBuf], read_at: Duration) {
        self.follow.send_replace(WatchRequest { paths: paths.to_vec(), read_at });
    }

    /// Adds these paths: the files of a rejected configuration are watched like those in use.
    pub fn add(&self, paths: &[PathBuf], read_at: Duration) {
        self.follow.send_modify(|request| {
            let new: Vec<PathBuf> = paths.iter().filter(|path| !request.paths.contains(path)).cloned().collect();
            request.paths.extend(new);
            request.read_at = read_at;
        });
    }
}

/// A notification of the file system.
struct Notice {
    paths: Vec<PathBuf>,
    kind: NoticeKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NoticeKind {
    /// Written; more writes may follow.
    Written,
    /// Changed and complete.
    Changed,
    /// Removed or renamed.
    Moved,
    /// Some notifications were lost.
    Lost,
}

impl Notice {
    fn of(event: notify::Result<notify::Event>) -> Option<Self> {
        let Ok(event) = event else { return Some(Self { paths: Vec::new(), kind: NoticeKind::Lost }) };
        let kind = match event.kind {
            _ if event.need_rescan() => NoticeKind::Lost,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => NoticeKind::Written,
            // Reads, our own ones included.
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

/// The file system watches.
struct SystemWatches {
    watcher: Option<RecommendedWatcher>,
    /// The watched directories with device and inode: a replaced directory needs a new watch.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    warned: bool,
}

impl SystemWatches {
    fn new(notices: mpsc::Sender<Notice>) -> Self {
        let forward = move |event| {
            if let Some(notice) = Notice::of(event) {
                // When the channel is full, the waiting notices have the same effect.
                let _ = notices.try_send(notice);
            }
        };
        let watcher = notify::recommended_watcher(forward);
        let mut system = Self { watcher: None, watched: BTreeMap::new(), warned: false };
        match watcher {
            Ok(watcher) => system.watcher = Some(watcher),
            Err(error) => system.warn(&error),
        }
        system
    }

    /// Watches exactly the directories of these paths.
    fn watch(&mut self, paths: &WatchedPaths) {
        let Some(mut watcher) = self.watcher.take() else { return };
        let wanted = paths.directories_to_watch();
        self.watched.retain(|directory, known| {
            let keep = wanted.contains(directory) && identity(directory) == Some(*known);
            if !keep {
                // A removed directory has lost its watch already.
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

    /// Forgets a directory that was removed or renamed. The next one of this name may have the same inode, so the inode
    /// alone does not show the change.
    fn forget(&mut self, directory: &Path) {
        if self.watched.remove(directory).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // The watch may be gone already.
            let _ = watcher.unwatch(directory);
        }
    }

    fn warn(&mut self, error: &notify::Error) {
        if !self.warned {
            tracing::warn!(%error, "files cannot be watched (check fs.inotify.max_user_watches and max_user_instances): they are polled");
            self.warned = true;
        }
    }
}

fn identity(directory: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Changes that have not settled.
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
    /// The fingerprint for which a reload was requested because it changed after the last load started.
    recent: Option<u64>,
    /// The fingerprint and last change at the last request for a reload; `None` if that change was so recent that
    /// another one could have the same timestamps.
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
                    self.follow_request().await;
                }
                // `watches` owns the sender, so `recv` never returns `None`.
                Some(notice) = notices.recv() => self.handle_notice(&notice),
                _ = ticks.tick() => self.poll().await,
                () = sleep_until(due), if due.is_some() => {
                    self.pending = None;
                    let reload = Event::Files(FilesEvent::Reload(ReloadCause::Watch, None));
                    if self.has_changed().await && self.events.send(reload).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Follows a new list of paths. The files may also have changed since they were loaded.
    async fn follow_request(&mut self) {
        let request = self.request.borrow_and_update().clone();
        let Some(mut fingerprint) = read_fingerprint(request.paths.clone()).await else { return };
        self.watches.watch(&fingerprint.watched);
        // A second fingerprint finds changes that happened before the watches were set.
        if let Some(again) = read_fingerprint(request.paths).await {
            fingerprint = again;
        }
        let younger = fingerprint.changed_at + TICK >= request.read_at;
        if younger && self.recent != Some(fingerprint.hash) {
            self.recent = Some(fingerprint.hash);
            self.note_change(NoticeKind::Changed);
        }
        self.seen = Some(fingerprint);
    }

    async fn poll(&mut self) {
        let paths = self.request.borrow().paths.clone();
        if paths.is_empty() {
            return;
        }
        let Some(fingerprint) = read_fingerprint(paths).await else { return };
        self.watches.watch(&fingerprint.watched);
        let differs = self.seen.as_ref().is_some_and(|seen| seen.hash != fingerprint.hash);
        self.seen = Some(fingerprint);
        if differs {
            self.note_change(NoticeKind::Changed);
        }
    }

    /// Whether anything has changed since the last request for a reload. One change is often noticed twice: by a
    /// notification, and by a poll while the file is being loaded, which takes a second for a large file. A change
    /// after this fingerprint gives another fingerprint, and so a request of its own.
    async fn has_changed(&mut self) -> bool {
        let paths = self.request.borrow().paths.clone();
        let now = self.clock.wall();
        let Some(fingerprint) = read_fingerprint(paths).await else { return true };
        self.watches.watch(&fingerprint.watched);
        let seen = (fingerprint.hash, fingerprint.changed_at);
        let changed = self.requested != Some(seen);
        self.requested = (fingerprint.changed_at + TICK < now).then_some(seen);
        self.seen = Some(fingerprint);
        changed
    }

    fn handle_notice(&mut self, notice: &Notice) {
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

async fn read_fingerprint(paths: Vec<PathBuf>) -> Option<Fingerprint> {
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
    fn repeated_changes_are_not_waited_for_without_end() {
        let first = Clock.now();
        let due = |last_ms: u64, open| {
            let pending = PendingChange { first, last: first + Duration::from_millis(last_ms), open };
            pending.due().duration_since(first)
        };
        assert_eq!(due(0, false), SETTLE);
        assert_eq!(due(50, false), Duration::from_millis(150));
        // The file is written every 50 ms: each write opens and closes it.
        assert_eq!(due(450, false), SETTLE_MAX);
        assert_eq!(due(800, false), SETTLE_MAX, "the wait ends when the file is closed");
        assert_eq!(due(450, true), Duration::from_millis(1450));
        assert_eq!(due(1900, true), SETTLE_OPEN_MAX);
    }

    /// A watched file, and the received requests to reload.
    struct Watched {
        dir: tempfile::TempDir,
        watcher: Watcher,
        events: mpsc::Receiver<Event>,
    }

    /// Longer than a change settles.
    const QUIET: Duration = Duration::from_millis(800);

    impl Watched {
        /// A loaded file, with this poll interval.
        async fn start(poll: Duration) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (sender, events) = mpsc::channel(16);
            let mut watched = Self { dir, watcher: Watcher::start(Some(poll), Clock, sender), events };
            watched.put("first");
            watched.finish_load();
            while watched.asks_within(QUIET).await {
                watched.finish_load();
            }
            watched
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("routes.toml")
        }

        /// Replaces the watched file by one with this content.
        fn put(&self, content: &str) {
            let new = self.dir.path().join("new");
            std::fs::write(&new, content).unwrap();
            std::fs::rename(new, self.file()).unwrap();
        }

        /// Simulates a load that starts and ends now.
        fn finish_load(&self) {
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
    async fn a_file_that_takes_long_to_load_is_loaded_once() {
        // The load takes longer than the poll interval.
        let mut watched = Watched::start(Duration::from_millis(300)).await;
        for content in ["second", "third", "fourth"] {
            watched.put(content);
            assert!(watched.asks().await);
            let began = Clock.wall();
            assert!(!watched.asks_within(QUIET).await, "a poll during the load requests no reload");
            watched.watcher.follow(&[watched.file()], began);
            assert!(!watched.asks_within(QUIET).await, "nor after the load");
        }
    }

    #[tokio::test]
    async fn a_change_during_a_load_is_not_lost() {
        for poll in [Duration::from_millis(300), Duration::from_hours(1)] {
            let mut watched = Watched::start(poll).await;
            watched.put("second");
            assert!(watched.asks().await);
            let began = Clock.wall();
            watched.put("third");
            assert!(watched.asks().await, "during the load of the second content");
            watched.put("second");
            watched.watcher.follow(&[watched.file()], began);
            assert!(watched.asks().await, "after the load");
            assert!(!watched.asks_within(QUIET).await);
        }
    }
}
