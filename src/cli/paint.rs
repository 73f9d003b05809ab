//! Colour, for people only: on a terminal unless `NO_COLOR` is set, or as `--color` says.

use std::io::IsTerminal;

use clap::ValueEnum;

use crate::telemetry::{Ink, Medium, Screen};

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always, also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// Puts colour on text, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Text as it is.
    Plain,
    /// Text with ANSI colours.
    Colour,
}

impl ColorChoice {
    /// What this choice means for standard output.
    #[must_use]
    pub fn stdout(self) -> Paint {
        self.on(&std::io::stdout())
    }

    /// What this choice means for standard error.
    #[must_use]
    pub fn stderr(self) -> Paint {
        self.on(&std::io::stderr())
    }

    /// The same choice in clap's words, for help and usage errors.
    #[must_use]
    pub const fn clap(self) -> clap::ColorChoice {
        match self {
            Self::Auto => clap::ColorChoice::Auto,
            Self::Always => clap::ColorChoice::Always,
            Self::Never => clap::ColorChoice::Never,
        }
    }

    fn on(self, stream: &impl IsTerminal) -> Paint {
        let colour = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        if colour { Paint::Colour } else { Paint::Plain }
    }
}

impl Paint {
    /// Whether colour is on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Colour)
    }

    /// How a standard stream is shown that is written to in this way.
    #[must_use]
    pub fn screen(self, stream: &impl IsTerminal) -> Screen {
        let ink = match self {
            Self::Plain => Ink::Plain,
            Self::Colour => Ink::Colour,
        };
        Screen { medium: Medium::of(stream), ink }
    }

    /// What matters.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// What may be skipped.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Good news.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Bad news.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.sgr("31", text)
    }

    /// Something to look at.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// Something to type or open.
    #[must_use]
    pub fn cyan(self, text: &str) -> String {
        self.sgr("36", text)
    }

    /// A variant by its number: stable is green, canary yellow, further ones take turns.
    #[must_use]
    pub fn variant(self, number: usize, text: &str) -> String {
        const CODES: [&str; 6] = ["32", "33", "36", "35", "34", "31"];
        self.sgr(CODES[number % CODES.len()], text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_it_is_on() {
        assert_eq!(Paint::Plain.red("x"), "x");
        assert_eq!(Paint::Colour.red("x"), "\x1b[31mx\x1b[0m");
        assert_eq!(ColorChoice::Always.stdout(), Paint::Colour);
        assert_eq!(ColorChoice::Never.stderr(), Paint::Plain);
    }
}
