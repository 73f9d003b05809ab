//! A step of a rollout: what follows from plan, state and facts.

use super::blocks::{all_before, blocks, but_approvals, journal};
use super::clock;
use super::decision::{Block, BlockKind, RolloutDecision, RolloutStep, RolloutVerb};
use super::draft::StepDraft;
use super::facts::RolloutFacts;
use super::moves::{entered, regained};
use super::plan_change::{fit, lower};
use super::state::{RolloutPhase, RolloutState};
use super::stops::{follow_kills, follow_overdue, follow_requirements, follow_revisions};
use super::trips::follow_trips;
use super::view::{Ahead, View};
use super::weight::{effective_weight, limit, plan_hash};
use super::words::{percent, span};
use crate::route::RolloutPlan;

/// The next state, and what is decided. It is called ten times a second, also while nothing happens. While the record of a
/// raise is on its way to the disk, the caller goes on from [`RolloutStep::state`], and drops further raises.
#[must_use]
pub fn step(plan: &RolloutPlan, state: &RolloutState, facts: &RolloutFacts) -> RolloutStep {
    let mut draft = StepDraft::new(plan, state, facts);
    clock::watch(&mut draft);
    clock::pass(&mut draft);
    follow_revisions(&mut draft);
    follow_kills(&mut draft);
    follow_plan_of(&mut draft);
    follow_trips(&mut draft);
    follow_requirements(&mut draft);
    clock::run(&mut draft);
    follow_overdue(&mut draft);
    clock::follow_ramp(&mut draft);
    let blocks = go_on(&mut draft);
    let StepDraft { next, lowered: mut decisions, raise, .. } = draft;
    decisions.extend(raise);
    debug_assert!(decisions.iter().rev().skip(1).all(|one| !one.raises), "the last decision alone raises");
    debug_assert!(effective_weight(plan, &next) <= plan.ceiling(), "the ceiling is never exceeded");
    RolloutStep { state: next, decisions, blocks }
}

/// The plan is not the one of the step before: what it lowers, and stages that it no longer has.
fn follow_plan_of(draft: &mut StepDraft<'_>) {
    if !draft.view().has_entered() {
        if let (RolloutPhase::Pending, Some(first)) = (&draft.next.phase, draft.plan.stages.first()) {
            draft.next.stage.clone_from(&first.name);
        }
        return;
    }
    if let Some(decision) = fit(draft.plan, &draft.next).or_else(|| lower(draft.plan, &draft.next)) {
        draft.next = decision.state.clone();
        draft.raise = None;
        draft.lowered.push(decision);
    }
    let is_last = draft.view().at().is_some_and(|at| at + 1 == draft.plan.stages.len());
    let is_low = draft.next.reached < limit(draft.plan, &draft.next);
    if draft.next.phase == RolloutPhase::Complete && (!is_last || is_low) {
        // The plan has got another stage at its end, or more weight; or it comes back to the file.
        draft.next.phase = RolloutPhase::Running;
    }
}

/// Goes on where nothing stands in the way: the only place where a rollout raises a weight by itself.
fn go_on(draft: &mut StepDraft<'_>) -> Vec<Block> {
    if draft.raise.is_some() {
        return Vec::new();
    }
    let found = standing_blocks(draft.view());
    let may_go = match draft.next.phase {
        RolloutPhase::Pending | RolloutPhase::Running => true,
        RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => false,
    };
    if !may_go {
        return found;
    }
    if found.iter().all(|block| block.kind == BlockKind::Approval) && !found.is_empty() {
        ask(draft);
        return found;
    }
    if !found.is_empty() {
        return found;
    }
    let view = draft.view();
    let decision = match view.ahead() {
        Ahead::Enter(next) => enter(view, next),
        Ahead::Regain => regain(view),
        Ahead::Complete if !view.is_capped() => complete(view),
        Ahead::Complete | Ahead::Ramp => None,
    };
    if let Some(decision) = decision {
        draft.raise(decision);
    }
    found
}

/// What stands in the way; a journal that cannot be written is in the way of an end of a hold, too.
fn standing_blocks(view: View<'_>) -> Vec<Block> {
    let mut found = blocks(view);
    if let RolloutPhase::Held(held) = &view.state.phase
        && held.cause.ends_by_itself()
    {
        found.extend(journal(view));
    }
    found
}

/// Asks the approvers, once for a stage and a plan.
fn ask(draft: &mut StepDraft<'_>) {
    let Some(at) = draft.view().at() else { return };
    let hash = plan_hash(draft.plan, at);
    if draft.next.asked.as_ref() == Some(&hash) {
        return;
    }
    let roles = draft.view().awaited(at).join(", ");
    draft.next.asked = Some(hash);
    let sentence = format!("stage `{}` awaits the approval of {roles}", draft.next.stage);
    draft.decide(RolloutVerb::Ask, sentence);
}

fn enter(view: View<'_>, next: usize) -> Option<RolloutDecision> {
    debug_assert!(all_before(view, Ahead::Enter(next)).is_empty(), "nothing stands in the way");
    let stage = view.plan.stages.get(next)?;
    let after = entered(view, next, RolloutPhase::Running);
    let way = match &after.ramp {
        Some(ramp) => format!("from {} to {}, in {}", percent(ramp.from), percent(ramp.to), span(ramp.over_ms)),
        None => format!("at {}", percent(after.reached)),
    };
    Some(RolloutDecision::new(RolloutVerb::Enter, format!("it enters stage `{}` {way}", stage.name), after))
}

fn regain(view: View<'_>) -> Option<RolloutDecision> {
    debug_assert!(but_approvals(view, Ahead::Regain).is_empty(), "nothing stands in the way");
    let state = regained(view)?;
    let to = state.ramp.map_or(state.reached, |ramp| ramp.to);
    let sentence =
        format!("the weight grows from {} to {} in stage `{}`", percent(view.state.reached), percent(to), state.stage);
    Some(RolloutDecision::new(RolloutVerb::Raise, sentence, state))
}

fn complete(view: View<'_>) -> Option<RolloutDecision> {
    let stage = view.stage()?;
    let after = RolloutState { phase: RolloutPhase::Complete, asked: None, ..view.state.clone() };
    let sentence = format!("stage `{}`, the last one, is over: it keeps {}", stage.name, percent(after.reached));
    Some(RolloutDecision::new(RolloutVerb::Complete, sentence, after))
}
