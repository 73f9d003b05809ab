//! Absolute guards: near 100 %, and with a bound of their own.

use super::world::{ERRORS, World, defaults, guard, is_one_in};
use crate::release::{GuardState, replay};
use crate::route::{GuardAct, GuardTest, Guards};

fn one_in(rate: u64, arm: u16, key: u64) -> Option<usize> {
    (is_one_in(rate, key) && arm == 1).then_some(ERRORS)
}

#[test]
fn near_full_acts_from_ninety_on_by_a_bound_from_stable() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    // Stable fails for one caller in a hundred.
    world.run(120, &[10, 10], |_, key| is_one_in(100, key).then_some(ERRORS));
    assert_eq!(world.standing("near-full").state, GuardState::NotNearFull);
    let opening = world.evidence.set_shares(&[0.02, 0.98], world.now_ms);
    world.open(opening);
    world.run(5, &[0, 20], |_, _| None);
    let standing = world.standing("near-full");
    assert_eq!(standing.state, GuardState::Watching);
    assert_eq!(standing.alpha, None);
    assert!(standing.sentence.contains("the bound is"), "{}", standing.sentence);
    assert!(standing.evidence_log10 < 0.0 && world.trips.is_empty());
    world.run(3, &[0, 20], |_, _| Some(ERRORS));
    assert_eq!(world.tripped(), [("near-full", GuardAct::Rollback)]);
    assert!(replay(&world.trips[0].evidence).unwrap().trips, "{}", world.trips[0].evidence);
    let bound = world.trips[0].evidence["bound"].as_f64().unwrap();
    assert!((bound - 0.03).abs() < 0.01, "three times stable's rate: {bound}");
}

#[test]
fn without_a_stage_before_the_bound_is_one_percent() {
    let mut world = World::new(&defaults(), &[0.0, 1.0]);
    world.run(3, &[0, 20], |arm, key| one_in(1, arm, key));
    assert_eq!(world.tripped(), [("near-full", GuardAct::Rollback)]);
    assert_eq!(world.trips[0].evidence["bound"], 0.01);
}

#[test]
fn a_healthy_canary_passes_at_a_hundred_percent() {
    let mut world = World::new(&defaults(), &[0.0, 1.0]);
    world.run(100, &[0, 20], |arm, key| one_in(150, arm, key));
    assert!(world.trips.is_empty() && world.log10("near-full") < 0.0, "{}", world.log10("near-full"));
}

#[test]
fn an_absolute_guard_warns_while_stable_is_above_the_bound_and_acts_afterwards() {
    let guards = Guards {
        signals: defaults().signals,
        all: vec![guard("slo", Some(ERRORS), GuardTest::Above(Some(0.02)), 0.001)],
        by_default: false,
    };
    let mut world = World::new(&guards, &[0.5, 0.5]);
    world.run(10, &[10, 10], |_, key| is_one_in(10, key).then_some(ERRORS));
    assert_eq!(world.tripped(), [("slo", GuardAct::Warn)]);
    world.run(90, &[10, 10], |arm, key| one_in(10, arm, key));
    assert_eq!(world.tripped(), [("slo", GuardAct::Warn), ("slo", GuardAct::Rollback)]);
    assert!(world.trips.iter().all(|trip| replay(&trip.evidence).unwrap().trips));
}
