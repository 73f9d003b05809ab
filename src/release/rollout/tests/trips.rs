//! Guards that trip, and canaries that accept no connections.

use super::course::{Course, HOUR, MINUTE, four, trip};
use crate::release::rollout::*;

#[test]
fn a_rollback_latches_in_every_state() {
    let states: [fn(&mut Course); 7] = [
        |_| {},
        |course| drop(course.person("ana", &PersonVerb::Hold)),
        |course| course.facts.freeze = Some(FreezeFact { text: "fri".to_owned(), until_ms: u64::MAX }),
        |course| drop(course.trip("ratio", TripAct::Hold)),
        |course| course.facts.journal = Some("full".to_owned()),
        |course| course.facts.stable = "shop-v1=7".to_owned(),
        |course| {
            course.go_to("full");
            course.pass(10 * MINUTE);
            assert_eq!(course.state.phase, RolloutPhase::Complete);
        },
    ];
    for (at, prepare) in states.iter().enumerate() {
        let mut course = Course::at(four(), "half");
        prepare(&mut course);
        course.tick();
        assert!(course.weight() > 0, "{at}");
        assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Rollback], "{at}");
        assert_eq!(course.weight(), 0, "{at}");
        assert_eq!(course.last.as_ref().unwrap().guard.as_ref().unwrap().guard, "errors");
        // The latch does not end by itself, and a second trip is no second record.
        assert_eq!(course.trip("errors", TripAct::Rollback), [], "{at}");
        course.facts.freeze = None;
        assert_eq!(course.pass(HOUR), [], "{at}");
        assert_eq!(course.blocks(), [BlockKind::Stopped]);
    }
}

#[test]
fn a_rollback_comes_before_a_hold_and_the_first_one_is_named() {
    let mut course = Course::at(four(), "beta");
    for (guard, act) in
        [("w", TripAct::Warn), ("ratio", TripAct::Hold), ("latency", TripAct::Rollback), ("errors", TripAct::Rollback)]
    {
        course.facts.trips.push(trip(guard, act));
    }
    assert_eq!(course.tick(), [RolloutVerb::Rollback]);
    let RolloutPhase::RolledBack(back) = &course.state.phase else { panic!("{:?}", course.state) };
    assert_eq!(back.by, "latency");
    let mut course = Course::at(four(), "beta");
    course.facts.trips = vec![trip("w", TripAct::Warn), trip("ratio", TripAct::Hold)];
    assert_eq!(course.tick(), [RolloutVerb::Hold, RolloutVerb::Warn]);
    assert_eq!((course.cause(), course.weight()), (Some(HeldCause::Guard), 10));
    assert_eq!(course.trip("w", TripAct::Warn), [], "each guard warns once");
    course.person("ana", &PersonVerb::Resume).unwrap();
    assert!(course.state.warned.is_empty(), "evidence begins anew");
}

#[test]
fn a_rollback_without_a_target_waits_for_it() {
    let mut course = Course::at(four(), "beta");
    course.facts.endpoints.has_target = false;
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Hold]);
    assert_eq!((course.cause(), course.weight()), (Some(HeldCause::NoRollbackTarget), 10));
    assert_eq!(course.trip("latency", TripAct::Rollback), []);
    assert_eq!(course.pass(HOUR), []);
    let mut killed = course.clone();
    killed.facts.kill.own = true;
    assert_eq!(killed.tick(), [RolloutVerb::Rollback], "at 0 it needs none");
    assert!(killed.is_rolled_back());
    course.facts.endpoints.has_target = true;
    assert_eq!(course.tick(), [RolloutVerb::Rollback]);
    assert!(matches!(&course.state.phase, RolloutPhase::RolledBack(back) if back.by == "errors"));
}

