//! Laws of the series: what goes in comes out, however coarse, and never more memory than the budget.

use proptest::prelude::*;

use super::chart::{ArmLine, HistoryChart};
use super::point::{ArmPoint, SeriesPoint, SeriesShape};
use super::series::{HistorySeries, SlotRange};
use super::store::{BUDGET_BYTES, HistoryStore, SampledSeries, SeriesKind};

const DAY: u64 = 8_640;

fn shape(arms: usize, guards: usize) -> SeriesShape {
    let names = |of: &str, count| (0..count).map(|at| format!("{of}{at}")).collect();
    SeriesShape { arms: names("arm", arms), guards: names("guard", guards) }
}

/// A sample: so many slots without a request, then so many slots with this point.
#[derive(Clone, Debug)]
struct Sample {
    idle: u64,
    slots: u64,
    point: SeriesPoint,
}

fn arm() -> impl Strategy<Value = Option<ArmPoint>> {
    let counts = prop_oneof![Just(0_u64), 0..30_u64, 0..100_000_u64];
    let point = (counts, 0..100_u64, prop::option::of(0..3_000_000_u32)).prop_map(|(requests, errors, p99)| ArmPoint {
        requests,
        errors: errors.min(requests),
        counted: requests / 2,
        p50_ms: p99.map(|units| f64::from(units) / 200.0),
        p99_ms: p99.map(|units| f64::from(units) / 100.0),
    });
    prop_oneof![9 => point.prop_map(Some), 1 => Just(None)]
}

fn sample() -> impl Strategy<Value = Sample> {
    let idle = prop_oneof![4 => Just(0_u64), 1 => 0..100_u64];
    let guards = prop::collection::vec(prop::option::of(-3.0..9.0_f64), 2);
    (idle, 1..4_u64, prop::collection::vec(arm(), 2), guards, 0..=100_u32).prop_map(
        |(idle, slots, arms, guards, weight)| {
            let counted = arms.iter().flatten().map(|arm| arm.counted).sum::<u64>();
            Sample { idle, slots, point: SeriesPoint { weight: Some(f64::from(weight)), counted, arms, guards } }
        },
    )
}

/// A series of these samples, from slot `begin` on.
fn series_of(samples: &[Sample], begin: u64) -> HistorySeries {
    let mut series = HistorySeries::new(shape(2, 2), begin);
    let mut at = begin;
    for sample in samples {
        let first = at + sample.idle;
        at = first + sample.slots;
        series.follow(shape(2, 2), vec![2.5, 3.0]);
        series.push(SlotRange { first, end: at }, &sample.point);
    }
    series
}

fn sum(values: &[Option<u64>]) -> u64 {
    values.iter().flatten().sum()
}

fn largest(values: &[Option<f64>]) -> Option<f64> {
    values.iter().copied().flatten().max_by(f64::total_cmp)
}

