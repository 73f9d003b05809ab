//! The message to Alertmanager: a list of alerts, as version 2 of its API takes it.

use serde_json::{Value, json};

use super::alert::NotifyAlert;
use crate::journal::rfc3339;

/// How long an alert that is there stays when it is not repeated, in milliseconds.
const STAYS_MS: u64 = 4 * 60 * 1_000;
/// How long an event without an end is there, in milliseconds.
const BRIEF_MS: u64 = 5 * 60 * 1_000;
/// Where alerts are posted.
const ALERTS: &str = "/api/v2/alerts";

/// The message, sent at this time in milliseconds since the Unix epoch.
pub(super) fn alertmanager_body(alerts: &[NotifyAlert], host: &str, now_ms: u64) -> Value {
    let at = |ms: u64| rfc3339(std::time::Duration::from_millis(ms));
    let one = |alert: &NotifyAlert| {
        let mut labels = alert.labels.clone();
        if !host.is_empty() {
            labels.insert("instance".to_owned(), host.to_owned());
        }
        let mut annotations = json!({ "summary": alert.summary, "description": alert.description });
        if !alert.todo.is_empty() {
            annotations["do"] = json!(alert.todo);
        }
        let stays = if alert.is_brief { BRIEF_MS } else { STAYS_MS };
        let ends = alert.ends_ms.unwrap_or(now_ms + stays).max(alert.starts_ms);
        json!({ "labels": labels, "annotations": annotations, "startsAt": at(alert.starts_ms), "endsAt": at(ends) })
    };
    alerts.iter().map(one).collect()
}

/// The path for alerts at an Alertmanager with this path, which may have its own query.
pub(super) fn alerts_path(path: &str) -> String {
    let (prefix, query) = path.split_once('?').map_or((path, ""), |(prefix, query)| (prefix, query));
    let prefix = prefix.trim_end_matches('/');
    let prefix = prefix.strip_suffix(ALERTS).unwrap_or(prefix);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{prefix}{ALERTS}{query}")
}
