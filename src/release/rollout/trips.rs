//! What follows from guards that trip, and from a canary that accepts no connections.

use std::cmp::Reverse;

use super::decision::RolloutVerb;
use super::draft::{StepDraft, trip_sentence};
use super::facts::{CanaryDown, RolloutTrip, TripAct};
use super::rollback::{held, held_now, held_over, hold, latch};
use super::state::{Held, HeldCause, RolledBack, RolloutPhase};
use super::stops::unhold;
use super::weight::effective_weight;
use crate::release::state::{CANARY_DOWN, DOWN_MAX_MS, DownFacts, REFUSALS_MAX};

/// Rollback before hold before warn; of those that want a rollback the first one is named.
pub(super) fn follow_trips(draft: &mut StepDraft<'_>) {
    if draft.is_new {
        return;
    }
    let facts = draft.facts;
    let mut trips: Vec<&RolloutTrip> = facts.trips.iter().collect();
    trips.sort_by_key(|trip| Reverse(trip.act));
    let mut refused = None;
    for trip in trips {
        if matches!(draft.next.phase, RolloutPhase::RolledBack(_)) {
            return;
        }
        match trip.act {
            TripAct::Rollback if is_refusal(draft, trip) => refused = refused.or(Some(trip)),
            TripAct::Rollback => roll_back(draft, trip),
            TripAct::Hold => hold_by(draft, trip),
            TripAct::Warn => warn(draft, trip),
        }
    }
    follow_canary(draft, refused);
    follow_target(draft);
}

/// The cause of the hold, if it is held.
fn cause(draft: &StepDraft<'_>) -> Option<HeldCause> {
    held_now(&draft.next).map(|held| held.cause)
}

/// Whether requests may go to the canary, so that it can be found down.
fn may_serve(draft: &StepDraft<'_>) -> bool {
    match &draft.next.phase {
        RolloutPhase::Running | RolloutPhase::Complete => true,
        // Held before its first stage it serves nothing.
        RolloutPhase::Held(held) => !held.cause.is_at_zero() && !draft.next.passed.is_empty(),
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
    }
}

/// Whether the errors of a trip are connections that the canary refuses, so that it is held, not rolled back: with many
/// requests a guard trips before there are enough tries to call the canary down.
fn is_refusal(draft: &StepDraft<'_>, trip: &RolloutTrip) -> bool {
    let Some(down) = &draft.facts.endpoints.down else { return false };
    let is_held = cause(draft) == Some(HeldCause::CanaryDown);
    let is_of_route = trip.route.as_ref().is_none_or(|route| *route == down.route);
    let may_hold = is_held || (may_serve(draft) && draft.next.refusals < REFUSALS_MAX);
    let has_target = draft.facts.endpoints.has_target;
    trip.counts_errors && is_of_route && may_hold && has_target && down.act == Some(TripAct::Rollback)
}

/// Rolls back, or waits for a stable that can take the requests.
fn roll_back(draft: &mut StepDraft<'_>, trip: &RolloutTrip) {
    let serves = effective_weight(draft.plan, &draft.next).millionths() > 0;
    if draft.facts.endpoints.has_target || !serves {
        let back = RolledBack { by: trip.guard.clone(), sentence: trip_sentence(trip) };
        latch(draft.plan, &mut draft.next, back);
        draft.decide_by(RolloutVerb::Rollback, trip);
    } else if cause(draft) != Some(HeldCause::NoRollbackTarget) {
        let next = held(&draft.next, HeldCause::NoRollbackTarget, &trip.guard, trip_sentence(trip));
        hold(&mut draft.next, next);
        draft.decide_by(RolloutVerb::Hold, trip);
    }
}

/// Holds at its weight where it is not held for another reason that is as strong.
fn hold_by(draft: &mut StepDraft<'_>, trip: &RolloutTrip) {
    let may_hold = match &draft.next.phase {
        RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Complete => true,
        RolloutPhase::Held(held) => match held.cause {
            HeldCause::Person | HeldCause::StableChanged | HeldCause::Inconclusive | HeldCause::NoTraffic => true,
            HeldCause::Guard
            | HeldCause::CanaryDown
            | HeldCause::NoRollbackTarget
            | HeldCause::Revived
            | HeldCause::Requires
            | HeldCause::PlanChanged
            | HeldCause::Damaged => false,
        },
        RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
    };
    if !may_hold {
        warn(draft, trip);
        match &mut draft.next.phase {
            RolloutPhase::Held(held) => held.passed_over = true,
            RolloutPhase::Killed => draft.next.passed_over = true,
            RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => {}
        }
        return;
    }
    draft.next.warned.insert(trip.guard.clone());
    let next = held(&draft.next, HeldCause::Guard, &trip.guard, trip_sentence(trip));
    hold(&mut draft.next, next);
    draft.decide_by(RolloutVerb::Hold, trip);
}