#[test]
fn a_canary_that_refuses_connections_is_held_and_comes_back() {
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(1, Some(TripAct::Rollback));
    assert_eq!(course.tick(), [], "too few tries");
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Hold], "its errors are refusals");
    assert_eq!((course.cause(), course.weight(), course.state.refusals), (Some(HeldCause::CanaryDown), 0, 1));
    course.canary_is_down(9, Some(TripAct::Rollback));
    assert_eq!(course.pass(9_000), []);
    course.facts.endpoints.down = None;
    course.facts.journal = Some("full".to_owned());
    assert_eq!(course.tick(), [], "the end of a hold raises");
    course.facts.journal = None;
    assert_eq!(course.tick(), [RolloutVerb::Unhold]);
    assert!(course.last.as_ref().unwrap().begins_anew, "the guard has tripped");
    assert_eq!((course.state.phase.name(), course.weight()), ("running", 10));
    // It comes and goes: the third time it is rolled back.
    course.canary_is_down(1, Some(TripAct::Rollback));
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Hold]);
    course.facts.endpoints.down = None;
    assert_eq!(course.tick(), [RolloutVerb::Unhold]);
    course.canary_is_down(1, Some(TripAct::Rollback));
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Rollback]);
}

#[test]
fn a_canary_that_stays_down_is_rolled_back() {
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(3, Some(TripAct::Rollback));
    assert_eq!(course.tick(), [RolloutVerb::Hold]);
    assert_eq!(course.state.refusals, 0);
    assert_eq!(course.pass(9_900), []);
    assert_eq!(course.tick(), [RolloutVerb::Rollback]);
    let mut held = Course::at(four(), "beta");
    held.canary_is_down(3, Some(TripAct::Hold));
    assert_eq!(held.tick(), [RolloutVerb::Hold]);
    assert_eq!((held.pass(HOUR), held.weight()), (vec![], 0));
    held.facts.endpoints.down = None;
    assert_eq!(held.tick(), [RolloutVerb::Unhold]);
    assert!(!held.last.as_ref().unwrap().begins_anew, "no guard has tripped");
    let mut warned = Course::at(four(), "beta");
    warned.canary_is_down(3, Some(TripAct::Warn));
    assert_eq!((warned.tick(), warned.tick(), warned.weight()), (vec![RolloutVerb::Warn], vec![], 10));
    let mut unwatched = Course::at(four(), "beta");
    unwatched.canary_is_down(3, None);
    assert_eq!((unwatched.pass(MINUTE), unwatched.weight()), (vec![], 10));
}

#[test]
fn errors_of_another_route_and_other_guards_are_no_refusals() {
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(1, Some(TripAct::Rollback));
    let elsewhere = RolloutTrip { route: Some("cart".to_owned()), ..trip("errors", TripAct::Rollback) };
    course.facts.trips.push(elsewhere);
    assert_eq!(course.tick(), [RolloutVerb::Rollback]);
    assert!(course.last.as_ref().unwrap().sentence.ends_with("on route `cart`"));
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(1, Some(TripAct::Rollback));
    assert_eq!(course.trip("latency", TripAct::Rollback), [RolloutVerb::Rollback]);
    let mut course = Course::at(four(), "beta");
    course.canary_is_down(9, Some(TripAct::Rollback));
    course.facts.endpoints.has_target = false;
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Hold]);
    assert_eq!(course.cause(), Some(HeldCause::NoRollbackTarget), "at 0 the requests would fail as well");
}

#[test]
fn a_persons_hold_outlasts_the_canarys() {
    let mut course = Course::at(four(), "beta");
    course.person("ana", &PersonVerb::Hold).unwrap();
    course.canary_is_down(3, Some(TripAct::Rollback));
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Hold], 0));
    course.facts.endpoints.down = None;
    assert_eq!((course.tick(), course.weight()), (vec![RolloutVerb::Unhold], 10));
    assert_eq!(course.cause(), Some(HeldCause::Person));
}

#[test]
fn trips_of_the_revision_before_are_void() {
    let mut course = Course::at(four(), "beta");
    course.facts.revision = "shop-v2=8".to_owned();
    assert_eq!(course.trip("errors", TripAct::Rollback), [RolloutVerb::Begin, RolloutVerb::Enter]);
    assert_eq!((course.state.stage.as_str(), course.weight()), ("dark", 0));
}
