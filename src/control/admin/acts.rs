//! The acting calls `/v1/kill`, `/v1/revive` and `/v1/rollouts/{name}/resume`: from the body to the event, and from the outcome to the answer.

use std::fmt::Write as _;

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
use super::body::CallBody;
use super::calls::AdminState;
use super::fields::{self, NAME_CHARS_MAX, checked_reason, present, sequence};
use super::journal;
use super::kills;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::pretty;
use super::rollouts::{self, NameInPath};
use crate::control::event::{Event, ReleaseEvent};
use crate::control::release::{Act, ActError, ActOutcome, PersonAct};
use crate::journal::{IdempotencyKey, ScopeFields};
use crate::route::KillScope;

/// The most records that an outdated act gets.
const NEWER_MAX: usize = 20;

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
    tenant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    shadow: Option<String>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "sequence")]
    expect: Option<u64>,
}

/// The body of `/v1/rollouts/{name}/resume`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeBody {
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "sequence")]
    expect: Option<u64>,
}

/// What a body asks for.
#[derive(Debug)]
struct Wanted {
    what: PersonAct,
    reason: String,
    expect: Option<u64>,
}

pub(super) async fn kill(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(act(&state, admitted, Call { path: "/v1/kill", headers: &headers }, body, wanted_kill).await)
}

pub(super) async fn revive(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(act(&state, admitted, Call { path: "/v1/revive", headers: &headers }, body, wanted_revive).await)
}

pub(super) async fn resume(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    path: NameInPath,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let release = match rollouts::name(path) {
        Ok(release) => release,
        Err(problem) => return problem.respond(ProblemForm::Document),
    };
    let path = format!("/v1/rollouts/{release}/resume");
    let wanted = |body: &CallBody| wanted_resume(body, &release);
    let outcome = act(&state, admitted, Call { path: &path, headers: &headers }, body, wanted).await;
    answer(outcome.map_err(|problem| {
        let is_not_shown = || state.control.release.release(&release).is_none();
        let is_unknown =
            problem.kind == ProblemKind::UnknownScope || problem.kind == ProblemKind::NotRolledBack && is_not_shown();
        if is_unknown { rollouts::unknown(&state.control, &release) } else { problem }
    }))
}

/// The call of an act.
struct Call<'a> {
    path: &'a str,
    headers: &'a HeaderMap,
}

