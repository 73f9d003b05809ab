//! Kills, revisions, requirements, evidence and requests that stay away.

use super::course::{Course, HOUR, MINUTE, four};
use crate::release::rollout::*;
use crate::route::{Overdue, OverdueAct};

#[test]
fn a_kill_beats_all_and_then_it_is_held_at_0() {
    let states: [fn(&mut Course); 4] = [
        |_| {},
        |course| drop(course.person("ana", &PersonVerb::Hold)),
        |course| drop(course.trip("ratio", TripAct::Hold)),
        |course| {
            course.canary_is_down(3, Some(TripAct::Rollback));
            course.tick();
        },
    ];
    for prepare in states {
        let mut course = Course::at(four(), "beta");
        prepare(&mut course);
        course.facts.kill.own = true;
        assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Killed], 0));
        assert_eq!((course.pass(HOUR), course.state.phase.name()), (vec![], "killed"));
        assert_eq!(course.blocks(), [BlockKind::Stopped]);
        assert!(course.person("ana", &PersonVerb::Resume).is_err());
        course.facts.kill.own = false;
        course.facts.endpoints.down = None;
        assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Revived], 0));
        assert_eq!((course.pass(HOUR), course.cause()), (vec![], Some(HeldCause::Revived)));
        let run = course.state.progress.run_ms;
        course.person("ana", &PersonVerb::Resume).unwrap();
        assert_eq!(course.weight(), 0, "the checks before a raise come first");
        assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Raise], 10));
        assert!(course.state.progress.run_ms >= run && course.state.stage == "beta", "the stage is kept");
    }
}

#[test]
fn a_trip_under_a_kill_latches_and_a_kill_ends_no_latch() {
    let mut course = Course::at(four(), "beta");
    course.facts.kill.own = true;
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Killed, RolloutVerb::Rollback]);
    assert_eq!(course.tick(), []);
    course.facts.kill.own = false;
    assert_eq!(course.pass(HOUR), []);
    assert!(course.is_rolled_back());
}

#[test]
fn a_kill_before_the_first_stage_leaves_it_before_the_first_stage() {
    let mut course = Course::new(four());
    course.facts.kill.own = true;
    assert_eq!(course.tick(), [RolloutVerb::Begin, RolloutVerb::Killed]);
    course.facts.kill.own = false;
    assert_eq!(course.tick(), [RolloutVerb::Revived]);
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert_eq!(course.state.phase, RolloutPhase::Pending);
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn a_new_revision_begins_again_from_every_state() {
    let states: [fn(&mut Course); 5] = [
        |_| {},
        |course| drop(course.trip("errors", TripAct::Rollback)),
        |course| drop(course.person("ana", &PersonVerb::Hold)),
        |course| {
            course.go_to("full");
            course.pass(10 * MINUTE);
        },
        |course| course.facts.endpoints.has_target = false,
    ];
    for prepare in states {
        let mut course = Course::at(four(), "half");
        prepare(&mut course);
        course.facts.revision = "shop-v2=8".to_owned();
        course.facts.endpoints.has_target = true;
        let was_held = course.cause() == Some(HeldCause::Person);
        let acts = course.tick();
        if was_held {
            assert_eq!((acts, course.cause()), (vec![RolloutVerb::Begin], Some(HeldCause::Person)));
            course.person("ana", &PersonVerb::Resume).unwrap();
            assert_eq!(course.tick(), [RolloutVerb::Enter]);
        } else {
            assert_eq!(acts, [RolloutVerb::Begin, RolloutVerb::Enter]);
        }
        assert_eq!((course.state.stage.as_str(), course.weight(), course.state.refusals), ("dark", 0, 0));
        assert!(course.state.approvals.is_empty() && course.state.warned.is_empty());
    }
}

#[test]
fn the_begin_of_a_revision_is_in_force_at_once() {
    let mut course = Course::at(four(), "half");
    course.facts.revision = "shop-v2=8".to_owned();
    course.facts.journal = Some("full".to_owned());
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Begin], 0));
    assert!(course.last.as_ref().unwrap().begins_anew);
    assert_eq!(course.pass(HOUR), []);
    assert_eq!((course.state.phase.name(), course.blocks()), ("pending", vec![BlockKind::Journal]));
}

