//! Kills, records and outcomes of acts as JSON.

use serde_json::{Value, json};

use crate::control::release::{ActOutcome, KillInForce, KillSource};
use crate::control::state::ControlState;
use crate::journal::{Record, ScopeFields};

/// What is killed, with the state of the journal.
pub(super) fn kills(state: &ControlState) -> Value {
    let health = state.release.health();
    json!({
        // A record that was shown a moment ago counts: who has seen it may name it in `expect`.
        "seq": state.release.last_seq(),
        "durable_seq": health.durable_seq,
        "kills": state.release.kills().iter().map(kill).collect::<Vec<_>>(),
    })
}

/// One kill.
pub(super) fn kill(kill: &KillInForce) -> Value {
    let mut value = json!({
        "scope": ScopeFields::from(&kill.scope),
        "matches": kill.matches,
    });
    match &kill.source {
        KillSource::File(place) => {
            value["source"] = json!("file");
            value["place"] = json!(format!("{}:{}", place.file, place.line));
        }
        KillSource::Call { who, reason, at, seq, durable, close_streams } => {
            value["source"] = json!("call");
            value["who"] = json!(who);
            value["reason"] = json!(reason);
            value["at"] = json!(at);
            value["seq"] = json!(seq);
            value["durable"] = json!(durable);
            if let Some(after) = close_streams {
                value["close_streams_ms"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }
    value
}

/// A record of the journal.
pub(super) fn record(record: &Record) -> Value {
    // A record has string keys and finite numbers only: this cannot fail.
    serde_json::to_value(record).unwrap_or_default()
}

/// Milliseconds without what is smaller than a microsecond.
fn to_microseconds(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// The outcome of an act.
pub(super) fn outcome(outcome: &ActOutcome) -> Value {
    json!({
        "record": record(&outcome.record),
        "in_force_ms": outcome.in_force_ms.map(to_microseconds),
        "workers_in_force": outcome.workers_in_force,
        "workers": outcome.workers,
        "durable": outcome.durable,
        "not_durable_because": outcome.not_durable_because,
        "repeated": outcome.repeated,
        "killed": outcome.killed,
        "still_killed_by": outcome.still_killed_by.as_ref().map(|place| format!("{}:{}", place.file, place.line)),
    })
}
