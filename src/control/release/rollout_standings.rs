//! How rollouts stand, for the admin listener and the metrics.

use super::foresight::ANY_NAME;
use super::rollouts::ActiveRollout;
use crate::control::controller::Controller;
use crate::release::{AwaitedRole, RolloutOutline, RolloutPhase, RolloutStanding, outline};
use crate::route::{Rollout, Rules, UpstreamId, VariantId};

impl Controller {
    /// Shows all rollouts.
    pub(super) fn show_rollouts(&mut self) {
        self.state.release.set_foresight(self.release.foresight());
        let snapshot = self.store.load();
        let rules = &snapshot.rules;
        if rules.rollouts.is_empty() {
            self.state.release.set_rollouts(Vec::new());
            return;
        }
        let durable_seq = self.release.ledger.written().durable_seq;
        let mut all = Vec::with_capacity(rules.rollouts.len());
        for rollout in &rules.rollouts {
            let facts = self.rollout_facts(&snapshot, rollout, 0);
            let Some(active) = self.release.rollouts.get(&rollout.name) else { continue };
            let outline = outline(&rollout.plan, &active.state, &facts);
            let mut guards = self.release.guards.rollout_guards(&rollout.name);
            let (queries, answers) = (&self.release.rollouts.queries, &self.release.rollouts.answers);
            guards.extend(queries.standings(rollout, answers, facts.now_ms));
            let seq = active.record.as_ref().map(|record| record.seq).filter(|seq| *seq > 0);
            let RolloutOutline { doing, says, unblock, blocks, stages, awaited, weight, next_ms } = outline;
            all.push(RolloutStanding {
                name: rollout.name.clone(),
                revision: facts.revision,
                variants: variants(rules, rollout),
                owner: rollout.about.owner.clone(),
                ticket: rollout.about.ticket.clone(),
                phase: active.state.phase.clone(),
                doing,
                says,
                unblock: unblock.map(|text| text.replace(ANY_NAME, &rollout.name)),
                blocks,
                stage: active.state.stage.clone(),
                stages,
                weight,
                max_weight: rollout.plan.ceiling().percent(),
                next_ms,
                awaited: people(rollout, &awaited),
                guards,
                at: active.since.clone(),
                seq,
                durable: seq.is_some_and(|seq| seq <= durable_seq),
                expired: facts.expired.is_some(),
                edit: edit(rules, rollout, active),
            });
        }
        for block in all.iter_mut().flat_map(|one| one.blocks.iter_mut().map(|block| (&one.name, block))) {
            let (name, block) = block;
            block.unblock = block.unblock.replace(ANY_NAME, name);
        }
        self.state.release.set_rollouts(all);
    }
}

/// The variants that a rollout moves: `route:variant`.
fn variants(rules: &Rules, rollout: &Rollout) -> Vec<String> {
    let name = |route: &crate::route::Route, variant: VariantId| {
        let split = route.split()?;
        Some(format!("{}:{}", route.name, split.variants.get(usize::from(variant.0))?.name))
    };
    rollout.members.iter().filter_map(|member| name(rules.route(member.route), member.variant)).collect()
}

/// The roles that are waited for, with those who may fill them.
fn people(rollout: &Rollout, awaited: &[String]) -> Vec<AwaitedRole> {
    let of = |role: &String| {
        let known = rollout.approvers.iter().find(|one| one.role == *role);
        AwaitedRole { role: role.clone(), people: known.map(|one| one.people.clone()).unwrap_or_default() }
    };
    awaited.iter().map(of).collect()
}

/// The edit of the file that a complete rollout asks for.
fn edit(rules: &Rules, rollout: &Rollout, active: &ActiveRollout) -> Vec<String> {
    if active.state.phase != RolloutPhase::Complete {
        return Vec::new();
    }
    let upstream = |id: UpstreamId| rules.upstreams.get(id.0 as usize).map(|one| one.name.as_str());
    let of_route = |member: &crate::route::RolloutMember| {
        let route = rules.route(member.route);
        let variant = route.split()?.variants.get(usize::from(member.variant.0))?;
        let stable = upstream(variant.upstream)?;
        Some(format!("route {}: write `stable = \"{stable}\"`, and remove variant {}", route.name, variant.name))
    };
    let mut lines: Vec<String> = rollout.members.iter().filter_map(of_route).collect();
    lines.push(format!("remove `[rollout.{}]`", rollout.name));
    lines
}
