//! What a person orders about a rollout: the words of its questions, and the body of its call.

use serde_json::{Value, json};

use crate::cli::args::RolloutActArguments;
use crate::cli::rollout_row::RolloutRow;
use crate::compare::escape_controls;

/// What a person does.
#[derive(Clone, Copy, Debug)]
pub(super) enum PersonOrder<'a> {
    /// With the role.
    Approve(&'a RolloutActArguments, Option<&'a str>),
    Hold(&'a RolloutActArguments),
    Resume(&'a RolloutActArguments),
    Rollback(&'a RolloutActArguments),
    /// With the stage.
    Goto(&'a RolloutActArguments, &'a str),
    Restart(&'a RolloutActArguments),
    Rehearse(&'a RolloutActArguments),
}

impl<'a> PersonOrder<'a> {
    /// What was typed.
    pub(super) const fn arguments(self) -> &'a RolloutActArguments {
        match self {
            Self::Approve(arguments, _)
            | Self::Goto(arguments, _)
            | Self::Hold(arguments)
            | Self::Resume(arguments)
            | Self::Rollback(arguments)
            | Self::Restart(arguments)
            | Self::Rehearse(arguments) => arguments,
        }
    }

    /// The last part of the path.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Approve(..) => "approve",
            Self::Hold(_) => "hold",
            Self::Resume(_) => "resume",
            Self::Rollback(_) => "rollback",
            Self::Goto(..) => "goto",
            Self::Restart(_) => "restart",
            Self::Rehearse(_) => "rehearse",
        }
    }

    /// What was done, in words.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Approve(..) => "approved",
            Self::Hold(_) => "held",
            Self::Resume(_) => "resumed",
            Self::Rollback(_) => "rolled back",
            Self::Goto(..) => "moved",
            Self::Restart(_) => "restarted",
            Self::Rehearse(_) => "rolled back, as a rehearsal",
        }
    }

    /// The words of a question.
    pub(super) fn words(self) -> String {
        match self {
            Self::Rollback(_) => "roll back".to_owned(),
            Self::Goto(_, stage) => format!("go to stage {} with", escape_controls(stage)),
            Self::Rehearse(_) => "rehearse a rollback of".to_owned(),
            Self::Approve(..) | Self::Hold(_) | Self::Resume(_) | Self::Restart(_) => self.verb().to_owned(),
        }
    }

    /// Whether the journal gets a reason.
    pub(super) const fn needs_reason(self) -> bool {
        !matches!(self, Self::Approve(..))
    }

    /// Whether a person says yes first: to what raises exposure, to a rehearsal, and to a rollback of more than one route.
    pub(super) fn needs_yes(self, entry: &Value) -> bool {
        match self {
            Self::Approve(..) | Self::Resume(_) | Self::Goto(..) | Self::Restart(_) | Self::Rehearse(_) => true,
            Self::Hold(_) => false,
            Self::Rollback(_) => RolloutRow::read(entry).variants.len() > 1,
        }
    }

    /// The body of the call.
    pub(super) fn body(self, reason: Option<&str>, expect: Option<u64>) -> Value {
        let mut body = json!({});
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        if let Self::Approve(_, Some(role)) = self {
            body["as"] = json!(role);
        }
        if let Self::Goto(_, stage) = self {
            body["stage"] = json!(stage);
        }
        if let Some(seq) = expect {
            body["expect"] = json!(seq);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout_row::tests::{in_beta, in_state};

    fn arguments() -> RolloutActArguments {
        RolloutActArguments {
            admin: crate::cli::args::AdminArguments::default(),
            name: "checkout-v2".to_owned(),
            reason: None,
            yes: false,
            json: false,
        }
    }

    #[test]
    fn a_body_is_what_the_api_reads() {
        let typed = arguments();
        let approve = PersonOrder::Approve(&typed, Some("tech-lead"));
        assert_eq!(approve.body(None, Some(7)), json!({ "as": "tech-lead", "expect": 7 }));
        assert_eq!(PersonOrder::Approve(&typed, None).body(Some("x"), None), json!({ "reason": "x" }));
        let goto = PersonOrder::Goto(&typed, "beta");
        assert_eq!(goto.body(Some("x"), None), json!({ "reason": "x", "stage": "beta" }));
        assert_eq!(goto.words(), "go to stage beta with");
        assert_eq!(PersonOrder::Rollback(&typed).words(), "roll back");
    }

    #[test]
    fn what_lowers_exposure_of_one_route_needs_no_yes() {
        let typed = arguments();
        let (one, two) = (in_beta(), in_state("a", "running", &json!({ "variants": ["a:canary", "b:canary"] })));
        assert!(!PersonOrder::Hold(&typed).needs_yes(&two));
        assert!(!PersonOrder::Rollback(&typed).needs_yes(&one));
        assert!(PersonOrder::Rollback(&typed).needs_yes(&two));
        for raising in [
            PersonOrder::Approve(&typed, None),
            PersonOrder::Resume(&typed),
            PersonOrder::Goto(&typed, "full"),
            PersonOrder::Restart(&typed),
            PersonOrder::Rehearse(&typed),
        ] {
            assert!(raising.needs_yes(&one), "{raising:?}");
        }
    }
}
