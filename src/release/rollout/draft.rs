//! A step under way: the state as it becomes, and what was decided.

use super::decision::{RolloutDecision, RolloutVerb};
use super::facts::{RolloutFacts, RolloutTrip};
use super::state::RolloutState;
use super::view::View;
use crate::route::RolloutPlan;

/// A step under way.
#[derive(Debug)]
pub(super) struct StepDraft<'a> {
    pub plan: &'a RolloutPlan,
    pub facts: &'a RolloutFacts,
    /// The state as it becomes, without a raise.
    pub next: RolloutState,
    /// What lowers, or changes no weight.
    pub lowered: Vec<RolloutDecision>,
    /// What raises: at most one, and dropped by whatever lowers after it.
    pub raise: Option<RolloutDecision>,
    /// The rollout begins in this step: trips are about the revision before.
    pub is_new: bool,
}

impl<'a> StepDraft<'a> {
    /// A step of this state.
    pub fn new(plan: &'a RolloutPlan, state: &RolloutState, facts: &'a RolloutFacts) -> Self {
        Self { plan, facts, next: state.clone(), lowered: Vec::new(), raise: None, is_new: false }
    }

    /// What the questions look at.
    pub fn view(&self) -> View<'_> {
        View { plan: self.plan, state: &self.next, facts: self.facts }
    }

    /// Decides what is in force at once; the state is the one so far.
    pub fn decide(&mut self, act: RolloutVerb, sentence: impl Into<String>) -> &mut RolloutDecision {
        debug_assert!(!act.raises(), "what raises is the last decision of a step");
        self.raise = None;
        self.lowered.push(RolloutDecision::new(act, sentence.into(), self.next.clone()));
        let last = self.lowered.len() - 1;
        &mut self.lowered[last]
    }

    /// The same by a guard.
    pub fn decide_by(&mut self, act: RolloutVerb, trip: &RolloutTrip) {
        let sentence = trip_sentence(trip);
        self.decide(act, sentence).guard = Some(trip.clone());
    }

    /// Decides to raise: in force when its record is on the disk.
    pub fn raise(&mut self, decision: RolloutDecision) {
        debug_assert!(decision.raises, "what lowers is in force at once");
        self.raise = Some(decision);
    }
}

/// What a guard saw, with the route that it judges on its own.
pub(super) fn trip_sentence(trip: &RolloutTrip) -> String {
    match &trip.route {
        Some(route) => format!("{}, on route `{route}`", trip.sentence),
        None => trip.sentence.clone(),
    }
}
