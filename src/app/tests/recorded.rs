//! The journal behind the brake: kills survive a restart, a full disk changes nothing for traffic, two processes do not
//! share a folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::brake::{PATIENCE, act, api, canary, done, kill, revive, serving, start};
use super::faulty_disk::{Faulty, start_on};
use super::harness::{Folder, eventually, get};
use super::traffic::Client;
use crate::app::{Act, ActError, App, PersonAct, StartError, workers};
use crate::control::ControlSettings;
use crate::journal::{Actor, Deed, DiskFiles, IdempotencyKey, Record, SavedState, StateLock, verify};
use crate::route::KillScope;

fn start_waiting(folder: &Folder, lock_wait: Duration) -> Result<App, StartError> {
    App::launch(ControlSettings { lock_wait, act_patience: PATIENCE, ..folder.options().settings() }, workers())
}

/// The records on the disk.
fn records(folder: &Folder) -> Vec<Record> {
    let text = std::fs::read_to_string(folder.path("state/journal.jsonl")).expect("a journal");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

#[test]
fn a_kill_is_in_force_from_the_first_request_after_a_restart() {
    let folder = serving();
    let app = start(&folder);
    let killed = done(&app, kill(canary()));
    assert!(killed.durable, "{killed:?}");
    let revived = done(&app, kill(api()));
    assert!(done(&app, revive(api())).durable && revived.durable);
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one");
    let again = done(&app, kill(canary()));
    // A start lies between.
    assert_eq!(again.record.seq, killed.record.seq + 4);
    assert!(done(&app, revive(canary())).durable);
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "two");
    drop(app);
    let report = verify(&DiskFiles::new(&folder.path("state"))).expect("read");
    assert!(report.is_intact(), "{report:?}");
}

#[test]
fn reloads_are_recorded_with_what_changed_or_what_was_wrong() {
    let folder = serving();
    let app = start(&folder);
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    folder.write("routes.toml", &text.replace("weight = 100", "weight = 7"));
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(app.reload().name(), "unchanged");
    folder.write("routes.toml", &text.replace("weight = 100", "weight = 7000"));
    assert_eq!(app.reload().name(), "rejected");
    folder.write("routes.toml", &text.replace("[[route]]", "[state]\ndir = \"elsewhere\"\n[[route]]"));
    let other = app.reload().to_text();
    assert!(other.contains("restart the proxy to use the other folder"), "{other}");
    assert!(done(&app, kill(canary())).durable, "the folder stays the same");
    drop(app);
    let records = records(&folder);
    let of = |record: &Record| match &record.what {
        Deed::Start { .. } => "start".to_owned(),
        Deed::Kill { .. } => "kill".to_owned(),
        Deed::Reload { outcome, summary, diagnostics, .. } => {
            format!("{outcome} {} {}", summary.join("; "), diagnostics[0]["code"])
        }
        other @ (Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_)
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. }) => {
            format!("{other:?}")
        }
    };
    let all: Vec<String> = records.iter().map(of).collect();
    let expected =
        ["start", "applied api canary 100 → 7 null", "rejected  \"out-of-range\"", "rejected  \"state-dir\"", "kill"];
    assert_eq!(all, expected);
    assert!(!folder.path("elsewhere").exists());
}

#[test]
fn a_full_disk_does_not_stop_a_kill_and_stops_a_revive() {
    let folder = serving();
    let files = Faulty::new(&folder);
    let app = start_on(&folder, Arc::clone(&files));
    let mut client = Client::connect(&app);
    assert!(done(&app, kill(api())).durable);
    files.is_full.store(true, SeqCst);
    let killed = done(&app, kill(canary()));
    let why = killed.not_durable_because.expect("a reason");
    assert!(!killed.durable && why.contains("make room on its disk"), "{why}");
    let Err(ActError::NotRecorded(why)) = app.act(revive(api())) else { panic!("revived") };
    assert!(why.contains("make room on its disk"), "{why}");
    assert_eq!(client.get("/a").1, "one", "traffic goes on, and both kills are in force");
    let metrics = get(&app, "/metrics").body;
    assert!(metrics.contains("pointsman_journal_writable 0\n"), "{metrics}");
    assert!(metrics.contains("pointsman_journal_failures_total 1\n"), "{metrics}");
    files.is_full.store(false, SeqCst);
    eventually("the journal is written again", || {
        get(&app, "/metrics").body.contains("pointsman_journal_writable 1\n")
    });
    assert!(done(&app, revive(api())).durable);
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the canary's kill was written when there was room");
}

