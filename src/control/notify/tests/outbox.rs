//! The outbox: each message once a receiver, in order, whatever fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::super::condition::Noticed;
use super::super::notice::{Notice, NoticeKind};
use super::super::outbox::{DueSend, NotifyOutbox};
use super::super::outbox_file::SavedOutbox;
use super::super::queue::{OutboxTime, SendOutcome, Settled};
use super::{arrived, at, due, failed, kill, outbox, record, refused, revive, rollout, rules, running};
use crate::journal::{Deed, Record, Via};
use crate::route::{KillScope, Rules};

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn enter(seq: u64) -> Record {
    rollout(seq, "enter", running())
}

fn id(seq: u64) -> String {
    format!("{seq}-{}", super::BEGIN_MS + seq)
}

#[test]
fn each_receiver_of_the_audience_gets_a_message_once() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&enter(4), &rules, at(0));
    outbox.take_record(&enter(4), &rules, at(0));
    let all = ["am", "chat", "hook"].map(|one| format!("{one} {}", id(4)));
    assert_eq!(due(&mut outbox, at(0)), all);
    assert_eq!(due(&mut outbox, at(1)), Vec::<String>::new(), "they are under way");
    for one in ["am", "chat", "hook"] {
        assert_eq!(outbox.settle(one, &arrived(), at(1), 0.5), Settled::Arrived);
    }
    assert_eq!(due(&mut outbox, at(2)), Vec::<String>::new());
    // A kill is no event of the rollout.
    outbox.take_record(&kill(5, &KillScope::All), &rules, at(3));
    assert_eq!(due(&mut outbox, at(3)), ["am", "hook"].map(|one| format!("{one} {}", id(5))));
    assert_eq!(outbox.seen(), 5);
}

#[test]
fn what_follows_from_a_kill_goes_only_to_those_who_have_not_heard_of_it() {
    let rules = rules();
    let scope = KillScope::Rollout("next".to_owned());
    let mut outbox = outbox(&rules);
    let settle_all = |outbox: &mut NotifyOutbox| {
        let sent = due(outbox, at(0));
        for one in &sent {
            outbox.settle(one.split(' ').next().expect("a receiver"), &arrived(), at(0), 0.5);
        }
        sent
    };
    outbox.take_record(&kill(5, &scope), &rules, at(0));
    outbox.take_record(&rollout(6, "killed", serde_json::json!({ "is": "killed" })), &rules, at(0));
    assert_eq!(
        settle_all(&mut outbox),
        [format!("am {}", id(5)), format!("chat {}", id(6)), format!("hook {}", id(5))]
    );
    outbox.take_record(&revive(7, &scope), &rules, at(0));
    let held = serde_json::json!({ "is": "held", "cause": "revived", "sentence": "", "by": "pointsman" });
    outbox.take_record(&rollout(8, "revived", held.clone()), &rules, at(0));
    assert_eq!(
        settle_all(&mut outbox),
        [format!("am {}", id(7)), format!("chat {}", id(8)), format!("hook {}", id(7))]
    );
    // A kill of the file has no record of its own.
    outbox.take_record(
        &record(9, "pointsman", Via::Process, Deed::Start { version: "1".into(), host: "h".into(), pid: 1 }),
        &rules,
        at(0),
    );
    outbox.take_record(&rollout(10, "killed", serde_json::json!({ "is": "killed" })), &rules, at(0));
    assert_eq!(settle_all(&mut outbox).len(), 3);
}

