//! Rollouts over sockets: a plan goes on by itself, and stops by itself; people act on it; what the journal says holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::brake::{act, done, kill, revive, start};
use super::faulty_disk::{Faulty, start_on};
use super::guards::Switch;
use super::harness::{Folder, eventually, file, weight};
use super::traffic::{Client, upstream};
use crate::app::{ActError, App, PersonAct, ReloadOutcome};
use crate::journal::{Deed, DiskFiles, Record, RolloutDeed, Via, verify};
use crate::release::{
    ActRefusal, BlockKind, HeldCause, PersonVerb, RolloutPhase, RolloutStanding, RolloutVerb, replay_rollout,
};
use crate::route::KillScope;

/// Three stages; the second one asks for an approval. Each request is a caller of its own.
pub(super) const PLAN: &str = r#"
[rollout.next]
approvers = { lead = ["ana", "bo"], product = ["cy"] }
[[rollout.next.stage]]
name = "few"
weight = 20
min_requests = 5
[[rollout.next.stage]]
name = "half"
weight = 50
min_requests = 5
approve = ["lead", "product"]
[[rollout.next.stage]]
name = "all"
weight = 100
min_requests = 5
"#;

/// A file whose canary follows this plan.
pub(super) fn text(plan: &str, upstreams: [SocketAddr; 2]) -> String {
    let [stable, canary] = upstreams.map(|one| format!("{one}\""));
    let text = file(5).replace("127.0.0.1:1\"", &stable).replace("127.0.0.1:2\"", &canary);
    let text = text.replace("sticky = [\"client_ip\"]", "sticky = []").replace("weight = 5 }", "rollout = \"next\" }");
    text.replace("[upstream.v2]\n", "[upstream.v2]\nrevision = \"1\"\n") + plan
}

pub(super) fn standing(app: &App) -> RolloutStanding {
    let all = app.rollouts();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().expect("one")
}

/// Sends requests until the rollout is like this.
pub(super) fn until(
    app: &App,
    client: &mut Client,
    what: &str,
    is_it: impl Fn(&RolloutStanding) -> bool,
) -> RolloutStanding {
    let mut last = standing(app);
    eventually(what, || {
        client.get("/a");
        last = standing(app);
        is_it(&last)
    });
    last
}

pub(super) fn on(verb: PersonVerb, roles: &[&str]) -> PersonAct {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    PersonAct::Rollout { rollout: "next".to_owned(), verb, roles }
}

fn approve(app: &App, who: &str, role: &str) -> Result<crate::app::ActOutcome, ActError> {
    let mut act = act(on(PersonVerb::Approve { role: Some(role.to_owned()) }, &[role]));
    who.clone_into(&mut act.who.name);
    app.act(act)
}

/// What was decided about rollouts, as the journal on the disk has it.
pub(super) fn deeds(folder: &Folder) -> Vec<(RolloutDeed, Record)> {
    let text = std::fs::read_to_string(folder.path("state/journal.jsonl")).expect("a journal");
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a record"));
    let deed = |record: Record| match &record.what {
        Deed::Rollout(deed) => Some((deed.clone(), record)),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_)
        | Deed::Checkpoint { .. } => None,
    };
    records.filter_map(deed).collect()
}

pub(super) fn acts(folder: &Folder) -> Vec<String> {
    deeds(folder).into_iter().map(|(deed, _)| deed.act).collect()
}

/// Each automatic decision follows from what its record has.
pub(super) fn all_replay(folder: &Folder) {
    assert!(verify(&DiskFiles::new(&folder.path("state"))).expect("read").is_intact());
    for (deed, record) in deeds(folder) {
        if !deed.evidence.is_null() && deed.act != RolloutVerb::Rehearsed.name() {
            let replayed = replay_rollout(&deed.evidence).expect("it can be decided again");
            assert!(replayed.agrees(&deed.act, &deed.state), "{record:?}");
        }
    }
}

