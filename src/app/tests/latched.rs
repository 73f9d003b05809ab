//! Latches from before a start: in force from the first request, whatever has become of the journal and its disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::brake::{act, done, serving, start};
use super::faulty_disk::{Faulty, start_on};
use super::harness::{Folder, eventually, get};
use super::traffic::Client;
use crate::app::{ActError, PersonAct};
use crate::journal::{Actor, Deed, DiskFiles, Record, ReleaseDeed, ReleaseVerb, SavedState, Via, verify};

/// The saved state with a rollback of this revision, without its journal.
fn roll_back(folder: &Folder, revision: &str) {
    let deed = ReleaseDeed {
        act: ReleaseVerb::Rollback,
        release: "api:canary".into(),
        revision: revision.into(),
        because: None,
        evidence: serde_json::json!({ "sentence": "errors 9 × stable" }),
    };
    let record = Record {
        v: 2,
        seq: 7,
        at: "2026-11-29T12:00:00.000Z".into(),
        who: Actor { name: "errors".into(), via: Via::Guard },
        what: Deed::Release(deed),
        reason: None,
        key: None,
        config: String::new(),
        generation: 1,
        prev: String::new(),
    };
    let saved = SavedState::new(7, "", Vec::new(), vec![record]).to_bytes().expect("it fits");
    folder.write("state/snapshot.json", &String::from_utf8(saved).expect("JSON"));
}

fn resume() -> PersonAct {
    PersonAct::Resume { release: "api:canary".into() }
}

#[test]
fn a_rollback_of_the_saved_state_holds_although_the_journal_is_missing() {
    let folder = serving();
    roll_back(&folder, "v2");
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the canary is at 0");
    assert!(get(&app, "/metrics").body.contains("pointsman_journal_damaged 1\n"));
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the journal that was begun has it too");
    let resumed = done(&app, act(resume()));
    assert!(resumed.durable && resumed.record.seq > 7, "{resumed:?}");
    assert_eq!(Client::connect(&app).get("/a").1, "two");
    drop(app);
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "two", "the resume outlives the process");
    drop(app);
    assert!(verify(&DiskFiles::new(&folder.path("state"))).expect("read").is_intact());
}

#[test]
fn a_rollback_of_another_revision_holds_nothing_back() {
    let folder = serving();
    roll_back(&folder, "v2=1");
    let app = start(&folder);
    assert_eq!(Client::connect(&app).get("/a").1, "two");
    assert!(matches!(app.act(act(resume())), Err(ActError::NotRolledBack { .. })));
}

#[test]
fn a_full_disk_refuses_a_resume() {
    let folder = serving();
    roll_back(&folder, "v2");
    let files = Faulty::new(&folder);
    let app = start_on(&folder, Arc::clone(&files));
    eventually("the journal is begun", || app.status()["journal"]["durable_seq"] == 8);
    files.is_full.store(true, SeqCst);
    let Err(ActError::NotRecorded(why)) = app.act(act(resume())) else { panic!("resumed") };
    assert!(why.contains("make room on its disk"), "{why}");
    assert_eq!(Client::connect(&app).get("/a").1, "one", "the latch stays");
    files.is_full.store(false, SeqCst);
    eventually("the journal is written again", || app.status()["journal"]["failure"].is_null());
    assert_eq!(Client::connect(&app).get("/a").1, "one", "what was refused is not done later");
    assert!(done(&app, act(resume())).durable);
    assert_eq!(Client::connect(&app).get("/a").1, "two");
}
