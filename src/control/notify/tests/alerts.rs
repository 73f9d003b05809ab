//! Alerts: begun, repeated, ended.

use serde_json::json;

use super::super::alert::NotifyAlert;
use super::super::outbox::NotifyOutbox;
use super::super::queue::OutboxTime;
use super::{BEGIN_MS, arrived, at, kill, outbox, revive, rollout, rules, running};
use crate::journal::{Actor, Via};
use crate::route::{KillScope, Rules};

/// The name of an alert, and its end after the beginning where it has ended.
type SentAlert = (String, Option<u64>);

const MINUTE: u64 = 60 * 1_000;

/// What the Alertmanager gets now: for each alert its name, and its end after the beginning where it has ended.
fn sent(outbox: &mut NotifyOutbox, now: OutboxTime) -> Vec<SentAlert> {
    let due = outbox.take_due(&super::rules(), now);
    for one in &due {
        outbox.settle(&one.receiver, &arrived(), now, 0.5);
    }
    let own = due.into_iter().filter(|one| one.receiver == "am");
    let name = |one: &super::super::alert::NotifyAlert| {
        (one.labels["alertname"].clone(), one.ends_ms.map(|ends| ends - BEGIN_MS))
    };
    own.flat_map(|one| one.alerts).map(|one| name(&one)).collect()
}

fn named(all: &[(&str, Option<u64>)]) -> Vec<SentAlert> {
    all.iter().map(|(name, ends)| ((*name).to_owned(), *ends)).collect()
}

fn after(outbox: &mut NotifyOutbox, rules: &Rules, seq: u64, act: &str, phase: &str) -> Vec<SentAlert> {
    let phase = json!({ "is": phase, "cause": "person", "by": "ana", "sentence": "s" });
    outbox.take_record(&rollout(seq, act, phase), rules, at(seq));
    sent(outbox, at(seq))
}

#[test]
fn a_condition_begins_and_ends_with_the_phase_of_the_rollout() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let mut next = |seq, act: &str, phase: &str| after(&mut outbox, &rules, seq, act, phase);
    assert_eq!(next(1, "enter", "running"), named(&[("PointsmanStageEntered", None)]));
    assert_eq!(next(2, "ask", "running"), named(&[("PointsmanApprovalAwaited", None)]));
    let repeated = next(3, "approve", "running");
    assert_eq!(repeated, named(&[("PointsmanApprovalAwaited", None)]), "the other role is still awaited");
    assert_eq!(next(4, "warn", "running"), named(&[("PointsmanGuardTripped", None)]));
    assert_eq!(next(5, "hold", "held"), named(&[("PointsmanApprovalAwaited", Some(5)), ("PointsmanHeld", None)]));
    assert_eq!(next(6, "warn", "held"), named(&[("PointsmanGuardTripped", None)]));
    assert_eq!(next(7, "rollback", "rolled_back"), named(&[("PointsmanHeld", Some(7)), ("PointsmanRolledBack", None)]));
    assert_eq!(next(8, "resume", "running"), named(&[("PointsmanRolledBack", Some(8)), ("PointsmanResumed", None)]));
    assert_eq!(next(9, "raise", "running"), []);
    assert_eq!(next(10, "complete", "complete"), named(&[("PointsmanComplete", None)]));
    assert_eq!(next(11, "rollback", "rolled_back"), named(&[("PointsmanRolledBack", None)]));
    let ended = [("PointsmanApprovalAwaited", Some(5)), ("PointsmanHeld", Some(7)), ("PointsmanRolledBack", Some(8))];
    let all: Vec<_> = ended.into_iter().chain([("PointsmanRolledBack", Some(12))]).collect();
    assert_eq!(next(12, "archive", "rolled_back"), named(&all), "it left the file: its alert ends at once");
}

#[test]
fn what_is_there_is_repeated_each_minute_and_what_ended_for_a_quarter_of_an_hour() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let all = KillScope::All;
    outbox.take_record(&kill(1, &all), &rules, at(0));
    assert_eq!(sent(&mut outbox, at(0)), named(&[("PointsmanKilled", None)]));
    for minute in 0..5 {
        let now = at(minute * MINUTE + 10);
        assert_eq!(sent(&mut outbox, now), named(&[("PointsmanKilled", None)]), "minute {minute}");
        assert_eq!(sent(&mut outbox, at(minute * MINUTE + MINUTE)), [], "it was repeated {minute}");
    }
    outbox.take_record(&revive(2, &all), &rules, at(5 * MINUTE));
    assert_eq!(sent(&mut outbox, at(5 * MINUTE)), named(&[("PointsmanKilled", Some(2)), ("PointsmanRevived", None)]));
    assert_eq!(sent(&mut outbox, at(7 * MINUTE)), named(&[("PointsmanKilled", Some(2))]));
    outbox.expire(at(16 * MINUTE));
    assert_eq!(sent(&mut outbox, at(16 * MINUTE)), []);
    assert!(outbox.stale_subjects(|_, _| true).is_empty());
}

