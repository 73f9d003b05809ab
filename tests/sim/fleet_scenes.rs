//! Scenes of the balances: what each does with a fleet.

use pointsman::route::{Balance, OutlierSettings};

use super::fleet::{FleetPlan, FleetReport, Folding, Kind, Penalty};
use super::plan::Plan;
use super::server::{Behaviour, Server};

const SEEDS: [u64; 3] = [1, 42, 20_261];
const ALL: [Balance; 4] = [Balance::LeastRequest, Balance::RoundRobin, Balance::PeakEwma, Balance::Hash];
const FAST: Kind = Kind::Answers { ms: 20 };

#[test]
fn an_endpoint_that_refuses_at_once_gets_no_more_than_its_share() {
    for seed in SEEDS {
        for balance in ALL {
            let mut plan = FleetPlan::new(seed, balance, vec![Kind::Refuses, FAST, FAST]);
            let share = plan.run().share(0, 2..20);
            assert!(share <= 1.0 / 3.0 + 0.02, "{balance:?}, seed {seed}: {share}");
            if balance == Balance::LeastRequest || balance == Balance::PeakEwma {
                assert!(share < 0.1, "what looks at load sends it less: {balance:?}, seed {seed}: {share}");
                // Without kept places it attracts the load.
                plan.penalty = Penalty::Off;
                let share = plan.run().share(0, 2..20);
                assert!(share > 0.5, "{balance:?}, seed {seed}: {share}");
            }
        }
    }
}

#[test]
fn peak_ewma_beats_least_request_on_a_bimodal_fleet() {
    for seed in SEEDS {
        let kinds: Vec<Kind> = (0..20).map(|at| Kind::Answers { ms: if at < 2 { 100 } else { 10 } }).collect();
        let p99_ms =
            |balance| FleetPlan { rate: 600, ..FleetPlan::new(seed, balance, kinds.clone()) }.run().quantile_ms(0.99);
        let (by_latency, by_load) = (p99_ms(Balance::PeakEwma), p99_ms(Balance::LeastRequest));
        assert!(by_latency < 20.0 && by_load > 80.0, "seed {seed}: {by_latency} and {by_load} ms");
    }
}

#[test]
fn the_share_of_a_new_endpoint_grows_evenly() {
    const ADMITTED_S: usize = 10;
    for seed in SEEDS {
        for balance in ALL {
            // `hash` bounds by load: there must be some.
            let (ms, rate) = if balance == Balance::Hash { (400, 500) } else { (5, 300) };
            let plan = FleetPlan {
                admitted_ms: Some(ADMITTED_S as u64 * 1_000),
                slow_start_ms: 40_000,
                seconds: 60,
                rate,
                ..FleetPlan::new(seed, balance, vec![Kind::Answers { ms }; 4])
            };
            let report = plan.run();
            assert!(report.share(0, 3..ADMITTED_S) < 0.001, "{balance:?}, seed {seed}: it is out");
            let at = |seconds: usize| {
                let own = report.share(0, ADMITTED_S + seconds - 2..ADMITTED_S + seconds + 2);
                // In multiples of what each of the others gets.
                own / ((1.0 - own) / 3.0)
            };
            let parts = [10, 20, 30].map(at);
            let ramp = [0.325, 0.55, 0.775];
            let whole = report.share(0, 52..60);
            assert!((0.2..0.31).contains(&whole), "{balance:?}, seed {seed}: {whole} of a whole share");
            for (part, ramp) in parts.iter().zip(ramp) {
                let expected = match balance {
                    Balance::LeastRequest | Balance::RoundRobin => ramp - 0.1..ramp + 0.15,
                    // The other one is faster or equal: a share of its own follows the draws.
                    Balance::PeakEwma => 0.1..ramp + 0.35,
                    // At most 1.25 of the ramp.
                    Balance::Hash => 0.1..1.25 * ramp + 0.1,
                };
                assert!(expected.contains(part), "{balance:?}, seed {seed}: {parts:?}, not {ramp:?}");
            }
        }
    }
}

