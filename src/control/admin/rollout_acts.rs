//! The acting calls `/v1/rollouts/{name}/…`: what a person does with a rollout, and the resume of a release of a static weight.

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;

use super::access::Admitted;
use super::acts::{ActCall, Wanted, act, answer};
use super::body::CallBody;
use super::calls::AdminState;
use super::fields::{NAME_CHARS_MAX, REASON_CHARS_MAX, check_text, checked_reason, present, sequence};
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::rollouts::{self, NameInPath};
use crate::control::release::{ActOutcome, PersonAct};
use crate::release::PersonVerb;

/// The last part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RolloutCall {
    Approve,
    Hold,
    Resume,
    Rollback,
    Goto,
    Restart,
    Rehearse,
}

/// The body of the calls. Which fields a call takes is [`RolloutCall::verb`]'s matter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutBody {
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, rename = "as", deserialize_with = "present")]
    role: Option<String>,
    #[serde(default, deserialize_with = "present")]
    stage: Option<String>,
    #[serde(default, deserialize_with = "sequence")]
    expect: Option<u64>,
}

/// A call with the name in its path.
pub(super) struct NamedCall {
    pub call: RolloutCall,
    pub path: NameInPath,
}

/// Answers a call.
pub(super) async fn perform(
    state: AdminState,
    admitted: Admitted,
    of: NamedCall,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let name = match rollouts::name(of.path) {
        Ok(name) => name,
        Err(problem) => return problem.respond(ProblemForm::Document),
    };
    let path = format!("/v1/rollouts/{name}/{}", of.call.name());
    let target = Target { of: of.call, name: &name, call: ActCall { path: &path, headers: &headers } };
    let outcome = if rollouts::is_rollout(&state.control, &name) {
        on_rollout(&state, admitted, target, body).await
    } else if of.call == RolloutCall::Resume {
        resume_release(&state, admitted, target, body).await
    } else {
        Err(rollouts::no_rollout(&state.control, &name, of.call.name()))
    };
    answer(outcome)
}

/// What a call concerns.
struct Target<'a> {
    of: RolloutCall,
    name: &'a str,
    call: ActCall<'a>,
}

async fn on_rollout(
    state: &AdminState,
    admitted: Admitted,
    target: Target<'_>,
    body: Body,
) -> Result<ActOutcome, CallProblem> {
    let Target { of, name, call } = target;
    let roles = {
        let snapshot = state.control.snapshot();
        let rollout = snapshot.rules.rollouts.iter().find(|one| one.name == name);
        rollout.map(|rollout| admitted.roles.of_rollout(&admitted.actor.name, rollout)).unwrap_or_default()
    };
    let wanted = |body: &CallBody| {
        let RolloutOrder { verb, reason, expect } = of.order(body)?;
        Ok(Wanted { what: PersonAct::Rollout { rollout: name.to_owned(), verb, roles }, reason, expect })
    };
    act(state, admitted, call, body, wanted).await
}

/// Ends the latch of the release of a static weight.
async fn resume_release(
    state: &AdminState,
    admitted: Admitted,
    target: Target<'_>,
    body: Body,
) -> Result<ActOutcome, CallProblem> {
    let Target { name: release, call, .. } = target;
    let wanted = |body: &CallBody| {
        let RolloutOrder { reason, expect, .. } = RolloutCall::Resume.order(body)?;
        Ok(Wanted { what: PersonAct::Resume { release: release.to_owned() }, reason, expect })
    };
    let outcome = act(state, admitted, call, body, wanted).await;
    outcome.map_err(|problem| {
        let is_not_shown = || state.control.release.release(release).is_none();
        let is_unknown =
            problem.kind == ProblemKind::UnknownScope || problem.kind == ProblemKind::NotRolledBack && is_not_shown();
        if is_unknown { rollouts::unknown(&state.control, release) } else { problem }
    })
}

/// What a body asks for.
#[derive(Debug, PartialEq, Eq)]
struct RolloutOrder {
    verb: PersonVerb,
    reason: String,
    expect: Option<u64>,
}

