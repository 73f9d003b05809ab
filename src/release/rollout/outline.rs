//! A rollout in words, for output: what it does, why it is there, and what would let it go on.

use super::blocks::blocks;
use super::decision::{Block, BlockKind};
use super::facts::RolloutFacts;
use super::standing::{StagePlace, StageStanding};
use super::state::{RolloutPhase, RolloutState};
use super::view::View;
use super::weight::effective_weight;
use super::words::percent;
use crate::route::{RolloutPlan, Weight};

/// What a [`RolloutStanding`](super::RolloutStanding) has of plan, state and facts.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutOutline {
    /// See [`RolloutStanding::doing`](super::RolloutStanding::doing).
    pub doing: &'static str,
    /// Why it is there, in one sentence.
    pub says: String,
    /// What would let it go on, in one line.
    pub unblock: Option<String>,
    /// What stands in the way, the first one first.
    pub blocks: Vec<Block>,
    /// The stages.
    pub stages: Vec<StageStanding>,
    /// The roles that it waits for; empty as long as they are not asked.
    pub awaited: Vec<String>,
    /// The weight that is set, in percent.
    pub weight: f64,
    /// When the next step comes by itself, in milliseconds since the Unix epoch, where that is known.
    pub next_ms: Option<u64>,
}

/// A rollout in words.
#[must_use]
pub fn outline(plan: &RolloutPlan, state: &RolloutState, facts: &RolloutFacts) -> RolloutOutline {
    let view = View { plan, state, facts };
    let found = blocks(view);
    let doing = doing(state, &found);
    let is_awaiting = doing == "awaiting_approval";
    let roles = view.at().filter(|_| is_awaiting).map(|at| view.awaited(at)).unwrap_or_default();
    RolloutOutline {
        doing,
        says: says(view, &found),
        unblock: reason(state, &found).map(|block| block.unblock.clone()),
        stages: stages(view),
        awaited: roles.into_iter().map(str::to_owned).collect(),
        weight: effective_weight(plan, state).percent(),
        next_ms: next_ms(state, &found),
        blocks: found,
    }
}

/// What a rollout does in its phase, in a word.
fn doing(state: &RolloutState, blocks: &[Block]) -> &'static str {
    match &state.phase {
        RolloutPhase::Held(held) => held.cause.name(),
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => "",
        RolloutPhase::Running => match blocks.first().map(|block| block.kind) {
            Some(BlockKind::Freeze) => "frozen",
            Some(BlockKind::Duration) if state.ramp.is_some() => {
                if blocks.len() == 1 {
                    "ramping"
                } else {
                    "gated"
                }
            }
            Some(BlockKind::Duration) | None => "baking",
            Some(BlockKind::Approval) => "awaiting_approval",
            Some(
                BlockKind::Requests
                | BlockKind::Evidence
                | BlockKind::Shadow
                | BlockKind::Webhook
                | BlockKind::Prometheus
                | BlockKind::NotBefore
                | BlockKind::Expired
                | BlockKind::Tenants
                | BlockKind::MaxWeight
                | BlockKind::Requires
                | BlockKind::Endpoints
                | BlockKind::Stable
                | BlockKind::Config
                | BlockKind::Journal
                | BlockKind::Stopped,
            ) => "gated",
        },
    }
}

/// The block that is shown: of a plan that has expired, that it goes on after no time; of a ramp that pauses, what pauses
/// it.
fn reason<'b>(state: &RolloutState, blocks: &'b [Block]) -> Option<&'b Block> {
    let is_pausing = |block: &&Block| block.kind != BlockKind::Duration;
    let expired = blocks.iter().find(|block| block.kind == BlockKind::Expired);
    if expired.is_some() && blocks.first().is_some_and(|first| first.until_ms.is_some()) {
        return expired;
    }
    state.ramp.and_then(|_| blocks.iter().find(is_pausing)).or_else(|| blocks.first())
}

fn says(view: View<'_>, blocks: &[Block]) -> String {
    let state = view.state;
    let weight = percent(effective_weight(view.plan, state).millionths());
    let first = reason(state, blocks).map(|block| block.says.as_str());
    match &state.phase {
        RolloutPhase::Pending => match first {
            Some(says) => format!("before stage `{}`: {says}", state.stage),
            None => format!("it enters stage `{}` next", state.stage),
        },
        RolloutPhase::Running => match first {
            Some(says) => format!("stage `{}` at {weight}: {says}", state.stage),
            None => format!("stage `{}` at {weight}: it goes on", state.stage),
        },
        RolloutPhase::Held(held) => {
            format!("held ({}) at {weight} in stage `{}`: {}", held.cause.name(), state.stage, held.sentence)
        }
        RolloutPhase::Killed => {
            format!("killed in stage `{}`: {}", state.stage, view.facts.kill.says())
        }
        RolloutPhase::RolledBack(back) => match &state.fall {
            Some(_) => format!("rolled back by {}, still at {weight}: {}", back.by, back.sentence),
            None => format!("rolled back by {}: {}", back.by, back.sentence),
        },
        RolloutPhase::Complete => format!("complete at {weight}"),
    }
}

/// The moment at which all blocks are over, where each of them ends by itself.
fn next_ms(state: &RolloutState, blocks: &[Block]) -> Option<u64> {
    match &state.phase {
        RolloutPhase::Pending | RolloutPhase::Running => {
            let ends: Option<Vec<u64>> = blocks.iter().map(|block| block.until_ms).collect();
            ends?.into_iter().max()
        }
        RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => None,
    }
}

fn stages(view: View<'_>) -> Vec<StageStanding> {
    let at = view.at().filter(|_| view.has_entered());
    let place = |index: usize| match at {
        Some(at) if index < at => StagePlace::Done,
        Some(at) if index == at => StagePlace::Current,
        Some(_) | None => StagePlace::Ahead,
    };
    let each = view.plan.stages.iter().enumerate().map(|(index, stage)| StageStanding {
        name: stage.name.clone(),
        weight: Weight::from_millionths(stage.weight).unwrap_or(Weight::FULL).percent(),
        place: place(index),
        run_ms: (at == Some(index)).then_some(view.state.progress.run_ms),
        min_duration_ms: stage.min_duration_ms,
        approved: view.approvals(index).into_iter().cloned().collect(),
        approve: stage.approve.clone(),
    });
    each.collect()
}
