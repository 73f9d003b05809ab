//! The guards as a whole, in virtual time: callers by their keys go through the real counts of the data plane
//! (`telemetry::GuardWatch`) and the real evidence (`release::RouteEvidence`).
//!
//! Few runs of each simulation here; `cargo run --release --example guards` has as many as the figures need.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a test may fail; counts are small")]

#[path = "guards/counting.rs"]
mod counting;
#[path = "guards/detection.rs"]
mod detection;
#[path = "guards/healthy.rs"]
mod healthy;
#[path = "guards/pooled.rs"]
mod pooled;
#[path = "guards/rehearsal.rs"]
mod rehearsal;
#[path = "guards/route.rs"]
mod route;

use counting::COUNTING;
use detection::{DETECTION, Delays};
use healthy::HEALTHY;
use pooled::{PooledFault, PooledRoutes};
use route::Plays;

/// A release that is as good as stable is left alone: broken callers, retries, common incidents, ramps, load that changes.
#[test]
fn healthy_releases_are_left_alone() {
    for row in HEALTHY {
        let stopped = row.run(&Plays { runs: 1, seed: 1, seconds: 600 });
        assert_eq!(stopped.runs, 1);
        assert_eq!(stopped.rolled_back, 0, "{}: {stopped:?}", row.name);
    }
}

/// Each way in which callers repeat themselves.
#[test]
fn a_caller_that_repeats_itself_stops_no_release() {
    for row in COUNTING {
        let stopped = row.run(&Plays { runs: 1, seed: 3, seconds: 600 });
        assert_eq!(stopped.rolled_back, 0, "{}: {stopped:?}", row.name);
    }
}

/// From the first failing answer of the canary to the trip, with fresh evidence.
#[test]
fn a_bad_release_is_found_as_soon_as_stated() {
    for cell in DETECTION.iter().filter(|cell| cell.healthy_s == 0 && cell.stable > 0.0 && cell.stable < 0.01) {
        let Delays { median, p90, p99, bad_p90, .. } = cell.run(100, 3);
        let near = |found: f64, stated: f64| found <= stated * 1.35 + 0.05 && found >= stated * 0.6 - 0.1;
        assert!(near(median, cell.stated[0]) && near(p90, cell.stated[1]), "{cell:?}: {median} {p90}");
        assert!(p90 <= p99 && p99 < 10.0 && (3..=20).contains(&bad_p90), "{cell:?}: {p99} {bad_p90}");
    }
}

/// After healthy minutes the test of a late window finds it.
#[test]
fn a_release_that_turns_bad_is_found_soon() {
    for cell in DETECTION.iter().filter(|cell| cell.healthy_s > 0 && cell.bad >= 0.5) {
        let cell = detection::Detection { healthy_s: 200, ..*cell };
        let delays = cell.run(2, 4);
        assert!(delays.worst <= cell.stated[2] * 1.5, "{cell:?}: {delays:?}");
    }
}

/// Over all routes of a rollout: callers that fail on each of them, a ramp from 1 to 50 %, and an incident of both arms.
#[test]
fn a_healthy_rollout_of_two_routes_is_left_alone() {
    const SECONDS: u64 = 400;
    for seed in 0..3 {
        let mut routes = PooledRoutes::new(0.01, seed);
        for second in 0..SECONDS {
            routes.set_share(0.01 + 0.49 * second as f64 / SECONDS as f64);
            let usual = if (150..210).contains(&second) { 0.6 } else { 0.002 };
            routes.second(PooledFault { broken_one_in: 50, usual, second: 0.0 });
        }
        assert!(routes.trips.is_empty(), "{seed}: {:?}", routes.trips);
    }
}

/// A fault of one route: found by all together, and by the guard of that route, which names it.
#[test]
fn a_fault_of_one_route_of_two_is_found_and_named() {
    for seed in 0..3 {
        let mut routes = PooledRoutes::new(0.1, seed);
        (0..60).for_each(|_| routes.second(PooledFault { broken_one_in: 50, usual: 0.002, second: 0.0 }));
        assert!(routes.trips.is_empty(), "{:?}", routes.trips);
        (0..120).for_each(|_| routes.second(PooledFault { broken_one_in: 50, usual: 0.002, second: 0.5 }));
        let found = |guard: &str| routes.trips.iter().find(|trip| trip.guard == guard).map(|trip| trip.route.clone());
        assert_eq!(found("tested"), Some(None), "{seed}: {:?}", routes.trips);
        assert_eq!(found("each"), Some(Some("second".to_owned())), "{seed}: {:?}", routes.trips);
    }
}
