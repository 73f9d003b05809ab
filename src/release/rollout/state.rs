//! Where a rollout is. A record of the journal has it whole, so that a start goes on from the last record.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::route::Weight;

/// Where a rollout is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutState {
    /// The revision of its canaries: `upstream=revision`, sorted, separated by commas.
    pub revision: String,
    /// The revision of its stable variants, in the same form.
    pub stable: String,
    /// The name of the stage; before the first one is entered, its name.
    pub stage: String,
    /// What it does there.
    pub phase: RolloutPhase,
    /// The weight that was reached, in millionths. It grows only by a raise that has passed; holds at 0 set it to 0.
    pub reached: u32,
    /// A raise that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// A rollback that takes its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<Ramp>,
    /// What must hold before a weight below that of its stage grows again.
    #[serde(default)]
    pub regain: Regain,
    /// The time and the requests in the stage.
    #[serde(default)]
    pub progress: StageProgress,
    /// The approvals under this revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// The hash of the plan up to the stage whose approvers have been asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The guards that have warned under this revision.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub warned: BTreeSet<String>,
    /// The stages of the plan to the one where it is, that one included: by them a changed plan is known.
    #[serde(default)]
    pub passed: Vec<PassedStage>,
    /// How often a hold of a canary that refuses connections has taken the place of a rollback under this revision.
    #[serde(default)]
    pub refusals: u8,
    /// A guard has tripped while a kill covered it: evidence begins anew when it goes on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passed_over: bool,
    /// The revisions that were rolled back and not resumed, the newest last: under one of them it stays at 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latched: Vec<String>,
    /// The wall clock at the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<SeenClock>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The wall clock as it was seen. Where it moves otherwise than the monotonic clock, nothing is raised for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenClock {
    /// The time, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// How far it jumped last, in milliseconds, forward or back.
    #[serde(default)]
    pub jump_ms: u64,
    /// Nothing is raised for so long after a jump, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// What a rollout does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RolloutPhase {
    /// It has not entered its first stage.
    #[default]
    Pending,
    /// It is in a stage, and goes on when the stage lets it.
    Running,
    /// It does not go on.
    Held(Held),
    /// It is killed, or a route or variant of it: at 0.
    Killed,
    /// At 0 until a person resumes it, or until there is another revision.
    RolledBack(RolledBack),
    /// The last stage is left: it keeps its weight, and its guards watch.
    Complete,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Why.
    pub cause: HeldCause,
    /// In one sentence: what the person wrote, or what was seen.
    pub sentence: String,
    /// Who held it: a person, a guard, or `pointsman`.
    pub by: String,
    /// The phase that it goes back to is complete.
    #[serde(default)]
    pub was_complete: bool,
    /// Held for so long, in milliseconds.
    #[serde(default)]
    pub for_ms: u64,
    /// A guard has tripped meanwhile, and the hold took the place of its act: evidence begins anew when it ends.
    #[serde(default)]
    pub passed_over: bool,
    /// A person held it before this hold took the place of that one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_person: bool,
    /// The hold that goes on when this one ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Self>>,
}

/// Why a rollout is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldCause {
    /// By a person, at its weight. A person resumes it.
    Person,
    /// A guard that holds has tripped. At its weight; a person resumes it.
    Guard,
    /// None of the canary's endpoints accepts connections. At 0; it ends by itself.
    CanaryDown,
    /// A rollback is wanted, and stable has no usable endpoint. At its weight; it is executed as soon as stable has one.
    NoRollbackTarget,
    /// A kill has ended. At 0; a person resumes it.
    Revived,
    /// A rollout that it requires has fallen below its stage. At 0; it ends by itself.
    Requires,
    /// The plan at a start is not the one of before. A person goes to a stage, or restarts it.
    PlanChanged,
    /// Stable has another revision. At its weight; a person resumes it, and evidence begins anew.
    StableChanged,
    /// The evidence stays too little. At its weight; a person resumes it.
    Inconclusive,
    /// No request comes. At its weight; a person resumes it.
    NoTraffic,
    /// The journal is damaged or missing. At 0; a person goes to a stage, resumes or restarts it.
    Damaged,
}

/// A rollback.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The guard, the person, or `no traffic`, `inconclusive`.
    pub by: String,
    /// What was seen, in one sentence.
    pub sentence: String,
}

