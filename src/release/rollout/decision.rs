//! What a step of a rollout decides, and what stands in its way.

use serde::{Deserialize, Serialize};

use super::facts::RolloutTrip;
use super::state::RolloutState;

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutStep {
    /// The state after the step without its raise, if it decides one: time has gone on, lowering is done.
    pub state: RolloutState,
    /// What was decided, in order. Each is one record; the last one may be a raise.
    pub decisions: Vec<RolloutDecision>,
    /// What stands in the way of going on, the first one first; empty: nothing does.
    pub blocks: Vec<Block>,
}

/// A decision: one record of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutDecision {
    /// What was decided.
    pub act: RolloutVerb,
    /// Who: the name of the guard, or `None` for the plan itself.
    pub guard: Option<RolloutTrip>,
    /// Why, in one sentence.
    pub sentence: String,
    /// The state after it. That of a raise is in force when its record is on the disk.
    pub state: RolloutState,
    /// Evidence begins anew: for all guards of the rollout.
    pub begins_anew: bool,
    /// Its record must be on the disk before it takes effect. As [`RolloutVerb::raises`], but for a move down.
    pub raises: bool,
}

/// What was decided about a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutVerb {
    /// A new rollout, or a new revision of it, stands before its first stage.
    Begin,
    /// A stage is entered; with a ramp this is the begin of the ramp.
    Enter,
    /// The weight grows again to that of its stage.
    Raise,
    /// The weight is lowered by an edit of the file.
    Lower,
    /// The last stage is left.
    Complete,
    /// A guard has tripped that does not act on the weight.
    Warn,
    /// It is held.
    Hold,
    /// A hold has ended by itself.
    Unhold,
    /// It is rolled back.
    Rollback,
    /// A kill stopped it.
    Killed,
    /// The kill has ended: it is held at 0.
    Revived,
    /// All but approvals is there: its approvers are asked.
    Ask,
    /// A person has approved.
    Approve,
    /// A person has resumed it.
    Resume,
    /// A person has moved it to a stage.
    Goto,
    /// A person has begun it anew.
    Restart,
    /// A rollback was rehearsed, and measured: nothing has changed since that.
    Rehearsed,
    /// It has left the file; its state is kept.
    Archive,
    /// An act of a person, or a raise, that was refused because the journal could not be written.
    Refused,
}

/// What stands in the way of going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its kind.
    pub kind: BlockKind,
    /// What it is, in one line, such as `12 min of 30 min`.
    pub says: String,
    /// What would end it, in one line.
    pub unblock: String,
    /// When it ends by itself, in milliseconds since the Unix epoch, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// The kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// `min_duration`, or a ramp that is under way.
    Duration,
    /// `min_requests` or `min_keys`.
    Requests,
    /// `require`: evidence of errors.
    Evidence,
    /// `require.shadow_mismatch`.
    Shadow,
    /// A webhook.
    Webhook,
    /// A query of Prometheus.
    Prometheus,
    /// `not_before`.
    NotBefore,
    /// A freeze window.
    Freeze,
    /// `expires`.
    Expired,
    /// `max_tenants`.
    Tenants,
    /// `max_weight` is below the weight of the next stage.
    MaxWeight,
    /// `requires`.
    Requires,
    /// Endpoints of the canary.
    Endpoints,
    /// Stable is in trouble.
    Stable,
    /// A newer file is rejected.
    Config,
    /// The journal cannot be written.
    Journal,
    /// Approvals.
    Approval,
    /// It is held, killed or rolled back; or the clock has jumped.
    Stopped,
}

impl RolloutDecision {
    /// A decision of the plan itself.
    #[must_use]
    pub fn new(act: RolloutVerb, sentence: String, state: RolloutState) -> Self {
        Self { act, guard: None, sentence, state, begins_anew: false, raises: act.raises() }
    }

    /// The same with evidence that begins anew.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { begins_anew: true, ..self }
    }

    /// The same in force at once.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { raises: false, ..self }
    }
}

impl Block {
    /// A block.
    #[must_use]
    pub fn new(kind: BlockKind, says: impl Into<String>, unblock: impl Into<String>) -> Self {
        Self { kind, says: says.into(), unblock: unblock.into(), until_ms: None }
    }

    /// The same with its end, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn until(self, until_ms: u64) -> Self {
        Self { until_ms: Some(until_ms), ..self }
    }
}

impl RolloutVerb {
    /// Whether a stage is entered.
    #[must_use]
    pub const fn enters(self) -> bool {
        matches!(self, Self::Enter | Self::Goto | Self::Restart)
    }

    /// Whether evidence may begin anew with it ([`RolloutDecision::begins_anew`]).
    #[must_use]
    pub const fn may_begin_anew(self) -> bool {
        matches!(self, Self::Begin | Self::Resume | Self::Goto | Self::Restart)
    }

    /// Whether its record must be on the disk before it takes effect. What lowers exposure is in force at once.
    #[must_use]
    pub const fn raises(self) -> bool {
        match self {
            Self::Enter
            | Self::Raise
            | Self::Complete
            | Self::Unhold
            | Self::Approve
            | Self::Resume
            | Self::Goto
            | Self::Restart => true,
            Self::Begin
            | Self::Lower
            | Self::Warn
            | Self::Hold
            | Self::Rollback
            | Self::Killed
            | Self::Revived
            | Self::Ask
            | Self::Rehearsed
            | Self::Archive
            | Self::Refused => false,
        }
    }

    /// The word in the journal and in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Enter => "enter",
            Self::Raise => "raise",
            Self::Lower => "lower",
            Self::Complete => "complete",
            Self::Warn => "warn",
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::Rollback => "rollback",
            Self::Killed => "killed",
            Self::Revived => "revived",
            Self::Ask => "ask",
            Self::Approve => "approve",
            Self::Resume => "resume",
            Self::Goto => "goto",
            Self::Restart => "restart",
            Self::Rehearsed => "rehearsed",
            Self::Archive => "archive",
            Self::Refused => "refused",
        }
    }
}

impl BlockKind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Duration,
        Self::Requests,
        Self::Evidence,
        Self::Shadow,
        Self::Webhook,
        Self::Prometheus,
        Self::NotBefore,
        Self::Freeze,
        Self::Expired,
        Self::Tenants,
        Self::MaxWeight,
        Self::Requires,
        Self::Endpoints,
        Self::Stable,
        Self::Config,
        Self::Journal,
        Self::Approval,
        Self::Stopped,
    ];

    /// The word in output and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Requests => "requests",
            Self::Evidence => "evidence",
            Self::Shadow => "shadow",
            Self::Webhook => "webhook",
            Self::Prometheus => "prometheus",
            Self::NotBefore => "not_before",
            Self::Freeze => "freeze",
            Self::Expired => "expired",
            Self::Tenants => "tenants",
            Self::MaxWeight => "max_weight",
            Self::Requires => "requires",
            Self::Endpoints => "endpoints",
            Self::Stable => "stable",
            Self::Config => "config",
            Self::Journal => "journal",
            Self::Approval => "approval",
            Self::Stopped => "stopped",
        }
    }
}