#[test]
fn a_disk_that_hangs_holds_up_no_kill_and_no_request() {
    let folder = serving();
    let files = Faulty::new(&folder);
    let app = start_on(&folder, Arc::clone(&files));
    let mut client = Client::connect(&app);
    assert!(done(&app, kill(canary())).durable);
    files.hangs.store(true, SeqCst);
    let killed = done(&app, kill(api()));
    assert!(!killed.durable && killed.not_durable_because.is_some_and(|why| why.contains("within 1 s")));
    let Err(ActError::NotRecorded(why)) = app.act(revive(canary())) else { panic!("revived") };
    assert!(why.contains("within 5 s"), "{why}");
    assert_eq!(client.get("/a").1, "one");
    let journal = get(&app, "/v1/journal").json();
    let mut seen: Vec<_> = journal["records"].as_array().expect("a list").iter().collect();
    seen.sort_by_key(|record| record["seq"].as_u64());
    let seen: Vec<_> = seen.iter().map(|record| &record["what"]).collect();
    assert_eq!(seen, ["start", "kill", "kill", "refused", "kill"], "readers never see the revive: {journal}");
    files.hangs.store(false, SeqCst);
    assert!(done(&app, revive(api())).durable);
    assert_eq!(client.get("/a").1, "one", "the revive that came too late is not done later");
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one");
}

#[test]
fn a_kill_that_comes_while_a_revive_waits_for_the_disk_is_not_undone() {
    let folder = serving();
    let files = Faulty::new(&folder);
    let app = start_on(&folder, Arc::clone(&files));
    let mut client = Client::connect(&app);
    assert!(done(&app, kill(canary())).durable);
    files.hangs.store(true, SeqCst);
    std::thread::scope(|scope| {
        let revived = scope.spawn(|| done(&app, revive(canary())));
        eventually("the revive has a number", || app.status()["release"]["seq"] == 3);
        let again = done(&app, kill(canary()));
        assert!(!again.durable && again.record.seq == 4, "{again:?}");
        files.hangs.store(false, SeqCst);
        assert!(revived.join().expect("no panic").durable);
    });
    assert_eq!(client.get("/a").1, "one", "the later kill holds");
    assert_eq!(app.status()["kills"][0]["seq"], 4);
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one");
}

#[test]
fn a_folder_that_cannot_be_made_is_no_failed_start() {
    let folder = serving();
    folder.write("state", "a file in the place of the folder");
    let app = start(&folder);
    let mut client = Client::connect(&app);
    let killed = done(&app, kill(canary()));
    assert!(!killed.durable && killed.not_durable_because.is_some(), "in force without being durable");
    assert_eq!(client.get("/a").1, "one");
    assert!(matches!(app.act(revive(canary())), Err(ActError::NotRecorded(_))));
    assert!(get(&app, "/metrics").body.contains("pointsman_journal_writable 0\n"));
    drop(app);
    std::fs::remove_file(folder.path("state")).expect("removed");
    let app = start(&folder);
    assert!(done(&app, kill(canary())).durable);
}

#[test]
fn a_folder_without_a_lock_is_not_written() {
    let folder = serving();
    let app = start(&folder);
    assert!(done(&app, kill(canary())).durable);
    drop(app);
    let (journal, lock) = (folder.path("state/journal.jsonl"), folder.path("state/lock"));
    let before = std::fs::read(&journal).expect("a journal");
    std::fs::remove_file(&lock).expect("removed");
    folder.write("state/lock/in-the-way", "");
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the journal is read");
    let killed = done(&app, kill(api()));
    assert!(!killed.durable && killed.not_durable_because.is_some_and(|why| why.contains("state/lock")));
    assert_eq!(killed.record.seq, 3, "after the last one of the journal");
    // Another process takes the folder meanwhile.
    std::fs::remove_dir_all(&lock).expect("removed");
    let other = StateLock::take(&folder.path("state"));
    let other = other.expect("it is free");
    let named = format!("process {} uses the state folder", std::process::id());
    eventually("the failure names the other process", || {
        app.status()["journal"]["failure"].as_str().is_some_and(|why| why.contains(&named))
    });
    assert_eq!(std::fs::read(&journal).expect("a journal"), before, "its journal is not touched");
    drop(other);
    eventually("the folder is ours", || app.status()["journal"]["failure"].is_null());
    assert!(done(&app, revive(canary())).durable);
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the kill of the time without a lock is recorded");
    assert!(verify(&DiskFiles::new(&folder.path("state"))).expect("read").is_intact());
}