#[test]
fn pauses_double_and_a_receiver_may_ask_for_a_longer_one() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&kill(1, &KillScope::All), &rules, at(0));
    let mut now = 0;
    for expected in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000] {
        assert!(due(&mut outbox, at(now)).iter().any(|one| one.starts_with("hook")), "{expected}");
        outbox.settle("hook", &failed(), at(now), 0.5);
        let until = now + expected;
        assert!(!due(&mut outbox, at(until - 1)).iter().any(|one| one.starts_with("hook")), "{expected}");
        now = until;
    }
    let hook = |outbox: &mut NotifyOutbox, now| due(outbox, at(now)).iter().any(|one| one.starts_with("hook"));
    for (asked, granted) in [(1, 300_000), (400_000, 400_000), (u64::MAX, 3_600_000)] {
        assert!(hook(&mut outbox, now));
        outbox.settle("hook", &SendOutcome { retry_after_ms: Some(asked), ..failed() }, at(now), 0.5);
        assert!(!hook(&mut outbox, now + granted - 1), "{asked}");
        now += granted;
    }
    // What arrives frees the queue at once.
    outbox.take_record(&kill(2, &KillScope::All), &rules, at(now));
    assert!(hook(&mut outbox, now));
    assert_eq!(outbox.settle("hook", &arrived(), at(now), 0.5), Settled::Arrived);
    assert!(hook(&mut outbox, now));
}

#[test]
fn a_test_that_arrives_ends_the_pause() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&kill(1, &KillScope::All), &rules, at(0));
    outbox.take_due(&rules, at(0));
    outbox.settle("hook", &failed(), at(0), 0.5);
    outbox.settle("am", &failed(), at(0), 0.5);
    assert_eq!(due(&mut outbox, at(1)), Vec::<String>::new());
    outbox.end_pauses(&["webhook:hook".to_owned()]);
    assert_eq!(due(&mut outbox, at(1)), [format!("hook {}", id(1))]);
}

#[test]
fn a_message_that_is_refused_holds_up_no_other() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&kill(1, &KillScope::All), &rules, at(0));
    outbox.take_record(&kill(2, &KillScope::All), &rules, at(0));
    let mut now = 0;
    for _ in 0..2 {
        outbox.take_due(&rules, at(now));
        assert_eq!(outbox.settle("hook", &refused(), at(now), 0.5), Settled::Again);
        now += 10_000;
    }
    outbox.take_due(&rules, at(now));
    let Settled::Dropped(lost) = outbox.settle("hook", &refused(), at(now), 0.5) else { panic!("given up") };
    assert_eq!((lost.id.as_str(), lost.why.as_str()), (id(1).as_str(), "it does not take it"));
    assert!(due(&mut outbox, at(now)).contains(&format!("hook {}", id(2))));
    let standing = &outbox.standings(&rules, at(now))[0];
    assert_eq!((standing.pending, standing.failed, standing.dropped), (1, 3, 1));
}

#[test]
fn a_message_waits_for_a_day() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&kill(1, &KillScope::All), &rules, at(0));
    outbox.expire(at(DAY));
    assert_eq!(outbox.take_lost(), []);
    outbox.take_due(&rules, at(DAY));
    outbox.settle("hook", &failed(), at(DAY), 0.5);
    outbox.expire(at(DAY + 2));
    let lost = outbox.take_lost();
    // The one to the Alertmanager is under way.
    assert_eq!(lost.iter().map(|one| one.receiver.as_str()).collect::<Vec<_>>(), ["webhook:hook"]);
    assert_eq!(lost[0].why, "for a day: it is down");
    outbox.settle("am", &failed(), at(DAY + 3), 0.5);
    outbox.expire(at(DAY + 3));
    assert_eq!(outbox.take_lost().len(), 1);
}

fn without_hook() -> Rules {
    let mut without = rules();
    without.notify.receivers.remove(0);
    without.notify.to.remove(0);
    without
}

#[test]
fn a_wall_clock_that_steps_drops_nothing() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let early = OutboxTime { wall_ms: 0, uptime_ms: 5 };
    outbox.take_record(
        &Record { at: "1970-01-01T00:00:00.000Z".to_owned(), ..kill(1, &KillScope::All) },
        &rules,
        early,
    );
    outbox.follow(&without_hook(), early);
    outbox.expire(at(100));
    assert_eq!(outbox.take_lost(), [], "the clock was set by 56 years");
    outbox.expire(at(DAY + 6));
    assert_eq!(outbox.take_lost().len(), 2, "a day has passed");
}

