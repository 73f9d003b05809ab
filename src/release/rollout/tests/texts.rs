//! States in words.

use super::course::{Course, HOUR, MINUTE, four};
use crate::release::rollout::*;

fn shown(course: &Course) -> RolloutOutline {
    outline(&course.plan, &course.state, &course.facts)
}

#[test]
fn each_state_says_why_it_is_there_and_what_would_end_it() {
    let mut course = Course::at(four(), "beta");
    course.state.progress.run_ms = 4 * MINUTE;
    let baking = shown(&course);
    assert_eq!(baking.doing, "baking");
    assert_eq!(baking.says, "stage `beta` at 10 %: 4 min of 10 min in stage `beta`");
    assert_eq!(baking.unblock.as_deref(), Some("6 min more of running time"));
    assert_eq!(baking.next_ms, Some(course.facts.wall_ms + 6 * MINUTE));
    let until_ms = course.facts.wall_ms + HOUR;
    course.facts.freeze = Some(FreezeFact { text: "fri 16:00 - mon 08:00".to_owned(), until_ms });
    let frozen = shown(&course);
    assert_eq!((frozen.doing, frozen.next_ms), ("frozen", Some(until_ms + 6 * MINUTE)));
    assert_eq!(frozen.says, "stage `beta` at 10 %: the freeze window `fri 16:00 - mon 08:00` is in force");
    assert_eq!(frozen.unblock.as_deref(), Some("it ends by itself in 1 h"));
    course.facts.freeze = None;
    course.plan.stages[1].min_requests = Some(5_000);
    course.state.progress.run_ms = HOUR;
    let gated = shown(&course);
    assert_eq!((gated.doing, gated.next_ms), ("gated", None));
    assert_eq!(gated.says, "stage `beta` at 10 %: the canary has 0 of 5 000 answered requests in stage `beta`");
    course.person("ana", &PersonVerb::Hold).unwrap();
    let held = shown(&course);
    assert_eq!((held.doing, held.says.as_str()), ("person", "held (person) at 10 % in stage `beta`: because"));
    assert_eq!(held.unblock.as_deref(), Some("`pointsman rollout resume shop --reason TEXT`"));
    course.trip("errors", TripAct::Rollback);
    let back = shown(&course);
    assert_eq!((back.doing, back.says.as_str()), ("", "rolled back by errors: errors: 14 callers of 4 210"));
    let unblock = "another `revision` of upstream shop-v2, or `pointsman rollout resume shop --reason TEXT`";
    assert_eq!(back.unblock.as_deref(), Some(unblock));
    let places: Vec<StagePlace> = back.stages.iter().map(|stage| stage.place).collect();
    assert_eq!(places, [StagePlace::Done, StagePlace::Current, StagePlace::Ahead, StagePlace::Ahead]);
    course.state.revision = "shop-v2".to_owned();
    assert!(shown(&course).unblock.is_some_and(|text| text.starts_with("`pointsman rollout resume")));
}

#[test]
fn a_state_survives_json() {
    let mut course = Course::at(four(), "half");
    course.canary_is_down(3, Some(TripAct::Rollback));
    course.tick();
    for state in [RolloutState::default(), course.state.clone()] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<RolloutState>(&text).unwrap(), state, "{text}");
    }
    for cause in HeldCause::ALL {
        assert!(!cause.name().is_empty());
    }
}
