//! The queue of a receiver: its messages in order, one under way at a time, and when the next try is. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::notice::Notice;
use crate::route::ReceiverKind;

/// How many messages wait for a receiver; beyond, the oldest goes.
pub(super) const WAITING_MAX: usize = 1_000;
/// For how long a message is tried, in milliseconds.
pub(super) const TRIED_FOR_MS: u64 = 24 * 60 * 60 * 1_000;
/// The first pause after a failure, in milliseconds; it doubles with each.
const PAUSE_MIN_MS: u64 = 1_000;
/// The longest pause that is not asked for, in milliseconds.
const PAUSE_MAX_MS: u64 = 5 * 60 * 1_000;
/// The longest pause that a receiver may ask for, in milliseconds.
const ASKED_PAUSE_MAX_MS: u64 = 60 * 60 * 1_000;
/// How often a message is tried that the receiver refuses.
const REFUSALS_MAX: u32 = 3;
/// How often the alerts that are there are repeated, in milliseconds.
const REPEAT_MS: u64 = 60 * 1_000;

/// The time by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutboxTime {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Milliseconds since the process started.
    pub uptime_ms: u64,
}

/// The messages of a receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceiverQueue {
    pub name: String,
    /// `None`: the rules do not have it.
    pub kind: Option<ReceiverKind>,
    /// Since when the rules do not have it, in milliseconds since the Unix epoch.
    pub gone_ms: Option<u64>,
    /// The same in milliseconds of the uptime; `None`: it was gone before this process.
    pub gone_uptime_ms: Option<u64>,
    pub waiting: VecDeque<Arc<Notice>>,
    under_way: Option<UnderWay>,
    /// Failures since something arrived.
    failures: u32,
    /// Refusals of the first message.
    refusals: u32,
    /// The next try, by the uptime.
    due_ms: u64,
    /// When alerts are repeated, by the uptime.
    repeat_ms: u64,
    pub sent: u64,
    pub failed: u64,
    pub dropped: u64,
    /// When a message arrived last, in milliseconds since the Unix epoch.
    pub last_sent_ms: Option<u64>,
    pub error: Option<String>,
}

/// What a task sends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UnderWay {
    /// The message with this id.
    Message(String),
    /// The alerts that are there.
    Alerts,
}

/// What is to be sent to a receiver.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DueContent {
    /// Its first message.
    Message(Arc<Notice>),
    /// The alerts that are there.
    Alerts,
}

/// The result of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SendOutcome {
    pub verdict: SendVerdict,
    /// The status of the answer; `None` without one.
    pub status: Option<u16>,
    /// The pause that the receiver asks for, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// Whether a message arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendVerdict {
    Arrived,
    /// The receiver does not take this message: why.
    Refused(String),
    /// The receiver does not take any message now: why.
    Failed(String),
}

/// What a settled try has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The message arrived.
    Arrived,
    /// It is tried again.
    Again,
    /// It is given up: its id and title.
    Dropped(LostMessage),
    /// It was none of the messages that wait.
    Other,
}

/// A message that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LostMessage {
    /// The name of the receiver.
    pub receiver: String,
    pub id: String,
    pub title: String,
    pub why: String,
}

impl ReceiverQueue {
    /// The queue of a process before.
    pub fn of_before(name: String, gone_ms: Option<u64>, waiting: VecDeque<Arc<Notice>>) -> Self {
        Self { name, gone_ms, waiting, ..Self::default() }
    }

    /// Adds a message; returns the oldest one when there are too many.
    pub fn push(&mut self, notice: Arc<Notice>) -> Option<LostMessage> {
        self.waiting.push_back(notice);
        (self.waiting.len() > WAITING_MAX).then(|| self.drop_oldest(&format!("more than {WAITING_MAX} wait")))?
    }

    /// Gives the oldest message up that is not under way.
    pub fn drop_oldest(&mut self, why: &str) -> Option<LostMessage> {
        let at = usize::from(matches!(self.under_way, Some(UnderWay::Message(_))));
        let oldest = self.waiting.remove(at)?;
        if at == 0 {
            self.refusals = 0;
        }
        self.dropped += 1;
        Some(self.lost(&oldest, why))
    }

    fn lost(&self, notice: &Notice, why: &str) -> LostMessage {
        let receiver = self.name.clone();
        LostMessage { receiver, id: notice.id.clone(), title: notice.title.clone(), why: why.to_owned() }
    }

    /// Whether a task sends to it now.
    pub const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The next try, by the uptime; `None` when nothing waits or one is under way.
    pub fn next_try_ms(&self) -> Option<u64> {
        (!self.waiting.is_empty() && self.under_way.is_none() && self.kind.is_some()).then_some(self.due_ms)
    }

