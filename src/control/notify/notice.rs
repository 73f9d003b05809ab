//! A notice: what people and their systems hear about one event. It is what the outbox keeps, whatever form the receiver
//! gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::NotifyAlert;
use crate::compare::escape_controls;

/// The longest title, in characters: that of a header of Slack.
const TITLE_MAX: usize = 150;
/// The longest sentence, in characters.
const TEXT_MAX: usize = 2_000;
/// The longest command, in characters.
const COMMAND_MAX: usize = 400;

/// What people and their systems hear about one event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Notice {
    /// The same for each try and in each process.
    pub id: String,
    pub kind: NoticeKind,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub level: NoticeLevel,
    /// One line.
    pub title: String,
    /// What happened, in a sentence or two.
    pub text: String,
    /// What to do next: commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub todo: Vec<String>,
    #[serde(default)]
    pub facts: NoticeFacts,
    /// The record of the journal, without state and long evidence; null when there is none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub record: Value,
    /// The alerts that it begins and ends. The outbox sets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<NotifyAlert>,
    /// When this process took it, in milliseconds of its uptime; `None`: a process before did. The wall clock may step.
    #[serde(skip)]
    pub taken_ms: Option<u64>,
}

/// What a notice is about. What does not apply is not set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NoticeFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The scope of a kill, such as `route search`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Who decided: a person, a guard, or `pointsman`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The weight before, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// The weight that it leads to, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Who may approve, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvers: BTreeMap<String, Vec<String>>,
}

/// The kinds of notices. The words are those of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoticeKind {
    Begin,
    Enter,
    Ask,
    Warn,
    Rollback,
    Hold,
    Unhold,
    Resume,
    Goto,
    Restart,
    Rehearsed,
    Kill,
    Revive,
    Complete,
    ConfigRejected,
    ConfigApplied,
    CertificateExpiring,
    JournalFailing,
    JournalRecovered,
    Test,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoticeLevel {
    Info,
    Warning,
    Critical,
}

impl Notice {
    /// A notice without facts. Title and text may have foreign parts: they are cut, and have no control characters.
    pub fn new(id: String, kind: NoticeKind, at_ms: u64, title: &str, text: &str) -> Self {
        Self {
            id,
            kind,
            at_ms,
            level: kind.level(),
            title: one_line(title, TITLE_MAX),
            text: one_line(text, TEXT_MAX),
            todo: Vec::new(),
            facts: NoticeFacts::default(),
            record: Value::Null,
            alerts: Vec::new(),
            taken_ms: None,
        }
    }

    /// The same with commands.
    pub fn with_todo(mut self, todo: impl IntoIterator<Item = String>) -> Self {
        self.todo = todo.into_iter().map(|one| one_line(&one, COMMAND_MAX)).collect();
        self
    }

    /// Whether it matters less than others of its kind: it is about a rehearsal.
    pub fn is_quiet(&self) -> bool {
        self.level < self.kind.level()
    }

    /// The same with facts.
    pub fn with_facts(self, facts: NoticeFacts) -> Self {
        Self { facts, ..self }
    }
}

impl NoticeKind {
    /// The word in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Enter => "enter",
            Self::Ask => "ask",
            Self::Warn => "warn",
            Self::Rollback => "rollback",
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::Resume => "resume",
            Self::Goto => "goto",
            Self::Restart => "restart",
            Self::Rehearsed => "rehearsed",
            Self::Kill => "kill",
            Self::Revive => "revive",
            Self::Complete => "complete",
            Self::ConfigRejected => "config_rejected",
            Self::ConfigApplied => "config_applied",
            Self::CertificateExpiring => "certificate_expiring",
            Self::JournalFailing => "journal_failing",
            Self::JournalRecovered => "journal_recovered",
            Self::Test => "test",
        }
    }

    const fn level(self) -> NoticeLevel {
        match self {
            Self::Rollback | Self::Kill | Self::JournalFailing => NoticeLevel::Critical,
            Self::Ask | Self::Warn | Self::Hold | Self::ConfigRejected | Self::CertificateExpiring => {
                NoticeLevel::Warning
            }
            Self::Begin
            | Self::Enter
            | Self::Unhold
            | Self::Resume
            | Self::Goto
            | Self::Restart
            | Self::Rehearsed
            | Self::Revive
            | Self::Complete
            | Self::ConfigApplied
            | Self::JournalRecovered
            | Self::Test => NoticeLevel::Info,
        }
    }

    /// The name of its alert, where it is none of a condition; `None`: it only ends one.
    pub const fn alert_name(self) -> Option<&'static str> {
        match self {
            Self::Begin => Some("PointsmanRevisionBegun"),
            Self::Enter => Some("PointsmanStageEntered"),
            Self::Warn => Some("PointsmanGuardTripped"),
            Self::Unhold => Some("PointsmanHoldEnded"),
            Self::Resume => Some("PointsmanResumed"),
            Self::Goto => Some("PointsmanMoved"),
            Self::Restart => Some("PointsmanRestarted"),
            Self::Rehearsed => Some("PointsmanRehearsed"),
            Self::Revive => Some("PointsmanRevived"),
            Self::Complete => Some("PointsmanComplete"),
            Self::Test => Some("PointsmanTest"),
            Self::Ask
            | Self::Rollback
            | Self::Hold
            | Self::Kill
            | Self::ConfigRejected
            | Self::ConfigApplied
            | Self::CertificateExpiring
            | Self::JournalFailing
            | Self::JournalRecovered => None,
        }
    }
}

impl NoticeLevel {
    /// The word in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A text in one line of at most `most` characters, without control characters.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for letter in text.trim().chars() {
        let letter = if matches!(letter, '\n' | '\r' | '\t') { ' ' } else { letter };
        let mut bytes = [0; 4];
        let spelled = escape_controls(letter.encode_utf8(&mut bytes)).into_owned();
        count += spelled.chars().count();
        if count >= most {
            out.push('…');
            break;
        }
        out.push_str(&spelled);
    }
    debug_assert!(out.chars().count() <= most, "the text has a bound");
    out
}

/// A word of a command line, in quotes where it needs them.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/@=".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
