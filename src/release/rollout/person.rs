//! What people do with a rollout, and why that is refused.

use super::decision::Block;

/// What a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonVerb {
    /// Approve as this role; without one, as the only role that the person may fill.
    Approve {
        /// The role.
        role: Option<String>,
    },
    /// Hold it at its weight.
    Hold,
    /// End a hold or a latch.
    Resume,
    /// Roll it back.
    Rollback,
    /// Move it to a stage: down freely, up when the gates hold.
    Goto {
        /// The name of the stage.
        stage: String,
    },
    /// Begin it anew at its first stage.
    Restart,
    /// Rehearse a rollback: a guard is tripped by hand.
    Rehearse,
}

/// The name that a guard tripped by hand has in the state and the journal.
pub const REHEARSAL: &str = "rehearsal";

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name of the identity.
    pub name: String,
    /// The roles that the identity may fill under the rules in effect.
    pub roles: Vec<String>,
    /// Now: RFC 3339.
    pub at: String,
    /// Why, in the words of the person.
    pub reason: String,
}

/// Why an act is refused: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActRefusal {
    /// It does not fit to the state, such as the resume of a running rollout.
    WrongState {
        /// What is wrong, in one sentence.
        message: String,
        /// What to do.
        help: String,
    },
    /// There is no such stage in the plan; a similar name.
    NoStage {
        /// The name.
        stage: String,
        /// A similar name.
        similar: Option<String>,
    },
    /// The identity may not approve as this role, or as none of those that are waited for.
    NotApprover {
        /// The role.
        role: Option<String>,
        /// The roles that are waited for, each with those who may fill it, for people.
        awaited: Vec<String>,
    },
    /// The identity has filled another role of this stage.
    SamePerson {
        /// That role.
        role: String,
    },
    /// The role has been filled.
    AlreadyApproved {
        /// The role.
        role: String,
        /// By whom.
        by: String,
    },
    /// No approval is asked for yet, or a move up does not pass: what stands in the way.
    Blocked(Vec<Block>),
}
