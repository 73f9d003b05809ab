//! Rehearsals: the dates of a plan, computed by hand; laws of what is found; and the requests that are drawn together against
//! those that are sent one by one through the real counts.

use std::sync::Arc;

use pointsman::config::{Loaded, load_text};
use pointsman::rehearsal::{
    PlayedRun, Rehearsal, RehearsalReport, ReleaseFault, RolloutTraffic, RouteTraffic, RunQuantiles, Scene, Timeline,
    forecast, play, timeline,
};
use pointsman::telemetry::MeterRegistry;

use super::route::{Promise, SimulatedRoute, TICK_MS, WORKERS, guards};

const HEAD: &str = r#"
schema = 1
[[listener]]
address = "127.0.0.1:0"
[upstream.v1]
endpoints = ["http://10.0.0.1:1"]
[upstream.v2]
endpoints = ["http://10.0.0.2:1"]
revision = "1"
[[route]]
name = "shop"
sticky = ["client_ip"]
stable = "v1"
canary = { upstream = "v2", rollout = "r" }
"#;

fn loaded(plan: &str) -> Loaded {
    load_text("routes.toml", &format!("{HEAD}{plan}"), &|_| None).unwrap_or_else(|found| panic!("{found:?}"))
}

fn traffic(rate: f64, callers: u64) -> RolloutTraffic {
    let route = RouteTraffic { route: "shop".to_owned(), rate, callers, errors: 0.01, p99: None };
    RolloutTraffic { routes: vec![route] }
}

fn moment(text: &str) -> u64 {
    let moment: jiff::Timestamp = text.parse().expect("a moment");
    u64::try_from(moment.as_millisecond()).expect("after the epoch")
}

fn scene<'a>(loaded: &'a Loaded, traffic: &'a RolloutTraffic, begin: &str) -> Scene<'a> {
    let rules = &loaded.rules;
    Scene { rules, rollout: &rules.rollouts[0], traffic, begins_ms: moment(begin), approval_delay_ms: 0 }
}

/// When each stage is left, as text.
fn left(found: &Timeline) -> Vec<(&str, String)> {
    let text = |ms: u64| {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).expect("small")).expect("a moment");
        // Steps end within a tenth of a second after a date.
        at.round(jiff::Unit::Second).expect("a second").to_string()
    };
    found.stages.iter().map(|stage| (stage.name.as_str(), stage.leaves_ms.map(text).unwrap_or_default())).collect()
}

#[test]
fn the_dates_of_a_plan_are_those_of_its_windows() {
    let plan = r#"
[rollout.r]
zone = "Europe/Paris"
freeze = ["daily 11:30 - 14:00"]
approvers = { lead = ["ana"] }
[[rollout.r.stage]]
name = "first"
weight = 1
min_duration = "2h"
[[rollout.r.stage]]
name = "second"
weight = 10
min_duration = "3h"
approve = ["lead"]
[[rollout.r.stage]]
name = "third"
weight = 50
ramp = "2h"
min_requests = 60000
[[rollout.r.stage]]
name = "fourth"
weight = 100
not_before = 2026-12-03T09:00:00
min_duration = "10m"
"#;
    let loaded = loaded(plan);
    let traffic = traffic(20.0, 5_000);
    // 09:00 in Paris. The window takes the second stage's time from 11:30 to 14:00.
    let mut scene = scene(&loaded, &traffic, "2026-12-01T08:00:00Z");
    let found = timeline(&scene);
    let dates = left(&found);
    assert_eq!(dates[0], ("first", "2026-12-01T10:00:00Z".to_owned()));
    assert_eq!(dates[1], ("second", "2026-12-01T15:30:00Z".to_owned()));
    assert_eq!(found.stages[1].frozen_ms, 9_000_000);
    assert_eq!(found.stages[2].ramp_ends_ms, Some(moment("2026-12-01T17:30:00Z")));
    // 10 requests a second: 6 000 s after the ramp; then the date.
    assert_eq!(dates[2], ("third", "2026-12-03T08:00:00Z".to_owned()));
    assert_eq!(dates[3], ("fourth", "2026-12-03T08:10:00Z".to_owned()));
    assert_eq!(found.complete_ms.map(|at| at / 60_000), Some(moment("2026-12-03T08:10:00Z") / 60_000));
    assert_eq!(found.stuck, None);
    let requests = found.stages[0].requests;
    assert!(requests.abs_diff(1_440) <= 3, "20 requests a second, 1 %, 2 h: {requests}");
    // People take an hour, which is before the ramp.
    scene.approval_delay_ms = 3_600_000;
    assert_eq!(left(&timeline(&scene))[1].1, "2026-12-01T16:30:00Z");
}

