//! Release decisions as pure functions: the evidence of guards, and the state of a release. The caller supplies counts,
//! facts and time.

mod counted_tests;
mod evidence_changes;
mod evidence_record;
mod facts;
mod guard_evidence;
mod guard_trip;
mod judged_group;
mod live_tests;
mod promotion_evidence;
mod release_evidence;
mod release_standing;
mod replay;
mod rollout;
mod route_evidence;
mod run_watch;
mod saved_release;
mod sentence;
mod shown_counts;
mod slot_ring;
mod slow_thresholds;
mod standing;
mod state;
#[cfg(test)]
mod state_tests;

pub use facts::{ArmFacts, Opening, RunFacts, StableQuantile, TickFacts};
pub use guard_trip::GuardTrip;
pub use judged_group::{JudgedGroup, JudgedRoute};
pub use promotion_evidence::{PromotionPlan, replay_promotion};
pub use replay::{ReplayedTrip, replay};
pub use rollout::{
    ActRefusal, Approval, AwaitedRole, Block, BlockKind, CanaryDown, EndpointFacts, FreezeFact, GateAnswer,
    GateVerdict, Held, HeldCause, KillFacts, PROMOTION_LOG10, PassedStage, PersonVerb, PlanRejection, PromotionTest,
    REHEARSAL, Ramp, Regain, ReplayedGuard, ReplayedRollout, RolledBack, RolloutDecision, RolloutEvidence,
    RolloutFacts, RolloutOutline, RolloutPhase, RolloutStanding, RolloutState, RolloutStep, RolloutTrip, RolloutVerb,
    SeenClock, ShadowFacts, Signer, StageEvidence, StagePlace, StageProgress, StageStanding, TripAct, effective_weight,
    follow_plan, hold_for_route, keys_needed, outline, percent, perform, plan_hash, replay_rollout, resume_plan, span,
    step, stopped_by_person,
};
pub use route_evidence::{Marks, RouteEvidence, SavedEvidence, SavedTenants, TickOutcome};
pub use standing::{ArmCounts, GuardStanding, GuardState, HoldCause, ReleaseStanding, ReleaseState, Rollback, Warning};
pub use state::{CANARY_DOWN, DownFacts, ReleaseCourse, ReleaseDecision, ReleaseFacts, ReleasePhase};

#[cfg(test)]
mod tests;