#[test]
fn another_stable_holds_and_evidence_begins_anew() {
    let mut course = Course::at(four(), "beta");
    course.facts.stable = "shop-v1=7".to_owned();
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Hold], 10));
    assert!(course.last.as_ref().unwrap().begins_anew);
    assert_eq!((course.pass(HOUR), course.cause()), (vec![], Some(HeldCause::StableChanged)));
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert_eq!(course.state.phase, RolloutPhase::Running);
    // While it is held at 0 it stays there.
    course.canary_is_down(3, Some(TripAct::Rollback));
    course.tick();
    course.facts.stable = "shop-v1=8".to_owned();
    assert_eq!(course.tick(), [RolloutVerb::Warn]);
    assert_eq!((course.cause(), course.weight()), (Some(HeldCause::CanaryDown), 0));
}

#[test]
fn a_requirement_that_falls_holds_at_0_and_comes_back() {
    let mut course = Course::new(four());
    course.facts.unmet = vec!["cart-v2 is at stage internal, beta is required".to_owned()];
    assert_eq!(course.tick(), [RolloutVerb::Begin]);
    assert_eq!((course.pass(HOUR), course.blocks()), (vec![], vec![BlockKind::Requires]));
    course.facts.unmet.clear();
    course.go_to("beta");
    course.facts.unmet = vec!["cart-v2 is rolled back, beta is required".to_owned()];
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Hold], 0));
    assert_eq!((course.pass(HOUR), course.state.reached), (vec![], 0));
    course.facts.unmet.clear();
    course.facts.endpoints.canary_usable = false;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Unhold], 0));
    assert_eq!(course.pass(MINUTE), [], "the checks before a raise come first");
    course.facts.endpoints.canary_usable = true;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Raise], 10));
}

#[test]
fn a_requirement_that_falls_while_the_canary_is_down_takes_over() {
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(3, Some(TripAct::Rollback));
    course.tick();
    course.facts.unmet = vec!["cart-v2 is rolled back".to_owned()];
    assert_eq!((course.tick(), course.cause()), (vec![RolloutVerb::Hold], Some(HeldCause::Requires)));
    course.facts.endpoints.down = None;
    assert_eq!(course.pass(HOUR), []);
}

#[test]
fn no_traffic_and_too_little_evidence_have_their_acts() {
    for (act, name) in [(OverdueAct::Hold, "held"), (OverdueAct::Rollback, "rolled_back")] {
        let overdue = Some(Overdue { after_ms: 30 * MINUTE, act });
        let mut course = Course::at(four(), "beta");
        course.plan.stages[1].min_requests = Some(1_000);
        course.plan.on_no_traffic = overdue;
        course.pass(29 * MINUTE);
        course.facts.evidence.answered += 1;
        course.pass(29 * MINUTE);
        assert_eq!(course.state.phase.name(), "running", "a request came");
        course.pass(2 * MINUTE);
        assert_eq!(course.state.phase.name(), name);

        let mut course = Course::at(four(), "beta");
        course.plan.stages[1].min_requests = Some(1_000_000);
        course.plan.on_inconclusive = overdue;
        for _ in 0..29 {
            course.facts.evidence.answered += 10;
            course.pass(MINUTE);
        }
        assert_eq!(course.state.phase.name(), "running");
        course.pass(2 * MINUTE);
        assert_eq!(course.state.phase.name(), name);
        if act == OverdueAct::Hold {
            course.person("ana", &PersonVerb::Resume).unwrap();
            assert_eq!((course.pass(29 * MINUTE), course.state.phase.name()), (vec![], "running"), "it waits anew");
        }
    }
    // A stage that waits for something else is not inconclusive.
    let mut course = Course::at(four(), "beta");
    course.plan.on_inconclusive = Some(Overdue { after_ms: 30 * MINUTE, act: OverdueAct::Rollback });
    course.plan.stages[1].approve = vec!["lead".to_owned()];
    course.pass(5 * HOUR);
    assert_eq!(course.state.phase, RolloutPhase::Running);
}

