//! What stops a rollout but guards: kills, revisions, requirements, and evidence or requests that stay away.

use super::blocks::too_little;
use super::decision::{RolloutDecision, RolloutVerb};
use super::draft::StepDraft;
use super::rollback::{after_hold, held, held_now, held_over, hold, latch, stopped_by_person};
use super::state::{Held, HeldCause, RolledBack, RolloutPhase, RolloutState};
use super::weight::effective_weight;
use super::words::{names, span};
use crate::route::{Overdue, OverdueAct};

/// The name of what no person and no guard decides.
const PLAN: &str = "pointsman";

/// A new revision of the canaries begins again; of stable: hold.
pub(super) fn follow_revisions(draft: &mut StepDraft<'_>) {
    let facts = draft.facts;
    let state = &mut draft.next;
    let is_damaged = matches!(&state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::Damaged);
    if facts.revision.is_empty() {
        return;
    }
    if is_damaged {
        // What it was before is not known for sure: a person ends the hold.
        if state.revision != facts.revision {
            let phase = std::mem::take(&mut state.phase);
            draft.next = RolloutState { phase, ..fresh(draft) };
        }
        draft.next.stable.clone_from(&facts.stable);
    } else if state.revision != facts.revision {
        begin(draft);
    } else if state.stable != facts.stable {
        follow_stable(draft);
    }
}

/// The state of a revision that stands before the first stage.
fn fresh(draft: &StepDraft<'_>) -> RolloutState {
    RolloutState {
        revision: draft.facts.revision.clone(),
        stable: draft.facts.stable.clone(),
        stage: draft.plan.stages.first().map(|stage| stage.name.clone()).unwrap_or_default(),
        latched: draft.next.latched.clone(),
        clock: draft.next.clock,
        ..RolloutState::default()
    }
}

fn begin(draft: &mut StepDraft<'_>) {
    let before = std::mem::take(&mut draft.next.revision);
    let kept = stopped_by_person(&draft.next);
    draft.next = fresh(draft);
    draft.is_new = true;
    if draft.next.latched.contains(&draft.next.revision) {
        let revision = &draft.next.revision;
        let sentence = format!("{revision} was rolled back before, and was not resumed since");
        draft.next.phase = RolloutPhase::RolledBack(RolledBack { by: PLAN.to_owned(), sentence: sentence.clone() });
        draft.decide(RolloutVerb::Begin, sentence).begins_anew = true;
        return;
    }
    // What a person has stopped, another revision does not start.
    if let Some(held) = kept {
        draft.next.phase = RolloutPhase::Held(held);
    }
    let stage = &draft.next.stage;
    let sentence = if before.is_empty() {
        format!("it begins with {}, before stage `{stage}`", draft.facts.revision)
    } else {
        format!("{} takes the place of {before}: it begins again, before stage `{stage}`", draft.facts.revision)
    };
    draft.decide(RolloutVerb::Begin, sentence).begins_anew = true;
}

fn follow_stable(draft: &mut StepDraft<'_>) {
    let stable = draft.facts.stable.clone();
    let before = std::mem::replace(&mut draft.next.stable, stable);
    let sentence = format!("stable is {} instead of {before}: evidence begins anew", draft.next.stable);
    let act = match &draft.next.phase {
        // There is no evidence yet, or none that a rollout goes on by.
        RolloutPhase::Pending | RolloutPhase::RolledBack(_) => return,
        RolloutPhase::Killed => RolloutVerb::Warn,
        RolloutPhase::Held(kept) => {
            let is_kept =
                kept.cause.is_at_zero() || kept.cause.ends_by_itself() || kept.cause == HeldCause::PlanChanged;
            if is_kept { RolloutVerb::Warn } else { RolloutVerb::Hold }
        }
        RolloutPhase::Running | RolloutPhase::Complete => RolloutVerb::Hold,
    };
    if act == RolloutVerb::Hold {
        let next = held(&draft.next, HeldCause::StableChanged, PLAN, sentence.clone());
        hold(&mut draft.next, next);
    }
    draft.next.warned.clear();
    draft.decide(act, sentence).begins_anew = true;
}

/// A kill of the rollout, or of a route or variant of it.
pub(super) fn follow_kills(draft: &mut StepDraft<'_>) {
    match (&draft.next.phase, draft.facts.kill.own) {
        (RolloutPhase::RolledBack(_), true) => draft.next.fall = None,
        (RolloutPhase::Killed, false) => {
            let sentence = "the kill has ended: it stays at 0 until a person resumes it".to_owned();
            let next = held(&draft.next, HeldCause::Revived, PLAN, sentence.clone());
            let passed_over = std::mem::take(&mut draft.next.passed_over);
            let next = Held { passed_over, ..next };
            hold(&mut draft.next, next);
            draft.decide(RolloutVerb::Revived, sentence);
        }
        (RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Held(_) | RolloutPhase::Complete, true) => {
            kill(draft);
        }
        (RolloutPhase::Killed, true)
        | (
            RolloutPhase::Pending
            | RolloutPhase::Running
            | RolloutPhase::Held(_)
            | RolloutPhase::RolledBack(_)
            | RolloutPhase::Complete,
            false,
        ) => {}
    }
}

