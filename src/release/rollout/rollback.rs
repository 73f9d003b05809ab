//! How a rollout stops: rolled back, held.

use super::state::{Held, HeldCause, Ramp, RolledBack, RolloutPhase, RolloutState};
use super::weight::{effective_weight, limit};
use crate::route::RolloutPlan;

/// How many revisions that were rolled back are remembered.
const LATCHED_MAX: usize = 32;

/// Rolls it back: at once, or over the time of the plan. Approvals of the stage were given on evidence that is void.
pub(super) fn latch(plan: &RolloutPlan, state: &mut RolloutState, back: RolledBack) {
    let from = effective_weight(plan, state).millionths();
    let falls = plan.rollback_over_ms > 0 && from > 0;
    state.fall = falls.then_some(Ramp { from, to: 0, over_ms: plan.rollback_over_ms, run_ms: 0 });
    state.phase = RolloutPhase::RolledBack(back);
    (state.reached, state.ramp, state.asked) = (0, None, None);
    remember(state);
    let here = &state.stage;
    state.approvals.retain(|one| one.stage != *here);
    debug_assert!(effective_weight(plan, state).millionths() <= from, "a rollback raises nothing");
}

/// Remembers that this revision was rolled back: another one in between does not clear that.
fn remember(state: &mut RolloutState) {
    let revision = state.revision.clone();
    state.latched.retain(|one| *one != revision);
    if state.latched.len() >= LATCHED_MAX {
        state.latched.remove(0);
    }
    state.latched.push(revision);
    debug_assert!(state.latched.len() <= LATCHED_MAX, "they have a bound");
}

/// A person resumes this revision, or begins it anew.
pub(super) fn forget(state: &mut RolloutState) {
    let revision = state.revision.clone();
    state.latched.retain(|one| *one != revision);
}

/// Holds it.
pub(super) fn hold(state: &mut RolloutState, held: Held) {
    if held.cause.is_at_zero() && held.cause != HeldCause::CanaryDown {
        (state.reached, state.ramp) = (0, None);
    }
    state.phase = RolloutPhase::Held(held);
}

/// A hold, with the phase that it goes back to.
pub(super) fn held(state: &RolloutState, cause: HeldCause, by: &str, sentence: String) -> Held {
    let before = held_now(state);
    let was_complete = state.phase == RolloutPhase::Complete || before.is_some_and(|held| held.was_complete);
    // A guard that has tripped says nothing more until evidence begins anew.
    let passed_over = before.is_some_and(|held| held.passed_over || held.cause == HeldCause::Guard);
    let by_person = before.is_some_and(|held| held.by_person || held.cause == HeldCause::Person);
    Held { cause, sentence, by: by.to_owned(), was_complete, for_ms: 0, passed_over, by_person, before: None }
}

/// A hold that ends by itself, over one that a person ends.
pub(super) fn held_over(state: &RolloutState, cause: HeldCause, by: &str, sentence: String) -> Held {
    let before = held_now(state)
        .and_then(|held| if held.cause.ends_by_itself() { held.before.clone() } else { Some(Box::new(held.clone())) });
    Held { before, ..held(state, cause, by, sentence) }
}

/// The hold of a person, or after a kill, under which another revision does not start by itself.
#[must_use]
pub fn stopped_by_person(state: &RolloutState) -> Option<Held> {
    if state.phase == RolloutPhase::Killed {
        let sentence = "a kill covered it before this revision".to_owned();
        return Some(held(state, HeldCause::Revived, "pointsman", sentence));
    }
    let mut held = held_now(state);
    while let Some(one) = held {
        if one.by_person || matches!(one.cause, HeldCause::Person | HeldCause::Revived) {
            let cause = if one.cause == HeldCause::Revived { HeldCause::Revived } else { HeldCause::Person };
            return Some(Held { cause, was_complete: false, before: None, ..one.clone() });
        }
        held = one.before.as_deref();
    }
    None
}

/// The hold that it is in.
pub(super) fn held_now(state: &RolloutState) -> Option<&Held> {
    match &state.phase {
        RolloutPhase::Held(held) => Some(held),
        RolloutPhase::Pending
        | RolloutPhase::Running
        | RolloutPhase::Killed
        | RolloutPhase::RolledBack(_)
        | RolloutPhase::Complete => None,
    }
}

/// The phase after a hold.
pub(super) fn after_hold(plan: &RolloutPlan, state: &RolloutState, held: &Held) -> RolloutPhase {
    let is_whole = state.reached >= limit(plan, state);
    if let Some(before) = &held.before {
        RolloutPhase::Held((**before).clone())
    } else if state.passed.is_empty() {
        RolloutPhase::Pending
    } else if held.was_complete && is_whole {
        RolloutPhase::Complete
    } else {
        RolloutPhase::Running
    }
}
