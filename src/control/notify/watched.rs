//! What is heard beside the records of the journal: certificates that expire, and a journal that cannot be written.

use super::condition::{Condition, Noticed, SentWhen};
use super::notice::{Notice, NoticeFacts, NoticeKind, one_line};
use crate::journal::rfc3339;

/// The days before the end of a certificate on which people hear of it.
const CERTIFICATE_DAYS: [u64; 2] = [1, 14];
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The subject of the journal.
const JOURNAL: &str = "journal";

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchedCertificate {
    pub fingerprint: String,
    /// Its name, for people.
    pub name: String,
    /// The listener that serves it.
    pub listener: String,
    /// When it ends, in milliseconds since the Unix epoch.
    pub ends_ms: u64,
}

impl WatchedCertificate {
    /// What its condition is about.
    pub fn subject(&self) -> String {
        format!("certificate:{}", self.fingerprint)
    }

    /// The days before its end that it is within; `None`: it is good for longer.
    pub fn days(&self, now_ms: u64) -> Option<u64> {
        let left = self.ends_ms.saturating_sub(now_ms);
        CERTIFICATE_DAYS.into_iter().find(|days| left <= days * DAY_MS)
    }

    /// What is heard of its end.
    pub fn noticed(&self, days: u64, now_ms: u64) -> Noticed {
        let start: String = self.fingerprint.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        let id = format!("certificate-{start}-{days}");
        let end = rfc3339(std::time::Duration::from_millis(self.ends_ms));
        let (left, listener) = (self.ends_ms.saturating_sub(now_ms) / DAY_MS, &self.listener);
        let (title, text) = if self.ends_ms <= now_ms {
            let text = format!("Listener {listener} serves it, and clients refuse it since {end}.");
            (format!("The certificate {} has expired", self.name), text)
        } else {
            let text = format!("Listener {listener} serves it until {end}.");
            let when = if left == 0 { "today".to_owned() } else { format!("in {left} days") };
            (format!("The certificate {} expires {when}", self.name), text)
        };
        let facts = NoticeFacts { certificate: Some(one_line(&self.name, 200)), ..NoticeFacts::default() };
        let todo = ["renew it: a new file is read by itself".to_owned()];
        let notice = Notice::new(id, NoticeKind::CertificateExpiring, now_ms, &title, &text);
        Noticed::of(notice.with_facts(facts).with_todo(todo)).with(&self.subject(), Condition::CertificateExpiring)
    }
}

/// The journal cannot be written, for this reason.
pub(super) fn journal_failing(why: &str, now_ms: u64) -> Noticed {
    let text = format!("{why}. Kills and rollbacks are in force without being durable, and no rollout goes on.");
    let id = format!("journal-failing-{now_ms}");
    let notice = Notice::new(id, NoticeKind::JournalFailing, now_ms, "The journal cannot be written", &text);
    let notice = notice.with_todo(["pointsman status".to_owned()]);
    Noticed::of(notice).with(JOURNAL, Condition::JournalFailing).when(SentWhen::ConditionIsNews)
}

/// The journal can be written; it is heard only where it could not.
pub(super) fn journal_recovered(now_ms: u64) -> Noticed {
    let title = "The journal can be written again";
    let text = "Kills and rollbacks decided meanwhile are recorded.";
    let id = format!("journal-works-{now_ms}");
    let notice = Notice::new(id, NoticeKind::JournalRecovered, now_ms, title, text);
    Noticed::of(notice).ending(JOURNAL).when(SentWhen::ConditionEnds)
}
