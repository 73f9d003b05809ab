//! The schemas of the `OpenAPI` document: JSON Schema 2020-12.

use serde_json::{Value, json};

use super::fields::{EMPTY_LETTERS, KEY_CHARS_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX, SEQ_MAX};
use super::history::history_schemas;
use super::journal::RECORDS_MAX;
use super::limits::limit_schemas;
use super::notify_json::notify_schemas;
use super::problem::ProblemKind;
use super::release_schemas::release_schemas;
use super::rollout_schemas::rollout_schemas;
use super::session_schemas::session_schemas;
use super::upstream_schemas::upstream_schemas;

/// A text without control characters, with a letter that shows something.
fn text_pattern() -> String {
    let escaped = |letter: char| {
        // Letters above are written as they are: dialects differ in how such a one is escaped.
        if letter < '\u{10000}' { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() }
    };
    let ranges = EMPTY_LETTERS.iter().map(|[first, last]| [escaped(*first), escaped(*last)].join("-"));
    let empty = ranges.collect::<String>();
    let printable = "[^\\u0000-\\u001f\\u007f-\\u009f]*";
    format!("^{printable}[^{empty}]{printable}$")
}

/// All schemas by name.
pub(super) fn schemas() -> Value {
    let mut all = json!({
        "Text": { "type": "string" },
        "Sequence": { "type": "integer", "minimum": 0, "maximum": SEQ_MAX },
        "Limit": { "type": "integer", "minimum": 1, "maximum": RECORDS_MAX },
        "Name": text(NAME_CHARS_MAX),
        "Reason": text(REASON_CHARS_MAX),
        "IdempotencyKey": { "type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[\\x21-\\x7e]+$" },
        "Problem": problem(),
        "ReloadOutcome": {
            "type": "object",
            "required": ["outcome"],
            "properties": {
                "outcome": { "enum": ["unchanged", "applied", "rejected"] },
                "generation": { "type": "integer" },
                "summary": { "type": "array", "items": { "type": "string" } },
                "diagnostics": { "type": "array", "items": { "type": "object" } },
                "text": { "type": "string" },
                "last_change": { "type": "object" },
                "seq": { "type": ["integer", "null"], "description": "The number of its record." },
            },
        },
    });
    let parts = [
        bodies(),
        records(),
        outcomes(),
        tables(),
        upstream_schemas(),
        limit_schemas(),
        release_schemas(),
        rollout_schemas(text),
        history_schemas(),
        notify_schemas(text),
        session_schemas(),
        config(),
    ];
    for part in parts {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part) {
            all.extend(part);
        }
    }
    all
}

fn problem() -> Value {
    let types: Vec<String> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail", "help"],
        "properties": {
            "type": { "enum": types },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "This case of it." },
            "help": { "type": "string", "description": "What to do." },
            "field": { "type": "string", "description": "The field of the body that is wrong." },
            "similar": { "type": "string", "description": "A similar name." },
            "known": { "type": "array", "items": { "type": "string" }, "description": "The names that there are." },
            "place": { "type": "string", "description": "File and line." },
            "role": { "type": "string", "description": "The role that is missing." },
            "rollout": { "type": "string", "description": "The rollout that does not take the act." },
            "awaited": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The roles that it waits for, each with those who may fill it.",
            },
            "blocks": {
                "type": "array",
                "description": "What stands in the way, the first one first.",
                "items": { "$ref": "#/components/schemas/Block" },
            },
            "records": {
                "type": "array",
                "description": "What was decided since `expect`.",
                "items": { "$ref": "#/components/schemas/Record" },
            },
        },
    })
}

fn text(chars_max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": chars_max, "pattern": text_pattern() })
}

