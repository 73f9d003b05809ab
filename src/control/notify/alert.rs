//! An alert as Alertmanager knows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NotifyAlert {
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub description: String,
    /// What to do next: commands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub todo: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub starts_ms: u64,
    /// When it ended, in milliseconds since the Unix epoch; `None`: it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<u64>,
    /// It is an event without an end: it is there for a short time.
    #[serde(default)]
    pub is_brief: bool,
}