#[test]
fn a_plan_goes_on_by_itself_and_asks_its_approvers_last() {
    let folder = Folder::new(&text(PLAN, [upstream("one"), upstream("two")]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let awaited = until(&app, &mut client, "approvers are asked", |one| one.doing == "awaiting_approval");
    assert_eq!((awaited.stage.as_str(), weight(&app).to_bits()), ("half", 50.0_f64.to_bits()));
    let roles: Vec<&str> = awaited.awaited.iter().map(|one| one.role.as_str()).collect();
    assert_eq!(roles, ["lead", "product"]);
    assert_eq!(awaited.blocks.iter().map(|block| block.kind).collect::<Vec<_>>(), [BlockKind::Approval]);
    assert!(awaited.unblock.is_some_and(|text| text.contains("pointsman rollout approve next")));
    assert!(approve(&app, "ana", "lead").expect("approved").durable);
    let again = approve(&app, "bo", "lead").expect_err("the role is filled");
    assert!(matches!(again, ActError::Rollout { refusal: ActRefusal::AlreadyApproved { .. }, .. }), "{again:?}");
    let same = approve(&app, "ana", "product").expect_err("one person fills one role");
    assert!(matches!(same, ActError::Rollout { refusal: ActRefusal::SamePerson { .. }, .. }), "{same:?}");
    assert_eq!(standing(&app).stage, "half");
    assert!(approve(&app, "cy", "product").expect("approved").durable);
    let complete = until(&app, &mut client, "it is complete", |one| one.phase == RolloutPhase::Complete);
    assert_eq!(weight(&app).to_bits(), 100.0_f64.to_bits());
    assert!(complete.edit.iter().any(|line| line.contains("stable = \"v2\"")), "{:?}", complete.edit);
    for _ in 0..40 {
        assert_eq!(client.get("/a").1, "two");
    }
    drop(app);
    let expected = ["begin", "enter", "enter", "ask", "approve", "approve", "enter", "complete"];
    assert_eq!(acts(&folder), expected);
    all_replay(&folder);
    // A start goes on from the last record.
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "two");
    assert_eq!(standing(&app).phase, RolloutPhase::Complete);
}

#[test]
fn a_canary_that_fails_is_rolled_back_and_stays_at_0() {
    let (one, two) = (upstream("one"), Switch::failing());
    let text = text(PLAN, [one, two.address]);
    let folder = Folder::new(&text);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let is_rolled_back = |one: &RolloutStanding| matches!(one.phase, RolloutPhase::RolledBack(_));
    let stopped = until(&app, &mut client, "a rollback", is_rolled_back);
    assert!(stopped.unblock.is_some_and(|text| text.contains("rollout resume next")));
    let all_from_stable = |client: &mut Client| (0..40).for_each(|_| assert_eq!(client.get("/a").1, "one"));
    all_from_stable(&mut client);
    two.mend();
    let goto = app.act(act(on(PersonVerb::Goto { stage: "half".to_owned() }, &[]))).expect_err("it is rolled back");
    assert!(matches!(goto, ActError::Rollout { .. }), "{goto:?}");
    // Neither a reload nor a restart ends it.
    folder.write("routes.toml", &text.replace("weight = 50", "weight = 40"));
    assert_eq!(app.reload().name(), "applied");
    all_from_stable(&mut client);
    drop(app);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    all_from_stable(&mut client);
    assert!(is_rolled_back(&standing(&app)), "{:?}", standing(&app));
    // A person resumes it: in the stage where it was.
    done(&app, act(on(PersonVerb::Resume, &[])));
    until(&app, &mut client, "it goes on", |one| one.phase == RolloutPhase::Running && one.weight > 0.0);
    eventually("the canary serves", || client.get("/a").1 == "two");
    drop(app);
    let deeds = deeds(&folder);
    let of = |verb: RolloutVerb| deeds.iter().filter(|(deed, _)| deed.act == verb.name()).count();
    assert_eq!((of(RolloutVerb::Rollback), of(RolloutVerb::Resume)), (1, 1), "{:?}", acts(&folder));
    let rollback = deeds.iter().find(|(deed, _)| deed.act == RolloutVerb::Rollback.name()).expect("one");
    assert_eq!((rollback.1.who.via, rollback.0.to.to_bits()), (Via::Guard, 0.0_f64.to_bits()));
    all_replay(&folder);
}

#[test]
fn another_revision_begins_again_at_the_first_stage() {
    let (one, two) = (upstream("one"), Switch::failing());
    let text = text(PLAN, [one, two.address]);
    let folder = Folder::new(&text);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "a rollback", |one| matches!(one.phase, RolloutPhase::RolledBack(_)));
    two.mend();
    folder.write("routes.toml", &text.replace("revision = \"1\"", "revision = \"2\""));
    assert_eq!(app.reload().name(), "applied");
    let begun = until(&app, &mut client, "it begins anew", |one| one.phase == RolloutPhase::Running);
    assert_eq!(begun.revision, "v2=2");
    until(&app, &mut client, "it goes on", |one| one.stage == "half");
}

