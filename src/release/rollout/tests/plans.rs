//! Plans that are edited while a rollout is under way.

use super::course::{Course, HOUR, MINUTE, four, stage};
use crate::release::rollout::*;

#[test]
fn the_table_of_edits() {
    let course = Course::at(four(), "half");
    let follow = |edit: fn(&mut crate::route::RolloutPlan)| {
        let mut plan = course.plan.clone();
        edit(&mut plan);
        follow_plan(&plan, &course.state)
    };
    let lowered = |edit| follow(edit).unwrap().map(|decision| (decision.act, decision.state.reached, decision.raises));
    assert_eq!(lowered(|_| {}), None);
    assert_eq!(lowered(|plan| plan.max_weight = 200_000), Some((RolloutVerb::Lower, 200_000, false)));
    assert_eq!(lowered(|plan| plan.stages[2].weight = 300_000), Some((RolloutVerb::Lower, 300_000, false)));
    assert_eq!(lowered(|plan| plan.stages[2].weight = 600_000), None, "higher after its gates");
    assert_eq!(lowered(|plan| plan.stages[3].min_duration_ms = 1), None);
    assert_eq!(lowered(|plan| plan.stages.insert(3, stage("most", 80))), None, "a later stage");
    assert_eq!(lowered(|plan| drop(plan.stages.remove(0))), None, "a stage that is over");
    let rejected = follow(|plan| plan.stages.insert(1, stage("internal", 1))).unwrap_err();
    assert!(
        rejected.message.contains("`internal` is new before") && rejected.help.contains("after `half`"),
        "{rejected:?}"
    );
    let rejected = follow(|plan| drop(plan.stages.remove(2))).unwrap_err();
    assert!(rejected.message.contains("no stage of this name") && rejected.help.contains("goto"), "{rejected:?}");
    // Before its first stage a rollout follows any plan.
    let mut pending = Course::new(four());
    pending.facts.journal = Some("full".to_owned());
    pending.tick();
    let other = super::course::plan(vec![stage("other", 5)]);
    assert_eq!(follow_plan(&other, &pending.state), Ok(None));
    pending.plan = other;
    pending.facts.journal = None;
    assert_eq!(pending.tick(), [RolloutVerb::Enter]);
    assert_eq!(pending.state.stage, "other");
}

#[test]
fn a_weight_that_was_lowered_comes_back_after_the_gates_of_its_stage() {
    let mut course = Course::at(four(), "half");
    course.plan.stages[2].min_requests = Some(100);
    course.pass(10 * MINUTE);
    course.plan.max_weight = 200_000;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Lower], 20));
    course.plan.max_weight = 1_000_000;
    assert_eq!((course.pass(HOUR), course.weight()), (vec![], 20));
    assert_eq!(course.blocks(), [BlockKind::Requests]);
    course.facts.evidence.answered += 100;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Raise], 50));
    assert_eq!(course.state.regain, Regain::Checks);
    course.tick();
    course.facts.evidence.answered += 100;
    assert_eq!(course.pass(9 * MINUTE), [], "it bakes again");
    assert_eq!(course.pass(MINUTE), [RolloutVerb::Enter]);

    // The stage itself gets more weight.
    let mut course = Course::at(four(), "half");
    course.plan.stages[2].weight = 700_000;
    assert_eq!((course.pass(9 * MINUTE), course.weight()), (vec![], 50));
    assert_eq!((course.pass(MINUTE), course.weight()), (vec![RolloutVerb::Raise], 70));
    assert_eq!(course.pass(9 * MINUTE), [], "it bakes at its new weight");
    assert_eq!(course.pass(MINUTE), [RolloutVerb::Enter]);
}

#[test]
fn a_ceiling_of_0_stops_it_and_the_checks_suffice_to_come_back() {
    let mut course = Course::at(four(), "beta");
    course.plan.max_weight = 0;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Lower], 0));
    assert_eq!(course.pass(HOUR), []);
    course.plan.max_weight = 1_000_000;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Raise], 10));
}

#[test]
fn a_complete_rollout_follows_its_ceiling() {
    let mut course = Course::at(four(), "full");
    course.pass(10 * MINUTE);
    course.plan.max_weight = 300_000;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Lower], 30));
    assert_eq!(course.pass(HOUR), []);
    assert_eq!(course.blocks(), [BlockKind::MaxWeight]);
    course.plan.max_weight = 1_000_000;
    assert_eq!(course.tick(), [RolloutVerb::Raise]);
    assert_eq!(course.pass(9 * MINUTE), [], "it bakes again");
    assert_eq!((course.pass(MINUTE), course.weight()), (vec![RolloutVerb::Complete], 100));
    course.plan.stages.push(stage("longer", 100));
    assert_eq!(course.tick(), [RolloutVerb::Enter], "a stage after its end is entered");
}

