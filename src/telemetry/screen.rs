//! The terminal: whether a standard stream is one, its width, the local time of day, and escaping of foreign text.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::ink::Ink;

/// What a stream is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// A file or a pipe: programs read it.
    #[default]
    File,
    /// A terminal: a person reads it.
    Terminal,
}

/// What a standard stream is connected to, and how to write to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The kind of the stream.
    pub medium: Medium,
    /// Whether to use colour.
    pub ink: Ink,
}

impl Screen {
    /// Inspects a standard stream that is written to with this ink.
    #[must_use]
    pub fn of(stream: &impl IsTerminal, ink: Ink) -> Self {
        Self { medium: Medium::of(stream), ink }
    }
}

impl Medium {
    /// Inspects a stream.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() { Self::Terminal } else { Self::File }
    }
}

/// Automatic wrap of the terminal, off and on (DECAWM).
pub const WRAP: [&str; 2] = ["\x1b[?7l", "\x1b[?7h"];

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

impl Size {
    /// The default where the size is unknown, as on a serial line, or where there is no terminal.
    pub const USUAL: Self = Self { columns: 80, rows: 40 };

    /// The size of the terminal at standard output; `None` when it is unknown or there is no terminal.
    #[must_use]
    pub fn of_stdout() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (columns > 0 && rows > 0).then_some(Self { columns, rows })
    }
}

/// The current number of columns of the terminal at standard output.
#[must_use]
pub fn columns() -> usize {
    Size::of_stdout().unwrap_or(Size::USUAL).columns
}

/// Foreign text for a terminal: characters that would act on the terminal are escaped.
pub(super) struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if is_interpreted(letter) {
                write!(f, "{}", letter.escape_default())?;
            } else {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// Whether a terminal interprets a character: control characters, line separators, and marks that change the text
/// direction.
fn is_interpreted(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The local time of day, formatted once a second.
#[derive(Debug, Default)]
pub(super) struct TimeOfDay {
    zone: Option<TimeZone>,
    second: Option<u64>,
    text: String,
}

impl TimeOfDay {
    /// Sets the time, since the Unix epoch. Returns whether a new second has started.
    pub(super) fn update(&mut self, at: Duration) -> bool {
        if self.second == Some(at.as_secs()) {
            return false;
        }
        self.second = Some(at.as_secs());
        let zone = self.zone.get_or_insert_with(TimeZone::system);
        let at = i64::try_from(at.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok());
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = match at.map(|at| zone.to_datetime(at)) {
            Some(at) => write!(self.text, "{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
            None => write!(self.text, "--:--:--"),
        };
        true
    }

    /// `14:04:42`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Uses this zone instead of the system's.
    #[cfg(test)]
    pub(super) fn within(zone: TimeZone) -> Self {
        Self { zone: Some(zone), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_nothing_to_a_terminal() {
        for (foreign, shown) in [
            ("plain → text", "plain → text"),
            ("a\x1b[2Jb\x07", "a\\u{1b}[2Jb\\u{7}"),
            ("\u{9b}31m\r\n\t", "\\u{9b}31m\\r\\n\\t"),
            ("\u{202e}txt\u{2028}", "\\u{202e}txt\\u{2028}"),
        ] {
            assert_eq!(Safe(foreign).to_string(), shown);
        }
    }

    #[test]
    fn the_time_is_local() {
        let mut utc = TimeOfDay::within(TimeZone::UTC);
        let at = Duration::from_millis(1_763_693_797_042);
        assert!(utc.update(at) && utc.text() == "02:56:37", "{}", utc.text());
        assert!(!utc.update(at + Duration::from_millis(900)), "the same second");
        assert!(utc.update(at + Duration::from_secs(1)) && utc.text() == "02:56:38");
        let mut east = TimeOfDay::within(TimeZone::fixed(jiff::tz::offset(5)));
        assert!(east.update(at) && east.text() == "07:56:37");
    }
}
