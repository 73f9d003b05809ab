//! Releases as the admin listener lists them. Their text is untrusted: control characters are escaped.

use serde_json::Value;

use crate::compare::escape_controls;

/// The length of a bar of evidence, in letters.
const BAR: usize = 10;

/// A release.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReleaseRow {
    /// `route:variant`.
    pub name: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// The state in words, such as `rolled back`.
    pub state: String,
    /// `upstream=revision`.
    pub revision: String,
    /// As it is set, in percent.
    pub weight: f64,
    /// `2026-11-29 14:03:10Z`; empty while nothing has happened.
    pub since: String,
    /// The number of the record in the journal.
    pub seq: Option<u64>,
    /// The record is not on the disk.
    pub is_forgotten: bool,
    /// The state and why, in one line.
    pub says: String,
    /// What would end it, in one line; may be empty.
    pub unblock: String,
    /// The guard that is closest to its threshold.
    pub closest: Option<GuardRow>,
    /// All guards, where they were asked for.
    pub guards: Vec<GuardRow>,
}

/// How urgently a release needs a person; the most urgent one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A rollback has no target: callers get errors now.
    NoTarget,
    /// Rolled back, or held at 0.
    Stopped,
    /// People are asked to approve.
    Asked,
    /// A guard warns.
    Warned,
    /// Nothing is to be done.
    #[default]
    Calm,
}

/// A guard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardRow {
    /// The name.
    pub name: String,
    /// `rollback`, `hold` or `warn`.
    pub act: String,
    /// The state in words.
    pub state: String,
    /// The decimal logarithm of the evidence.
    pub evidence: f64,
    /// The one at which it trips.
    pub threshold: f64,
    /// What it tests.
    pub test: String,
    /// The probability of a false alarm.
    pub alpha: Option<f64>,
    /// The ratio with its interval, such as `3.1 × (1.9 to 5.2)`; may be empty.
    pub ratio: String,
    /// What it has seen, in one sentence.
    pub says: String,
    /// The time from which a response is slow, in milliseconds.
    pub slow_after_ms: Option<f64>,
}

impl ReleaseRow {
    /// Reads a release.
    #[must_use]
    pub fn read(release: &Value) -> Self {
        let state = text(&release["state"]);
        let because = text(&release["because"]);
        let urgency = match (state.as_str(), because.as_str()) {
            ("held", "no rollback target") => Urgency::NoTarget,
            ("rolled_back" | "held", _) => Urgency::Stopped,
            ("warned", _) => Urgency::Warned,
            _ => Urgency::Calm,
        };
        let words = state.replace('_', " ");
        Self {
            name: text(&release["name"]),
            urgency,
            state: if because.is_empty() { words } else { format!("{words}: {because}") },
            revision: text(&release["revision"]),
            weight: release["weight"].as_f64().unwrap_or(0.0),
            since: moment(&release["at"]),
            seq: release["seq"].as_u64(),
            is_forgotten: release["durable"] == false,
            says: text(&release["says"]),
            unblock: text(&release["unblock"]),
            closest: release["closest"].is_object().then(|| GuardRow::read(&release["closest"])),
            guards: release["guards"].as_array().into_iter().flatten().map(GuardRow::read).collect(),
        }
    }

    /// The releases of a page, those that need a person first.
    pub fn sorted(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_by(|a, b| (a.urgency, &a.name).cmp(&(b.urgency, &b.name)));
        all
    }

    /// In one sentence: `checkout:canary rolled back by errors, since 2026-11-29 14:03:10Z: …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let since = if self.since.is_empty() { String::new() } else { format!(", since {}", self.since) };
        let forgotten = if self.is_forgotten { " [NOT RECORDED: a restart forgets it]" } else { "" };
        format!("{}{since}: {}{forgotten}", self.name, self.says)
    }
}

