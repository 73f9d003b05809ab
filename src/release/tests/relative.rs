//! The relative test: who counts, with what, and when.

use proptest::prelude::*;

use super::world::{ERRORS, World, defaults, is_one_in};
use crate::release::{GuardState, replay};
use crate::route::GuardAct;
use crate::stats::{SlotNumber, WindowNumber};

fn failing(arm: u16, _: u64) -> Option<usize> {
    (arm == 1).then_some(ERRORS)
}

fn healthy(_: u16, _: u64) -> Option<usize> {
    None
}

/// One in a hundred, in both arms.
fn alike(_: u16, key: u64) -> Option<usize> {
    is_one_in(100, key).then_some(ERRORS)
}

#[test]
fn a_canary_that_fails_trips_with_four_callers_and_the_record_says_so_again() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(2, &[19, 1], healthy);
    assert!(world.trips.is_empty());
    let mut bad = 0;
    while world.trips.is_empty() {
        world.run(1, &[19, 1], |_, _| None);
        bad += 1;
        let sent = world.send(1, 1_000_000 + bad);
        world.record(sent, ERRORS);
        world.tick();
        assert!(bad < 10);
    }
    assert_eq!(bad, 4, "the least number of callers at 5 %");
    assert_eq!(world.tripped(), [("errors", GuardAct::Rollback)]);
    let trip = world.trips[0].clone();
    assert_eq!(trip.arm, 1);
    assert_eq!(trip.evidence["revision"], "v1=1");
    assert!(trip.sentence.starts_with("errors ") && trip.sentence.contains("× stable"), "{}", trip.sentence);
    assert!(
        trip.sentence.contains("4 callers of 6") && trip.sentence.contains("on stable 0 of 1 "),
        "{}",
        trip.sentence
    );
    let replayed = replay(&trip.evidence).unwrap();
    assert!(replayed.trips, "{}", trip.evidence);
    let (now, then) = (replayed.evidence_log10.unwrap(), replayed.recorded_log10.unwrap());
    assert!((now - then).abs() < 1e-9, "{now} {then}");
    // Without one of the events it does not.
    let mut less = trip.evidence.clone();
    less["tests"][0]["counts"]["strata"][0][2] = 0.into();
    assert!(!replay(&less).unwrap().trips);
    // It trips once.
    world.run(5, &[19, 1], failing);
    assert_eq!(world.trips.len(), 1);
    assert_eq!(world.standing("errors").state, GuardState::Tripped);
}

#[test]
fn malformed_evidence_is_an_error() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(5, &[19, 1], failing);
    let good = world.trips[0].evidence.clone();
    for (key, value) in [
        ("test", serde_json::json!("other")),
        ("tests", serde_json::json!([{ "window": 0, "weight": 0.5 }])),
        ("tests", serde_json::json!(3)),
        ("grid", serde_json::json!([1.5])),
        ("ratio", serde_json::json!(100.0)),
        ("alpha", serde_json::Value::Null),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(replay(&bad).is_err(), "{key}: {bad}");
    }
    assert!(replay(&serde_json::json!({})).is_err());
    let tests = good["tests"].as_array().unwrap();
    let mut twice = good.clone();
    twice["tests"] = [tests.clone(), tests.clone()].concat().into();
    assert!(replay(&twice).is_err(), "the share of a test counts once");
}

#[test]
fn equal_arms_are_no_evidence_whatever_is_common_to_them() {
    let mut world = World::new(&defaults(), &[0.9, 0.1]);
    world.run(80, &[18, 2], alike);
    world.run(10, &[18, 2], |_, _| Some(ERRORS));
    world.run(80, &[18, 2], alike);
    assert!(world.trips.is_empty() && world.log10("errors") < 0.0, "{}", world.log10("errors"));
}

#[test]
fn a_slot_lasts_a_second_and_a_window_a_minute() {
    let mut world = World::new(&defaults(), &[0.9, 0.1]);
    assert_eq!((world.evidence.opening().slot, world.evidence.opening().window), (SlotNumber(1), WindowNumber(1)));
    world.run(3, &[9, 1], healthy);
    assert_eq!(world.evidence.opening().slot, SlotNumber(4));
    world.run(56, &[9, 1], healthy);
    assert_eq!(world.evidence.opening().window, WindowNumber(1));
    world.run(2, &[9, 1], healthy);
    assert_eq!(world.evidence.opening().window, WindowNumber(2));
    let before = world.evidence.opening().slot;
    let opening = world.evidence.set_shares(&[0.8, 0.2], world.now_ms);
    assert_eq!(opening.slot.0, before.0 + 1);
    assert_eq!(world.evidence.set_shares(&[0.8, 0.2], world.now_ms), opening, "nothing changes");
}

#[test]
fn a_route_without_callers_costs_one_look_a_second_and_no_window() {
    let mut world = World::new(&defaults(), &[0.9, 0.1]);
    world.run(3_600, &[0, 0], healthy);
    assert_eq!(world.evidence.opening().slot, SlotNumber(1));
    assert!(world.reads <= 3_600, "{}", world.reads);
    assert_eq!(world.standing("errors").state, GuardState::NoData);
    world.run(5, &[9, 1], failing);
    assert_eq!(world.tripped()[0].0, "errors", "and it is found when they come");
}

