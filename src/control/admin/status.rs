//! `/status`: the state of the proxy as JSON.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::experiment::experiment;
use super::format::{ratio, time};
use super::kills::kill;
use super::notify_json::receivers;
use super::upstreams::upstreams;
use super::{release_json, rollout_list};
use crate::control::measure::{Durations, VariantCounts, shares};
use crate::control::outcome::ReloadOutcome;
use crate::control::release::JournalHealth;
use crate::control::state::{ControlState, LastReload};
use crate::drain::Phase;
use crate::route::{Action, ClientAuth, Route, RouteId, Shadow, Split, VariantId};
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::control::lookups;
use crate::tls::Server;

/// The content of `/status`.
#[must_use]
pub fn status(state: &ControlState) -> Value {
    let mut value = proxy_in_short(state);
    let snapshot = state.snapshot();
    // Copies, so that the lock is not held while a long page is built.
    let (baselines, names) = {
        let data = state.lock();
        (data.baselines.clone(), data.names.clone())
    };
    value["routes"] = json!(routes(state, &snapshot, &baselines));
    value["rollouts"] = json!(rollout_list::rollouts_in_short(state));
    value["notify"] = json!(receivers(state));
    value["upstreams"] = json!(upstreams(&snapshot, state.uptime_ms()));
    let names = names.iter().map(|(name, resolution)| {
        let lookups = lookups(&state.counts.recorder, name);
        let value = json!({
            "addresses": resolution.addresses,
            "left_out": resolution.left_out,
            "succeeded": lookups.succeeded,
            "failed": lookups.failed,
            "error": resolution.error,
        });
        (name.clone(), value)
    });
    value["names"] = Value::Object(names.collect());
    value
}

/// The part of `/status` that does not grow with the routes.
pub(super) fn proxy_in_short(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    let ready = state.ready();
    let health = state.release.health();
    let data = state.lock();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "generation": snapshot.generation.0,
        "hash": data.hash,
        "file": data.file,
        "phase": phase(data.phase.unwrap_or(Phase::Running)),
        "ready": ready.is_ok(),
        "unready_because": ready.err().map(|why| why.to_string()),
        "started_at": time(state.started_at),
        "uptime_s": state.uptime(state.clock.now()).as_secs(),
        "workers": state.counts.registry.workers,
        "applied_at": time(data.applied_at),
        "last_reload": data.last.as_ref().map(last_reload),
        "last_change": data.changed.as_ref().map(last_reload),
        "hand_over_failure": data.hand_over_failure,
        "admin": data.admin,
        "admin_tls": snapshot.rules.admin.tls.is_some(),
        "admin_socket": { "path": data.admin_socket.path, "trouble": data.admin_socket.trouble },
        "kill": { "all": snapshot.overlay.kill().all, "tenants": snapshot.overlay.killed_tenants() },
        "kills": state.release.kills().iter().map(kill).collect::<Vec<_>>(),
        "journal": journal(&health),
        "release": { "seq": health.seq },
        "listeners": snapshot.listeners.iter().map(|one| listener(one)).collect::<Vec<_>>(),
    })
}

/// The routes, for `/v1/routes`.
pub(super) fn routes_table(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    let baselines = state.lock().baselines.clone();
    json!({ "generation": snapshot.generation.0, "routes": routes(state, &snapshot, &baselines) })
}

/// The upstreams, for `/v1/upstreams`.
pub(super) fn upstreams_table(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    json!({ "generation": snapshot.generation.0, "upstreams": upstreams(&snapshot, state.uptime_ms()) })
}

/// The experiments, for `/v1/experiments`.
pub(super) fn experiments_table(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    let baselines = state.lock().baselines.clone();
    let experiment = |mut route: Value| {
        let experiment = route.get_mut("experiment").map(Value::take)?;
        Some(json!({ "route": route["name"], "experiment": experiment }))
    };
    let experiments: Vec<Value> = routes(state, &snapshot, &baselines).into_iter().filter_map(experiment).collect();
    json!({ "generation": snapshot.generation.0, "experiments": experiments })
}

fn journal(health: &JournalHealth) -> Value {
    let JournalHealth { dir, seq, durable_seq, failure, damage } = health;
    json!({ "dir": dir, "seq": seq, "durable_seq": durable_seq, "failure": failure, "damage": damage })
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Lame => "lame",
        Phase::Draining => "draining",
        Phase::Forced => "forced",
    }
}

pub(super) fn last_reload(last: &LastReload) -> Value {
    let mut value = last.outcome.to_json();
    value["cause"] = json!(last.cause.name());
    value["at"] = time(last.at);
    value["took_ms"] = json!(u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX));
    if let ReloadOutcome::Rejected(rejection) = &last.outcome {
        value["text"] = json!(rejection.text);
    }
    value
}

fn listener(listener: &Listener) -> Value {
    let connections: i64 = listener.meters.used().map(|meter| meter.connections.value()).sum();
    let requests: i64 = listener.meters.used().map(|meter| meter.requests.value()).sum();
    json!({
        "name": listener.spec.name,
        "address": listener.bound,
        "connections": connections.max(0),
        "requests_in_flight": requests.max(0),
        "tls": listener.tls.as_deref().map(|server| tls(listener, server)),
    })
}

