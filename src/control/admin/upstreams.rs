//! Upstreams as JSON: settings, live figures, and the state of each endpoint.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::format::time;
use crate::failover::{FailureCause, RetryBudget};
use crate::route::{EndpointHost, EndpointSpec, OutlierSettings, Upstream, UpstreamLimits};
use crate::snapshot::{EndpointState, Snapshot, UpstreamState};
use crate::telemetry::UpstreamMeter;

/// All upstreams, `now_ms` after the start of the process.
pub(super) fn upstreams(snapshot: &Snapshot, now_ms: u64) -> Vec<Value> {
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let masks = &snapshot.rules.masks;
    all.map(|(spec, state)| {
        let (series, endpoints) = (&state.series, &state.endpoints);
        let sum = |of: fn(&UpstreamMeter) -> i64| series.meters.used().map(of).sum::<i64>().max(0);
        let rows: Vec<Value> = endpoints.iter().map(|one| endpoint(one, now_ms)).collect();
        let standing = |word: &str| rows.iter().filter(|row| row["standing"] == word).count();
        json!({
            "name": spec.name,
            "revision": spec.revision.as_deref().map(|revision| masks.cover_configured(revision)),
            "in_flight": sum(|meter| meter.in_flight.value()),
            "connections": sum(|meter| meter.connections.value()),
            "last_tls_failure": series.tls_failure_log.last().map(|last| json!({ "at": time(last.at), "cause": last.cause })),
            "limits": limits(&spec.limits),
            "outlier": outlier(&spec.outlier),
            "retry_budget": retry_budget(spec, state, now_ms),
            "usable": standing("usable") + standing("failing"),
            "total": rows.len(),
            "ejected": standing("ejected") + standing("trial"),
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

/// One endpoint. `ejected_for_ms` is what is left; null also for an ejection by a person.
pub(super) fn endpoint(endpoint: &EndpointState, now_ms: u64) -> Value {
    let view = endpoint.health.view(now_ms);
    json!({
        "name": &*endpoint.name,
        "address": endpoint.address,
        "protocol": endpoint.protocol.scheme(),
        "weight": endpoint.weight,
        "standing": view.standing.name(),
        "drained": view.drained,
        "failures_in_a_row": view.failures,
        "last_failure": view.last.map(FailureCause::name),
        "ejections": view.ejections,
        "ejections_in_a_row": view.in_row,
        "ejected_because": view.ejected.map(FailureCause::name),
        "ejected_for_ms": view.left_ms,
        "by_hand": view.drained || view.ejected == Some(FailureCause::ByHand),
    })
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
