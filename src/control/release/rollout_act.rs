//! An act of a person on a rollout, from the event to its answer.

use std::sync::Arc;

use super::act::{Act, ActError, PersonAct};
use super::answer::{Published, WaitingCaller};
use super::check::unknown;
use super::perform::too_many_wait;
use super::rollouts_due::deed;
use crate::config::nearest;
use crate::control::controller::Controller;
use crate::journal::{Deed, Draft, Record, RolloutDeed, rfc3339};
use crate::release::{ActRefusal, PersonVerb, RolloutDecision, Signer, perform};
use crate::route::KillScope;

impl Controller {
    /// Judges an act on a rollout and does it. What raises, and an approval, is in force when the disk has it.
    pub(super) fn act_on_rollout(&mut self, act: &Act, caller: WaitingCaller) {
        let PersonAct::Rollout { rollout: name, .. } = &act.what else { return };
        let name = name.clone();
        // In a hand-over the process that has the journal decides.
        if !self.decides_about_rollouts() {
            return caller.refuse(ActError::Stopping);
        }
        if caller.place.is_none() {
            return caller.refuse(too_many_wait());
        }
        // What has changed since the last step counts: a kill that has just ended, an endpoint that was ejected.
        self.step_rollouts();
        match self.decide_act(act) {
            Err(error) => caller.refuse(error),
            Ok((decision, draft)) => match self.release.ledger.append(draft) {
                Err(why) => caller.refuse(ActError::NotRecorded(why.to_string())),
                Ok(record) if decision.raises => {
                    self.wait_for_disk(&name, &record, decision);
                    self.wait_with_caller(record, KillScope::Rollout(name), caller);
                }
                Ok(record) => {
                    let measured = self.begin_measuring(act, &record);
                    self.apply_rollout(&name, &record, &decision);
                    let edition = self.publish_kills();
                    if let Some(measured) = measured {
                        self.measure_rehearsal(measured);
                    }
                    self.show_all_releases();
                    let killed = self.release.kills.is_killed(&KillScope::Rollout(name));
                    let published = Published { record, edition, still_killed_by: None, repeated: false, killed };
                    self.answer_when_in_force(caller, published);
                }
            },
        }
    }

    /// What an act decides, with its record.
    ///
    /// # Errors
    /// There is no such rollout, it does not take the act, or the act must wait.
    fn decide_act(&mut self, act: &Act) -> Result<(RolloutDecision, Draft), ActError> {
        let PersonAct::Rollout { rollout: name, verb, roles } = &act.what else { return Err(ActError::Stopping) };
        let snapshot = self.store.load();
        let rules = &snapshot.rules;
        let Some(id) = rules.find_rollout(name) else {
            let similar = nearest(name, rules.rollouts.iter().map(|rollout| rollout.name.as_str()));
            return Err(unknown(format!("there is no rollout `{name}`"), similar.map(str::to_owned)));
        };
        let rollout = rules.rollout(id);
        let Some(active) = self.release.rollouts.get(name) else { return Err(ActError::Stopping) };
        let is_waiting = active.waiting.is_some();
        let state = active.state.clone();
        if *verb == PersonVerb::Rehearse && !rollout.about.rehearsal {
            return Err(ActError::Rollout { rollout: name.clone(), refusal: not_for_rehearsals(name) });
        }
        let facts = self.rollout_facts(&snapshot, rollout, 0);
        let at = rfc3339(self.state.clock.wall());
        let signer = Signer { name: act.who.name.clone(), roles: roles.clone(), at, reason: act.reason.clone() };
        let refused = |refusal: ActRefusal| ActError::Rollout { rollout: name.clone(), refusal };
        let decision = perform(&rollout.plan, &state, &facts, &signer, verb).map_err(refused)?;
        if is_waiting && decision.raises {
            return Err(ActError::InFlight(name.clone()));
        }
        let role = approved_role(verb, &decision);
        let deed = RolloutDeed { role, ..deed(rules, rollout, &state, &decision) };
        let reason = Some(act.reason.clone()).filter(|reason| !reason.is_empty());
        let draft = self.draft(act.who.clone(), Deed::Rollout(deed), reason);
        Ok((decision, Draft { key: act.key.clone(), ..draft }))
    }

    /// The record of a person's raise is on the disk: it is in force, unless a later record has overtaken it.
    pub(super) fn finish_act(&mut self, record: &Arc<Record>) {
        let Deed::Rollout(deed) = &record.what else { return };
        let name = deed.rollout.clone();
        let Some(active) = self.release.rollouts.get_mut(&name) else { return };
        let waiting = active.waiting.take_if(|one| one.record.seq == record.seq);
        match waiting {
            Some(waiting) => self.apply_rollout(&name, record, &waiting.decision),
            // It is recorded, and a later decision is in force.
            None => self.announce(record),
        }
    }
}

/// The plan does not permit a rollback on live traffic for practice.
fn not_for_rehearsals(name: &str) -> ActRefusal {
    ActRefusal::WrongState {
        message: format!("the plan of {name} does not permit rehearsals on live traffic"),
        help: format!("write `rehearsal = true` in [rollout.{name}], and reload"),
    }
}

/// The role that an approval fills.
fn approved_role(verb: &PersonVerb, decision: &RolloutDecision) -> Option<String> {
    match verb {
        PersonVerb::Approve { .. } => decision.state.approvals.last().map(|approval| approval.role.clone()),
        PersonVerb::Hold
        | PersonVerb::Resume
        | PersonVerb::Rollback
        | PersonVerb::Goto { .. }
        | PersonVerb::Restart
        | PersonVerb::Rehearse => None,
    }
}