fn tls(listener: &Listener, server: &Server) -> Value {
    let certificates = server.served().iter().map(|one| {
        json!({
            "name": one.certificate.label(),
            "names": one.certificate.names(),
            "sha256": one.certificate.fingerprint(),
            "expires_at": time(one.certificate.expires_at()),
            "kept_because": one.stale.as_ref().map(ToString::to_string),
        })
    });
    json!({
        "min_version": listener.spec.tls.map(|tls| tls.min_version.name()),
        "client_auth": listener.spec.tls.and_then(|tls| tls.client_auth).map(ClientAuth::name),
        "certificates": certificates.collect::<Vec<_>>(),
    })
}

fn routes(state: &ControlState, snapshot: &Snapshot, baselines: &crate::control::measure::Baselines) -> Vec<Value> {
    let mut releases = state.release.releases();
    releases.retain(|one| !rollout_list::is_member(&snapshot.rules, one));
    let mut releases = release_json::by_route(&releases);
    let stages: BTreeMap<String, String> =
        state.release.rollouts().into_iter().map(|one| (one.name, one.stage)).collect();
    let all = snapshot.rules.numbered().zip(&*snapshot.routes);
    all.map(|((id, route), state)| {
        let series = &state.series;
        let counts: Vec<VariantCounts> = series.iter().map(|series| VariantCounts::of(series)).collect();
        let requests: u64 = counts.iter().map(|counts| counts.requests).sum();
        let errors: u64 = counts.iter().map(|counts| counts.errors).sum();
        let mut value = json!({
            "name": route.name,
            "place": format!("{}:{}", route.place.file, route.place.line),
            "action": action(route),
            "requests": requests,
            "error_ratio": ratio(errors, requests),
        });
        if let Some(split) = route.split() {
            value["killed"] = json!(snapshot.overlay.split(id).is_killed());
            let rollout = split.rollout.map(|id| snapshot.rules.rollout(id).name.as_str());
            value["rollout"] = json!(rollout);
            let since: Vec<VariantCounts> = (split.variants.iter().zip(&counts))
                .map(|(variant, counts)| baselines.since(&route.name, &variant.name, counts))
                .collect();
            let durations = series.iter().map(|series| Durations::of(series));
            let figures = counts.iter().zip(&since).zip(durations);
            let figures: Vec<VariantFigures<'_>> =
                figures.map(|((total, since), durations)| VariantFigures { total, since, durations }).collect();
            let mut variants = variants(snapshot, id, split, &figures);
            if let (Some(name), Some(last)) = (rollout, variants.last_mut()) {
                last["rollout"] = json!(name);
                last["stage"] = json!(stages.get(name));
            }
            value["variants"] = json!(variants);
            value["releases"] = json!(releases.remove(route.name.as_str()).unwrap_or_default());
            value["shadow"] = split.shadow.as_deref().map_or(Value::Null, |one| shadow(snapshot, id, split, one));
            if let Some(sample) = snapshot.routes.sample(id) {
                value["experiment"] = experiment(split, snapshot.overlay.split(id), sample, &since);
            }
        }
        value
    })
    .collect()
}

fn action(route: &Route) -> &'static str {
    match route.action {
        Action::Split(_) => "split",
        Action::Redirect(_) => "redirect",
        Action::Respond(_) => "respond",
    }
}

fn shadow(snapshot: &Snapshot, id: RouteId, split: &Split, shadow: &Shadow) -> Value {
    let name = |id: &VariantId| split.variants.get(usize::from(id.0)).map(|variant| variant.name.as_str());
    json!({
        "upstream": snapshot.rules.upstreams[shadow.upstream.0 as usize].name,
        "weight": shadow.weight.percent(),
        "sample_by": shadow.sample_by.name(),
        "methods": shadow.methods.iter().map(Method::as_str).collect::<Vec<_>>(),
        "from": shadow.from.iter().map(name).collect::<Vec<_>>(),
        "killed": snapshot.overlay.shadow_kill(id).is_some(),
        "control": shadow.compare.as_ref().map(|compare| compare.control.percent()),
    })
}

/// The figures of one variant.
struct VariantFigures<'a> {
    total: &'a VariantCounts,
    /// Counted since the weights changed.
    since: &'a VariantCounts,
    durations: Durations,
}

fn variants(snapshot: &Snapshot, id: RouteId, split: &Split, figures: &[VariantFigures<'_>]) -> Vec<Value> {
    let since: Vec<u64> = figures.iter().map(|one| one.since.counted).collect();
    let totals: Vec<u64> = figures.iter().map(|one| one.total.counted).collect();
    let measured = shares(&since).into_iter().zip(shares(&totals));
    let arms = split.variants.iter().zip(snapshot.overlay.split(id).arms());
    let rows = arms.zip(figures).zip(measured);
    rows.map(|(((variant, arm), VariantFigures { total, durations, .. }), (share, share_total))| {
        json!({
            "name": variant.name,
            "upstream": snapshot.rules.upstreams[variant.upstream.0 as usize].name,
            "killed": arm.killed,
            "latched": arm.latched,
            "held": arm.held,
            "weight": arm.weight.percent(),
            "share": share.map(percent),
            "share_total": share_total.map(percent),
            "counted": total.counted,
            "requests": total.requests,
            "errors": total.errors,
            "error_ratio": ratio(total.errors, total.requests),
            "p50_ms": durations.quantile_ms(0.50),
            "p99_ms": durations.quantile_ms(0.99),
        })
    })
    .collect()
}

/// A share in percent, to four decimals, like a weight.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}