#[test]
fn what_is_under_way_is_settled_once_although_its_receiver_leaves_and_comes_back() {
    let all = rules();
    let mut outbox = outbox(&all);
    outbox.take_record(&kill(1, &KillScope::All), &all, at(0));
    outbox.take_due(&all, at(0));
    outbox.settle("hook", &arrived(), at(0), 0.5);
    outbox.settle("am", &arrived(), at(0), 0.5);
    // Alerts are under way, no message.
    assert_eq!(due(&mut outbox, at(1)), ["am alerts"]);
    let mut without = rules();
    without.notify.receivers.pop();
    without.notify.to.pop();
    outbox.follow(&without, at(2));
    outbox.follow(&all, at(3));
    outbox.take_record(&kill(2, &KillScope::All), &all, at(3));
    assert_eq!(due(&mut outbox, at(3)), [format!("hook {}", id(2))], "one at a time");
    assert_eq!(outbox.settle("am", &arrived(), at(4), 0.5), Settled::Other);
    assert_eq!(due(&mut outbox, at(4)), [format!("am {}", id(2))]);
}

#[test]
fn alerts_that_are_too_long_to_be_saved_are_given_up() {
    let rules = rules();
    let mut notifier = super::super::notifier::Notifier::default();
    notifier.outbox = outbox(&rules);
    for seq in 1..=1_000 {
        let scope = KillScope::Tenant(format!("{seq}{}", "\u{1d11e}".repeat(1_000)));
        notifier.outbox.take_record(&kill(seq, &scope), &rules, at(seq));
        for send in notifier.outbox.take_due(&rules, at(seq)) {
            notifier.outbox.settle(&send.receiver, &arrived(), at(seq), 0.5);
        }
    }
    let saved = notifier.take_unsaved(super::super::notifier::SaveWhen::Now).expect("it has changed");
    assert!(saved.len() <= crate::journal::OUTBOX_MAX, "{}", saved.len());
    let lost = notifier.outbox.take_lost();
    assert!(!lost.is_empty() && lost[0].id.starts_with("kill:tenant 1\u{1d11e}"), "{}", lost.len());
    assert!(
        notifier.outbox.stale_subjects(|_, _| true).iter().any(|one| one.contains("tenant 1000")),
        "the newest stay"
    );
}

#[test]
fn a_receiver_that_leaves_the_file_gets_nothing_and_keeps_its_messages_for_a_day() {
    let all = rules();
    let mut outbox = outbox(&all);
    outbox.take_record(&kill(1, &KillScope::All), &all, at(0));
    let without = without_hook();
    outbox.follow(&without, at(10));
    assert_eq!(due(&mut outbox, at(10)), [format!("am {}", id(1))]);
    outbox.take_record(&kill(2, &KillScope::All), &without, at(20));
    outbox.follow(&all, at(30));
    assert_eq!(due(&mut outbox, at(30)), [format!("hook {}", id(1))]);
    outbox.settle("hook", &arrived(), at(30), 0.5);
    assert_eq!(due(&mut outbox, at(30)), Vec::<String>::new(), "it was not there when the second one happened");
    outbox.take_record(&kill(3, &KillScope::All), &all, at(40));
    outbox.follow(&without, at(50));
    outbox.expire(at(DAY));
    assert_eq!(outbox.take_lost(), []);
    outbox.expire(at(DAY + 51));
    assert!(outbox.take_lost().iter().any(|lost| lost.receiver == "webhook:hook" && lost.id == id(3)));
    outbox.follow(&all, at(DAY + 60));
    assert!(!due(&mut outbox, at(DAY + 60)).iter().any(|one| one.starts_with("hook")));
}

