//! How a rollout stands, for output.

use super::decision::Block;
use super::state::RolloutPhase;
use crate::release::GuardStanding;

/// How a rollout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutStanding {
    /// The name.
    pub name: String,
    /// The revision of its canaries.
    pub revision: String,
    /// The variants that it moves: `route:variant`.
    pub variants: Vec<String>,
    /// `owner`.
    pub owner: Option<String>,
    /// `ticket`.
    pub ticket: Option<String>,
    /// The phase.
    pub phase: RolloutPhase,
    /// What it does in the phase, in a word: `baking`, `gated`, `frozen`, `awaiting_approval` or `ramping` while it runs,
    /// else the cause of a hold; empty otherwise.
    pub doing: &'static str,
    /// Why it is there, in one sentence.
    pub says: String,
    /// What would let it go on, in one line; `None`: nothing is in the way.
    pub unblock: Option<String>,
    /// What stands in the way, the first one first.
    pub blocks: Vec<Block>,
    /// The name of the stage.
    pub stage: String,
    /// The stages.
    pub stages: Vec<StageStanding>,
    /// The weight that is set, in percent.
    pub weight: f64,
    /// The ceiling, in percent.
    pub max_weight: f64,
    /// When the next step comes by itself, in milliseconds since the Unix epoch, where that is known.
    pub next_ms: Option<u64>,
    /// The roles that it waits for, with those who may approve.
    pub awaited: Vec<AwaitedRole>,
    /// Its guards.
    pub guards: Vec<GuardStanding>,
    /// When it came to its phase: RFC 3339.
    pub at: String,
    /// The number of the record; `None` when there is none.
    pub seq: Option<u64>,
    /// Whether the record is on the disk.
    pub durable: bool,
    /// `expires` has passed.
    pub expired: bool,
    /// The edit of the file that a complete rollout asks for, such as `stable = "checkout-v2"`; empty before.
    pub edit: Vec<String>,
}

/// A stage of a plan as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StageStanding {
    /// The name.
    pub name: String,
    /// The weight, in percent.
    pub weight: f64,
    /// Where the rollout is in relation to it.
    pub place: StagePlace,
    /// The running time in it, in milliseconds; only of the stage where it is.
    pub run_ms: Option<u64>,
    /// `min_duration`, in milliseconds.
    pub min_duration_ms: u64,
    /// The approvals that were given.
    pub approved: Vec<super::state::Approval>,
    /// The roles that it asks for.
    pub approve: Vec<String>,
}

/// Where a rollout is in relation to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagePlace {
    /// It has left it.
    Done,
    /// It is in it.
    Current,
    /// It has not entered it.
    Ahead,
}

/// A role that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedRole {
    /// The role.
    pub role: String,
    /// Who may fill it.
    pub people: Vec<String>,
}

impl StagePlace {
    /// The word in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Current => "current",
            Self::Ahead => "ahead",
        }
    }
}
