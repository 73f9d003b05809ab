//! `/shadow`: what became of copies, and what comparing their answers has shown.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ledger::Ledger;
use crate::dark::{Quantiles, Reported, RouteReport};
use crate::telemetry::{ShadowDrop, ShadowSeries, ShadowUncompared, StatusClass};

/// The page.
pub(super) fn shadow(ledger: &Ledger) -> Value {
    let snapshot = ledger.snapshot();
    let reports = ledger.judge.reports(&snapshot.rules);
    let all = snapshot.rules.routes.iter().zip(&*snapshot.shadows);
    let routes: Vec<Value> = all
        .filter_map(|(route, series)| {
            let shadow = route.split()?.shadow.as_ref()?;
            let mut value = copies(series.as_deref()?);
            value["weight"] = json!(shadow.weight.percent());
            let report = reports.iter().find(|report| report.route == route.name);
            value["comparison"] = report.map_or(Value::Null, comparison);
            Some(value)
        })
        .collect();
    let bytes = &ledger.registry.shadow_bytes;
    json!({
        "generation": snapshot.generation.0,
        "held_bytes": bytes.used(),
        "held_bytes_max": bytes.max(),
        "routes": routes,
    })
}

fn copies(series: &ShadowSeries) -> Value {
    let figures = series.read();
    let named = |names: &[&str], counts: &[u64]| -> Map<String, Value> {
        names
            .iter()
            .zip(counts)
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| ((*name).into(), json!(count)))
            .collect()
    };
    let sum = |of: fn(&crate::telemetry::ShadowMeter) -> u64| series.meters.used().map(of).sum::<u64>();
    let uncompared = ShadowUncompared::ALL
        .map(|why| series.meters.used().map(|meter| meter.uncompared[why as usize].value()).sum::<u64>());
    json!({
        "route": series.route,
        "upstream": series.upstream,
        "sampled": figures.sampled,
        "in_flight": figures.in_flight,
        "sent": figures.sent,
        "dropped": named(&ShadowDrop::ALL.map(ShadowDrop::name), &figures.dropped),
        "completed": named(&StatusClass::ALL.map(StatusClass::name), &figures.completed),
        "handed_over": sum(|meter| meter.compared.value()),
        "not_compared": named(&ShadowUncompared::ALL.map(ShadowUncompared::name), &uncompared),
        "controls": {
            "answered": sum(|meter| meter.controls[0].value()),
            "failed": sum(|meter| meter.controls[1].value()),
            "no_place": sum(|meter| meter.controls[2].value()),
        },
    })
}

fn comparison(report: &RouteReport) -> Value {
    json!({
        "since": time(report.since),
        "revision": report.revision,
        "compared": report.compared,
        "equal": report.equal,
        "different": report.different,
        "with_control": report.controls,
        "noisy_controls": report.noisy_controls,
        "unread": report.unread,
        "net_mismatch": report.net_mismatch,
        "net_mismatch_upper": report.net_mismatch_upper,
        "threshold_log10": report.threshold_log10,
        "evicted": report.evicted,
        "latency_seconds": { "primary": quantiles(report.primary), "candidate": quantiles(report.candidate) },
        "fields": report.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

fn field(field: &Reported) -> Value {
    let samples: Vec<Value> = field
        .samples
        .iter()
        .map(|sample| {
            json!({
                "at": time(sample.at),
                "request_id": sample.request_id,
                "primary": sample.primary,
                "candidate": sample.candidate,
            })
        })
        .collect();
    let key = if field.kind == "order" { "unordered" } else { "ignore" };
    json!({
        "path": field.path,
        "kind": field.kind,
        "verdict": field.verdict,
        "candidate": { "different": field.raw.0, "of": field.raw.1 },
        "control": { "different": field.noise.0, "of": field.noise.1 },
        "evidence_log10": field.evidence_log10,
        "ignore": format!("{key} = [\"{}\"]", field.path.escape_default()),
        "samples": samples,
    })
}

fn quantiles(quantiles: Quantiles) -> Value {
    json!({ "p50": quantiles.p50, "p90": quantiles.p90, "p99": quantiles.p99 })
}

/// RFC 3339 with milliseconds.
fn time(at: Duration) -> Value {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or(Value::Null, |at| json!(format!("{at:.3}")))
}