#[test]
fn a_start_with_another_plan_holds() {
    let course = Course::at(four(), "half");
    let resume = |edit: fn(&mut crate::route::RolloutPlan)| {
        let mut plan = course.plan.clone();
        edit(&mut plan);
        let (state, decision) = resume_plan(&plan, &course.state);
        let held = matches!(&state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::PlanChanged);
        (held, effective_weight(&plan, &state).millionths(), decision.map(|decision| decision.act))
    };
    assert_eq!(resume(|_| {}), (false, 500_000, None));
    assert_eq!(resume(|plan| plan.max_weight = 100_000), (false, 100_000, Some(RolloutVerb::Lower)));
    assert_eq!(resume(|plan| plan.stages.insert(1, stage("new", 1))), (true, 500_000, Some(RolloutVerb::Hold)));
    let insert = |plan: &mut crate::route::RolloutPlan| {
        plan.stages[2].weight = 200_000;
        plan.stages.insert(1, stage("new", 1));
    };
    assert_eq!(resume(insert), (true, 200_000, Some(RolloutVerb::Hold)));
    assert_eq!(resume(|plan| drop(plan.stages.remove(2))), (true, 0, Some(RolloutVerb::Hold)));
}

#[test]
fn a_person_ends_the_hold_of_a_changed_plan() {
    let mut course = Course::at(four(), "half");
    course.plan.stages.insert(2, stage("new", 30));
    (course.state, _) = resume_plan(&course.plan, &course.state);
    assert_eq!((course.pass(HOUR), course.weight()), (vec![], 50));
    assert!(course.person("ana", &PersonVerb::Resume).is_err());
    let mut down = course.clone();
    down.person("ana", &PersonVerb::Goto { stage: "new".to_owned() }).unwrap();
    assert_eq!((down.weight(), down.state.phase.name()), (30, "running"));
    let mut same = course.clone();
    same.person("ana", &PersonVerb::Goto { stage: "half".to_owned() }).unwrap();
    assert_eq!((same.tick(), same.weight()), (vec![], 50));
    let mut up = course.clone();
    let refused = up.person("ana", &PersonVerb::Goto { stage: "full".to_owned() });
    assert!(matches!(refused, Err(ActRefusal::WrongState { .. })), "it goes up stage by stage: {refused:?}");
    course.person("ana", &PersonVerb::Restart).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn a_latch_and_a_kill_outlast_any_plan() {
    let mut course = Course::at(four(), "half");
    course.trip("errors", TripAct::Rollback);
    let other = super::course::plan(vec![stage("other", 100)]);
    let (state, decision) = resume_plan(&other, &course.state);
    assert_eq!((&state, decision), (&course.state, None));
    course.plan = other;
    assert_eq!(course.pass(HOUR), []);
    assert!(course.person("ana", &PersonVerb::Resume).is_err(), "its stage has gone");
    course.person("ana", &PersonVerb::Restart).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn a_dark_stage_that_gets_a_weight_serves_its_time_first() {
    let mut course = Course::at(four(), "dark");
    course.pass(MINUTE);
    course.plan.stages[0].weight = 5_000;
    assert_eq!((course.pass(8 * MINUTE), course.weight()), (vec![], 0));
    assert_eq!(course.blocks(), [BlockKind::Duration]);
    assert_eq!(course.pass(2 * MINUTE).first(), Some(&RolloutVerb::Raise));
}

#[test]
fn a_stage_that_is_new_behind_another_hold_holds_when_that_ends() {
    let mut course = Course::at(four(), "half");
    course.canary_is_down(3, Some(TripAct::Hold));
    assert_eq!(course.tick(), [RolloutVerb::Hold]);
    course.plan.stages.insert(2, stage("new", 30));
    (course.state, _) = resume_plan(&course.plan, &course.state);
    assert_eq!(course.cause(), Some(HeldCause::CanaryDown));
    course.facts.endpoints.down = None;
    assert_eq!(course.tick(), [RolloutVerb::Unhold]);
    assert_eq!(course.tick(), [RolloutVerb::Hold]);
    assert_eq!(course.cause(), Some(HeldCause::PlanChanged));
}

#[test]
fn a_complete_rollout_below_its_weight_goes_on() {
    let mut course = Course::at(four(), "full");
    course.pass(10 * MINUTE);
    assert_eq!(course.state.phase, RolloutPhase::Complete);
    // It was taken out of the file, and comes back.
    course.state.reached = 0;
    assert_eq!(course.pass(MINUTE).first(), Some(&RolloutVerb::Raise));
    assert_eq!(course.weight(), 100);
}

#[test]
fn a_ramp_whose_stage_is_lowered_ends_there_and_springs_not_back() {
    let mut plan = four();
    plan.stages[2].ramp_ms = HOUR;
    let mut course = Course::at(plan, "beta");
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Enter]);
    course.pass(30 * MINUTE);
    let there = course.weight();
    assert!((20..45).contains(&there), "{there}");
    course.plan.stages[2].weight = 460_000;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Lower], there));
    course.plan.stages[2].weight = 500_000;
    assert_eq!((course.pass(5 * MINUTE), course.weight()), (vec![], there), "its gates come first");
}
