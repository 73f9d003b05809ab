//! The outbox: what each receiver has not got yet, the alerts that are there, and up to which record of the journal all is in
//! it. Pure: the time is an argument, tasks send what is due, and what they report is settled here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alert::NotifyAlert;
use super::alerts::{AlertBook, AlertReceivers, GivenUpAlert, brief_alert};
use super::condition::{ConditionChange, NoticeAudience, Noticed, SentWhen};
use super::notice::Notice;
use super::of_record::noticed;
use super::outbox_file::SavedOutbox;
use super::queue::{DueContent, LostMessage, OutboxTime, ReceiverQueue, SendOutcome, Settled, TRIED_FOR_MS};
use super::standing::ReceiverStanding;
use crate::journal::{Deed, Record, rfc3339};
use crate::release::RolloutVerb;
use crate::route::{ReceiverKind, Rules};

/// What each receiver has not got yet.
#[derive(Clone, Debug, Default)]
pub(super) struct NotifyOutbox {
    /// The last record that was taken.
    seen: u64,
    queues: BTreeMap<String, ReceiverQueue>,
    alerts: AlertBook,
    /// The certificates that a notice was about, by fingerprint, with the days that were left.
    certificates: BTreeMap<String, u64>,
    /// The last record of a kill or its end, or of what follows from it.
    after_kill: Option<u64>,
    /// How many messages have no record.
    unrecorded: u64,
    lost: Vec<LostMessage>,
    is_changed: bool,
}

/// What is to be sent to a receiver now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DueSend {
    /// The id of the receiver.
    pub receiver: String,
    /// The message; `None`: the alerts are repeated.
    pub notice: Option<Arc<Notice>>,
    /// The alerts of the message, or those that are repeated.
    pub alerts: Vec<NotifyAlert>,
}

impl NotifyOutbox {
    /// Follows the receivers of the rules. Those that leave keep their messages for a day.
    pub fn follow(&mut self, rules: &Rules, now: OutboxTime) {
        for queue in self.queues.values_mut() {
            queue.kind = None;
        }
        for receiver in &rules.notify.receivers {
            let queue = self.queues.entry(receiver.id.clone()).or_default();
            queue.name.clone_from(&receiver.name);
            queue.kind = Some(receiver.kind);
            (queue.gone_ms, queue.gone_uptime_ms) = (None, None);
        }
        for queue in self.queues.values_mut().filter(|queue| queue.kind.is_none()) {
            if queue.gone_ms.is_none() {
                (queue.gone_ms, queue.gone_uptime_ms) = (Some(now.wall_ms), Some(now.uptime_ms));
            }
        }
        // The report of a message that is under way is about this queue, also when the receiver comes back meanwhile.
        self.queues.retain(|_, queue| queue.kind.is_some() || !queue.waiting.is_empty() || queue.is_under_way());
    }

    /// Takes a record, unless it was taken before.
    pub fn take_record(&mut self, record: &Record, rules: &Rules, now: OutboxTime) {
        if record.seq > 0 {
            if record.seq <= self.seen {
                return;
            }
            self.seen = record.seq;
            self.is_changed = true;
        }
        let heard = noticed(record, rules);
        let heard = if self.follows_kill(record) { without_receivers_of_all(heard) } else { heard };
        self.take(heard, rules, now);
    }