#[test]
fn a_window_over_the_change_of_the_clocks_is_as_long_as_the_night() {
    let plan = r#"
[rollout.r]
zone = "Europe/Paris"
freeze = ["sat 22:00 - sun 06:00"]
[[rollout.r.stage]]
name = "only"
weight = 5
min_duration = "1h"
"#;
    let (loaded, traffic) = (loaded(plan), traffic(20.0, 5_000));
    // On 2026-10-25 the clocks go back by an hour: the window lasts nine hours.
    let found = timeline(&scene(&loaded, &traffic, "2026-10-24T19:30:00Z"));
    assert_eq!(left(&found), [("only", "2026-10-25T05:30:00Z".to_owned())]);
    assert_eq!(found.stages[0].frozen_ms, 9 * 3_600_000);
}

#[test]
fn evidence_takes_its_time_and_a_plan_without_traffic_has_no_end() {
    let plan = r#"
[rollout.r]
[[rollout.r.stage]]
name = "only"
weight = 10
require = { non_inferior = 2.0 }
"#;
    let loaded = loaded(plan);
    let took = |rate: f64| {
        let traffic = traffic(rate, 50_000);
        let found = timeline(&scene(&loaded, &traffic, "2026-12-01T08:00:00Z"));
        found.complete_ms.map(|at| at - found.begins_ms)
    };
    let (slow, fast) = (took(20.0).expect("an end"), took(200.0).expect("an end"));
    assert!(slow > 5 * fast && fast > 10_000, "{slow} {fast}");
    let silent = traffic(0.0, 1);
    let found = timeline(&scene(&loaded, &silent, "2026-12-01T08:00:00Z"));
    assert!(found.complete_ms.is_none() && found.stuck.is_some_and(|why| why.contains("0 of 5 000 answered requests")));
}

#[test]
fn rare_errors_are_evidence_in_proportion() {
    let plan = "[[rollout.r.stage]]\nname = \"only\"\nweight = 10\nrequire = { non_inferior = 2.0 }\n";
    let loaded = loaded(plan);
    let took = |errors: f64| {
        let mut traffic = traffic(50.0, 1_000_000_000_000);
        traffic.routes[0].errors = errors;
        let found = timeline(&scene(&loaded, &traffic, "2026-12-01T08:00:00Z"));
        found.complete_ms.map(|at| at - found.begins_ms).expect("an end") as f64
    };
    let (often, rare) = (took(1e-4), took(5e-6));
    assert!((18.0..22.0).contains(&(rare / often)), "{often} {rare}");
}

const SHORT: &str = r#"
[rollout.r]
[[rollout.r.stage]]
name = "small"
weight = 5
min_duration = "5m"
[[rollout.r.stage]]
name = "half"
weight = 50
min_duration = "10m"
"#;

fn runs(loaded: &Loaded, traffic: &RolloutTraffic, fault: Option<&str>, count: u32) -> Vec<PlayedRun> {
    let fault = fault.map(|text| ReleaseFault::parse(text).expect("a fault"));
    let scene = scene(loaded, traffic, "2026-12-01T08:00:00Z");
    let rehearsal = Rehearsal { scene, fault: fault.as_ref(), seed: 1 };
    (0..count).map(|run| play(&rehearsal, run)).collect()
}

