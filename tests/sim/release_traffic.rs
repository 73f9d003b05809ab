//! Releases with the real counts of the data plane and the real evidence: a guard of errors and the sample ratio, before the
//! state machine.

use std::sync::Arc;

use pointsman::release::{
    EndpointFacts, RolloutEvidence, RolloutFacts, RolloutPhase, RolloutState, RolloutTrip, TripAct, effective_weight,
    replay_rollout, step,
};
use pointsman::route::{GuardAct, Require, RolloutPlan, Stage};
use pointsman::telemetry::MeterRegistry;

use super::route::{Promise, SimulatedRoute, TICK_MS, WORKERS, guards};

/// The rate of requests, and of errors on stable.
const RATE: f64 = 100.0;
const ERRORS: f64 = 0.01;
/// No release takes longer.
const TICKS: u64 = 600;

/// What a release came to.
#[derive(Debug)]
pub struct MeasuredRelease {
    pub is_complete: bool,
    pub is_rolled_back: bool,
    /// Requests to the canary that failed.
    pub failed: u64,
    /// Requests to the canary after the tick in which it was rolled back.
    pub served_later: u64,
}

fn stage(name: &str, percent: u32) -> Stage {
    Stage {
        name: name.to_owned(),
        weight: percent * 10_000,
        ramp_ms: if percent == 50 { 3_000 } else { 0 },
        not_before_ms: None,
        min_duration_ms: 5_000,
        min_requests: (percent > 0).then_some(10),
        min_keys: None,
        require: Require::default(),
        gates: Vec::new(),
        approve: Vec::new(),
        control: 0,
    }
}

fn plan() -> RolloutPlan {
    RolloutPlan {
        stages: vec![stage("dark", 0), stage("beta", 10), stage("half", 50)],
        max_weight: 1_000_000,
        max_tenants: None,
        requires: Vec::new(),
        rollback_over_ms: 0,
        on_inconclusive: None,
        on_no_traffic: None,
        same_person: false,
    }
}

/// Plays a release whose canary fails at this rate.
pub fn measure(registry: &Arc<MeterRegistry>, seed: u64, errors: f64) -> MeasuredRelease {
    let mut route =
        SimulatedRoute::new(registry, &guards(Promise { ratio: 1.1, alpha: 0.005, slow: false }), 0.0, seed);
    let plan = plan();
    let mut state = RolloutState::default();
    let endpoints = EndpointFacts { has_target: true, canary_usable: true, ..EndpointFacts::default() };
    let (revision, stable) = ("canary=1".to_owned(), "stable=1".to_owned());
    let mut facts = RolloutFacts { revision, stable, endpoints, elapsed_ms: TICK_MS, ..RolloutFacts::default() };
    let mut outcome = MeasuredRelease { is_complete: false, is_rolled_back: false, failed: 0, served_later: 0 };
    let mut later = 0;
    for _ in 0..TICKS {
        route.set_share(effective_weight(&plan, &state).percent() / 100.0);
        for _ in 0..route.arrivals(RATE) {
            let hash = route.random.u64(..);
            let sent = route.send(hash);
            let fails = route.random.f64() < if sent.is_canary { errors } else { ERRORS };
            route.end(&sent, fails);
            if sent.is_canary {
                facts.evidence.answered += 1;
                outcome.failed += u64::from(fails);
                outcome.served_later += u64::from(outcome.is_rolled_back);
            }
        }
        route.tick();
        (facts.now_ms, facts.wall_ms) = (route.now_ms, route.now_ms);
        facts.trips = route
            .trips
            .drain(..)
            .map(|trip| RolloutTrip {
                guard: trip.guard,
                route: None,
                act: match trip.act {
                    GuardAct::Warn => TripAct::Warn,
                    GuardAct::Hold => TripAct::Hold,
                    GuardAct::Rollback => TripAct::Rollback,
                },
                counts_errors: true,
                sentence: trip.sentence,
                evidence: trip.evidence,
            })
            .collect();
        let taken = step(&plan, &state, &facts);
        if !facts.trips.is_empty() {
            let evidence = RolloutEvidence::of(&plan, &state, &facts);
            let again = replay_rollout(&serde_json::from_str(&evidence.to_string()).expect("JSON")).expect("evidence");
            assert_eq!(again.trips.len(), facts.trips.len(), "counts of each guard");
            for decision in &taken.decisions {
                let after = serde_json::to_value(&decision.state).expect("JSON");
                assert!(again.agrees(decision.act.name(), &after), "{decision:?} {again:?}");
            }
        }
        state = taken.decisions.last().map_or(taken.state, |last| last.state.clone());
        outcome.is_complete = state.phase == RolloutPhase::Complete;
        outcome.is_rolled_back = matches!(state.phase, RolloutPhase::RolledBack(_));
        later += u64::from(outcome.is_rolled_back);
        if outcome.is_complete || later > 10 {
            break;
        }
    }
    outcome
}

#[test]
fn measured_releases_go_on_or_back() {
    let registry = Arc::new(MeterRegistry::new(WORKERS));
    let mut healthy = 0;
    for seed in 0..300 {
        let outcome = measure(&registry, seed, ERRORS);
        healthy += u64::from(outcome.is_rolled_back);
        assert!(outcome.is_complete || outcome.is_rolled_back, "seed {seed}: {outcome:?}");
    }
    // 0.5 % of 300 is 1.5: with a probability of 0.996 there are at most 5.
    assert!(healthy <= 5, "{healthy} of 300 healthy releases were rolled back");
    for seed in 1_000..1_200 {
        let outcome = measure(&registry, seed, 0.6);
        assert!(outcome.is_rolled_back && !outcome.is_complete, "seed {seed}: {outcome:?}");
        assert!(outcome.failed <= 120 && outcome.served_later == 0, "seed {seed}: {outcome:?}");
    }
}
