//! The rollouts of the rules in effect: where each one is, and what waits for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::foresight::stop_of;
use super::query_guards::QueryGuards;
use crate::control::gate::{QuestionId, Questions, Replied};
use crate::journal::{Deed, Record, RolloutDeed};
use crate::release::{
    Block, Held, HeldCause, RolloutDecision, RolloutPhase, RolloutState, RolloutVerb, effective_weight,
};
use crate::route::{Overlay, Rollout, RolloutId, RolloutMember, Rules, Stop, StoppedVariant, VariantWeight, Weight};

/// After this time, in milliseconds, a raise that the journal has not taken is tried again.
const RAISE_AGAIN_MS: u64 = 5_000;
/// A canary that was down is up when for so long, in milliseconds, none of the tries has failed: four of them.
const UP_MS: u64 = 1_000;
/// How often the overlay is published on a ramp.
const PUBLISH_EVERY_MS: u64 = 1_000;

/// The rollouts.
#[derive(Debug, Default)]
pub(in crate::control) struct ActiveRollouts {
    /// Those of the rules in effect, by name.
    all: BTreeMap<String, ActiveRollout>,
    /// The last records of rollouts that are not in the file.
    archived: BTreeMap<String, Arc<Record>>,
    /// The journal was damaged or missing when it was read: what it does not know stays at 0.
    pub is_damaged: bool,
    /// The questions of gates and guards to other programs.
    pub questions: Questions,
    /// The last answer to each.
    pub answers: BTreeMap<QuestionId, Replied>,
    /// The guards that ask Prometheus.
    pub queries: QueryGuards,
    /// When the last step was, in milliseconds since the process started.
    pub stepped_ms: Option<u64>,
    /// When the overlay was published last for a weight that rises, in milliseconds since the process started.
    pub raised_ms: u64,
}

/// A rollout of the rules in effect.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct ActiveRollout {
    /// Where it is.
    pub state: RolloutState,
    /// The last record about it.
    pub record: Option<Arc<Record>>,
    /// The number of the last record about it, applied or not.
    pub last_seq: u64,
    /// When it came to its phase: RFC 3339.
    pub since: String,
    /// A raise that waits for the disk.
    pub waiting: Option<WaitingRaise>,
    /// What stands in the way of going on.
    pub blocks: Vec<Block>,
    /// What was published last.
    published: Option<Published>,
    /// The last raise that the journal did not take.
    refused: Option<RefusedRaise>,
    /// Held because its canary was down, and no endpoint is known to refuse connections, since this time, in milliseconds
    /// since the process started.
    up_ms: Option<u64>,
}

/// Whether a canary seems to accept connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum IsUp {
    /// No endpoint is known to refuse them.
    Yes,
    /// Some endpoint refuses them, or there is none.
    No,
}

/// A raise that the journal did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct RefusedRaise {
    /// Why.
    pub why: String,
    /// When, in milliseconds since the process started.
    pub at_ms: u64,
}

/// A raise that waits for the disk.
#[derive(Clone, Debug)]
pub(in crate::control) struct WaitingRaise {
    /// Its record.
    pub record: Arc<Record>,
    /// What was decided.
    pub decision: RolloutDecision,
    /// Since this time, in milliseconds since the process started.
    pub begun_ms: u64,
}

/// What was published of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Published {
    weight: Weight,
    stop: Option<Stop>,
}

