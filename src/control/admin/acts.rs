//! The acting calls `/v1/kill` and `/v1/revive`: from the body to the event, and from the outcome to the answer. The calls on
//! rollouts take the same way.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::access::Admitted;
use super::act_problem::problem;
use super::body::CallBody;
use super::calls::AdminState;
use super::fields::{self, NAME_CHARS_MAX, checked_reason, present, sequence};
use super::journal;
use super::kills;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::pretty;
use crate::control::event::{Event, ReleaseEvent};
use crate::control::release::{Act, ActError, ActOutcome, PersonAct};
use crate::journal::{Actor, IdempotencyKey, ScopeFields};
use crate::release::{ActRefusal, PersonVerb, RolloutPhase};
use crate::route::{KillScope, Rules};

/// The most records that an outdated act gets.
const NEWER_MAX: usize = 20;
/// A rollout stands as revived within this time after the end of its kill.
const REVIVED_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts to resume it.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The body of `/v1/kill`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KillBody {
    #[serde(default, deserialize_with = "present")]
    all: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    route: Option<String>,
    #[serde(default, deserialize_with = "present")]
    variant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    rollout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    tenant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    shadow: Option<String>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "present")]
    close_streams: Option<String>,
    #[serde(default, deserialize_with = "sequence")]
    expect: Option<u64>,
}

/// The body of `/v1/revive`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviveBody {
    #[serde(default, deserialize_with = "present")]
    all: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    route: Option<String>,
    #[serde(default, deserialize_with = "present")]
    variant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    rollout: Option<String>,
    #[serde(default, deserialize_with = "present")]
    tenant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    shadow: Option<String>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "sequence")]
    expect: Option<u64>,
    /// Resume the rollout of the scope, too.
    #[serde(default, deserialize_with = "present")]
    resume: Option<bool>,
}

/// What a body asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub what: PersonAct,
    pub reason: String,
    pub expect: Option<u64>,
}

/// A resume that follows a revive.
#[derive(Debug)]
struct ThenResume {
    who: Actor,
    rollout: String,
    reason: String,
    key: Option<IdempotencyKey>,
}

pub(super) async fn kill(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(act(&state, admitted, ActCall { path: "/v1/kill", headers: &headers }, body, wanted_kill).await)
}

pub(super) async fn revive(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (who, mut then) = (admitted.actor.clone(), None);
    let wanted = |body: &CallBody| {
        let ReviveOrder { wanted, resume } = wanted_revive(body)?;
        if resume {
            let PersonAct::Revive(scope) = &wanted.what else { return Ok(wanted) };
            let rollout = rollout_of(scope, &state.control.snapshot().rules)?;
            let key = fields::idempotency_key(&headers)?;
            let call = digest_of("/v1/revive, then resume", &body.text);
            let key = key.map(|key| IdempotencyKey { key: format!("{key}/resume"), call });
            then = Some(ThenResume { who, rollout, reason: wanted.reason.clone(), key });
        }
        Ok(wanted)
    };
    let revived = act(&state, admitted, ActCall { path: "/v1/revive", headers: &headers }, body, wanted).await;
    match (revived, then) {
        (Ok(revived), Some(then)) => {
            let mut value = kills::outcome(&revived);
            let (resumed, problem) = match then.send(&state).await {
                Ok(resumed) => (kills::outcome(&resumed), Value::Null),
                Err(problem) => (Value::Null, problem.to_json()),
            };
            value["resumed"] = resumed;
            value["resume_problem"] = problem;
            pretty(StatusCode::OK, &value)
        }
        (revived, _) => answer(revived),
    }
}

impl ThenResume {
    /// Resumes the rollout, as soon as it stands as revived.
    async fn send(self, state: &AdminState) -> Result<ActOutcome, CallProblem> {
        let Self { who, rollout, reason, key } = self;
        if let Some(RolloutPhase::RolledBack(_)) = state.control.release.rollout(&rollout).map(|one| one.phase) {
            let help = format!("`pointsman rollout resume {rollout} --reason TEXT` ends a rollback");
            let message = "the rollout was rolled back: a revive does not end that".to_owned();
            let refusal = ActRefusal::WrongState { message, help };
            return Err(problem(ActError::Rollout { rollout, refusal }, &who.name));
        }
        let verb = PersonVerb::Resume;
        let what = PersonAct::Rollout { rollout, verb, roles: Vec::new() };
        let name = who.name.clone();
        let act = Act { who, what, reason, key, expect: None };
        let due = state.control.clock.now() + REVIVED_WITHIN;
        loop {
            match send(state, act.clone()).await {
                Err(ActError::Rollout { refusal: ActRefusal::WrongState { .. }, .. })
                    if state.control.clock.now() < due =>
                {
                    tokio::time::sleep(TRY_AGAIN_AFTER).await;
                }
                outcome => return outcome.map_err(|error| problem(error, &name)),
            }
        }
    }
}

