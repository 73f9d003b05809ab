//! The time of a rollout: holds, falls, ramps and the progress of a stage. It is running time of the monotonic clock; the
//! wall clock moves nothing here.

use super::blocks::pauses_ramp;
use super::draft::StepDraft;
use super::state::{Regain, RolloutPhase, SeenClock};
use super::weight::{effective_weight, limit, top};

/// A step counts at most so much time, in milliseconds: when the process stood still for longer (a suspended machine, a
/// debugger), it has judged no requests meanwhile.
const STEP_MS_MAX: u64 = 10_000;

/// The wall clock jumps when it is so far from where the monotonic clock sees it, in milliseconds.
const JUMP_MS: u64 = 60_000;
/// Nothing is raised for so long after a jump, in milliseconds: freeze windows and `not_before` go by the wall clock, and a
/// clock that is wrong is mostly set right soon.
const JUMP_WAIT_MS: u64 = 600_000;

/// Looks at the wall clock. The first step of a process has nothing to compare it with.
pub(super) fn watch(draft: &mut StepDraft<'_>) {
    let (now, elapsed) = (draft.facts.wall_ms, draft.facts.elapsed_ms);
    let mut seen =
        draft.next.clock.unwrap_or(SeenClock { wall_ms: now.saturating_sub(elapsed), ..SeenClock::default() });
    let jump_ms = now.abs_diff(seen.wall_ms.saturating_add(elapsed));
    seen.wait_ms = seen.wait_ms.saturating_sub(elapsed);
    if elapsed > 0 && jump_ms >= JUMP_MS {
        (seen.jump_ms, seen.wait_ms) = (jump_ms, JUMP_WAIT_MS);
    }
    seen.wall_ms = now;
    draft.next.clock = Some(seen);
}

/// Time goes on for holds and falls, before anything is decided.
pub(super) fn pass(draft: &mut StepDraft<'_>) {
    let elapsed = draft.facts.elapsed_ms.min(STEP_MS_MAX);
    if let RolloutPhase::Held(held) = &mut draft.next.phase {
        held.for_ms = held.for_ms.saturating_add(elapsed);
    }
    if let Some(fall) = &mut draft.next.fall {
        fall.run_ms = fall.run_ms.saturating_add(elapsed);
        if fall.is_over() {
            draft.next.fall = None;
        }
    }
}

/// Time goes on in the stage, after all that may stop it.
pub(super) fn run(draft: &mut StepDraft<'_>) {
    let elapsed = draft.facts.elapsed_ms.min(STEP_MS_MAX);
    let stands = draft.facts.freeze.is_some() || draft.facts.kill.all;
    if draft.next.phase != RolloutPhase::Running || !draft.view().has_entered() {
        draft.next.progress.seen = None;
        return;
    }
    let more = answered_now(draft);
    let keys = draft.facts.evidence.keys;
    let was_dark = draft.next.passed.last().is_some_and(|passed| passed.weight == 0);
    let is_dark = was_dark || draft.view().stage().is_some_and(|stage| top(stage) == 0);
    // At a ceiling of 0 its time goes on too: else it could never rise again.
    let counts_at_zero = is_dark || draft.next.regain == Regain::Gates;
    let serves = effective_weight(draft.plan, &draft.next).millionths() > 0;
    let is_on_ramp = draft.next.ramp.is_some();
    let progress = &mut draft.next.progress;
    progress.keys = progress.keys.max(keys);
    if more > 0 {
        progress.quiet_ms = 0;
    } else if serves && !stands {
        progress.quiet_ms = progress.quiet_ms.saturating_add(elapsed);
    }
    if is_on_ramp {
        return;
    }
    progress.answered = progress.answered.saturating_add(more);
    if (serves || counts_at_zero) && !stands {
        progress.run_ms = progress.run_ms.saturating_add(elapsed);
        progress.waited_ms = progress.waited_ms.saturating_add(elapsed);
    }
}

/// The requests that were answered since the last step in the stage.
fn answered_now(draft: &mut StepDraft<'_>) -> u64 {
    let answered = draft.facts.evidence.answered;
    match draft.next.progress.seen.replace(answered) {
        Some(before) if before <= answered => answered - before,
        // A process that starts counts from 0.
        Some(_) => answered,
        None => 0,
    }
}

/// The weight is a function of the time of the ramp. It comes last: what stops a rollout in this step stops its ramp.
pub(super) fn follow_ramp(draft: &mut StepDraft<'_>) {
    let stands = draft.facts.freeze.is_some() || draft.facts.kill.all;
    if draft.next.phase != RolloutPhase::Running || stands || draft.raise.is_some() || pauses_ramp(draft.view()) {
        return;
    }
    let elapsed = draft.facts.elapsed_ms.min(STEP_MS_MAX);
    let limit = limit(draft.plan, &draft.next);
    let Some(ramp) = &mut draft.next.ramp else { return };
    ramp.run_ms = ramp.run_ms.saturating_add(elapsed);
    let ramp = *ramp;
    draft.next.reached = ramp.weight().millionths().min(limit).max(draft.next.reached);
    if ramp.is_over() {
        draft.next.ramp = None;
        if ramp.to < limit {
            // The stage has more weight than when the ramp began.
            draft.next.regain = Regain::Gates;
        }
    }
    debug_assert!(draft.next.reached <= limit.max(ramp.from), "a ramp leads no further than its stage");
}