#[test]
fn a_journal_that_cannot_be_read_is_a_failure_and_no_damage() {
    let folder = serving();
    folder.write("state/journal.jsonl/in-the-way", "");
    let app = start(&folder);
    let killed = done(&app, kill(canary()));
    assert!(!killed.durable && killed.not_durable_because.is_some());
    eventually("the failure is shown", || app.status()["journal"]["failure"].is_string());
    assert!(app.status()["journal"]["damage"].is_null());
}

#[test]
fn routes_and_all_are_killed_however_many_tenants_are() {
    let folder = serving();
    let kills: Vec<Record> = (1..=10_000)
        .map(|seq| Record {
            v: 1,
            seq,
            at: "2026-11-29T12:00:00.000Z".into(),
            who: Actor::process(),
            what: Deed::Kill { scope: (&KillScope::Tenant(format!("t{seq}"))).into(), close_streams_ms: None },
            reason: None,
            key: None,
            config: String::new(),
            generation: 1,
            prev: String::new(),
        })
        .collect();
    let saved = SavedState::new(10_000, "", kills, Vec::new()).to_bytes().expect("it fits");
    folder.write("state/snapshot.json", &String::from_utf8(saved).expect("JSON"));
    let app = start(&folder);
    assert_eq!(app.act(kill(KillScope::Tenant("more".into()))), Err(ActError::TooMany(10_000)));
    app.act(kill(KillScope::Tenant("t1".into()))).expect("it is killed already");
    for scope in [canary(), KillScope::All] {
        app.act(kill(scope.clone())).expect("killed");
        assert_eq!(Client::connect(&app).get("/a").1, "one", "{scope}");
    }
}

#[test]
fn a_call_that_is_repeated_while_it_waits_gets_the_same_answer() {
    let folder = serving();
    let files = Faulty::new(&folder);
    let settings = ControlSettings { journal_files: Some(files.clone()), ..folder.options().settings() };
    let app = App::launch(ControlSettings { act_patience: PATIENCE, ..settings }, workers()).expect("started");
    assert!(done(&app, kill(canary())).durable);
    files.hangs.store(true, SeqCst);
    let key = Some(IdempotencyKey { key: "k1".into(), call: "a".into() });
    let again = || app.act(Act { key: key.clone(), ..revive(canary()) }).expect("revived");
    std::thread::scope(|scope| {
        let calls = [scope.spawn(again), scope.spawn(again), scope.spawn(again)];
        eventually("one is taken", || app.status()["release"]["seq"] == 3);
        files.hangs.store(false, SeqCst);
        let outcomes = calls.map(|call| call.join().expect("no panic"));
        assert!(outcomes.iter().all(|one| one.record.seq == 3 && one.durable && !one.killed), "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|one| one.repeated).count(), 2, "{outcomes:?}");
    });
    assert_eq!(Client::connect(&app).get("/a").1, "two");
}

#[test]
fn a_second_process_on_the_folder_does_not_start() {
    let folder = serving();
    let app = start(&folder);
    let Err(error) = start_waiting(&folder, Duration::from_millis(100)) else { panic!("two on one folder") };
    let text = error.to_string();
    assert!(text.contains(&format!("process {} uses the state folder", std::process::id())), "{text}");
    assert_eq!(error.exit_code(), 1);
    assert!(done(&app, kill(canary())).durable, "the first one goes on");
    // One that waits starts when the folder is free.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| start_waiting(&folder, Duration::from_mins(1)));
        drop(app);
        waiting.join().expect("no panic").expect("started")
    });
    assert_eq!(Client::connect(&waiting).get("/a").1, "one");
}

#[test]
fn a_damaged_journal_revives_nothing_and_says_so() {
    let folder = serving();
    let app = start(&folder);
    assert!(done(&app, kill(canary())).durable && done(&app, kill(api())).durable);
    assert!(done(&app, revive(canary())).durable);
    drop(app);
    let path = folder.path("state/journal.jsonl");
    let text = std::fs::read_to_string(&path).expect("a journal");
    std::fs::write(&path, text.replacen("it fails", "it faiLs", 1)).expect("written");
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one");
    let status = app.status();
    assert!(status["journal"]["damage"].as_str().is_some_and(|why| why.contains("the chain is broken")), "{status}");
    assert!(get(&app, "/metrics").body.contains("pointsman_journal_damaged 1\n"));
    assert!(done(&app, revive(api())).durable, "it goes on in a new file");
}

