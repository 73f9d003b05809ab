//! What is heard of each kind of record.

use serde_json::{Value, json};

use super::super::condition::{Condition, SentWhen};
use super::super::notice::{Notice, NoticeLevel, shell_word};
use super::super::of_record::noticed;
use super::super::watched::{WatchedCertificate, journal_failing, journal_recovered};
use super::{BEGIN_MS, at, due, kill, outbox, record, revive, rollout, rules, running};
use crate::journal::{Deed, Record, ReleaseDeed, ReleaseVerb, Via};
use crate::route::KillScope;

fn notice(record: &Record) -> Option<Notice> {
    noticed(record, &rules()).notice
}

fn heard(record: &Record) -> Notice {
    notice(record).expect("it is heard of")
}

fn release(act: ReleaseVerb, because: Option<&str>) -> Record {
    let deed = ReleaseDeed {
        act,
        release: "search:ranker".to_owned(),
        revision: "ranker=2".to_owned(),
        because: because.map(str::to_owned),
        evidence: json!({ "sentence": "errors 3.1 × stable" }),
    };
    record(9, "errors", Via::Guard, Deed::Release(deed))
}

fn reload(outcome: &str, diagnostics: Value) -> Record {
    let (cause, outcome) = ("watch".to_owned(), outcome.to_owned());
    record(9, "pointsman", Via::File, Deed::Reload { cause, outcome, summary: Vec::new(), diagnostics })
}

#[test]
fn each_act_on_a_rollout_that_people_hear_of_has_a_title_and_a_command() {
    let held = |cause: &str| json!({ "is": "held", "cause": cause, "by": "x", "sentence": "s" });
    let rolled_back = json!({ "is": "rolled_back", "by": "errors", "sentence": "s" });
    for (act, phase, title, level, command) in [
        ("begin", json!({ "is": "pending" }), "next: revision v2=1 begins", NoticeLevel::Info, "rollout show next"),
        ("enter", running(), "next: stage few is entered, 20 %", NoticeLevel::Info, "rollout show next"),
        ("ask", running(), "next: stage few waits for approval", NoticeLevel::Warning, "rollout approve next"),
        ("warn", running(), "next: pointsman has tripped, and only warns", NoticeLevel::Warning, "rollout hold next"),
        (
            "rollback",
            rolled_back,
            "next is rolled back, in stage few",
            NoticeLevel::Critical,
            "rollout resume next --reason",
        ),
        (
            "hold",
            held("no_traffic"),
            "next is held, in stage few: no traffic",
            NoticeLevel::Warning,
            "rollout resume next",
        ),
        (
            "hold",
            held("canary_down"),
            "next is held, in stage few: canary down",
            NoticeLevel::Warning,
            "rollout show next",
        ),
        (
            "hold",
            held("plan_changed"),
            "next is held, in stage few: plan changed",
            NoticeLevel::Warning,
            "rollout goto next",
        ),
        ("unhold", running(), "next goes on: its hold has ended", NoticeLevel::Info, "rollout show next"),
        ("resume", running(), "next is resumed, in stage few", NoticeLevel::Info, "rollout show next"),
        ("goto", running(), "next is moved to stage few", NoticeLevel::Info, "rollout show next"),
        ("restart", running(), "next is begun anew", NoticeLevel::Info, "rollout show next"),
        (
            "killed",
            json!({ "is": "killed" }),
            "next is stopped by a kill",
            NoticeLevel::Critical,
            "revive --rollout next",
        ),
        (
            "revived",
            held("revived"),
            "next: the kill has ended, and it is held at 0",
            NoticeLevel::Info,
            "rollout resume next",
        ),
        ("complete", json!({ "is": "complete" }), "next is complete, at 20 %", NoticeLevel::Info, "rollout show next"),
        ("rehearsed", Value::Null, "next: a rollback was rehearsed", NoticeLevel::Info, "rollout show next"),
    ] {
        let notice = heard(&rollout(7, act, phase));
        assert_eq!((notice.title.as_str(), notice.level), (title, level), "{act}");
        assert!(notice.todo.iter().any(|one| one.contains(command)), "{act}: {:?}", notice.todo);
        assert_eq!((notice.id.as_str(), notice.at_ms), (format!("7-{}", BEGIN_MS + 7).as_str(), BEGIN_MS + 7));
        assert!(notice.text.starts_with("because 7") && notice.record["state"].is_null(), "{notice:?}");
        assert_eq!(notice.record["what"], "rollout");
    }
    for act in ["raise", "lower", "approve", "archive", "refused", "of a later version"] {
        assert_eq!(notice(&rollout(7, act, running())), None, "{act}");
    }
}

