//! Handlers of the events of notifications, and what the controller calls when something happens that is heard.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;

use super::condition::Noticed;
use super::event::{NotifyEvent, SendReport};
use super::notifier::SaveWhen;
use super::of_record::config_applied;
use super::outbox_file::SavedOutbox;
use super::queue::{OutboxTime, SendVerdict, Settled};
use super::test_messages::test;
use super::watched::{WatchedCertificate, journal_failing, journal_recovered};
use crate::control::controller::Controller;
use crate::control::event::Event;
use crate::journal::Record;

/// How often certificates are looked at, in milliseconds.
const CERTIFICATES_EVERY_MS: u64 = 60 * 1_000;

impl Controller {
    /// Handles an event of notifications.
    pub(in crate::control) fn handle_notify(&mut self, event: NotifyEvent) {
        match event {
            NotifyEvent::Test(name, reply) => {
                let rules = &self.store.load().rules;
                let (asked, answers) = oneshot::channel();
                test(&self.release.notifier, name.as_deref(), rules, self.state.clock, asked);
                let events = self.sender.clone();
                tokio::spawn(async move {
                    // An error means that the runtime ends.
                    let Ok(answers) = answers.await else { return };
                    let all = answers.as_deref().unwrap_or_default().iter();
                    let arrived = all.filter(|one| one.error.is_none()).map(|one| one.receiver.clone()).collect();
                    // Sending fails when the controller has ended, or the caller has left.
                    let _ = events.send(Event::Notify(NotifyEvent::Tested(arrived))).await;
                    let _ = reply.send(answers);
                });
            }
            NotifyEvent::Tested(names) => {
                self.release.notifier.outbox.end_pauses(&names);
                self.send_notifications();
            }
            NotifyEvent::Sent(report) => {
                self.settle(&report);
                self.send_notifications();
            }
        }
    }

    fn settle(&mut self, report: &SendReport) {
        let SendReport { receiver, outcome } = report;
        let (now, outbox) = (self.moment(), &mut self.release.notifier.outbox);
        let settled = outbox.settle(receiver, outcome, now, fastrand::f64());
        if let (SendVerdict::Refused(why) | SendVerdict::Failed(why), Settled::Again) = (&outcome.verdict, settled) {
            tracing::info!("a notification did not arrive and is tried again: {why}");
        }
    }

    fn moment(&self) -> OutboxTime {
        let wall_ms = u64::try_from(self.state.clock.wall().as_millis()).unwrap_or(u64::MAX);
        OutboxTime { wall_ms, uptime_ms: self.state.uptime_ms() }
    }

    /// A record is in force: those who follow it hear of it.
    pub(in crate::control) fn notice_record(&mut self, record: &Record) {
        if self.release.notifier.is_passed {
            return;
        }
        let (now, snapshot) = (self.moment(), self.store.load());
        self.release.notifier.outbox.take_record(record, &snapshot.rules, now);
        self.send_notifications();
    }

    fn notice(&mut self, heard: Noticed) {
        if self.release.notifier.is_passed {
            return;
        }
        let (now, snapshot) = (self.moment(), self.store.load());
        self.release.notifier.outbox.take(heard, &snapshot.rules, now);
        self.send_notifications();
    }

    /// The journal cannot be written, for this reason.
    pub(in crate::control) fn notice_journal_failure(&mut self, why: &str) {
        let heard = journal_failing(why, self.moment().wall_ms);
        self.notice(heard);
    }

    /// The journal can be written.
    pub(in crate::control) fn notice_journal_works(&mut self) {
        let heard = journal_recovered(self.moment().wall_ms);
        self.notice(heard);
    }

    /// The files are those of the running configuration.
    pub(in crate::control) fn notice_unchanged_config(&mut self) {
        let at_ms = self.moment().wall_ms;
        self.notice(config_applied(format!("config-{at_ms}"), at_ms));
    }

    /// Sends what is due, saves what has changed, and shows how the receivers stand.
    fn send_notifications(&mut self) {
        self.save_notifications(SaveWhen::Soon);
        let (now, snapshot) = (self.moment(), self.store.load());
        let notifier = &mut self.release.notifier;
        notifier.send_due(&snapshot.rules, now, self.state.clock, &self.sender);
        for lost in notifier.outbox.take_lost() {
            let (receiver, id, why) = (&lost.receiver, &lost.id, &lost.why);
            tracing::error!(receiver, id, "a notification is given up: {}: {why}", lost.title);
        }
        let standings = notifier.outbox.standings(&snapshot.rules, now);
        self.state.notify.set(standings);
    }

    fn save_notifications(&mut self, when: SaveWhen) {
        if !self.release.ledger.is_ours() {
            return;
        }
        if let Some(bytes) = self.release.notifier.take_unsaved(when) {
            self.release.ledger.save_outbox(bytes);
        }
    }

