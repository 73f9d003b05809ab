//! `/shadow`: the outcomes of copies, and the results of comparing their responses.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::format::time;
use crate::control::state::ControlState;
use crate::route::{Masks, Weight};
use crate::shadow_compare::{Quantiles, ReportedField, RouteReport};
use crate::telemetry::{ShadowDrop, ShadowSeries, ShadowUncompared, StatusClass};

/// Builds the page.
pub(super) fn shadow(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    let reports = state.comparator.reports(&snapshot.rules);
    let all = snapshot.rules.numbered().zip(&*snapshot.routes);
    let routes: Vec<Value> = all
        .filter_map(|((id, route), state)| {
            let shadow = route.split()?.shadow.as_ref()?;
            let series = state.shadow.as_deref()?;
            let mut value = copies(series);
            value["weight"] = json!(shadow.weight.percent());
            value["weight_actual"] = json!(now(shadow.weight, series, snapshot.overlay.shadow_kill(id)));
            value["killed_by"] = json!(snapshot.overlay.shadow_kill(id));
            value["compares"] = json!(shadow.compare.is_some());
            let report = reports.iter().find(|report| report.route == route.name);
            value["comparison"] = report.map_or(Value::Null, |report| comparison(report, &snapshot.rules.masks));
            Some(value)
        })
        .collect();
    let bytes = &state.counts.registry.shadow_bytes;
    let comparing = state.comparator.stats();
    json!({
        "generation": snapshot.generation.0,
        "kill_all": snapshot.overlay.kill().all,
        "comparing": { "routes": comparing.routes, "failed": comparing.failed, "refused": comparing.refused },
        "held_bytes": bytes.used(),
        "held_bytes_max": bytes.max(),
        "routes": routes,
    })
}

/// The current share of copies in percent, to four decimals, like a weight.
fn now(weight: Weight, series: &ShadowSeries, killed: Option<&str>) -> f64 {
    if killed.is_some() {
        return 0.0;
    }
    (series.weight_actual(weight.percent() / 100.0) * 1e6).round() / 1e4
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
        "since": time(series.since),
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

fn comparison(report: &RouteReport, masks: &Masks) -> Value {
    json!({
        "since": time(report.since),
        "revision": report.revision.as_deref().map(|revision| masks.cover_configured(revision)),
        "compared": report.compared,
        "equal": report.equal,
        "different": report.different,
        "with_control": report.controls,
        "noisy_controls": report.noisy_controls,
        "ended_early": report.early,
        "controls_ended_early": report.early_controls,
        "unread": report.unread,
        "truncated": report.truncated,
        "net_mismatch": report.net_mismatch,
        "net_mismatch_upper": report.net_mismatch_upper,
        "threshold_log10": report.threshold_log10,
        "evicted": report.evicted,
        "latency_seconds": { "primary": quantiles(report.primary), "candidate": quantiles(report.candidate) },
        "fields": report.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

fn field(field: &ReportedField) -> Value {
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
    json!({
        "path": field.path,
        "kind": field.kind,
        "verdict": field.verdict,
        "candidate": { "different": field.raw.0, "of": field.raw.1 },
        "control": { "different": field.noise.0, "of": field.noise.1 },
        "evidence_log10": field.evidence_log10,
        "threshold_log10": field.threshold_log10,
        "ignore": line(field.kind, &field.path),
        "note": note(field.kind),
        "samples": samples,
    })
}

/// The configuration line that ignores a difference, for `[route.shadow.compare]`.
fn line(kind: &str, path: &str) -> String {
    let key = if kind == "order" && path.starts_with('$') { "unordered" } else { "ignore" };
    let mut line = format!("{key} = [\"");
    // Escape `${`, which starts a variable.
    for letter in path.replace("${", "$${").chars() {
        match letter {
            '"' | '\\' => line.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04X}", u32::from(letter));
            }
            letter => line.push(letter),
        }
    }
    line + "\"]"
}

/// A note on a kind that is not self-explanatory.
fn note(kind: &str) -> Option<&'static str> {
    (kind == "opaque").then_some(
        "bodies that differ and were not parsed: neither JSON nor text, larger than 256 KiB (2 MiB when decoded), or \
         with more than 65536 values or 16384 lines",
    )
}

fn quantiles(quantiles: Quantiles) -> Value {
    json!({ "p50": quantiles.p50, "p90": quantiles.p90, "p99": quantiles.p99 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::load_text;
    use crate::route::Compare;

    /// The settings of a file with this line.
    fn read(line: &str) -> Compare {
        let file = format!(
            "schema = 1\n[[listener]]\naddress = \"127.0.0.1:1\"\n[upstream.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[upstream.b]\nendpoints = [\"http://127.0.0.1:2\"]\n\
             [[route]]\nname = \"r\"\nmatch = {{ path = \"/*\" }}\nstable = \"a\"\n\
             [route.shadow]\nupstream = \"b\"\nweight = 1\n[route.shadow.compare]\n{line}\n"
        );
        let variables = |name: &str| Some(format!("variable {name}"));
        let loaded = load_text("routes.toml", &file, &variables).unwrap_or_else(|errors| panic!("{line}: {errors:?}"));
        let split = loaded.rules.routes[0].split().unwrap();
        split.shadow.as_ref().unwrap().compare.clone().unwrap()
    }

    #[test]
    fn lines_to_paste_are_valid() {
        for (kind, path, text) in [
            ("value", "$.größe", "ignore = [\"$.größe\"]"),
            ("value", "$[\"a b\"]", "ignore = [\"$[\\\"a b\\\"]\"]"),
            ("value", "$[\"\\u{1b}\"]", "ignore = [\"$[\\\"\\\\u{1b}\\\"]\"]"),
            ("value", "$[\"${HOME}\"]", "ignore = [\"$[\\\"$${HOME}\\\"]\"]"),
            ("value", "$.u.{id}.n", "ignore = [\"$.u.{id}.n\"]"),
            ("header", "header:x-*", "ignore = [\"header:x-*\"]"),
            ("status", "status", "ignore = [\"status\"]"),
            ("opaque", "body", "ignore = [\"body\"]"),
            // The lines of a text cannot be unordered.
            ("order", "body", "ignore = [\"body\"]"),
        ] {
            assert_eq!(line(kind, path), text);
            assert_eq!(read(text).ignore, [path]);
        }
        let text = line("order", "$.items");
        assert_eq!((&*text, read(&text).unordered), ("unordered = [\"$.items\"]", vec!["$.items".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_line_to_paste_is_parsed_as_the_path(key in "\\PC{0,20}|[\\x00-\\x7f]{0,20}|[$\\{}A-Z\"\\\\u]{0,20}") {
            // As a path writes it.
            let json = |value: u8| serde_json::to_string(&serde_json::json!({ key.as_str(): value })).unwrap();
            let headers = http::HeaderMap::new();
            let (a, b) = (json(1), json(2));
            let outcome = |text| {
                let body = crate::compare::BodyView::whole(str::as_bytes(text));
                let status = http::StatusCode::OK;
                crate::compare::ExchangeOutcome::Answered(crate::compare::ResponseView { status, headers: &headers, trailers: None, body })
            };
            let found = crate::compare::Criteria::default().compare(&outcome(&a), &outcome(&b));
            let path = &found.differences[0].field.path;
            prop_assert_eq!(&read(&line("value", path)).ignore, &[path.to_string()]);
        }
    }
}