/// A weight that moves in a straight line of running time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// From this weight, in millionths.
    pub from: u32,
    /// To this one.
    pub to: u32,
    /// In so many milliseconds.
    pub over_ms: u64,
    /// So many milliseconds of it have passed.
    pub run_ms: u64,
}

/// What must hold before a weight below that of its stage grows again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regain {
    /// The checks before a raise.
    #[default]
    Checks,
    /// The gates of its stage in addition: the ceiling or the weight of the stage was lowered and raised again.
    Gates,
}

/// The time and the requests in a stage. It is saved each second, beside the records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// Running time since the end of the ramp, in milliseconds.
    pub run_ms: u64,
    /// Answered requests to the canary since the end of the ramp.
    pub answered: u64,
    /// Distinct keys that were exposed in the stage.
    pub keys: u64,
    /// Running time since the last answered request to the canary, in milliseconds.
    pub quiet_ms: u64,
    /// Running time since the end of the ramp, or since a person resumed it when the evidence was too little, in
    /// milliseconds.
    #[serde(default)]
    pub waited_ms: u64,
    /// Answered requests since the process started, at the last step in the stage: what is more is new. `None`: it counts
    /// from the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
}

/// The approval of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The stage that may be left.
    pub stage: String,
    /// The role.
    pub role: String,
    /// The name of the person.
    pub by: String,
    /// When: RFC 3339.
    pub at: String,
    /// The hash of the plan up to that stage: an edit there voids it.
    pub plan: String,
}

/// A stage that was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedStage {
    /// The name.
    pub name: String,
    /// The weight, in millionths.
    pub weight: u32,
}

impl Ramp {
    /// The weight after the time that has passed, in steps of 0.01 %.
    #[must_use]
    pub fn weight(&self) -> Weight {
        const STEP: u64 = 100;
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        if self.run_ms >= self.over_ms {
            return Weight::from_millionths(self.to).unwrap_or(Weight::FULL);
        }
        let way = from.abs_diff(to).saturating_mul(self.run_ms) / self.over_ms;
        let whole = way / STEP * STEP;
        let now = if to >= from { from + whole } else { from - whole };
        u32::try_from(now).ok().and_then(Weight::from_millionths).unwrap_or(Weight::ZERO)
    }

    /// Whether its time is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.run_ms >= self.over_ms
    }
}

impl HeldCause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Person,
        Self::Guard,
        Self::CanaryDown,
        Self::NoRollbackTarget,
        Self::Revived,
        Self::Requires,
        Self::PlanChanged,
        Self::StableChanged,
        Self::Inconclusive,
        Self::NoTraffic,
        Self::Damaged,
    ];

    /// The words in output and in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Guard => "guard",
            Self::CanaryDown => "canary down",
            Self::NoRollbackTarget => "no rollback target",
            Self::Revived => "revived",
            Self::Requires => "requires",
            Self::PlanChanged => "plan changed",
            Self::StableChanged => "stable changed",
            Self::Inconclusive => "inconclusive",
            Self::NoTraffic => "no traffic",
            Self::Damaged => "journal damaged",
        }
    }

    /// Whether the canary gets no request meanwhile, by targets neither.
    #[must_use]
    pub const fn is_at_zero(self) -> bool {
        match self {
            Self::CanaryDown | Self::Revived | Self::Requires | Self::Damaged => true,
            Self::Person
            | Self::Guard
            | Self::NoRollbackTarget
            | Self::PlanChanged
            | Self::StableChanged
            | Self::Inconclusive
            | Self::NoTraffic => false,
        }
    }

    /// Whether it ends without a person.
    #[must_use]
    pub const fn ends_by_itself(self) -> bool {
        match self {
            Self::CanaryDown | Self::NoRollbackTarget | Self::Requires => true,
            Self::Person
            | Self::Guard
            | Self::Revived
            | Self::PlanChanged
            | Self::StableChanged
            | Self::Inconclusive
            | Self::NoTraffic
            | Self::Damaged => false,
        }
    }
}

impl RolloutPhase {
    /// The words of the phases in output.
    pub const NAMES: [&'static str; 6] = ["pending", "running", "held", "killed", "rolled_back", "complete"];

    /// The word in output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Held(_) => "held",
            Self::Killed => "killed",
            Self::RolledBack(_) => "rolled_back",
            Self::Complete => "complete",
        }
    }
}