fn found(loaded: &Loaded, traffic: &RolloutTraffic, fault: &str) -> RunQuantiles {
    let played = runs(loaded, traffic, Some(fault), 11);
    let none = u64::MAX;
    let times = played.iter().map(|run| run.faulty.as_ref().and_then(|run| run.found_ms).unwrap_or(none));
    RunQuantiles::of(times)
}

#[test]
fn a_louder_fault_and_more_traffic_are_found_no_later() {
    let (loaded, busy) = (loaded(SHORT), traffic(60.0, 10_000));
    let medians =
        ["errors=100%", "errors=50%", "errors=20x", "errors=5x"].map(|fault| found(&loaded, &busy, fault).median);
    assert!(medians.is_sorted() && medians[0] < medians[3], "{medians:?}");
    let quiet = traffic(15.0, 2_500);
    assert!(found(&loaded, &quiet, "errors=50%").median > medians[1], "{medians:?}");
    // A tenth of the callers alone.
    assert!(found(&loaded, &busy, "errors=50%,callers=10%").median > medians[1], "{medians:?}");
}

#[test]
fn a_healthy_release_is_left_alone_and_the_same_seed_gives_the_same_runs() {
    let (loaded, traffic) = (loaded(SHORT), traffic(60.0, 10_000));
    let played = runs(&loaded, &traffic, Some("errors=5x,from=stage:half"), 30);
    let report = RehearsalReport::of(&played);
    // 0.5 % of 30, and the sample ratio: more than two have a probability below 0.001.
    assert!(report.healthy.rolled_back + report.healthy.held <= 2, "{report:?}");
    assert_eq!(report.healthy.stuck, 0, "{report:?}");
    let faulty = report.faulty.clone().expect("a fault");
    assert!(faulty.found >= 25 && faulty.stages.keys().all(|stage| stage == "half"), "{faulty:?}");
    assert_eq!(runs(&loaded, &traffic, Some("errors=5x,from=stage:half"), 3)[..], played[..3]);
}

/// The seed gives a few of these callers the canary, or none: more never come, however long the release waits.
#[test]
fn a_release_whose_canary_lacks_callers_ends_soon_and_a_fault_is_found_in_it() {
    let plan = format!("{SHORT}require = {{ non_inferior = 1.5 }}\n").replace("weight = 50", "weight = 6");
    let loaded = loaded(&plan);
    for (callers, found) in [(1, 0), (200, 3)] {
        let report = RehearsalReport::of(&runs(&loaded, &traffic(100.0, callers), Some("errors=100%"), 3));
        assert_eq!(report.healthy.stuck, 3, "{report:?}");
        let why = report.healthy.because.clone().unwrap_or_default();
        assert!(why.contains("of 100 callers in stage `half`"), "{why}");
        assert_eq!(report.faulty.as_ref().map(|faulty| faulty.found), Some(found), "{report:?}");
    }
    // Enough callers in the end: it waits for them.
    let report = RehearsalReport::of(&runs(&loaded, &traffic(50.0, 10_000), None, 2));
    assert_eq!(report.healthy.stuck, 0, "{report:?}");
}

#[test]
fn slow_responses_are_found_by_the_guard_of_latency() {
    let (loaded, traffic) = (loaded(SHORT), traffic(100.0, 10_000));
    let report = RehearsalReport::of(&runs(&loaded, &traffic, Some("slow=p99*3,from=3m"), 8));
    let faulty = report.faulty.expect("a fault");
    assert!(faulty.found == 8 && faulty.by.get("latency") == Some(&8), "{faulty:?}");
    let none = RehearsalReport::of(&runs(&loaded, &traffic, Some("event:refund=50%"), 2));
    let faulty = none.faulty.expect("a fault");
    assert!(faulty.found == 0 && faulty.unfound_requests.median > Some(1_000), "{faulty:?}");
}

