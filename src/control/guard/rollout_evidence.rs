//! What guards count and judge about the rollouts.
//!
//! The canaries' distinct keys since a stage was entered are estimated by `HyperLogLog` over all workers and member routes: a
//! caller counts once where the routes have one salt and the same sticky keys, which `check` asks for.

use std::collections::HashSet;

use super::keeper::Keeper;
use super::kept_group::KeptGroup;
use crate::release::{GuardStanding, RolloutTrip, StageEvidence};
use crate::route::{Require, Rollout, RolloutMember};
use crate::shadow_compare::{Comparator, ShadowTally};
use crate::snapshot::Snapshot;
use crate::telemetry::StatusClass;

/// Where the counts about a stage come from.
#[derive(Clone, Copy)]
pub(in crate::control) struct StageSources<'a> {
    /// The snapshot in effect.
    pub snapshot: &'a Snapshot,
    /// What compares the copies of shadows.
    pub comparator: &'a Comparator,
    /// The time, in milliseconds since the process started.
    pub now_ms: u64,
}

impl Keeper {
    /// Follows the rollouts of a new configuration.
    pub(super) fn follow_rollouts(&mut self, snapshot: &Snapshot) {
        let rules = &snapshot.rules;
        self.rollouts.retain(|name, _| rules.find_rollout(name).is_some());
        for rollout in &rules.rollouts {
            let mut states = rollout.members.iter().filter_map(|member| snapshot.routes.get(member.route.0 as usize));
            let exposed = states.find_map(|state| state.exposed.clone());
            let kept = self.rollouts.entry(rollout.name.clone()).or_default();
            kept.follow(exposed, rules.revision_of_rollout(rollout));
        }
    }

    /// The trips about a rollout that the ticks since the last call have found, on any of its routes.
    pub fn take_rollout_trips(&mut self, rollout: &str) -> Vec<RolloutTrip> {
        self.group_of(rollout).and_then(|at| self.groups.get_mut(at)).map(KeptGroup::take_trips).unwrap_or_default()
    }

    /// What was counted and judged about the stage of a rollout. The tests that `require` names are computed now.
    pub fn stage_evidence(&mut self, from: StageSources<'_>, rollout: &str, require: &Require) -> StageEvidence {
        let StageSources { snapshot, comparator, now_ms } = from;
        let id = snapshot.rules.find_rollout(rollout);
        let Some(plan) = id.and_then(|id| snapshot.rules.rollouts.get(id.0 as usize)) else {
            return StageEvidence::default();
        };
        let group = self.group_of(rollout).and_then(|at| self.groups.get_mut(at));
        let judged = group.map(|group| group.stage_evidence(require, now_ms)).unwrap_or_default();
        let kept = self.rollouts.entry(rollout.to_owned()).or_default();
        let answered = kept.answered.follow(plan.members.iter().map(|member| answered(snapshot, *member)).sum());
        let shadow = require.shadow_mismatch.map(|_| kept.shadows(now_ms, || copies_of(plan, snapshot, comparator)));
        StageEvidence { answered, keys: kept.keys(now_ms), shadow, ..judged }
    }

    /// The estimate of distinct tenants that the canaries of a rollout got since it began; `None`: none was seen, or its
    /// plan has no bound.
    pub fn tenants(&self, rollout: &str) -> Option<u64> {
        self.rollouts.get(rollout)?.tenants()
    }

    /// A rollout enters a stage: a window begins, thresholds are taken anew, keys and copies are counted from 0.
    pub fn enter_stage(&mut self, rollout: &str, now_ms: u64) {
        self.rollouts.entry(rollout.to_owned()).or_default().enter_stage();
        if let Some(group) = self.group_of(rollout).and_then(|at| self.groups.get_mut(at)) {
            group.enter_stage(now_ms);
        }
    }

    /// The evidence of all guards of a rollout begins anew. It is looked at in the next tick, and saved, also without
    /// traffic: after a start, evidence from before must not come back.
    pub fn begin_rollout_anew(&mut self, rollout: &str, now_ms: u64) {
        self.rollouts.entry(rollout.to_owned()).or_default().begin_anew();
        let Some(at) = self.group_of(rollout) else { return };
        if let Some(group) = self.groups.get_mut(at) {
            group.begin_anew(now_ms);
        }
        self.wake(at);
    }

    /// How the guards of a rollout stand.
    pub fn rollout_guards(&self, rollout: &str) -> Vec<GuardStanding> {
        let group = self.group_of(rollout).and_then(|at| self.groups.get(at));
        group.map(KeptGroup::rollout_guards).unwrap_or_default()
    }

    fn group_of(&self, rollout: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.rollout.as_deref() == Some(rollout))
    }
}

/// The answered requests of a variant, over all workers, since its series began.
fn answered(snapshot: &Snapshot, member: RolloutMember) -> u64 {
    let route = snapshot.routes.get(member.route.0 as usize);
    let Some(series) = route.and_then(|route| route.series.get(usize::from(member.variant.0))) else { return 0 };
    let of_class = |class: &StatusClass| match class {
        StatusClass::None => false,
        StatusClass::Informational
        | StatusClass::Success
        | StatusClass::Redirection
        | StatusClass::ClientError
        | StatusClass::ServerError => true,
    };
    let classes = || StatusClass::ALL.into_iter().filter(of_class);
    let of_reasons = series.meters.used().flat_map(|meter| &meter.requests);
    of_reasons.flat_map(|reason| classes().map(|class| reason[class as usize].value())).sum()
}

/// What was compared of the shadows of the routes of a rollout.
fn copies_of(rollout: &Rollout, snapshot: &Snapshot, comparator: &Comparator) -> Vec<ShadowTally> {
    let rules = &snapshot.rules;
    let routes = rollout.members.iter().filter_map(|member| rules.routes.get(member.route.0 as usize));
    let names: HashSet<&str> = routes.map(|route| route.name.as_str()).collect();
    let mut tallies = comparator.tallies(rules);
    tallies.retain(|tally| names.contains(tally.route.as_str()));
    tallies
}
