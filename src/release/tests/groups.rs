//! Routes that are judged together.

use std::time::Duration;

use super::world::{ERRORS, SLOW, World, arms, defaults, guard};
use crate::release::{GuardState, JudgedGroup, JudgedRoute, Marks, RunFacts, StableQuantile};
use crate::route::{Guard, GuardAct, GuardTest, Guards, VariantId};
use crate::stats::Failures;

/// Route `a` has one deciding rule, route `b` two; the third variant is one of `b`, with a static weight.
fn group(shares: [[f64; 3]; 2]) -> JudgedGroup {
    let mut guards = defaults();
    let own = |guard: Guard, arm: u16| Guard { variant: Some(VariantId(arm)), ..guard };
    let mut all: Vec<Guard> = guards.all.iter().map(|one| own(one.clone(), 1)).collect();
    let mut scopes = vec![None; all.len()];
    for route in 0..2 {
        all.push(own(guard("each", Some(ERRORS), GuardTest::WorseThanStable(1.1), 0.0015), 1));
        scopes.push(Some(route));
    }
    all.push(own(guard("errors", Some(ERRORS), GuardTest::WorseThanStable(1.1), 0.003), 2));
    scopes.push(Some(1));
    guards.all = all;
    let mut arms = arms(&[0.0, 0.0, 0.0]);
    arms[1].by_rollout = true;
    let route = |(name, strata, shares): (&str, usize, [f64; 3])| JudgedRoute {
        name: name.to_owned(),
        strata,
        shares: shares.to_vec(),
    };
    let routes = vec![route(("a", 1, shares[0])), route(("b", 2, shares[1]))];
    let mut group = JudgedGroup { guards, scopes, arms, routes };
    let shares = group.shares();
    group.set_shares(&shares);
    group
}

fn half() -> JudgedGroup {
    group([[0.5, 0.5, 0.0], [0.4, 0.5, 0.1]])
}

/// Ten callers a tick on each route, an equal part in each arm. `is_bad` gets the route, the arm and the caller.
fn run(world: &mut World, seconds: u64, is_bad: impl Fn(u16, u16, u64) -> Option<usize>) {
    for _ in 0..seconds * 10 {
        for one in 0..10 {
            let (key, arm) = (world.now_ms * 64 + one, u16::from(one % 2 == 0));
            for stratum in [0, 1] {
                // Another caller on each route.
                let key = key * 2 + u64::from(stratum);
                let sent = world.send_by(stratum, arm, key);
                if let Some(signal) = is_bad(stratum, arm, key) {
                    world.record(sent, signal);
                }
            }
        }
        world.tick();
    }
}

fn healthy(_: u16, _: u16, _: u64) -> Option<usize> {
    None
}

#[test]
fn a_fault_of_one_route_is_found_by_all_together_and_by_the_guard_of_that_route() {
    let mut world = World::of_group(half());
    run(&mut world, 5, healthy);
    run(&mut world, 20, |route, arm, key| (route == 1 && arm == 1 && key % 3 == 0).then_some(ERRORS));
    let found = |guard| world.trips.iter().filter(move |trip| trip.guard == guard).map(|trip| trip.route.as_deref());
    assert_eq!(found("errors").collect::<Vec<_>>(), [None]);
    assert_eq!(found("each").collect::<Vec<_>>(), [Some("b")]);
    assert!(world.trips.iter().all(|trip| trip.arm == 1), "the variant with a static weight is none of it");
    for trip in &world.trips {
        assert!(crate::release::replay(&trip.evidence).is_ok_and(|again| again.trips), "{}", trip.guard);
    }
    let state = |name: &str| world.standing(name).state;
    assert_eq!([state("each (a)"), state("each (b)")], [GuardState::Watching, GuardState::Tripped]);
    assert_eq!(world.standing("each (a)").tested.events, 0);
}

#[test]
fn a_variant_with_a_static_weight_is_judged_against_stable_of_its_route() {
    let mut world = World::of_group(half());
    // Stable of the other route is as bad as the variant is: that is no excuse.
    for tick in 0..200_u64 {
        for one in 0..20 {
            let key = tick * 100 + one * 4;
            let sent = world.send_by(0, 0, key);
            world.record(sent, ERRORS);
            world.send_by(1, 0, key + 1);
        }
        let sent = world.send_by(1, 2, tick * 100 + 99);
        world.record(sent, ERRORS);
        world.tick();
    }
    // Without a caller of the canary, the shares are not as dealt.
    let about =
        |arm: usize| world.trips.iter().filter(move |trip| trip.arm == arm && trip.guard != "sample-ratio").count();
    assert_eq!((about(1), about(2)), (0, 1), "{:?}", world.tripped());
    let standing = &world.evidence.standings(2)[0];
    assert_eq!(standing.stable.events, 0, "{standing:?}");
}

#[test]
fn a_caller_that_fails_on_both_routes_counts_once() {
    let mut world = World::of_group(half());
    for _ in 0..300 {
        for one in 0..10 {
            world.send_by(0, u16::from(one % 2 == 0), world.now_ms * 64 + one);
            world.send_by(1, u16::from(one % 2 == 0), world.now_ms * 64 + one);
        }
        for stratum in [0, 1] {
            let sent = world.send_by(stratum, 1, 77);
            world.record(sent, ERRORS);
        }
        world.tick();
    }
    assert!(world.trips.is_empty(), "{:?}", world.tripped());
    assert_eq!(world.standing("errors").tested.events, 1);
}

