//! Kill and revive by call: in force at once, over those of the file, whatever the files on disk say.

use std::time::Duration;

use super::harness::{Folder, eventually, file, get};
use super::traffic::{Client, upstream};
use crate::app::{Act, ActError, ActOutcome, App, PersonAct, ReloadOutcome, workers};
use crate::control::ControlSettings;
use crate::journal::{Actor, IdempotencyKey, Via};
use crate::route::KillScope;

/// Far more than a worker or a disk takes, also on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn act(what: PersonAct) -> Act {
    let who = Actor { name: "ana".into(), via: Via::Socket };
    Act { who, what, reason: "it fails".into(), key: None, expect: None }
}

pub(super) fn kill(scope: KillScope) -> Act {
    act(PersonAct::Kill { scope, close_streams: None })
}

pub(super) fn revive(scope: KillScope) -> Act {
    act(PersonAct::Revive(scope))
}

pub(super) fn canary() -> KillScope {
    KillScope::Variant { route: "api".into(), variant: "canary".into() }
}

pub(super) fn api() -> KillScope {
    KillScope::Route("api".into())
}

/// A folder whose canary gets everything, and both upstreams.
pub(super) fn serving() -> Folder {
    let (one, two) = (upstream("one"), upstream("two"));
    let text = file(100).replace("127.0.0.1:1\"", &format!("{one}\"")).replace("127.0.0.1:2\"", &format!("{two}\""));
    let text = text.replace("[[route]]", "[identity]\ntenant = [\"query:tenant\"]\n[[route]]");
    Folder::new(&text)
}

/// Starts; the answers to acts wait as long as a busy machine may take.
pub(super) fn start(folder: &Folder) -> App {
    let settings = ControlSettings { act_patience: PATIENCE, ..folder.options().settings() };
    App::launch(settings, workers()).expect("started")
}

pub(super) fn done(app: &App, act: Act) -> ActOutcome {
    let outcome = app.act(act).expect("done");
    assert_eq!(outcome.workers_in_force, outcome.workers, "{outcome:?}");
    assert!(outcome.in_force_ms.is_some(), "{outcome:?}");
    outcome
}

#[test]
fn each_scope_is_killed_and_revived_under_traffic() {
    let folder = serving();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let mut served = || client.get("/a?tenant=acme").1;
    for scope in [KillScope::All, api(), canary(), KillScope::Tenant("acme".into())] {
        assert_eq!(served(), "two", "before {scope}");
        let killed = done(&app, kill(scope.clone()));
        // In force before the answer: the next request is stable's.
        assert_eq!(served(), "one", "{scope}");
        let revived = done(&app, revive(scope.clone()));
        assert_eq!(served(), "two", "after {scope}");
        assert_eq!(revived.record.seq, killed.record.seq + 1);
        assert_eq!((killed.record.who.name.as_str(), killed.record.reason.as_deref()), ("ana", Some("it fails")));
    }
    let other = done(&app, kill(KillScope::Tenant("globex".into())));
    assert_eq!(served(), "two", "another tenant is killed: {other:?}");
    let metrics = get(&app, "/metrics").body;
    assert!(metrics.contains("pointsman_kills{source=\"call\"} 1\n"), "{metrics}");
    assert!(metrics.contains("pointsman_kill_in_force_seconds_count 9\n"), "{metrics}");
}

#[test]
fn measured_shares_begin_anew_with_a_kill() {
    let folder = serving();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let share = || app.status()["routes"][0]["variants"][1]["share"].clone();
    assert_eq!(client.get("/a").1, "two");
    eventually("the request is counted", || share() == 100.0);
    done(&app, kill(canary()));
    assert!(share().is_null(), "nothing was decided by weight since");
    assert_eq!(client.get("/a").1, "one");
    done(&app, revive(canary()));
    assert!(share().is_null());
    assert_eq!(client.get("/a").1, "two");
    eventually("the request is counted", || share() == 100.0);
    assert_eq!(app.status()["routes"][0]["variants"][1]["counted"], 2);
}

