//! Acts of people on a rollout: judged and done.

use super::blocks::{approvals, blocks, but_approvals};
use super::decision::{Block, BlockKind, RolloutDecision, RolloutVerb};
use super::facts::{RolloutFacts, RolloutTrip, TripAct};
use super::moves::{entered, placed};
use super::person::{ActRefusal, PersonVerb, REHEARSAL, Signer};
use super::rollback::{after_hold, forget, held, held_now, latch};
use super::state::{Approval, Held, HeldCause, Regain, RolledBack, RolloutPhase, RolloutState, StageProgress};
use super::step::step;
use super::view::{Ahead, View};
use super::weight::{effective_weight, plan_hash, top};
use super::words::{percent, similar};
use crate::route::RolloutPlan;

/// Does an act: the decision with the state after it.
///
/// # Errors
/// Why it is refused.
pub fn perform(
    plan: &RolloutPlan,
    state: &RolloutState,
    facts: &RolloutFacts,
    signer: &Signer,
    verb: &PersonVerb,
) -> Result<RolloutDecision, ActRefusal> {
    let act = Act { view: View { plan, state, facts }, signer };
    let decision = match verb {
        PersonVerb::Approve { role } => act.approve(role.as_deref()),
        PersonVerb::Hold => act.hold(),
        PersonVerb::Resume => act.resume(),
        PersonVerb::Rollback => act.roll_back(),
        PersonVerb::Goto { stage } => act.go_to(stage),
        PersonVerb::Restart => act.restart(),
        PersonVerb::Rehearse => act.rehearse(),
    }?;
    debug_assert!(
        decision.raises || effective_weight(plan, &decision.state) <= effective_weight(plan, state),
        "what is in force at once raises nothing"
    );
    Ok(decision)
}

/// An act under way.
struct Act<'a> {
    view: View<'a>,
    signer: &'a Signer,
}

fn wrong_state(message: impl Into<String>, help: impl Into<String>) -> ActRefusal {
    ActRefusal::WrongState { message: message.into(), help: help.into() }
}

