//! A crash between a resume and the next time that evidence is saved: what begins anew by the resume stays so.

use super::brake::{act, done, start};
use super::guards::{self, Switch};
use super::harness::{Folder, eventually};
use super::rollouts::{self, PLAN, on};
use super::traffic::{Client, upstream};
use crate::app::{App, PersonAct};
use crate::release::{PersonVerb, ReleaseState, RolloutPhase};

const TRIPPED: &str = "\"tripped\":\"rollback\"";

/// Waits until the evidence is on the disk by which a guard has tripped.
fn tripped_evidence(folder: &Folder) -> String {
    let read = || std::fs::read_to_string(folder.path("state/evidence.json")).unwrap_or_default();
    eventually("the evidence of the trip is saved", || read().contains(TRIPPED));
    read()
}

/// Resumes, and begins again with the evidence from before that.
fn crash_after(resume: PersonAct, app: App, folder: &Folder) -> App {
    let saved = tripped_evidence(folder);
    assert!(done(&app, act(resume)).durable);
    drop(app);
    folder.write("state/evidence.json", &saved);
    let app = start(folder);
    eventually("the evidence begins anew", || {
        !std::fs::read_to_string(folder.path("state/evidence.json")).unwrap_or_default().contains(TRIPPED)
    });
    app
}

#[test]
fn a_guard_does_not_trip_again_by_evidence_from_before_a_resume() {
    let (one, two) = (upstream("one"), Switch::failing());
    let folder = Folder::new(&guards::text(50, "rollback", [one, two.address]));
    let app = start(&folder);
    guards::until(&app, &mut Client::connect(&app), "a rollback", |state| matches!(state, ReleaseState::RolledBack(_)));
    two.mend();
    let app = crash_after(PersonAct::Resume { release: "api:canary".to_owned() }, app, &folder);
    assert_eq!(guards::standing(&app).state, ReleaseState::Watching);
    guards::serves_canary(&mut Client::connect(&app));
}

#[test]
fn a_rollout_is_not_rolled_back_again_by_evidence_from_before_a_resume() {
    let (one, two) = (upstream("one"), Switch::failing());
    let folder = Folder::new(&rollouts::text(PLAN, [one, two.address]));
    let app = start(&folder);
    let is_rolled_back = |phase: &RolloutPhase| matches!(phase, RolloutPhase::RolledBack(_));
    rollouts::until(&app, &mut Client::connect(&app), "a rollback", |one| is_rolled_back(&one.phase));
    two.mend();
    let app = crash_after(on(PersonVerb::Resume, &[]), app, &folder);
    // Its stages end by requests that guards have judged.
    let mut client = Client::connect(&app);
    let later = rollouts::until(&app, &mut client, "it goes on, or is stopped", |one| {
        one.stage == "half" || is_rolled_back(&one.phase)
    });
    assert!(!is_rolled_back(&later.phase), "{later:?}");
}
