//! The schemas of upstreams and their endpoints.

use serde_json::{Value, json};

use crate::control::health::EndpointVerb;
use crate::failover::{EndpointStanding, FailureCause};

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
        "required": ["name", "limits", "outlier", "retry_budget", "usable", "total", "ejected", "endpoints"],
        "properties": {
            "name": { "type": "string" },
            "revision": { "type": ["string", "null"] },
            "in_flight": { "type": "integer" },
            "connections": { "type": "integer" },
            "last_tls_failure": { "type": ["object", "null"] },
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
            "unresolved": { "type": "array", "items": { "type": "string" } },
            "endpoints": { "type": "array", "items": { "$ref": "#/components/schemas/Endpoint" } },
        },
    })
}

fn endpoint() -> Value {
    let causes = || FailureCause::ALL.iter().map(|cause| json!(cause.name())).chain([Value::Null]).collect::<Vec<_>>();
    json!({
        "type": "object",
        "required": ["name", "address", "protocol", "weight", "standing"],
        "properties": {
            "name": { "type": "string", "description": "Host and port as in the file." },
            "address": { "type": "string" },
            "protocol": { "enum": ["http", "h2c", "https"] },
            "weight": { "type": "integer", "minimum": 1 },
            "standing": {
                "enum": EndpointStanding::ALL.map(EndpointStanding::name),
                "description": "usable: it gets requests; failing: it fails and gets requests, since it may not be \
                                ejected; ejected: it gets none; trial: the next fitting try decides; drained: a \
                                person took it out.",
            },
            "drained": { "type": "boolean" },
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
