//! The evidence that a rollout may go on.

use proptest::prelude::*;

use super::world::{ERRORS, World, arms, defaults, is_one_in};
use crate::release::{
    JudgedGroup, Marks, PROMOTION_LOG10, PromotionPlan, PromotionTest, SavedEvidence, StageEvidence, replay_promotion,
};
use crate::route::Require;
use crate::stats::{NonInferior, NonInferiority, RateBelow, Stratum, Tally};

const REQUIRE: Require = Require { non_inferior: Some(2.0), or_rate_below: Some(0.02), shadow_mismatch: None };
/// The longest time limit of a request.
const LIMIT_MS: u64 = 5_000;

fn group() -> JudgedGroup {
    let mut arms = arms(&[0.5, 0.5]);
    arms[1].by_rollout = true;
    JudgedGroup::of_route(&defaults(), arms, 1)
}

fn world() -> World {
    let mut world = World::of_group(group());
    plan(&mut world);
    world
}

fn plan(world: &mut World) {
    let plan = PromotionPlan { ratios: vec![1.5, 2.0], settles_after_ms: LIMIT_MS };
    world.evidence.set_promotion(&plan);
}

fn asked(world: &mut World) -> StageEvidence {
    world.evidence.advance(world.now_ms);
    world.evidence.promotion(1, &REQUIRE)
}

fn both(evidence: StageEvidence) -> [PromotionTest; 2] {
    [evidence.non_inferior.expect("a test"), evidence.rate_below.expect("a test")]
}

fn passes(test: &PromotionTest) -> bool {
    test.evidence_log10 >= PROMOTION_LOG10
}

#[test]
fn no_data_is_no_success_and_a_bound_of_no_stage_has_no_test() {
    let mut world = world();
    let nothing = asked(&mut world);
    assert_eq!(nothing.stable_rate, None);
    assert!(both(nothing).iter().all(|test| test.evidence_log10.abs() < 1e-9), "E is 1");
    let other = Require { non_inferior: Some(1.7), ..Require::default() };
    assert_eq!(world.evidence.promotion(1, &other), StageEvidence::default());
    assert_eq!(world.evidence.promotion(0, &REQUIRE), StageEvidence::default(), "stable");
}

#[test]
fn a_healthy_canary_passes_and_its_counts_are_computed_again() {
    let mut world = world();
    world.run(120, &[5, 5], |_, key| is_one_in(20, key).then_some(ERRORS));
    let evidence = asked(&mut world);
    let rate = evidence.stable_rate.expect("a rate");
    assert!((0.03..0.07).contains(&rate), "{rate}");
    let [ratio, below] = both(evidence);
    assert!(passes(&ratio) && !passes(&below), "{ratio:?} {below:?}");
    for test in [ratio, below] {
        let text = serde_json::to_string(&test).unwrap();
        assert!(text.len() < 4_000, "{}", text.len());
        let again = replay_promotion(&serde_json::from_str(&text).unwrap()).unwrap();
        assert!((again - test.evidence_log10).abs() < 1e-9 * again.abs().max(1.0), "{again} {test:?}");
    }
    let bad = |counts| replay_promotion(&PromotionTest { bound: 2.0, evidence_log10: 9.0, counts });
    for counts in [
        serde_json::Value::Null,
        serde_json::json!({ "test": "rate_below", "since": "revision", "exposures": 1, "events": 2 }),
        serde_json::json!({ "test": "rate_below", "since": "revision", "exposures": 2, "events": 1 }),
        serde_json::json!({ "test": "non_inferior", "since": "revision", "base": [0.0], "strata": [] }),
        serde_json::json!({ "test": "non_inferior", "since": "revision", "strata": [] }),
    ] {
        assert!(bad(counts.clone()).is_err(), "{counts}");
    }
}

