//! What the journal keeps of an automatic decision, and the decision again from that.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decision::RolloutDecision;
use super::facts::RolloutFacts;
use super::state::RolloutState;
use super::step::step;
use crate::release::{ReplayedTrip, replay, replay_promotion};
use crate::route::RolloutPlan;

/// What the journal keeps of an automatic decision: all that the step had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutEvidence {
    /// The plan in effect.
    pub plan: RolloutPlan,
    /// The state before the step.
    pub state: RolloutState,
    /// What was known.
    pub facts: RolloutFacts,
}

/// An automatic decision again.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedRollout {
    /// What the step decides by the record.
    pub decisions: Vec<RolloutDecision>,
    /// The guards of the record that have counts, decided again.
    pub trips: Vec<ReplayedGuard>,
}

/// A guard of a record, decided again by its counts.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedGuard {
    /// The guard.
    pub guard: String,
    /// What its counts say, or what is malformed in them.
    pub outcome: Result<ReplayedTrip, String>,
}

impl RolloutEvidence {
    /// The evidence of the decisions of a step with these arguments, as the journal keeps it.
    #[must_use]
    pub fn of(plan: &RolloutPlan, state: &RolloutState, facts: &RolloutFacts) -> Value {
        let whole = Self { plan: plan.clone(), state: state.clone(), facts: facts.clone() };
        // Numbers, words and lists of them: all of it can be written.
        serde_json::to_value(whole).unwrap_or_default()
    }
}

impl ReplayedRollout {
    /// Whether the step decides what the record says: the act, with the state after it.
    #[must_use]
    pub fn agrees(&self, act: &str, state: &Value) -> bool {
        let Ok(after) = RolloutState::deserialize(state) else { return false };
        let is_same = |one: &RolloutDecision| one.act.name() == act && one.state == after;
        self.decisions.iter().any(is_same) && self.trips.iter().all(ReplayedGuard::trips)
    }
}

impl ReplayedGuard {
    /// Whether it trips again.
    #[must_use]
    pub fn trips(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|replayed| replayed.trips)
    }
}

/// Decides again from the evidence of a record about a rollout.
///
/// # Errors
/// What is missing in it, or malformed.
pub fn replay_rollout(evidence: &Value) -> Result<ReplayedRollout, String> {
    let RolloutEvidence { plan, state, mut facts } =
        RolloutEvidence::deserialize(evidence).map_err(|error| format!("the evidence: {error}"))?;
    // What `require` asks for is computed again by its counts, too.
    let asked = [&mut facts.evidence.non_inferior, &mut facts.evidence.rate_below];
    for test in asked.into_iter().flatten().filter(|test| !test.counts.is_null()) {
        test.evidence_log10 = replay_promotion(test)?;
    }
    // A guard that asks Prometheus has a value, and no test to compute again.
    let with_counts = facts.trips.iter().filter(|trip| trip.evidence.get("tested").is_some());
    let trips =
        with_counts.map(|trip| ReplayedGuard { guard: trip.guard.clone(), outcome: replay(&trip.evidence) }).collect();
    Ok(ReplayedRollout { decisions: step(&plan, &state, &facts).decisions, trips })
}
