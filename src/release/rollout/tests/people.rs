//! Acts of people, and why they are refused.

use super::course::{Course, HOUR, MINUTE, four, stage};
use crate::release::rollout::*;

fn approve(role: Option<&str>) -> PersonVerb {
    PersonVerb::Approve { role: role.map(str::to_owned) }
}

fn goto(stage: &str) -> PersonVerb {
    PersonVerb::Goto { stage: stage.to_owned() }
}

fn awaiting() -> Course {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[1].approve = vec!["lead".to_owned(), "operations".to_owned()];
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Ask]);
    course
}

fn signer(name: &str, roles: &[&str]) -> Signer {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Signer { name: name.to_owned(), roles, at: "2026-12-02T10:30:00Z".to_owned(), reason: String::new() }
}

#[test]
fn one_person_fills_one_role_of_a_stage() {
    let mut course = awaiting();
    let ana = signer("ana", &["lead", "operations"]);
    let act =
        |course: &Course, who: &Signer, role| perform(&course.plan, &course.state, &course.facts, who, &approve(role));
    assert!(matches!(act(&course, &ana, None), Err(ActRefusal::WrongState { .. })), "which of the two?");
    course.state = act(&course, &ana, Some("lead")).unwrap().state;
    let again = ActRefusal::AlreadyApproved { role: "lead".to_owned(), by: "ana".to_owned() };
    assert_eq!(act(&course, &ana, Some("lead")).unwrap_err(), again);
    let same = ActRefusal::SamePerson { role: "lead".to_owned() };
    assert_eq!(act(&course, &ana, Some("operations")).unwrap_err(), same);
    assert_eq!(act(&course, &ana, None).unwrap_err(), same);
    let dee = signer("dee", &["product"]);
    let awaited = vec!["operations".to_owned()];
    assert_eq!(act(&course, &dee, None).unwrap_err(), ActRefusal::NotApprover { role: None, awaited: awaited.clone() });
    let refusal = ActRefusal::NotApprover { role: Some("operations".to_owned()), awaited };
    assert_eq!(act(&course, &dee, Some("operations")).unwrap_err(), refusal);
    let mut lifted = course.clone();
    lifted.plan.same_person = true;
    assert!(act(&lifted, &ana, None).is_ok());
    let bo = signer("bo", &["operations"]);
    course.state = act(&course, &bo, None).unwrap().state;
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn an_approval_comes_when_all_else_is_there_and_not_before() {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[1].approve = vec!["lead".to_owned()];
    let Err(ActRefusal::Blocked(blocks)) = course.person("lead", &approve(None)) else { panic!() };
    assert_eq!(blocks[0].kind, BlockKind::Duration);
    course.pass(10 * MINUTE);
    // Once they are asked, a gate that closes meanwhile refuses no approval.
    course.facts.endpoints.canary_usable = false;
    course.person("lead", &approve(None)).unwrap();
    assert_eq!(course.pass(MINUTE), []);
    course.facts.endpoints.canary_usable = true;
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
    let refused = course.person("lead", &approve(None)).unwrap_err();
    assert!(matches!(refused, ActRefusal::WrongState { .. }), "{refused:?}");
}

#[test]
fn an_edit_up_to_its_stage_voids_an_approval() {
    let edits: [fn(&mut Course); 3] = [
        |course| course.plan.stages[0].min_duration_ms += 1,
        |course| course.plan.stages[1].min_requests = Some(1),
        |course| course.plan.stages[1].approve = vec!["operations".to_owned(), "lead".to_owned()],
    ];
    for edit in edits {
        let mut course = awaiting();
        course.person("lead", &approve(None)).unwrap();
        edit(&mut course);
        course.facts.evidence.answered += 10;
        course.tick();
        course.person("operations", &approve(None)).unwrap();
        assert_eq!(course.pass(MINUTE), [], "the first approval is void");
        course.person("lead", &approve(None)).unwrap();
        assert_eq!(course.tick(), [RolloutVerb::Enter]);
    }
    let mut course = awaiting();
    course.person("lead", &approve(None)).unwrap();
    course.plan.stages[2].min_requests = Some(9);
    course.plan.stages.push(stage("later", 100));
    course.person("operations", &approve(None)).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter], "later stages are no matter");
}