#[test]
fn an_overdue_rollback_without_a_target_waits_for_it() {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[1].min_duration_ms = 10 * HOUR;
    course.plan.on_no_traffic = Some(Overdue { after_ms: 30 * MINUTE, act: OverdueAct::Rollback });
    course.facts.endpoints.has_target = false;
    assert_eq!(course.pass(30 * MINUTE), [RolloutVerb::Hold]);
    assert_eq!((course.pass(HOUR), course.cause()), (vec![], Some(HeldCause::NoRollbackTarget)));
    course.facts.endpoints.has_target = true;
    assert_eq!(course.tick(), [RolloutVerb::Rollback]);
    assert!(matches!(&course.state.phase, RolloutPhase::RolledBack(back) if back.by == "no traffic"));
}

#[test]
fn a_damaged_journal_holds_at_0_under_any_revision() {
    let held = |sentence: &str| {
        let by = "pointsman".to_owned();
        RolloutPhase::Held(Held {
            cause: HeldCause::Damaged,
            sentence: sentence.to_owned(),
            by,
            was_complete: false,
            for_ms: 0,
            passed_over: false,
            by_person: false,
            before: None,
        })
    };
    let mut course = Course::new(four());
    course.state.phase = held("line 7 is damaged");
    assert_eq!(course.tick(), []);
    course.facts.revision = "shop-v2=8".to_owned();
    assert_eq!((course.pass(HOUR), course.weight()), (vec![], 0));
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
    assert_eq!(course.state.stage, "dark");
}

#[test]
fn a_guard_that_trips_behind_another_hold_is_heard_when_that_ends() {
    // It is held by the guard, killed, revived and resumed.
    let mut course = Course::at(four(), "half");
    course.trip("errors", TripAct::Hold);
    course.facts.kill.own = true;
    assert_eq!(course.tick(), [RolloutVerb::Killed]);
    course.facts.kill.own = false;
    assert_eq!(course.tick(), [RolloutVerb::Revived]);
    assert!(course.person("ana", &PersonVerb::Resume).unwrap().begins_anew, "the guard can trip again");
    // It trips while a kill covers it.
    let mut course = Course::at(four(), "half");
    course.facts.kill.own = true;
    course.tick();
    course.trip("errors", TripAct::Hold);
    course.facts.kill.own = false;
    course.tick();
    assert!(course.person("ana", &PersonVerb::Resume).unwrap().begins_anew);
    let mut calm = Course::at(four(), "half");
    calm.facts.kill.own = true;
    calm.tick();
    calm.facts.kill.own = false;
    calm.tick();
    assert!(!calm.person("ana", &PersonVerb::Resume).unwrap().begins_anew, "evidence is kept");
}

#[test]
fn a_revision_that_was_rolled_back_stays_so_when_it_comes_back() {
    let mut course = Course::at(four(), "half");
    let first = course.facts.revision.clone();
    course.trip("errors", TripAct::Rollback);
    course.facts.revision = "shop-v2=8".to_owned();
    assert_eq!(course.tick(), [RolloutVerb::Begin, RolloutVerb::Enter]);
    course.facts.revision = first;
    assert_eq!(course.tick(), [RolloutVerb::Begin]);
    assert!(course.is_rolled_back() && course.weight() == 0);
    assert_eq!(course.pass(HOUR), []);
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn a_kill_that_ends_with_another_revision_leaves_it_held() {
    let mut course = Course::at(four(), "half");
    course.facts.kill.own = true;
    assert_eq!(course.tick(), [RolloutVerb::Killed]);
    course.facts.kill.own = false;
    course.facts.revision = "shop-v2=8".to_owned();
    assert_eq!((course.tick(), course.cause()), (vec![RolloutVerb::Begin], Some(HeldCause::Revived)));
    // A person's hold behind that of a guard, too.
    let mut course = Course::at(four(), "half");
    course.person("ana", &PersonVerb::Hold).unwrap();
    course.trip("errors", TripAct::Hold);
    assert_eq!(course.cause(), Some(HeldCause::Guard));
    course.facts.revision = "shop-v2=8".to_owned();
    assert_eq!((course.tick(), course.cause()), (vec![RolloutVerb::Begin], Some(HeldCause::Person)));
    assert_eq!((course.pass(HOUR), course.weight()), (vec![], 0));
}