/// All its requests hang: no event comes before the time limit, and then each of them is one.
#[test]
fn a_canary_that_hangs_never_passes() {
    let mut world = world();
    let mut hanging = std::collections::VecDeque::new();
    for tick in 0..600_u64 {
        for one in 0..10 {
            let key = tick * 1_000 + one * 4;
            let sent = world.send(0, key);
            if one == 0 {
                world.record(sent, ERRORS);
            }
            hanging.push_back((world.now_ms, world.send(1, key + 1)));
        }
        while hanging.front().is_some_and(|(at_ms, _)| *at_ms + LIMIT_MS <= world.now_ms) {
            let (_, sent) = hanging.pop_front().unwrap();
            world.record(sent, ERRORS);
        }
        world.tick();
        if tick % 10 == 0 {
            let evidence = both(asked(&mut world));
            assert!(!evidence.iter().any(passes), "{tick}: {evidence:?}");
        }
    }
}

#[test]
fn lost_marks_and_a_restart_begin_the_tests_anew_and_a_reload_does_not() {
    let mut world = world();
    let healthy =
        |world: &mut World, seconds| world.run(seconds, &[5, 5], |_, key| is_one_in(20, key).then_some(ERRORS));
    healthy(&mut world, 120);
    let [before, _] = both(asked(&mut world));
    let opening = world.evidence.follow_group(group(), Marks::Kept);
    world.open(opening);
    let opening = world.evidence.enter_stage(world.now_ms);
    world.open(opening);
    let [kept, _] = both(asked(&mut world));
    assert!(passes(&kept) && kept.counts["since"] == "revision", "{before:?} {kept:?}");
    let saved: SavedEvidence = serde_json::from_value(serde_json::to_value(world.evidence.save()).unwrap()).unwrap();
    world.forget();
    let opening = world.evidence.follow_group(group(), Marks::Lost);
    world.open(opening);
    let mut restarted = self::world();
    restarted.evidence.restore(&saved);
    for mut world in [world, restarted] {
        let [lost, below] = both(asked(&mut world));
        assert!(lost.evidence_log10.abs() < 1e-9 && below.evidence_log10.abs() < 1e-9, "{lost:?} {below:?}");
        assert_eq!(lost.counts["since"], "lost_marks");
        healthy(&mut world, 120);
        let [again, _] = both(asked(&mut world));
        assert!(passes(&again), "{again:?}");
    }
}

#[test]
fn a_resumed_rollout_begins_the_tests_anew() {
    let mut world = world();
    world.run(120, &[5, 5], |_, key| is_one_in(20, key).then_some(ERRORS));
    let opening = world.evidence.resume(1, world.now_ms);
    world.open(opening);
    let [ratio, below] = both(asked(&mut world));
    assert!(ratio.evidence_log10.abs() < 1e-9 && below.evidence_log10.abs() < 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// What is recorded is what the kernels say about the counts: also after many strata.
    #[test]
    fn the_tests_are_those_of_the_kernels(seed in 0_u64..1_000, one_in in 3_u64..40) {
        let mut world = world();
        let mut random = fastrand::Rng::with_seed(seed);
        let canary = random.u64(1..6);
        world.run(random.u64(20..90), &[6, canary], |_, key| is_one_in(one_in, key).then_some(ERRORS));
        let [ratio, below] = both(asked(&mut world));
        let again = |test: &PromotionTest| replay_promotion(test).unwrap();
        prop_assert!((again(&ratio) - ratio.evidence_log10).abs() < 1e-9);
        let (exposures, events) = (below.counts["exposures"].as_u64().unwrap(), below.counts["events"].as_u64().unwrap());
        let ln = RateBelow::new(0.02).unwrap().ln(Tally { exposures, events });
        prop_assert!((ln / std::f64::consts::LN_10 - below.evidence_log10).abs() < 1e-9);
        prop_assert!(events <= exposures);
        // Older strata are in the base: a test of the newest ones alone is another.
        let kernel = NonInferior::new(2.0).unwrap();
        let base: Vec<f64> = serde_json::from_value(ratio.counts["base"].clone()).unwrap();
        let strata: Vec<[u64; 4]> = serde_json::from_value(ratio.counts["strata"].clone()).unwrap();
        let mut evidence = NonInferiority::from_logs(&base).unwrap();
        for [tested, control, tested_events, control_events] in strata {
            kernel.add(&mut evidence, &Stratum {
                tested: Tally { exposures: tested, events: tested_events },
                control: Tally { exposures: control, events: control_events },
            });
        }
        prop_assert!((kernel.ln(&evidence) / std::f64::consts::LN_10 - ratio.evidence_log10).abs() < 1e-9);
    }
}
