//! All rollouts in short, and which rollout moves a variant.

use serde_json::{Value, json};

use super::rollout_json;
use super::rollout_share::MeasuredShares;
use crate::control::state::ControlState;
use crate::release::ReleaseStanding;
use crate::route::Rules;

/// All rollouts, each in short.
pub(super) fn rollouts_in_short(state: &ControlState) -> Vec<Value> {
    let (shares, snapshot) = (MeasuredShares::of(state), state.snapshot());
    let rollouts = state.release.rollouts();
    let in_short = rollouts.iter().map(|one| {
        let value = rollout_json::rollout(one, shares.of_rollout(&one.name));
        with_permissions(value, &snapshot.rules, &one.name)
    });
    in_short.collect()
}

/// Adds what the plan permits.
pub(super) fn with_permissions(mut value: Value, rules: &Rules, name: &str) -> Value {
    let rollout = rules.find_rollout(name).map(|id| rules.rollout(id));
    value["rehearsal"] = json!(rollout.is_some_and(|rollout| rollout.about.rehearsal));
    value["same_person"] = json!(rollout.is_some_and(|rollout| rollout.plan.same_person));
    value
}

/// Whether a rollout moves this variant: the rollout is shown, not the variant.
pub(super) fn is_member(rules: &Rules, release: &ReleaseStanding) -> bool {
    rollout_of(rules, &release.name()).is_some()
}

/// The rollout that moves a variant, by its name `route:variant`.
pub(super) fn rollout_of<'a>(rules: &'a Rules, name: &str) -> Option<&'a str> {
    let (route, variant) = name.split_once(':')?;
    let split = rules.routes.iter().find(|one| one.name == route)?.split()?;
    split.variants.last().filter(|last| last.name == variant)?;
    split.rollout.map(|id| rules.rollout(id).name.as_str())
}