impl Act<'_> {
    fn name(&self) -> &str {
        &self.view.facts.rollout
    }

    /// Who did what, and why.
    fn sentence(&self, what: &str) -> String {
        match self.signer.reason.as_str() {
            "" => format!("{} {what}", self.signer.name),
            reason => format!("{} {what}: {reason}", self.signer.name),
        }
    }

    /// The state as a refusal names it, with what leads out of it.
    fn not_now(&self, act: &str) -> ActRefusal {
        let block = blocks(self.view).into_iter().find(|block| block.kind == BlockKind::Stopped);
        let (message, help) = match &self.view.state.phase {
            RolloutPhase::Pending => (
                format!("the rollout has not entered its first stage: it cannot {act}"),
                "wait until it has".to_owned(),
            ),
            RolloutPhase::Running => {
                let message = format!("the rollout is running, in stage `{}`: it cannot {act}", self.view.state.stage);
                (message, format!("`pointsman rollout show {}` shows how it stands", self.name()))
            }
            RolloutPhase::Complete => {
                let message = format!("the rollout is complete: it cannot {act}");
                (message, format!("`pointsman rollout show {}` shows how it stands", self.name()))
            }
            RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => {
                let (says, unblock) = block.map(|block| (block.says, block.unblock)).unwrap_or_default();
                (format!("the rollout cannot {act}: {says}"), unblock)
            }
        };
        wrong_state(message, help)
    }

    /// A kill beats what a person does.
    fn check_kill(&self, act: &str) -> Result<(), ActRefusal> {
        if self.view.facts.kill.own || self.view.state.phase == RolloutPhase::Killed {
            let help = format!("lift the kill first: `pointsman revive --rollout {} --reason TEXT`", self.name());
            return Err(wrong_state(format!("a kill covers the rollout: it cannot {act}"), help));
        }
        Ok(())
    }

    fn hold(&self) -> Result<RolloutDecision, ActRefusal> {
        let state = self.view.state;
        let mut next = state.clone();
        let by = &self.signer.name;
        let person = Held { passed_over: false, ..held(state, HeldCause::Person, by, self.signer.reason.clone()) };
        match &mut next.phase {
            RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Complete => {
                next.phase = RolloutPhase::Held(person);
            }
            // It stays held when the hold that ends by itself is over.
            RolloutPhase::Held(held)
                if matches!(held.cause, HeldCause::CanaryDown | HeldCause::Requires) && held.before.is_none() =>
            {
                held.before = Some(Box::new(person));
            }
            RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => {
                return Err(self.not_now("be held"));
            }
        }
        Ok(RolloutDecision::new(RolloutVerb::Hold, self.sentence("holds it"), next))
    }

    fn roll_back(&self) -> Result<RolloutDecision, ActRefusal> {
        if let RolloutPhase::RolledBack(back) = &self.view.state.phase {
            let message = format!("the rollout is rolled back already, by {}: {}", back.by, back.sentence);
            return Err(wrong_state(message, "nothing is to be done: its callers get stable"));
        }
        let mut next = self.view.state.clone();
        let (by, sentence) = (self.signer.name.clone(), self.signer.reason.clone());
        latch(self.view.plan, &mut next, RolledBack { by, sentence });
        Ok(RolloutDecision::new(RolloutVerb::Rollback, self.sentence("rolls it back"), next))
    }

    /// The same step as when a guard trips, with a trip by hand.
    fn rehearse(&self) -> Result<RolloutDecision, ActRefusal> {
        let (plan, state) = (self.view.plan, self.view.state);
        if matches!(state.phase, RolloutPhase::RolledBack(_)) {
            return Err(self.not_now("rehearse a rollback"));
        }
        if effective_weight(plan, state).millionths() == 0 {
            let help = "rehearse when a stage with a weight above 0 is reached: no request goes to the canary now";
            return Err(wrong_state("the weight is 0: there is nothing to roll back", help));
        }
        let trip = RolloutTrip {
            guard: REHEARSAL.to_owned(),
            route: None,
            act: TripAct::Rollback,
            counts_errors: false,
            sentence: self.sentence("trips a guard by hand, as a rehearsal"),
            evidence: serde_json::Value::Null,
        };
        let facts = RolloutFacts { trips: vec![trip], elapsed_ms: 0, ..self.view.facts.clone() };
        let taken = step(plan, state, &facts).decisions;
        let decision = taken.into_iter().find(|one| one.act == RolloutVerb::Rollback);
        decision.ok_or_else(|| {
            let help = "a rollback needs a stable with a usable endpoint: `pointsman upstream ls` shows them";
            wrong_state("a guard that trips now would not roll back: stable cannot take the requests", help)
        })
    }

    fn resume(&self) -> Result<RolloutDecision, ActRefusal> {
        self.check_kill("be resumed")?;
        let (plan, state) = (self.view.plan, self.view.state);
        let mut next = state.clone();
        let mut begins_anew = false;
        match &state.phase {
            RolloutPhase::RolledBack(_) => {
                begins_anew = true;
                self.check_stage()?;
                next.progress = StageProgress::default();
                (next.fall, next.ramp, next.refusals, next.regain) = (None, None, 0, Regain::Checks);
                forget(&mut next);
                next.phase = if state.passed.is_empty() { RolloutPhase::Pending } else { RolloutPhase::Running };
            }
            RolloutPhase::Held(ended) => match ended.cause {
                HeldCause::CanaryDown | HeldCause::Requires if ended.before.is_some() => {
                    next.phase = RolloutPhase::Held(Held { before: None, ..ended.clone() });
                }
                HeldCause::CanaryDown | HeldCause::Requires | HeldCause::PlanChanged => {
                    return Err(self.not_now("be resumed"));
                }
                HeldCause::Person
                | HeldCause::Guard
                | HeldCause::NoRollbackTarget
                | HeldCause::Revived
                | HeldCause::StableChanged
                | HeldCause::Inconclusive
                | HeldCause::NoTraffic
                | HeldCause::Damaged => {
                    self.check_stage()?;
                    // A guard that has tripped says nothing more until its evidence begins anew.
                    begins_anew =
                        matches!(ended.cause, HeldCause::Guard | HeldCause::NoRollbackTarget) || ended.passed_over;
                    next.phase = after_hold(plan, state, ended);
                    (next.progress.quiet_ms, next.progress.waited_ms) = (0, 0);
                }
            },
            RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Killed | RolloutPhase::Complete => {
                return Err(self.not_now("be resumed: it is not held"));
            }
        }
        if begins_anew {
            next.warned.clear();
        }
        let sentence = self.sentence("resumes it");
        Ok(RolloutDecision { begins_anew, ..RolloutDecision::new(RolloutVerb::Resume, sentence, next) })
    }

    /// The stage where it goes on is in the plan.
    fn check_stage(&self) -> Result<(), ActRefusal> {
        if self.view.at().is_some() {
            return Ok(());
        }
        let message = format!("the plan has no stage `{}` any more", self.view.state.stage);
        let name = self.name();
        Err(wrong_state(message, format!("`pointsman rollout restart {name} --reason TEXT` begins at the first stage")))
    }

    fn restart(&self) -> Result<RolloutDecision, ActRefusal> {
        self.check_kill("begin anew")?;
        let (plan, state) = (self.view.plan, self.view.state);
        if state.phase == RolloutPhase::Pending {
            return Err(self.not_now("begin anew"));
        }
        let next = RolloutState {
            revision: state.revision.clone(),
            stable: state.stable.clone(),
            stage: plan.stages.first().map(|stage| stage.name.clone()).unwrap_or_default(),
            latched: state.latched.clone(),
            clock: state.clock,
            ..RolloutState::default()
        };
        let mut next = next;
        forget(&mut next);
        let sentence = self.sentence("begins it anew");
        Ok(self.placed(RolloutDecision::new(RolloutVerb::Restart, sentence, next).anew()))
    }

    fn go_to(&self, stage: &str) -> Result<RolloutDecision, ActRefusal> {
        self.check_kill("go to a stage")?;
        let view = self.view;
        let Some(to) = view.plan.find(stage) else {
            let stage_names = view.plan.stages.iter().map(|one| one.name.as_str());
            return Err(ActRefusal::NoStage { stage: stage.to_owned(), similar: similar(stage, stage_names) });
        };
        match &view.state.phase {
            RolloutPhase::Running | RolloutPhase::Complete => self.go_from(to),
            RolloutPhase::Held(held) => match held.cause {
                HeldCause::PlanChanged | HeldCause::Damaged => self.go_unknown(to),
                HeldCause::Person
                | HeldCause::Guard
                | HeldCause::Revived
                | HeldCause::StableChanged
                | HeldCause::Inconclusive
                | HeldCause::NoTraffic => {
                    if view.at().is_some_and(|at| to > at) {
                        return Err(self.not_now("go up"));
                    }
                    self.go_from(to)
                }
                HeldCause::CanaryDown | HeldCause::NoRollbackTarget | HeldCause::Requires => {
                    Err(self.not_now("go to a stage"))
                }
            },
            RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => {
                Err(self.not_now("go to a stage"))
            }
        }
    }

    /// From a stage of the plan.
    fn go_from(&self, to: usize) -> Result<RolloutDecision, ActRefusal> {
        let view = self.view;
        let stage = &view.plan.stages[to].name;
        let Some(at) = view.at().filter(|_| view.has_entered()) else { return Err(self.not_now("go to a stage")) };
        let sentence = self.sentence(&format!("moves it from stage `{}` to `{stage}`", view.state.stage));
        if to == at {
            let message = format!("the rollout is in stage `{stage}` already");
            return Err(wrong_state(message, format!("`pointsman rollout restart {} --reason TEXT`", self.name())));
        }
        if to < at {
            let mut next = placed(view, to, RolloutPhase::Running);
            // They are passed anew, on evidence of their own.
            let is_before = |one: &Approval| view.plan.find(&one.stage).is_some_and(|at| at < to);
            next.approvals.retain(is_before);
            return Ok(self.placed(self.anew_after_hold(RolloutDecision::new(RolloutVerb::Goto, sentence, next))));
        }
        let mut found = self.before_leaving(at, Ahead::Enter(to))?;
        found.extend((at..to).filter_map(|one| approvals(view, one)));
        if !found.is_empty() {
            return Err(ActRefusal::Blocked(found));
        }
        let next = entered(view, to, RolloutPhase::Running);
        Ok(RolloutDecision::new(RolloutVerb::Goto, sentence, next))
    }

    /// What stands in the way of leaving a stage, but for approvals.
    fn before_leaving(&self, at: usize, to: Ahead) -> Result<Vec<Block>, ActRefusal> {
        let (view, ahead) = (self.view, self.view.ahead());
        let mut found = Vec::new();
        let has_weight = matches!(ahead, Ahead::Enter(next) if next == at + 1) || ahead == Ahead::Complete;
        if !has_weight {
            found = but_approvals(view, ahead);
        }
        let more = but_approvals(view, to);
        found.extend(more.into_iter().filter(|block| !found.contains(block)).collect::<Vec<_>>());
        if !has_weight && found.is_empty() {
            let message = format!("the weight of stage `{}` is not reached yet", view.state.stage);
            return Err(wrong_state(message, "it grows at the next step: try again"));
        }
        Ok(found)
    }

    /// From a place that is not known for sure: a person says which stage it is, the first one or one with no more weight than
    /// it had.
    fn go_unknown(&self, to: usize) -> Result<RolloutDecision, ActRefusal> {
        let view = self.view;
        let stage = &view.plan.stages[to];
        let had = view.state.passed.last().map_or(0, |passed| passed.weight).max(view.state.reached);
        if to > 0 && top(stage) > had {
            let message = format!(
                "stage `{}` has {}, and the rollout had {} at most: from here it goes up stage by stage",
                stage.name,
                percent(top(stage)),
                percent(had)
            );
            let name = self.name();
            let help = format!(
                "`pointsman rollout goto {name} STAGE --reason TEXT` with a stage of no more than that, or \
                 `pointsman rollout restart {name} --reason TEXT`"
            );
            return Err(wrong_state(message, help));
        }
        let sentence = self.sentence(&format!("puts it into stage `{}`", stage.name));
        let next = placed(view, to, RolloutPhase::Running);
        Ok(self.placed(self.anew_after_hold(RolloutDecision::new(RolloutVerb::Goto, sentence, next))))
    }

    /// A guard that has tripped says nothing more until its evidence begins anew.
    fn anew_after_hold(&self, decision: RolloutDecision) -> RolloutDecision {
        let is_mute = held_now(self.view.state).is_some_and(|held| held.cause == HeldCause::Guard || held.passed_over);
        if !is_mute {
            return decision;
        }
        let mut decision = decision.anew();
        decision.state.warned.clear();
        decision
    }

    /// A move is in force at once where it lowers what serves; where nothing serves it lets something do so.
    fn placed(&self, decision: RolloutDecision) -> RolloutDecision {
        let may_serve = match &self.view.state.phase {
            RolloutPhase::Running | RolloutPhase::Complete => true,
            RolloutPhase::Held(held) => !held.cause.is_at_zero(),
            RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
        };
        if may_serve { decision.at_once() } else { decision }
    }

    fn approve(&self, role: Option<&str>) -> Result<RolloutDecision, ActRefusal> {
        let view = self.view;
        let at = view.at().filter(|_| view.state.phase == RolloutPhase::Running);
        let Some(at) = at else { return Err(self.not_now("be approved")) };
        let stage = &view.plan.stages[at];
        if stage.approve.is_empty() {
            let message = format!("stage `{}` asks for no approval", stage.name);
            return Err(wrong_state(message, format!("`pointsman rollout show {}` shows how it stands", self.name())));
        }
        let role = self.role(at, role)?;
        let hash = plan_hash(view.plan, at);
        if view.state.asked.as_ref() != Some(&hash) {
            let to = if at + 1 < view.plan.stages.len() { Ahead::Enter(at + 1) } else { Ahead::Complete };
            let found = self.before_leaving(at, to)?;
            if !found.is_empty() {
                return Err(ActRefusal::Blocked(found));
            }
        }
        let mut next = view.state.clone();
        next.asked = Some(hash.clone());
        let is_old = |one: &Approval| one.stage == stage.name && (one.plan != hash || one.role == role);
        next.approvals.retain(|one| !is_old(one));
        let (by, given) = (self.signer.name.clone(), self.signer.at.clone());
        next.approvals.push(Approval { stage: stage.name.clone(), role: role.clone(), by, at: given, plan: hash });
        let sentence = self.sentence(&format!("approves as {role} that stage `{}` is left", stage.name));
        Ok(RolloutDecision::new(RolloutVerb::Approve, sentence, next))
    }

    /// The role that the person fills now.
    fn role(&self, at: usize, role: Option<&str>) -> Result<String, ActRefusal> {
        let (view, signer) = (self.view, self.signer);
        let awaited = view.awaited(at);
        let not_approver = |role: Option<&str>| ActRefusal::NotApprover {
            role: role.map(str::to_owned),
            awaited: awaited.iter().map(|role| (*role).to_owned()).collect(),
        };
        let given = |role: &str| view.approvals(at).into_iter().find(|one| one.role == role);
        let may = |role: &str| signer.roles.iter().any(|own| own == role);
        let chosen = if let Some(role) = role {
            if !view.plan.stages[at].approve.iter().any(|one| one == role) || !may(role) {
                return Err(not_approver(Some(role)));
            }
            role
        } else {
            let mut own = view.plan.stages[at].approve.iter().map(String::as_str).filter(|role| may(role));
            let waiting: Vec<&str> = own.clone().filter(|role| awaited.contains(role)).collect();
            match (waiting.as_slice(), own.next()) {
                ([one], _) => one,
                ([], Some(filled)) => filled,
                ([], None) => return Err(not_approver(None)),
                (several, _) => {
                    let roles = several.join(", ");
                    let message = format!("{} may approve as {roles}", signer.name);
                    return Err(wrong_state(message, format!("say which: `--as {}`", several[0])));
                }
            }
        };
        if let Some(first) = given(chosen) {
            return Err(ActRefusal::AlreadyApproved { role: chosen.to_owned(), by: first.by.clone() });
        }
        let filled = view.approvals(at).into_iter().find(|one| one.by == signer.name && !view.plan.same_person);
        match filled {
            Some(other) => Err(ActRefusal::SamePerson { role: other.role.clone() }),
            None => Ok(chosen.to_owned()),
        }
    }
}
