//! The state machine: each state with each fact, and its laws.

use proptest::prelude::*;
use serde_json::Value;

use super::{CANARY_DOWN, DownFacts, GuardTrip, ReleaseCourse, ReleaseDecision, ReleaseFacts, ReleasePhase};
use crate::route::GuardAct;

const DOWN: DownFacts = DownFacts { endpoints: 1, tries: 3 };

fn trip(guard: &str, act: GuardAct) -> GuardTrip {
    let (guard, sentence) = (guard.to_owned(), "it is bad".to_owned());
    GuardTrip { arm: 1, guard, route: None, act, sentence, evidence: Value::Null }
}

fn facts(trips: &[GuardTrip]) -> ReleaseFacts<'_> {
    ReleaseFacts {
        arm: 1,
        now_ms: 1_000,
        trips,
        serves: true,
        is_latched: false,
        has_target: true,
        down: None,
        errors: Some(GuardAct::Rollback),
        error_guards: &["errors"],
    }
}

/// What a step decides, by its words.
fn words(decisions: &[ReleaseDecision]) -> Vec<String> {
    let word = |decision: &ReleaseDecision| match decision {
        ReleaseDecision::Warn(trip) => format!("warn {}", trip.guard),
        ReleaseDecision::HoldAtZero(trip) => format!("hold {}", trip.guard),
        ReleaseDecision::HoldForTarget(trip) => format!("wait {}", trip.guard),
        ReleaseDecision::Unhold => "unhold".to_owned(),
        ReleaseDecision::RollBack(trip) => format!("roll back {}", trip.guard),
        ReleaseDecision::BeginAnew => "begin anew".to_owned(),
    };
    decisions.iter().map(word).collect()
}

/// One step; returns the next state, and checks what it decides.
fn step(course: &ReleaseCourse, facts: &ReleaseFacts<'_>, decided: &[&str], phase: ReleasePhase) -> ReleaseCourse {
    let (next, decisions) = course.step(facts);
    assert_eq!(words(&decisions), decided, "{course:?} {facts:?}");
    assert_eq!(next.phase(), phase, "{course:?} {facts:?}");
    next
}

#[test]
fn a_guard_that_rolls_back_latches_and_the_latch_holds() {
    let trips = [trip("errors", GuardAct::Rollback), trip("latency", GuardAct::Rollback)];
    let latched = step(&ReleaseCourse::default(), &facts(&trips), &["roll back errors"], ReleasePhase::RolledBack);
    let in_force = ReleaseFacts { is_latched: true, ..facts(&trips) };
    let latched = step(&latched, &in_force, &[], ReleasePhase::RolledBack);
    let down = ReleaseFacts { down: Some(DOWN), ..in_force };
    let latched = step(&latched, &down, &[], ReleasePhase::RolledBack);
    step(&latched, &facts(&[]), &[], ReleasePhase::Watching);
    // After a start or a reload the latch is known from elsewhere.
    step(&ReleaseCourse::default(), &ReleaseFacts { is_latched: true, ..facts(&[]) }, &[], ReleasePhase::RolledBack);
}

#[test]
fn a_guard_that_warns_or_holds_is_recorded_each_time_that_it_trips() {
    for act in [GuardAct::Warn, GuardAct::Hold] {
        let trips = [trip("errors", act)];
        let warned = step(&ReleaseCourse::default(), &facts(&trips), &["warn errors"], ReleasePhase::Warned);
        let warned = step(&warned, &facts(&[]), &[], ReleasePhase::Warned);
        // Its evidence has begun anew meanwhile.
        let warned = step(&warned, &facts(&trips), &["warn errors"], ReleasePhase::Warned);
        let others = [trip("latency", act), trip("slo", GuardAct::Rollback)];
        step(&warned, &facts(&others), &["warn latency", "roll back slo"], ReleasePhase::RolledBack);
    }
}

#[test]
fn a_rollback_waits_for_a_usable_stable() {
    let trips = [trip("errors", GuardAct::Rollback)];
    let without = ReleaseFacts { has_target: false, ..facts(&trips) };
    let waits = step(&ReleaseCourse::default(), &without, &["wait errors"], ReleasePhase::NoTarget);
    let waits = step(&waits, &without, &[], ReleasePhase::NoTarget);
    let killed = ReleaseFacts { serves: false, ..facts(&[]) };
    let waits = step(&waits, &killed, &[], ReleasePhase::NoTarget);
    step(&waits, &facts(&[]), &["roll back errors"], ReleasePhase::RolledBack);
}