impl ActiveRollouts {
    /// The rollouts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &ActiveRollout)> {
        self.all.iter()
    }

    /// Keeps the last answer to a question.
    pub fn follow_answer(&mut self, replied: Replied) {
        if self.questions.accepts(&replied) {
            self.answers.insert(replied.id.clone(), replied);
        }
    }

    /// The journal has not taken a raise: the next try is later.
    pub fn note_refusal(&mut self, name: &str, refused: RefusedRaise) {
        if let Some(one) = self.all.get_mut(name) {
            one.refused = Some(refused);
        }
    }

    /// Why the journal has not taken a raise a moment ago.
    pub fn refusal_of(&self, name: &str, now_ms: u64) -> Option<String> {
        let refused = self.all.get(name)?.refused.as_ref()?;
        let is_recent = now_ms < refused.at_ms.saturating_add(RAISE_AGAIN_MS);
        is_recent.then(|| refused.why.clone())
    }

    /// Whether a canary that was down counts as down still: its endpoints are tried again and again, and one that was never
    /// tried says nothing.
    pub fn counts_as_down(&mut self, name: &str, is_up: IsUp, now_ms: u64) -> bool {
        let Some(one) = self.all.get_mut(name) else { return false };
        let is_held = matches!(&one.state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::CanaryDown);
        if !is_held || is_up == IsUp::No {
            one.up_ms = None;
            return is_held;
        }
        let since = *one.up_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since) < UP_MS
    }

    /// Rollbacks that take their time end now; whether there was one.
    pub fn end_falls(&mut self) -> bool {
        let falls = self.all.values_mut().filter_map(|one| one.state.fall.take());
        falls.count() > 0
    }

    /// The numbers of the records that wait for the disk.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        self.all.values().filter_map(|one| one.waiting.as_ref()).map(|one| one.record.seq)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A rollout of the rules in effect.
    pub fn get(&self, name: &str) -> Option<&ActiveRollout> {
        self.all.get(name)
    }

    /// A rollout of the rules in effect.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut ActiveRollout> {
        self.all.get_mut(name)
    }

    /// The names.
    pub fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// The last records of all rollouts, those that are archived too.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.all.values().filter_map(|one| one.record.as_ref()).chain(self.archived.values())
    }

    /// Puts in force what an intact journal says, in the place of what was known of it.
    pub fn restore(&mut self, records: Vec<Record>) {
        self.all.clear();
        self.archived.clear();
        self.add(records);
    }

    /// Adds what a journal says, where nothing later is known.
    pub fn add(&mut self, records: Vec<Record>) {
        records.into_iter().map(Arc::new).for_each(|record| self.apply(&record));
    }

    /// Applies a record about a rollout. Others change nothing, and so does one that a later record has overtaken.
    pub fn apply(&mut self, record: &Arc<Record>) {
        let Deed::Rollout(deed) = &record.what else { return };
        let is_refused = deed.act == RolloutVerb::Refused.name();
        if deed.act == RolloutVerb::Archive.name() {
            self.all.remove(&deed.rollout);
            self.archived.insert(deed.rollout.clone(), Arc::clone(record));
            return;
        }
        let rollout = self.all.entry(deed.rollout.clone()).or_default();
        rollout.last_seq = rollout.last_seq.max(record.seq);
        if rollout.waiting.as_ref().is_some_and(|one| one.record.seq <= record.seq) {
            rollout.waiting = None;
        }
        if is_refused || rollout.record.as_ref().is_some_and(|known| record.seq > 0 && known.seq > record.seq) {
            return;
        }
        let Some(state) = state_of(deed) else { return };
        // A step may have set the state before its record comes here: what counts is the record before.
        let before = rollout.record.as_ref().and_then(|known| {
            let Deed::Rollout(deed) = &known.what else { return None };
            state_of(deed)
        });
        let is_same = before.is_some_and(|before| {
            std::mem::discriminant(&state.phase) == std::mem::discriminant(&before.phase) && state.stage == before.stage
        });
        if !is_same || rollout.since.is_empty() {
            rollout.since.clone_from(&record.at);
        }
        (rollout.state, rollout.record) = (state, Some(Arc::clone(record)));
    }

    /// Follows the rules: rollouts that they do not have are taken out, and returned; new ones begin where the journal
    /// left them, or anew.
    pub fn follow(&mut self, rules: &Rules) -> Vec<(String, ActiveRollout)> {
        let gone: Vec<String> = self.all.keys().filter(|name| rules.find_rollout(name).is_none()).cloned().collect();
        let gone = gone.into_iter().filter_map(|name| self.all.remove_entry(&name)).collect();
        for rollout in &rules.rollouts {
            if self.all.contains_key(&rollout.name) {
                continue;
            }
            if let Some(record) = self.archived.remove(&rollout.name) {
                self.take_up(rollout, &record);
            }
            let is_damaged = self.is_damaged;
            let one = self.all.entry(rollout.name.clone()).or_default();
            if is_damaged && one.record.is_none() {
                one.state = held_by_damage(rules, rollout);
            }
        }
        gone
    }

    /// Goes on with the state of a rollout that comes back to the file. The revision is judged by the next step.
    fn take_up(&mut self, rollout: &Rollout, record: &Arc<Record>) {
        let Deed::Rollout(deed) = &record.what else { return };
        let Some(state) = state_of(deed) else { return };
        // Its weight returns by a raise, which passes the checks.
        let state = RolloutState { reached: 0, ramp: None, fall: None, clock: None, ..state };
        let last_seq = record.seq;
        let record = Some(Arc::clone(record));
        let one = ActiveRollout { state, record, last_seq, ..ActiveRollout::default() };
        self.all.insert(rollout.name.clone(), one);
    }

    /// Whether the overlay is to be published: for a lower weight and a stop at once, on a ramp once a second.
    pub fn is_publication_due(&self, rules: &Rules, now_ms: u64) -> bool {
        let is_slow = now_ms < self.raised_ms.saturating_add(PUBLISH_EVERY_MS);
        self.numbered(rules).any(|(_, rollout, one)| {
            let now = one.shown(rollout);
            let is_on_a_ramp = one.state.ramp.is_some_and(|ramp| !ramp.is_over());
            match one.published {
                None => true,
                Some(before) if before == now => false,
                Some(before) => before.stop != now.stop || now.weight < before.weight || !is_on_a_ramp || !is_slow,
            }
        })
    }

    /// The overlay is published now.
    pub fn note_published(&mut self, rules: &Rules, now_ms: u64) {
        for rollout in &rules.rollouts {
            if let Some(one) = self.all.get_mut(&rollout.name) {
                one.published = Some(one.shown(rollout));
            }
        }
        self.raised_ms = now_ms;
    }

    /// The weights in force under these rules.
    pub fn weights(&self, rules: &Rules) -> Vec<VariantWeight> {
        let of = |rollout: &Rollout| {
            let one = self.all.get(&rollout.name);
            let weight = one.map_or(Weight::ZERO, |one| effective_weight(&rollout.plan, &one.state));
            let of_member = |member: &RolloutMember| {
                let RolloutMember { route, variant } = *member;
                VariantWeight { route, variant, weight }
            };
            rollout.members.iter().map(of_member).collect::<Vec<VariantWeight>>()
        };
        rules.rollouts.iter().flat_map(of).collect()
    }

    /// The variants that get no request by targets either.
    pub fn stopped(&self, rules: &Rules) -> Vec<StoppedVariant> {
        let of = |rollout: &Rollout| {
            let stop = self.all.get(&rollout.name).map_or(Some(Stop::Hold), |one| stop_of(&one.state));
            let members = rollout.members.iter();
            let stopped: Vec<StoppedVariant> = stop.map_or_else(Vec::new, |stop| {
                members.map(|member| StoppedVariant { route: member.route, variant: member.variant, stop }).collect()
            });
            stopped
        };
        rules.rollouts.iter().flat_map(of).collect()
    }

    /// The overlay with what the rollouts say.
    pub fn over(&self, overlay: &Overlay, rules: &Rules) -> Overlay {
        if rules.rollouts.is_empty() {
            return overlay.clone();
        }
        overlay.with_weights(&self.weights(rules)).with_stopped(rules, &self.stopped(rules))
    }

    /// The rollouts of the rules, each with where it is.
    pub fn numbered<'a>(
        &'a self,
        rules: &'a Rules,
    ) -> impl Iterator<Item = (RolloutId, &'a Rollout, &'a ActiveRollout)> {
        let of = |(id, rollout): (RolloutId, &'a Rollout)| Some((id, rollout, self.all.get(&rollout.name)?));
        (0..).map(RolloutId).zip(&rules.rollouts).filter_map(of)
    }
}