fn kill(draft: &mut StepDraft<'_>) {
    let kept = held_now(&draft.next).cloned();
    (draft.next.reached, draft.next.ramp) = (0, None);
    if let Some(wanted) = kept.as_ref().filter(|held| held.cause == HeldCause::NoRollbackTarget) {
        // At 0 it needs no target.
        let back = RolledBack { by: wanted.by.clone(), sentence: wanted.sentence.clone() };
        latch(draft.plan, &mut draft.next, back);
        draft.decide(RolloutVerb::Rollback, format!("a kill covers it: {}", wanted.sentence));
        return;
    }
    draft.next.phase = RolloutPhase::Killed;
    draft.next.passed_over = kept.is_some_and(|held| held.passed_over || held.cause == HeldCause::Guard);
    draft.decide(RolloutVerb::Killed, draft.facts.kill.says());
}

/// A rollout that this one requires has fallen below its stage, or is there again.
pub(super) fn follow_requirements(draft: &mut StepDraft<'_>) {
    let unmet = &draft.facts.unmet;
    let is_over = matches!(&draft.next.phase, RolloutPhase::Held(held) if held.cause == HeldCause::Requires);
    if is_over && unmet.is_empty() {
        unhold(draft, "what it requires is there again");
        return;
    }
    let may_hold = match &draft.next.phase {
        RolloutPhase::Running | RolloutPhase::Complete => true,
        RolloutPhase::Held(held) => match held.cause {
            HeldCause::Person
            | HeldCause::Guard
            | HeldCause::CanaryDown
            | HeldCause::PlanChanged
            | HeldCause::StableChanged
            | HeldCause::Inconclusive
            | HeldCause::NoTraffic => true,
            HeldCause::NoRollbackTarget | HeldCause::Revived | HeldCause::Requires | HeldCause::Damaged => false,
        },
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
    };
    if may_hold && !unmet.is_empty() {
        let sentence = format!("a requirement is not met: {}", names(unmet));
        let next = held_over(&draft.next, HeldCause::Requires, PLAN, sentence.clone());
        hold(&mut draft.next, next);
        draft.decide(RolloutVerb::Hold, sentence);
    }
}

/// A hold ends by itself: when the record is on the disk.
pub(super) fn unhold(draft: &mut StepDraft<'_>, sentence: &str) {
    let RolloutPhase::Held(ended) = &draft.next.phase else { return };
    if draft.facts.journal.is_some() {
        return;
    }
    let mut after = draft.next.clone();
    after.phase = after_hold(draft.plan, &draft.next, ended);
    let mut decision = RolloutDecision::new(RolloutVerb::Unhold, sentence.to_owned(), after);
    if ended.passed_over {
        decision.begins_anew = true;
        decision.state.warned.clear();
    }
    draft.raise(decision);
}

/// The stage waits for too long: no request comes, or the evidence stays too little.
pub(super) fn follow_overdue(draft: &mut StepDraft<'_>) {
    if draft.next.phase != RolloutPhase::Running || draft.raise.is_some() {
        return;
    }
    let serves = effective_weight(draft.plan, &draft.next).millionths() > 0;
    let progress = &draft.next.progress;
    let is_over = |overdue: Option<Overdue>, waited: u64| overdue.filter(|overdue| waited >= overdue.after_ms);
    if let Some(overdue) = is_over(draft.plan.on_no_traffic, progress.quiet_ms).filter(|_| serves) {
        let sentence = format!("the canary has answered no request for {}", span(progress.quiet_ms));
        act_on(draft, overdue.act, HeldCause::NoTraffic, sentence);
        return;
    }
    let Some(overdue) = is_over(draft.plan.on_inconclusive, progress.waited_ms) else { return };
    if let Some(says) = too_little(draft.view()) {
        let sentence = format!("after {} in stage `{}`: {says}", span(progress.waited_ms), draft.next.stage);
        act_on(draft, overdue.act, HeldCause::Inconclusive, sentence);
    }
}

fn act_on(draft: &mut StepDraft<'_>, act: OverdueAct, cause: HeldCause, sentence: String) {
    let has_target = draft.facts.endpoints.has_target;
    match act {
        OverdueAct::Hold => {
            let next = held(&draft.next, cause, PLAN, sentence.clone());
            hold(&mut draft.next, next);
            draft.decide(RolloutVerb::Hold, sentence);
        }
        OverdueAct::Rollback if has_target || effective_weight(draft.plan, &draft.next).millionths() == 0 => {
            let back = RolledBack { by: cause.name().to_owned(), sentence: sentence.clone() };
            latch(draft.plan, &mut draft.next, back);
            draft.decide(RolloutVerb::Rollback, sentence);
        }
        OverdueAct::Rollback => {
            let next = held(&draft.next, HeldCause::NoRollbackTarget, cause.name(), sentence.clone());
            hold(&mut draft.next, next);
            draft.decide(RolloutVerb::Hold, sentence);
        }
    }
}