#[test]
fn a_kill_stays_through_reloads_and_broken_files() {
    let folder = serving();
    let app = start(&folder);
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    let mut client = Client::connect(&app);
    done(&app, kill(canary()));
    // Another weight is applied, and the kill holds.
    folder.write("routes.toml", &text.replace("weight = 100", "weight = 99"));
    let ReloadOutcome::Applied { summary, .. } = app.reload() else { panic!("not applied") };
    assert_eq!(summary, ["api canary 100 → 99"], "files are compared, not kills by people");
    assert_eq!(client.get("/a").1, "one");
    // A broken file disarms nothing.
    folder.write("routes.toml", "schema = 1\nnonsense");
    assert_eq!(app.reload().name(), "rejected");
    assert_eq!(client.get("/a").1, "one");
    done(&app, revive(canary()));
    done(&app, kill(api()));
    assert_eq!(client.get("/a").1, "one");
    // A route that goes and comes back is killed all the while.
    folder.write("routes.toml", &text.replace("name = \"api\"", "name = \"other\""));
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(client.get("/a").1, "two");
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(client.get("/a").1, "one");
    done(&app, revive(api()));
    assert_eq!(client.get("/a").1, "two");
}

#[test]
fn what_cannot_be_killed_is_refused_with_what_to_do() {
    let folder = serving();
    let app = start(&folder);
    let refused = |what: Act| app.act(what).expect_err("refused");
    let unknown = |message: &str, similar: Option<&str>| ActError::Unknown {
        message: message.to_owned(),
        similar: similar.map(str::to_owned),
    };
    let of = |route: &str, variant: &str| KillScope::Variant { route: route.into(), variant: variant.into() };
    assert_eq!(refused(kill(KillScope::Route("apu".into()))), unknown("there is no route `apu`", Some("api")));
    let variant = unknown("route `api` has no variant `canari`", Some("api:canary"));
    assert_eq!(refused(kill(of("api", "canari"))), variant);
    assert_eq!(refused(kill(KillScope::Shadow("api".into()))), unknown("route `api` has no shadow", None));
    assert!(matches!(refused(kill(of("api", "stable"))), ActError::NothingToKill(_)));
    assert_eq!(refused(revive(api())), ActError::NotKilled(api()));
    assert_eq!(app.status()["kill"]["all"], false);
}

#[test]
fn a_repeated_call_gets_its_record_and_an_outdated_one_what_has_changed() {
    let folder = serving();
    let app = start(&folder);
    let key = |call: &str| Some(IdempotencyKey { key: "k1".into(), call: call.into() });
    let first = done(&app, Act { key: key("a"), ..kill(canary()) });
    let again = || app.act(Act { key: key("a"), ..kill(canary()) });
    let second = again().expect("repeated");
    assert_eq!((&second.record, second.repeated, first.repeated), (&first.record, true, false));
    assert_eq!((second.in_force_ms, second.killed), (None, true), "when it came into force is not said again");
    let other = Actor { name: "bob".into(), via: Via::Socket };
    assert_eq!(app.act(Act { key: key("a"), who: other, ..kill(canary()) }), Err(ActError::KeyReused));
    assert_eq!(app.act(Act { key: key("b"), ..kill(api()) }), Err(ActError::KeyReused));
    let seq = first.record.seq;
    let stale = app.act(Act { expect: Some(seq - 1), ..revive(canary()) });
    assert_eq!(stale, Err(ActError::Stale(vec![first.record])));
    done(&app, Act { expect: Some(seq), ..revive(canary()) });
    let third = again().expect("repeated");
    assert!(third.repeated && !third.killed, "another act has lifted it: {third:?}");
}

#[test]
fn a_kill_closes_streams_after_its_own_time() {
    let folder = serving();
    let app = start(&folder);
    let mut client = Client::connect(&app);
    client.begin("/long");
    done(&app, kill(canary()));
    client.begins_with("two");
    done(&app, act(PersonAct::Kill { scope: canary(), close_streams: Some(Duration::from_millis(1)) }));
    client.is_closed();
    eventually("the stream is counted", || get(&app, "/metrics").body.contains("pointsman_killed_streams_total 1\n"));
}

#[test]
fn a_hundred_acts_at_once_each_get_a_record_of_their_own() {
    let folder = serving();
    let app = start(&folder);
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let act = |n: usize| done(&app, kill(KillScope::Tenant(format!("t{n}")))).record.seq;
        let all: Vec<_> = (0..100).map(|n| scope.spawn(move || act(n))).collect();
        all.into_iter().map(|one| one.join().expect("done")).collect()
    });
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 100);
    let status = app.status();
    assert_eq!(status["kills"].as_array().map(Vec::len), Some(100));
    assert_eq!(app.status()["kill"]["tenants"], 100);
}
