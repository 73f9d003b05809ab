//! The access log: one line a request, formatted into a buffer of each worker, which is sent whole.

use super::line;
use super::screen::{Medium, Screen};
use super::short::ShortFormat;
use super::{AccessEntry, AccessEvent};
use crate::route::{AccessLog, LogFormat, LogSink};

/// The lines of a worker that have not been sent.
#[derive(Debug, Default)]
pub struct LogBuffer {
    /// The lines, each ended by a line feed.
    pub bytes: Vec<u8>,
    /// Number of lines.
    pub lines: u64,
    stamp: line::Stamp,
    short: ShortFormat,
}

impl LogBuffer {
    /// An empty buffer; `screen` is what standard output is connected to.
    #[must_use]
    pub fn on(screen: Screen) -> Self {
        Self { short: ShortFormat::on(screen), ..Self::default() }
    }

    /// Appends one line. Allocates only when the buffer must grow.
    ///
    /// Without a format in the file, lines are short on a terminal and JSON elsewhere.
    pub fn push(&mut self, log: &AccessLog, entry: &AccessEntry<'_>) {
        let format = log.format.unwrap_or_else(|| self.usual(&log.sink));
        if format == LogFormat::Common && matches!(entry.event, Some(AccessEvent::Open | AccessEvent::Shadow)) {
            // The format cannot distinguish the two lines of an upgraded connection, nor a copy from its request.
            return;
        }
        match format {
            LogFormat::Json => line::json(&mut self.bytes, &mut self.stamp, entry),
            LogFormat::Common => line::common(&mut self.bytes, &mut self.stamp, entry),
            LogFormat::Short => {
                let to_stdout = log.sink == LogSink::Stdout;
                let screen = if to_stdout { self.short.screen() } else { Screen::default() };
                self.short.line(&mut self.bytes, screen, entry);
            }
        }
        self.lines += 1;
    }

    fn usual(&self, sink: &LogSink) -> LogFormat {
        match (sink, self.short.screen().medium) {
            (LogSink::Stdout, Medium::Terminal) => LogFormat::Short,
            (LogSink::Stdout | LogSink::Off | LogSink::File(_), _) => LogFormat::Json,
        }
    }

    /// Takes the lines and their number, and leaves a buffer of the same capacity.
    #[must_use]
    pub fn take(&mut self) -> (Vec<u8>, u64) {
        let capacity = self.bytes.capacity();
        (std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)), std::mem::take(&mut self.lines))
    }
}
