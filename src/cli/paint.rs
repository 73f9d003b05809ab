//! Colour: on a terminal unless `NO_COLOR` is set, or as set by `--color`.

use std::io::IsTerminal;

use clap::ValueEnum;

pub use crate::telemetry::Ink as Paint;

/// How a command writes to its standard streams.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// How to write to standard output.
    pub stdout: Paint,
    /// How to write to standard error.
    pub stderr: Paint,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_decides_about_colour() {
        assert_eq!(ColorChoice::Always.stdout(), Paint::Colour);
        assert_eq!(ColorChoice::Never.stderr(), Paint::Plain);
    }
}
