//! The schemas of releases and their guards.

use serde_json::{Value, json};

use crate::release::{GuardState, ReleaseState};
use crate::route::GuardAct;

/// The schemas by name.
pub(super) fn release_schemas() -> Value {
    json!({
        "Rollouts": {
            "type": "object",
            "required": ["seq", "durable_seq", "rollouts"],
            "properties": {
                "seq": { "type": "integer" },
                "durable_seq": { "type": "integer" },
                "rollouts": { "type": "array", "items": {
                    "anyOf": [
                        { "$ref": "#/components/schemas/Staged" },
                        { "$ref": "#/components/schemas/Release" },
                    ],
                } },
            },
        },
        "Release": release(),
        "Rollout": {
            "description": "A rollout, or the release of a static weight, with all its guards.",
            "anyOf": [
                { "$ref": "#/components/schemas/StagedWithGuards" },
                { "$ref": "#/components/schemas/ReleaseWithGuards" },
            ],
        },
        "ReleaseWithGuards": {
            "description": "A release with all its guards.",
            "allOf": [{ "$ref": "#/components/schemas/Release" }, { "$ref": "#/components/schemas/WithGuards" }],
        },
        "WithGuards": {
            "type": "object",
            "required": ["guards"],
            "properties": { "guards": { "type": "array", "items": { "$ref": "#/components/schemas/Guard" } } },
        },
        "Guard": guard(),
        "ArmCounts": {
            "type": "object",
            "required": ["exposures", "events", "rate"],
            "properties": {
                "exposures": { "type": "integer", "description": "A caller counts once a second." },
                "events": { "type": "integer", "description": "Callers with an event." },
                "rate": { "type": ["number", "null"], "description": "Events of exposures, 0 to 1." },
            },
        },
    })
}

fn release() -> Value {
    json!({
        "type": "object",
        "required": [
            "kind", "name", "route", "variant", "revision", "weight", "state", "because", "by", "at", "seq", "durable", "says",
            "unblock", "closest",
        ],
        "properties": {
            "kind": { "const": "static" },
            "name": { "type": "string", "description": "`ROUTE:VARIANT`" },
            "route": { "type": "string" },
            "variant": { "type": "string" },
            "revision": {
                "type": "string",
                "description": "`UPSTREAM=REVISION`; without a revision the upstream alone.",
            },
            "weight": { "type": "number", "description": "As it is set, in percent." },
            "state": { "enum": ReleaseState::NAMES },
            "because": { "type": ["string", "null"], "description": "Why it is held." },
            "by": { "type": ["string", "null"], "description": "The guard that has tripped." },
            "at": { "type": ["string", "null"], "description": "When: RFC 3339." },
            "seq": { "type": ["integer", "null"], "description": "The number of its record in the journal." },
            "durable": { "type": ["boolean", "null"], "description": "Whether the record is on the disk." },
            "says": { "type": "string", "description": "The state and why, in one line." },
            "unblock": { "type": ["string", "null"], "description": "What would end the state, in one line." },
            "closest": {
                "description": "The guard that is closest to its threshold; null before the first request.",
                "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Guard" }],
            },
        },
    })
}

fn guard() -> Value {
    let acts = [GuardAct::Warn, GuardAct::Hold, GuardAct::Rollback].map(GuardAct::name);
    json!({
        "type": "object",
        "required": [
            "name", "test", "act", "alpha", "state", "evidence_log10", "threshold_log10", "tested", "stable", "ratio",
            "slow_after_ms", "says",
        ],
        "properties": {
            "name": { "type": "string" },
            "test": { "type": "string", "description": "What it tests, in words." },
            "act": { "enum": acts },
            "alpha": {
                "type": ["number", "null"],
                "description": "The probability of a false alarm per revision; null: it has no stated one.",
            },
            "state": { "enum": GuardState::ALL.map(GuardState::label) },
            "evidence_log10": { "type": ["number", "null"] },
            "threshold_log10": { "type": ["number", "null"], "description": "The evidence at which it trips." },
            "tested": { "$ref": "#/components/schemas/ArmCounts" },
            "stable": { "$ref": "#/components/schemas/ArmCounts" },
            "ratio": {
                "type": ["object", "null"],
                "description": "The rate of the variant by that of stable, with an interval that holds at all times.",
                "required": ["estimate", "lower", "upper"],
                "properties": {
                    "estimate": { "type": ["number", "null"] },
                    "lower": { "type": ["number", "null"] },
                    "upper": { "type": ["number", "null"] },
                },
            },
            "slow_after_ms": { "type": ["number", "null"], "description": "The time from which a response is slow." },
            "says": { "type": "string" },
        },
    })
}
