//! The records of the journal about a rollout or the release of a static weight, from the memory of records.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::kills;
use crate::control::state::ControlState;
use crate::journal::{Deed, Record};

/// The most records of one release.
const RECORDS_MAX: usize = 50;

/// The newest records about a release, newest first.
pub(super) fn of(state: &ControlState, name: &str) -> Vec<Value> {
    let recent = recent(state);
    let own = recent.iter().rev().filter(|record| is_about(record, name));
    own.take(RECORDS_MAX).map(|record| shown(record)).collect()
}

/// By release: its newest record.
pub(super) fn newest_by_release(state: &ControlState, names: &[&str]) -> Map<String, Value> {
    let recent = recent(state);
    let mut newest: HashMap<&str, &Record> = HashMap::new();
    for record in recent.iter().rev() {
        if let Some(name) = subject(record) {
            newest.entry(name).or_insert(record);
        }
    }
    names.iter().filter_map(|name| Some(((*name).to_owned(), shown(newest.get(name)?)))).collect()
}

fn recent(state: &ControlState) -> Vec<Arc<Record>> {
    let before = state.release.oldest_seq().map_or(0, |oldest| oldest.saturating_sub(1));
    state.release.records_after(before).unwrap_or_default()
}

/// The release that a decision is about.
fn subject(record: &Record) -> Option<&str> {
    match &record.what {
        Deed::Release(deed) => Some(&deed.release),
        Deed::Rollout(deed) => Some(&deed.rollout),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Checkpoint { .. } => None,
    }
}

/// Whether a record is a decision about the release, or a kill of it.
fn is_about(record: &Record, name: &str) -> bool {
    match &record.what {
        Deed::Kill { scope, .. } | Deed::Revive { scope } | Deed::Refused { scope, .. } => {
            let scope = serde_json::to_value(scope).unwrap_or_default();
            scope["variant"] == name || scope["rollout"] == name
        }
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Release(_)
        | Deed::Rollout(_)
        | Deed::Endpoint { .. }
        | Deed::Checkpoint { .. } => subject(record) == Some(name),
    }
}

/// A record without the counts by which it can be decided again, which are long.
fn shown(record: &Record) -> Value {
    let mut value = kills::record(record);
    if let Some(members) = value.as_object_mut() {
        members.shift_remove("evidence");
        members.shift_remove("state");
    }
    value
}
