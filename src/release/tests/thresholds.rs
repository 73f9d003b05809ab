//! Slow responses: thresholds, the warm-up, and thresholds that are void.

use std::time::Duration;

use super::world::{SLOW, World, defaults};
use crate::release::{GuardState, StableQuantile};
use crate::stats::WindowNumber;

fn quantile(ms: u64, answers: u64) -> StableQuantile {
    StableQuantile { value: Duration::from_millis(ms), answers }
}

fn canary_slow(arm: u16, _: u64) -> Option<usize> {
    (arm == 1).then_some(SLOW)
}

fn healthy(_: u16, _: u64) -> Option<usize> {
    None
}

#[test]
fn a_threshold_needs_a_thousand_answers_and_is_frozen_until_the_weights_change() {
    let mut world = World::new(&defaults(), &[0.95, 0.05]);
    world.facts.stable_quantiles[SLOW] = Some(quantile(70, 999));
    world.run(2, &[19, 1], healthy);
    assert_eq!(world.slow_after, [None, None]);
    assert_eq!(world.standing("latency").state, GuardState::WaitsForThreshold);
    world.facts.stable_quantiles[SLOW] = Some(quantile(80, 1_000));
    world.run(2, &[19, 1], healthy);
    let after = |ms| [None, Some(Duration::from_millis(ms))];
    assert_eq!(world.slow_after, after(80));
    assert_eq!(world.standing("latency").slow_after, Some(Duration::from_millis(80)));
    world.facts.stable_quantiles[SLOW] = Some(quantile(90, 2_000));
    world.run(2, &[19, 1], healthy);
    assert_eq!(world.slow_after, after(80), "frozen");
    let opening = world.evidence.set_shares(&[0.9, 0.1], world.now_ms);
    world.open(opening);
    world.run(2, &[18, 2], healthy);
    assert_eq!(world.slow_after, after(90));
}

#[test]
fn a_variant_warms_up_for_a_minute_after_its_share_rises_from_zero() {
    let mut world = World::new(&defaults(), &[1.0, 0.0]);
    world.run(100, &[20, 0], healthy);
    let opening = world.evidence.set_shares(&[0.95, 0.05], world.now_ms);
    world.open(opening);
    world.run(59, &[19, 1], canary_slow);
    assert!(world.trips.is_empty());
    assert_eq!(world.standing("latency").state, GuardState::WarmingUp);
    world.run(5, &[19, 1], canary_slow);
    assert_eq!(world.tripped()[0].0, "latency");
}

#[test]
fn a_threshold_that_half_of_stable_exceeds_is_void_until_a_higher_one_is_there() {
    let mut world = World::new(&defaults(), &[0.5, 0.5]);
    world.run(65, &[10, 10], healthy);
    let windows = world.evidence.opening().window;
    world.run(10, &[10, 10], |_, _| Some(SLOW));
    assert!(world.standing("latency").state == GuardState::ThresholdVoid, "{:?}", world.standing("latency"));
    assert_eq!(world.slow_after, [None, None], "and no response is slow meanwhile");
    world.facts.stable_quantiles[SLOW] = Some(quantile(500, 5_000));
    world.run(2, &[10, 10], healthy);
    assert_eq!(world.slow_after, [None, Some(Duration::from_millis(500))]);
    assert_eq!(world.evidence.opening().window, WindowNumber(windows.0 + 1), "a window begins");
    assert_eq!(world.standing("latency").state, GuardState::Watching);
    assert!(world.trips.is_empty(), "{:?}", world.tripped());
}
