//! Collects the data of a scrape from the snapshot and the state.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::experiment::{SampleCheck, check_sample};
use super::rollout_json;
use super::rollout_share::MeasuredShares;
use crate::control::notify::ReceiverStanding;
use crate::control::state::ControlState;
use crate::failover::{EndpointStanding, FailureCause, RetryBudget};
use crate::release::{BlockKind, GuardStanding, GuardState, ReleaseStanding, ReleaseState, RolloutStanding};
use crate::route::{LoadPriority, Route, Upstream, Variant};
use crate::snapshot::{LimitCounts, Listener, RouteState, Snapshot, UpstreamState};
use crate::stats::Fairness;
use crate::telemetry::exposition::{
    CertificateFigures, CheckFigures, ComparisonFigures, GuardFigures, HealthFigures, LimitFigures, ReceiverFigures,
    ReleaseFigures, RolloutFigures, RouteRefusals, RouteShares, Scrape, UpstreamFigures, VariantShare, WeightedSeries,
    expose,
};
use crate::telemetry::{Process, Sample, ShadowSeries};
use crate::tls::Server;

/// Renders a scrape as text.
pub(super) fn render(state: &ControlState) -> String {
    collect(state, |scrape| expose(scrape, Process::read().as_ref()))
}

/// Collects the data, and passes it to `take`.
pub(super) fn collect<T>(state: &ControlState, take: impl FnOnce(Scrape<'_>) -> T) -> T {
    let snapshot = state.snapshot();
    let mut variants = Vec::new();
    for ((id, _), state) in snapshot.rules.numbered().zip(&*snapshot.routes) {
        let arms = snapshot.overlay.split(id).arms();
        for (i, series) in state.series.iter().enumerate() {
            let weight = arms.get(i).map(|arm| f64::from(arm.weight.millionths()) / 1e6);
            variants.push(WeightedSeries { series, weight });
        }
    }
    let samples = snapshot.rules.numbered().filter_map(|(id, route)| {
        let sample = snapshot.routes.sample(id).filter(|sample| sample.is_used())?;
        let check = check_sample(snapshot.overlay.split(id), sample);
        Some(of_sample(route, sample, &check))
    });
    let upstreams = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let now_ms = state.uptime_ms();
    let scrape = Scrape {
        registry: &state.counts.registry,
        now: state.clock.now(),
        variants,
        samples: samples.collect(),
        releases: releases(state),
        rollouts: rollouts(state),
        receivers: receivers(state),
        upstreams: upstreams
            .map(|(upstream, state)| UpstreamFigures {
                series: &state.series,
                endpoints: state.endpoints.len(),
                health: health(upstream, state, now_ms),
            })
            .collect(),
        limits: limits(&snapshot),
        refusals: refusals(&snapshot),
        shadows: shadows(&snapshot),
        findings: state.comparator.summaries(&snapshot.rules).into_iter().map(findings).collect(),
        listeners: snapshot.listeners.iter().map(|listener| (listener.spec.name.as_str(), &*listener.meters)).collect(),
        certificates: certificates(state, &snapshot.listeners),
        generation: snapshot.generation.0,
        spans: state.counts.spans.by_outcome(),
        counted: state.counts.recorder.read(),
    };
    take(scrape)
}

fn release(standing: &ReleaseStanding) -> ReleaseFigures {
    let label = standing.state.label();
    let guards = || standing.guards.iter();
    ReleaseFigures {
        route: standing.route.clone(),
        variant: standing.variant.clone(),
        is_used: standing.state != ReleaseState::Watching || guards().any(has_counts),
        states: ReleaseState::LABELS.map(|state| (state, state == label)).into(),
        guards: guards().map(guard).collect(),
    }
}

/// The releases of static weights, and the guards of each variant that a rollout moves: those of the rollout.
fn releases(state: &ControlState) -> Vec<ReleaseFigures> {
    let staged = state.release.rollouts();
    let mut all: Vec<ReleaseFigures> = staged.iter().flat_map(of_rollout).collect();
    let known: HashSet<(String, String)> = all.iter().map(|one| (one.route.clone(), one.variant.clone())).collect();
    let plain = state.release.releases();
    let is_plain = |one: &&ReleaseStanding| !known.contains(&(one.route.clone(), one.variant.clone()));
    all.extend(plain.iter().filter(is_plain).map(release));
    all
}

/// A release for each variant of a rollout: with its guards, each name once, and without a state of its own.
fn of_rollout(standing: &RolloutStanding) -> Vec<ReleaseFigures> {
    let mut of_tests: Vec<&GuardStanding> =
        standing.guards.iter().filter(|guard| guard.threshold_log10 > 0.0).collect();
    of_tests.sort_by(|a, b| a.name.cmp(&b.name).then(b.evidence_log10.total_cmp(&a.evidence_log10)));
    of_tests.dedup_by(|b, a| a.name == b.name);
    let is_used = of_tests.iter().any(|guard| has_counts(guard));
    let variants = standing.variants.iter().filter_map(|name| name.split_once(':'));
    let one = |(route, variant): (&str, &str)| ReleaseFigures {
        route: route.to_owned(),
        variant: variant.to_owned(),
        is_used,
        states: Vec::new(),
        guards: of_tests.iter().map(|one| guard(one)).collect(),
    };
    variants.map(one).collect()
}

fn rollouts(state: &ControlState) -> Vec<RolloutFigures> {
    let shares = MeasuredShares::of(state);
    let one = |standing: &RolloutStanding| {
        let word = rollout_json::state_word(standing);
        let number = standing.stages.iter().position(|stage| stage.name == standing.stage);
        let is_blocked = |kind: BlockKind| standing.blocks.iter().any(|block| block.kind == kind);
        RolloutFigures {
            rollout: standing.name.clone(),
            weight: standing.weight / 100.0,
            weight_actual: shares.of_rollout(&standing.name),
            stage: standing.stage.clone(),
            stage_number: number.map_or(0, |at| at as u64 + 1),
            states: rollout_json::state_words().into_iter().map(|state| (state.clone(), state == word)).collect(),
            is_expired: standing.expired,
            gates: BlockKind::ALL.map(|kind| (kind.name(), is_blocked(kind))).into(),
        }
    };
    state.release.rollouts().iter().map(one).collect()
}

fn receivers(state: &ControlState) -> Vec<ReceiverFigures> {
    let now = state.clock.wall().as_secs_f64();
    let age = |oldest: &String| {
        let at = oldest.parse::<jiff::Timestamp>().ok()?;
        Some((now - at.as_duration().as_secs_f64()).max(0.0))
    };
    let one = |standing: &ReceiverStanding| ReceiverFigures {
        receiver: standing.name.clone(),
        outcomes: [("sent", standing.sent), ("failed", standing.failed), ("dropped", standing.dropped)],
        pending: standing.pending,
        oldest_seconds: standing.oldest.as_ref().and_then(age).unwrap_or(0.0),
    };
    state.notify.receivers().iter().map(one).collect()
}

/// Whether a guard has seen a caller of either arm.
const fn has_counts(guard: &GuardStanding) -> bool {
    guard.tested.exposures > 0 || guard.stable.exposures > 0
}

fn guard(standing: &GuardStanding) -> GuardFigures {
    GuardFigures {
        guard: standing.name.clone(),
        evidence_log10: standing.evidence_log10,
        threshold_log10: standing.threshold_log10,
        states: GuardState::ALL.map(|state| (state.label(), state == standing.state)).into(),
    }
}

/// The state of an upstream's endpoints, `now_ms` milliseconds after the process started.
fn health(upstream: &Upstream, state: &UpstreamState, now_ms: u64) -> HealthFigures {
    let mut states = EndpointStanding::ALL.map(|standing| (standing.name(), 0));
    for endpoint in &*state.endpoints {
        states[endpoint.health.view(now_ms).standing as usize].1 += 1;
    }
    let counts = state.health.counts();
    let checks = state.health.check_counts();
    let ejections = FailureCause::ALL.into_iter().zip(counts.ejections).map(|(cause, count)| (cause.name(), count));
    let requests = state.health.requests.sum(now_ms / 1000).requests;
    HealthFigures {
        states: states.into(),
        ejections: ejections.collect(),
        admissions: counts.admissions,
        budget_used: used_ratio(
            state.health.budget.used(now_ms),
            RetryBudget::allowed(upstream.retry_budget, requests),
        ),
        checks: upstream.health.is_some().then(|| CheckFigures {
            good: checks.good,
            bad: checks.bad,
            late_seconds: Duration::from_millis(checks.late_ms).as_secs_f64(),
        }),
    }
}

/// The part of a retry budget that is used. At 1 no further try is allowed.
fn used_ratio(used: u64, allowed: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
    let ratio = used as f64 / allowed as f64;
    if used >= allowed { 1.0 } else { ratio }
}

fn limits(snapshot: &Snapshot) -> Vec<LimitFigures> {
    let routes = snapshot.rules.routes.iter().zip(&*snapshot.routes);
    let all = routes.flat_map(|(route, state)| {
        route.rate_limits.iter().zip(&state.limits).map(move |(limit, state)| (&route.name, &limit.name, state))
    });
    all.map(|(route, limit, state)| {
        let LimitCounts { refused, dry_run, keys, evicted } = state.counts();
        let (route, limit) = (route.clone(), limit.clone());
        LimitFigures { route, limit, dry_run, refused, keys: keys as u64, evictions: evicted }
    })
    .collect()
}

/// What routes with access rules or of low priority refuse.
fn refusals(snapshot: &Snapshot) -> Vec<RouteRefusals> {
    let routes = snapshot.rules.routes.iter().zip(&*snapshot.routes);
    let one = |(route, state): (&Route, &Arc<RouteState>)| RouteRefusals {
        route: route.name.clone(),
        denied: (!route.access.is_empty()).then(|| state.denied_requests()),
        shed: (route.load == LoadPriority::Low).then(|| state.shed_requests()),
    };
    routes.map(one).filter(|one| one.denied.is_some() || one.shed.is_some()).collect()
}

fn shadows(snapshot: &Snapshot) -> Vec<(&ShadowSeries, f64)> {
    let shadow =
        |route: &Route| route.split()?.shadow.as_ref().map(|shadow| f64::from(shadow.weight.millionths()) / 1e6);
    let all = snapshot.rules.routes.iter().zip(&*snapshot.routes);
    all.filter_map(|(route, state)| Some((state.shadow.as_deref()?, shadow(route)?))).collect()
}

fn findings(of: crate::shadow_compare::ShadowSummary) -> ComparisonFigures {
    let fields = [("confirmed", of.confirmed), ("noisy", of.noisy), ("unknown", of.unknown)];
    let (mismatch, mismatch_upper) = (of.net_mismatch, of.net_mismatch_upper);
    ComparisonFigures { route: of.route, upstream: of.upstream, fields, mismatch, mismatch_upper }
}

fn of_sample<'a>(route: &'a Route, sample: &Sample, check: &SampleCheck) -> RouteShares<'a> {
    let measured = check.ratio.as_ref().filter(|_| check.verdict.is_some()).and_then(|ratio| ratio.measured.as_ref());
    let one = |(at, variant): (usize, &'a Variant)| VariantShare {
        variant: &variant.name,
        measured: measured.and_then(|shares| shares.get(at)).copied(),
        keys: check.sampled.keys.as_ref().and_then(|keys| keys.get(at)).map(|keys| keys.round()),
    };
    RouteShares {
        route: &route.name,
        since: sample.since,
        variants: route.split().iter().flat_map(|split| &split.variants).enumerate().map(one).collect(),
        mismatch: check.verdict.map(|verdict| verdict == Fairness::Mismatch),
        evidence_log10: check.evidence_log10,
    }
}

