//! The calls about the configuration: what is applied, what an edit would do, and a reload.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Admitted;
use super::body::CallBody;
use super::calls::{self, AdminState};
use super::fields::{self, REASON_CHARS_MAX, present};
use super::format::time;
use super::page::PageLimits;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::pretty;
use super::status;
use crate::config::Color;
use crate::control::event::ReloadRequest;
use crate::control::files::{ROLLOUT_PLAN, Rejection, other_state_dir};
use crate::control::outcome::ReloadOutcome;
use crate::control::release::{Foresight, KillInForce, KillSource};
use crate::control::state::ControlState;
use crate::release::PlanRejection;
use crate::route::{
    CalledKill, ConfigDiff, EffectiveConfig, Flow, Moved, MovedUpstream, RouteChange, Rules, compare, summary,
};

/// The media types of a text to check.
const MEDIA_TYPES: [&str; 3] = ["application/json", "text/plain", "application/toml"];

/// The body of `/v1/config/check` as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    #[serde(default, deserialize_with = "present")]
    toml: Option<String>,
}

/// The body of `/v1/config/reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadBody {
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
}

/// `/v1/config`: what is applied, and the last outcome.
pub(super) fn config_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &config(state))
}

/// The content of `/v1/config`.
pub(super) fn config(state: &ControlState) -> Value {
    let snapshot = state.snapshot();
    let data = state.lock().clone();
    json!({
        "generation": snapshot.generation.0,
        "hash": data.hash,
        "file": data.file,
        "files": data.files,
        "applied_at": time(data.applied_at),
        "last_reload": data.last.as_ref().map(status::last_reload),
        "last_change": data.changed.as_ref().map(status::last_reload),
    })
}