/// The rollout that a revive of this scope holds.
///
/// # Errors
/// The scope is no rollout, and no route or variant of one.
fn rollout_of(scope: &KillScope, rules: &Rules) -> Result<String, CallProblem> {
    let of_route = |name: &str| rules.routes.iter().find(|route| route.name == name).and_then(|route| route.split());
    let named = match scope {
        KillScope::Rollout(name) => return Ok(name.clone()),
        KillScope::Route(route) => of_route(route).and_then(|split| split.rollout),
        KillScope::Variant { route, variant } => of_route(route)
            .filter(|split| split.variants.last().is_some_and(|last| last.name == *variant))
            .and_then(|split| split.rollout),
        KillScope::All | KillScope::Tenant(_) | KillScope::Shadow(_) => None,
    };
    named.map(|id| rules.rollout(id).name.clone()).ok_or_else(|| {
        let help = "leave `resume` out, or name a rollout, or a route or variant of one; after the end of other kills \
                    rollouts go on by themselves";
        let detail = format!("`resume` concerns a rollout, and `{scope}` has none");
        ProblemKind::NotARollout.because(detail, help).with("field", "resume")
    })
}

/// The call of an act.
pub(super) struct ActCall<'a> {
    pub path: &'a str,
    pub headers: &'a HeaderMap,
}