/// The fields that name a scope, and the rule that exactly one of them is set.
fn scope_body(fields: Value) -> Value {
    let variant =
        "^[^:\\u0000-\\u0020\\u007f-\\u009f][^:\\u0000-\\u001f\\u007f-\\u009f]*:[^\\u0000-\\u001f\\u007f-\\u009f]*$";
    let mut properties = json!({
        "all": { "const": true },
        "route": text(NAME_CHARS_MAX),
        "variant": { "type": "string", "minLength": 2, "maxLength": NAME_CHARS_MAX, "pattern": variant },
        "rollout": text(NAME_CHARS_MAX),
        "tenant": text(NAME_CHARS_MAX),
        "shadow": text(NAME_CHARS_MAX),
        "reason": text(REASON_CHARS_MAX),
        "expect": {
            "$ref": "#/components/schemas/Sequence",
            "description": "The last sequence number that the caller saw; later records are a conflict.",
        },
    });
    if let (Value::Object(all), Value::Object(fields)) = (&mut properties, fields) {
        all.extend(fields);
    }
    let scopes = ["all", "route", "variant", "rollout", "tenant", "shadow"];
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reason"],
        "properties": properties,
        "oneOf": scopes.map(|scope| json!({ "required": [scope] })),
    })
}

fn bodies() -> Value {
    json!({
        "Kill": scope_body(json!({
            "close_streams": {
                "type": "string",
                "description": "Close streams in the scope after this long, such as `5s`; at most `24h`; `0s` leaves them open. Without it, `kill.close_streams` of the file applies.",
                "pattern": "^(0s|[1-9][0-9]{0,2}(ms|s|m)|([1-9]|1[0-9]|2[0-4])h)$",
            },
        })),
        "Revive": scope_body(json!({
            "resume": {
                "type": "boolean",
                "description": "Resume the rollout of the scope after it.",
            },
        })),
        "Reload": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "reason": text(REASON_CHARS_MAX) },
        },
        "ConfigText": {
            "type": "object",
            "additionalProperties": false,
            "required": ["toml"],
            "properties": { "toml": { "type": "string" } },
        },
    })
}

fn records() -> Value {
    json!({
        "Scope": {
            "type": "object",
            "description": "Exactly one of the fields.",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "all": { "const": true },
                "route": { "type": "string" },
                "variant": { "type": "string", "description": "`ROUTE:VARIANT`" },
                "rollout": { "type": "string" },
                "tenant": { "type": "string" },
                "shadow": { "type": "string", "description": "The route." },
            },
        },
        "Actor": {
            "type": "object",
            "required": ["name", "via"],
            "properties": {
                "name": { "type": "string" },
                "via": { "enum": ["socket", "token", "certificate", "loopback", "file", "signal", "process", "guard"] },
            },
        },
        "Record": {
            "type": "object",
            "required": ["v", "seq", "at", "who", "what", "config", "generation", "prev"],
            "properties": {
                "v": { "type": "integer" },
                "seq": { "type": "integer", "minimum": 1 },
                "at": { "type": "string" },
                "who": { "$ref": "#/components/schemas/Actor" },
                "what": { "enum": ["start", "reload", "kill", "revive", "refused", "endpoint", "release", "rollout", "checkpoint"] },
                "act": {
                    "type": "string",
                    "description": "Of an endpoint, a release or a rollout: what was done with it.",
                },
                "release": { "type": "string", "description": "`ROUTE:VARIANT`" },
                "rollout": { "type": "string" },
                "stage": { "type": "string", "description": "Of a rollout: the stage after the decision." },
                "from": { "type": "number", "description": "Of a rollout: the weight before, in percent." },
                "to": { "type": "number", "description": "Of a rollout: the weight that it leads to, in percent." },
                "role": { "type": "string", "description": "The role of an approval." },
                "revision": { "type": "string" },
                "because": { "type": "string" },
                "evidence": { "description": "The counts by which `journal --replay` decides again." },
                "reason": { "type": "string" },
                "key": { "type": "object" },
                "config": { "type": "string" },
                "generation": { "type": "integer" },
                "prev": { "type": "string" },
            },
        },
    })
}