#[test]
fn a_run_of_failures_names_its_route_and_needs_stable_of_that_route() {
    for (route, name) in [(0, "a"), (1, "b")] {
        let mut world = World::of_group(half());
        run(&mut world, 2, healthy);
        world.facts.stable = vec![Failures { requests: 500, failed: 0 }; 2];
        world.tick();
        let keys = (0..30).map(|at| at % 10).collect();
        world.facts.runs[route * 3 + 1] = RunFacts { number: 1, length: 30, keys };
        world.facts.stable[1 - route].requests += 100;
        world.tick();
        assert!(world.trips.is_empty(), "stable of the other route says nothing: {:?}", world.tripped());
        world.facts.stable[route].requests += 100;
        world.tick();
        assert_eq!((world.trips[0].guard.as_str(), world.trips[0].route.as_deref()), ("errors", Some(name)));
        world.tick();
        assert_eq!(world.trips.len(), 1, "once");
    }
}

#[test]
fn a_ramp_takes_no_new_threshold_and_warms_up_once() {
    let shares = |canary: f64| [[1.0 - canary, canary, 0.0], [0.9 - canary, canary, 0.1]];
    let quantile = |ms| Some(StableQuantile { value: Duration::from_millis(ms), answers: 5_000 });
    let after = |world: &World| world.slow_after.iter().flatten().map(Duration::as_millis).collect::<Vec<_>>();
    let mut world = World::of_group(group(shares(0.01)));
    run(&mut world, 2, healthy);
    assert_eq!(after(&world), [80, 80]);
    for route in 0..2 {
        world.facts.stable_quantiles[route * 2 + SLOW] = quantile(90 + route as u64);
    }
    for step in 2..70_u32 {
        let shares: Vec<f64> = shares(f64::from(step) / 100.0).concat();
        let opening = world.evidence.set_shares(&shares, world.now_ms);
        world.open(opening);
        run(&mut world, 1, healthy);
    }
    assert_eq!(after(&world), [80, 80], "frozen while the weight grows");
    assert_ne!(world.standing("latency").state, GuardState::WarmingUp, "a minute after the weight rose from 0");
    let window = world.evidence.opening().window;
    let opening = world.evidence.enter_stage(world.now_ms);
    world.open(opening);
    run(&mut world, 2, healthy);
    assert_eq!(after(&world), [90, 91], "each route has its own");
    assert_eq!(world.evidence.opening().window.0, window.0 + 1, "a window begins");
    // A static weight beside it has changed.
    world.facts.stable_quantiles[2 + SLOW] = quantile(99);
    world.evidence.set_shares(&[0.31, 0.69, 0.0, 0.11, 0.69, 0.2], world.now_ms);
    let opening = world.evidence.opening();
    world.open(opening);
    run(&mut world, 2, healthy);
    assert_eq!(after(&world), [90, 99], "that of its route");
}

#[test]
fn a_rollout_that_begins_at_a_weight_of_0_is_a_sample_and_one_that_was_stopped_is_none() {
    let state = |world: &World| world.standing("sample-ratio").state;
    let mut world = World::of_group(group([[1.0, 0.0, 0.0], [0.9, 0.0, 0.1]]));
    for _ in 0..50 {
        for one in 0..10 {
            world.send_by(0, 0, world.now_ms * 64 + one);
        }
        world.tick();
    }
    let half = [0.5, 0.5, 0.0, 0.4, 0.5, 0.1];
    let opening = world.evidence.set_shares(&half, world.now_ms);
    world.open(opening);
    run(&mut world, 10, healthy);
    assert_eq!(state(&world), GuardState::Watching);
    // Stopped: the callers of its weight get stable, and are not counted.
    for shares in [[0.5, 0.0, 0.0, 0.4, 0.0, 0.1], half] {
        let opening = world.evidence.set_shares(&shares, world.now_ms);
        world.open(opening);
        run(&mut world, 2, healthy);
    }
    assert_eq!(state(&world), GuardState::Stands);
}

#[test]
fn a_route_that_joins_keeps_the_evidence_and_another_stable_begins_anew() {
    let alone = || {
        let mut group = half();
        // A guard of each route is another guard with another number of routes.
        let keep = |(_, scope): &(Guard, Option<usize>)| scope.is_none();
        let (all, scopes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut group.guards.all).into_iter().zip(group.scopes.clone()).filter(keep).unzip();
        group.routes.truncate(1);
        JudgedGroup { guards: Guards { all, ..group.guards.clone() }, scopes, ..group }
    };
    let mut world = World::of_group(alone());
    run_first(&mut world, 5, 0);
    run_first(&mut world, 1, 1);
    let before = world.log10("errors");
    assert!(before > 0.5, "{before}");
    let opening = world.evidence.follow_group(half(), Marks::Kept);
    world.reshape(half().shape());
    world.open(opening);
    // A window begins: its test has some weight.
    assert!((world.log10("errors") - before).abs() < 0.1, "{} {before}", world.log10("errors"));
    run(&mut world, 20, |_, arm, key| (arm == 1 && key % 4 == 0).then_some(ERRORS));
    assert_eq!(world.trips_of("errors"), 1);
    let mut other = half();
    other.arms[0].revision = "v9".to_owned();
    let opening = world.evidence.follow_group(other, Marks::Lost);
    world.forget();
    world.open(opening);
    assert!(world.log10("errors") < 0.1);
    assert_eq!(world.standing("errors").act, GuardAct::Rollback);
}

/// Callers of the first route; so many of the canary's fail in each second.
fn run_first(world: &mut World, seconds: u64, failing: u64) {
    for tick in 0..seconds * 10 {
        for one in 0..10 {
            let arm = u16::from(one % 2 == 0);
            let sent = world.send_by(0, arm, world.now_ms * 64 + one);
            if arm == 1 && tick % 2 == 0 && one / 2 < failing {
                world.record(sent, ERRORS);
            }
        }
        world.tick();
    }
}