#[test]
fn a_fault_is_checked_against_the_plan() {
    let (loaded, traffic) = (loaded(SHORT), traffic(100.0, 10_000));
    let scene = scene(&loaded, &traffic, "2026-12-01T08:00:00Z");
    let check = |text: &str| ReleaseFault::parse(text).expect("a fault").check(&scene);
    assert_eq!(check("errors=3x,from=stage:half,route=shop"), Ok(()));
    let error = check("errors=3x,from=stage:beta").expect_err("no such stage");
    assert_eq!((error.at.clone(), error.help.as_str()), (21..25, "its stages are small, half"));
    assert!(check("errors=3x,route=cart").is_err_and(|error| error.help == "its routes are shop"));
    assert!(check("errors=1%").is_err_and(|error| error.message.contains("already")));
    let healthy = RolloutTraffic {
        routes: traffic.routes.iter().map(|route| RouteTraffic { errors: 0.0, ..route.clone() }).collect(),
    };
    let scene = Scene { traffic: &healthy, ..scene };
    let fault = ReleaseFault::parse("errors=3x").expect("a fault");
    assert!(fault.check(&scene).is_err_and(|error| error.message.contains("stable has no errors")));
}

#[test]
fn a_forecast_has_each_stage_and_guard() {
    let (loaded, traffic) = (loaded(SHORT), traffic(30.0, 5_000));
    let found = forecast(&scene(&loaded, &traffic, "2026-12-01T08:00:00Z"), 1);
    let names: Vec<&str> = found.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["small", "half"]);
    let of = |stage: usize, fault: &str, guard: &str| {
        let one = found[stage].guards.iter().find(|one| one.fault == fault && one.guard == guard);
        one.unwrap_or_else(|| panic!("{fault} {guard}: {:?}", found[stage]))
    };
    let (all, some) = (of(0, "errors=100%", "errors"), of(0, "errors=5x", "errors"));
    assert!(all.found == all.runs && all.median_ms < Some(60_000) && all.requests <= all.callers + 40, "{all:?}");
    assert!(some.median_ms.is_none() || some.median_ms > all.median_ms, "{some:?}");
    assert!(of(1, "errors=100%", "errors").median_ms < all.median_ms, "{found:?}");
    assert!(of(1, "slow=p99*2", "latency").runs == all.runs);
}

/// An hour at 10 % has made much evidence that the canary is healthy.
#[test]
fn a_forecast_of_a_later_stage_is_what_whole_releases_find() {
    let plan = r#"
[rollout.r]
[[rollout.r.stage]]
name = "small"
weight = 10
min_duration = "1h"
[[rollout.r.stage]]
name = "half"
weight = 50
min_duration = "30m"
"#;
    let (loaded, traffic) = (loaded(plan), traffic(60.0, 10_000));
    let found = forecast(&scene(&loaded, &traffic, "2026-12-01T08:00:00Z"), 1);
    let one = found[1].guards.iter().find(|one| one.fault == "errors=5x" && one.guard == "errors").expect("played");
    let forecast = one.median_ms.expect("found") as f64;
    let scene = scene(&loaded, &traffic, "2026-12-01T08:00:00Z");
    let fault = ReleaseFault::parse("errors=5x,from=stage:half").expect("a fault");
    let rehearsal = Rehearsal { scene, fault: Some(&fault), seed: 7 };
    let whole = (0..9).filter_map(|run| pointsman::rehearsal::play_fault_alone(&rehearsal, run)?.found_ms);
    let whole = RunQuantiles::of(whole).median.expect("found") as f64;
    assert!((0.5..2.0).contains(&(forecast / whole)), "{forecast} {whole}");
}