    /// Whether those who get everything have heard of the kill, or its end, that a record follows from.
    fn follows_kill(&mut self, record: &Record) -> bool {
        let is_cause = matches!(record.what, Deed::Kill { .. } | Deed::Revive { .. });
        let follows = match &record.what {
            Deed::Rollout(deed) => {
                let is_stop = [RolloutVerb::Killed, RolloutVerb::Revived].iter().any(|verb| deed.act == verb.name());
                is_stop && self.after_kill.is_some_and(|before| before + 1 == record.seq)
            }
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Kill { .. }
            | Deed::Revive { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Release(_)
            | Deed::Checkpoint { .. } => false,
        };
        self.after_kill = (is_cause || follows).then_some(record.seq);
        follows
    }

    /// Takes what is heard of an event.
    pub fn take(&mut self, heard: Noticed, rules: &Rules, now: OutboxTime) {
        let Noticed { notice, change, audience, when } = heard;
        let receivers = audience_of(&audience, rules);
        // A condition concerns those too who have heard of its cause.
        let audience = audience.whole();
        let concerned = AlertReceivers { now: audience_of(&audience, rules), audience };
        let was_there = change.as_ref().is_some_and(|change| self.alerts.is_active(&change.subject));
        let at_ms = notice.as_ref().map_or(now.wall_ms, |notice| notice.at_ms);
        let followed = change.map(|change| self.alerts.follow(&change, notice.as_ref(), &concerned, at_ms));
        let mut followed = followed.unwrap_or_default();
        self.lose_alerts(std::mem::take(&mut followed.given_up));
        let has_changed = !followed.ended.is_empty() || followed.now.is_some();
        self.is_changed |= has_changed;
        if has_changed {
            // Who gets no message hears of it by the alerts that are repeated.
            let others = self.queues.iter_mut().filter(|(id, _)| notice.is_none() || !receivers.contains(*id));
            others.for_each(|(_, queue)| queue.repeat_now());
        }
        let Some(mut notice) = notice else { return };
        notice.taken_ms = Some(now.uptime_ms);
        let is_sent = match when {
            SentWhen::Always => true,
            SentWhen::ConditionEnds => was_there,
            SentWhen::ConditionIsNews => followed.is_news,
        };
        if !is_sent {
            return;
        }
        if notice.id.is_empty() {
            self.unrecorded += 1;
            notice.id = format!("unrecorded-{}-{}", notice.at_ms, self.unrecorded);
        }
        let own = followed.now.or_else(|| brief_alert(&notice));
        notice.alerts = followed.ended.into_iter().chain(own).collect();
        self.push(&Arc::new(notice), &receivers);
    }

    fn lose_alerts(&mut self, given_up: Vec<GivenUpAlert>) {
        for GivenUpAlert { subject, title, receivers } in given_up {
            for (id, queue) in &mut self.queues {
                if queue.kind == Some(ReceiverKind::Alertmanager) && receivers.contains(id) {
                    queue.dropped += 1;
                    let (receiver, id, why) =
                        (queue.name.clone(), subject.clone(), "too many alerts are there".to_owned());
                    self.lost.push(LostMessage { receiver, id, title: title.clone(), why });
                }
            }
        }
    }

    fn push(&mut self, notice: &Arc<Notice>, receivers: &[String]) {
        for id in receivers {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            if queue.kind == Some(ReceiverKind::Alertmanager) && notice.alerts.is_empty() {
                continue;
            }
            self.is_changed = true;
            self.lost.extend(queue.push(Arc::clone(notice)));
        }
    }

    /// Takes what is to be sent now; each receiver gets one message at a time.
    pub fn take_due(&mut self, rules: &Rules, now: OutboxTime) -> Vec<DueSend> {
        let mut due = Vec::new();
        for (id, queue) in &mut self.queues {
            let receiver = id.clone();
            match queue.begin(now) {
                Some(DueContent::Message(notice)) => {
                    let alerts = notice.alerts.clone();
                    due.push(DueSend { receiver, notice: Some(notice), alerts });
                }
                Some(DueContent::Alerts) => {
                    let alerts = self.alerts.of_receiver(id, rules, now.wall_ms);
                    if alerts.is_empty() {
                        queue.skip_alerts();
                    } else {
                        due.push(DueSend { receiver, notice: None, alerts });
                    }
                }
                None => {}
            }
        }
        due
    }

    /// Ends a try. `jitter` is between 0 and 1.
    pub fn settle(&mut self, receiver: &str, outcome: &SendOutcome, now: OutboxTime, jitter: f64) -> Settled {
        let Some(queue) = self.queues.get_mut(receiver) else { return Settled::Other };
        let settled = queue.settle(outcome, now, jitter);
        match &settled {
            Settled::Arrived => self.is_changed = true,
            Settled::Dropped(lost) => {
                self.is_changed = true;
                self.lost.push(lost.clone());
            }
            Settled::Again | Settled::Other => {}
        }
        settled
    }

    /// The receivers of these names have taken a test message: what waits for them is tried at once.
    pub fn end_pauses(&mut self, names: &[String]) {
        self.queues.values_mut().filter(|queue| names.contains(&queue.name)).for_each(ReceiverQueue::end_pause);
    }

    /// Whether some message or alert is being sent.
    pub fn is_under_way(&self) -> bool {
        self.queues.values().any(ReceiverQueue::is_under_way)
    }

    /// Gives up what has waited for too long, and what waits for receivers that are not in the rules for a day.
    pub fn expire(&mut self, now: OutboxTime) {
        self.is_changed |= self.alerts.forget_old(now.wall_ms);
        for queue in self.queues.values_mut() {
            let mut lost = queue.expire(now);
            if queue.gone_for_ms(now) > TRIED_FOR_MS {
                let why = "the file does not name the receiver any more";
                lost.extend(std::iter::from_fn(|| queue.drop_oldest(why)));
            }
            self.is_changed |= !lost.is_empty();
            self.lost.extend(lost);
        }
        self.queues.retain(|_, queue| queue.kind.is_some() || !queue.waiting.is_empty() || queue.is_under_way());
    }

    /// The messages that were given up since the last call.
    pub fn take_lost(&mut self) -> Vec<LostMessage> {
        std::mem::take(&mut self.lost)
    }

    /// Goes on with what a process before has saved, before what waits here. The journal ends with the record `last_seq`;
    /// those after the ones that the other process has taken follow.
    pub fn adopt(&mut self, saved: Option<SavedOutbox>, missed: &[Record], rules: &Rules, now: OutboxTime) {
        let own = std::mem::take(&mut self.queues);
        self.is_changed = true;
        if let Some(saved) = saved {
            self.seen = saved.seen;
            for (id, queue) in saved.queues() {
                self.queues.insert(id, queue);
            }
            let too_many = self.alerts.add(saved.alerts);
            self.lose_alerts(too_many);
            self.certificates.extend(saved.certificates);
        }
        self.follow(rules, now);
        // Their kills are their own.
        self.after_kill = None;
        for record in missed {
            self.take_record(record, rules, now);
        }
        self.after_kill = None;
        for (id, own) in own {
            let queue = self.queues.entry(id).or_default();
            let before = std::mem::take(&mut queue.waiting);
            *queue = own;
            let known: BTreeSet<String> = before.iter().map(|one| one.id.clone()).collect();
            let after: Vec<Arc<Notice>> = queue.waiting.drain(..).filter(|one| !known.contains(&one.id)).collect();
            // What is under way stays the first one.
            queue.put(before, after);
        }
        self.follow(rules, now);
        // The alerts of the process before are in force here too.
        self.queues.values_mut().for_each(ReceiverQueue::repeat_now);
    }

    /// The journal ends with this record: all of it were taken.
    pub fn skip_to(&mut self, seq: u64) {
        self.is_changed |= self.seen != seq;
        self.seen = seq;
    }

    /// The last record that was taken.
    #[cfg(test)]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether something was taken that outlives the process since the last call.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.is_changed, false)
    }