    /// Takes what is to be sent now, which is then under way.
    pub fn begin(&mut self, now: OutboxTime) -> Option<DueContent> {
        if self.kind.is_none() || self.under_way.is_some() || now.uptime_ms < self.due_ms {
            return None;
        }
        if let Some(first) = self.waiting.front() {
            self.under_way = Some(UnderWay::Message(first.id.clone()));
            return Some(DueContent::Message(Arc::clone(first)));
        }
        if self.kind != Some(ReceiverKind::Alertmanager) || now.uptime_ms < self.repeat_ms {
            return None;
        }
        self.repeat_ms = now.uptime_ms + REPEAT_MS;
        self.under_way = Some(UnderWay::Alerts);
        Some(DueContent::Alerts)
    }

    /// The next try is at once.
    pub const fn end_pause(&mut self) {
        self.due_ms = 0;
    }

    /// Nothing is to be repeated.
    pub fn skip_alerts(&mut self) {
        self.under_way = None;
    }

    /// The alerts are repeated at the next moment.
    pub const fn repeat_now(&mut self) {
        self.repeat_ms = 0;
    }

    /// Ends a try. `jitter` is between 0 and 1.
    pub fn settle(&mut self, outcome: &SendOutcome, now: OutboxTime, jitter: f64) -> Settled {
        debug_assert!((0.0..=1.0).contains(&jitter), "it is a part of one");
        let Some(under_way) = self.under_way.take() else { return Settled::Other };
        let is_first = |queue: &Self, id: &str| queue.waiting.front().is_some_and(|first| first.id == id);
        match &outcome.verdict {
            SendVerdict::Arrived => {
                (self.failures, self.refusals, self.due_ms, self.error) = (0, 0, 0, None);
                if let UnderWay::Message(id) = under_way
                    && is_first(self, &id)
                {
                    self.waiting.pop_front();
                    self.sent += 1;
                    self.last_sent_ms = Some(now.wall_ms);
                    return Settled::Arrived;
                }
                Settled::Other
            }
            SendVerdict::Refused(why) => {
                self.fail(why, outcome.retry_after_ms, now, jitter);
                let UnderWay::Message(id) = under_way else { return Settled::Again };
                self.refusals += 1;
                if self.refusals < REFUSALS_MAX || !is_first(self, &id) {
                    return Settled::Again;
                }
                (self.refusals, self.failures, self.due_ms) = (0, 0, 0);
                self.drop_oldest(why).map_or(Settled::Other, Settled::Dropped)
            }
            SendVerdict::Failed(why) => {
                self.fail(why, outcome.retry_after_ms, now, jitter);
                Settled::Again
            }
        }
    }

    fn fail(&mut self, why: &str, asked_ms: Option<u64>, now: OutboxTime, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        self.failed += 1;
        self.error = Some(why.to_owned());
        let pause = pause_ms(self.failures, jitter).max(asked_ms.unwrap_or(0).min(ASKED_PAUSE_MAX_MS));
        self.due_ms = now.uptime_ms.saturating_add(pause);
    }

    /// For how long the rules have not had it, in milliseconds; 0 while they do.
    pub fn gone_for_ms(&self, now: OutboxTime) -> u64 {
        let by_wall = self.gone_ms.map_or(0, |gone| now.wall_ms.saturating_sub(gone));
        self.gone_uptime_ms.map_or(by_wall, |gone| now.uptime_ms.saturating_sub(gone))
    }

    /// Gives up what has waited for too long.
    pub fn expire(&mut self, now: OutboxTime) -> Vec<LostMessage> {
        let mut lost = Vec::new();
        let at = usize::from(matches!(self.under_way, Some(UnderWay::Message(_))));
        while self.waiting.get(at).is_some_and(|one| age_ms(one, now) > TRIED_FOR_MS) {
            let why =
                self.error.clone().map_or_else(|| "it waited for a day".to_owned(), |why| format!("for a day: {why}"));
            lost.extend(self.drop_oldest(&why));
        }
        lost
    }

    /// Puts messages in front of others. What is under way stays the first one.
    pub fn put(&mut self, before: VecDeque<Arc<Notice>>, after: Vec<Arc<Notice>>) {
        debug_assert!(self.waiting.is_empty(), "they are in one of the two");
        let mut after = VecDeque::from(after);
        let first = match &self.under_way {
            Some(UnderWay::Message(id)) if after.front().is_some_and(|first| first.id == *id) => after.pop_front(),
            Some(_) | None => None,
        };
        self.waiting = first.into_iter().chain(before).chain(after).collect();
        while self.waiting.len() > WAITING_MAX && self.drop_oldest("too many wait").is_some() {}
    }
}

/// For how long it has waited, in milliseconds: by the wall clock, which may step, only what is of a process before.
fn age_ms(notice: &Notice, now: OutboxTime) -> u64 {
    let by_wall = now.wall_ms.saturating_sub(notice.at_ms);
    notice.taken_ms.map_or(by_wall, |taken| now.uptime_ms.saturating_sub(taken))
}

/// The pause after this many failures, in milliseconds: it doubles, and is a quarter more or less.
fn pause_ms(failures: u32, jitter: f64) -> u64 {
    let doubled = PAUSE_MIN_MS.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX_MS);
    let part = Duration::from_millis(doubled).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0);
    u64::try_from(part.as_millis()).unwrap_or(PAUSE_MAX_MS).min(PAUSE_MAX_MS)
}