impl GuardRow {
    /// Reads a guard.
    #[must_use]
    pub fn read(guard: &Value) -> Self {
        let ratio = &guard["ratio"];
        let figure = |key: &str| ratio[key].as_f64().map(short);
        let ratio = figure("estimate").map(|estimate| match (figure("lower"), figure("upper")) {
            (Some(lower), Some(upper)) => format!("{estimate} × ({lower} to {upper})"),
            (Some(lower), None) => format!("{estimate} × ({lower} or more)"),
            (None, Some(upper)) => format!("{estimate} × ({upper} or less)"),
            (None, None) => format!("{estimate} ×"),
        });
        Self {
            name: text(&guard["name"]),
            act: text(&guard["act"]),
            state: text(&guard["state"]).replace('_', " "),
            evidence: guard["evidence_log10"].as_f64().unwrap_or(0.0),
            threshold: guard["threshold_log10"].as_f64().unwrap_or(0.0),
            test: text(&guard["test"]),
            alpha: guard["alpha"].as_f64(),
            ratio: ratio.unwrap_or_default(),
            says: text(&guard["says"]),
            slow_after_ms: guard["slow_after_ms"].as_f64(),
        }
    }

    /// The evidence as a bar against the threshold: `███▌░░░░░░ 0.9 of 2.5`.
    #[must_use]
    pub fn bar(&self) -> String {
        let Self { evidence, threshold, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a bar has few letters")]
        let filled = if *threshold > 0.0 { (evidence / threshold).clamp(0.0, 1.0) * BAR as f64 } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let filled = filled as usize;
        // What is small and negative is nothing.
        let evidence = if evidence.abs() < 0.05 { 0.0 } else { *evidence };
        format!("{}{} {evidence:.1} of {threshold:.1}", "█".repeat(filled), "░".repeat(BAR - filled))
    }
}

/// To three digits.
fn short(figure: f64) -> String {
    if figure < 0.995 {
        format!("{figure:.2}")
    } else if figure < 99.5 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.0}")
    }
}

/// A time of RFC 3339 as `2026-11-29 14:03:10Z`; empty for none.
pub(super) fn moment(at: &Value) -> String {
    let at = text(at);
    let at = at.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ");
    if at.is_empty() { at } else { format!("{at}Z") }
}

/// A text without control characters.
pub(super) fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(state: &str, because: Option<&str>) -> Value {
        json!({ "name": format!("shop:{state}"), "state": state, "because": because, "at": "2026-11-29T14:03:10.123Z",
            "durable": false, "says": "rolled back by errors\u{1b}" })
    }

    #[test]
    fn those_that_need_a_person_come_first() {
        let all = [
            release("watching", None),
            release("warned", None),
            release("rolled_back", None),
            release("held", Some("canary down")),
            release("held", Some("no rollback target")),
        ];
        let sorted = ReleaseRow::sorted(all.iter().map(ReleaseRow::read).collect());
        let states: Vec<&str> = sorted.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, ["held: no rollback target", "held: canary down", "rolled back", "warned", "watching"]);
        assert_eq!(
            sorted[2].sentence(),
            "shop:rolled_back, since 2026-11-29 14:03:10Z: rolled back by errors\\u{1b} [NOT RECORDED: a restart forgets it]"
        );
        assert_eq!(ReleaseRow::read(&json!({})), ReleaseRow::default());
    }

    #[test]
    fn bars_end_at_the_threshold() {
        let bar = |evidence: f64, threshold: f64| GuardRow { evidence, threshold, ..GuardRow::default() }.bar();
        for (evidence, text) in [
            (-0.3, "░░░░░░░░░░ -0.3 of 2.5"),
            (-0.01, "░░░░░░░░░░ 0.0 of 2.5"),
            (1.25, "█████░░░░░ 1.2 of 2.5"),
            (2.49, "█████████░ 2.5 of 2.5"),
            (40.0, "██████████ 40.0 of 2.5"),
        ] {
            assert_eq!(bar(evidence, 2.5), text);
        }
        assert_eq!(bar(1.0, 0.0), "░░░░░░░░░░ 1.0 of 0.0");
    }

    #[test]
    fn ratios_have_their_interval() {
        let ratio = |lower: Option<f64>, upper: Option<f64>| {
            GuardRow::read(&json!({ "ratio": { "estimate": 3.12, "lower": lower, "upper": upper } })).ratio
        };
        assert_eq!(ratio(Some(1.94), Some(512.4)), "3.1 × (1.9 to 512)");
        assert_eq!(ratio(Some(0.5), None), "3.1 × (0.50 or more)");
        assert_eq!(ratio(None, Some(5.0)), "3.1 × (5.0 or less)");
        assert_eq!(GuardRow::read(&json!({ "ratio": null })).ratio, "");
    }
}