    /// Whether nothing waits and no alert is there.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.alerts == AlertBook::default()
    }

    /// What outlives the process.
    pub fn to_saved(&self) -> SavedOutbox {
        SavedOutbox::new(self.seen, &self.queues, &self.alerts, &self.certificates)
    }

    /// Gives up the oldest tenth of what waits, and where nothing does the oldest tenth of the alerts: it is too long to be
    /// saved. Returns whether there was any.
    pub fn drop_oldest_tenth(&mut self) -> bool {
        let mut is_shorter = false;
        for queue in self.queues.values_mut() {
            for _ in 0..queue.waiting.len().div_ceil(10) {
                let lost = queue.drop_oldest("too many wait");
                is_shorter |= lost.is_some();
                self.lost.extend(lost);
            }
        }
        if is_shorter {
            return true;
        }
        let count = self.alerts.count();
        let given_up = self.alerts.drop_oldest_tenth();
        self.lose_alerts(given_up);
        self.alerts.count() < count
    }

    /// Whether a notice about this certificate was not sent yet: with so many days left, or fewer.
    pub fn begins_certificate(&mut self, fingerprint: &str, days: u64) -> bool {
        let known = self.certificates.get(fingerprint);
        if known.is_some_and(|known| *known <= days) {
            return false;
        }
        self.certificates.insert(fingerprint.to_owned(), days);
        self.is_changed = true;
        true
    }

    /// The subjects of the conditions that are there and that are stale by this test of subject and revision.
    pub fn stale_subjects(&self, is_stale: impl Fn(&str, Option<&str>) -> bool) -> Vec<String> {
        self.alerts.stale_subjects(is_stale)
    }

    /// The conditions of a subject end, without a message.
    pub fn end_silently(&mut self, subject: &str, rules: &Rules, now: OutboxTime) {
        let change = ConditionChange { subject: subject.to_owned(), now: None, keep: None };
        self.take(Noticed { change: Some(change), ..Noticed::nothing() }, rules, now);
    }

    /// Only these certificates are served.
    pub fn keep_certificates(&mut self, served: &BTreeSet<String>) {
        let before = self.certificates.len();
        self.certificates.retain(|fingerprint, _| served.contains(fingerprint));
        self.is_changed |= self.certificates.len() < before;
    }

    /// How the receivers of the rules stand.
    pub fn standings(&self, rules: &Rules, now: OutboxTime) -> Vec<ReceiverStanding> {
        let at = |ms: u64| rfc3339(std::time::Duration::from_millis(ms));
        let none = ReceiverQueue::default();
        let one = |receiver: &crate::route::Receiver| {
            let queue = self.queues.get(&receiver.id).unwrap_or(&none);
            let named = rules.rollouts.iter().filter(|rollout| rollout.notify.contains(&receiver.id));
            let next = queue.next_try_ms().map(|due| now.wall_ms + due.saturating_sub(now.uptime_ms));
            ReceiverStanding {
                name: receiver.name.clone(),
                kind: receiver.kind.name(),
                is_for_all: rules.notify.to.contains(&receiver.id),
                rollouts: named.map(|rollout| rollout.name.clone()).collect(),
                pending: u64::try_from(queue.waiting.len()).unwrap_or(u64::MAX),
                oldest: queue.waiting.front().map(|first| at(first.at_ms)),
                next_try_ms: next,
                sent: queue.sent,
                failed: queue.failed,
                dropped: queue.dropped,
                last_sent: queue.last_sent_ms.map(at),
                error: queue.error.clone(),
                alerts: self.alerts.active_of(&receiver.id, rules),
            }
        };
        rules.notify.receivers.iter().map(one).collect()
    }
}

fn without_receivers_of_all(heard: Noticed) -> Noticed {
    match &heard.audience {
        NoticeAudience::Rollout(name) => {
            let audience = NoticeAudience::OwnOf(name.clone());
            heard.to(audience)
        }
        NoticeAudience::All | NoticeAudience::OwnOf(_) => heard,
    }
}

/// The ids of the receivers, each once.
fn audience_of(audience: &NoticeAudience, rules: &Rules) -> Vec<String> {
    let own =
        |name: &String| rules.find_rollout(name).map(|id| rules.rollout(id).notify.as_slice()).unwrap_or_default();
    let all = &rules.notify.to;
    let mut ids: Vec<String> = match audience {
        NoticeAudience::All => all.clone(),
        NoticeAudience::Rollout(name) => all.iter().chain(own(name)).cloned().collect(),
        NoticeAudience::OwnOf(name) => own(name).iter().filter(|id| !all.contains(id)).cloned().collect(),
    };
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}