#[test]
fn an_act_while_a_reload_is_under_way_is_done_at_once() {
    let folder = serving();
    let (give, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut settings = folder.options().settings();
    let (load, is_first) = (Arc::clone(&settings.load), AtomicBool::new(true));
    settings.load = Arc::new(move |last_good| {
        if !is_first.swap(false, SeqCst) {
            let _ = wait.lock().expect("one load at a time").recv();
        }
        load(last_good)
    });
    let app = App::launch(settings, workers()).expect("started");
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    folder.write("routes.toml", &text.replace("weight = 100", "weight = 99"));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| app.reload().name());
        assert!(done(&app, kill(canary())).durable);
        assert_eq!(Client::connect(&app).get("/a").1, "one");
        give.send(()).expect("the load waits");
        assert_eq!(reload.join().expect("no panic"), "applied");
    });
    assert_eq!(Client::connect(&app).get("/a").1, "one");
    assert_eq!(app.status()["generation"], 2);
}

#[test]
fn what_the_file_kills_is_lifted_in_the_file_alone() {
    let folder = serving();
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    folder.write("routes.toml", &format!("{text}[kill]\nvariants = [\"api:canary\"]\ntenants = [\"b\", \"a\"]\n"));
    let app = start(&folder);
    let mut client = Client::connect(&app);
    assert_eq!(client.get("/a").1, "one");
    let Err(ActError::KilledByFile { scope, place }) = app.act(revive(canary())) else { panic!("revived") };
    assert_eq!(scope, canary());
    assert!(place.file.ends_with("routes.toml") && place.line > 1, "{place:?}");
    // Killed by both: the revive lifts that of the person, and says that the file still kills.
    done(&app, kill(canary()));
    let status = app.status();
    let sources: Vec<_> = status["kills"].as_array().expect("a list").iter().map(|kill| &kill["source"]).collect();
    assert_eq!(sources, ["file", "file", "file", "call"], "{status}");
    assert_eq!(status["kills"][1]["scope"]["tenant"], "a");
    let tenant = KillScope::Tenant("b".into());
    assert!(matches!(app.act(revive(tenant)), Err(ActError::KilledByFile { .. })));
    let revived = done(&app, revive(canary()));
    assert_eq!(revived.still_killed_by, Some(place));
    assert_eq!(client.get("/a").1, "one");
    folder.write("routes.toml", &text);
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(client.get("/a").1, "two");
}

#[test]
fn status_shows_each_kill_with_who_and_why() {
    let folder = serving();
    let app = start(&folder);
    done(&app, act(PersonAct::Kill { scope: canary(), close_streams: Some(Duration::from_secs(5)) }));
    eventually("the record is durable, and shown so by the journal too", || {
        let status = app.status();
        status["kills"][0]["durable"] == true && status["journal"]["durable_seq"] == 2
    });
    let status = app.status();
    let kill = &status["kills"][0];
    assert_eq!(kill["scope"]["variant"], "api:canary");
    assert_eq!((&kill["who"]["name"], &kill["reason"]), (&"ana".into(), &"it fails".into()));
    assert_eq!((&kill["matches"], &kill["seq"], &kill["close_streams_ms"]), (&true.into(), &2.into(), &5_000.into()));
    assert_eq!((&status["journal"]["durable_seq"], &status["journal"]["seq"]), (&2.into(), &2.into()));
    assert_eq!(status["release"]["seq"], 2);
    assert_eq!(status["kill"]["all"], false);
    // A kill of a route that goes stays in the list.
    let text = std::fs::read_to_string(folder.path("routes.toml")).expect("the file");
    folder.write("routes.toml", &text.replace("name = \"api\"", "name = \"other\""));
    assert_eq!(app.reload().name(), "applied");
    assert_eq!(app.status()["kills"][0]["matches"], false);
    assert!(done(&app, revive(canary())).durable);
    assert_eq!(app.status()["kills"], serde_json::json!([]));
}

#[test]
fn a_folder_that_can_be_written_again_gets_its_lock() {
    let folder = serving();
    folder.write("state/lock/in-the-way", "");
    let files = Faulty::new(&folder);
    files.is_full.store(true, SeqCst);
    let app = start_on(&folder, Arc::clone(&files));
    assert!(!done(&app, kill(canary())).durable);
    std::fs::remove_dir_all(folder.path("state/lock")).expect("removed");
    files.is_full.store(false, SeqCst);
    eventually("the lock names this process", || {
        std::fs::read_to_string(folder.path("state/lock")).is_ok_and(|text| text.ends_with('\n'))
    });
    assert!(StateLock::take(&folder.path("state")).is_err());
    eventually("the journal is written", || app.status()["journal"]["failure"].is_null());
    assert!(done(&app, revive(canary())).durable);
}

#[test]
fn the_folder_is_free_again_when_the_app_ends() {
    let folder = serving();
    let app = start(&folder);
    assert!(StateLock::take(&folder.path("state")).is_err());
    app.stop();
    let _ = app.wait();
    assert!(StateLock::take(&folder.path("state")).is_ok());
}