#[test]
fn what_waits_has_a_bound() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    for seq in 1..=1_003 {
        outbox.take_record(&enter(seq), &rules, at(seq));
    }
    let lost = outbox.take_lost();
    assert_eq!(
        lost.iter().filter(|one| one.receiver == "webhook:hook").map(|one| one.id.clone()).collect::<Vec<_>>(),
        [1, 2, 3].map(id)
    );
    let mut notifier = super::super::notifier::Notifier::default();
    let text = "é".repeat(2_000);
    for number in 0..1_000_u64 {
        let notice = Notice::new(format!("n{number}"), NoticeKind::Kill, at(number).wall_ms, &text, &text);
        outbox.take(Noticed::of(notice), &rules, at(number));
    }
    notifier.outbox = outbox;
    let saved = notifier.take_unsaved(super::super::notifier::SaveWhen::Now).expect("it has changed");
    assert!(saved.len() <= crate::journal::OUTBOX_MAX, "{}", saved.len());
    let read = SavedOutbox::read(&saved).expect("its own form");
    let (_, queue) = read.queues().into_iter().find(|(receiver, _)| receiver == "hook").expect("it waits");
    assert_eq!(queue.waiting.back().map(|last| last.id.clone()), Some("n999".to_owned()), "the newest stay");
}

#[test]
fn what_waits_outlives_the_process() {
    let rules = rules();
    let mut before = outbox(&rules);
    for seq in 1..=3 {
        before.take_record(&enter(seq), &rules, at(seq));
    }
    before.take_due(&rules, at(10));
    before.settle("hook", &arrived(), at(10), 0.5);
    let saved = before.to_saved().to_bytes();
    // Records 4 and 5 were written, and the process was killed before the outbox was.
    let missed = [enter(4), kill(5, &KillScope::All)];
    let mut after = outbox(&rules);
    // Decided before the folder was taken, with a number of its own.
    after.take_record(&kill(9, &KillScope::All), &rules, at(9));
    after.adopt(SavedOutbox::read(&saved).ok(), &missed, &rules, at(20));
    after.skip_to(5);
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for round in 0..10 {
        for DueSend { receiver, notice, .. } in after.take_due(&rules, at(20 + round)) {
            got.entry(receiver.clone()).or_default().extend(notice.map(|notice| notice.id.clone()));
            after.settle(&receiver, &arrived(), at(20 + round), 0.5);
        }
    }
    assert_eq!(got["hook"], [2, 3, 4, 5, 9].map(id));
    assert_eq!(got["chat"], [1, 2, 3, 4].map(id));
    after.take_record(&enter(6), &rules, at(40));
    assert_eq!(due(&mut after, at(40)).len(), 3, "numbers go on after those of the journal");
}

#[test]
fn an_outbox_of_another_form_is_not_read() {
    for text in
        ["", "null", "{}", r#"{"seen":"a","notices":[],"queues":[]}"#, r#"{"seen":1,"notices":[{}],"queues":[]}"#]
    {
        assert!(SavedOutbox::read(text.as_bytes()).is_err(), "{text}");
    }
    let odd = r#"{"seen":1,"notices":[],"queues":[{"receiver":"hook","name":"h","waiting":[0,7]}]}"#;
    let read = SavedOutbox::read(odd.as_bytes()).expect("its form");
    assert!(read.queues()[0].1.waiting.is_empty(), "a place without a notice is none");
}

/// A step of a history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A record is decided.
    Decide,
    /// The outbox is saved.
    Save,
    /// So many milliseconds pass.
    Pass(u64),
    /// What is due is sent; the bits say which receivers take it.
    Send(u8),
    /// What is due arrives, and the process is killed before it knows.
    Arrive,
    /// The process is killed, and starts again.
    Kill,
    /// What is due is sent, and all receivers are down.
    Down,
    /// The file leaves a receiver out and names it again while what is due is under way, which arrives.
    Rejoin,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Decide),
        3 => Just(Step::Save),
        2 => (1_u64..400_000).prop_map(Step::Pass),
        4 => any::<u8>().prop_map(Step::Send),
        1 => Just(Step::Arrive),
        1 => Just(Step::Kill),
        1 => Just(Step::Down),
        1 => Just(Step::Rejoin),
    ];
    prop::collection::vec(step, 1..60)
}

