//! Conditions: what lasts until it ends, such as a rollback, and how an event changes them.

use serde::{Deserialize, Serialize};

use super::notice::{Notice, NoticeLevel};
use crate::route::Rules;

/// What lasts until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Condition {
    RolledBack,
    Held,
    Killed,
    ApprovalAwaited,
    ConfigRejected,
    CertificateExpiring,
    JournalFailing,
}

impl Condition {
    /// The name of its alert.
    pub const fn alert_name(self) -> &'static str {
        match self {
            Self::RolledBack => "PointsmanRolledBack",
            Self::Held => "PointsmanHeld",
            Self::Killed => "PointsmanKilled",
            Self::ApprovalAwaited => "PointsmanApprovalAwaited",
            Self::ConfigRejected => "PointsmanConfigRejected",
            Self::CertificateExpiring => "PointsmanCertificateExpiring",
            Self::JournalFailing => "PointsmanJournalFailing",
        }
    }

    /// How much it matters.
    pub const fn level(self) -> NoticeLevel {
        match self {
            Self::RolledBack | Self::Killed | Self::JournalFailing => NoticeLevel::Critical,
            Self::Held | Self::ApprovalAwaited | Self::ConfigRejected | Self::CertificateExpiring => {
                NoticeLevel::Warning
            }
        }
    }
}

/// How an event changes the conditions of one subject: those that it does not name end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConditionChange {
    /// Such as `rollout:checkout-v2`.
    pub subject: String,
    /// It is there now.
    pub now: Option<Condition>,
    /// It stays, where it is there.
    pub keep: Option<Condition>,
}

/// Who hears of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoticeAudience {
    /// The receivers of everything.
    All,
    /// They, and those of this rollout.
    Rollout(String),
    /// Those of this rollout that are not receivers of everything: they have heard of its cause.
    OwnOf(String),
}

impl NoticeAudience {
    /// All who are concerned, those included who have heard of its cause.
    pub fn whole(self) -> Self {
        match self {
            Self::OwnOf(name) => Self::Rollout(name),
            Self::All | Self::Rollout(_) => self,
        }
    }

    /// Whether the receiver with this id is one of them by these rules.
    pub fn has(&self, id: &String, rules: &Rules) -> bool {
        let own = |name: &String| rules.find_rollout(name).is_some_and(|at| rules.rollout(at).notify.contains(id));
        let is_for_all = rules.notify.to.contains(id);
        match self {
            Self::All => is_for_all,
            Self::Rollout(name) => is_for_all || own(name),
            Self::OwnOf(name) => !is_for_all && own(name),
        }
    }
}

/// When a notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentWhen {
    Always,
    /// Only if it ends a condition.
    ConditionEnds,
    /// Only if its condition is not there yet, or has another text.
    ConditionIsNews,
}

/// What is heard of an event, and what it changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noticed {
    pub notice: Option<Notice>,
    pub change: Option<ConditionChange>,
    pub audience: NoticeAudience,
    pub when: SentWhen,
}

impl Noticed {
    /// Nothing.
    pub const fn nothing() -> Self {
        Self { notice: None, change: None, audience: NoticeAudience::All, when: SentWhen::Always }
    }

    /// A notice for the receivers of everything.
    pub fn of(notice: Notice) -> Self {
        Self { notice: Some(notice), ..Self::nothing() }
    }

    /// The same, for others.
    pub fn to(self, audience: NoticeAudience) -> Self {
        Self { audience, ..self }
    }

    /// The same, and this is there now.
    pub fn with(self, subject: &str, now: Condition) -> Self {
        Self { change: Some(ConditionChange { subject: subject.to_owned(), now: Some(now), keep: None }), ..self }
    }

    /// The same, and the conditions of this subject end.
    pub fn ending(self, subject: &str) -> Self {
        Self { change: Some(ConditionChange { subject: subject.to_owned(), now: None, keep: None }), ..self }
    }

    /// The same, sent then.
    pub fn when(self, when: SentWhen) -> Self {
        Self { when, ..self }
    }
}