/// 100 % of 300 callers: by requests 1 %, by caller and second less than the bound of 2 %.
#[test]
fn few_callers_are_counted_by_the_second_also_in_longer_steps() {
    let plan = r#"
[rollout.r]
[[rollout.r.stage]]
name = "half"
weight = 50
min_duration = "1m"
[[rollout.r.stage]]
name = "full"
weight = 100
min_duration = "20m"
[[rollout.r.guard]]
name = "bound"
metric = "error"
above = 0.02
alpha = 0.001
act = "rollback"
"#;
    let (loaded, traffic) = (loaded(plan), traffic(200.0, 300));
    let played = runs(&loaded, &traffic, None, 4);
    let report = RehearsalReport::of(&played).healthy;
    assert!(report.rolled_back == 0 && report.complete_ms.max.is_some(), "{report:?}");
}

/// A stage is entered.
fn enter_stage(route: &mut SimulatedRoute) {
    let opening = route.evidence.enter_stage(route.now_ms);
    route.watch.open(opening.window, opening.slot);
}

/// One release with requests one by one: when it is found, from the begin of the fault on.
fn one_by_one(registry: &Arc<MeterRegistry>, seed: u64, case: &Case) -> Option<u64> {
    let promise = Promise { ratio: 1.1, alpha: 0.005, slow: false };
    let mut route = SimulatedRoute::new(registry, &guards(promise), case.share, seed);
    // A rollout that begins, and enters its first stage.
    (0..2).for_each(|_| enter_stage(&mut route));
    let callers: Vec<u64> = (0..case.callers).map(|_| route.random.u64(..)).collect();
    let begin_ms = 60_000;
    while route.now_ms < begin_ms + 600_000 {
        for _ in 0..route.arrivals(case.rate) {
            let hash = callers[route.random.usize(0..callers.len())];
            let sent = route.send(hash);
            let is_bad = sent.is_canary && route.now_ms >= begin_ms;
            let fails = route.random.f64() < if is_bad { case.errors } else { 0.01 };
            route.end(&sent, fails);
        }
        route.tick();
        if route.is_rolled_back() {
            return route.now_ms.checked_sub(begin_ms);
        }
    }
    None
}

struct Case {
    share: f64,
    rate: f64,
    callers: u64,
    errors: f64,
    runs: u32,
}

/// The medians of releases one by one, and of those that are drawn together, in milliseconds.
fn medians(case: &Case) -> [f64; 2] {
    let registry = Arc::new(MeterRegistry::new(WORKERS));
    let single = (0..case.runs).filter_map(|run| one_by_one(&registry, 77 << 32 | u64::from(run), case));
    let single = RunQuantiles::of(single).median.expect("found") as f64;
    let plan = format!(
        "[[rollout.r.stage]]\nname = \"only\"\nweight = {}\nmin_duration = \"1h\"\n[[rollout.r.guard]]\nname = \"errors\"\n\
         metric = \"error\"\nworse_than_stable = 1.1\nalpha = 0.005\nact = \"rollback\"\n",
        case.share * 100.0
    );
    let (loaded, traffic) = (loaded(&plan), traffic(case.rate, case.callers));
    let fault = ReleaseFault::parse(&format!("errors={}%,from=1m", case.errors * 100.0)).expect("a fault");
    let scene = scene(&loaded, &traffic, "2026-12-01T08:00:00Z");
    let rehearsal = Rehearsal { scene, fault: Some(&fault), seed: 3 };
    let drawn = (0..case.runs).filter_map(|run| pointsman::rehearsal::play_fault_alone(&rehearsal, run)?.found_ms);
    [single, RunQuantiles::of(drawn).median.expect("found") as f64]
}

/// With few runs here, and fixed seeds; with 300 the ratios of four cases are between 0.94 and 1.12.
#[test]
fn requests_that_are_drawn_together_find_a_fault_when_single_ones_do() {
    assert_eq!(TICK_MS, 100);
    for case in [
        Case { share: 0.1, rate: 100.0, callers: 6_000, errors: 0.2, runs: 60 },
        Case { share: 0.05, rate: 200.0, callers: 12_000, errors: 0.5, runs: 60 },
    ] {
        let [single, drawn] = medians(&case);
        let ratio = drawn / single;
        assert!((0.7..1.4).contains(&ratio), "{} {}: {single} {drawn}", case.share, case.errors);
    }
}