#[test]
fn a_kill_leaves_it_held_until_a_person_resumes_it() {
    for scope in [
        KillScope::Rollout("next".to_owned()),
        KillScope::Route("api".to_owned()),
        KillScope::Variant { route: "api".to_owned(), variant: "canary".to_owned() },
    ] {
        let folder = Folder::new(&text(PLAN, [upstream("one"), upstream("two")]));
        let app = start(&folder);
        let mut client = Client::connect(&app);
        until(&app, &mut client, "it runs", |one| one.stage == "half");
        done(&app, kill(scope.clone()));
        assert_eq!(client.get("/a").1, "one");
        // At once: no tick is between.
        done(&app, revive(scope.clone()));
        for _ in 0..40 {
            assert_eq!(client.get("/a").1, "one", "{scope:?}");
        }
        let held = until(&app, &mut client, "it is held", |one| matches!(one.phase, RolloutPhase::Held(_)));
        let RolloutPhase::Held(why) = held.phase else { panic!("{held:?}") };
        assert_eq!((why.cause, held.stage.as_str()), (HeldCause::Revived, "half"));
        done(&app, act(on(PersonVerb::Resume, &[])));
        until(&app, &mut client, "it goes on", |one| one.weight > 49.0);
    }
}

#[test]
fn a_full_disk_lets_nothing_rise_and_everything_fall() {
    let (one, two) = (upstream("one"), Switch::failing());
    two.mend();
    let folder = Folder::new(&text(PLAN, [one, two.address]));
    let files = Faulty::new(&folder);
    let app = start_on(&folder, Arc::clone(&files));
    let mut client = Client::connect(&app);
    until(&app, &mut client, "approvers are asked", |one| one.doing == "awaiting_approval");
    files.is_full.store(true, SeqCst);
    // The disk is written at the next decision.
    done(&app, kill(KillScope::Tenant("none".to_owned())));
    let blocked = until(&app, &mut client, "the journal is in the way", |one| {
        one.blocks.iter().any(|block| block.kind == BlockKind::Journal)
    });
    assert_eq!(blocked.stage, "half");
    let refused = approve(&app, "ana", "lead").expect_err("it lets the weight rise");
    assert!(matches!(refused, ActError::NotRecorded(_) | ActError::Rollout { .. }), "{refused:?}");
    // What lowers is in force, and recorded later.
    let rolled_back = done(&app, act(on(PersonVerb::Rollback, &[])));
    assert!(!rolled_back.durable, "{rolled_back:?}");
    for _ in 0..40 {
        assert_eq!(client.get("/a").1, "one");
    }
    files.is_full.store(false, SeqCst);
    eventually("the rollback is on the disk", || {
        app.status()["journal"]["durable_seq"] == app.status()["journal"]["seq"]
    });
    drop(app);
    let app = start(&folder);
    assert!(matches!(standing(&app).phase, RolloutPhase::RolledBack(_)), "{:?}", standing(&app));
    assert_eq!(Client::connect(&app).get("/a").1, "one");
}

#[test]
fn of_two_operators_at_once_one_is_refused() {
    let folder = Folder::new(&text(PLAN, [upstream("one"), upstream("two")]));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    until(&app, &mut client, "it runs", |one| one.stage == "half");
    let both: Vec<_> = std::thread::scope(|scope| {
        let act = |name: &'static str| {
            let app = &app;
            let mut rollback = act(on(PersonVerb::Rollback, &[]));
            name.clone_into(&mut rollback.who.name);
            scope.spawn(move || app.act(rollback))
        };
        [act("ana"), act("bo")].map(|one| one.join().expect("answered")).into()
    });
    assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1, "{both:?}");
    let refused = both.into_iter().find_map(Result::err).expect("one");
    let ActError::Rollout { refusal: ActRefusal::WrongState { message, help }, .. } = refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("rolled back") && !help.is_empty(), "{message}");
    // One who has not seen the last record is refused too.
    let seen = app.status()["journal"]["seq"].as_u64().expect("a number") - 1;
    let mut late = act(on(PersonVerb::Resume, &[]));
    late.expect = Some(seen);
    assert!(matches!(app.act(late), Err(ActError::Stale(_))));
}

#[test]
fn an_edit_of_the_file_while_a_guard_trips_raises_nothing() {
    let (one, two) = (upstream("one"), Switch::failing());
    let text = text(PLAN, [one, two.address]);
    let folder = Folder::new(&text);
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let mut edits = ["max_weight = 90\n", "max_weight = 80\n", ""].into_iter().cycle();
    eventually("a rollback", || {
        for _ in 0..10 {
            client.get("/a");
        }
        let edit = edits.next().unwrap_or_default();
        folder.write("routes.toml", &text.replace("[rollout.next]\n", &format!("[rollout.next]\n{edit}")));
        assert!(matches!(app.reload(), ReloadOutcome::Applied { .. } | ReloadOutcome::Unchanged { .. }));
        matches!(standing(&app).phase, RolloutPhase::RolledBack(_))
    });
    for _ in 0..40 {
        assert_eq!(client.get("/a").1, "one");
    }
    drop(app);
    all_replay(&folder);
}