#[test]
fn who_may_approve_is_in_the_message() {
    let notice = heard(&rollout(7, "ask", running()));
    assert_eq!(notice.text, "because 7; lead: ana, bo; product: cy");
    assert_eq!(notice.facts.approvers["product"], ["cy"]);
    assert!(heard(&rollout(7, "enter", running())).facts.approvers.is_empty());
}

#[test]
fn a_rehearsal_is_no_alarm() {
    let by = json!({ "is": "rolled_back", "by": crate::release::REHEARSAL, "sentence": "s" });
    let notice = heard(&rollout(7, "rollback", by));
    assert_eq!((notice.level, notice.title.as_str()), (NoticeLevel::Info, "next is rolled back, as a rehearsal"));
}

#[test]
fn static_weights_kills_and_the_files_are_heard_of() {
    for (record, title, condition) in [
        (
            release(ReleaseVerb::Rollback, None),
            "search:ranker is rolled back by guard errors",
            Some(Condition::RolledBack),
        ),
        (release(ReleaseVerb::Hold, Some("canary down")), "search:ranker is held: canary down", Some(Condition::Held)),
        (release(ReleaseVerb::Unhold, None), "search:ranker goes on", None),
        (release(ReleaseVerb::Warn, None), "search:ranker: guard errors has tripped, and only warns", None),
        (release(ReleaseVerb::Resume, None), "search:ranker is resumed by guard errors", None),
        (kill(9, &KillScope::All), "Killed: all", Some(Condition::Killed)),
        (revive(9, &KillScope::Tenant("a b".to_owned())), "Revived: tenant a b", None),
        (
            reload("rejected", json!([{ "message": "no such key" }])),
            "The configuration is rejected",
            Some(Condition::ConfigRejected),
        ),
        (reload("applied", Value::Null), "The configuration is valid again", None),
    ] {
        let heard = noticed(&record, &rules());
        let notice = heard.notice.expect("it is heard of");
        assert_eq!((notice.title.as_str(), heard.change.and_then(|change| change.now)), (title, condition));
    }
    assert_eq!(heard(&kill(9, &KillScope::All)).text, "ana has killed it: it fails");
    let tenant = heard(&kill(9, &KillScope::Tenant("a'b c".to_owned())));
    assert_eq!(tenant.todo, [r"pointsman revive --tenant 'a'\''b c' --reason TEXT"]);
    assert_eq!(notice(&release(ReleaseVerb::Refused, None)), None);
    let start = Deed::Start { version: "1".to_owned(), host: "h".to_owned(), pid: 1 };
    assert_eq!(noticed(&record(9, "pointsman", Via::Process, start), &rules()).when, SentWhen::ConditionEnds);
}

#[test]
fn a_rejected_file_is_heard_of_once_and_so_is_its_end() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    let mut next = |seq, mut record: Record| {
        record.seq = seq;
        outbox.take_record(&record, &rules, at(seq));
        let sent = due(&mut outbox, at(seq));
        for one in &sent {
            outbox.settle(one.split(' ').next().expect("a receiver"), &super::arrived(), at(seq), 0.5);
        }
        sent.into_iter().filter(|one| one.starts_with("hook")).count()
    };
    let rejected = |why: &str| reload("rejected", json!([{ "message": why }]));
    assert_eq!(next(1, reload("applied", Value::Null)), 0, "it was valid");
    assert_eq!(next(2, rejected("a")), 1);
    assert_eq!(next(3, rejected("a")), 0);
    assert_eq!(next(4, rejected("b")), 1, "something else is wrong");
    assert_eq!(next(5, reload("applied", Value::Null)), 1);
    assert_eq!(next(6, reload("applied", Value::Null)), 0);
}

