//! Release control: kills by people, their journal, and what the admin listener shows of them.

mod act;
mod answer;
mod check;
mod folder;
mod kills;
mod ledger;
mod perform;
mod recording;
mod release_state;
mod resume;
mod succession;
mod view;

pub use act::{Act, ActError, ActOutcome, ActReply, PersonAct};
pub(super) use folder::FolderSettings;
pub use folder::HeldFolder;
pub(super) use kills::ActiveKills;
pub(super) use release_state::Release;
pub use view::{JournalHealth, KillInForce, KillSource, ReleaseView};
