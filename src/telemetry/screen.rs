//! The terminal: whether a standard stream is one, how wide it is, the local time of day, and foreign text made safe for
//! it.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::ink::Ink;

/// What a stream leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// A file or a pipe: programs read it.
    #[default]
    File,
    /// A terminal: a person reads it.
    Terminal,
}

/// Where one of our standard streams is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// What it leads to.
    pub medium: Medium,
    /// How to write to it.
    pub ink: Ink,
}

impl Screen {
    /// How a standard stream is shown that is written to with this ink.
    #[must_use]
    pub fn of(stream: &impl IsTerminal, ink: Ink) -> Self {
        Self { medium: Medium::of(stream), ink }
    }
}

impl Medium {
    /// What `stream` leads to.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() { Self::Terminal } else { Self::File }
    }
}

/// Automatic wrap of the terminal, off and on (DECAWM).
pub const WRAP: [&str; 2] = ["\x1b[?7l", "\x1b[?7h"];

/// How large the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Letters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

impl Size {
    /// What is taken where the system does not know the size, as with a serial line, and where there is no terminal.
    pub const USUAL: Self = Self { columns: 80, rows: 40 };

    /// The size of the terminal at standard output; nothing where there is none, or where it does not know.
    #[must_use]
    pub fn of_stdout() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (columns > 0 && rows > 0).then_some(Self { columns, rows })
    }
}

/// How many columns the terminal at standard output has now.
#[must_use]
pub fn columns() -> usize {
    Size::of_stdout().unwrap_or(Size::USUAL).columns
}

/// Foreign text on a terminal: what would act upon it is written as an escape.
pub(super) struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if acts(letter) {
                write!(f, "{}", letter.escape_default())?;
            } else {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// Whether a terminal does something else with it than show it: control characters, line separators, and marks that update
/// the direction of text.
fn acts(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The local time of day, worked out once a second.
#[derive(Debug, Default)]
pub(super) struct TimeOfDay {
    zone: Option<TimeZone>,
    second: Option<u64>,
    text: String,
}

impl TimeOfDay {
    /// Takes the time, since the Unix epoch. Says whether another second has begun.
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

    /// In this zone instead of the system's.
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
    fn the_time_is_that_of_the_place() {
        let mut utc = TimeOfDay::within(TimeZone::UTC);
        let at = Duration::from_millis(1_763_693_797_042);
        assert!(utc.update(at) && utc.text() == "02:56:37", "{}", utc.text());
        assert!(!utc.update(at + Duration::from_millis(900)), "the same second");
        assert!(utc.update(at + Duration::from_secs(1)) && utc.text() == "02:56:38");
        let mut east = TimeOfDay::within(TimeZone::fixed(jiff::tz::offset(5)));
        assert!(east.update(at) && east.text() == "07:56:37");
    }
}