fn certificates(state: &ControlState, listeners: &[Arc<Listener>]) -> Vec<CertificateFigures> {
    let now = state.clock.wall();
    let mut all = Vec::new();
    for listener in listeners {
        for one in listener.tls.iter().flat_map(|tls| tls.served()) {
            all.push(CertificateFigures {
                listener: listener.spec.name.clone(),
                name: one.certificate.label().to_owned(),
                seconds_left: Server::seconds_left(&one.certificate, now),
                stale: u8::from(one.stale.is_some()),
            });
        }
    }
    all.sort_by(|a, b| (&a.listener, &a.name).cmp(&(&b.listener, &b.name)));
    // A scrape must not have a series twice, which would happen with an RSA and an ECDSA certificate of one name: the
    // one that expires first is kept.
    all.dedup_by(|b, a| {
        let same = (&a.listener, &a.name) == (&b.listener, &b.name);
        if same {
            a.seconds_left = a.seconds_left.min(b.seconds_left);
            a.stale = a.stale.max(b.stale);
        }
        same
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::release_json::tests::standing_of;
    use crate::control::admin::rollout_json::tests::in_beta;
    use crate::release::RolloutPhase;

    #[test]
    fn the_shipped_scrape_has_every_state_and_cause() {
        let golden = include_str!("../../telemetry/exposition/golden.txt");
        let states = EndpointStanding::ALL.map(|standing| format!("_endpoints_state{{state=\"{}\",", standing.name()));
        let causes = FailureCause::ALL.map(|cause| format!("_ejections_total{{cause=\"{}\",", cause.name()));
        let rollouts = rollout_json::state_words().into_iter().map(|state| format!(",state=\"{state}\"}} "));
        for series in states.into_iter().chain(causes).chain(rollouts) {
            assert!(golden.contains(&series), "{series}");
        }
    }

    #[test]
    fn the_variants_of_a_rollout_have_its_guards_each_name_once() {
        let mut standing = in_beta(RolloutPhase::Running);
        standing.variants = vec!["shop:canary".to_owned(), "cart:v2".to_owned()];
        let query = GuardStanding { threshold_log10: 0.0, ..standing_of("queue", 0.0, GuardState::Watching) };
        standing.guards = vec![
            standing_of("latency", 0.25, GuardState::Watching),
            standing_of("errors", 0.5, GuardState::Watching),
            standing_of("errors", 0.75, GuardState::Watching),
            query,
        ];
        let releases = of_rollout(&standing);
        let names: Vec<String> = releases.iter().map(|one| format!("{}:{}", one.route, one.variant)).collect();
        assert_eq!(names, standing.variants);
        let guards = releases[0].guards.iter().map(|guard| format!("{} {}", guard.guard, guard.evidence_log10));
        assert_eq!(guards.collect::<Vec<_>>(), ["errors 0.75", "latency 0.25"]);
        assert!(releases.iter().all(|one| one.is_used && one.states.is_empty()));
    }

    #[test]
    fn a_budget_is_used_up_when_no_try_is_left() {
        for (used, allowed, ratio) in [(0, 8, 0.0), (2, 8, 0.25), (8, 8, 1.0), (9, 8, 1.0), (0, 0, 1.0)] {
            assert!((used_ratio(used, allowed) - ratio).abs() < 1e-9, "{used} of {allowed}");
        }
    }
}