fn outcomes() -> Value {
    json!({
        "ActOutcome": {
            "type": "object",
            "required": ["record", "in_force_ms", "workers_in_force", "workers", "durable", "repeated", "killed"],
            "properties": {
                "record": { "$ref": "#/components/schemas/Record" },
                "in_force_ms": {
                    "type": ["number", "null"],
                    "description": "From the arrival of the call until all workers used it.",
                },
                "workers_in_force": { "type": "integer" },
                "workers": { "type": "integer" },
                "durable": { "type": "boolean", "description": "Whether the record is on the disk." },
                "not_durable_because": { "type": ["string", "null"] },
                "repeated": { "type": "boolean", "description": "The same call was made before." },
                "killed": { "type": "boolean", "description": "The scope is killed now, by people or by the file." },
                "still_killed_by": { "type": ["string", "null"] },
                "resumed": {
                    "description": "Of a revive with `resume`: what the resume did.",
                    "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/ActOutcome" }],
                },
                "resume_problem": {
                    "description": "Why it was not resumed; the revive holds.",
                    "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Problem" }],
                },
            },
        },
        "JournalPage": {
            "type": "object",
            "required": ["seq", "durable_seq", "next_after", "records"],
            "properties": {
                "seq": { "type": "integer" },
                "durable_seq": { "type": "integer" },
                "next_after": { "type": ["integer", "null"], "description": "`after` of the next page." },
                "records": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
            },
        },
        "KillList": {
            "type": "object",
            "required": ["seq", "durable_seq", "kills"],
            "properties": {
                "seq": { "type": "integer" },
                "durable_seq": { "type": "integer" },
                "kills": { "type": "array", "items": {
                    "type": "object",
                    "required": ["scope", "source", "matches"],
                    "properties": {
                        "scope": { "$ref": "#/components/schemas/Scope" },
                        "source": { "enum": ["file", "call"] },
                        "matches": { "type": "boolean", "description": "The configuration has it." },
                        "place": { "type": "string" },
                        "who": { "$ref": "#/components/schemas/Actor" },
                        "reason": { "type": "string" },
                        "at": { "type": "string" },
                        "seq": { "type": "integer" },
                        "durable": { "type": "boolean" },
                        "close_streams_ms": { "type": "integer" },
                    },
                } },
            },
        },
    })
}

/// An object that has at least these members.
fn object(required: &[&str]) -> Value {
    json!({ "type": "object", "required": required })
}

fn tables() -> Value {
    json!({
        "Status": object(&["version", "generation", "phase", "ready", "listeners", "routes", "upstreams"]),
        "Routes": object(&["generation", "routes"]),
        "Shadows": object(&["routes"]),
        "Experiments": object(&["generation", "experiments"]),
        "Explanation": { "type": "object" },
        "OpenApi": object(&["openapi", "info", "paths", "components"]),
    })
}

fn config() -> Value {
    json!({
        "Config": object(&["generation", "hash", "file", "files", "applied_at", "last_reload"]),
        "ConfigCheck": {
            "type": "object",
            "required": ["valid", "generation", "diagnostics", "text", "summary", "what_if"],
            "properties": {
                "valid": { "type": "boolean" },
                "generation": { "type": "integer", "description": "The generation that it is compared with." },
                "diagnostics": { "type": "array", "items": { "type": "object" } },
                "text": { "type": "string", "description": "The diagnostics as text." },
                "summary": { "type": ["array", "null"], "items": { "type": "string" } },
                "what_if": { "type": ["object", "null"] },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::control::admin::fields::check_text;

    #[test]
    fn the_pattern_of_texts_is_what_the_calls_accept() {
        let pattern = Regex::new(&text_pattern()).expect("a pattern");
        for letter in ('\0'..='\u{ffff}').chain('\u{1bc00}'..='\u{1d2ff}').chain('\u{e0000}'..='\u{e1000}') {
            let text = letter.to_string();
            assert_eq!(pattern.is_match(&text), check_text("reason", &text, 1).is_ok(), "{:x}", u32::from(letter));
            assert!(!letter.is_whitespace() || !pattern.is_match(&text), "{:x}", u32::from(letter));
        }
    }
}