fn warn(draft: &mut StepDraft<'_>, trip: &RolloutTrip) {
    if draft.next.warned.insert(trip.guard.clone()) {
        draft.decide_by(RolloutVerb::Warn, trip);
    }
}

impl CanaryDown {
    fn facts(&self) -> DownFacts {
        DownFacts { endpoints: self.endpoints, tries: self.tries }
    }

    /// The same as a trip.
    fn trip(&self, act: TripAct) -> RolloutTrip {
        let facts = self.facts();
        RolloutTrip {
            guard: CANARY_DOWN.to_owned(),
            route: Some(self.route.clone()),
            act,
            counts_errors: false,
            sentence: facts.sentence(),
            evidence: facts.evidence(),
        }
    }
}

/// Holds at 0 while none of the canary's endpoints accepts connections, and rolls back when that lasts.
fn follow_canary(draft: &mut StepDraft<'_>, refused: Option<&RolloutTrip>) {
    let (facts, is_held) = (draft.facts, cause(draft) == Some(HeldCause::CanaryDown));
    if !is_held && !may_serve(draft) {
        return;
    }
    let down = facts.endpoints.down.as_ref();
    let down = down.filter(|down| is_held || refused.is_some() || down.facts().is_down());
    match (down, down.and_then(|down| down.act)) {
        (Some(down), Some(act @ (TripAct::Rollback | TripAct::Hold))) => {
            if is_held {
                stay_down(draft, down, refused);
            } else if facts.endpoints.has_target {
                hold_down(draft, &down.trip(act), refused);
            }
        }
        (Some(down), Some(TripAct::Warn)) => {
            warn(draft, &down.trip(TripAct::Warn));
            if is_held {
                unhold(draft, "no guard of errors acts on its weight any more");
            }
        }
        (Some(_), None) if is_held => unhold(draft, "no guard of errors watches it any more"),
        (None, _) if is_held => unhold(draft, "an endpoint of the canary accepts connections"),
        (Some(_) | None, _) => {}
    }
}

/// Holds it at 0: for the trip of a guard, or because it is down.
fn hold_down(draft: &mut StepDraft<'_>, down: &RolloutTrip, refused: Option<&RolloutTrip>) {
    if refused.is_some() {
        draft.next.refusals = draft.next.refusals.saturating_add(1);
    }
    let trip = refused.unwrap_or(down);
    let next = held_over(&draft.next, HeldCause::CanaryDown, &trip.guard, trip_sentence(trip));
    hold(&mut draft.next, Held { passed_over: refused.is_some(), ..next });
    draft.decide_by(RolloutVerb::Hold, trip);
}

/// It is down still.
fn stay_down(draft: &mut StepDraft<'_>, down: &CanaryDown, refused: Option<&RolloutTrip>) {
    let RolloutPhase::Held(held) = &mut draft.next.phase else { return };
    held.passed_over |= refused.is_some();
    let is_too_long = held.for_ms >= DOWN_MAX_MS;
    if is_too_long && draft.facts.endpoints.has_target && down.act == Some(TripAct::Rollback) {
        roll_back(draft, &down.trip(TripAct::Rollback));
    }
}

/// A rollback that waited for a stable is done when there is one, or when the canary gets nothing.
fn follow_target(draft: &mut StepDraft<'_>) {
    let serves = effective_weight(draft.plan, &draft.next).millionths() > 0;
    let RolloutPhase::Held(held) = &draft.next.phase else { return };
    if held.cause == HeldCause::NoRollbackTarget && (draft.facts.endpoints.has_target || !serves) {
        let (by, seen) = (held.by.clone(), held.sentence.clone());
        latch(draft.plan, &mut draft.next, RolledBack { by, sentence: seen.clone() });
        draft.decide(RolloutVerb::Rollback, format!("stable has a usable endpoint again: {seen}"));
    }
}