#[test]
fn eight_workers_do_not_choose_the_same_endpoint() {
    for seed in SEEDS {
        // Few long requests: a worker alone sees next to nothing.
        for (ms, rate, most) in [(2_000, 16, 0.85), (1_000, 320, 1.1), (200, 1_600, 1.2)] {
            let plan = FleetPlan {
                workers: 8,
                rate,
                seconds: 60,
                ..FleetPlan::new(seed, Balance::LeastRequest, vec![Kind::Answers { ms }; 16])
            };
            let folded = plan.run().spread();
            let alone = FleetPlan { folding: Folding::Off, ..plan.clone() }.run().spread();
            let one = FleetPlan { workers: 1, ..plan }.run().spread();
            println!(
                "seed {seed}, {ms} ms at {rate}/s: spread {folded:.2} folded, {alone:.2} alone, {one:.2} by one worker"
            );
            assert!(folded < most * alone, "seed {seed}: {folded} and {alone}");
        }
    }
}

#[test]
fn a_worker_with_most_of_the_traffic_sees_load_as_one_alone_does() {
    for seed in SEEDS {
        let kinds = [20, 20, 400].map(|ms| Kind::Answers { ms });
        let plan = FleetPlan { rate: 400, ..FleetPlan::new(seed, Balance::LeastRequest, kinds.to_vec()) };
        let alone = plan.run().share(2, 2..20);
        let busy = FleetPlan { workers: 16, first_worker_percent: 97, ..plan }.run().share(2, 2..20);
        assert!(busy < 1.4 * alone, "seed {seed}: the slow one gets {busy}, {alone} by one worker");
    }
}

#[test]
fn an_endpoint_that_limits_the_rate_attracts_no_load() {
    for seed in SEEDS {
        for balance in [Balance::LeastRequest, Balance::PeakEwma] {
            let kinds = vec![Kind::Limits { per_second: 10, ms: 20 }, FAST, FAST];
            let share = FleetPlan::new(seed, balance, kinds).run().share(0, 2..20);
            assert!(share < 0.2, "{balance:?}, seed {seed}: {share}");
        }
    }
}

#[test]
fn the_load_of_hash_is_bounded_over_workers() {
    for seed in SEEDS {
        let plan = |workers| FleetPlan {
            workers,
            rate: 1_000,
            ..FleetPlan::new(seed, Balance::Hash, vec![Kind::Answers { ms: 300 }; 10])
        };
        let (one, eight): (FleetReport, FleetReport) = (plan(1).run(), plan(8).run());
        // The load falls between a choice and a look.
        assert!(one.most_of_mean < 1.25 + 0.1, "seed {seed}: {}", one.most_of_mean);
        assert!(eight.most_of_mean < 1.25 + 0.4, "seed {seed}: {}", eight.most_of_mean);
    }
}

/// Three of nine endpoints that flap for a minute, and only safe requests.
fn a_third_flaps(seed: u64, balance: Balance, attempts: u32) -> Plan {
    let flapping = |at: u64| {
        let bad = if at == 1 { Behaviour::Refuses } else { Behaviour::Unavailable { percent: 100 } };
        let well = Behaviour::Answers { ms: 5 };
        let times = (0..15_u64).map(|n| 1_000 + at * 700 + n * 4_000);
        let script: Vec<_> = times.flat_map(|ms| [(ms, bad), (ms + 2_000, well)]).collect();
        Server::new(&script)
    };
    let servers = (0..9).map(|at| if at < 3 { flapping(at) } else { Server::well() }).collect();
    let mut plan = Plan { seconds: 60, rate: 300, get_percent: 100, ..Plan::new(seed, servers) };
    plan.arms[0].balance = balance;
    plan.arms[0].outlier = OutlierSettings { max_ejected_percent: 50, ..OutlierSettings::default() };
    plan.policy.attempts = attempts;
    plan
}

#[test]
fn a_third_of_the_endpoints_flapping_fails_no_safe_request_with_three_further_tries() {
    for seed in SEEDS {
        for balance in ALL {
            let report = a_third_flaps(seed, balance, 3).run();
            assert_eq!(report.good, report.requests, "{balance:?}, seed {seed}: {report}");
        }
    }
}

#[test]
fn with_the_default_of_one_further_try_one_request_in_a_thousand_meets_two_endpoints_that_flap() {
    for seed in SEEDS {
        for balance in ALL {
            let report = a_third_flaps(seed, balance, 1).run();
            let failed = report.requests - report.good;
            println!("{balance:?}, seed {seed}: {failed} failed of {}", report.requests);
            assert!(failed * 1_000 <= report.requests, "{balance:?}, seed {seed}: {report}");
            assert_eq!(
                report.spent.values().sum::<u64>(),
                failed,
                "its tries were spent: {balance:?}, seed {seed}: {report}"
            );
        }
    }
}
