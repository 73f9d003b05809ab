//! A rollback that is rehearsed on live traffic: it is the rollback of a guard, and it is measured.

use super::brake::{act, done, start};
use super::harness::{Folder, eventually};
use super::rollouts::{PLAN, acts, all_replay, deeds, on, standing, text, until};
use super::traffic::{Client, upstream};
use crate::app::ActError;
use crate::release::{ActRefusal, PersonVerb, RolloutPhase, RolloutStanding};

fn is_rolled_back(one: &RolloutStanding) -> bool {
    matches!(one.phase, RolloutPhase::RolledBack(_))
}

#[test]
fn a_plan_that_does_not_permit_rehearsals_has_none() {
    let folder = Folder::new(&text(PLAN, [upstream("one"), upstream("two")]));
    let app = start(&folder);
    until(&app, &mut Client::connect(&app), "it runs", |one| one.stage == "half");
    let refused = app.act(act(on(PersonVerb::Rehearse, &[]))).expect_err("refused");
    let ActError::Rollout { refusal: ActRefusal::WrongState { help, .. }, .. } = refused else { panic!("{refused:?}") };
    assert!(help.contains("rehearsal = true"), "{help}");
    assert_eq!(standing(&app).phase, RolloutPhase::Running);
}

#[test]
fn a_rehearsal_rolls_back_is_measured_and_recorded() {
    for over in ["0s", "1s"] {
        let marked = format!("[rollout.next]\nrehearsal = true\non_rollback = {{ over = \"{over}\" }}\n");
        let plan = PLAN.replacen("[rollout.next]\n", &marked, 1);
        let folder = Folder::new(&text(&plan, [upstream("one"), upstream("two")]));
        let app = start(&folder);
        let mut client = Client::connect(&app);
        until(&app, &mut client, "it runs", |one| one.stage == "half");
        let rolled_back = done(&app, act(on(PersonVerb::Rehearse, &[])));
        assert!(rolled_back.in_force_ms.is_some() && rolled_back.durable, "{rolled_back:?}");
        assert!(is_rolled_back(&standing(&app)));
        eventually("all callers are back on stable", || (0..40).all(|_| client.get("/a").1 == "one"));
        eventually("it is measured", || acts(&folder).iter().any(|one| one == "rehearsed"));
        let all = deeds(&folder);
        let (measured, record) = all.iter().find(|(deed, _)| deed.act == "rehearsed").expect("one");
        assert_eq!((measured.rollout.as_str(), measured.stage.as_str()), ("next", "half"));
        assert_eq!((record.reason.as_deref(), record.who == rolled_back.record.who), (Some("it fails"), true));
        let ms = |key: &str| measured.evidence[key].as_f64();
        assert_eq!(measured.evidence["rollback"], rolled_back.record.seq);
        assert!(ms("durable_ms").is_some() && ms("last_request_ms").is_some(), "{}", measured.evidence);
        let least = if over == "0s" { 0.0 } else { 1_000.0 };
        assert!(ms("in_force_ms").is_some_and(|at| at >= least), "{}", measured.evidence);
        assert!(measured.because.contains("in force after"), "{}", measured.because);
        // It is a rollback as any other: it outlives the process, and a person ends it.
        drop(app);
        let app = start(&folder);
        assert!(is_rolled_back(&standing(&app)));
        done(&app, act(on(PersonVerb::Resume, &[])));
        let mut client = Client::connect(&app);
        until(&app, &mut client, "it goes on", |one| one.phase == RolloutPhase::Running && one.weight > 49.0);
        drop(app);
        all_replay(&folder);
    }
}