#[test]
fn a_journal_that_fails_is_heard_of_until_it_works() {
    let rules = rules();
    let mut outbox = outbox(&rules);
    outbox.take(journal_recovered(1), &rules, at(1));
    assert_eq!(due(&mut outbox, at(1)), Vec::<String>::new());
    outbox.take(journal_failing("the disk is full", 2), &rules, at(2));
    outbox.take(journal_failing("the disk is full", 3), &rules, at(3));
    assert_eq!(due(&mut outbox, at(3)), ["am journal-failing-2", "hook journal-failing-2"]);
    for one in ["am", "hook"] {
        outbox.settle(one, &super::arrived(), at(3), 0.5);
    }
    outbox.take(journal_recovered(4), &rules, at(4));
    assert_eq!(due(&mut outbox, at(4)), ["am journal-works-4", "hook journal-works-4"]);
}

#[test]
fn a_certificate_is_heard_of_twice() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let certificate = WatchedCertificate {
        fingerprint: "AB:CD:01".to_owned(),
        name: "example.com".to_owned(),
        listener: "https".to_owned(),
        ends_ms: BEGIN_MS + 20 * DAY,
    };
    let rules = rules();
    let mut outbox = outbox(&rules);
    let mut titles = Vec::new();
    for hour in 0..21 * 24 {
        let now = at(hour * DAY / 24);
        let Some(days) = certificate.days(now.wall_ms) else { continue };
        if outbox.begins_certificate(&certificate.fingerprint, days) {
            let heard = certificate.noticed(days, now.wall_ms);
            titles.extend(heard.notice.as_ref().map(|notice| format!("{} {}", notice.id, notice.title)));
            outbox.take(heard, &rules, now);
        }
    }
    assert_eq!(
        titles,
        [
            "certificate-ABCD01-14 The certificate example.com expires in 14 days",
            "certificate-ABCD01-1 The certificate example.com expires in 1 days"
        ]
    );
    let late = certificate.noticed(1, certificate.ends_ms + 1).notice.expect("it is heard of");
    assert_eq!(late.title, "The certificate example.com has expired");
    assert_eq!(outbox.stale_subjects(|_, _| true), [certificate.subject()]);
    outbox.end_silently(&certificate.subject(), &rules, at(20 * DAY));
    assert!(outbox.stale_subjects(|_, _| true).is_empty());
}

#[test]
fn long_and_hostile_texts_have_a_bound_and_one_line() {
    let mut long = rollout(7, "rollback", json!({ "is": "rolled_back", "by": "x", "sentence": "s" }));
    let Deed::Rollout(deed) = &mut long.what else { panic!("a rollout") };
    deed.rollout = "n\u{202e}\n\u{1b}[31m".repeat(500);
    deed.because = "b\r\nc\0".repeat(20_000);
    deed.evidence = json!({ "facts": "x".repeat(50_000) });
    long.reason = Some("r".repeat(50_000));
    let notice = heard(&long);
    assert!(notice.title.chars().count() <= 150 && notice.text.chars().count() <= 2_000);
    assert!(!notice.title.contains(char::is_control) && !notice.text.contains(char::is_control));
    assert!(!notice.title.contains('\u{202e}'), "{}", notice.title);
    assert!(notice.record.to_string().len() <= 8 * 1024);
    assert!(notice.todo.iter().all(|one| one.chars().count() <= 400));
    assert_eq!(shell_word("a;rm -rf"), "'a;rm -rf'");
    assert_eq!(shell_word(""), "''");
}

#[test]
fn a_revive_of_a_rollout_says_that_it_is_held() {
    let notice = heard(&revive(9, &KillScope::Rollout("a b".to_owned())));
    assert!(notice.text.contains("held at 0 until it is resumed"), "{}", notice.text);
    assert!(notice.todo.iter().any(|one| one == "pointsman rollout resume 'a b' --reason TEXT"), "{:?}", notice.todo);
}
