//! Ramps and falls.

use super::course::{Course, HOUR, MINUTE, four};
use crate::release::rollout::*;

fn ramped() -> Course {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[2].ramp_ms = 4 * HOUR;
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Enter]);
    assert_eq!((course.weight(), course.state.stage.as_str()), (10, "half"));
    course
}

#[test]
fn a_ramp_is_one_decision_and_the_first_part_of_its_stage() {
    let mut course = ramped();
    assert_eq!(course.pass(2 * HOUR), []);
    assert_eq!((course.weight(), course.state.progress.run_ms), (30, 0));
    assert_eq!(outline(&course.plan, &course.state, &course.facts).doing, "ramping");
    assert_eq!(course.pass(2 * HOUR), []);
    assert_eq!((course.weight(), course.state.ramp), (50, None));
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Enter]);
}

#[test]
fn what_is_in_the_way_of_a_raise_pauses_a_ramp() {
    let pauses: [fn(&mut RolloutFacts); 8] = [
        |facts| facts.freeze = Some(FreezeFact { text: "fri".to_owned(), until_ms: 0 }),
        |facts| facts.kill.all = true,
        |facts| facts.expired = Some("2026-12-31".to_owned()),
        |facts| facts.endpoints.canary_usable = false,
        |facts| facts.endpoints.has_target = false,
        |facts| facts.rejected_config = Some("a".to_owned()),
        |facts| facts.journal = Some("full".to_owned()),
        |facts| facts.endpoints.ejected = vec!["10.0.0.7:80".to_owned()],
    ];
    for pause in pauses {
        let mut course = ramped();
        course.pass(HOUR);
        let clear = course.facts.clone();
        pause(&mut course.facts);
        course.pass(HOUR);
        assert_eq!(course.weight(), 20, "the weight that was reached stays");
        assert!(outline(&course.plan, &course.state, &course.facts).doing != "ramping");
        course.facts = RolloutFacts { now_ms: course.facts.now_ms, wall_ms: course.facts.wall_ms, ..clear };
        course.pass(HOUR);
        assert_eq!(course.weight(), 30);
    }
}

#[test]
fn a_hold_pauses_a_ramp_and_a_ceiling_ends_it() {
    let mut course = ramped();
    course.pass(HOUR);
    course.person("ana", &PersonVerb::Hold).unwrap();
    course.pass(HOUR);
    assert_eq!(course.weight(), 20);
    course.person("ana", &PersonVerb::Resume).unwrap();
    course.pass(HOUR);
    assert_eq!(course.weight(), 30);
    // The ceiling comes below the end of the ramp, then below the weight.
    course.plan.max_weight = 400_000;
    assert_eq!(course.pass(HOUR), []);
    assert_eq!(course.weight(), 30);
    course.plan.max_weight = 150_000;
    assert_eq!(course.tick(), [RolloutVerb::Lower]);
    assert_eq!((course.weight(), course.state.ramp), (15, None));
    // Raised again, the gates of the stage come first; then it ramps as fast as before.
    course.plan.max_weight = 1_000_000;
    assert_eq!(course.pass(10 * MINUTE - 200), []);
    assert_eq!(course.pass(200), [RolloutVerb::Raise]);
    let ramp = course.state.ramp.unwrap();
    assert_eq!((ramp.from, ramp.to, ramp.over_ms), (150_000, 500_000, 4 * HOUR * 35 / 40));
}

#[test]
fn a_rollback_takes_its_time_where_the_plan_says_so() {
    let mut course = Course::at(four(), "half");
    course.plan.rollback_over_ms = 30_000;
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Rollback]);
    assert!(course.is_rolled_back());
    assert_eq!(course.weight(), 50);
    course.facts.freeze = Some(FreezeFact { text: "fri".to_owned(), until_ms: u64::MAX });
    course.facts.journal = Some("full".to_owned());
    course.pass(15_000);
    assert_eq!(course.weight(), 25, "nothing pauses it");
    let mut killed = course.clone();
    killed.facts.kill.own = true;
    assert_eq!(killed.tick(), []);
    assert_eq!((killed.weight(), killed.is_rolled_back()), (0, true), "a kill is faster");
    course.pass(15_000);
    assert_eq!((course.weight(), course.state.fall), (0, None));
}

#[test]
fn a_ceiling_that_is_lowered_and_raised_again_raises_no_falling_weight() {
    let mut course = Course::at(four(), "half");
    course.plan.rollback_over_ms = 30_000;
    course.trip("errors", TripAct::Rollback);
    let mut lower = course.plan.clone();
    lower.max_weight = 200_000;
    let lowered = follow_plan(&lower, &course.state).unwrap().unwrap();
    assert_eq!((lowered.act, lowered.raises), (RolloutVerb::Lower, false));
    course.state = lowered.state;
    assert_eq!(course.weight(), 20, "also under the higher ceiling");
    course.pass(15_000);
    assert_eq!(course.weight(), 10);
    course.pass(20_000);
    assert_eq!((course.weight(), course.is_rolled_back()), (0, true));
}

#[test]
fn control_stays_on_stable() {
    let mut course = Course::at(four(), "half");
    course.plan.stages[3].control = 10_000;
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Enter]);
    assert_eq!(course.weight(), 99);
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Complete]);
}
