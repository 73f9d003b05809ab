//! A step of the rollouts: facts are gathered, the state machine decides, and what it decides is recorded and published.
//!
//! What lowers exposure is in force at once. What raises it is in force when its record is on the disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rollouts::{ActiveRollout, RefusedRaise, WaitingRaise};
use crate::control::controller::Controller;
use crate::control::gate::{Asked, Question, QuestionId};
use crate::control::guard::RouteView;
use crate::drain::Phase;
use crate::journal::{Actor, Deed, Record, RolloutDeed, Via};
use crate::release::{
    HeldCause, RolloutDecision, RolloutEvidence, RolloutFacts, RolloutPhase, RolloutState, RolloutVerb,
    effective_weight, step,
};
use crate::route::{Gate, Rollout, RolloutMember, RolloutPlan, Rules, UpstreamId, VariantId, Weight};
use crate::snapshot::Snapshot;
use crate::telemetry::guards::{GuardName, count_trip};

/// How long a raise waits for the disk, in milliseconds: what it was decided by is old then.
const RAISE_WAIT_MS: u64 = 5_000;

impl Controller {
    /// Whether this process decides about rollouts now.
    pub(super) fn decides_about_rollouts(&self) -> bool {
        let is_handing_over = self.is_successor_serving() || self.is_passing_journal();
        // A process that takes over serves what the old one has decided, until that has given the journal up.
        !is_handing_over && self.succession.predecessor.is_none() && self.shutdown.phase() < Phase::Forced
    }

    /// A process that decides no more about rollouts does not let a rollback take its time.
    pub(super) fn end_falls(&mut self) {
        if self.release.rollouts.end_falls() {
            self.publish_kills();
        }
    }

    /// The upstreams whose endpoints are to be tried: of canaries that accept no connections, and of stable variants that a
    /// rollback waits for.
    pub(super) fn rollouts_to_try(&self, snapshot: &Snapshot) -> Vec<UpstreamId> {
        let mut tried = Vec::new();
        for (_, rollout, active) in self.release.rollouts.numbered(&snapshot.rules) {
            let waits_for_stable = match &active.state.phase {
                RolloutPhase::Killed | RolloutPhase::RolledBack(_) => continue,
                RolloutPhase::Held(held) => held.cause == HeldCause::NoRollbackTarget,
                RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Complete => false,
            };
            for member in &rollout.members {
                let Some(view) = RouteView::new(snapshot, member.route) else { continue };
                if view.down(member.variant).is_some() {
                    tried.extend(view.upstream(member.variant));
                }
                if waits_for_stable || !view.is_usable(VariantId::STABLE) {
                    tried.extend(view.upstream(VariantId::STABLE));
                }
            }
        }
        tried
    }

    /// The upstreams of canaries that are held because they accept no connections: all their endpoints are tried, also those
    /// about which nothing is known.
    pub(super) fn held_canaries(&self, snapshot: &Snapshot) -> Vec<UpstreamId> {
        let is_held = |active: &ActiveRollout| matches!(&active.state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::CanaryDown);
        let all = self.release.rollouts.numbered(&snapshot.rules).filter(|(_, _, active)| is_held(active));
        let members = all.flat_map(|(_, rollout, _)| &rollout.members);
        let of = |member: &RolloutMember| RouteView::new(snapshot, member.route)?.upstream(member.variant);
        members.filter_map(of).collect()
    }

    /// Moves all rollouts on by the time since the last step; returns whether anything was decided.
    pub(in crate::control) fn step_rollouts(&mut self) -> bool {
        if self.release.rollouts.is_empty() || !self.decides_about_rollouts() {
            return false;
        }
        let now_ms = self.state.uptime_ms();
        let elapsed_ms = self.release.rollouts.stepped_ms.map_or(0, |before| now_ms.saturating_sub(before));
        self.release.rollouts.stepped_ms = Some(now_ms);
        self.take_back_late_raises(now_ms);
        let snapshot = self.store.load();
        // An edit may ask something else: the answer to what was asked before does not count.
        self.ask_gates(&snapshot);
        let mut is_changed = false;
        for rollout in &snapshot.rules.rollouts {
            is_changed |= self.step_rollout(&snapshot, rollout, elapsed_ms);
        }
        self.publish_rollouts(now_ms);
        is_changed
    }

