//! The access log writer: one thread that owns the sink, so that a slow disk never slows a request.
//!
//! Workers send whole buffers through a channel that is bounded in messages and in bytes; a send to a full channel
//! fails at once, and the worker counts the lines. Lines that the sink does not accept (disk full, no permission) are
//! dropped and counted, and the proxy's own log reports them once a minute. A file that was rotated (renamed or
//! removed) is reopened within a second, and at `SIGHUP` at once.

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

/// Bound of the queue, in buffers.
const QUEUED_BUFFERS_MAX: usize = 1_024;
/// Bound of the queue, in bytes.
const QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the writer checks whether the file was rotated.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often dropped lines are reported.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Sends lines to the writer. One for each worker.
#[derive(Clone, Debug)]
pub struct LogSender {
    lines: SyncSender<Message>,
    shared: Arc<Shared>,
    screen: Screen,
}

/// Controls the writer. The controller is its only owner; the writer ends at [`Self::stop`].
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
    /// Check for a requested sink or reopen.
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
    /// What standard output is connected to.
    #[must_use]
    pub const fn screen(&self) -> Screen {
        self.screen
    }

    /// Sends whole lines; never blocks.
    ///
    /// # Errors
    /// Returns the lines when the queue is full or the writer has ended. The caller counts them as dropped.
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

/// Checks that lines can be written to `sink` now. Special files, such as pipes, are not opened: that could block for
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

/// The name of a sink, for messages.
fn sink_name(sink: &LogSink) -> String {
    match sink {
        LogSink::Off => "off".to_owned(),
        LogSink::Stdout => "stdout".to_owned(),
        LogSink::File(path) => path.display().to_string(),
    }
}

impl LogWriter {
    /// Starts the writer thread with this sink; `screen` is what standard output is connected to.
    ///
    /// # Errors
    /// When the thread cannot be started. A file that cannot be opened is not an error: the writer retries, and drops
    /// and counts lines until then.
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

    /// Changes the sink. Queued lines go to the new one.
    pub fn set_sink(&self, sink: LogSink) {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).sink = Some(sink);
        self.wake();
    }

    /// Reopens the file by its name, for log rotation.
    pub fn reopen(&self) {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).reopen = true;
        self.wake();
    }

    /// Number of lines that the sink did not accept.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.shared.lines_lost.load(Relaxed)
    }

    /// Writes the queued lines and ends the thread; waits at most `timeout` (a pipe without a reader never accepts the
    /// last lines).
    pub fn stop(&mut self, clock: Clock, timeout: Duration) {
        let Some(thread) = self.thread.take() else { return };
        let deadline = clock.now() + timeout;
        let mut is_sent = false;
        while !thread.is_finished() && clock.now() < deadline {
            is_sent = is_sent || !matches!(self.lines.try_send(Message::Stop), Err(TrySendError::Full(_)));
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
        let message = if writer.has_checks() {
            received.recv_timeout(CHECK_EVERY)
        } else {
            // A change of the sink wakes the writer, too.
            received.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
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

/// The sink and its open file.
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
    /// Applies requests, and checks the file.
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

    /// Whether something is to be checked without new lines: a file, or lines that were lost and not reported.
    fn has_checks(&self) -> bool {
        matches!(self.sink, LogSink::File(_)) || self.unreported > 0
    }

    /// Whether the open file is no longer the one with its name, or is not open at all.
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
                tracing::error!(sink = sink_name(&self.sink), %error, "the access log cannot be written: its lines are dropped");
                self.unreported = 0;
                self.reported_at = Some(now);
            }
        }
    }

    fn report_dropped(&mut self, now: Instant) {
        if self.unreported > 0 {
            tracing::error!(sink = sink_name(&self.sink), lines = self.unreported, "access log lines were dropped");
            self.unreported = 0;
            self.reported_at = Some(now);
        }
    }
}

/// Appends whole lines. When the disk is full in the middle of a line, the partial line is removed, so that the next
/// line does not join it.
fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata().map(|metadata| metadata.len());
    file.write_all(lines).inspect_err(|_| {
        if let Ok(length) = before {
            // Best effort: a device or pipe cannot be truncated.
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

    /// Waits for the writer thread.
    fn eventually(what: &str, is_met: impl Fn() -> bool) {
        let deadline = Clock.now() + Duration::from_mins(1);
        while !is_met() {
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
        eventually("the file is reopened without a request", || path.exists());
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
    fn a_hanging_sink_never_blocks_a_worker() {
        // The channel has no reader: the writer hangs in a write.
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
