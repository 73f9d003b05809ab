//! Which records are wanted.

use jiff::Timestamp;
use serde_json::Value;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordFilter {
    pub(super) since: Option<Timestamp>,
    pub(super) who: Option<String>,
}

impl RecordFilter {
    /// Whether all records are wanted.
    pub(super) const fn is_open(&self) -> bool {
        self.since.is_none() && self.who.is_none()
    }

    /// Whether this one is. A record without a readable time is.
    pub(super) fn wants(&self, record: &Value) -> bool {
        let at = record["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let is_recent = self.since.zip(at).is_none_or(|(since, at)| at >= since);
        is_recent && self.who.as_ref().is_none_or(|who| record["who"]["name"] == who.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_filtered_by_time_and_actor() {
        let record = json!({ "at": "2026-11-29T14:00:00.000Z", "who": { "name": "ana" } });
        let filter =
            |since: &str, who: Option<&str>| RecordFilter { since: since.parse().ok(), who: who.map(str::to_owned) };
        assert!(RecordFilter::default().is_open() && RecordFilter::default().wants(&record));
        assert!(filter("2026-11-29T14:00:00Z", Some("ana")).wants(&record));
        assert!(!filter("2026-11-29T14:00:00.001Z", None).wants(&record));
        assert!(!filter("", Some("an")).wants(&record));
        assert!(filter("2026-11-29T14:00:00Z", None).wants(&json!({ "at": "?" })));
    }
}
