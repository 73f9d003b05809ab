//! A stage of a rollout that a test or an explanation chooses, instead of the one that the rollout has reached.

use crate::route::{EffectiveConfig, Overlay, RolloutId, RouteId, Rules, SplitState};

/// A stage of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenStage {
    /// The rollout.
    pub rollout: RolloutId,
    /// The index of the stage.
    pub stage: usize,
}

impl ChosenStage {
    /// The stage that `NAME=STAGE` chooses.
    ///
    /// # Errors
    /// If it has another form, or if there is no such rollout or stage.
    pub fn parse(text: &str, rules: &Rules) -> Result<Self, String> {
        let (name, stage) = text.split_once('=').ok_or_else(|| format!("rollout={text:?} is not NAME=STAGE"))?;
        let Some(rollout) = rules.find_rollout(name) else {
            let known: Vec<&str> = rules.rollouts.iter().take(8).map(|one| one.name.as_str()).collect();
            return Err(match &known[..] {
                [] => format!("there is no rollout {name:?}: the file has none"),
                known => format!("there is no rollout {name:?}; there is {}", known.join(", ")),
            });
        };
        let plan = &rules.rollout(rollout).plan;
        let Some(stage) = plan.find(stage) else {
            let known: Vec<&str> = plan.stages.iter().map(|one| one.name.as_str()).collect();
            return Err(format!("rollout {name:?} has no stage {stage:?}; it has {}", known.join(", ")));
        };
        Ok(Self { rollout, stage })
    }
}

/// The overlay with these rollouts in these stages: their weights, under the ceilings. A latch or a hold of their variants
/// is gone; kills stay.
#[must_use]
pub fn at_stages(config: EffectiveConfig<'_>, chosen: &[ChosenStage]) -> Overlay {
    let EffectiveConfig { rules, overlay } = config;
    let mut changed: Vec<(RouteId, SplitState)> = Vec::new();
    for ChosenStage { rollout, stage } in chosen {
        let rollout = rules.rollout(*rollout);
        let Some(stage) = rollout.plan.stages.get(*stage) else { continue };
        let weight = stage.weight().min(rollout.plan.ceiling());
        let states = rollout
            .members
            .iter()
            .filter_map(|member| Some((member.route, overlay.split(member.route).running_at(member.variant, weight)?)));
        changed.extend(states);
    }
    overlay.with(changed)
}