    fn step_rollout(&mut self, snapshot: &Snapshot, rollout: &Rollout, elapsed_ms: u64) -> bool {
        let Some(before) = self.release.rollouts.get(&rollout.name).map(|one| one.state.clone()) else { return false };
        let mut facts = self.take_rollout_facts(snapshot, rollout, elapsed_ms);
        if self.shutdown.phase() > Phase::Running {
            facts.journal.get_or_insert_with(|| "the proxy is stopping".to_owned());
        }
        if let Some(refusal) = self.release.rollouts.refusal_of(&rollout.name, facts.now_ms) {
            facts.journal.get_or_insert(refusal);
        }
        let stepped = step(&rollout.plan, &before, &facts);
        let Some(active) = self.release.rollouts.get_mut(&rollout.name) else { return false };
        active.blocks = stepped.blocks;
        active.state = stepped.state;
        let mut is_changed = false;
        let basis = Basis { rules: &snapshot.rules, rollout, before: &before, facts: &facts };
        let mut from = before.clone();
        for decision in stepped.decisions {
            let after = decision.state.clone();
            is_changed |= self.follow_rollout_decision(&basis, &from, decision);
            from = after;
        }
        is_changed
    }

    /// Records a decision that leads from a state to another one, and puts it in force unless it raises.
    fn follow_rollout_decision(&mut self, basis: &Basis<'_>, from: &RolloutState, decision: RolloutDecision) -> bool {
        let name = &basis.rollout.name;
        let Some(active) = self.release.rollouts.get(name) else { return false };
        let raises = decision.raises;
        if raises && active.waiting.is_some() {
            return false;
        }
        let who = match &decision.guard {
            Some(trip) => Actor { name: trip.guard.clone(), via: Via::Guard },
            None => Actor::process(),
        };
        let evidence = RolloutEvidence::of(&basis.rollout.plan, basis.before, basis.facts);
        let deed = RolloutDeed { evidence, ..deed(basis.rules, basis.rollout, from, &decision) };
        let draft = self.draft(who, Deed::Rollout(deed), None);
        self.count_rollout_trip(basis.rollout, &decision);
        match self.release.ledger.append(draft.clone()) {
            Ok(record) if raises => self.wait_for_disk(name, &record, decision),
            Ok(record) => self.apply_rollout(name, &record, &decision),
            Err(why) if raises => {
                let refused = RefusedRaise { why: why.to_string(), at_ms: basis.facts.now_ms };
                self.release.rollouts.note_refusal(name, refused);
            }
            Err(why) => {
                tracing::error!("not recorded in the journal: {why}");
                self.apply_rollout(name, &Arc::new(draft.unrecorded()), &decision);
            }
        }
        true
    }

    /// A raise waits until the disk has its record.
    pub(super) fn wait_for_disk(&mut self, name: &str, record: &Arc<Record>, decision: RolloutDecision) {
        let begun_ms = self.state.uptime_ms();
        if let Some(active) = self.release.rollouts.get_mut(name) {
            active.last_seq = record.seq;
            active.waiting = Some(WaitingRaise { record: Arc::clone(record), decision, begun_ms });
        }
    }

    /// Puts a decision in force: state and evidence. The caller publishes.
    pub(super) fn apply_rollout(&mut self, name: &str, record: &Arc<Record>, decision: &RolloutDecision) {
        let now_ms = self.state.uptime_ms();
        self.release.rollouts.apply(record);
        if let Some(active) = self.release.rollouts.get_mut(name) {
            active.waiting = None;
            // Beside what the record has: since when it is held.
            active.state = decision.state.clone();
        }
        if decision.begins_anew {
            self.release.guards.begin_rollout_anew(name, now_ms);
            self.release.rollouts.queries.begin_anew(name);
        }
        if decision.act.enters() || decision.begins_anew {
            self.release.guards.enter_stage(name, now_ms);
        }
        self.announce(record);
    }

