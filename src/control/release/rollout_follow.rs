//! Rollouts follow the file and the journal: at a start, at a reload, and when this process gets the journal.

use std::sync::Arc;

use super::rollouts::{ActiveRollout, held_by_damage, hold_for_damage};
use super::rollouts_due::deed;
use crate::control::controller::Controller;
use crate::journal::{Actor, Deed, Record, Via};
use crate::release::{
    HeldCause, PlanRejection, RolloutDecision, RolloutPhase, RolloutState, RolloutVerb, follow_plan, hold_for_route,
    resume_plan, stopped_by_person,
};
use crate::route::{Rollout, Rules};

impl Controller {
    /// Why a new file does not fit to where a rollout is.
    pub(in crate::control) fn rejected_plan(&self, rules: &Rules) -> Option<PlanRejection> {
        self.release.foresight().rejection(&self.store.load().rules, rules)
    }

    /// Rollouts follow the rules of a reload, which are about to be published.
    pub(in crate::control) fn follow_rollouts(&mut self, rules: &Rules) {
        for (name, active) in self.release.rollouts.follow(rules) {
            self.archive(&name, &active);
        }
        for rollout in &rules.rollouts {
            let Some(active) = self.release.rollouts.get_mut(&rollout.name) else { continue };
            if rules.revision_of_rollout(rollout) != active.state.revision {
                if !is_held_by_damage(&active.state) {
                    stand_before_first_stage(&mut active.state, rollout);
                }
                continue;
            }
            let before = active.state.clone();
            if let Ok(Some(decision)) = follow_plan(&rollout.plan, &before) {
                self.record_of_file(Edited { rules, rollout }, &before, &decision);
            }
        }
        self.state.release.follow_rules(rules);
    }

    /// A rollout has left the file: its state is kept.
    fn archive(&mut self, name: &str, active: &ActiveRollout) {
        let Some(Deed::Rollout(last)) = active.record.as_ref().map(|record| record.what.clone()) else { return };
        let state = serde_json::to_value(&active.state).unwrap_or_default();
        let because = format!("it has left the file at stage {}", active.state.stage);
        let act = RolloutVerb::Archive.name().to_owned();
        let (from, to) = (last.to, 0.0);
        let evidence = serde_json::Value::Null;
        let deed = Deed::Rollout(crate::journal::RolloutDeed {
            act,
            because,
            from,
            to,
            raises: false,
            evidence,
            state,
            role: None,
            ..last
        });
        if !self.release.ledger.is_ours() {
            // The process that has the journal reads the same file.
            return;
        }
        let draft = self.draft(Actor { via: Via::File, ..Actor::process() }, deed, None);
        if let Ok(record) = self.release.ledger.append(draft) {
            self.release.rollouts.apply(&record);
            self.announce(&record);
        }
        tracing::info!(rollout = name, "the rollout has left the file; its state is kept");
    }

    fn record_of_file(&mut self, edited: Edited<'_>, before: &RolloutState, decision: &RolloutDecision) {
        let Edited { rules, rollout } = edited;
        if !self.release.ledger.is_ours() {
            // The process that has the journal records what it decides.
            if let Some(active) = self.release.rollouts.get_mut(&rollout.name) {
                active.state = decision.state.clone();
            }
            return;
        }
        let what = Deed::Rollout(deed(rules, rollout, before, decision));
        let draft = self.draft(Actor { via: Via::File, ..Actor::process() }, what, None);
        let record = self.release.ledger.append(draft.clone());
        let record = record.unwrap_or_else(|_| Arc::new(draft.unrecorded()));
        self.apply_rollout(&rollout.name, &record, decision);
    }