#[test]
fn an_approval_of_another_revision_counts_nothing() {
    let mut course = awaiting();
    course.person("lead", &approve(None)).unwrap();
    course.facts.revision = "shop-v2=8".to_owned();
    course.tick();
    course.pass(10 * MINUTE);
    assert_eq!(course.state.stage, "beta");
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Ask]);
    course.person("operations", &approve(None)).unwrap();
    assert_eq!(course.pass(HOUR), []);
}

#[test]
fn a_rollback_voids_the_approvals_of_its_stage() {
    let mut course = awaiting();
    course.person("lead", &approve(None)).unwrap();
    course.trip("errors", TripAct::Rollback);
    let resumed = course.person("ana", &PersonVerb::Resume).unwrap();
    assert!(resumed.begins_anew && resumed.raises);
    assert_eq!(course.weight(), 0);
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Raise], 10));
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Ask]);
    course.person("operations", &approve(None)).unwrap();
    assert_eq!(course.tick(), []);
}

#[test]
fn holds_and_rollbacks_of_people() {
    let mut course = Course::at(four(), "half");
    course.person("ana", &PersonVerb::Hold).unwrap();
    assert_eq!((course.pass(HOUR), course.weight(), course.cause()), (vec![], 50, Some(HeldCause::Person)));
    assert!(matches!(course.person("bo", &PersonVerb::Hold), Err(ActRefusal::WrongState { .. })), "two operators");
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert!(matches!(course.person("bo", &PersonVerb::Resume), Err(ActRefusal::WrongState { .. })), "two operators");
    course.facts.endpoints.has_target = false;
    let done = course.person("ana", &PersonVerb::Rollback).unwrap();
    assert!(!done.raises && course.is_rolled_back(), "also without a usable stable");
    assert!(matches!(course.person("bo", &PersonVerb::Rollback), Err(ActRefusal::WrongState { .. })));
    for prepare in [PersonVerb::Hold, PersonVerb::Rollback] {
        let mut course = Course::at(four(), "full");
        course.pass(10 * MINUTE);
        assert_eq!(course.state.phase, RolloutPhase::Complete);
        course.person("ana", &prepare).unwrap();
        course.person("ana", &PersonVerb::Resume).unwrap();
        course.pass(MINUTE);
        assert_eq!(course.weight(), 100);
        let is_held = prepare == PersonVerb::Hold;
        assert_eq!(course.state.phase.name(), if is_held { "complete" } else { "running" });
    }
}

#[test]
fn goto_goes_down_at_once_and_up_when_the_stage_lets_it() {
    let mut course = Course::at(four(), "half");
    let down = course.person("ana", &goto("beta")).unwrap();
    assert!(!down.raises);
    assert_eq!((course.weight(), course.state.progress.run_ms), (10, 0));
    let Err(ActRefusal::Blocked(blocks)) = course.person("ana", &goto("full")) else { panic!() };
    assert_eq!(blocks[0].kind, BlockKind::Duration);
    course.plan.stages[2].approve = vec!["lead".to_owned()];
    course.facts.endpoints.ejected = vec!["10.0.0.7:80".to_owned()];
    course.pass(10 * MINUTE);
    let Err(ActRefusal::Blocked(blocks)) = course.person("ana", &goto("full")) else { panic!() };
    let kinds: Vec<BlockKind> = blocks.iter().map(|block| block.kind).collect();
    assert_eq!(kinds, [BlockKind::Endpoints, BlockKind::Approval]);
    course.plan.stages[2].approve.clear();
    course.facts.endpoints.ejected.clear();
    let up = course.person("ana", &goto("full")).unwrap();
    assert!(up.raises);
    assert_eq!((course.weight(), course.state.stage.as_str()), (100, "full"));
    let refused = course.person("ana", &goto("ful")).unwrap_err();
    assert_eq!(refused, ActRefusal::NoStage { stage: "ful".to_owned(), similar: Some("full".to_owned()) });
    assert!(matches!(course.person("ana", &goto("full")), Err(ActRefusal::WrongState { .. })));
    // From a hold it goes down alone, and from a latch not at all.
    course.person("ana", &PersonVerb::Hold).unwrap();
    course.person("ana", &goto("half")).unwrap();
    assert_eq!((course.state.phase.name(), course.weight()), ("running", 50));
    course.person("ana", &PersonVerb::Hold).unwrap();
    assert!(course.person("ana", &goto("full")).is_err());
    course.trip("errors", TripAct::Rollback);
    assert!(course.person("ana", &goto("dark")).is_err());
}

