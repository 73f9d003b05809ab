//! Alerts: the conditions that are there, and those that ended a short time ago. Alertmanager keeps alerts in memory and
//! expects them again and again; what is not repeated ends there by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::NotifyAlert;
use super::condition::{Condition, ConditionChange, NoticeAudience};
use super::notice::{Notice, NoticeKind, one_line};
use crate::route::Rules;

/// For how long an alert that ended is repeated, in milliseconds.
const ENDED_MS: u64 = 15 * 60 * 1_000;
/// How many alerts are kept; beyond, the oldest goes.
const ALERTS_MAX: usize = 1_000;
/// The longest description of an alert, in characters.
const DESCRIPTION_MAX: usize = 500;

/// The alerts of conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AlertBook {
    kept: Vec<KeptAlert>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptAlert {
    condition: Condition,
    subject: String,
    /// The revision that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    alert: NotifyAlert,
    /// Who hears of it by the rules of the moment.
    audience: NoticeAudience,
    /// Those who have heard of it.
    receivers: BTreeSet<String>,
}

impl KeptAlert {
    fn is_heard_by(&self, id: &String, rules: &Rules) -> bool {
        self.receivers.contains(id) || self.audience.has(id, rules)
    }
}

/// What a change has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FollowedChange {
    /// The alerts that ended.
    pub ended: Vec<NotifyAlert>,
    /// The alert that is there now.
    pub now: Option<NotifyAlert>,
    /// It was not there before, or had another text.
    pub is_news: bool,
    /// Alerts that are there and are not repeated any more.
    pub given_up: Vec<GivenUpAlert>,
}

/// Who hears of an alert.
#[derive(Clone, Debug)]
pub(super) struct AlertReceivers {
    pub audience: NoticeAudience,
    /// The ids of the receivers of the moment.
    pub now: Vec<String>,
}

/// An alert that is not repeated any more: there are too many.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GivenUpAlert {
    pub subject: String,
    pub title: String,
    /// The ids of those who had heard of it.
    pub receivers: BTreeSet<String>,
}

/// The alert of a notice, under this name.
pub(super) fn alert_of(notice: &Notice, name: &str) -> NotifyAlert {
    let facts = &notice.facts;
    let mut labels = BTreeMap::from([
        ("alertname".to_owned(), name.to_owned()),
        ("severity".to_owned(), notice.level.name().to_owned()),
    ]);
    let named = [
        ("rollout", &facts.rollout),
        ("route", &facts.route),
        ("variant", &facts.variant),
        ("scope", &facts.scope),
        ("certificate", &facts.certificate),
    ];
    for (label, value) in named {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            labels.insert(label.to_owned(), value.clone());
        }
    }
    NotifyAlert {
        labels,
        summary: notice.title.clone(),
        description: one_line(&notice.text, DESCRIPTION_MAX),
        todo: notice.todo.join("; "),
        starts_ms: notice.at_ms,
        ends_ms: None,
        is_brief: false,
    }
}

/// The alert of a notice that is an event without an end; `None` where it is none.
pub(super) fn brief_alert(notice: &Notice) -> Option<NotifyAlert> {
    let mut alert = NotifyAlert { is_brief: true, ..alert_of(notice, notice.kind.alert_name()?) };
    // Two stages are two alerts.
    if let Some(stage) = &notice.facts.stage {
        alert.labels.insert("stage".to_owned(), stage.clone());
    }
    // So are two guards that warn, and two revisions that begin.
    let who = notice.facts.who.as_deref().filter(|_| notice.kind == NoticeKind::Warn);
    if let Some(guard) = who.map(|who| who.strip_prefix("guard ").unwrap_or(who)) {
        alert.labels.insert("guard".to_owned(), guard.to_owned());
    }
    if let Some(revision) = notice.facts.revision.as_ref().filter(|_| notice.kind == NoticeKind::Begin) {
        alert.labels.insert("revision".to_owned(), revision.clone());
    }
    Some(alert)
}

impl AlertBook {
    /// Follows a change that these receivers hear of. `notice` describes the condition that is there now.
    pub fn follow(
        &mut self,
        change: &ConditionChange,
        notice: Option<&Notice>,
        heard: &AlertReceivers,
        now_ms: u64,
    ) -> FollowedChange {
        let mut followed = FollowedChange::default();
        let ends = |one: &KeptAlert| {
            let is_kept = change.now == Some(one.condition) || change.keep == Some(one.condition);
            one.alert.ends_ms.is_none() && one.subject == change.subject && !is_kept
        };
        for one in self.kept.iter_mut().filter(|one| ends(one)) {
            one.alert.ends_ms = Some(now_ms.max(one.alert.starts_ms));
            followed.ended.push(one.alert.clone());
        }
        if let (Some(condition), Some(notice)) = (change.now, notice) {
            // Without a notice nothing can be said of it that was not said before.
            let set = self.set(condition, &change.subject, notice, heard);
            followed = FollowedChange { ended: followed.ended, ..set };
        }
        followed
    }

