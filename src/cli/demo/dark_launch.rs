//! The findings of the demo's dark launch, reported once each, read from `/shadow`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::compare::escape_controls;

/// Bound on the time of a page. A key waits while pages are read, two each second at most.
pub(super) const PAGE_PATIENCE: Duration = Duration::from_millis(450);

/// The findings reported so far.
#[derive(Debug)]
pub(super) struct DemoFindings {
    admin: AdminEndpoint,
    reported: BTreeSet<String>,
}

impl DemoFindings {
    /// Of the report of this proxy.
    pub(super) fn new(admin: AdminEndpoint) -> Self {
        Self { admin, reported: BTreeSet::new() }
    }

    /// What was found since the last call, a line each. Nothing without an answer.
    pub(super) async fn news(&mut self) -> Vec<String> {
        let asked = self.admin.ask("/shadow", FetchOptions::within(PAGE_PATIENCE)).await;
        asked.ok().and_then(|answer| answer.json()).map(|page| self.take(&page)).unwrap_or_default()
    }

    fn take(&mut self, page: &Value) -> Vec<String> {
        let routes = page["routes"].as_array().into_iter().flatten();
        let fields = routes.flat_map(|route| {
            let fields = route["comparison"]["fields"].as_array().into_iter().flatten();
            fields.map(move |field| (route["upstream"].as_str().unwrap_or("?"), field))
        });
        let mut found_now = BTreeSet::new();
        let mut news = Vec::new();
        for (upstream, field) in fields {
            let path = field["path"].as_str().unwrap_or("?");
            let found = match field["verdict"].as_str() {
                Some("confirmed") => "really differs",
                Some("noisy") => "is noise",
                Some(_) | None => continue,
            };
            let line = format!("dark launch of {upstream}: {path} {found}");
            if found_now.insert(line.clone()) && !self.reported.contains(&line) {
                news.push(escape_controls(&format!("{line}{}", detail(field))).into_owned());
            }
        }
        // A finding that is gone counts as new again: a new comparison starts without evidence.
        self.reported = found_now;
        news
    }
}

/// `: 23 of 71 copies, such as 420 → 441`.
fn detail(field: &Value) -> String {
    let count = |of: &Value| format!("{} of {}", of["different"], of["of"]);
    if field["verdict"] == "noisy" {
        return format!(": two responses of the old version differ there too ({} controls)", count(&field["control"]));
    }
    let sample = field["samples"].as_array().and_then(|samples| samples.last());
    let side = |name: &str| sample.and_then(|sample| sample[name].as_str()).unwrap_or("?").to_owned();
    format!(": {} copies, such as {} → {}", count(&field["candidate"]), side("primary"), side("candidate"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::admin::{AdminPlace, Credentials};

    #[test]
    fn findings_are_reported_once() {
        let field = |path: &str, verdict: &str, samples: Value| {
            json!({ "path": path, "verdict": verdict, "candidate": { "different": 23, "of": 71 },
                "control": { "different": 34, "of": 35 }, "samples": samples })
        };
        let page = |fields: &[Value]| json!({ "routes": [{ "upstream": "v3", "comparison": { "fields": fields } }] });
        let (price, id) = (field("$.price", "confirmed", json!([{ "primary": "420", "candidate": "441" }])), "$.id");
        let mut findings =
            DemoFindings::new(AdminEndpoint::at(AdminPlace::named("1").unwrap(), Credentials::default()));
        assert!(findings.take(&json!({ "routes": [] })).is_empty());
        assert!(findings.take(&page(&[field(id, "unknown", json!([]))])).is_empty());
        let all = page(&[price.clone(), field(id, "noisy", json!([]))]);
        assert_eq!(
            findings.take(&all),
            [
                "dark launch of v3: $.price really differs: 23 of 71 copies, such as 420 → 441",
                "dark launch of v3: $.id is noise: two responses of the old version differ there too (34 of 35 controls)",
            ]
        );
        assert!(findings.take(&all).is_empty(), "once");
        let hostile = field("$.\u{1b}c", "confirmed", json!([{ "primary": "\u{1b}[2J", "candidate": "\u{202e}" }]));
        let news = findings.take(&page(&[hostile])).concat();
        assert!(news.contains("$.\\u{1b}c really") && news.ends_with("\\u{1b}[2J → \\u{202e}"), "{news}");
        assert!(findings.take(&page(&[])).is_empty());
        assert_eq!(findings.take(&page(&[price])).len(), 1, "and again when the evidence began anew");
    }
}