#[test]
fn a_trip_changes_nothing_without_requests_and_evidence_begins_anew_after_it() {
    let trips = [trip("errors", GuardAct::Rollback)];
    let killed = ReleaseFacts { serves: false, down: Some(DOWN), ..facts(&trips) };
    let passed = step(&ReleaseCourse::default(), &killed, &[], ReleasePhase::Watching);
    let passed = step(&passed, &ReleaseFacts { trips: &[], ..killed }, &[], ReleasePhase::Watching);
    let anew = step(&passed, &facts(&[]), &["begin anew"], ReleasePhase::Watching);
    step(&anew, &facts(&[]), &[], ReleasePhase::Watching);
    step(&passed, &facts(&trips), &["begin anew", "roll back errors"], ReleasePhase::RolledBack);
}

/// A canary that comes and goes is not held for ever in the place of a rollback.
#[test]
fn a_canary_that_refuses_again_and_again_is_rolled_back() {
    let trips = [trip("errors", GuardAct::Rollback)];
    let down = ReleaseFacts { down: Some(DOWN), ..facts(&trips) };
    let mut course = ReleaseCourse::default();
    for _ in 0..2 {
        let (held, _) = course.step(&down);
        assert_eq!(held.phase(), ReleasePhase::Down);
        let (back, _) = held.step(&facts(&[]));
        assert_eq!(back.phase(), ReleasePhase::Watching);
        course = back;
    }
    let (last, decisions) = course.step(&down);
    assert_eq!((last.phase(), words(&decisions)), (ReleasePhase::RolledBack, vec!["roll back errors".to_owned()]));
}

#[test]
fn a_canary_that_is_down_is_held_and_comes_back() {
    let down = ReleaseFacts { down: Some(DOWN), ..facts(&[]) };
    let few = ReleaseFacts { down: Some(DownFacts { tries: 2, ..DOWN }), ..down };
    step(&ReleaseCourse::default(), &few, &[], ReleasePhase::Watching);
    let held = step(&ReleaseCourse::default(), &down, &["hold canary down"], ReleasePhase::Down);
    let held = step(&held, &ReleaseFacts { now_ms: 10_999, ..down }, &[], ReleasePhase::Down);
    step(&held, &facts(&[]), &["unhold"], ReleasePhase::Watching);
    step(&held, &ReleaseFacts { serves: false, ..down }, &["unhold"], ReleasePhase::Watching);
    let late = ReleaseFacts { now_ms: 11_000, ..down };
    step(&held, &ReleaseFacts { has_target: false, ..late }, &[], ReleasePhase::Down);
    step(&held, &late, &["roll back canary down"], ReleasePhase::RolledBack);
    let trips = [trip("latency", GuardAct::Rollback)];
    step(&held, &ReleaseFacts { trips: &trips, ..down }, &["roll back latency"], ReleasePhase::RolledBack);
    let without = ReleaseFacts { trips: &trips, has_target: false, ..down };
    let both = step(&held, &without, &["wait latency"], ReleasePhase::Down);
    let back = ReleaseFacts { has_target: false, ..facts(&[]) };
    step(&both, &back, &["unhold"], ReleasePhase::NoTarget);
}

#[test]
fn a_guard_that_counts_refused_connections_holds_and_does_not_roll_back() {
    let trips = [trip("errors", GuardAct::Rollback)];
    let refused = ReleaseFacts { down: Some(DownFacts { tries: 1, ..DOWN }), ..facts(&trips) };
    let held = step(&ReleaseCourse::default(), &refused, &["hold errors"], ReleasePhase::Down);
    let quiet = ReleaseFacts { trips: &[], ..refused };
    let held = step(&held, &quiet, &["begin anew"], ReleasePhase::Down);
    let held = step(&held, &refused, &[], ReleasePhase::Down);
    step(&held, &facts(&[]), &["begin anew", "unhold"], ReleasePhase::Watching);
    step(
        &held,
        &ReleaseFacts { now_ms: 11_000, ..quiet },
        &["begin anew", "roll back canary down"],
        ReleasePhase::RolledBack,
    );
    // Errors of a canary that accepts connections, and other guards.
    step(&ReleaseCourse::default(), &facts(&trips), &["roll back errors"], ReleasePhase::RolledBack);
    let slow = [trip("latency", GuardAct::Rollback)];
    let other = ReleaseFacts { trips: &slow, ..refused };
    step(&ReleaseCourse::default(), &other, &["roll back latency"], ReleasePhase::RolledBack);
}

