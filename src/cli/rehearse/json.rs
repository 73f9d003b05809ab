//! A rehearsal as JSON.

use serde_json::{Value, json};

use super::figures::RehearsalPage;
use super::text::upper_bound;
use crate::rehearsal::{FaultyReport, RunQuantiles, StageTimes};

/// The whole rehearsal.
pub(super) fn document(rehearsed: &RehearsalPage<'_>) -> Value {
    let RehearsalPage { rehearsal, timeline, report, .. } = rehearsed;
    let scene = &rehearsal.scene;
    let routes = scene.traffic.routes.iter().map(|route| {
        json!({
            "route": route.route, "rate": route.rate, "callers": route.callers, "error_ratio": route.errors,
            "p99_ms": route.p99.map(|p99| p99.as_secs_f64() * 1e3),
        })
    });
    let figures = rehearsed.known.figures.iter().map(
        |one| json!({ "route": one.route, "what": one.what, "value": one.value, "source": one.source.to_string() }),
    );
    let healthy = &report.healthy;
    json!({
        "rollout": scene.rollout.name,
        "runs": report.runs,
        "seed": rehearsal.seed,
        "begins_ms": scene.begins_ms,
        "zone": scene.rollout.about.zone,
        "traffic": routes.collect::<Vec<_>>(),
        "figures": figures.collect::<Vec<_>>(),
        "fault": rehearsal.fault.map(|fault| fault.text.clone()),
        "faulty": report.faulty.as_ref().map(faulty),
        "healthy": {
            "rolled_back": healthy.rolled_back,
            "rolled_back_at_most": upper_bound(healthy.rolled_back, report.runs),
            "promised_at_most": rehearsed.promise(),
            "held": healthy.held,
            "by": healthy.by,
            "complete_ms": quantiles(&healthy.complete_ms),
            "stuck": healthy.stuck,
            "because": healthy.because,
        },
        "timeline": {
            "begins_ms": timeline.begins_ms,
            "complete_ms": timeline.complete_ms,
            "stuck": timeline.stuck,
            "stages": timeline.stages.iter().map(stage).collect::<Vec<_>>(),
        },
        "assumed": rehearsed.assumed(),
        "took_ms": u64::try_from(rehearsed.took.as_millis()).unwrap_or(u64::MAX),
    })
}

fn faulty(report: &FaultyReport) -> Value {
    json!({
        "begun": report.begun,
        "found": report.found,
        "rolled_back": report.rolled_back,
        "found_ms": quantiles(&report.found_ms),
        "requests": quantiles(&report.requests),
        "callers": quantiles(&report.callers),
        "unfound_requests": quantiles(&report.unfound_requests),
        "by": report.by,
        "stopped_otherwise": report.others,
        "stages": report.stages,
        "warned": report.warned,
    })
}

fn quantiles(of: &RunQuantiles) -> Value {
    json!({ "median": of.median, "p90": of.p90, "max": of.max })
}

fn stage(one: &StageTimes) -> Value {
    json!({
        "name": one.name, "enters_ms": one.enters_ms, "ramp_ends_ms": one.ramp_ends_ms, "leaves_ms": one.leaves_ms,
        "frozen_ms": one.frozen_ms, "requests": one.requests, "callers": one.callers,
    })
}