fn lists(chart: &HistoryChart) -> Vec<usize> {
    let of_arm =
        |arm: &ArmLine| [arm.requests.len(), arm.errors.len(), arm.share.len(), arm.p50_ms.len(), arm.p99_ms.len()];
    let mut all: Vec<usize> = chart.arms.iter().flat_map(of_arm).collect();
    all.extend([chart.weight.len(), chart.share.len()]);
    all.extend(chart.guards.iter().map(|guard| guard.evidence_log10.len()));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn however_coarse_the_sums_and_the_largest_values_stay(
        samples in prop::collection::vec(sample(), 1..150),
        points in 1..400_usize,
    ) {
        let series = series_of(&samples, 1_000);
        let chart = series.chart(series.end(), DAY, points);
        prop_assert!(chart.points <= points && lists(&chart).iter().all(|length| *length == chart.points));
        prop_assert_eq!(chart.begin + chart.step * chart.points as u64, series.end());
        let known = |arm: usize| samples.iter().filter_map(move |sample| sample.point.arms[arm].as_ref());
        for (arm, line) in chart.arms.iter().enumerate() {
            prop_assert_eq!(sum(&line.requests), known(arm).map(|one| one.requests).sum::<u64>());
            prop_assert_eq!(sum(&line.errors), known(arm).map(|one| one.errors).sum::<u64>());
            let p99 = known(arm).filter_map(|one| one.p99_ms).max_by(f64::total_cmp);
            let is_close = |a: f64, b: f64| (a - b).abs() <= b / 4096.0 + 1e-9;
            prop_assert!(largest(&line.p99_ms).zip(p99).map_or(p99.is_none(), |(a, b)| is_close(a, b)));
            let medians = line.p50_ms.iter().flatten();
            prop_assert!(medians.clone().all(|p50| *p50 <= p99.unwrap_or_default() / 2.0 * 1.001 + 0.01));
        }
        for (guard, line) in chart.guards.iter().enumerate() {
            let evidence = samples.iter().filter_map(|sample| sample.point.guards[guard]).max_by(f64::total_cmp);
            let found = largest(&line.evidence_log10);
            prop_assert!(found.zip(evidence).map_or(evidence.is_none(), |(a, b)| (a - b).abs() < 0.006));
        }
        prop_assert_eq!(chart.weight.last().copied().flatten(), samples.last().and_then(|last| last.point.weight));
    }

    #[test]
    fn fine_points_are_those_that_went_in(samples in prop::collection::vec(sample(), 1..60)) {
        let series = series_of(&samples, 5);
        let chart = series.chart(series.end(), DAY, usize::MAX);
        prop_assert_eq!(chart.step, 1);
        let mut at = usize::try_from(samples[0].idle).unwrap();
        let first = usize::try_from(chart.begin - 5).unwrap();
        prop_assert_eq!(at, first, "nothing is known before the first sample");
        at = 0;
        for (number, sample) in samples.iter().enumerate() {
            let idle = if number == 0 { 0 } else { usize::try_from(sample.idle).unwrap() };
            for slot in at..at + idle {
                prop_assert!(chart.arms.iter().all(|arm| arm.requests[slot] == Some(0) && arm.p99_ms[slot].is_none()));
                prop_assert!(chart.share[slot].is_none() && chart.weight[slot] == samples[number - 1].point.weight);
            }
            at += idle;
            for slot in at..at + usize::try_from(sample.slots).unwrap() {
                let parts = chart.arms.iter().zip(&sample.point.arms);
                for (line, arm) in parts {
                    prop_assert_eq!(line.requests[slot].is_some(), arm.is_some());
                    let most = arm.map_or(0, |arm| arm.requests.div_ceil(sample.slots));
                    prop_assert!(line.requests[slot].unwrap_or(0) <= most, "no slot has more than its part");
                    prop_assert!(line.errors[slot].unwrap_or(0) <= line.requests[slot].unwrap_or(0) + 1);
                }
                prop_assert_eq!(chart.weight[slot], sample.point.weight);
            }
            at += usize::try_from(sample.slots).unwrap();
        }
        prop_assert_eq!(at, chart.points);
    }

    #[test]
    fn the_memory_is_never_more_than_the_budget(
        samples in prop::collection::vec((0..40_usize, 0..3_usize, sample(), 0..3_000_usize), 1..600),
        budget in 1_000..60_000_usize,
    ) {
        let mut store = HistoryStore::new(budget);
        let mut end = 10;
        for (name, kind, sample, beside) in samples {
            let kind = [SeriesKind::Rollout, SeriesKind::Release, SeriesKind::Route][kind];
            let first = end + sample.idle;
            end = first + sample.slots;
            for name in [name, name + 1] {
                store.take(sampled(kind, &format!("{name}"), SlotRange { first, end }, &sample.point));
            }
            store.finish(end, beside);
            let memory = store.memory();
            prop_assert!(memory.bytes <= budget.max(beside), "{} of {}", memory.bytes, budget);
        }
    }
}

fn sampled(kind: SeriesKind, name: &str, slots: SlotRange, point: &SeriesPoint) -> SampledSeries {
    let shape = shape(point.arms.len(), point.guards.len());
    let thresholds = vec![2.5; point.guards.len()];
    SampledSeries { kind, name: name.to_owned(), shape, thresholds, slots, point: point.clone() }
}

fn busy(requests: u64) -> SeriesPoint {
    let arm = ArmPoint { requests, errors: 1, counted: requests, p50_ms: Some(1.0), p99_ms: Some(9.0) };
    SeriesPoint { weight: Some(5.0), counted: 2 * requests, arms: vec![Some(arm); 2], guards: vec![Some(0.5)] }
}

fn slot(at: u64) -> SlotRange {
    SlotRange { first: at, end: at + 1 }
}

#[test]
fn a_day_has_8640_points_and_an_hour_of_a_route_360() {
    let mut store = HistoryStore::new(BUDGET_BYTES);
    for at in 0..2 * DAY {
        for kind in [SeriesKind::Rollout, SeriesKind::Route] {
            store.take(sampled(kind, "shop", slot(at), &busy(at % 7)));
        }
        store.finish(at + 1, 0);
    }
    for (kind, points, step) in [
        (SeriesKind::Rollout, 8_640, 1),
        (SeriesKind::Rollout, 1_000, 9),
        (SeriesKind::Rollout, 60, 144),
        (SeriesKind::Route, 360, 1),
    ] {
        let chart = store.chart(kind, "shop", points).unwrap();
        assert_eq!((chart.points, chart.step), (usize::try_from(kind.slots().div_ceil(step)).unwrap(), step));
        let expected: u64 = (2 * DAY - kind.slots()..2 * DAY).map(|at| at % 7).sum();
        assert_eq!(chart.arms.iter().map(|arm| sum(&arm.requests)).collect::<Vec<_>>(), [expected; 2]);
    }
}

