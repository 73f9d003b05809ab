//! The proxy's own log on standard error: for people on a terminal, one JSON object a line otherwise.
//!
//! On a terminal a line has the time of day, the level, the message and then the fields. Important lines stand out
//! among access log lines in bold colour: `reloaded` in green, errors in red. Further lines of a message, such as the
//! diagnostics of a rejected file, follow below in the format of `check`.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::ink::Ink;
use super::screen::{Medium, Safe, Screen, TimeOfDay};
use crate::clock::Clock;

/// The environment variable with the filter, as in `info,pointsman::control=debug`.
pub const FILTER_VARIABLE: &str = "POINTSMAN_LOG";

/// The message of a reload that has been applied.
const RELOADED: &str = "reloaded";

/// Initialises the log; `screen` is what standard error is connected to. A second call has no effect.
pub fn init_tracing(screen: Screen) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    // A line that cannot be written is lost: to report that on standard error as well would be a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    // An error means that a subscriber is set already.
    let _ = match screen.medium {
        Medium::Terminal => log.event_format(TerminalFormat { ink: screen.ink, clock: Mutex::default() }).try_init(),
        Medium::File => log.json().flatten_event(true).try_init(),
    };
}

/// Lines for a terminal.
struct TerminalFormat {
    ink: Ink,
    clock: Mutex<TimeOfDay>,
}

impl<S, N> FormatEvent<S, N> for TerminalFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let time = {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.update(Clock.wall());
            clock.text().to_owned()
        };
        let line = TerminalLine { time: &time, level: *event.metadata().level(), parts: &parts };
        line.write(&mut out, self.ink)
    }
}

/// The message and fields of an event.
#[derive(Default)]
struct Parts {
    message: String,
    /// ` name=value` for each field.
    fields: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else if !value.is_empty() && !value.contains([' ', '"', '=']) {
            let _ = write!(self.fields, " {}={}", field.name(), Safe(value));
        } else {
            let _ = write!(self.fields, " {}=\"{}\"", field.name(), Safe(&value.replace('"', "\\\"")));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" || !value.starts_with('"') {
            return self.record_str(field, &value);
        }
        // The value is quoted and escaped already.
        let _ = write!(self.fields, " {}={}", field.name(), Safe(&value));
    }
}

/// One event as it is written to a terminal.
struct TerminalLine<'a> {
    time: &'a str,
    level: Level,
    parts: &'a Parts,
}

impl TerminalLine<'_> {
    fn write(&self, out: &mut impl fmt::Write, ink: Ink) -> fmt::Result {
        let Self { time, level, parts } = self;
        let (word, code) = match *level {
            Level::ERROR => ("ERROR", "1;31"),
            Level::WARN => ("WARN ", "33"),
            Level::INFO => ("INFO ", "32"),
            Level::DEBUG => ("DEBUG", "34"),
            Level::TRACE => ("TRACE", "2"),
        };
        let (message, below) = match parts.message.split_once('\n') {
            Some((message, below)) => (message.trim_end_matches(':'), below),
            None => (parts.message.as_str(), ""),
        };
        let style = match *level {
            Level::ERROR | Level::WARN => code,
            Level::INFO | Level::DEBUG | Level::TRACE if message.starts_with(RELOADED) => "1;32",
            Level::INFO | Level::DEBUG | Level::TRACE => "0",
        };
        let (dim, end) = (ink.start("2"), ink.start("0"));
        write!(out, "{dim}{time}{end} {}{word}{end} ", ink.start(code))?;
        write!(out, "{}{}{end}", ink.start(style), Safe(message))?;
        if !parts.fields.is_empty() {
            write!(out, " {dim}{}{end}", parts.fields)?;
        }
        out.write_char('\n')?;
        below.lines().try_for_each(|line| diagnostic(out, ink, line))
    }
}

/// Writes a line of a diagnostic, its head in the colour of `check`.
fn diagnostic(out: &mut impl fmt::Write, ink: Ink, line: &str) -> fmt::Result {
    let code = match line.split_once('[') {
        Some(("error", _)) => "1;31",
        Some(("warning", _)) => "1;33",
        Some(_) | None => return writeln!(out, "{}", Safe(line)),
    };
    let (head, rest) = line.split_at(line.find("]:").map_or(0, |at| at + 1));
    writeln!(out, "{}{}{}{}", ink.start(code), Safe(head), ink.start("0"), Safe(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ink: Ink, level: Level, message: &str, fields: &str) -> String {
        let mut out = String::new();
        let parts = Parts { message: message.to_owned(), fields: fields.to_owned() };
        let line = TerminalLine { time: "14:04:42", level, parts: &parts };
        line.write(&mut out, ink).expect("a string takes everything");
        out
    }

    #[test]
    fn the_message_comes_first() {
        let line = written(Ink::Plain, Level::INFO, "reloaded", " generation=2 cause=watch");
        assert_eq!(line, "14:04:42 INFO  reloaded  generation=2 cause=watch\n");
        let line = written(Ink::Colour, Level::INFO, "reloaded", "");
        assert!(line.contains("\x1b[1;32mreloaded\x1b[0m"), "{line:?}");
        let line = written(Ink::Colour, Level::INFO, "drained", "");
        assert!(line.contains("\x1b[0mdrained\x1b[0m"), "{line:?}");
        let line = written(Ink::Colour, Level::WARN, "careful", "");
        assert!(line.contains("\x1b[33mcareful\x1b[0m"), "{line:?}");
    }

    #[test]
    fn diagnostics_follow_below_in_the_format_of_check() {
        let message = "rejected: why:\nerror[bad-weight]: `weight` is 101\n --> routes.toml:3:1\n";
        let line = written(Ink::Plain, Level::ERROR, message, " cause=watch");
        let below = "error[bad-weight]: `weight` is 101\n --> routes.toml:3:1\n";
        assert_eq!(line, format!("14:04:42 ERROR rejected: why  cause=watch\n{below}"));
        let line = written(Ink::Colour, Level::ERROR, message, "");
        assert!(line.contains("\x1b[1;31mrejected: why\x1b[0m"), "{line:?}");
        assert!(line.contains("\n\x1b[1;31merror[bad-weight]\x1b[0m: `weight`"), "{line:?}");
    }

    #[test]
    fn foreign_text_is_escaped() {
        let line = written(Ink::Plain, Level::WARN, "from \x1b[2J\nnext \x1b[31m", "");
        assert!(!line.contains('\x1b') && line.contains("\\u{1b}[2J"), "{line:?}");
        assert_eq!(line.lines().count(), 2);
    }

    /// Collects lines.
    #[derive(Clone, Default)]
    struct Collector(std::sync::Arc<Mutex<Vec<u8>>>);

    impl io::Write for Collector {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_without_its_target() {
        let collector = Collector::default();
        let writer = collector.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(TerminalFormat { ink: Ink::Plain, clock: Mutex::default() })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(name = "a \"b", plain = "x", number = 7, shown = %"y\x1bz", debug = ?"q", "the message");
        });
        let line = String::from_utf8(collector.0.lock().expect("no panic").clone()).expect("UTF-8");
        let (_, rest) = line.split_once(' ').expect("the time of day");
        let fields = "name=\"a \\\"b\" plain=x number=7 shown=y\\u{1b}z debug=\"q\"";
        assert_eq!(rest, format!("INFO  the message  {fields}\n"));
    }
}
