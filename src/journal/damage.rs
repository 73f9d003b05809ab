//! What can be wrong with a journal, and what to do about it.

use std::fmt;

use super::line::LINE_MAX;
use super::record::JOURNAL_VERSION;

/// What is wrong with a journal. Kills that can still be read are in force, revives behind the damage are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong.
    pub kind: DamageKind,
    /// The file, such as `journal.jsonl`; empty where there is only one.
    pub file: String,
    /// The number of the line, from 1; 0 when no line is concerned.
    pub line: u64,
}

/// The kinds of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// A line is no record.
    NotARecord(String),
    /// A line is longer than [`LINE_MAX`].
    TooLong,
    /// A line does not have the hash of the line before it: one of the two was changed, or lines are missing.
    BrokenChain,
    /// A sequence number is missing or twice there.
    Gap {
        /// The next number.
        expected: u64,
        /// The number in the line.
        found: u64,
    },
    /// The first line is neither the first record nor a checkpoint: the beginning is missing.
    NoBeginning,
    /// A newer version of the program wrote this line.
    NewerVersion(u32),
    /// There is no journal beside the saved state, or beside an outbox.
    Missing,
    /// The saved state has this sequence number, and the journal ends before it.
    EndsBefore {
        /// The number in the saved state.
        saved: u64,
        /// The last number in the journal.
        last: u64,
    },
    /// The record with this sequence number is not the one that the saved state was made of.
    Differs(u64),
    /// A file cannot be read.
    Unreadable(String),
}

impl DamageKind {
    /// Whether this process must not write to the journal.
    pub(super) const fn forbids_writing(&self) -> bool {
        match self {
            Self::NewerVersion(_) | Self::Unreadable(_) => true,
            Self::NotARecord(_)
            | Self::TooLong
            | Self::BrokenChain
            | Self::Gap { .. }
            | Self::NoBeginning
            | Self::Missing
            | Self::EndsBefore { .. }
            | Self::Differs(_) => false,
        }
    }

    /// Whether the journal does not fit to the saved state.
    pub(super) const fn is_of_saved_state(&self) -> bool {
        match self {
            Self::Missing | Self::EndsBefore { .. } | Self::Differs(_) => true,
            Self::NotARecord(_)
            | Self::TooLong
            | Self::BrokenChain
            | Self::Gap { .. }
            | Self::NoBeginning
            | Self::NewerVersion(_)
            | Self::Unreadable(_) => false,
        }
    }

    /// What to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NewerVersion(_) => {
                "run that version of pointsman again, or move the state folder away to begin a new journal"
            }
            Self::Unreadable(_) => "repair the state folder and its permissions, then restart",
            Self::NotARecord(_)
            | Self::TooLong
            | Self::BrokenChain
            | Self::Gap { .. }
            | Self::NoBeginning
            | Self::Missing
            | Self::EndsBefore { .. }
            | Self::Differs(_) => {
                "compare the kills in force with what you expect, and revive those that are no longer needed; the \
                 damaged file is kept for inspection"
            }
        }
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord(why) => write!(f, "the line is no record: {why}"),
            Self::TooLong => write!(f, "the line is longer than {LINE_MAX} bytes"),
            Self::BrokenChain => f.write_str(
                "the chain is broken: `prev` is not the hash of the line before; one of the two lines was changed, or lines \
                 are missing between them",
            ),
            Self::Gap { expected, found } => write!(f, "the sequence number is {found}, expected {expected}"),
            Self::NoBeginning => {
                f.write_str("the beginning is missing: the first line is neither record 1 nor a checkpoint")
            }
            Self::NewerVersion(version) => write!(
                f,
                "the line has version {version} of the format, this program knows versions up to {JOURNAL_VERSION}"
            ),
            Self::Missing => f.write_str("the journal is missing, although what was saved beside it is there"),
            Self::EndsBefore { saved, last } => {
                write!(f, "the journal ends with record {last}, the saved state has record {saved}: records are missing")
            }
            Self::Differs(seq) => write!(f, "record {seq} is not the one that the saved state was made of"),
            Self::Unreadable(why) => write!(f, "the file cannot be read: {why}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        } else if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "{}; {}", self.kind, self.kind.remedy())
    }
}
