//! The state machine of a rollout: stages, gates, approvals. Pure: plan, state and facts in, state and decisions out.

mod act;
mod blocks;
mod clock;
mod decision;
mod draft;
mod evidence_blocks;
mod facts;
mod moves;
mod outline;
mod person;
mod plan_change;
mod rollback;
mod rollout_replay;
mod standing;
mod state;
mod step;
mod stops;
mod trips;
mod view;
mod weight;
mod words;

pub use act::perform;
pub use decision::{Block, BlockKind, RolloutDecision, RolloutStep, RolloutVerb};
pub use evidence_blocks::keys_needed;
pub use facts::{
    CanaryDown, EndpointFacts, FreezeFact, GateAnswer, GateVerdict, KillFacts, PROMOTION_LOG10, PromotionTest,
    RolloutFacts, RolloutTrip, ShadowFacts, StageEvidence, TripAct,
};
pub use outline::{RolloutOutline, outline};
pub use person::{ActRefusal, PersonVerb, REHEARSAL, Signer};
pub use plan_change::{PlanRejection, follow_plan, hold_for_route, resume_plan};
pub use rollback::stopped_by_person;
pub use rollout_replay::{ReplayedGuard, ReplayedRollout, RolloutEvidence, replay_rollout};
pub use standing::{AwaitedRole, RolloutStanding, StagePlace, StageStanding};
pub use state::{
    Approval, Held, HeldCause, PassedStage, Ramp, Regain, RolledBack, RolloutPhase, RolloutState, SeenClock,
    StageProgress,
};
pub use step::step;
pub use weight::{effective_weight, plan_hash};
pub use words::{percent, span};

#[cfg(test)]
mod tests;
