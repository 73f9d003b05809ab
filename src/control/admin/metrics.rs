//! Collects the data of a scrape from the snapshot and the state.

use std::sync::Arc;

use super::experiment::{SampleCheck, check_sample};
use crate::control::state::ControlState;
use crate::failover::{EndpointStanding, FailureCause, RetryBudget};
use crate::release::{GuardStanding, GuardState, ReleaseStanding, ReleaseState};
use crate::route::{Route, Upstream, Variant};
use crate::snapshot::{Listener, Snapshot, UpstreamState};
use crate::stats::Fairness;
use crate::telemetry::exposition::{
    CertificateFigures, ComparisonFigures, GuardFigures, HealthFigures, ReleaseFigures, RouteShares, Scrape,
    UpstreamFigures, VariantShare, WeightedSeries, expose,
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
    let routes = snapshot.rules.numbered().zip(&*snapshot.routes);
    let samples = routes.filter_map(|((id, route), state)| {
        let sample = state.sample.as_deref().filter(|sample| sample.is_used())?;
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
        releases: state.release.releases().iter().map(release).collect(),
        upstreams: upstreams
            .map(|(upstream, state)| UpstreamFigures {
                series: &state.series,
                endpoints: state.endpoints.len(),
                health: health(upstream, state, now_ms),
            })
            .collect(),
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
    }
}

/// The part of a retry budget that is used. At 1 no further try is allowed.
fn used_ratio(used: u64, allowed: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
    let ratio = used as f64 / allowed as f64;
    if used >= allowed { 1.0 } else { ratio }
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

    #[test]
    fn the_shipped_scrape_has_every_state_and_cause() {
        let golden = include_str!("../../telemetry/exposition/golden.txt");
        let states = EndpointStanding::ALL.map(|standing| format!("_endpoints_state{{state=\"{}\",", standing.name()));
        let causes = FailureCause::ALL.map(|cause| format!("_ejections_total{{cause=\"{}\",", cause.name()));
        for series in states.into_iter().chain(causes) {
            assert!(golden.contains(&series), "{series}");
        }
    }

    #[test]
    fn a_budget_is_used_up_when_no_try_is_left() {
        for (used, allowed, ratio) in [(0, 8, 0.0), (2, 8, 0.25), (8, 8, 1.0), (9, 8, 1.0), (0, 0, 1.0)] {
            assert!((used_ratio(used, allowed) - ratio).abs() < 1e-9, "{used} of {allowed}");
        }
    }
}
