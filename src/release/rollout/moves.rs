//! The state after a move: into a stage, or back to the weight of its stage.

use super::state::{PassedStage, Ramp, Regain, RolloutPhase, RolloutState, StageProgress};
use super::view::View;
use super::weight::{limit, top};
use crate::route::Stage;

/// The state at the begin of a stage. Its weight is reached at once, or by a ramp.
pub(super) fn entered(view: View<'_>, at: usize, phase: RolloutPhase) -> RolloutState {
    let mut next = placed(view, at, phase);
    let Some(stage) = view.plan.stages.get(at) else { return next };
    let to = top(stage);
    rise(&mut next, to, stage.ramp_ms);
    debug_assert!(next.reached <= top(stage).max(view.state.reached), "no more than its stage");
    next
}

/// The state in a stage, with the weight that it had, or less: nothing raises.
pub(super) fn placed(view: View<'_>, at: usize, phase: RolloutPhase) -> RolloutState {
    let mut next = view.state.clone();
    let passed = |stage: &Stage| PassedStage { name: stage.name.clone(), weight: stage.weight };
    next.passed = view.plan.stages.iter().take(at + 1).map(passed).collect();
    next.progress = StageProgress::default();
    (next.phase, next.ramp, next.fall, next.asked, next.regain) = (phase, None, None, None, Regain::Checks);
    if let Some(stage) = view.plan.stages.get(at) {
        next.stage.clone_from(&stage.name);
    }
    next.reached = next.reached.min(limit(view.plan, &next));
    next
}

/// The state with the weight of its stage again, or that of the ceiling. A stage with a ramp is regained as fast as it ramps.
pub(super) fn regained(view: View<'_>) -> Option<RolloutState> {
    let (at, stage) = (view.at()?, view.stage()?);
    let mut next = view.state.clone();
    if next.regain == Regain::Gates {
        // The time below its weight says nothing about it.
        next.progress = StageProgress::default();
    }
    next.regain = Regain::Checks;
    if let Some(passed) = next.passed.last_mut() {
        debug_assert!(passed.name == stage.name, "the last one that was passed is the one where it is");
        if passed.weight < stage.weight {
            // At this weight it has not been yet.
            next.progress = StageProgress::default();
        }
        passed.weight = stage.weight;
    }
    let before = at.checked_sub(1).and_then(|before| view.plan.stages.get(before)).map_or(0, top);
    let whole = u64::from(top(stage).saturating_sub(before)).max(1);
    let to = limit(view.plan, &next);
    let missing = u64::from(to.saturating_sub(next.reached));
    let over = (stage.ramp_ms.saturating_mul(missing) / whole).min(stage.ramp_ms);
    rise(&mut next, to, over);
    Some(next)
}

/// Goes to a weight: at once, or by a ramp.
fn rise(next: &mut RolloutState, to: u32, over_ms: u64) {
    if over_ms > 0 && to > next.reached {
        next.ramp = Some(Ramp { from: next.reached, to, over_ms, run_ms: 0 });
    } else {
        next.reached = to;
    }
}
