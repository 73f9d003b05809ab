//! Release control: kills by people, their journal, and what the admin listener shows of them.

mod act;
mod view;

pub use act::{Act, ActError, ActOutcome, ActReply, PersonAct};
pub use view::{JournalHealth, KillInForce, KillSource, ReleaseView};