impl ActiveRollout {
    fn shown(&self, rollout: &Rollout) -> Published {
        Published { weight: effective_weight(&rollout.plan, &self.state), stop: stop_of(&self.state) }
    }
}

/// The state that a record leaves behind; `None` when it has none of this form.
pub(super) fn state_of(deed: &RolloutDeed) -> Option<RolloutState> {
    RolloutState::deserialize(&deed.state).ok()
}

/// The hold of a rollout after a journal that is damaged: nothing for one that is rolled back, or held for it already.
pub(super) fn hold_for_damage(state: &RolloutState) -> Option<RolloutDecision> {
    let is_held = matches!(&state.phase, RolloutPhase::Held(held) if held.cause == HeldCause::Damaged);
    if is_held || matches!(state.phase, RolloutPhase::RolledBack(_)) {
        return None;
    }
    let held = damaged();
    let sentence = held.sentence.clone();
    let state = RolloutState { phase: RolloutPhase::Held(held), reached: 0, ramp: None, fall: None, ..state.clone() };
    Some(RolloutDecision::new(RolloutVerb::Hold, sentence, state))
}

fn damaged() -> Held {
    let sentence = "the journal is damaged or missing, so it is not known how far this rollout was".to_owned();
    Held {
        cause: HeldCause::Damaged,
        sentence,
        by: "pointsman".to_owned(),
        was_complete: false,
        for_ms: 0,
        passed_over: true,
        by_person: false,
        before: None,
    }
}

/// A rollout of which the journal may have lost the records.
pub(super) fn held_by_damage(rules: &Rules, rollout: &Rollout) -> RolloutState {
    let stage = rollout.plan.stages.first().map(|stage| stage.name.clone()).unwrap_or_default();
    let (revision, stable) = (rules.revision_of_rollout(rollout), rules.stable_revision_of_rollout(rollout));
    RolloutState { revision, stable, stage, phase: RolloutPhase::Held(damaged()), ..RolloutState::default() }
}