/// A proxy with a journal and an outbox on a disk, and receivers.
struct World {
    rules: Rules,
    journal: Vec<Record>,
    disk: Option<Vec<u8>>,
    outbox: NotifyOutbox,
    now: u64,
    /// What arrived, in order.
    got: BTreeMap<String, Vec<String>>,
}

impl World {
    fn begin() -> Self {
        let rules = rules();
        let outbox = outbox(&rules);
        let mut world = Self { rules, journal: Vec::new(), disk: None, outbox, now: 0, got: BTreeMap::new() };
        // It goes ahead of the first record.
        world.save();
        world
    }

    fn now(&self) -> OutboxTime {
        at(self.now)
    }

    fn save(&mut self) {
        self.disk = Some(self.outbox.to_saved().to_bytes());
    }

    fn restart(&mut self) {
        let saved = self.disk.as_ref().map(|saved| SavedOutbox::read(saved).expect("its own form"));
        let seen = saved.as_ref().map_or(0, SavedOutbox::last_taken);
        let missed: Vec<Record> = self.journal.iter().filter(|one| one.seq > seen).cloned().collect();
        let now = self.now();
        self.outbox = outbox(&self.rules);
        self.outbox.adopt(saved, &missed, &self.rules, now);
        self.outbox.skip_to(self.journal.last().map_or(0, |last| last.seq));
        self.save();
    }

    fn take(&mut self, send: &DueSend) {
        let of = self.got.entry(send.receiver.clone()).or_default();
        of.extend(send.notice.as_ref().map(|notice: &Arc<Notice>| notice.id.clone()));
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Decide => {
                let seq = u64::try_from(self.journal.len()).expect("few") + 1;
                let next =
                    if seq.is_multiple_of(3) { kill(seq, &KillScope::Tenant(format!("t{seq}"))) } else { enter(seq) };
                self.journal.push(next.clone());
                self.outbox.take_record(&next, &self.rules, now);
            }
            Step::Save => self.save(),
            Step::Pass(ms) => self.now += ms,
            Step::Send(takers) => {
                for (bit, send) in self.outbox.take_due(&self.rules, now).into_iter().enumerate() {
                    if takers & (1 << bit) == 0 {
                        self.outbox.settle(&send.receiver, &failed(), now, 0.3);
                    } else {
                        self.take(&send);
                        self.outbox.settle(&send.receiver, &arrived(), now, 0.3);
                    }
                }
            }
            Step::Arrive => {
                for send in self.outbox.take_due(&self.rules, now) {
                    self.take(&send);
                }
                self.restart();
            }
            Step::Kill => self.restart(),
            Step::Rejoin => {
                let under_way = self.outbox.take_due(&self.rules, now);
                self.outbox.follow(&without_hook(), now);
                self.outbox.follow(&self.rules, now);
                self.step(Step::Decide);
                for send in under_way {
                    self.take(&send);
                    self.outbox.settle(&send.receiver, &arrived(), now, 0.3);
                }
            }
            Step::Down => {
                for send in self.outbox.take_due(&self.rules, now) {
                    self.outbox.settle(&send.receiver, &failed(), now, 0.9);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing is lost, each message comes in its order, and a second time only with the same id.
    #[test]
    fn each_message_arrives_once_whatever_fails(steps in steps()) {
        let mut world = World::begin();
        for step in &steps {
            world.step(*step);
        }
        world.restart();
        for _ in 0..=world.journal.len() {
            world.now += 1_000_000;
            world.step(Step::Send(255));
        }
        for receiver in ["am", "chat", "hook"] {
            let is_for = |one: &&Record| receiver != "chat" || matches!(one.what, Deed::Rollout(_));
            let expected: Vec<String> = world.journal.iter().filter(is_for).map(|one| id(one.seq)).collect();
            let (mut seen, mut first) = (BTreeSet::new(), world.got.get(receiver).cloned().unwrap_or_default());
            first.retain(|one| seen.insert(one.clone()));
            prop_assert_eq!(&first, &expected, "{}", receiver);
        }
    }
}
