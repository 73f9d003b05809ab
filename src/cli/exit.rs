//! Exit codes: what a script may rely on.

use std::process::ExitCode;

/// How a command ended. The numbers of wrong usage and a bad file are those of BSD's `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Ok,
    /// It could not: a failed start, an unreachable admin listener, an unreadable log.
    Failed,
    /// The proxy refuses the act, or the person answered the question with no; `rollout wait`: rolled back or killed.
    Refused,
    /// `rollout wait`: the rollout is held until a person resumes it.
    Held,
    /// `rollout wait`: not reached in time.
    TimedOut,
    /// The kill is in force, and a restart forgets it: the journal does not have it.
    NotRecorded,
    /// The command line is wrong.
    Usage,
    /// The routes file is wrong.
    BadFile,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Held => 3,
            Self::TimedOut => 4,
            Self::NotRecorded => 5,
            Self::Usage => 64,
            Self::BadFile => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
