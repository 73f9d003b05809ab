//! Release control: kills by people, what follows from guards, the journal of both, and what the admin listener shows of
//! them.

mod act;
mod answer;
mod check;
mod folder;
mod foresight;
mod guards_due;
mod kills;
mod latches;
mod ledger;
mod perform;
mod query_guards;
mod recording;
mod rehearsal;
mod rehearsed_rollback;
mod release_state;
mod resume;
mod rollback;
mod rollout_act;
mod rollout_facts;
mod rollout_follow;
mod rollout_standings;
#[cfg(test)]
mod rollout_tests;
mod rollouts;
mod rollouts_due;
mod saved_progress;
mod stale_conditions;
mod standings;
mod succession;
mod tick_schedule;
mod view;

pub use act::{Act, ActError, ActOutcome, ActReply, PersonAct};
pub(super) use folder::FolderSettings;
pub use folder::HeldFolder;
pub use foresight::Foresight;
pub(super) use kills::ActiveKills;
pub use rehearsed_rollback::RehearsedRollback;
pub(super) use release_state::Release;
pub use view::{JournalHealth, KillInForce, KillSource, ReleaseView};
