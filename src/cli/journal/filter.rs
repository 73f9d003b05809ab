//! Which records are wanted.

use jiff::Timestamp;
use serde_json::Value;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordFilter {
    pub(super) since: Option<Timestamp>,
    pub(super) who: Option<String>,
    pub(super) rollout: Option<String>,
}

impl RecordFilter {
    /// Whether all records are wanted.
    pub(super) const fn is_open(&self) -> bool {
        self.since.is_none() && self.who.is_none() && self.rollout.is_none()
    }

    /// Whether this one is. A record without a readable time is.
    pub(super) fn wants(&self, record: &Value) -> bool {
        let at = record["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let is_recent = self.since.zip(at).is_none_or(|(since, at)| at >= since);
        is_recent
            && self.who.as_ref().is_none_or(|who| record["who"]["name"] == who.as_str())
            && self.rollout.as_ref().is_none_or(|name| is_about(record, name))
    }
}

/// Whether a record is about this rollout: a decision about it, or a kill of it; or about the release of a static weight.
fn is_about(record: &Value, name: &str) -> bool {
    record["rollout"] == name || record["release"] == name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_filtered_by_time_and_actor() {
        let record = json!({ "at": "2026-11-29T14:00:00.000Z", "who": { "name": "ana" } });
        let filter = |since: &str, who: Option<&str>| RecordFilter {
            since: since.parse().ok(),
            who: who.map(str::to_owned),
            rollout: None,
        };
        assert!(RecordFilter::default().is_open() && RecordFilter::default().wants(&record));
        assert!(filter("2026-11-29T14:00:00Z", Some("ana")).wants(&record));
        assert!(!filter("2026-11-29T14:00:00.001Z", None).wants(&record));
        assert!(!filter("", Some("an")).wants(&record));
        assert!(filter("2026-11-29T14:00:00Z", None).wants(&json!({ "at": "?" })));
    }

    #[test]
    fn records_are_filtered_by_rollout() {
        let filter = RecordFilter { rollout: Some("shop-v2".to_owned()), ..RecordFilter::default() };
        assert!(!filter.is_open());
        for (record, is_wanted) in [
            (json!({ "what": "rollout", "rollout": "shop-v2" }), true),
            (json!({ "what": "kill", "rollout": "shop-v2" }), true),
            (json!({ "what": "release", "release": "shop-v2" }), true),
            (json!({ "what": "rollout", "rollout": "shop-v3" }), false),
            (json!({ "what": "kill", "route": "shop-v2" }), false),
        ] {
            assert_eq!(filter.wants(&record), is_wanted, "{record}");
        }
    }
}
