//! What the routes of a rollout share: the callers that their guards watch, and the distinct callers that its canaries got.
//! It is carried over, by the name of the rollout, while its revisions are the same.

use std::sync::Arc;

use crate::route::{Rollout, RolloutMember, Rules, Split};
use crate::snapshot::{RouteState, Snapshot};
use crate::stats::{SlotNumber, WindowNumber};
use crate::telemetry::{ExposedCallers, MeterRegistry, WatchedCallers};

/// What the routes of a rollout share.
#[derive(Clone, Debug)]
pub(super) struct RolloutCallers {
    pub callers: Arc<WatchedCallers>,
    pub exposed: Arc<ExposedCallers>,
}

/// By rollout.
pub(super) fn rollout_callers(old: Option<&Snapshot>, rules: &Rules, registry: &MeterRegistry) -> Vec<RolloutCallers> {
    let each = rules.rollouts.iter().map(|rollout| {
        let before = old.and_then(|old| {
            let id = old.rules.find_rollout(&rollout.name)?;
            Some((old, old.rules.rollouts.get(id.0 as usize)?))
        });
        let callers = before.and_then(|(old, before)| {
            let is_same = is_same_release(before, &old.rules, rollout, rules)
                && signals(before, &old.rules) == signals(rollout, rules);
            let watch = states(before, old).find_map(|state| state.watch.as_ref()).filter(|_| is_same)?;
            Some(Arc::clone(watch.callers()))
        });
        let counts_tenants = rollout.plan.max_tenants.is_some();
        let exposed = before.and_then(|(old, before)| {
            let exposed = states(before, old).find_map(|state| state.exposed.as_ref());
            exposed.filter(|exposed| exposed.counts_tenants() == counts_tenants).cloned()
        });
        RolloutCallers {
            callers: callers.unwrap_or_else(|| new_callers(rollout, rules, registry)),
            exposed: exposed.unwrap_or_else(|| new_exposed(rollout, registry)),
        }
    });
    each.collect()
}

fn new_callers(rollout: &Rollout, rules: &Rules, registry: &MeterRegistry) -> Arc<WatchedCallers> {
    let guards = splits(rollout, rules).map(|split| &*split.guards);
    let callers = WatchedCallers::new(guards, &registry.guard_memory);
    // Before a worker has it: the first request counts.
    callers.open(WindowNumber(1), SlotNumber(1));
    Arc::new(callers)
}

fn new_exposed(rollout: &Rollout, registry: &MeterRegistry) -> Arc<ExposedCallers> {
    Arc::new(match rollout.plan.max_tenants {
        Some(_) => ExposedCallers::of_tenants(registry.workers),
        None => ExposedCallers::of_keys(registry.workers),
    })
}

/// Whether two versions of a rollout are the same release: marks and first keys are those of a revision.
fn is_same_release(before: &Rollout, old: &Rules, rollout: &Rollout, new: &Rules) -> bool {
    old.revision_of_rollout(before) == new.revision_of_rollout(rollout)
        && old.stable_revision_of_rollout(before) == new.stable_revision_of_rollout(rollout)
}

/// The kinds of events that are counted on its routes, each once, in their order.
fn signals(rollout: &Rollout, rules: &Rules) -> Vec<crate::route::Signal> {
    let mut all = Vec::new();
    for signal in splits(rollout, rules).flat_map(|split| &split.guards.signals) {
        if !all.contains(signal) {
            all.push(signal.clone());
        }
    }
    all
}

fn splits<'a>(rollout: &'a Rollout, rules: &'a Rules) -> impl Iterator<Item = &'a Split> {
    rollout.members.iter().filter_map(|member| rules.routes.get(member.route.0 as usize)?.split())
}

fn states<'a>(rollout: &'a Rollout, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<RouteState>> {
    let state = |member: &RolloutMember| snapshot.routes.get(member.route.0 as usize);
    rollout.members.iter().filter_map(state)
}
