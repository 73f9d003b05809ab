//! Release decisions as pure functions: the evidence of guards, and the state of a release. The caller supplies counts,
//! facts and time.

mod counted_tests;
mod evidence_record;
mod facts;
mod guard_evidence;
mod guard_trip;
mod live_tests;
mod release_evidence;
mod release_standing;
mod replay;
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
pub use replay::{ReplayedTrip, replay};
pub use route_evidence::{Marks, RouteEvidence, SavedEvidence, TickOutcome};
pub use standing::{ArmCounts, GuardStanding, GuardState, HoldCause, ReleaseStanding, ReleaseState, Rollback, Warning};
pub use state::{CANARY_DOWN, DownFacts, ReleaseCourse, ReleaseDecision, ReleaseFacts, ReleasePhase};

#[cfg(test)]
mod tests;