    /// Puts the raises in force whose records are on the disk, but those that a person waits for.
    pub(super) fn finish_raises(&mut self, durable_seq: u64) {
        for name in self.release.rollouts.names() {
            let Some(active) = self.release.rollouts.get_mut(&name) else { continue };
            let is_durable = active.waiting.as_ref().is_some_and(|one| one.record.seq <= durable_seq);
            if !is_durable {
                continue;
            }
            let Some(WaitingRaise { record, decision, .. }) = active.waiting.take() else { continue };
            self.apply_rollout(&name, &record, &decision);
            self.publish_kills();
        }
    }

    /// The disk did not take a raise: nothing changes.
    pub(super) fn refuse_raise(&mut self, seq: u64) {
        for name in self.release.rollouts.names() {
            if let Some(active) = self.release.rollouts.get_mut(&name)
                && active.waiting.as_ref().is_some_and(|one| one.record.seq == seq)
            {
                active.waiting = None;
            }
        }
    }

    /// Takes back the raises whose records the disk has not taken in time: should it get there after all, a record with the
    /// state before it follows.
    fn take_back_late_raises(&mut self, now_ms: u64) {
        for name in self.release.rollouts.names() {
            let Some(active) = self.release.rollouts.get(&name) else { continue };
            let is_late = |one: &WaitingRaise| {
                let is_of_person = self.release.revives.contains_key(&one.record.seq);
                !is_of_person && now_ms.saturating_sub(one.begun_ms) >= RAISE_WAIT_MS
            };
            if let Some(seq) = active.waiting.as_ref().filter(|one| is_late(one)).map(|one| one.record.seq) {
                self.take_back_raise(&name, seq);
            }
        }
    }

    /// Takes back a raise: a record with the state before it follows.
    pub(super) fn take_back_raise(&mut self, name: &str, seq: u64) {
        let snapshot = self.store.load();
        let Some(id) = snapshot.rules.find_rollout(name) else { return };
        let Some(active) = self.release.rollouts.get_mut(name) else { return };
        if active.waiting.take_if(|one| one.record.seq == seq).is_none() {
            return;
        }
        let state = active.state.clone();
        let sentence = format!("record {seq} was not on the disk in time, and is taken back");
        let decision = RolloutDecision::new(RolloutVerb::Lower, sentence, state.clone());
        let deed = deed(&snapshot.rules, snapshot.rules.rollout(id), &state, &decision);
        let draft = self.draft(Actor::process(), Deed::Rollout(deed), None);
        if let Ok(record) = self.release.ledger.append(draft) {
            self.apply_rollout(name, &record, &decision);
        }
    }

    /// Publishes the weights if they have changed: a lower one at once, one that rises on a ramp once a second.
    fn publish_rollouts(&mut self, now_ms: u64) {
        let snapshot = self.store.load();
        if self.release.rollouts.is_publication_due(&snapshot.rules, now_ms) {
            self.publish_kills();
        }
    }

    /// The questions of the stages where the rollouts are, and those of their guards.
    pub(super) fn ask_gates(&mut self, snapshot: &Snapshot) {
        let rules = &snapshot.rules;
        let mut wanted = Vec::new();
        for (_, rollout, active) in self.release.rollouts.numbered(rules) {
            if matches!(active.state.phase, RolloutPhase::Running | RolloutPhase::Held(_)) {
                wanted.extend(stage_questions(snapshot, rollout, &active.state));
            }
            let serves = leads_to(&rollout.plan, &active.state) > Weight::ZERO;
            if let (Some(target), true) = (&rules.prometheus, serves) {
                wanted.extend(rollout.queries.iter().map(|guard| Question {
                    id: super::query_guards::question(rollout, guard),
                    asked: Asked::Prometheus { target: target.clone(), query: guard.query.clone() },
                    every: guard.every,
                }));
            }
        }
        let ids: BTreeSet<QuestionId> = wanted.iter().map(|one| one.id.clone()).collect();
        let begun = self.release.rollouts.questions.follow(wanted, &self.sender, &self.state);
        self.release.rollouts.answers.retain(|id, _| ids.contains(id) && !begun.contains(id));
    }

