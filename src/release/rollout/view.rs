//! What the questions about a rollout look at: its plan, its state and what is known.

use super::facts::RolloutFacts;
use super::state::{Approval, RolloutState};
use super::weight::{limit, plan_hash, top};
use crate::route::{RolloutPlan, Stage};

/// Plan, state and facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub plan: &'a RolloutPlan,
    pub state: &'a RolloutState,
    pub facts: &'a RolloutFacts,
}

/// Where a rollout goes next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Into the stage with this index.
    Enter(usize),
    /// To the weight of the stage where it is.
    Regain,
    /// On its ramp.
    Ramp,
    /// Out of the last stage.
    Complete,
}

impl<'a> View<'a> {
    /// The index of the stage where it is.
    pub fn at(self) -> Option<usize> {
        self.plan.find(&self.state.stage)
    }

    /// The stage where it is.
    pub fn stage(self) -> Option<&'a Stage> {
        self.at().map(|at| &self.plan.stages[at])
    }

    /// Whether it has entered a stage under its revision.
    pub fn has_entered(self) -> bool {
        !self.state.passed.is_empty()
    }

    /// Where it goes next.
    pub fn ahead(self) -> Ahead {
        let Some(at) = self.at().filter(|_| self.has_entered()) else { return Ahead::Enter(0) };
        if self.state.ramp.is_some() {
            Ahead::Ramp
        } else if self.state.reached < limit(self.plan, self.state) {
            Ahead::Regain
        } else if at + 1 < self.plan.stages.len() {
            Ahead::Enter(at + 1)
        } else {
            Ahead::Complete
        }
    }

    /// Whether its weight is below that of its stage because the ceiling is.
    pub fn is_capped(self) -> bool {
        self.stage().is_some_and(|stage| top(stage) > self.plan.max_weight)
    }

    /// The approvals of a stage that count under the plan as it is.
    pub fn approvals(self, at: usize) -> Vec<&'a Approval> {
        let Some(stage) = self.plan.stages.get(at) else { return Vec::new() };
        let mut given: Vec<&Approval> = self.state.approvals.iter().filter(|one| one.stage == stage.name).collect();
        if !given.is_empty() {
            let hash = plan_hash(self.plan, at);
            given.retain(|one| one.plan == hash);
        }
        given
    }

    /// The roles that a stage still waits for.
    pub fn awaited(self, at: usize) -> Vec<&'a str> {
        let Some(stage) = self.plan.stages.get(at).filter(|stage| !stage.approve.is_empty()) else { return Vec::new() };
        let given: Vec<&str> = self.approvals(at).into_iter().map(|one| one.role.as_str()).collect();
        stage.approve.iter().map(String::as_str).filter(|role| !given.contains(role)).collect()
    }
}
