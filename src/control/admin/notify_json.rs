//! Receivers of notifications as JSON, and the schemas of their calls.

use std::time::Duration;

use serde_json::{Value, json};

use super::fields::NAME_CHARS_MAX;
use super::format::time;
use crate::control::notify::ReceiverStanding;
use crate::control::state::ControlState;

/// The receivers, in the order of the file.
pub(super) fn receivers(state: &ControlState) -> Value {
    state.notify.receivers().iter().map(receiver).collect()
}

fn receiver(standing: &ReceiverStanding) -> Value {
    let ReceiverStanding {
        name,
        kind,
        is_for_all,
        rollouts,
        pending,
        oldest,
        next_try_ms,
        sent,
        failed,
        dropped,
        last_sent,
        error,
        alerts,
    } = standing;
    json!({
        "name": name,
        "kind": kind,
        "for_all": is_for_all,
        "rollouts": rollouts,
        "pending": pending,
        "oldest": oldest,
        "next_try": next_try_ms.map(|at| time(Duration::from_millis(at))),
        "sent": sent,
        "failed": failed,
        "dropped": dropped,
        "last_sent": last_sent,
        "error": error,
        "alerts": alerts,
    })
}

/// The schemas by name; `text` is that of a text with a bound.
pub(super) fn notify_schemas(text: fn(usize) -> Value) -> Value {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let since = |what: &str| json!({ "type": "integer", "minimum": 0, "description": format!("{what} since the process started.") });
    let at = |what: &str| json!({ "type": ["string", "null"], "description": what });
    let list = |schema: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{schema}") } });
    json!({
        "Notify": {
            "type": "object",
            "required": ["receivers"],
            "properties": { "receivers": list("Receiver") },
        },
        "Receiver": {
            "type": "object",
            "required": ["name", "kind", "for_all", "rollouts", "pending", "sent", "failed", "dropped"],
            "properties": {
                "name": { "type": "string", "description": "Kind and host; without credentials." },
                "kind": { "enum": ["webhook", "slack", "alertmanager"] },
                "for_all": { "type": "boolean", "description": "It gets every message." },
                "rollouts": { "type": "array", "items": { "type": "string" }, "description": "Those that name it." },
                "pending": { "type": "integer", "minimum": 0, "description": "Messages that wait." },
                "oldest": at("Of when the oldest is that waits."),
                "next_try": at("When the next try is."),
                "sent": since("Messages that arrived"),
                "failed": since("Tries that failed"),
                "dropped": since("Messages that were given up"),
                "last_sent": at("When one arrived last."),
                "error": at("Why the last try failed; null since one arrived."),
                "alerts": count(),
            },
        },
        "NotifyTest": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "receiver": text(NAME_CHARS_MAX) },
        },
        "NotifyTestOutcome": {
            "type": "object",
            "required": ["arrived", "receivers"],
            "properties": {
                "arrived": { "type": "boolean", "description": "At all of them." },
                "receivers": list("ReceiverTest"),
            },
        },
        "ReceiverTest": {
            "type": "object",
            "required": ["receiver", "arrived", "status", "took_ms", "error"],
            "properties": {
                "receiver": { "type": "string" },
                "arrived": { "type": "boolean" },
                "status": { "type": ["integer", "null"], "description": "The status of its answer." },
                "took_ms": { "type": "number" },
                "error": { "type": ["string", "null"] },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_has_all_fields() {
        let standing = ReceiverStanding {
            name: "webhook:a".to_owned(),
            kind: "webhook",
            pending: 2,
            next_try_ms: Some(1_000),
            ..ReceiverStanding::default()
        };
        let value = receiver(&standing);
        assert_eq!(value["next_try"], "1970-01-01T00:00:01.000Z");
        assert_eq!((&value["pending"], &value["error"]), (&json!(2), &Value::Null));
        let schemas = notify_schemas(|_| Value::Null);
        let documented = schemas["Receiver"]["properties"].as_object().expect("an object");
        assert!(value.as_object().expect("an object").keys().eq(documented.keys()), "{value:#}");
    }
}
