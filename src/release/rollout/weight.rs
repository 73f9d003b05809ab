//! The weight of a rollout by its plan and state, and the hash of its plan.

use std::fmt::Write as _;

use super::state::{RolloutPhase, RolloutState};
use crate::route::{RolloutPlan, Stage, Weight};

/// The weight that is in force: 0 while it is held at 0, killed or rolled back (a rollback that takes its time: the
/// falling weight), else the least of the ceiling, the weight of the stage and what was reached.
#[must_use]
pub fn effective_weight(plan: &RolloutPlan, state: &RolloutState) -> Weight {
    let weight = match &state.phase {
        RolloutPhase::Pending | RolloutPhase::Killed => return Weight::ZERO,
        RolloutPhase::RolledBack(_) => state.fall.map_or(0, |fall| fall.weight().millionths()).min(plan.max_weight),
        RolloutPhase::Held(held) if held.cause.is_at_zero() => return Weight::ZERO,
        RolloutPhase::Held(_) | RolloutPhase::Running | RolloutPhase::Complete => state.reached.min(limit(plan, state)),
    };
    Weight::from_millionths(weight).unwrap_or(Weight::FULL)
}

/// What a weight may not exceed in the stage where the rollout is, in millionths. A stage that is not in the plan: 0.
pub(super) fn limit(plan: &RolloutPlan, state: &RolloutState) -> u32 {
    plan.find(&state.stage).map_or(0, |at| top(&plan.stages[at]).min(plan.max_weight))
}

/// The weight of a stage without what `control` keeps on stable, in millionths.
pub(super) fn top(stage: &Stage) -> u32 {
    let full = Weight::FULL.millionths();
    stage.weight.min(full.saturating_sub(stage.control))
}

/// The hash of the plan up to a stage, that one included: an approval is bound to it.
#[must_use]
pub fn plan_hash(plan: &RolloutPlan, stage: usize) -> String {
    let upto = &plan.stages[..plan.stages.len().min(stage.saturating_add(1))];
    // Stages are numbers, names and lists of them: all of them can be written.
    let text = serde_json::to_vec(upto).unwrap_or_default();
    debug_assert!(!text.is_empty(), "a stage can be written");
    let mut hex = String::with_capacity(64);
    for byte in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
