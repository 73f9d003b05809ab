//! The access log's writer: one thread that owns the sink, so that a slow disk never slows a request.
//!
//! Workers hand over whole buffers through a channel that is bounded in messages and in bytes; a hand-over that finds
//! it full fails at once and is counted by the worker. Lines that the sink does not take (disk full, no permission)
//! are dropped and counted, and the proxy's own log says so once a minute. A file that was rotated away (renamed or
//! removed) is opened anew within a second, at `SIGHUP` at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::screen::Screen;
use crate::clock::Clock;
use crate::route::LogSink;

/// Buffers that may wait.
const QUEUED_BUFFERS_MAX: usize = 1_024;
/// Bytes that may wait.
const QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often a file is checked_at at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often dropped lines are spoken of.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Hands lines over. One for each worker.
#[derive(Clone, Debug)]
pub struct LogSender {
    lines: SyncSender<Message>,
    shared: Arc<Shared>,
    screen: Screen,
}

/// Steers the writer. One owner, the controller; the writer ends when [`Self::stop`] is called.
#[derive(Debug)]
pub struct LogWriter {
    lines: SyncSender<Message>,
    shared: Arc<Shared>,
    screen: Screen,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// Look at what is wanted.
    Wake,
    Stop,
}

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    lines_lost: AtomicU64,
    wanted: Mutex<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    sink: Option<LogSink>,
    reopen: bool,
}

impl LogSender {
    /// Where standard output is shown.
    #[must_use]
    pub const fn screen(&self) -> Screen {
        self.screen
    }

    /// Hands whole lines over; never blocks.
    ///
    /// # Errors
    /// Gives the lines back when the writer cannot keep up or has ended. The caller counts them as dropped.
    pub fn try_send(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        let bytes = lines.len();
        if self.shared.queued_bytes.fetch_add(bytes, Relaxed).saturating_add(bytes) > QUEUED_BYTES_MAX {
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            return Err(lines);
        }
        self.lines.try_send(Message::Lines(lines)).map_err(|refused| {
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            match refused {
                TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines)) => lines,
                TrySendError::Full(Message::Wake | Message::Stop)
                | TrySendError::Disconnected(Message::Wake | Message::Stop) => Vec::new(),
            }
        })
    }
}

/// Whether lines can be written to `sink` now. Files that are none, such as pipes, are not tried: that could wait for
/// ever.
///
/// # Errors
/// Why the file cannot be opened.
pub fn openable(sink: &LogSink) -> io::Result<()> {
    match sink {
        LogSink::File(path) if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) => Ok(()),
        LogSink::File(_) | LogSink::Off | LogSink::Stdout => Output::open(sink).map(drop),
    }
}

/// What people call a sink.
fn called(sink: &LogSink) -> String {
    match sink {
        LogSink::Off => "off".to_owned(),
        LogSink::Stdout => "stdout".to_owned(),
        LogSink::File(path) => path.display().to_string(),
    }
}

impl LogWriter {
    /// Starts the writer's thread with this sink; `screen` is where standard output is shown.
    ///
    /// # Errors
    /// When the thread cannot be started. A file that cannot be opened is not an error: it is tried again, and lines
    /// are dropped and counted until then.
    pub fn start(sink: LogSink, screen: Screen, clock: Clock) -> io::Result<Self> {
        let (lines, received) = sync_channel(QUEUED_BUFFERS_MAX);
        let shared = Arc::new(Shared::default());
        let writer = SinkWriter {
            out: Output::open(&sink),
            sink,
            clock,
            checked_at: clock.now(),
            reported_at: None,
            unreported: 0,
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_all(&received, &shared, writer)
        })?;
        Ok(Self { lines, shared, screen, thread: Some(thread) })
    }

    /// A sender for a worker.
    #[must_use]
    pub fn sender(&self) -> LogSender {
        LogSender { lines: self.lines.clone(), shared: Arc::clone(&self.shared), screen: self.screen }
    }

    /// Changes the sink. Lines that wait go to the new one.
    pub fn set_sink(&self, sink: LogSink) {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).sink = Some(sink);
        self.wake();
    }

    /// Closes the file and opens it anew by its name, for log rotation.
    pub fn reopen(&self) {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).reopen = true;
        self.wake();
    }

    /// Lines that the sink did not take.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.shared.lines_lost.load(Relaxed)
    }

    /// Writes what waits and ends the thread, waiting for it at most `patience` (a pipe that nobody reads never takes
    /// the last lines).
    pub fn stop(&mut self, clock: Clock, patience: Duration) {
        let Some(thread) = self.thread.take() else { return };
        let deadline = clock.now() + patience;
        let mut told = false;
        while !thread.is_finished() && clock.now() < deadline {
            told = told || !matches!(self.lines.try_send(Message::Stop), Err(TrySendError::Full(_)));
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // A panic of the writer has been printed already.
            let _ = thread.join();
        }
    }

    /// A full channel wakes the writer anyway.
    fn wake(&self) {
        let _ = self.lines.try_send(Message::Wake);
    }
}