/// The answer to an act.
pub(super) fn answer(outcome: Result<ActOutcome, CallProblem>) -> Response {
    match outcome {
        Ok(outcome) => pretty(StatusCode::OK, &kills::outcome(&outcome)),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

/// Does what the body asks for.
///
/// # Errors
/// Why nothing was done.
pub(super) async fn act(
    state: &AdminState,
    admitted: Admitted,
    call: ActCall<'_>,
    body: Body,
    wanted: impl FnOnce(&CallBody) -> Result<Wanted, CallProblem>,
) -> Result<ActOutcome, CallProblem> {
    let key = fields::idempotency_key(call.headers)?;
    let body = CallBody::read(call.headers, body, &["application/json"]).await?;
    let Wanted { what, reason, expect } = wanted(&body)?;
    let key = key.map(|key| IdempotencyKey { key, call: digest_of(call.path, &body.text) });
    let name = admitted.actor.name.clone();
    let act = Act { who: admitted.actor, what, reason, key, expect };
    match (send(state, act).await, expect) {
        (Err(ActError::Stale(_)), Some(expect)) => Err(stale(state, expect).await),
        (outcome, _) => outcome.map_err(|error| problem(error, &name)),
    }
}

/// Sends an act to the controller and waits for its outcome.
async fn send(state: &AdminState, act: Act) -> Result<ActOutcome, ActError> {
    let (reply, replied) = oneshot::channel();
    match state.events.send(Event::Release(ReleaseEvent::Act(Box::new(act), reply))).await {
        Ok(()) => replied.await.unwrap_or(Err(ActError::Stopping)),
        Err(_) => Err(ActError::Stopping),
    }
}

/// The problem of an act whose `expect` is not the newest record: what was recorded since, from memory or the files.
async fn stale(state: &AdminState, expect: u64) -> CallProblem {
    let newest = state.control.release.last_seq();
    if expect > newest {
        let detail = format!("`expect` is {expect}, and the last record of this journal is {newest}");
        let help = "read the journal again: the state that you saw is of another one";
        return ProblemKind::Stale.because(detail, help).with("records", Vec::<Value>::new());
    }
    let after = expect.max(newest.saturating_sub(NEWER_MAX as u64));
    let mut records = journal::records_after(state, after, NEWER_MAX).await.unwrap_or_default();
    records.truncate(NEWER_MAX);
    let is_complete = records.first().is_some_and(|first| first.seq == expect + 1);
    let records: Vec<_> = records.iter().map(|record| kills::record(record)).collect();
    let help = "read `records`; when you still want to act, send the newest `seq` as `expect`";
    let detail = "the journal has later records than `expect`";
    let help =
        if is_complete { help.to_owned() } else { format!("{help}; /v1/journal?after={expect} has all of them") };
    ProblemKind::Stale.because(detail, help).with("records", records).with("records_complete", is_complete)
}

fn wanted_kill(body: &CallBody) -> Result<Wanted, CallProblem> {
    let KillBody { all, route, variant, rollout, tenant, shadow, reason, close_streams, expect } = body.json()?;
    let scope = scope(&ScopeFields { all, route, variant, tenant, shadow, rollout })?;
    let close_streams = close_streams.as_deref().map(fields::close_streams).transpose()?;
    Ok(Wanted { what: PersonAct::Kill { scope, close_streams }, reason: checked_reason(reason)?, expect })
}

/// What `/v1/revive` asks for.
#[derive(Debug)]
struct ReviveOrder {
    wanted: Wanted,
    resume: bool,
}

fn wanted_revive(body: &CallBody) -> Result<ReviveOrder, CallProblem> {
    let ReviveBody { all, route, variant, rollout, tenant, shadow, reason, expect, resume } = body.json()?;
    let scope = scope(&ScopeFields { all, route, variant, tenant, shadow, rollout })?;
    let wanted = Wanted { what: PersonAct::Revive(scope), reason: checked_reason(reason)?, expect };
    Ok(ReviveOrder { wanted, resume: resume.unwrap_or(false) })
}

fn scope(written: &ScopeFields) -> Result<KillScope, CallProblem> {
    let names = [
        ("route", &written.route),
        ("variant", &written.variant),
        ("rollout", &written.rollout),
        ("tenant", &written.tenant),
        ("shadow", &written.shadow),
    ];
    for (field, name) in names {
        if let Some(name) = name {
            fields::check_text(field, name, NAME_CHARS_MAX)?;
        }
    }
    written.scope().ok_or_else(|| {
        let detail = "it does not have exactly one scope";
        let help = "write one of: \"all\": true, \"route\": \"R\", \"variant\": \"R:V\", \"rollout\": \"NAME\", \"tenant\": \"T\", \
                    \"shadow\": \"R\"";
        ProblemKind::BadBody.because(detail, help)
    })
}

/// SHA-256 of a call, in hex. A call with the same key and another digest is another call.
fn digest_of(path: &str, body: &str) -> String {
    let bytes = [b"POST ", path.as_bytes(), b"\n", body.as_bytes()].concat();
    digest(&SHA256, &bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> CallBody {
        CallBody { text: text.to_owned(), media: "application/json".to_owned() }
    }

    fn kill_error(text: &str) -> String {
        wanted_kill(&body(text)).expect_err("an error").detail
    }

    #[test]
    fn a_body_names_one_scope_and_a_reason() {
        let wanted =
            wanted_kill(&body(r#"{"variant": "shop:new", "reason": "p99", "close_streams": "5s", "expect": 7}"#));
        let Wanted { what, reason, expect } = wanted.expect("valid");
        let scope = KillScope::Variant { route: "shop".to_owned(), variant: "new".to_owned() };
        assert_eq!(what, PersonAct::Kill { scope, close_streams: Some(Duration::from_secs(5)) });
        assert_eq!((reason.as_str(), expect), ("p99", Some(7)));
        let float = wanted_kill(&body(r#"{"all": true, "reason": "x", "expect": 7.0}"#)).expect("valid");
        assert_eq!(float.expect, Some(7));
        let revive = wanted_revive(&body(r#"{"all": true, "reason": "fixed"}"#)).expect("valid");
        assert_eq!((revive.wanted.what, revive.resume), (PersonAct::Revive(KillScope::All), false));
        let both = r#"{"rollout": "cart-v2", "reason": "fixed", "resume": true}"#;
        let revive = wanted_revive(&body(both)).expect("valid");
        let scope = KillScope::Rollout("cart-v2".to_owned());
        assert_eq!((revive.wanted.what, revive.resume), (PersonAct::Revive(scope), true));
    }

    #[test]
    fn bad_bodies_say_what_is_wrong() {
        for (text, part) in [
            (r#"{"reason": "x"}"#, "exactly one scope"),
            (r#"{"all": false, "reason": "x"}"#, "exactly one scope"),
            (r#"{"all": true, "route": "r", "reason": "x"}"#, "exactly one scope"),
            (r#"{"variant": "no-colon", "reason": "x"}"#, "exactly one scope"),
            (r#"{"route": " ", "reason": "x"}"#, "`route` is blank"),
            (r#"{"route": "r"}"#, "`reason` is missing"),
            (r#"{"route": "r", "reason": ""}"#, "`reason` is blank"),
            (r#"{"route": "r", "reason": null}"#, "invalid type: null"),
            (r#"{"route": "r", "reson": "x"}"#, "unknown field `reson`, expected one of `all`, `route`"),
            (r#"{"route": "r", "route": "s", "reason": "x"}"#, "duplicate field `route`"),
            (r#"{"route": 1, "reason": "x"}"#, "invalid type"),
            (r#"{"route": "r", "reason": "x", "expect": -1}"#, "-1 is not a sequence number"),
            (r#"{"route": "r", "reason": "x", "expect": 1.5}"#, "1.5 is not a sequence number"),
            (
                r#"{"route": "r", "reason": "x", "expect": 9007199254740992}"#,
                "9007199254740992 is not a sequence number",
            ),
            (r#"{"route": "r", "reason": "x", "close_streams": "5"}"#, "`close_streams` is not a duration"),
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{", "EOF"),
            ("{}x", "trailing characters"),
            (&"[".repeat(10_000), "nested more than 64 levels deep"),
        ] {
            let found = kill_error(text);
            assert!(found.contains(part), "{text}: {found}");
        }
        assert!(kill_error(r#"{"rollout": "x", "route": "r", "reason": "x"}"#).contains("exactly one scope"));
        assert!(kill_error(r#"{"rollout": "x", "reason": "x", "resume": true}"#).contains("unknown field `resume`"));
        assert!(wanted_revive(&body(r#"{"all": true, "reason": "x", "close_streams": "1s"}"#)).is_err());
    }

    #[test]
    fn the_digest_is_that_of_path_and_body() {
        let one = digest_of("/v1/kill", "{}");
        assert_eq!(one.len(), 64);
        assert_ne!(one, digest_of("/v1/revive", "{}"));
        assert_ne!(one, digest_of("/v1/kill", "{ }"));
        assert_eq!(one, digest_of("/v1/kill", "{}"));
    }
}