fn answer(outcome: Result<ActOutcome, CallProblem>) -> Response {
    match outcome {
        Ok(outcome) => pretty(StatusCode::OK, &kills::outcome(&outcome)),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

async fn act(
    state: &AdminState,
    admitted: Admitted,
    call: Call<'_>,
    body: Body,
    wanted: impl FnOnce(&CallBody) -> Result<Wanted, CallProblem>,
) -> Result<ActOutcome, CallProblem> {
    let key = fields::idempotency_key(call.headers)?;
    let body = CallBody::read(call.headers, body, &["application/json"]).await?;
    let Wanted { what, reason, expect } = wanted(&body)?;
    let key = key.map(|key| IdempotencyKey { key, call: digest_of(call.path, &body.text) });
    let act = Act { who: admitted.actor, what, reason, key, expect };
    let (reply, replied) = oneshot::channel();
    let event = Event::Release(ReleaseEvent::Act(Box::new(act), reply));
    let outcome = match state.events.send(event).await {
        Ok(()) => replied.await.unwrap_or(Err(ActError::Stopping)),
        Err(_) => Err(ActError::Stopping),
    };
    match (outcome, expect) {
        (Err(ActError::Stale(_)), Some(expect)) => Err(stale(state, expect).await),
        (outcome, _) => outcome.map_err(problem),
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
    let KillBody { all, route, variant, tenant, shadow, reason, close_streams, expect } = body.json()?;
    let scope = scope(&ScopeFields { all, route, variant, tenant, shadow })?;
    let close_streams = close_streams.as_deref().map(fields::close_streams).transpose()?;
    Ok(Wanted { what: PersonAct::Kill { scope, close_streams }, reason: checked_reason(reason)?, expect })
}

fn wanted_revive(body: &CallBody) -> Result<Wanted, CallProblem> {
    let ReviveBody { all, route, variant, tenant, shadow, reason, expect } = body.json()?;
    let scope = scope(&ScopeFields { all, route, variant, tenant, shadow })?;
    Ok(Wanted { what: PersonAct::Revive(scope), reason: checked_reason(reason)?, expect })
}

fn wanted_resume(body: &CallBody, release: &str) -> Result<Wanted, CallProblem> {
    let ResumeBody { reason, expect } = body.json()?;
    let what = PersonAct::Resume { release: release.to_owned() };
    Ok(Wanted { what, reason: checked_reason(reason)?, expect })
}

fn scope(written: &ScopeFields) -> Result<KillScope, CallProblem> {
    let names = [
        ("route", &written.route),
        ("variant", &written.variant),
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
        let help =
            "write one of: \"all\": true, \"route\": \"R\", \"variant\": \"R:V\", \"tenant\": \"T\", \"shadow\": \"R\"";
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

/// The problem of an act that did nothing.
fn problem(error: ActError) -> CallProblem {
    match error {
        ActError::Unknown { message, similar } => {
            let help = match &similar {
                Some(similar) => format!("did you mean `{similar}`? GET /v1/routes lists all"),
                None => "GET /v1/routes lists all".to_owned(),
            };
            let problem = ProblemKind::UnknownScope.because(message, help);
            match similar {
                Some(similar) => problem.with("similar", similar),
                None => problem,
            }
        }
        ActError::NothingToKill(why) => {
            ProblemKind::NothingToKill.because(why, "name a variant other than stable, or a route that has one")
        }
        ActError::NotKilled(scope) => {
            ProblemKind::NotKilled.because(format!("`{scope}` is not killed"), "GET /v1/kill lists what is killed")
        }
        ActError::KilledByFile { scope, place } => {
            let place = format!("{}:{}", place.file, place.line);
            let help = format!("remove it from [kill] at {place}, and reload");
            ProblemKind::KilledByFile.because(format!("{place} kills `{scope}`"), help).with("place", place)
        }
        ActError::NotRolledBack { release, state } => {
            let help = "GET /v1/rollouts lists the releases with their states";
            ProblemKind::NotRolledBack
                .because(format!("`{release}` is not rolled back: it is {state}"), help)
                .with("state", state)
        }
        ActError::Stale(records) => {
            let records: Vec<_> = records.iter().map(|record| kills::record(record)).collect();
            ProblemKind::Stale.because("others acted", "read the journal").with("records", records)
        }
        ActError::KeyReused => {
            let help = "send a new key for a new call";
            ProblemKind::KeyReused
                .because("the same key was sent with another call, or by another identity, within the last day", help)
        }
        ActError::NotRecorded(why) => {
            let help = "this call raises exposure, and such calls are recorded first: make the journal writable (see \
                        `journal` in /status), then try again";
            ProblemKind::NotRecorded.because(why, help)
        }
        ActError::TooMany(count) => {
            let help = "lift some of them, or kill a route or variant: those always can be";
            ProblemKind::TooManyKills.because(format!("{count} kills are in force"), help)
        }
        ActError::Stopping => ProblemKind::Stopping.because("the proxy is stopping", "ask the process that takes over"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let wanted = wanted_resume(&body(r#"{"reason": "fixed in 1.5", "expect": 9}"#), "shop:new").expect("valid");
        assert_eq!((wanted.reason.as_str(), wanted.expect), ("fixed in 1.5", Some(9)));
        assert_eq!(wanted.what, PersonAct::Resume { release: "shop:new".to_owned() });
        let wanted = wanted_revive(&body(r#"{"all": true, "reason": "fixed"}"#)).expect("valid");
        assert_eq!(wanted.what, PersonAct::Revive(KillScope::All));
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
        for text in ["{}", r#"{"reason": "x", "stage": "beta"}"#, r#"{"reason": ""}"#] {
            assert!(wanted_resume(&body(text), "shop:new").is_err(), "{text}");
        }
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