#[test]
fn a_series_that_is_not_sampled_had_no_requests() {
    let mut store = HistoryStore::new(BUDGET_BYTES);
    store.take(sampled(SeriesKind::Release, "shop:canary", slot(100), &busy(9)));
    store.finish(400, 0);
    let chart = store.chart(SeriesKind::Release, "shop:canary", 1_000).unwrap();
    assert_eq!((chart.begin, chart.points, sum(&chart.arms[1].requests)), (100, 300, 9));
    assert_eq!((chart.arms[1].requests[299], chart.weight[299]), (Some(0), Some(5.0)));
    assert_eq!((chart.guards[0].evidence_log10[299], chart.arms[0].p99_ms[299]), (Some(0.5), None));
    let before = store.memory().bytes;
    store.take(sampled(SeriesKind::Release, "shop:canary", slot(5_000), &busy(9)));
    store.finish(5_001, 0);
    assert!(store.memory().bytes < before + 1_000, "a long rest takes next to nothing");
    assert_eq!(store.chart(SeriesKind::Release, "shop:canary", 1_000).unwrap().arms[0].requests.len(), 981);
    store.finish(5_001 + DAY, 0);
    assert!(store.chart(SeriesKind::Release, "shop:canary", 10).is_none(), "a day without a request");
    assert_eq!((store.memory().bytes, store.memory().dropped), (0, 0));
}

#[test]
fn an_arm_that_is_not_known_leaves_a_hole_and_a_new_one_begins() {
    let mut series = HistorySeries::new(shape(1, 1), 0);
    let one = SeriesPoint { arms: vec![busy(4).arms[0]], ..busy(4) };
    series.follow(shape(1, 1), vec![2.0]);
    series.push(slot(0), &one);
    series.push(slot(1), &SeriesPoint { arms: vec![None], ..one.clone() });
    series.follow(shape(2, 1), vec![2.0]);
    series.push(slot(2), &busy(6));
    let chart = series.chart(3, DAY, 10);
    assert_eq!(chart.arms[0].requests, [Some(4), None, Some(6)]);
    assert_eq!(chart.arms[1].requests, [None, None, Some(6)]);
    assert_eq!((chart.arms[0].share.clone(), chart.share[0]), (vec![Some(0.5), None, Some(0.5)], None));
    let coarse = series.chart(3, DAY, 1);
    assert_eq!((coarse.arms[0].requests[0], coarse.arms[1].requests[0]), (Some(10), Some(6)));
}

#[test]
fn the_series_without_a_request_for_the_longest_time_goes_first() {
    let mut store = HistoryStore::new(20_000);
    for (at, name) in (0..).zip(["old", "older", "new"]) {
        store.take(sampled(SeriesKind::Rollout, name, slot(if at == 1 { 0 } else { at + 1 }), &busy(3)));
    }
    let mut at = 4;
    while store.memory().dropped == 0 {
        store.take(sampled(SeriesKind::Rollout, "busy", slot(at), &busy(at * 7919 % 100_000)));
        for name in ["old", "older", "new"] {
            let quiet = SeriesPoint { weight: Some(f64::from(u32::try_from(at % 90).unwrap())), ..busy(0) };
            store.take(sampled(SeriesKind::Rollout, name, slot(at), &quiet));
        }
        at += 1;
        store.finish(at, 0);
        assert!(at < 20_000, "the budget is reached");
    }
    let left: Vec<bool> =
        ["older", "old", "new", "busy"].map(|name| store.chart(SeriesKind::Rollout, name, 10).is_some()).into();
    assert_eq!(left, [false, true, true, true]);
    // All in use: the oldest points go.
    while store.chart(SeriesKind::Rollout, "old", 10).is_some() || at < 2_000 {
        store.take(sampled(SeriesKind::Rollout, "busy", slot(at), &busy(at * 7919 % 100_000)));
        at += 1;
        store.finish(at, 0);
        assert!(at < 20_000, "the budget is reached again");
    }
    let chart = store.chart(SeriesKind::Rollout, "busy", usize::MAX).unwrap();
    assert!(chart.begin > 10 && chart.points > 300, "{} {}", chart.begin, chart.points);
}

#[test]
fn when_all_are_in_use_no_other_series_begins() {
    let mut store = HistoryStore::new(20_000);
    let sample = |store: &mut HistoryStore, at: u64| {
        for name in 0..100 {
            store.take(sampled(SeriesKind::Route, &format!("{name}"), slot(at), &busy(at)));
        }
        store.finish(at + 1, 0);
        store.memory()
    };
    let first = sample(&mut store, 0);
    let dropped = (1..200).map(|at| sample(&mut store, at).dropped).max().unwrap();
    assert!(first.series > 0 && dropped < 200, "{first:?} {dropped}");
    let names = store.names(SeriesKind::Route, |series| series.born() == 0);
    assert!(names.len() > 2 && names.len() == store.memory().series, "those that were there go on");
    store.take(sampled(SeriesKind::Rollout, "next", slot(200), &busy(5)));
    store.finish(201, 0);
    assert!(store.chart(SeriesKind::Rollout, "next", 10).is_some(), "a route makes way for it");
}
