//! The schemas of upstreams and their endpoints.

use serde_json::{Value, json};

use crate::control::health::EndpointVerb;
use crate::failover::{CheckedHealth, EndpointStanding, FailureCause};
use crate::route::{Balance, EndpointRole};

/// An object that has at least these members.
fn object(required: &[&str]) -> Value {
    json!({ "type": "object", "required": required })
}

/// The schemas by name.
pub(super) fn upstream_schemas() -> Value {
    json!({
        "Upstreams": {
            "type": "object",
            "required": ["generation", "upstreams"],
            "properties": {
                "generation": { "type": "integer" },
                "upstreams": { "type": "array", "items": { "$ref": "#/components/schemas/Upstream" } },
            },
        },
        "Upstream": upstream(),
        "Endpoint": endpoint(),
        "EndpointAct": {
            "type": "object",
            "additionalProperties": false,
            "required": ["reason"],
            "properties": {
                "reason": { "$ref": "#/components/schemas/Reason" },
                "force": { "type": "boolean", "description": "Also if no usable endpoint is left." },
            },
        },
        "EndpointActOutcome": {
            "type": "object",
            "required": ["upstream", "act", "changed", "seq", "usable", "total", "endpoints"],
            "properties": {
                "upstream": { "type": "string" },
                "act": { "enum": EndpointVerb::ALL.map(EndpointVerb::name) },
                "changed": { "type": "boolean", "description": "False when it was so already." },
                "seq": { "type": ["integer", "null"], "description": "The number of its record." },
                "usable": { "type": "integer" },
                "total": { "type": "integer" },
                "endpoints": { "type": "array", "items": { "$ref": "#/components/schemas/Endpoint" } },
            },
        },
    })
}

fn upstream() -> Value {
    json!({
        "type": "object",
        "required": ["name", "balance", "limits", "outlier", "retry_budget", "usable", "total", "ejected", "endpoints"],
        "properties": {
            "name": { "type": "string" },
            "revision": { "type": ["string", "null"] },
            "in_flight": { "type": "integer" },
            "connections": { "type": "integer" },
            "last_tls_failure": { "type": ["object", "null"] },
            "balance": { "enum": Balance::ALL.map(Balance::name) },
            "slow_start_ms": { "type": "integer", "description": "0: off." },
            "health": health_check(),
            "checks": {
                "type": ["object", "null"],
                "required": ["good", "bad", "late", "late_ms"],
                "properties": {
                    "good": { "type": "integer", "description": "Since the start of the process." },
                    "bad": { "type": "integer", "description": "Since the start of the process." },
                    "late": { "type": "integer", "description": "Checks that began later than their interval says." },
                    "late_ms": { "type": "integer", "description": "By how much the latest check was late." },
                },
            },
            "limits": object(&["connections", "requests", "pending"]),
            "outlier": object(&["consecutive_failures", "base_ejection_ms", "max_ejected_percent"]),
            "retry_budget": {
                "type": "object",
                "required": ["ratio", "min_per_second", "used", "allowed"],
                "properties": {
                    "ratio": { "type": "number" },
                    "min_per_second": { "type": "integer" },
                    "used": { "type": "integer", "description": "Tries beyond the first in the last 10 s." },
                    "allowed": { "type": "integer", "description": "As many are allowed in 10 s." },
                },
            },
            "usable": { "type": "integer", "description": "Endpoints that get requests." },
            "total": { "type": "integer", "description": "All endpoints." },
            "ejected": { "type": "integer", "description": "Endpoints that are ejected." },
            "unhealthy": { "type": "integer", "description": "Endpoints whose active checks fail." },
            "waiting": {
                "type": "integer",
                "description": "Usable endpoints that get no request now: backups, and those that are not checked yet.",
            },
            "unresolved": { "type": "array", "items": { "type": "string" } },
            "endpoints": { "type": "array", "items": { "$ref": "#/components/schemas/Endpoint" } },
        },
    })
}

/// The settings of the active checks; null: there are none.
fn health_check() -> Value {
    json!({
        "type": ["object", "null"],
        "required": ["kind", "interval_ms", "timeout_ms", "healthy", "unhealthy"],
        "properties": {
            "kind": { "enum": ["http", "grpc", "tcp"] },
            "path": { "type": ["string", "null"] },
            "service": { "type": ["string", "null"] },
            "port": { "type": ["integer", "null"], "description": "Null: the port of the endpoint." },
            "interval_ms": { "type": "integer" },
            "timeout_ms": { "type": "integer" },
            "healthy": { "type": "integer", "description": "Good checks in a row that make an endpoint healthy." },
            "unhealthy": { "type": "integer", "description": "Bad checks in a row that make it unhealthy." },
        },
    })
}

/// The active checks of an endpoint; null: there are none.
fn checked() -> Value {
    let verdicts = [CheckedHealth::Unknown, CheckedHealth::Healthy, CheckedHealth::Unhealthy];
    json!({
        "type": ["object", "null"],
        "required": ["verdict"],
        "properties": {
            "verdict": { "enum": verdicts.map(CheckedHealth::name), "description": "unknown: there is no verdict yet." },
            "good_in_a_row": { "type": "integer", "description": "0 when the last check was bad." },
            "bad_in_a_row": { "type": "integer", "description": "0 when the last check was good." },
            "last_check_ago_ms": { "type": ["integer", "null"] },
            "last_failure": { "type": ["string", "null"], "description": "Why the last bad check was bad." },
            "last_failure_ago_ms": { "type": ["integer", "null"] },
        },
    })
}

fn endpoint() -> Value {
    let causes = || FailureCause::ALL.iter().map(|cause| json!(cause.name())).chain([Value::Null]).collect::<Vec<_>>();
    let roles = [EndpointRole::Primary, EndpointRole::Backup, EndpointRole::Drained];
    json!({
        "type": "object",
        "required": ["name", "address", "protocol", "weight", "role", "standing", "in_rotation"],
        "properties": {
            "name": { "type": "string", "description": "Host and port as in the file." },
            "address": { "type": "string" },
            "protocol": { "enum": ["http", "h2c", "https"] },
            "weight": { "type": "integer", "minimum": 1 },
            "role": { "enum": roles.map(EndpointRole::name), "description": "What the file says." },
            "standing": {
                "enum": EndpointStanding::ALL.map(EndpointStanding::name),
                "description": "usable: it gets requests; failing: it fails and gets requests, since it may not be \
                                ejected; ejected: it gets none; trial: the next fitting try decides; drained: a \
                                person or the file took it out; unhealthy: its active checks fail; unknown: it is \
                                not checked yet, and a healthy one serves; standby: it is a backup, and a primary \
                                serves.",
            },
            "in_rotation": { "type": "boolean", "description": "It gets requests now." },
            "health": checked(),
            "slow_start": {
                "type": ["number", "null"],
                "description": "The part of its share that it gets now, from 0.1; null: the whole.",
            },
            "drained": { "type": "boolean" },
            "drained_by_file": { "type": "boolean", "description": "`undrain` does not end this drain." },
            "failures_in_a_row": { "type": "integer" },
            "last_failure": { "enum": causes() },
            "ejections": { "type": "integer", "description": "Since the start of the process." },
            "ejections_in_a_row": { "type": "integer" },
            "ejected_because": { "enum": causes() },
            "ejected_for_ms": {
                "type": ["integer", "null"],
                "description": "Until it is tried again; null by a person, and when it is not ejected.",
            },
            "by_hand": { "type": "boolean", "description": "A person drained or ejected it." },
        },
    })
}