#[test]
fn a_caller_counts_once_whatever_it_repeats() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    for _ in 0..100 {
        for key in 0..19 {
            world.send(0, key);
        }
        // The same three callers fail again and again.
        for key in 100..103 {
            let sent = world.send(1, key);
            world.record(sent, ERRORS);
        }
        world.tick();
    }
    assert!(world.trips.is_empty(), "{:?}", world.tripped());
    assert_eq!(world.standing("errors").tested.events, 3);
    // In the next minutes they count again, in new tests of small weight.
    for _ in 0..2_000 {
        for key in 0..19 {
            world.send(0, key);
        }
        for key in 100..103 {
            let sent = world.send(1, key);
            world.record(sent, ERRORS);
        }
        world.tick();
    }
    assert!(world.trips.is_empty(), "{:?}", world.tripped());
}

#[test]
fn a_late_regression_is_found_by_a_new_window() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(600, &[19, 1], alike);
    let before = world.log10("errors");
    world.run(3, &[19, 1], failing);
    assert!(before < -1.0 && !world.trips.is_empty(), "{before}");
    assert!(replay(&world.trips[0].evidence).unwrap().trips);
    let text = world.trips[0].evidence.to_string();
    assert!(text.len() < 64 << 10, "{}", text.len());
}

#[test]
fn events_weigh_with_the_exposures_under_the_same_shares() {
    // At 50 % both arms fail alike; right after a change of the share the old exposures would say 5 %.
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(30, &[19, 1], healthy);
    let opening = world.evidence.set_shares(&[0.5, 0.5], world.now_ms);
    world.open(opening);
    world.run(2, &[10, 10], |_, key| (key / 4).is_multiple_of(2).then_some(ERRORS));
    assert!(world.trips.is_empty() && world.log10("errors") < 0.0, "{}", world.log10("errors"));
}

#[test]
fn without_control_no_event_counts() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.run(60, &[0, 5], failing);
    assert_eq!(world.trips_of("errors"), 0);
    assert!(world.log10("errors") <= 0.0);
}

#[test]
fn events_that_come_too_late_count_nowhere() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    let sent: Vec<_> = (0..20).map(|key| world.send(1, key)).collect();
    world.run(700, &[19, 1], healthy);
    assert_eq!(world.evidence.late_events(), 0);
    for one in sent {
        world.record(one, ERRORS);
    }
    world.tick();
    assert_eq!(world.evidence.late_events(), 20);
    assert_eq!(world.trips_of("errors"), 0);
}

#[test]
fn a_timeout_counts_in_the_slot_of_sending() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    world.run(2, &[10, 10], healthy);
    let hung: Vec<_> = (0..40).map(|key| world.send(u16::try_from(key % 2).unwrap(), 1_000_000 + key)).collect();
    let opening = world.evidence.set_shares(&[0.95, 0.05], world.now_ms);
    world.open(opening);
    world.run(30, &[19, 1], healthy);
    for one in hung {
        world.record(one, ERRORS);
    }
    world.tick();
    assert!(world.trips.is_empty(), "both arms alike, at 50 %");
    assert_eq!(world.standing("errors").tested.events, 20);
}

#[test]
fn several_variants_are_judged_against_stable_alone() {
    let mut world = World::new(&defaults(), &[0.8, 0.1, 0.1]);
    world.run(10, &[16, 2, 2], |arm, _| (arm == 2).then_some(ERRORS));
    assert!(world.trips.iter().all(|trip| trip.arm == 2) && !world.trips.is_empty());
    assert_eq!(world.evidence.standings(1)[0].state, GuardState::Watching);
    assert!(world.evidence.standings(0).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The order in which workers report events is irrelevant, and so is a tick in between.
    #[test]
    fn order_and_ticks_are_irrelevant(seed in 0_u64..1_000, split in 0_usize..20) {
        let build = |rotate: usize, between: bool| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(&defaults(), &[0.7, 0.3]);
            for _ in 0..40 {
                for _ in 0..20 {
                    let arm = u16::from(random.f64() < 0.3);
                    let key = random.u64(0..500) * 2 + u64::from(arm);
                    let sent = world.send(arm, key);
                    if random.f64() < 0.05 {
                        world.record(sent, ERRORS);
                    }
                }
                let count = world.events.len();
                if count > 0 {
                    world.events.rotate_left(rotate % count);
                }
                if between {
                    let rest = world.events.split_off(split.min(count));
                    world.tick_again();
                    world.events = rest;
                }
                world.tick();
            }
            (world.log10("errors"), world.tripped().len())
        };
        let whole = build(0, false);
        prop_assert_eq!(whole, build(7, false));
        let split = build(0, true);
        prop_assert!((whole.0 - split.0).abs() < 1e-9, "{:?} {:?}", whole, split);
    }
}