#[test]
fn the_labels_of_an_alert_stay_while_it_is_there() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let held = |cause: &str| json!({ "is": "held", "cause": cause, "by": "ana", "sentence": "s" });
    outbox.take_record(&rollout(1, "hold", held("person")), &rules, at(1));
    let first = outbox.take_due(&rules, at(1)).into_iter().find(|one| one.receiver == "am").expect("sent").alerts;
    outbox.settle("am", &arrived(), at(1), 0.5);
    outbox.take_record(&rollout(2, "hold", held("guard")), &rules, at(2));
    let second = outbox.take_due(&rules, at(2)).into_iter().find(|one| one.receiver == "am").expect("sent").alerts;
    assert_eq!((&first[0].labels, first[0].starts_ms), (&second[0].labels, second[0].starts_ms));
    assert_ne!(first[0].description, second[0].description);
    let labels: Vec<&str> = first[0].labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["alertname", "rollout", "severity"], "{:?}", running());
}

/// The alerts that the Alertmanager `am` gets now.
fn alerts_of(outbox: &mut NotifyOutbox, rules: &Rules, now: OutboxTime) -> Vec<NotifyAlert> {
    let due = outbox.take_due(rules, now);
    for one in &due {
        outbox.settle(&one.receiver, &arrived(), now, 0.5);
    }
    due.into_iter().filter(|one| one.receiver == "am").flat_map(|one| one.alerts).collect()
}

fn rolled_back(by: &str) -> serde_json::Value {
    json!({ "is": "rolled_back", "by": by, "sentence": "s" })
}

#[test]
fn a_guard_that_warns_changes_no_alert_of_the_phase() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&rollout(1, "rollback", rolled_back("errors")), &rules, at(1));
    let first = alerts_of(&mut outbox, &rules, at(1));
    for (seq, guard) in [(2, "latency"), (3, "errors")] {
        let mut warn = rollout(seq, "warn", rolled_back("errors"));
        warn.who = Actor { name: guard.to_owned(), via: Via::Guard };
        outbox.take_record(&warn, &rules, at(seq));
        let sent = alerts_of(&mut outbox, &rules, at(seq));
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(
            (sent[0].labels["alertname"].as_str(), sent[0].labels["guard"].as_str()),
            ("PointsmanGuardTripped", guard)
        );
    }
    assert_eq!(alerts_of(&mut outbox, &rules, at(2 * MINUTE)), first, "it says what it said");
}

#[test]
fn two_revisions_that_begin_are_two_alerts() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take_record(&rollout(1, "begin", json!({ "is": "pending" })), &rules, at(1));
    assert_eq!(alerts_of(&mut outbox, &rules, at(1))[0].labels["revision"], "v2=1");
}

#[test]
fn the_severity_is_that_of_the_condition() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let mut severity = |seq, act: &str, phase| {
        outbox.take_record(&rollout(seq, act, phase), &rules, at(seq));
        alerts_of(&mut outbox, &rules, at(seq)).last().expect("an alert").labels["severity"].clone()
    };
    let held = json!({ "is": "held", "cause": "revived", "by": "pointsman", "sentence": "s" });
    assert_eq!(severity(1, "revived", held), "warning", "it is held");
    assert_eq!(severity(2, "rollback", rolled_back(crate::release::REHEARSAL)), "info", "a rehearsal");
}

#[test]
fn an_alertmanager_that_is_named_later_gets_the_alerts_that_are_there() {
    let mut before = rules();
    before.notify.receivers.pop();
    before.notify.to.pop();
    let mut outbox = outbox(&before);
    outbox.take_record(&rollout(1, "rollback", rolled_back("errors")), &before, at(1));
    let after = rules();
    outbox.follow(&after, at(2));
    let sent = alerts_of(&mut outbox, &after, at(2));
    assert_eq!(sent.iter().map(|one| one.labels["alertname"].as_str()).collect::<Vec<_>>(), ["PointsmanRolledBack"]);
    assert_eq!(outbox.standings(&after, at(2)).last().map(|one| one.alerts), Some(1));
}

#[test]
fn who_has_heard_of_a_revive_gets_the_alert_of_the_hold() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let scope = KillScope::Rollout("next".to_owned());
    outbox.take_record(&revive(1, &scope), &rules, at(1));
    let held = json!({ "is": "held", "cause": "revived", "by": "pointsman", "sentence": "s" });
    outbox.take_record(&rollout(2, "revived", held), &rules, at(2));
    alerts_of(&mut outbox, &rules, at(2));
    let sent = alerts_of(&mut outbox, &rules, at(3));
    assert_eq!(sent.iter().map(|one| one.labels["alertname"].as_str()).collect::<Vec<_>>(), ["PointsmanHeld"]);
}

#[test]
fn conditions_have_a_bound_and_those_that_are_given_up_are_counted() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    for seq in 1..=1_001 {
        outbox.take_record(&kill(seq, &KillScope::Tenant(format!("t{seq}"))), &rules, at(seq));
        alerts_of(&mut outbox, &rules, at(seq));
    }
    let standings = outbox.standings(&rules, at(2_000));
    let of = |id: &str| standings.iter().find(|one| one.name.ends_with(id)).map(|one| (one.alerts, one.dropped));
    assert_eq!(of("am"), Some((1_000, 1)));
    assert_eq!(outbox.take_lost().iter().map(|one| one.id.clone()).collect::<Vec<_>>(), ["kill:tenant t1"]);
}
