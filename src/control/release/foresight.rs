//! What an edit of the files would do to what runs: where its rollouts would stand, what stays rolled back, and whether a reload
//! would reject it. The controller makes it; `check --against` and the summary of a reload read it.

use std::collections::BTreeMap;

use super::latches::ActiveLatches;
use crate::release::{PlanRejection, RolloutPhase, RolloutState, effective_weight, follow_plan, stopped_by_person};
use crate::route::{Overlay, Rollout, Rules, Stop, StoppedVariant, VariantWeight, Weight};

/// What stands for the name of the rollout in a line that says what to do.
pub(super) const ANY_NAME: &str = "NAME";

/// Where the rollouts are, and what is rolled back.
#[derive(Clone, Debug, Default)]
pub struct Foresight {
    /// By name.
    rollouts: BTreeMap<String, ForeseenRollout>,
    latches: ActiveLatches,
}

/// Where a rollout is.
#[derive(Clone, Debug)]
pub(super) struct ForeseenRollout {
    pub state: RolloutState,
    /// Where it is when the disk has the raise that waits for it.
    pub waiting: Option<RolloutState>,
}

/// What an edit makes of a variant: its weight, and why it gets nothing.
#[derive(Clone, Copy, Debug)]
struct Foreseen {
    weight: Weight,
    stop: Option<Stop>,
}

impl Foresight {
    /// What is known now; the rollouts by name.
    pub(super) const fn new(rollouts: BTreeMap<String, ForeseenRollout>, latches: ActiveLatches) -> Self {
        Self { rollouts, latches }
    }

    /// The overlay of edited rules with all that release control would keep: weights of rollouts, latches and holds.
    #[must_use]
    pub fn overlay(&self, rules: &Rules, of_file: &Overlay) -> Overlay {
        self.with_rollouts(rules, of_file).with_stopped(rules, &self.latches.stopped(rules))
    }

    /// The overlay of edited rules with where the rollouts would stand. One that begins, or begins again, stands at its first
    /// stage, as in the file: it enters it when the checks before a raise permit it.
    #[must_use]
    pub fn with_rollouts(&self, rules: &Rules, of_file: &Overlay) -> Overlay {
        let (mut weights, mut stopped) = (Vec::new(), Vec::new());
        for rollout in &rules.rollouts {
            let Some(Foreseen { weight, stop }) = self.foresee(rules, rollout) else { continue };
            for member in &rollout.members {
                let (route, variant) = (member.route, member.variant);
                weights.push(VariantWeight { route, variant, weight });
                stopped.extend(stop.map(|stop| StoppedVariant { route, variant, stop }));
            }
        }
        of_file.with_weights(&weights).with_stopped(rules, &stopped)
    }

    /// What an edit makes of the variants of a rollout; `None`: it begins, or begins again.
    fn foresee(&self, rules: &Rules, rollout: &Rollout) -> Option<Foreseen> {
        let ForeseenRollout { state, .. } = self.rollouts.get(&rollout.name)?;
        let revision = rules.revision_of_rollout(rollout);
        if revision != state.revision {
            let stop = if state.latched.contains(&revision) {
                Stop::Latch
            } else {
                stopped_by_person(state).map(|_| Stop::Hold)?
            };
            return Some(Foreseen { weight: Weight::ZERO, stop: Some(stop) });
        }
        let lowered = follow_plan(&rollout.plan, state).ok().flatten().map(|decision| decision.state);
        let state = lowered.as_ref().unwrap_or(state);
        Some(Foreseen { weight: effective_weight(&rollout.plan, state), stop: stop_of(state) })
    }

    /// Why a reload would reject edited rules: a plan does not fit to where its rollout is. A new revision begins anew, under
    /// any plan. `now` is what runs.
    #[must_use]
    pub fn rejection(&self, now: &Rules, edited: &Rules) -> Option<PlanRejection> {
        edited.rollouts.iter().find_map(|rollout| {
            let known = self.rollouts.get(&rollout.name)?;
            if edited.revision_of_rollout(rollout) != known.state.revision {
                return None;
            }
            let place = format!("{}:{}", rollout.place.file, rollout.place.line);
            if let Some(route) = joins_under_way(now, edited, rollout).filter(|_| !known.state.passed.is_empty()) {
                let message = format!("rollout {} at {place}: route {route} would get its weight at once", rollout.name);
                let help = format!(
                    "begin it anew first, `pointsman rollout restart {} --reason TEXT`, then `pointsman reload`; or give \
                     the route a rollout of its own",
                    rollout.name
                );
                return Some(PlanRejection { message, help });
            }
            let unfit = |state| follow_plan(&rollout.plan, state).err();
            let rejection = unfit(&known.state).or_else(|| known.waiting.as_ref().and_then(unfit))?;
            let message = format!("rollout {} at {place}: {}", rollout.name, rejection.message);
            let help = rejection.help.replace(ANY_NAME, &rollout.name);
            Some(PlanRejection { message, help })
        })
    }
}

/// A route that comes to a rollout.
fn joins_under_way(now: &Rules, edited: &Rules, rollout: &Rollout) -> Option<String> {
    let before = now.rollout(now.find_rollout(&rollout.name)?);
    let known = |name: &str| before.members.iter().any(|member| now.route(member.route).name == name);
    let mut names = rollout.members.iter().map(|member| &edited.route(member.route).name);
    names.find(|name| !known(name)).cloned()
}

/// Why no request goes to the canaries, if none does.
pub(super) const fn stop_of(state: &RolloutState) -> Option<Stop> {
    match &state.phase {
        RolloutPhase::Held(held) if held.cause.is_at_zero() || state.passed.is_empty() => Some(Stop::Hold),
        // A kill itself may have ended: a hold follows it.
        RolloutPhase::Pending | RolloutPhase::Killed => Some(Stop::Hold),
        RolloutPhase::RolledBack(_) if state.fall.is_none() => Some(Stop::Latch),
        RolloutPhase::Running | RolloutPhase::Held(_) | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => None,
    }
}
