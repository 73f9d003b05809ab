//! Upstreams as JSON: settings, live figures, and the state of each endpoint.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::format::time;
use crate::failover::{CheckCounts, CheckView, CheckedHealth, EndpointHealth, FailureCause, RetryBudget};
use crate::route::{EndpointHost, EndpointSpec, HealthCheck, HealthProbe, OutlierSettings, Upstream, UpstreamLimits};
use crate::snapshot::{EndpointState, Snapshot, UpstreamState};
use crate::telemetry::UpstreamMeter;

/// All upstreams, `now_ms` after the start of the process.
pub(super) fn upstreams(snapshot: &Snapshot, now_ms: u64) -> Vec<Value> {
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let masks = &snapshot.rules.masks;
    all.map(|(spec, state)| {
        let (series, endpoints) = (&state.series, &state.endpoints);
        let sum = |of: fn(&UpstreamMeter) -> i64| series.meters.used().map(of).sum::<i64>().max(0);
        let rows: Vec<Value> = endpoints.iter().map(|one| in_list(one, spec, now_ms)).collect();
        let standing = |word: &str| rows.iter().filter(|row| row["standing"] == word).count();
        json!({
            "name": spec.name,
            "revision": spec.revision.as_deref().map(|revision| masks.cover_configured(revision)),
            "in_flight": sum(|meter| meter.in_flight.value()),
            "connections": sum(|meter| meter.connections.value()),
            "last_tls_failure": series.tls_failure_log.last().map(|last| json!({ "at": time(last.at), "cause": last.cause })),
            "balance": spec.balance.name(),
            "slow_start_ms": milliseconds(spec.slow_start),
            "limits": limits(&spec.limits),
            "health": spec.health.as_ref().map(health_check),
            "checks": checks(spec, state),
            "outlier": outlier(&spec.outlier),
            "retry_budget": retry_budget(spec, state, now_ms),
            "usable": standing("usable") + standing("failing"),
            "total": rows.len(),
            "ejected": standing("ejected") + standing("trial"),
            "unhealthy": standing("unhealthy"),
            "waiting": standing("standby") + standing("unknown"),
            "unresolved": unresolved(&spec.endpoints, endpoints),
            "endpoints": rows,
        })
    })
    .collect()
}

fn limits(limits: &UpstreamLimits) -> Value {
    let UpstreamLimits { connections, requests, pending, .. } = limits;
    json!({ "connections": connections, "requests": requests, "pending": pending })
}

/// The settings of the active checks.
fn health_check(check: &HealthCheck) -> Value {
    let HealthCheck { probe, interval, timeout, healthy, unhealthy, port } = check;
    let (path, service) = match probe {
        HealthProbe::Http(http) => (Some(&http.path), None),
        HealthProbe::Grpc(grpc) => (None, Some(&grpc.service)),
        HealthProbe::Tcp => (None, None),
    };
    json!({
        "kind": probe.kind(),
        "path": path,
        "service": service,
        "port": port,
        "interval_ms": milliseconds(*interval),
        "timeout_ms": milliseconds(*timeout),
        "healthy": healthy,
        "unhealthy": unhealthy,
    })
}

fn outlier(settings: &OutlierSettings) -> Value {
    let OutlierSettings {
        consecutive_failures,
        failure_percent,
        base_ejection,
        max_ejected_percent,
        panic_percent,
        any_5xx,
    } = settings;
    json!({
        "consecutive_failures": consecutive_failures,
        "failure_percent": failure_percent,
        "base_ejection_ms": milliseconds(*base_ejection),
        "max_ejected_percent": max_ejected_percent,
        "panic_percent": panic_percent,
        "any_5xx": any_5xx,
    })
}

/// The settings, the tries of the last ten seconds, and how many would be allowed.
fn retry_budget(spec: &Upstream, state: &UpstreamState, now_ms: u64) -> Value {
    let requests = state.health.requests.sum(now_ms / 1000).requests;
    json!({
        "ratio": spec.retry_budget.ratio,
        "min_per_second": spec.retry_budget.min_per_second,
        "used": state.health.budget.used(now_ms),
        "allowed": RetryBudget::allowed(spec.retry_budget, requests),
    })
}

/// One endpoint, with the part of its share that it gets while it starts slowly.
fn in_list(one: &EndpointState, spec: &Upstream, now_ms: u64) -> Value {
    let mut row = endpoint(one, now_ms);
    let ramp = one.health.ramp(now_ms, milliseconds(spec.slow_start));
    row["slow_start"] = json!((ramp < 1.0).then(|| (ramp * 100.0).round() / 100.0));
    row
}

/// One endpoint. `ejected_for_ms` is what is left; null also for an ejection by a person.
pub(super) fn endpoint(endpoint: &EndpointState, now_ms: u64) -> Value {
    let view = endpoint.health.view(now_ms);
    json!({
        "name": &*endpoint.name,
        "address": endpoint.address,
        "protocol": endpoint.protocol.scheme(),
        "weight": endpoint.weight,
        "role": endpoint.role.name(),
        "standing": view.standing.name(),
        "in_rotation": endpoint.health.is_in_rotation(),
        "health": checked(&endpoint.health, now_ms),
        "drained": view.drained,
        "drained_by_file": view.drained_by_file,
        "failures_in_a_row": view.failures,
        "last_failure": view.last.map(FailureCause::name),
        "ejections": view.ejections,
        "ejections_in_a_row": view.in_row,
        "ejected_because": view.ejected.map(FailureCause::name),
        "ejected_for_ms": view.left_ms,
        "by_hand": endpoint.health.is_drained_by_hand() || view.ejected == Some(FailureCause::ByHand),
    })
}

/// What the active checks have found; null where there are none.
fn checked(health: &EndpointHealth, now_ms: u64) -> Value {
    let verdict = match health.checked() {
        CheckedHealth::Unchecked => return Value::Null,
        verdict @ (CheckedHealth::Unknown | CheckedHealth::Healthy | CheckedHealth::Unhealthy) => verdict.name(),
    };
    let CheckView { good_in_row, bad_in_row, last_ms, failure } = health.check_view();
    let ago = |at_ms: u64| now_ms.saturating_sub(at_ms);
    json!({
        "verdict": verdict,
        "good_in_a_row": good_in_row,
        "bad_in_a_row": bad_in_row,
        "last_check_ago_ms": last_ms.map(ago),
        "last_failure": failure.as_ref().map(|failure| &*failure.why),
        "last_failure_ago_ms": failure.as_ref().map(|failure| ago(failure.at_ms)),
    })
}

/// The active checks of an upstream since the start of the process; null where there are none.
fn checks(spec: &Upstream, state: &UpstreamState) -> Value {
    let CheckCounts { good, bad, late, late_ms } = state.health.check_counts();
    match spec.health {
        None => Value::Null,
        Some(_) => json!({ "good": good, "bad": bad, "late": late, "late_ms": late_ms }),
    }
}

/// The names among an upstream's endpoints that have no address.
fn unresolved<'a>(specs: &'a [EndpointSpec], endpoints: &[Arc<EndpointState>]) -> Vec<&'a str> {
    let name = |spec: &'a EndpointSpec| match &spec.host {
        EndpointHost::Name(name) => Some(name.as_str()),
        EndpointHost::Ip(_) => None,
    };
    let has_address = |name: &str| endpoints.iter().any(|endpoint| endpoint.looked_up.as_deref() == Some(name));
    specs.iter().filter_map(name).filter(|name| !has_address(name)).collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
