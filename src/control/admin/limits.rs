//! `/v1/limits`: the rate limits of routes, and what they have counted.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::control::state::ControlState;
use crate::limiter::KEYS_MAX;
use crate::route::{RateKey, RateLimit, RateLimitMode, Route};
use crate::snapshot::{LimitCounts, LimitState, RouteState, Snapshot};

/// The limits of all routes, in the order of the file.
pub(super) fn limits(state: &ControlState) -> Value {
    let (snapshot, now_ns) = (state.snapshot(), state.uptime_ns());
    let all = snapshot.rules.routes.iter().zip(&*snapshot.routes);
    let of_route = |(route, state): (&Route, &Arc<RouteState>)| {
        let both = route.rate_limits.iter().zip(&state.limits);
        let counts = |state: &LimitState| LimitCounts { keys: state.table.keys(now_ns), ..state.counts() };
        both.map(|(spec, state)| limit(&snapshot, route, spec, counts(state))).collect::<Vec<_>>()
    };
    json!({ "generation": snapshot.generation.0, "limits": all.flat_map(of_route).collect::<Vec<_>>() })
}

fn limit(snapshot: &Snapshot, route: &Route, spec: &RateLimit, counts: LimitCounts) -> Value {
    let RateLimit { name, line, per, rate, burst, except, mode, status } = spec;
    let LimitCounts { refused, dry_run, keys, evicted } = counts;
    let segment = except.and_then(|id| snapshot.rules.segments.get(id.0 as usize)).map(|segment| &segment.name);
    json!({
        "route": route.name,
        "name": name,
        "place": route.place_of(*line).to_string(),
        "per": per.to_string(),
        "rate": rate.to_string(),
        "rate_per_second": rate.per_second(),
        "burst": burst,
        "except": segment,
        "dry_run": *mode == RateLimitMode::DryRun,
        "status": status.as_u16(),
        "keys": keys,
        "keys_max": if *per == RateKey::Route { 1 } else { KEYS_MAX },
        "refused": refused,
        "passed_by_dry_run": dry_run,
        "evicted": evicted,
    })
}

/// The schemas by name.
pub(super) fn limit_schemas() -> Value {
    let count = |text: &str| json!({ "type": "integer", "description": text });
    json!({
        "Limits": {
            "type": "object",
            "required": ["generation", "limits"],
            "properties": {
                "generation": { "type": "integer" },
                "limits": { "type": "array", "items": { "$ref": "#/components/schemas/RateLimit" } },
            },
        },
        "RateLimit": {
            "type": "object",
            "required": ["route", "name", "per", "rate", "burst", "dry_run", "keys", "refused", "evicted"],
            "properties": {
                "route": { "type": "string" },
                "name": { "type": "string" },
                "place": { "type": "string", "description": "File and line." },
                "per": { "type": "string", "description": "`route`, `client_ip`, `user`, `tenant` or `header:NAME`." },
                "rate": { "type": "string", "description": "Such as `100/s` or `6000/min`." },
                "rate_per_second": { "type": "number" },
                "burst": count("So many pass at once after a pause."),
                "except": { "type": ["string", "null"], "description": "A segment that is not limited." },
                "dry_run": { "type": "boolean", "description": "It counts, and lets pass." },
                "status": count("Of the answer."),
                "keys": count("Keys that have a place in the table."),
                "keys_max": count("At so many the key that was used longest ago is forgotten."),
                "refused": count("Requests since the start of the process."),
                "passed_by_dry_run": count("Requests beyond the limit that were let through."),
                "evicted": count("Keys that were forgotten for others."),
            },
        },
    })
}