fn write_all(received: &Receiver<Message>, shared: &Shared, mut writer: SinkWriter) {
    loop {
        let message = received.recv_timeout(CHECK_EVERY);
        writer.follow(shared);
        match message {
            Ok(Message::Lines(lines)) => {
                shared.queued_bytes.fetch_sub(lines.len(), Relaxed);
                writer.write(&lines, shared);
            }
            Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    writer.report_dropped(writer.clock.now());
}

/// The sink as it is open now.
struct SinkWriter {
    sink: LogSink,
    out: io::Result<Output>,
    clock: Clock,
    checked_at: Instant,
    reported_at: Option<Instant>,
    unreported: u64,
}

enum Output {
    Nothing,
    Stdout,
    File(File),
}

impl Output {
    fn open(sink: &LogSink) -> io::Result<Self> {
        match sink {
            LogSink::Off => Ok(Self::Nothing),
            LogSink::Stdout => Ok(Self::Stdout),
            LogSink::File(path) => OpenOptions::new().append(true).create(true).open(path).map(Self::File),
        }
    }
}

impl SinkWriter {
    /// Does what is wanted, and looks after the file.
    fn follow(&mut self, shared: &Shared) {
        let wanted = std::mem::take(&mut *shared.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.clock.now();
        let changed = wanted.sink.is_some_and(|sink| std::mem::replace(&mut self.sink, sink) != self.sink);
        let due = now.duration_since(self.checked_at) >= CHECK_EVERY;
        if due {
            self.checked_at = now;
        }
        if changed || wanted.reopen || (due && self.is_lost()) {
            self.out = Output::open(&self.sink);
        }
        if self.unreported > 0 && self.reported_at.is_none_or(|then| now.duration_since(then) >= REPORT_EVERY) {
            self.report_dropped(now);
        }
    }

    /// Whether the open file is no longer the one that its name means, or is not open at all.
    fn is_lost(&self) -> bool {
        match (&self.sink, &self.out) {
            (LogSink::File(path), Ok(Output::File(file))) => !same_file(path, file),
            (LogSink::File(_), _) => true,
            (LogSink::Off | LogSink::Stdout, _) => false,
        }
    }

    fn write(&mut self, lines: &[u8], shared: &Shared) {
        let written = match &mut self.out {
            Ok(Output::Nothing) => Ok(()),
            Ok(Output::Stdout) => {
                let mut out = io::stdout().lock();
                out.write_all(lines).and_then(|()| out.flush())
            }
            Ok(Output::File(file)) => append(file, lines),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = written {
            let lost = memchr::memchr_iter(b'\n', lines).count() as u64;
            shared.lines_lost.fetch_add(lost, Relaxed);
            self.unreported += lost;
            let now = self.clock.now();
            if self.reported_at.is_none() {
                tracing::error!(sink = called(&self.sink), %error, "the access log cannot be written: its lines are dropped");
                self.unreported = 0;
                self.reported_at = Some(now);
            }
        }
    }

    fn report_dropped(&mut self, now: Instant) {
        if self.unreported > 0 {
            tracing::error!(sink = called(&self.sink), lines = self.unreported, "access log lines were dropped");
            self.unreported = 0;
            self.reported_at = Some(now);
        }
    }
}

/// Appends whole lines. When a disk fills up in the middle, the half line is cut off again, so that the next line does
/// not join it.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata().map(|metadata| metadata.len());
    file.write_all(lines).inspect_err(|_| {
        if let Ok(length) = before {
            // Best effort: a device or pipe has no length to go back to.
            let _ = file.set_len(length);
        }
    })
}

fn same_file(path: &Path, file: &File) -> bool {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => named.dev() == open.dev() && named.ino() == open.ino(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for the writer, which is a thread of its own.
    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let deadline = Clock.now() + Duration::from_mins(1);
        while !holds() {
            assert!(Clock.now() < deadline, "never happened: {what}");
            std::thread::yield_now();
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn started(sink: LogSink) -> (LogWriter, LogSender) {
        let writer = LogWriter::start(sink, Screen::default(), Clock).expect("a thread");
        let sender = writer.sender();
        (writer, sender)
    }

    #[test]
    fn lines_are_appended_and_flushed_at_the_stop() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.log");
        std::fs::write(&path, "before\n").expect("written");
        let (mut writer, sender) = started(LogSink::File(path.clone()));
        for i in 0..100 {
            sender.try_send(format!("{i}\n").into_bytes()).expect("room");
        }
        writer.stop(Clock, Duration::from_secs(10));
        let written = read(&path);
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1], lines[100]), (101, "before", "0", "99"));
        assert!(sender.try_send(b"late\n".to_vec()).is_err(), "a stopped writer takes nothing");
        assert_eq!(writer.lines_lost(), 0);
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, rotated) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let (writer, sender) = started(LogSink::File(path.clone()));
        sender.try_send(b"one\n".to_vec()).expect("room");
        eventually("the first line", || read(&path) == "one\n");
        std::fs::rename(&path, &rotated).expect("renamed");
        writer.reopen();
        sender.try_send(b"two\n".to_vec()).expect("room");
        eventually("the second line in the new file", || read(&path) == "two\n");
        std::fs::remove_file(&path).expect("removed");
        eventually("the file without being asked", || path.exists());
        sender.try_send(b"three\n".to_vec()).expect("room");
        eventually("the third line", || read(&path) == "three\n");
        assert_eq!(read(&rotated), "one\n");
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("access.log");
        let (writer, sender) = started(LogSink::File("/dev/full".into()));
        sender.try_send(b"one\ntwo\n".to_vec()).expect("room");
        eventually("two lines lost", || writer.lines_lost() == 2);
        writer.set_sink(LogSink::File(path.clone()));
        sender.try_send(b"three\n".to_vec()).expect("room");
        eventually("the line in the new sink", || read(&path) == "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("later").join("access.log");
        let (writer, sender) = started(LogSink::File(path.clone()));
        sender.try_send(b"one\n".to_vec()).expect("room");
        eventually("the line is lost", || writer.lines_lost() == 1);
        std::fs::create_dir(dir.path().join("later")).expect("made");
        eventually("the file is there", || path.exists());
        sender.try_send(b"two\n".to_vec()).expect("room");
        eventually("the second line", || read(&path) == "two\n");
    }

    #[test]
    fn a_sink_that_hangs_never_blocks_a_worker() {
        // Nobody receives: the writer is stuck in a write.
        let (lines, _kept) = sync_channel(1);
        let sender = LogSender { lines, shared: Arc::default(), screen: Screen::default() };
        assert_eq!(sender.try_send(b"one\n".to_vec()), Ok(()));
        assert_eq!(sender.try_send(b"two\n".to_vec()), Err(b"two\n".to_vec()));
        assert_eq!(sender.shared.queued_bytes.load(Relaxed), 4);
        let huge = vec![b'\n'; QUEUED_BYTES_MAX];
        assert_eq!(sender.try_send(huge.clone()), Err(huge));
        assert_eq!(sender.shared.queued_bytes.load(Relaxed), 4);
    }
}
