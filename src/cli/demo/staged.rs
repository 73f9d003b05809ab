//! The rollout of the demo: how it stands, and what is new in words.

use std::time::Duration;

use serde_json::Value;

use super::service::{DemoFault, Switch};
use crate::cli::rollout_row::RolloutRow;

/// Its name.
pub(super) const ROLLOUT: &str = "shop-v2";

/// One look at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StagedLook {
    /// How it stands.
    pub(super) row: RolloutRow,
    /// When it came to its phase, by the wall clock.
    at: Option<Duration>,
    /// When it goes on by itself, by the wall clock.
    pub(super) next: Option<Duration>,
}

impl StagedLook {
    /// Reads it from its page.
    pub(super) fn read(page: &Value) -> Self {
        Self { row: RolloutRow::read(page), at: wall(&page["at"]), next: wall(&page["next"]) }
    }

    /// Whether it gets no requests until a person resumes it.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.row.phase == "rolled_back"
    }

    /// What is new since `before`. `approval` is what a person does who is asked, `repair` what one does after a rollback.
    pub(super) fn news(&self, before: &Self, switch: &Switch, [approval, repair]: [&str; 2]) -> Vec<String> {
        let mut news = Vec::new();
        news.extend(self.approvals(before));
        news.extend(self.stage_news(before));
        if self.row.phase != before.row.phase || self.row.state != before.row.state {
            news.extend(self.phase_news(before, switch, repair));
        }
        if before.row.awaited.is_empty() && !self.row.awaited.is_empty() {
            let roles = self.row.awaited.join(", ");
            news.push(format!("stage {} asks for an approval: {roles}\n  what you do now: {approval}", self.row.stage));
        }
        news
    }

    /// Approvals that were given.
    fn approvals(&self, before: &Self) -> Vec<String> {
        let earlier = |stage: &str| before.row.stages.iter().find(|one| one.name == stage).map(|one| &one.approved);
        let mut news = Vec::new();
        for stage in &self.row.stages {
            let given = stage.approved.iter().filter(|one| earlier(&stage.name).is_some_and(|all| !all.contains(one)));
            news.extend(given.map(|one| format!("stage {} is approved: {one}", stage.name)));
        }
        news
    }

    /// Another stage than before.
    fn stage_news(&self, before: &Self) -> Option<String> {
        let now = self.row.current()?;
        let Some(last) = before.row.current() else {
            return Some(format!("{ROLLOUT} in stage {}: {} % of all callers", now.name, now.weight));
        };
        if last.name == now.name {
            return None;
        }
        let is_up = self.row.find(&last.name) < self.row.find(&now.name);
        Some(if is_up {
            let after = last.run_ms.map(|ms| format!(" after {} s", ms / 1_000)).unwrap_or_default();
            format!("stage {} is passed{after}: {} begins, {} % of all callers", last.name, now.name, now.weight)
        } else {
            format!("back in stage {}: {} % of all callers", now.name, now.weight)
        })
    }

    /// Another phase than before.
    fn phase_news(&self, before: &Self, switch: &Switch, repair: &str) -> Option<String> {
        match self.row.phase.as_str() {
            "rolled_back" => Some(format!("{}\n  what you do now: {repair}", self.rollback(switch))),
            "held" | "killed" => Some(format!("{ROLLOUT} {}", self.row.says)),
            "complete" => {
                let edit = self.row.edit.join("; ");
                Some(format!(
                    "{ROLLOUT} is complete: all stages are passed\n  what remains is an edit of the file: {edit}"
                ))
            }
            "running" if before.row.phase == "rolled_back" => {
                Some(format!("{ROLLOUT} goes on in stage {}: its guards begin without evidence", self.row.stage))
            }
            "running" if ["held", "killed"].contains(&before.row.phase.as_str()) => {
                Some(format!("{ROLLOUT} goes on in stage {}", self.row.stage))
            }
            _ => None,
        }
    }

    /// The rollback: how soon after the fault, at which stage, by which evidence.
    fn rollback(&self, switch: &Switch) -> String {
        let (by, saw) = self
            .row
            .says
            .strip_prefix("rolled back by ")
            .and_then(|rest| rest.split_once(": "))
            .unwrap_or(("", &self.row.says));
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let since = self.at.and_then(|at| at.checked_sub(switch.since())).filter(|_| switch.fault() != DemoFault::Off);
        let after = since.map(|since| {
            let answers = switch.faulty_answers();
            format!(", {:.1} s after the fault began and after {answers} bad answers", since.as_secs_f64())
        });
        format!("{ROLLOUT} is rolled back{by} in stage {}{}: {saw}", self.row.stage, after.unwrap_or_default())
    }
}