    /// Rollouts stand where the journal left them, under the rules of this start.
    pub(super) fn restore_rollouts(&mut self, records: Vec<Record>) {
        let snapshot = self.store.load();
        let rules = &snapshot.rules;
        if self.release.rollouts.is_damaged {
            self.release.rollouts.add(records);
        } else {
            self.release.rollouts.restore(records);
        }
        for (name, active) in self.release.rollouts.follow(rules) {
            self.archive(&name, &active);
        }
        for rollout in &rules.rollouts {
            let is_damaged = self.release.rollouts.is_damaged;
            let Some(active) = self.release.rollouts.get_mut(&rollout.name) else { continue };
            // A rollback that takes its time does not outlive its process, and the clock is another one.
            (active.state.fall, active.state.clock) = (None, None);
            let before = active.state.clone();
            if active.record.is_none() {
                if is_damaged {
                    let sentence = says(&before);
                    let state = before.clone();
                    let decision = RolloutDecision::new(RolloutVerb::Hold, sentence, state);
                    self.record_of_file(Edited { rules, rollout }, &before, &decision);
                }
                continue;
            }
            let is_latched = matches!(before.phase, RolloutPhase::RolledBack(_));
            if is_held_by_damage(&before) {
                continue;
            }
            if rules.revision_of_rollout(rollout) != before.revision {
                if is_damaged {
                    // The lost records may be about this revision.
                    let latched = before.latched.clone();
                    active.state = RolloutState { latched, ..held_by_damage(rules, rollout) };
                    let state = active.state.clone();
                    let decision = RolloutDecision::new(RolloutVerb::Hold, says(&state), state);
                    self.record_of_file(Edited { rules, rollout }, &before, &decision);
                } else {
                    stand_before_first_stage(&mut active.state, rollout);
                }
                continue;
            }
            if is_latched {
                continue;
            }
            let joined = active.record.as_ref().and_then(|record| joined(rules, rollout, record));
            let (state, decision) = resume_plan(&rollout.plan, &before);
            active.state = state;
            let decision = joined.and_then(|route| hold_for_route(&rollout.plan, &active.state, &route)).or(decision);
            let decision = if is_damaged { hold_for_damage(&active.state).or(decision) } else { decision };
            if let Some(decision) = decision {
                self.record_of_file(Edited { rules, rollout }, &before, &decision);
            }
        }
        // A rollout that comes to the file later is a new one.
        self.release.rollouts.is_damaged = false;
        self.release.rollouts.stepped_ms = None;
        self.state.release.follow_rules(rules);
    }
}

/// A rollout of rules that come into effect.
#[derive(Clone, Copy)]
struct Edited<'a> {
    rules: &'a Rules,
    rollout: &'a Rollout,
}

/// A route that the rollout did not have when its last record was made.
fn joined(rules: &Rules, rollout: &Rollout, record: &Record) -> Option<String> {
    let Deed::Rollout(last) = &record.what else { return None };
    if last.routes.is_empty() {
        // An earlier version has written it.
        return None;
    }
    let mut names = rollout.members.iter().map(|member| &rules.route(member.route).name);
    names.find(|name| !last.routes.contains(*name)).cloned()
}

fn is_held_by_damage(state: &RolloutState) -> bool {
    matches!(&state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::Damaged)
}

/// Why a rollout is held, in one sentence.
fn says(state: &RolloutState) -> String {
    match &state.phase {
        RolloutPhase::Held(held) => held.sentence.clone(),
        RolloutPhase::Pending
        | RolloutPhase::Running
        | RolloutPhase::Killed
        | RolloutPhase::RolledBack(_)
        | RolloutPhase::Complete => String::new(),
    }
}

/// Another revision gets no request until it has entered the first stage. The next step says so in the journal.
fn stand_before_first_stage(state: &mut RolloutState, rollout: &Rollout) {
    let first = rollout.plan.stages.first().map(|stage| stage.name.clone()).unwrap_or_default();
    let before = std::mem::take(state);
    // What a person has stopped, another revision does not start.
    let phase = stopped_by_person(&before).map_or(RolloutPhase::Pending, RolloutPhase::Held);
    let RolloutState { revision, stable, latched, clock, .. } = before;
    *state = RolloutState { revision, stable, stage: first, phase, latched, clock, ..RolloutState::default() };
}
