//! What goes on over reloads, lost marks and restarts, and what begins anew.

use proptest::prelude::*;

use super::world::{ERRORS, World, arms, defaults, is_one_in};
use crate::release::{GuardState, Marks, RouteEvidence, SavedEvidence};
use crate::route::GuardAct;
use crate::stats::WindowShape;

const SHAPE: WindowShape = WindowShape { strata: 1, arms: 2, signals: 2 };

fn failing(arm: u16, _: u64) -> Option<usize> {
    (arm == 1).then_some(ERRORS)
}

/// With evidence that has not tripped.
fn begun() -> World {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(5, &[19, 1], |_, _| None);
    for key in 0..2 {
        let sent = world.send(1, 1_000_000 + key);
        world.record(sent, ERRORS);
    }
    world.tick();
    assert!(world.trips.is_empty() && world.log10("errors") > 1.0);
    world
}

fn follow(world: &mut World, guards: &crate::route::Guards, marks: Marks) {
    let opening = world.evidence.follow(guards, arms(&[0.95, 0.05]), SHAPE, marks);
    world.open(opening);
}

#[test]
fn another_act_changes_nothing_and_another_test_begins_anew() {
    let mut world = begun();
    let before = world.log10("errors");
    let mut guards = defaults();
    guards.all[0].act = GuardAct::Warn;
    follow(&mut world, &guards, Marks::Kept);
    assert!((world.log10("errors") - before).abs() < 1e-9);
    assert_eq!(world.standing("errors").act, GuardAct::Warn);
    guards.all[0].alpha = 0.01;
    follow(&mut world, &guards, Marks::Kept);
    assert!(world.log10("errors") < 0.1);
}

#[test]
fn another_revision_begins_anew_of_canary_or_of_stable() {
    for arm in [0, 1] {
        let mut world = begun();
        let mut others = arms(&[0.95, 0.05]);
        others[arm].revision = "v9=2".to_owned();
        let opening = world.evidence.follow(&defaults(), others, SHAPE, Marks::Kept);
        world.open(opening);
        assert!(world.log10("errors") < 0.1, "{arm}");
        world.run(5, &[19, 1], failing);
        assert_eq!(world.tripped()[0].0, "errors", "{arm}");
    }
}

#[test]
fn lost_marks_freeze_the_tests_and_no_broken_caller_counts_again() {
    let mut world = begun();
    let before = world.log10("errors");
    for _ in 0..6 {
        world.forget();
        follow(&mut world, &defaults(), Marks::Lost);
        world.run(2, &[19, 0], |_, _| None);
        // The same two callers.
        for key in 0..2 {
            let sent = world.send(1, 1_000_000 + key);
            world.record(sent, ERRORS);
        }
        world.tick();
    }
    assert!(world.trips.is_empty(), "{:?}", world.tripped());
    assert!(world.log10("errors") < before + 1.0, "{} {before}", world.log10("errors"));
    assert_eq!(world.standing("sample-ratio").state, GuardState::Stands);
    world.run(10, &[19, 1], failing);
    assert_eq!(world.tripped()[0].0, "errors", "the tests of new windows go on");
    assert!(crate::release::replay(&world.trips[0].evidence).unwrap().trips);
}

#[test]
fn a_release_that_is_resumed_begins_anew_and_trips_again() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(5, &[19, 1], failing);
    assert_eq!(world.trips.len(), 1);
    let opening = world.evidence.resume(1, world.now_ms);
    world.open(opening);
    assert!(world.log10("errors") < 0.1);
    assert_ne!(world.standing("errors").state, GuardState::Tripped);
    world.run(5, &[19, 1], failing);
    assert_eq!(world.trips.len(), 2);
}

#[test]
fn what_is_shown_after_a_resume_is_of_the_new_evidence() {
    let mut world = begun();
    let before = world.standing("errors");
    assert!(before.tested.exposures > 0 && before.stable.exposures > 50 && before.tested.events > 0, "{before:?}");
    let opening = world.evidence.resume(1, world.now_ms);
    world.open(opening);
    let anew = world.standing("errors");
    assert_eq!((anew.tested.exposures, anew.stable.exposures, anew.tested.events), (0, 0, 0), "{anew:?}");
    world.run(2, &[19, 1], |_, _| None);
    let later = world.standing("errors");
    assert_eq!((later.tested.exposures, later.stable.exposures), (20, 380), "{later:?}");
}

