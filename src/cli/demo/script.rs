//! What the demo of a rollout does where no keys are read: the canary fails in the second stage, is repaired and resumed;
//! the approval is given; and the demo ends when the rollout is complete. Pure: looks and the time are arguments.

use std::time::Duration;

use super::staged::StagedLook;

/// How long the second stage runs before the canary fails, in milliseconds.
const HEALTHY_MS: u64 = 2_000;
/// Between a rollback and the repair.
const REPAIR_AFTER: Duration = Duration::from_secs(1);
/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the script is.
#[derive(Debug)]
pub(super) struct DemoScript {
    step: ScriptStep,
    /// When this step began; `None` before the first look.
    since: Option<Duration>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScriptStep {
    SecondStage,
    Rollback,
    Repair,
    Approval,
    Completion,
    Nothing,
}

/// What is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptAct {
    /// The canary fails.
    Fail,
    /// The canary is repaired, and resumed.
    Repair,
    /// The approval is given.
    Approve,
    /// The demo ends.
    End(ScriptEnd),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptEnd {
    /// All of it has happened.
    Complete,
    /// What was waited for does not come.
    Stuck,
}

impl DemoScript {
    /// From its beginning.
    pub(super) const fn new() -> Self {
        Self { step: ScriptStep::SecondStage, since: None }
    }

    /// What is done after this look, at this time of a monotonic clock.
    pub(super) fn next(&mut self, look: &StagedLook, now: Duration) -> Option<ScriptAct> {
        let row = &look.row;
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_sub(since);
        let is_second = row.find(&row.stage) == Some(1) && row.phase == "running";
        let is_baked = row.current().and_then(|stage| stage.run_ms).is_some_and(|ms| ms >= HEALTHY_MS);
        let (next, act) = match self.step {
            ScriptStep::SecondStage if is_second && is_baked => (ScriptStep::Rollback, Some(ScriptAct::Fail)),
            // The directory of an earlier demo was used: the rollout goes on from where it stood.
            ScriptStep::SecondStage if row.phase == "complete" => (ScriptStep::Completion, None),
            ScriptStep::SecondStage | ScriptStep::Rollback if look.is_rolled_back() => (ScriptStep::Repair, None),
            ScriptStep::Repair if waited >= REPAIR_AFTER => (ScriptStep::Approval, Some(ScriptAct::Repair)),
            ScriptStep::Approval if !row.awaited.is_empty() => (ScriptStep::Completion, Some(ScriptAct::Approve)),
            ScriptStep::Completion if row.phase == "complete" => {
                (ScriptStep::Nothing, Some(ScriptAct::End(ScriptEnd::Complete)))
            }
            ScriptStep::SecondStage
            | ScriptStep::Rollback
            | ScriptStep::Repair
            | ScriptStep::Approval
            | ScriptStep::Completion
                if waited >= PATIENCE =>
            {
                (ScriptStep::Nothing, Some(ScriptAct::End(ScriptEnd::Stuck)))
            }
            step @ (ScriptStep::SecondStage
            | ScriptStep::Rollback
            | ScriptStep::Repair
            | ScriptStep::Approval
            | ScriptStep::Completion
            | ScriptStep::Nothing) => (step, None),
        };
        if next != self.step {
            *self = Self { step: next, since: Some(now) };
        }
        act
    }

    /// What is waited for, in words.
    pub(super) const fn awaited(&self) -> &'static str {
        match self.step {
            ScriptStep::SecondStage => "the second stage",
            ScriptStep::Rollback => "the rollback",
            ScriptStep::Repair => "the repair",
            ScriptStep::Approval => "the question for an approval",
            ScriptStep::Completion => "the end of the last stage",
            ScriptStep::Nothing => "nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::staged::tests::{asked, look, rolled_back};
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_script_goes_through_a_fault_a_repair_and_an_approval() {
        let mut script = DemoScript::new();
        let (few, quarter) = (look(0, &json!({})), look(1, &json!({})));
        assert_eq!(script.next(&few, at(0)), None);
        assert_eq!(script.next(&few, at(8_000)), None);
        assert_eq!(script.next(&quarter, at(10_000)), Some(ScriptAct::Fail));
        assert_eq!(script.next(&quarter, at(10_100)), None);
        assert_eq!(script.next(&rolled_back(at(1)), at(10_500)), None);
        assert_eq!(script.next(&rolled_back(at(1)), at(11_400)), None);
        assert_eq!(script.next(&rolled_back(at(1)), at(11_500)), Some(ScriptAct::Repair));
        assert_eq!(script.next(&rolled_back(at(1)), at(11_600)), None, "it is not resumed twice");
        assert_eq!(script.next(&quarter, at(11_700)), None, "it does not fail again");
        assert_eq!(script.next(&asked(), at(20_000)), Some(ScriptAct::Approve));
        assert_eq!(script.next(&asked(), at(20_100)), None);
        let complete = look(2, &json!({ "state": "complete" }));
        assert_eq!(script.next(&complete, at(30_000)), Some(ScriptAct::End(ScriptEnd::Complete)));
        assert_eq!(script.next(&complete, at(300_000)), None, "it has ended");
    }

    #[test]
    fn a_rollout_that_does_not_go_on_ends_the_script() {
        let mut script = DemoScript::new();
        let few = look(0, &json!({}));
        assert_eq!(script.next(&few, at(5)), None);
        assert_eq!(script.next(&few, at(90_004)), None);
        assert_eq!(script.awaited(), "the second stage");
        assert_eq!(script.next(&few, at(90_005)), Some(ScriptAct::End(ScriptEnd::Stuck)));
        let mut kept = DemoScript::new();
        let complete = look(2, &json!({ "state": "complete" }));
        assert_eq!(kept.next(&complete, at(0)), None);
        assert_eq!(kept.next(&complete, at(100)), Some(ScriptAct::End(ScriptEnd::Complete)));
    }
}