#[test]
fn restart_begins_at_the_first_stage_with_fresh_evidence() {
    let mut course = Course::at(four(), "half");
    let restarted = course.person("ana", &PersonVerb::Restart).unwrap();
    assert!(restarted.begins_anew && !restarted.raises, "it lowers");
    assert_eq!((course.weight(), course.state.phase.name()), (0, "pending"));
    assert!(course.person("bo", &PersonVerb::Restart).is_err(), "two operators");
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
    course.trip("errors", TripAct::Rollback);
    let restarted = course.person("ana", &PersonVerb::Restart).unwrap();
    assert!(restarted.raises, "it ends a latch");
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
    course.facts.kill.own = true;
    course.tick();
    assert!(course.person("ana", &PersonVerb::Restart).is_err(), "a kill beats all");
}

#[test]
fn every_refusal_says_what_to_do() {
    let verbs = [
        approve(None),
        PersonVerb::Hold,
        PersonVerb::Resume,
        PersonVerb::Rollback,
        goto("beta"),
        goto("full"),
        PersonVerb::Restart,
        PersonVerb::Rehearse,
    ];
    let prepare: [fn(&mut Course); 6] = [
        |_| {},
        |course| drop(course.person("ana", &PersonVerb::Hold)),
        |course| drop(course.trip("errors", TripAct::Rollback)),
        |course| course.facts.kill.own = true,
        |course| course.canary_is_down(3, Some(TripAct::Rollback)),
        |course| {
            course.go_to("full");
            course.pass(10 * MINUTE);
        },
    ];
    for prepare in prepare {
        let mut course = Course::at(four(), "beta");
        prepare(&mut course);
        course.tick();
        for verb in &verbs {
            match course.clone().person("ana", verb) {
                Ok(decision) => assert!(!decision.sentence.is_empty()),
                Err(ActRefusal::WrongState { message, help }) => {
                    assert!(!message.is_empty() && !help.is_empty(), "{verb:?} {:?}", course.state.phase);
                }
                Err(ActRefusal::Blocked(blocks)) => assert!(!blocks.is_empty()),
                Err(refusal) => panic!("{verb:?}: {refusal:?}"),
            }
        }
    }
}

#[test]
fn a_move_back_voids_the_approvals_of_what_is_passed_again() {
    let mut plan = four();
    plan.stages[1].approve = vec!["ana".to_owned()];
    let mut course = Course::at(plan, "beta");
    course.pass(10 * MINUTE);
    course.person("ana", &PersonVerb::Approve { role: None }).unwrap();
    course.go_to("half");
    assert_eq!(course.state.approvals.len(), 1);
    course.person("bo", &PersonVerb::Goto { stage: "beta".to_owned() }).unwrap();
    assert!(course.state.approvals.is_empty(), "{:?}", course.state.approvals);
    course.pass(10 * MINUTE);
    assert_eq!(course.blocks(), [BlockKind::Approval]);
}

#[test]
fn a_rehearsal_is_the_rollback_of_a_guard_that_a_person_trips() {
    let mut course = Course::at(four(), "beta");
    let by_hand = course.clone().person("ana", &PersonVerb::Rehearse).unwrap();
    course.trip(REHEARSAL, TripAct::Rollback);
    let RolloutPhase::RolledBack(back) = &by_hand.state.phase else { panic!("{by_hand:?}") };
    assert_eq!((back.by.as_str(), by_hand.act, by_hand.raises), (REHEARSAL, RolloutVerb::Rollback, false));
    assert!(back.sentence.starts_with("ana trips a guard by hand, as a rehearsal"), "{}", back.sentence);
    let RolloutPhase::RolledBack(by_guard) = &course.state.phase else { panic!("{:?}", course.state) };
    assert_eq!(by_guard.by, back.by);
    assert_eq!((&course.state.latched, course.state.reached), (&by_hand.state.latched, by_hand.state.reached));
    // Where nothing serves, or stable cannot take the requests, there is nothing to rehearse.
    let refused = |prepare: fn(&mut Course)| {
        let mut course = Course::at(four(), "beta");
        prepare(&mut course);
        course.person("ana", &PersonVerb::Rehearse).expect_err("refused")
    };
    for prepare in [
        |course: &mut Course| drop(course.trip("errors", TripAct::Rollback)),
        |course: &mut Course| course.facts.endpoints.has_target = false,
        |course: &mut Course| {
            course.facts.kill.own = true;
            course.tick();
        },
    ] {
        let ActRefusal::WrongState { message, help } = refused(prepare) else { panic!("no reason") };
        assert!(!message.is_empty() && !help.is_empty());
    }
}