#[test]
fn a_resumed_release_counts_callers_that_failed_before() {
    // The same hundred callers fail before and after it.
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    let fail = |world: &mut World| {
        for at in 0..100 {
            (0..19).for_each(|one| {
                world.send(0, 10_000 + (at * 19 + one) % 1_900);
            });
            let sent = world.send(1, at % 100);
            world.record(sent, ERRORS);
            world.tick();
        }
    };
    fail(&mut world);
    assert_eq!(world.trips.len(), 1);
    let opening = world.evidence.resume(1, world.now_ms);
    world.open(opening);
    fail(&mut world);
    assert_eq!(world.trips.len(), 2, "{}", world.log10("errors"));
}

fn restored(saved: &SavedEvidence) -> World {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.evidence.restore(saved);
    world
}

/// A rollback that was done is a latch in the journal: the trip is found anew, in case it was not.
#[test]
fn a_trip_that_wants_a_rollback_is_found_anew_after_a_restart() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(5, &[19, 1], failing);
    let text = serde_json::to_string(&world.evidence.save()).unwrap();
    let mut after = restored(&serde_json::from_str(&text).unwrap());
    assert_ne!(after.standing("errors").state, GuardState::Tripped);
    after.run(5, &[19, 1], failing);
    assert!(after.trips_of("errors") > 0);
    assert_eq!(after.standing("errors").state, GuardState::Tripped);
    // Nothing is taken from another revision, or from text that is malformed.
    let mut others = arms(&[0.95, 0.05]);
    others[1].revision = "v1=2".to_owned();
    let mut other = RouteEvidence::new(&defaults(), others, SHAPE, 0);
    other.restore(&world.evidence.save());
    assert_ne!(other.standings(1)[0].state, GuardState::Tripped);
    let bad =
        SavedEvidence { releases: vec![serde_json::json!({ "variant": 3 }), serde_json::Value::Null], tenants: None };
    other.restore(&bad);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A restart raises no evidence beyond the share of the window that it begins.
    #[test]
    fn a_restart_spends_no_alpha(seed in 0_u64..1_000, seconds in 1_u64..130) {
        let mut random = fastrand::Rng::with_seed(seed);
        let bad = random.u64(2..30);
        let mut world = World::new(&defaults(), &[0.9, 0.1]);
        world.run(seconds, &[9, 1], |_, key| is_one_in(bad, key).then_some(ERRORS));
        let text = serde_json::to_string(&world.evidence.save()).unwrap();
        let mut other = World::new(&defaults(), &[0.9, 0.1]);
        other.evidence.restore(&serde_json::from_str(&text).unwrap());
        let e = |world: &World| 10_f64.powf(world.log10("errors"));
        prop_assert!(e(&other) <= e(&world) * (1.0 + 1e-9) + 0.25, "{} {}", e(&other), e(&world));
        prop_assert_eq!(other.evidence.save().releases[0]["guards"][0]["windows"].as_u64(),
            world.evidence.save().releases[0]["guards"][0]["windows"].as_u64().map(|windows| windows + 1));
    }
}

#[test]
fn a_variant_that_a_reload_stops_is_no_sample_afterwards() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    world.run(5, &[10, 10], |_, _| None);
    for shares in [[1.0, 0.0], [0.5, 0.5]] {
        let opening = world.evidence.follow(&defaults(), arms(&shares), SHAPE, Marks::Kept);
        world.open(opening);
        // While it is stopped, its callers are no exposures: later the new ones are nearly all of the variant.
        world.run(20, &[if shares[1] > 0.0 { 1 } else { 10 }, if shares[1] > 0.0 { 10 } else { 0 }], |_, _| None);
    }
    assert_eq!(world.standing("sample-ratio").state, GuardState::Stands);
    assert_eq!(world.trips_of("sample-ratio"), 0);
}