pub(super) async fn reload(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match reload_reason(&headers, body).await {
        Ok(reason) => {
            let outcome = calls::reload_for(&state, ReloadRequest { who: admitted.actor, reason }).await;
            reloaded(&state.control, outcome)
        }
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

/// The answer to a reload: its outcome with the number of its record, or a problem.
fn reloaded(state: &ControlState, outcome: Option<(ReloadOutcome, Option<u64>)>) -> Response {
    let help = "ask the process that takes over";
    let Some((outcome, seq)) = outcome else {
        return ProblemKind::Stopping.because("the proxy is stopping", help).respond(ProblemForm::Document);
    };
    let (_, mut value) = calls::in_words(state, &outcome);
    value["seq"] = json!(seq);
    if !matches!(outcome, ReloadOutcome::Rejected(_)) {
        return pretty(StatusCode::OK, &value);
    }
    let is_stopping = value["diagnostics"][0]["code"] == "stopping";
    let problem = if is_stopping {
        ProblemKind::Stopping.because("the proxy is stopping", help)
    } else {
        let help = "mend what `diagnostics` lists; the running configuration stays in effect";
        ProblemKind::Rejected.because("the new configuration is not applied", help)
    };
    let members = ["outcome", "diagnostics", "text", "seq"].into_iter();
    let problem = members.fold(problem, |problem, name| problem.with(name, value[name].take()));
    problem.respond(ProblemForm::Document)
}

async fn reload_reason(headers: &HeaderMap, body: Body) -> Result<Option<String>, CallProblem> {
    let body = CallBody::read(headers, body, &["application/json"]).await?;
    let ReloadBody { reason } = body.json()?;
    if let Some(reason) = &reason {
        fields::check_text("reason", reason, REASON_CHARS_MAX)?;
    }
    Ok(reason)
}

/// Checks a text against what runs, within these limits. Nothing is applied.
pub(super) async fn check(limits: PageLimits, state: AdminState, headers: HeaderMap, body: Body) -> Response {
    let text = match text_to_check(&headers, body).await {
        Ok(text) => text,
        Err(problem) => return problem.respond(ProblemForm::Document),
    };
    limits.answer(move || pretty(StatusCode::OK, &checked(&state, &text))).await
}

async fn text_to_check(headers: &HeaderMap, body: Body) -> Result<String, CallProblem> {
    let body = CallBody::read(headers, body, &MEDIA_TYPES).await?;
    if body.media != "application/json" {
        return Ok(body.text);
    }
    let CheckBody { toml } = body.json()?;
    toml.ok_or_else(|| {
        let help = "send the text of the routes file in \"toml\", or as text/plain";
        ProblemKind::BadBody.because("`toml` is missing", help).with("field", "toml")
    })
}

/// What an edit would do: its diagnostics and, when it is valid, the changes against what runs.
fn checked(state: &AdminState, text: &str) -> Value {
    let snapshot = state.control.snapshot();
    let applied = Arc::clone(&state.control.lock().applied);
    let (loaded, diagnostics) = match (state.checker)(text, &applied) {
        Ok(loaded) => {
            let warnings = loaded.warnings.clone().for_check();
            (Some(loaded), warnings)
        }
        Err(diagnostics) => (None, diagnostics),
    };
    let running = snapshot.effective();
    // Kills by people stay in force, so they are part of both sides.
    let kills: Vec<CalledKill> = state.control.release.kills().into_iter().filter_map(called).collect();
    // So do latches, and rollouts stay where they are.
    let foresight = state.control.release.foresight();
    let edited = loaded.as_ref().map(|loaded| {
        let overlay = loaded.overlay.with_called_kills(&loaded.rules, &kills);
        (&loaded.rules, foresight.overlay(&loaded.rules, &overlay))
    });
    let edited = edited.as_ref().map(|(rules, overlay)| EffectiveConfig { rules, overlay });
    let rejection = edited.and_then(|edited| rejected(&foresight, &snapshot.rules, edited.rules));
    let edited = edited.filter(|_| rejection.is_none());
    let (mut list, mut text) = (diagnostics.to_json(), diagnostics.render(Color::Never));
    if let Some(rejection) = rejection {
        if let (Some(list), Value::Array(more)) = (list.as_array_mut(), rejection.json) {
            list.extend(more);
        }
        text = if text.trim().is_empty() { rejection.text } else { format!("{text}\n{}", rejection.text) };
    }
    json!({
        "valid": edited.is_some(),
        "generation": snapshot.generation.0,
        "diagnostics": list,
        "text": text,
        "summary": edited.map(|edited| summary(running, edited)),
        "what_if": edited.map(|edited| difference(&compare(running, edited))),
    })
}

/// Why a reload would reject what is valid by itself.
fn rejected(foresight: &Foresight, now: &Rules, edited: &Rules) -> Option<Rejection> {
    if now.state != edited.state {
        return Some(other_state_dir(&now.state.dir, &edited.state.dir));
    }
    let PlanRejection { message, help } = foresight.rejection(now, edited)?;
    Some(Rejection::new(ROLLOUT_PLAN, &message, &help))
}

/// A kill that a person made.
fn called(kill: KillInForce) -> Option<CalledKill> {
    match kill.source {
        KillSource::File(_) => None,
        KillSource::Call { close_streams, .. } => Some(CalledKill { scope: kill.scope, close_streams }),
    }
}

fn difference(found: &ConfigDiff) -> Value {
    json!({
        "added": found.added,
        "removed": found.removed,
        "changed": found.changed.iter().map(change).collect::<Vec<_>>(),
        "others": found.others,
        "moved_upstreams": found.moved_upstreams.iter().map(moved_upstream).collect::<Vec<_>>(),
    })
}

fn moved_upstream(moved: &MovedUpstream) -> Value {
    let answer = |(route, variant, share): &(String, String, u32)| json!({ "route": route, "variant": variant, "percent": in_percent(*share) });
    json!({ "upstream": moved.upstream, "answers": moved.answers.iter().map(answer).collect::<Vec<_>>() })
}

fn change(change: &RouteChange) -> Value {
    let flow = |flow: &Flow| json!({ "from": flow.from, "to": flow.to, "percent": in_percent(flow.millionths) });
    let flows = |flows: &[Flow]| flows.iter().map(flow).collect::<Value>();
    let (flows, note, unknown) = match &change.moved {
        Moved::Exactly(all) => (flows(all), None, None),
        Moved::ByWeight(all, note) => (flows(all), Some(*note), None),
        Moved::Unknown(why) => (Value::Null, None, Some(*why)),
    };
    json!({
        "route": change.route,
        "words": change.words,
        "moved_percent": change.moved.millionths().map(in_percent),
        "moves": flows,
        "note": note,
        "unknown_because": unknown,
    })
}

fn in_percent(millionths: u32) -> f64 {
    f64::from(millionths) / 10_000.0
}
