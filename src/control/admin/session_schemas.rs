//! The schemas of sessions, and of the bodies that begin and end one.

use serde_json::{Value, json};

/// The longest token or link in a body, in letters.
const SECRET_CHARS_MAX: usize = 512;

/// The schemas by name.
pub(super) fn session_schemas() -> Value {
    let secret = json!({ "type": "string", "minLength": 1, "maxLength": SECRET_CHARS_MAX });
    json!({
        "Session": session(),
        "SignIn": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "token": secret, "link": secret },
            "oneOf": [{ "required": ["token"] }, { "required": ["link"] }],
        },
        "NoFields": { "type": "object", "additionalProperties": false },
        "SessionLink": {
            "type": "object",
            "required": ["path", "expires_in_s", "name"],
            "properties": {
                "path": { "type": "string", "description": "On this listener; the link is in the fragment." },
                "expires_in_s": { "type": "integer" },
                "name": { "type": "string", "description": "As whom it signs in." },
            },
        },
        "SessionEnd": {
            "type": "object",
            "required": ["ended"],
            "properties": { "ended": { "type": "boolean", "description": "There was a session." } },
        },
    })
}

fn session() -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object",
        "description": "Who calls, and what they may do.",
        "required": ["name", "via", "has_session", "expires_at", "roles", "may"],
        "properties": {
            "name": { "type": ["string", "null"], "description": "Null: reading is open, and the caller has no identity." },
            "via": { "enum": ["socket", "token", "certificate", "loopback"] },
            "has_session": { "type": "boolean", "description": "The call comes by the cookie of a session." },
            "expires_at": { "type": ["string", "null"], "description": "When the session ends: RFC 3339." },
            "roles": texts,
            "may": {
                "type": "object",
                "required": ["read", "reload", "operate", "approve"],
                "properties": {
                    "read": { "type": "boolean" },
                    "reload": { "type": "boolean" },
                    "operate": { "type": "boolean", "description": "Kill, hold, roll back and the like." },
                    "approve": {
                        "type": "array",
                        "items": { "type": "string" },
                        "description": "The roles as which they approve, of all rollouts.",
                    },
                },
            },
        },
    })
}