    /// The rules in effect may name other receivers.
    pub(in crate::control) fn follow_receivers(&mut self) {
        let (now, snapshot) = (self.moment(), self.store.load());
        let notifier = &mut self.release.notifier;
        notifier.outbox.follow(&snapshot.rules, now);
        if !snapshot.rules.notify.receivers.is_empty() && !notifier.is_kept {
            notifier.is_kept = true;
            notifier.save_again();
        }
        self.send_notifications();
    }

    /// Goes on with the outbox of the state folder, which is ours from now on. The journal ends with the record `last_seq`.
    pub(in crate::control) fn adopt_outbox(&mut self, saved: Option<SavedOutbox>, missed: &[Record], last_seq: u64) {
        let (now, snapshot) = (self.moment(), self.store.load());
        let notifier = &mut self.release.notifier;
        notifier.is_kept |= saved.is_some() || !snapshot.rules.notify.receivers.is_empty();
        notifier.is_passed = false;
        notifier.outbox.adopt(saved, missed, &snapshot.rules, now);
        notifier.outbox.skip_to(last_seq);
    }

    /// All records up to this one are in the outbox, or are sent before they are recorded.
    pub(in crate::control) fn skip_notifications_to(&mut self, seq: u64) {
        self.release.notifier.outbox.skip_to(seq);
        self.save_notifications(SaveWhen::Now);
        self.send_notifications();
    }

    /// Saves the outbox before the records that wait for the disk.
    pub(in crate::control) fn save_outbox_first(&mut self) {
        self.save_notifications(SaveWhen::Now);
    }

    /// The other process sends from now on. Returns what it goes on with.
    pub(in crate::control) fn pass_notifications(&mut self) {
        self.save_notifications(SaveWhen::Now);
        self.release.notifier.is_passed = true;
    }

    /// What is due each second: tries again, repeats alerts, looks at certificates.
    pub(in crate::control) fn keep_notifications(&mut self) {
        if self.release.notifier.is_passed {
            return;
        }
        let now = self.moment();
        self.watch_certificates(now);
        self.release.notifier.outbox.expire(now);
        self.save_notifications(SaveWhen::Now);
        self.send_notifications();
    }

    fn watch_certificates(&mut self, now: OutboxTime) {
        let last = self.release.notifier.certificates_ms;
        let is_due = last.is_none_or(|last| now.uptime_ms.saturating_sub(last) >= CERTIFICATES_EVERY_MS);
        // In a hand-over the process before watches them.
        if !is_due || self.succession.predecessor.is_some() {
            return;
        }
        self.release.notifier.certificates_ms = Some(now.uptime_ms);
        let snapshot = self.store.load();
        let (mut served, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        for listener in snapshot.listeners.iter() {
            for one in listener.tls.iter().flat_map(|tls| tls.served()) {
                let certificate = WatchedCertificate {
                    fingerprint: one.certificate.fingerprint().to_string(),
                    name: one.certificate.label().to_owned(),
                    listener: listener.spec.name.clone(),
                    ends_ms: u64::try_from(one.certificate.expires_at().as_millis()).unwrap_or(u64::MAX),
                };
                served.insert(certificate.fingerprint.clone());
                let Some(days) = certificate.days(now.wall_ms) else { continue };
                subjects.insert(certificate.subject());
                let outbox = &mut self.release.notifier.outbox;
                if outbox.begins_certificate(&certificate.fingerprint, days) {
                    outbox.take(certificate.noticed(days, now.wall_ms), &snapshot.rules, now);
                }
            }
        }
        let outbox = &mut self.release.notifier.outbox;
        outbox.keep_certificates(&served);
        let is_stale =
            |subject: &str, _: Option<&str>| subject.starts_with("certificate:") && !subjects.contains(subject);
        for subject in outbox.stale_subjects(is_stale) {
            outbox.end_silently(&subject, &snapshot.rules, now);
        }
    }

    /// The subjects of the conditions that are there and that are stale by this test of subject and revision.
    pub(in crate::control) fn stale_subjects(&self, is_stale: impl Fn(&str, Option<&str>) -> bool) -> Vec<String> {
        self.release.notifier.outbox.stale_subjects(is_stale)
    }

    /// The conditions of a subject have ended without a record.
    pub(in crate::control) fn end_condition(&mut self, subject: &str) {
        let (now, snapshot) = (self.moment(), self.store.load());
        self.release.notifier.outbox.end_silently(subject, &snapshot.rules, now);
    }

    /// The process ends: waits a short time for the messages that are under way, and saves what is left.
    pub(in crate::control) async fn finish_notifications(&mut self, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        while self.release.notifier.outbox.is_under_way() && !self.release.notifier.is_passed {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(Event::Notify(NotifyEvent::Sent(report)))) => self.settle(&report),
                // Nothing else is handled any more.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.save_notifications(SaveWhen::Now);
    }
}
