//! Why the proxy did not start.

use std::fmt;
use std::io;
use std::path::Path;

use super::files::{LoadError, Rejection, other_state_dir};
use crate::config::{Color, Diagnostics};
use crate::journal::LockError;

/// Why the proxy did not start.
#[derive(Debug)]
pub enum StartError {
    /// The file is invalid.
    Config(Diagnostics),
    /// An address cannot be bound, the access log cannot be opened, or the state folder is not that of the process before.
    Bind(Rejection),
    /// A system call failed.
    Io(&'static str, io::Error),
    /// Another process uses the state folder.
    State(LockError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => f.write_str(diagnostics.render(Color::Never).trim_end()),
            Self::Bind(rejection) => f.write_str(rejection.text.trim_end()),
            Self::State(held) => write!(f, "error[state]: {held}"),
            Self::Io(what, error) => write!(f, "error[start]: {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<LoadError> for StartError {
    fn from(unread: LoadError) -> Self {
        match unread {
            LoadError::Invalid(diagnostics) => Self::Config(diagnostics),
            LoadError::Internal(error) => Self::Io("reading the configuration", io::Error::other(error)),
        }
    }
}

impl StartError {
    /// In a hand-over, the state folder is not that of the process before.
    #[must_use]
    pub(super) fn of_other_state_dir(before: &Path, now: &Path) -> Self {
        Self::Bind(other_state_dir(before, now))
    }

    /// The exit code of the process: 78 for an invalid file, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Bind(_) | Self::Io(..) | Self::State(_) => 1,
        }
    }
}
