//! An edited plan while a rollout is under way: taken over, or rejected with the remedy.

use super::decision::{RolloutDecision, RolloutVerb};
use super::rollback::{held, hold};
use super::state::{HeldCause, Ramp, Regain, RolloutPhase, RolloutState};
use super::weight::{effective_weight, limit, top};
use super::words::percent;
use crate::route::RolloutPlan;

/// Why a reload is rejected: the plan does not fit to where the rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRejection {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Follows an edited plan, at a reload: the decision, if it lowers the weight. It is asked where the revision of the
/// canaries stays: with another one the rollout begins again, under any plan.
///
/// # Errors
/// A stage was inserted before the one where the rollout is, or that one was removed.
pub fn follow_plan(plan: &RolloutPlan, state: &RolloutState) -> Result<Option<RolloutDecision>, PlanRejection> {
    let misfit = misfit(plan, state).filter(|_| !is_of_other_plan(state));
    let Some(misfit) = misfit else { return Ok(lower(plan, state)) };
    let here = &state.stage;
    Err(match misfit {
        Misfit::Removed => PlanRejection {
            message: format!("the rollout is in stage `{here}`, and the plan has no stage of this name"),
            help: format!(
                "keep stage `{here}`, or move the rollout first: `pointsman rollout goto NAME STAGE --reason TEXT`, \
                 or `pointsman rollout restart NAME --reason TEXT`"
            ),
        },
        Misfit::Inserted(new) => PlanRejection {
            message: format!("the rollout is in stage `{here}`, and stage `{new}` is new before it"),
            help: format!(
                "put stage `{new}` after `{here}`, or move the rollout first to a stage before it: \
                 `pointsman rollout goto NAME STAGE --reason TEXT`, or `pointsman rollout restart NAME --reason TEXT`"
            ),
        },
    })
}

/// Follows a plan at a start, which always comes up: where the plan does not fit, the rollout is held at no more than its
/// last weight and the weight of the stage of that name.
#[must_use]
pub fn resume_plan(plan: &RolloutPlan, state: &RolloutState) -> (RolloutState, Option<RolloutDecision>) {
    let found = misfit(plan, state).filter(|_| may_change(state));
    let decision = match found {
        Some(misfit) => Some(changed(plan, state, &misfit)),
        None => lower(plan, state),
    };
    let state = decision.as_ref().map_or_else(|| state.clone(), |decision| decision.state.clone());
    (state, decision)
}

/// At a start: a route has joined that no record knows. The callers of that route must not move at once, so nothing is served
/// until a person says where the rollout goes on. `None` where it serves nothing anyway.
#[must_use]
pub fn hold_for_route(plan: &RolloutPlan, state: &RolloutState, route: &str) -> Option<RolloutDecision> {
    if effective_weight(plan, state).millionths() == 0 && !may_change(state) {
        return None;
    }
    let mut next = state.clone();
    (next.reached, next.ramp, next.fall) = (0, None, None);
    let sentence = format!("route `{route}` has joined the rollout since the last start: it is held at 0");
    let held = held(&next, HeldCause::PlanChanged, "pointsman", sentence.clone());
    hold(&mut next, held);
    Some(RolloutDecision::new(RolloutVerb::Hold, sentence, next))
}

/// How a plan does not fit.
enum Misfit {
    /// The stage where it is has gone.
    Removed,
    /// A stage before it is new.
    Inserted(String),
}

/// How a plan does not fit to where a rollout is.
fn misfit(plan: &RolloutPlan, state: &RolloutState) -> Option<Misfit> {
    if state.passed.is_empty() {
        return None;
    }
    let Some(at) = plan.find(&state.stage) else { return Some(Misfit::Removed) };
    let is_new = |name: &str| state.passed.iter().all(|passed| passed.name != name);
    plan.stages[..at].iter().find(|stage| is_new(&stage.name)).map(|stage| Misfit::Inserted(stage.name.clone()))
}