    fn set(&mut self, condition: Condition, subject: &str, notice: &Notice, heard: &AlertReceivers) -> FollowedChange {
        let is_it =
            |one: &&mut KeptAlert| one.alert.ends_ms.is_none() && one.subject == subject && one.condition == condition;
        let mut alert = alert_of(notice, condition.alert_name());
        let level = if notice.is_quiet() { notice.level } else { condition.level() };
        alert.labels.insert("severity".to_owned(), level.name().to_owned());
        let revision = notice.facts.revision.clone();
        if let Some(known) = self.kept.iter_mut().find(is_it) {
            let is_news = known.alert.description != alert.description;
            // Its labels and its begin are what it is known by.
            let (labels, starts_ms) = (known.alert.labels.clone(), known.alert.starts_ms);
            known.alert = NotifyAlert { labels, starts_ms, ..alert };
            known.revision = revision;
            known.audience.clone_from(&heard.audience);
            known.receivers.extend(heard.now.iter().cloned());
            return FollowedChange { now: Some(known.alert.clone()), is_news, ..FollowedChange::default() };
        }
        let given_up = self.shorten(ALERTS_MAX - 1);
        let (subject, audience) = (subject.to_owned(), heard.audience.clone());
        let receivers = heard.now.iter().cloned().collect();
        self.kept.push(KeptAlert { condition, subject, revision, alert: alert.clone(), audience, receivers });
        debug_assert!(self.kept.len() <= ALERTS_MAX, "alerts have a bound");
        FollowedChange { ended: Vec::new(), now: Some(alert), is_news: true, given_up }
    }

    /// Gives up the oldest ones, so that so many are left: first those that ended. Returns those that had not.
    fn shorten(&mut self, most: usize) -> Vec<GivenUpAlert> {
        let mut given_up = Vec::new();
        while self.kept.len() > most {
            let ended = self.kept.iter().position(|one| one.alert.ends_ms.is_some());
            let one = self.kept.remove(ended.unwrap_or(0));
            if ended.is_none() {
                given_up.push(GivenUpAlert {
                    subject: one.subject,
                    title: one.alert.summary,
                    receivers: one.receivers,
                });
            }
        }
        given_up
    }

    /// Gives up the oldest tenth: they are too long to be saved.
    pub fn drop_oldest_tenth(&mut self) -> Vec<GivenUpAlert> {
        self.shorten(self.kept.len() - self.kept.len().div_ceil(10))
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.kept.len()
    }

    /// The alerts that a receiver gets again: those that are there, and those that ended a short time ago.
    pub fn of_receiver(&self, id: &String, rules: &Rules, now_ms: u64) -> Vec<NotifyAlert> {
        let is_recent = |one: &&KeptAlert| {
            one.alert.ends_ms.is_none_or(|ends| now_ms.saturating_sub(ends) < ENDED_MS) && one.is_heard_by(id, rules)
        };
        self.kept.iter().filter(is_recent).map(|one| one.alert.clone()).collect()
    }

    /// How many alerts are there at a receiver.
    pub fn active_of(&self, id: &String, rules: &Rules) -> u64 {
        let active = self.kept.iter().filter(|one| one.alert.ends_ms.is_none() && one.is_heard_by(id, rules));
        u64::try_from(active.count()).unwrap_or(u64::MAX)
    }

    /// Whether a condition of this subject is there.
    pub fn is_active(&self, subject: &str) -> bool {
        self.kept.iter().any(|one| one.alert.ends_ms.is_none() && one.subject == subject)
    }

    /// The subjects of conditions that are there and that are stale by this test of subject and revision.
    pub fn stale_subjects(&self, is_stale: impl Fn(&str, Option<&str>) -> bool) -> Vec<String> {
        let active = self.kept.iter().filter(|one| one.alert.ends_ms.is_none());
        let stale = active.filter(|one| is_stale(&one.subject, one.revision.as_deref()));
        stale.map(|one| one.subject.clone()).collect()
    }

    /// Forgets what ended some time ago; returns whether there was any.
    pub fn forget_old(&mut self, now_ms: u64) -> bool {
        let before = self.kept.len();
        self.kept.retain(|one| one.alert.ends_ms.is_none_or(|ends| now_ms.saturating_sub(ends) < ENDED_MS));
        self.kept.len() < before
    }

    /// Adds the alerts of another process that are not there. Returns those that are too many.
    pub fn add(&mut self, other: Self) -> Vec<GivenUpAlert> {
        let is_new = |one: &KeptAlert| {
            !self.kept.iter().any(|known| {
                let same = known.subject == one.subject && known.condition == one.condition;
                same && known.alert.ends_ms.is_none() && one.alert.ends_ms.is_none()
            })
        };
        let new: Vec<KeptAlert> = other.kept.into_iter().filter(is_new).collect();
        self.kept.splice(0..0, new);
        self.shorten(ALERTS_MAX)
    }
}
