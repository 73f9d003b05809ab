//! As which roles an identity approves: its name stands in `approvers` of the rollout, and a token has the role too.

use crate::route::{AdminRole, AdminToken, ApproverRole, Rollout, Rules};

/// As which roles an admitted client may approve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control::admin) enum ApproverRoles {
    /// As none: it has no identity, or it is root or the user of the proxy.
    #[default]
    None,
    /// As those of its token, where the rollout lists its name.
    Token(Vec<String>),
    /// As each role in which the rollout lists its name.
    User,
}

impl ApproverRoles {
    /// Those of a token.
    pub fn of_token(token: &AdminToken) -> Self {
        let roles = token.roles.iter().filter_map(|role| match role {
            AdminRole::Approver(role) => Some(role.clone()),
            AdminRole::Viewer | AdminRole::Operator | AdminRole::Flags | AdminRole::Outcomes | AdminRole::Metrics => {
                None
            }
        });
        Self::Token(roles.collect())
    }

    /// The roles of a rollout as which the identity with this name may approve.
    pub fn of_rollout(&self, name: &str, rollout: &Rollout) -> Vec<String> {
        let listed = rollout.approvers.iter().filter(|one| one.people.iter().any(|person| person == name));
        let may_sign = |role: &str| match self {
            Self::None => false,
            Self::Token(own) => own.iter().any(|one| one == role),
            Self::User => true,
        };
        listed.filter(|one| may_sign(&one.role)).map(|one| one.role.clone()).collect()
    }
}

/// The approvers of all rollouts.
pub(in crate::control::admin) fn approvers(rules: &Rules) -> Vec<&ApproverRole> {
    rules.rollouts.iter().flat_map(|rollout| &rollout.approvers).collect()
}
