//! The release of the demo's canary: how its guards stand, and its rollback in words.

use std::time::Duration;

use serde_json::Value;

use super::service::{DemoFault, Switch};
use crate::compare::escape_controls;

/// Its name.
pub(super) const RELEASE: &str = "shop:canary";

/// What the proxy says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DemoRelease {
    /// `watching`, `warned`, `held` or `rolled_back`; empty where no guard watches.
    state: String,
    /// The state and why, in one line.
    says: String,
    /// The guard that has tripped.
    by: String,
    /// When, by the wall clock.
    at: Option<Duration>,
}

impl DemoRelease {
    /// Reads it from the list of releases.
    pub(super) fn parse(releases: &Value) -> Self {
        let found = releases.as_array().and_then(|all| all.iter().find(|release| release["name"] == RELEASE));
        let Some(release) = found else { return Self::default() };
        let text = |name: &str| escape_controls(release[name].as_str().unwrap_or_default()).into_owned();
        let at = release["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok()).map(Duration::from_millis);
        Self { state: text("state"), says: text("says"), by: text("by"), at }
    }

    /// Whether guards watch it.
    pub(super) const fn is_guarded(&self) -> bool {
        !self.state.is_empty()
    }

    /// Whether a guard has rolled it back.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.state == "rolled_back"
    }

    /// As it is after a person has resumed it.
    pub(super) fn resumed() -> Self {
        Self { state: "watching".to_owned(), ..Self::default() }
    }

    /// What is new since `before`, if anything is.
    pub(super) fn news(&self, before: &Self, switch: &Switch, next: &str) -> Option<String> {
        if self.state == before.state {
            return None;
        }
        match self.state.as_str() {
            "rolled_back" => Some(format!("{}\n  what an operator does now: {next}", self.rollback(switch))),
            "watching" if before.is_rolled_back() => {
                Some("canary resumed: its guards begin without evidence".to_owned())
            }
            "warned" | "held" => Some(format!("canary: {}", self.says)),
            _ => None,
        }
    }

    /// The rollback, since the fault began, and what the guard saw.
    fn rollback(&self, switch: &Switch) -> String {
        let prefix = format!("rolled back by {}: ", self.by);
        let saw = self.says.strip_prefix(&prefix).unwrap_or(&self.says);
        let since = self.at.and_then(|at| at.checked_sub(switch.since())).filter(|_| switch.fault() != DemoFault::Off);
        let after = since.map(|since| {
            let answers = switch.faulty_answers();
            format!(" after {:.1} s and {answers} bad answers", since.as_secs_f64())
        });
        format!("canary rolled back{}, by guard {}: {saw}", after.unwrap_or_default(), self.by)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::rfc3339;

    fn releases(state: &str, at: Duration) -> Value {
        let saw = "errors 48 × stable (7.1 to ∞): 5 of 20 callers, 0 of 180 on stable";
        let (by, at) = ("errors", rfc3339(at));
        json!([
            { "name": "other:canary", "state": "held" },
            { "name": RELEASE, "state": state, "by": by, "at": at, "says": format!("rolled back by {by}: {saw}") },
        ])
    }

    #[test]
    fn a_rollback_says_how_soon_and_by_which_evidence() {
        let switch = Switch::default();
        switch.set(DemoFault::Errors);
        let at = switch.since() + Duration::from_millis(420);
        let (watching, back) =
            (DemoRelease::parse(&releases("watching", at)), DemoRelease::parse(&releases("rolled_back", at)));
        let news = back.news(&watching, &switch, "r resumes it").unwrap();
        assert_eq!(
            news,
            "canary rolled back after 0.4 s and 0 bad answers, by guard errors: errors 48 × stable (7.1 to ∞): 5 of 20 \
             callers, 0 of 180 on stable\n  what an operator does now: r resumes it"
        );
        assert_eq!(back.news(&back, &switch, ""), None, "once");
        switch.set(DemoFault::Off);
        let news = back.news(&watching, &switch, "").unwrap();
        assert!(news.starts_with("canary rolled back, by guard errors: "), "not by a fault of the demo: {news}");
        let resumed = watching.news(&back, &switch, "").unwrap();
        assert!(resumed.contains("resumed"), "{resumed}");
    }

    #[test]
    fn a_release_without_guards_is_no_news() {
        let none = DemoRelease::parse(&json!([{ "name": "other:canary", "state": "rolled_back" }]));
        assert!(!none.is_guarded() && !none.is_rolled_back());
        let watching = DemoRelease::parse(&releases("watching", Duration::ZERO));
        assert!(watching.is_guarded());
        assert_eq!(watching.news(&none, &Switch::default(), ""), None);
        assert_eq!(none.news(&watching, &Switch::default(), ""), None);
        let warned = DemoRelease::parse(&releases("warned", Duration::ZERO));
        assert!(warned.news(&watching, &Switch::default(), "").is_some());
    }
}
