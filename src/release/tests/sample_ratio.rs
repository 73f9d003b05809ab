//! The sample ratio, and runs of failures.

use super::world::{ERRORS, World, defaults};
use crate::release::{GuardState, RunFacts, replay};
use crate::route::GuardAct;

#[test]
fn a_canary_that_loses_half_of_its_callers_is_held() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    world.run(1, &[2, 1], |_, _| None);
    assert_eq!(world.standing("sample-ratio").state, GuardState::TooFew);
    world.run(60, &[10, 5], |_, _| None);
    assert_eq!(world.tripped(), [("sample-ratio", GuardAct::Hold)]);
    let evidence = &world.trips[0].evidence;
    assert!(replay(evidence).unwrap().trips, "{evidence}");
    assert!(world.trips[0].sentence.contains("by its weight"), "{}", world.trips[0].sentence);
}

#[test]
fn shares_that_change_are_no_mismatch() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    for step in 1..=9_u8 {
        let share = f64::from(step) / 10.0;
        let opening = world.evidence.set_shares(&[1.0 - share, share], world.now_ms);
        world.open(opening);
        world.run(20, &[10 - u64::from(step), u64::from(step)], |_, _| None);
    }
    assert!(world.trips.is_empty() && world.log10("sample-ratio") < 0.0);
    assert_eq!(world.standing("sample-ratio").state, GuardState::Watching);
}

/// The callers of a variant that is stopped are no exposures, those of stable are: later the new ones are the variant's.
#[test]
fn a_variant_that_was_stopped_is_no_mismatch() {
    let mut world = World::new(&defaults(), &[0.4, 0.6]);
    world.run(5, &[4, 6], |_, _| None);
    for (shares, callers) in [([1.0, 0.0], [4, 0]), ([0.4, 0.6], [0, 20])] {
        let opening = world.evidence.set_shares(&shares, world.now_ms);
        world.open(opening);
        world.run(10, &callers, |_, _| None);
    }
    assert!(world.trips.is_empty(), "{:?}", world.trips);
    assert_eq!(world.standing("sample-ratio").state, GuardState::Stands);
    let opening = world.evidence.resume(1, world.now_ms);
    world.open(opening);
    world.run(10, &[0, 20], |_, _| None);
    assert!(world.trips.is_empty(), "{:?}", world.trips);
}

fn run_of(length: u32, keys: u32) -> RunFacts {
    RunFacts { number: 3, length, keys: (0..length.min(64)).map(|one| one % keys).collect() }
}

#[test]
fn a_run_of_failures_trips_as_the_errors_guard() {
    for (length, keys, failures, expected) in
        [(20, 10, 0, 1), (19, 10, 0, 0), (20, 4, 0, 0), (20, 2, 0, 0), (20, 10, 2, 1), (20, 10, 9, 0)]
    {
        let mut world = World::new(&defaults(), &[0.95, 0.05]);
        world.facts.stable[0].requests = 1_000;
        world.tick();
        world.facts.runs[1] = run_of(length, keys);
        world.tick();
        assert!(world.trips.is_empty(), "stable has no answers yet");
        world.facts.stable[0].requests = 1_025;
        world.facts.stable[0].failed = failures;
        world.tick();
        world.tick();
        assert_eq!(world.trips.len(), expected, "{length} {keys} {failures}");
        if let Some(trip) = world.trips.first() {
            assert_eq!((trip.guard.as_str(), trip.act), ("errors", GuardAct::Rollback));
            assert!(replay(&trip.evidence).unwrap().trips, "{}", trip.evidence);
            assert_eq!(trip.evidence.get("alpha"), None, "it is outside of alpha");
            assert!(trip.sentence.contains("from 10 callers"), "{}", trip.sentence);
            let standing = world.standing("errors");
            assert_eq!((standing.state, &standing.sentence), (GuardState::Tripped, &trip.sentence));
        }
    }
}

#[test]
fn a_run_goes_on_until_stable_has_answered() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.facts.stable[0].requests = 100;
    world.tick();
    world.facts.runs[1] = run_of(40, 20);
    for answers in [105, 110, 119] {
        world.facts.stable[0].requests = answers;
        world.tick();
    }
    assert!(world.trips.is_empty());
    world.facts.stable[0].requests = 120;
    world.tick();
    assert_eq!(world.trips.len(), 1);
}

#[test]
fn without_an_errors_guard_no_run_trips() {
    let mut guards = defaults();
    guards.all.retain(|guard| guard.signal != Some(ERRORS));
    let mut world = World::new(&guards, &[0.95, 0.05]);
    world.tick();
    world.facts.runs[1] = run_of(64, 64);
    world.facts.stable[0].requests = 1_000;
    world.tick();
    assert!(world.trips.is_empty());
}