    fn count_rollout_trip(&self, rollout: &Rollout, decision: &RolloutDecision) {
        let word = match decision.act {
            RolloutVerb::Warn => "warn",
            RolloutVerb::Hold => "hold",
            RolloutVerb::Rollback => "rollback",
            RolloutVerb::Begin
            | RolloutVerb::Enter
            | RolloutVerb::Raise
            | RolloutVerb::Lower
            | RolloutVerb::Complete
            | RolloutVerb::Unhold
            | RolloutVerb::Killed
            | RolloutVerb::Revived
            | RolloutVerb::Ask
            | RolloutVerb::Approve
            | RolloutVerb::Resume
            | RolloutVerb::Goto
            | RolloutVerb::Restart
            | RolloutVerb::Rehearsed
            | RolloutVerb::Archive
            | RolloutVerb::Refused => return,
        };
        let snapshot = self.store.load();
        let Some(trip) = &decision.guard else { return };
        for member in &rollout.members {
            let route = snapshot.rules.route(member.route);
            let variants = route.split().map(|split| &split.variants);
            let Some(variant) = variants.and_then(|all| all.get(usize::from(member.variant.0))) else { continue };
            if trip.route.as_ref().is_none_or(|only| *only == route.name) {
                let of = GuardName { route: &route.name, variant: &variant.name, guard: &trip.guard };
                count_trip(&self.state.counts.recorder, of, word);
            }
        }
    }
}

/// What a decision was made by.
struct Basis<'a> {
    rules: &'a Rules,
    rollout: &'a Rollout,
    before: &'a RolloutState,
    facts: &'a RolloutFacts,
}

/// The record of a decision, without evidence.
pub(super) fn deed(rules: &Rules, rollout: &Rollout, before: &RolloutState, decision: &RolloutDecision) -> RolloutDeed {
    let state = &decision.state;
    let routes = rollout.members.iter().map(|member| rules.route(member.route).name.clone()).collect();
    RolloutDeed {
        act: decision.act.name().to_owned(),
        rollout: rollout.name.clone(),
        revision: state.revision.clone(),
        stage: state.stage.clone(),
        from: effective_weight(&rollout.plan, before).percent(),
        to: leads_to(&rollout.plan, state).percent(),
        raises: decision.raises,
        because: decision.sentence.clone(),
        role: None,
        routes,
        evidence: serde_json::Value::Null,
        state: serde_json::to_value(state).unwrap_or_default(),
    }
}

/// The weight that a state leads to: at the end of its ramp.
fn leads_to(plan: &RolloutPlan, state: &RolloutState) -> Weight {
    match (&state.phase, state.ramp) {
        (RolloutPhase::Running, Some(ramp)) => {
            Weight::from_millionths(ramp.to).unwrap_or(Weight::FULL).min(plan.ceiling())
        }
        (RolloutPhase::RolledBack(_), _) => Weight::ZERO,
        (
            RolloutPhase::Pending
            | RolloutPhase::Running
            | RolloutPhase::Held(_)
            | RolloutPhase::Killed
            | RolloutPhase::Complete,
            _,
        ) => effective_weight(plan, state),
    }
}

/// The questions of the stage where a rollout is.
fn stage_questions(snapshot: &Snapshot, rollout: &Rollout, state: &RolloutState) -> Vec<Question> {
    let Some(at) = rollout.plan.find(&state.stage) else { return Vec::new() };
    let Some(here) = rollout.plan.stages.get(at) else { return Vec::new() };
    let question = |(gate, asked): (usize, &Gate)| {
        let id = QuestionId::Gate { rollout: rollout.name.clone(), stage: here.name.clone(), gate };
        let (asked, every_ms) = match asked {
            Gate::Webhook { every_ms, .. } => {
                let known = rollout.webhooks.iter().find(|one| one.stage == at && one.gate == gate)?;
                let body = serde_json::json!({
                    "rollout": rollout.name, "stage": here.name, "revision": state.revision, "gate": gate,
                    "weight": effective_weight(&rollout.plan, state).percent(),
                });
                (Asked::Webhook { target: known.target.clone(), body: body.to_string() }, *every_ms)
            }
            Gate::Prometheus { query, every_ms, .. } => {
                let target = snapshot.rules.prometheus.clone()?;
                (Asked::Prometheus { target, query: query.clone() }, *every_ms)
            }
        };
        Some(Question { id, asked, every: std::time::Duration::from_millis(every_ms) })
    };
    here.gates.iter().enumerate().filter_map(question).collect()
}