impl RolloutCall {
    /// The last part of the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
            Self::Goto => "goto",
            Self::Restart => "restart",
            Self::Rehearse => "rehearse",
        }
    }

    fn order(self, body: &CallBody) -> Result<RolloutOrder, CallProblem> {
        let RolloutBody { reason, role, stage, expect } = body.json()?;
        if role.is_some() && self != Self::Approve {
            return Err(self.not_taken("as"));
        }
        if stage.is_some() && self != Self::Goto {
            return Err(self.not_taken("stage"));
        }
        for (field, text) in [("as", &role), ("stage", &stage)] {
            if let Some(text) = text {
                check_text(field, text, NAME_CHARS_MAX)?;
            }
        }
        let verb = match (self, stage) {
            (Self::Approve, _) => PersonVerb::Approve { role },
            (Self::Hold, _) => PersonVerb::Hold,
            (Self::Resume, _) => PersonVerb::Resume,
            (Self::Rollback, _) => PersonVerb::Rollback,
            (Self::Restart, _) => PersonVerb::Restart,
            (Self::Rehearse, _) => PersonVerb::Rehearse,
            (Self::Goto, Some(stage)) => PersonVerb::Goto { stage },
            (Self::Goto, None) => {
                let help = "name the stage in \"stage\": GET /v1/rollouts/{name} lists the stages";
                return Err(ProblemKind::BadBody.because("`stage` is missing", help).with("field", "stage"));
            }
        };
        let reason = match reason {
            // Who approves has said all with it.
            None if self == Self::Approve => String::new(),
            Some(reason) if self == Self::Approve => {
                check_text("reason", &reason, REASON_CHARS_MAX)?;
                reason
            }
            reason => checked_reason(reason)?,
        };
        Ok(RolloutOrder { verb, reason, expect })
    }

    fn not_taken(self, field: &'static str) -> CallProblem {
        let taken = match self {
            Self::Approve => "`as`, `reason` and `expect`",
            Self::Goto => "`stage`, `reason` and `expect`",
            Self::Hold | Self::Resume | Self::Rollback | Self::Restart | Self::Rehearse => "`reason` and `expect`",
        };
        let detail = format!("unknown field `{field}`: `{}` takes {taken}", self.name());
        ProblemKind::BadBody.because(detail, "leave the field out").with("field", field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(call: RolloutCall, text: &str) -> Result<RolloutOrder, String> {
        let body = CallBody { text: text.to_owned(), media: "application/json".to_owned() };
        call.order(&body).map_err(|problem| problem.detail)
    }

    #[test]
    fn each_call_takes_its_own_fields() {
        let some = |verb, reason: &str, expect| Ok(RolloutOrder { verb, reason: reason.to_owned(), expect });
        let lead = PersonVerb::Approve { role: Some("lead".to_owned()) };
        assert_eq!(order(RolloutCall::Approve, r#"{"as": "lead", "expect": 7}"#), some(lead, "", Some(7)));
        assert_eq!(order(RolloutCall::Approve, "{}"), some(PersonVerb::Approve { role: None }, "", None));
        let beta = PersonVerb::Goto { stage: "beta".to_owned() };
        assert_eq!(order(RolloutCall::Goto, r#"{"stage": "beta", "reason": "x"}"#), some(beta, "x", None));
        for (call, verb) in [
            (RolloutCall::Hold, PersonVerb::Hold),
            (RolloutCall::Resume, PersonVerb::Resume),
            (RolloutCall::Rollback, PersonVerb::Rollback),
            (RolloutCall::Restart, PersonVerb::Restart),
            (RolloutCall::Rehearse, PersonVerb::Rehearse),
        ] {
            assert_eq!(order(call, r#"{"reason": "INC-1"}"#), some(verb, "INC-1", None));
        }
    }

    #[test]
    fn bad_bodies_say_what_is_wrong() {
        for (call, text, part) in [
            (RolloutCall::Hold, "{}", "`reason` is missing"),
            (RolloutCall::Hold, r#"{"reason": " "}"#, "`reason` is blank"),
            (RolloutCall::Hold, r#"{"reason": "x", "as": "lead"}"#, "`hold` takes `reason` and `expect`"),
            (RolloutCall::Resume, r#"{"reason": "x", "stage": "beta"}"#, "unknown field `stage`"),
            (RolloutCall::Approve, r#"{"stage": "beta"}"#, "unknown field `stage`"),
            (RolloutCall::Approve, r#"{"reason": ""}"#, "`reason` is blank"),
            (RolloutCall::Approve, r#"{"as": null}"#, "invalid type: null"),
            (RolloutCall::Approve, r#"{"as": " "}"#, "`as` is blank"),
            (RolloutCall::Goto, r#"{"reason": "x"}"#, "`stage` is missing"),
            (RolloutCall::Goto, r#"{"stage": "", "reason": "x"}"#, "`stage` is blank"),
            (RolloutCall::Goto, r#"{"stage": "beta"}"#, "`reason` is missing"),
            (RolloutCall::Restart, r#"{"reason": "x", "force": true}"#, "unknown field `force`"),
            (RolloutCall::Rollback, r#"{"reason": "x", "expect": -1}"#, "-1 is not a sequence number"),
            (RolloutCall::Rollback, "[]", "not a JSON object"),
        ] {
            let found = order(call, text).expect_err("an error");
            assert!(found.contains(part), "{text}: {found}");
        }
    }
}