/// It is held because of its plan: any plan may follow.
fn is_of_other_plan(state: &RolloutState) -> bool {
    match &state.phase {
        RolloutPhase::Held(held) => matches!(held.cause, HeldCause::PlanChanged | HeldCause::Damaged),
        RolloutPhase::Pending
        | RolloutPhase::Running
        | RolloutPhase::Killed
        | RolloutPhase::RolledBack(_)
        | RolloutPhase::Complete => false,
    }
}

/// Whether a plan that does not fit changes its phase: what is at 0 until a person acts stays as it is.
fn may_change(state: &RolloutState) -> bool {
    match &state.phase {
        RolloutPhase::Running | RolloutPhase::Complete => true,
        RolloutPhase::Held(held) => match held.cause {
            HeldCause::Person
            | HeldCause::Guard
            | HeldCause::StableChanged
            | HeldCause::Inconclusive
            | HeldCause::NoTraffic => true,
            HeldCause::CanaryDown
            | HeldCause::NoRollbackTarget
            | HeldCause::Revived
            | HeldCause::Requires
            | HeldCause::PlanChanged
            | HeldCause::Damaged => false,
        },
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
    }
}

fn changed(plan: &RolloutPlan, state: &RolloutState, misfit: &Misfit) -> RolloutDecision {
    let what = match misfit {
        Misfit::Removed => format!("the plan has no stage `{}` any more", state.stage),
        Misfit::Inserted(new) => format!("stage `{new}` is new before stage `{}`", state.stage),
    };
    let mut next = state.clone();
    next.reached = effective_weight(plan, state).millionths();
    next.ramp = None;
    let sentence = format!("{what}: it is held at {}", percent(next.reached));
    let held = held(&next, HeldCause::PlanChanged, "pointsman", sentence.clone());
    hold(&mut next, held);
    debug_assert!(next.reached <= state.reached, "a plan raises nothing by itself");
    RolloutDecision::new(RolloutVerb::Hold, sentence, next)
}

/// The stage where it is has left the plan, or a stage before it is new: held.
pub(super) fn fit(plan: &RolloutPlan, state: &RolloutState) -> Option<RolloutDecision> {
    misfit(plan, state).filter(|_| may_change(state)).map(|misfit| changed(plan, state, &misfit))
}

/// What the ceiling or the weight of the stage lowers, at once.
pub(super) fn lower(plan: &RolloutPlan, state: &RolloutState) -> Option<RolloutDecision> {
    let limit = limit(plan, state);
    let end = plan.find(&state.stage).and_then(|at| plan.stages.get(at)).map_or(0, top);
    let overshoots = state.ramp.is_some_and(|ramp| ramp.to > end);
    if state.reached <= limit && !overshoots {
        return lower_fall(plan, state);
    }
    let mut next = state.clone();
    (next.reached, next.ramp, next.regain) = (state.reached.min(limit), None, Regain::Gates);
    match &mut next.phase {
        // It is below its last weight again.
        phase @ RolloutPhase::Complete => *phase = RolloutPhase::Running,
        RolloutPhase::Held(held) => held.was_complete = false,
        RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => {}
    }
    let (from, to) = (percent(state.reached), percent(limit));
    let sentence = match plan.find(&state.stage) {
        Some(at) if plan.max_weight < plan.stages[at].weight => format!("`max_weight` is {to}: it was at {from}"),
        Some(_) => format!("stage `{}` has {to}: it was at {from}", state.stage),
        None => format!("the plan has no stage `{}` any more: it was at {from}", state.stage),
    };
    Some(RolloutDecision::new(RolloutVerb::Lower, sentence, next))
}

/// A ceiling below a falling weight: it falls from there in the time that is left, so that a higher ceiling later raises
/// nothing.
fn lower_fall(plan: &RolloutPlan, state: &RolloutState) -> Option<RolloutDecision> {
    let fall = state.fall.filter(|fall| fall.weight() > plan.ceiling())?;
    let from = plan.max_weight;
    let rest = Ramp { from, to: 0, over_ms: fall.over_ms.saturating_sub(fall.run_ms), run_ms: 0 };
    let next = RolloutState { fall: (from > 0).then_some(rest), ..state.clone() };
    let sentence = format!("`max_weight` is {}: it falls from there", percent(from));
    Some(RolloutDecision::new(RolloutVerb::Lower, sentence, next))
}
