//! The schemas of rollouts, and of the bodies of the acts on them.

use serde_json::{Value, json};

use super::fields::{NAME_CHARS_MAX, REASON_CHARS_MAX};
use super::rollout_json::RUNNING_WORDS;
use crate::release::{BlockKind, HeldCause, RolloutPhase, StagePlace};

/// The schemas by name. `text` makes the schema of a text of so many letters.
pub(super) fn rollout_schemas(text: fn(usize) -> Value) -> Value {
    json!({
        "Staged": staged(),
        "StagedWithGuards": {
            "description": "A rollout with all its guards, and the traffic of its routes.",
            "allOf": [
                { "$ref": "#/components/schemas/Staged" },
                { "$ref": "#/components/schemas/WithGuards" },
                {
                    "type": "object",
                    "required": ["plan_hash", "traffic"],
                    "properties": {
                        "plan_hash": {
                            "type": ["string", "null"],
                            "description": "The hash of all stages of its plan; null when the file does not have it.",
                        },
                        "traffic": { "type": "array", "items": { "$ref": "#/components/schemas/RouteTraffic" } },
                    },
                },
            ],
        },
        "RouteTraffic": traffic(),
        "Stage": stage(),
        "Block": block(),
        "AwaitedRole": {
            "type": "object",
            "required": ["role", "people"],
            "properties": {
                "role": { "type": "string" },
                "people": { "type": "array", "items": { "type": "string" }, "description": "Who may fill it." },
            },
        },
        "Approve": body(json!({
            "as": described(text(NAME_CHARS_MAX), "The role; needed where the identity may fill several."),
            "reason": text(REASON_CHARS_MAX),
        }), &[]),
        "RolloutAct": body(json!({ "reason": text(REASON_CHARS_MAX) }), &["reason"]),
        "Goto": body(json!({
            "stage": described(text(NAME_CHARS_MAX), "The name of the stage."),
            "reason": text(REASON_CHARS_MAX),
        }), &["reason", "stage"]),
    })
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

fn body(mut properties: Value, required: &[&str]) -> Value {
    properties["expect"] = json!({
        "$ref": "#/components/schemas/Sequence",
        "description": "The last sequence number that the caller saw; later records are a conflict.",
    });
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn staged() -> Value {
    let list = |schema: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{schema}") } });
    json!({
        "type": "object",
        "description": "A rollout: a release with stages.",
        "required": [
            "kind", "name", "revision", "variants", "owner", "ticket", "stage", "stages", "weight", "max_weight",
            "share", "state", "doing", "because", "by", "at", "seq", "durable", "says", "unblock", "blocks", "awaited",
            "next", "expired", "edit", "needs_person", "closest", "rehearsal", "same_person",
        ],
        "properties": {
            "kind": { "const": "rollout" },
            "name": { "type": "string" },
            "revision": { "type": "string", "description": "`UPSTREAM=REVISION`, sorted, separated by commas." },
            "variants": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The variants that it moves: `ROUTE:VARIANT`.",
            },
            "owner": { "type": ["string", "null"] },
            "ticket": { "type": ["string", "null"] },
            "stage": { "type": "string", "description": "The name of the stage where it is." },
            "stages": list("Stage"),
            "weight": { "type": "number", "description": "As it is set, in percent." },
            "max_weight": { "type": "number", "description": "The ceiling, in percent." },
            "share": { "type": ["number", "null"], "description": "The measured share of the requests, in percent." },
            "state": { "enum": RolloutPhase::NAMES },
            "doing": {
                "description": "What it does while it runs.",
                "anyOf": [{ "type": "null" }, { "enum": RUNNING_WORDS }],
            },
            "because": {
                "description": "Why it is held.",
                "anyOf": [{ "type": "null" }, { "enum": HeldCause::ALL.map(HeldCause::name) }],
            },
            "by": { "type": ["string", "null"], "description": "The guard or the person that has stopped it." },
            "at": { "type": "string", "description": "When it came to its state: RFC 3339." },
            "seq": { "type": ["integer", "null"], "description": "The number of its record in the journal." },
            "durable": { "type": "boolean", "description": "Whether the record is on the disk." },
            "says": { "type": "string", "description": "The state and why, in one line." },
            "unblock": { "type": ["string", "null"], "description": "What would let it go on, in one line." },
            "blocks": list("Block"),
            "awaited": list("AwaitedRole"),
            "next": { "type": ["string", "null"], "description": "When the next step comes by itself: RFC 3339." },
            "expired": { "type": "boolean", "description": "`expires` has passed." },
            "edit": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The edit of the file that a complete rollout asks for.",
            },
            "needs_person": { "type": "boolean", "description": "It does not go on before a person acts." },
            "rehearsal": { "type": "boolean", "description": "The plan permits rehearsals on live traffic." },
            "same_person": { "type": "boolean", "description": "One person may fill several roles of a stage." },
            "closest": {
                "description": "The guard that is closest to its threshold; null before the first request.",
                "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Guard" }],
            },
        },
    })
}