/// A moment of a page, since the Unix epoch.
fn wall(moment: &Value) -> Option<Duration> {
    let at = moment.as_str()?.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Duration::from_millis)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::rfc3339;

    /// The page of the demo's rollout, in this of its three stages, with other members than usual.
    pub(in crate::cli::demo) fn page(stage: usize, more: &Value) -> Value {
        let stages: Vec<Value> = [("few", 5.0), ("quarter", 25.0), ("all", 100.0)]
            .into_iter()
            .enumerate()
            .map(|(index, (name, weight))| {
                let place = ["ahead", "current", "done"][1 + usize::from(index < stage) - usize::from(index > stage)];
                let approve = if index == 1 { json!(["tech-lead"]) } else { json!([]) };
                json!({ "name": name, "weight": weight, "place": place, "min_duration_ms": 8_000, "approve": approve,
                    "approved": [], "run_ms": (index == stage).then_some(5_000) })
            })
            .collect();
        let guard = json!({
            "name": "errors", "test": "errors: at most 1.1 × stable", "act": "rollback", "alpha": 0.003,
            "state": "watching", "evidence_log10": 0.9, "threshold_log10": 2.5229,
            "ratio": { "estimate": 1.1, "lower": 0.6, "upper": 2.1 }, "slow_after_ms": null,
            "says": "errors 1.1 × stable (0.60 to 2.1): 1 of 110 callers, 9 of 1040 on stable",
        });
        let mut page = json!({
            "kind": "rollout", "name": ROLLOUT, "stage": stages[stage]["name"], "weight": stages[stage]["weight"],
            "max_weight": 100.0, "share": 5.1, "state": "running", "doing": "gated", "because": null,
            "at": rfc3339(Duration::from_secs(1_000)), "next": rfc3339(Duration::from_secs(1_008)), "seq": 3, "durable": true,
            "says": "in stage few: 5 s of 8 s", "unblock": "3 s more in this stage", "awaited": [], "edit": [],
            "blocks": [{ "kind": "duration", "says": "5 s of 8 s", "unblock": "3 s more in this stage", "until": null }],
            "needs_person": false, "closest": guard, "guards": [guard],
        });
        page["stages"] = json!(stages);
        for (member, value) in more.as_object().into_iter().flatten() {
            page[member] = value.clone();
        }
        page
    }

    /// A look at it.
    pub(in crate::cli::demo) fn look(stage: usize, more: &Value) -> StagedLook {
        StagedLook::read(&page(stage, more))
    }

    /// A look at it while people are asked.
    pub(in crate::cli::demo) fn asked() -> StagedLook {
        let awaited = json!([{ "role": "tech-lead", "people": ["you"] }]);
        let says = "stage quarter is passed but for approvals";
        look(
            1,
            &json!({ "doing": "awaiting_approval", "awaited": awaited, "blocks": [], "next": null, "says": says,
                "unblock": "`pointsman rollout approve shop-v2`" }),
        )
    }

    /// A look at it after a guard has tripped, at this time.
    pub(in crate::cli::demo) fn rolled_back(at: Duration) -> StagedLook {
        let saw = "errors 48 × stable (7.1 or more): 5 of 20 callers, 0 of 180 on stable";
        look(
            1,
            &json!({ "state": "rolled_back", "doing": null, "by": "errors", "at": rfc3339(at), "weight": 0.0,
                "says": format!("rolled back by errors: {saw}"), "blocks": [], "next": null,
                "unblock": "another `revision`, or `pointsman rollout resume shop-v2 --reason TEXT`" }),
        )
    }

    #[test]
    fn what_is_new_is_said_once() {
        let switch = Switch::default();
        let said = |now: &StagedLook, before: &StagedLook| now.news(before, &switch, ["a approves", "r resumes"]);
        let (few, quarter) = (look(0, &json!({})), look(1, &json!({})));
        assert_eq!(said(&few, &StagedLook::default()), ["shop-v2 in stage few: 5 % of all callers"]);
        assert!(said(&few, &few).is_empty());
        assert_eq!(said(&quarter, &few), ["stage few is passed after 5 s: quarter begins, 25 % of all callers"]);
        assert_eq!(said(&few, &quarter), ["back in stage few: 5 % of all callers"]);
        let asks = "stage quarter asks for an approval: tech-lead (you)\n  what you do now: a approves";
        assert_eq!(said(&asked(), &quarter), [asks]);
        assert!(said(&asked(), &asked()).is_empty());
        let mut all = page(2, &json!({}));
        all["stages"][1]["approved"] = json!([{ "role": "tech-lead", "by": "you", "at": "2026-11-29T15:00:00.000Z" }]);
        assert_eq!(
            said(&StagedLook::read(&all), &asked()),
            [
                "stage quarter is approved: tech-lead by you",
                "stage quarter is passed after 5 s: all begins, 100 % of all callers",
            ]
        );
        let complete = look(2, &json!({ "state": "complete", "edit": ["stable = \"shop-v2\"", "remove `canary`"] }));
        let news = said(&complete, &look(2, &json!({}))).concat();
        assert!(news.contains("complete") && news.ends_with("stable = \"shop-v2\"; remove `canary`"), "{news}");
        let held = look(1, &json!({ "state": "held", "because": "person", "says": "held by bo: a look" }));
        assert_eq!(said(&held, &quarter), ["shop-v2 held by bo: a look"]);
        assert_eq!(said(&quarter, &held), ["shop-v2 goes on in stage quarter"], "it was resumed");
    }

    #[test]
    fn a_rollback_says_how_soon_where_and_by_which_evidence() {
        let (switch, quarter) = (Switch::default(), look(1, &json!({})));
        switch.set(DemoFault::Errors);
        let back = rolled_back(switch.since() + Duration::from_millis(420));
        assert!(back.is_rolled_back() && !quarter.is_rolled_back());
        assert_eq!(
            back.news(&quarter, &switch, ["", "r resumes"]),
            [
                "shop-v2 is rolled back by errors in stage quarter, 0.4 s after the fault began and after 0 bad answers: \
                 errors 48 × stable (7.1 or more): 5 of 20 callers, 0 of 180 on stable\n  what you do now: r resumes"
            ]
        );
        switch.set(DemoFault::Off);
        let news = back.news(&quarter, &switch, ["", ""]).concat();
        assert!(news.starts_with("shop-v2 is rolled back by errors in stage quarter: errors 48"), "{news}");
    }
}