#[test]
fn a_canary_that_is_down_is_not_held_where_no_guard_acts() {
    let down = ReleaseFacts { down: Some(DOWN), ..facts(&[]) };
    step(&ReleaseCourse::default(), &ReleaseFacts { errors: None, ..down }, &[], ReleasePhase::Watching);
    step(&ReleaseCourse::default(), &ReleaseFacts { has_target: false, ..down }, &[], ReleasePhase::Watching);
    for act in [GuardAct::Warn, GuardAct::Hold] {
        let warns = ReleaseFacts { errors: Some(act), ..down };
        let warned = step(&ReleaseCourse::default(), &warns, &["warn canary down"], ReleasePhase::Warned);
        step(&warned, &warns, &[], ReleasePhase::Warned);
        let held = step(&ReleaseCourse::default(), &down, &["hold canary down"], ReleasePhase::Down);
        step(&held, &warns, &["unhold"], ReleasePhase::Watching);
    }
}

fn any_act() -> impl Strategy<Value = GuardAct> {
    prop_oneof![Just(GuardAct::Warn), Just(GuardAct::Hold), Just(GuardAct::Rollback)]
}

#[derive(Clone, Debug)]
struct Given {
    trips: Vec<GuardTrip>,
    serves: bool,
    resumes: bool,
    has_target: bool,
    tries: u64,
    errors: Option<GuardAct>,
    passed_ms: u64,
}

fn given() -> impl Strategy<Value = Given> {
    let trips = prop::collection::vec((0..3_usize, any_act()), 0..3);
    let trips =
        trips.prop_map(|all| all.iter().map(|(at, act)| trip(["errors", "latency", "slo"][*at], *act)).collect());
    let flags = (any::<bool>(), prop::bool::weighted(0.1), any::<bool>());
    let rest = (0..6_u64, prop::option::of(any_act()), 0..12_000_u64);
    (trips, flags, rest).prop_map(|(trips, (serves, resumes, has_target), (tries, errors, passed_ms))| Given {
        trips,
        serves,
        resumes,
        has_target,
        tries,
        errors,
        passed_ms,
    })
}

proptest! {
    /// Whatever happens: a latch holds until a person ends it, nothing is decided while a kill covers the variant but the
    /// end of a hold, a rollback has a target, and only the end of a hold raises the share.
    #[test]
    fn laws(steps in prop::collection::vec(given(), 1..40)) {
        let (mut course, mut now_ms, mut is_latched, mut is_held) = (ReleaseCourse::default(), 0, false, false);
        for one in &steps {
            now_ms += one.passed_ms;
            is_latched = is_latched && !one.resumes;
            let facts = ReleaseFacts {
                arm: 1,
                now_ms,
                trips: &one.trips,
                serves: one.serves,
                is_latched,
                has_target: one.has_target,
                down: (one.tries > 0).then_some(DownFacts { endpoints: 1, tries: one.tries }),
                errors: one.errors,
                error_guards: &["errors"],
            };
            let (next, decisions) = course.step(&facts);
            if is_latched {
                prop_assert!(decisions.is_empty() && next.phase() == ReleasePhase::RolledBack);
            }
            let (mut rollbacks, mut warned) = (0, Vec::new());
            for decision in &decisions {
                match decision {
                    ReleaseDecision::Unhold => {
                        prop_assert!(is_held, "only what is held");
                        is_held = false;
                    }
                    ReleaseDecision::RollBack(_) => {
                        prop_assert!(one.serves && one.has_target);
                        rollbacks += 1;
                        (is_latched, is_held) = (true, false);
                    }
                    ReleaseDecision::HoldAtZero(trip) => {
                        prop_assert!([CANARY_DOWN, "errors"].contains(&trip.guard.as_str()));
                        prop_assert!(one.serves && one.has_target && one.tries > 0 && !is_held);
                        is_held = true;
                    }
                    ReleaseDecision::HoldForTarget(_) => prop_assert!(one.serves && !one.has_target),
                    ReleaseDecision::Warn(trip) => warned.push(trip.guard.clone()),
                    ReleaseDecision::BeginAnew => prop_assert!(one.serves),
                }
            }
            prop_assert!(rollbacks <= 1);
            warned.dedup();
            prop_assert_eq!(is_latched, next.phase() == ReleasePhase::RolledBack);
            prop_assert_eq!(is_held && !is_latched, next.phase() == ReleasePhase::Down);
            // The same facts decide the same.
            prop_assert_eq!(course.step(&facts), (next.clone(), decisions));
            course = next;
        }
    }
}