fn traffic() -> Value {
    json!({
        "type": "object",
        "description": "The traffic of a route, over the last five minutes but for callers.",
        "required": [
            "route", "rate", "requests", "over_ms", "stable_answers", "stable_errors", "error_ratio", "p99_ms", "callers",
            "callers_since", "callers_over_ms",
        ],
        "properties": {
            "route": { "type": "string" },
            "rate": { "type": ["number", "null"], "description": "Requests a second that were dealt by weight." },
            "requests": { "type": "integer", "description": "Requests that were dealt by weight." },
            "over_ms": { "type": "integer", "description": "The time that the figures are about: less after a start." },
            "stable_answers": { "type": "integer", "description": "First tries of stable that guards have judged." },
            "stable_errors": { "type": "integer", "description": "Those of them that failed." },
            "error_ratio": { "type": ["number", "null"] },
            "p99_ms": {
                "type": ["number", "null"],
                "description": "Stable's time to the head of a response that one in 100 exceeds; null where no guard is timed.",
            },
            "callers": {
                "type": ["integer", "null"],
                "description": "Distinct sticky keys, an estimate within 2 %; null without sticky keys.",
            },
            "callers_since": { "type": ["string", "null"], "description": "From when on they were counted: RFC 3339." },
            "callers_over_ms": {
                "type": ["integer", "null"],
                "description": "Over which time: an hour where the weight has not changed for so long.",
            },
        },
    })
}

fn stage() -> Value {
    let places = [StagePlace::Done, StagePlace::Current, StagePlace::Ahead].map(StagePlace::name);
    json!({
        "type": "object",
        "required": ["name", "weight", "place", "run_ms", "min_duration_ms", "approve", "approved"],
        "properties": {
            "name": { "type": "string" },
            "weight": { "type": "number", "description": "In percent." },
            "place": { "enum": places },
            "run_ms": { "type": ["integer", "null"], "description": "The running time in the current stage." },
            "min_duration_ms": { "type": "integer" },
            "approve": { "type": "array", "items": { "type": "string" }, "description": "The roles that it asks for." },
            "approved": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["role", "by", "at"],
                    "properties": {
                        "role": { "type": "string" },
                        "by": { "type": "string" },
                        "at": { "type": "string" },
                    },
                },
            },
        },
    })
}

fn block() -> Value {
    json!({
        "type": "object",
        "description": "What stands in the way of going on.",
        "required": ["kind", "says", "unblock", "until"],
        "properties": {
            "kind": { "enum": BlockKind::ALL.map(BlockKind::name) },
            "says": { "type": "string" },
            "unblock": { "type": "string", "description": "What would end it." },
            "until": { "type": ["string", "null"], "description": "When it ends by itself: RFC 3339." },
        },
    })
}
