//! Colour on a terminal.

use std::fmt;

/// The colour codes of variants by index: stable is green, canary yellow, further ones take turns.
pub(super) const VARIANTS: [&str; 6] = ["32", "33", "36", "35", "34", "31"];

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// Text as it is.
    #[default]
    Plain,
    /// Text with ANSI colours.
    Colour,
}

impl Ink {
    /// The escape sequence of a colour or style, such as `32` or `1;31`.
    pub(super) const fn start(self, code: &'static str) -> Sgr {
        Sgr { ink: self, code }
    }

    /// Whether colour is on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Colour)
    }

    /// Emphasised text.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Secondary text.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Text about a success.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Text about a failure.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.sgr("31", text)
    }

    /// Text about a warning.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// A command or an address.
    #[must_use]
    pub fn cyan(self, text: &str) -> String {
        self.sgr("36", text)
    }

    /// The colour codes of variants by index: stable is green, canary yellow, further ones take turns.
    #[must_use]
    pub fn variant(self, number: usize, text: &str) -> String {
        self.sgr(VARIANTS[number % VARIANTS.len()], text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// A style's escape sequence; nothing without colour. An empty code ends all styles.
#[derive(Clone, Copy)]
pub(super) struct Sgr {
    ink: Ink,
    code: &'static str,
}

impl fmt::Display for Sgr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ink {
            Ink::Plain => Ok(()),
            Ink::Colour => write!(f, "\x1b[{}m", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_written_only_when_it_is_on() {
        assert_eq!(Ink::Plain.start("32").to_string(), "");
        assert_eq!(Ink::Colour.start("32").to_string(), "\x1b[32m");
        assert_eq!(Ink::Colour.start("").to_string(), "\x1b[m");
        assert_eq!(Ink::Plain.red("x"), "x");
        assert_eq!(Ink::Colour.red("x"), "\x1b[31mx\x1b[0m");
    }
}
