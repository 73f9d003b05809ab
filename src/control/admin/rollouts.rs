//! `/v1/rollouts`: how rollouts and the releases of static weights stand, in words and figures.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::calls::AdminState;
use super::fields::{NAME_CHARS_MAX, check_text};
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::release_json::{release, with_guards};
use super::response::pretty;
use super::rollout_json;
use super::rollout_list::{is_member, rollout_of, rollouts_in_short, with_permissions};
use super::rollout_share::MeasuredShares;
use crate::config::nearest;
use crate::control::state::ControlState;
use crate::release::{ReleaseStanding, plan_hash};
use crate::route::{RolloutMember, Rules};

/// The name of a release in the path.
pub(super) type NameInPath = Result<Path<String>, PathRejection>;

/// All rollouts, then all releases of static weights, each in short.
pub(super) fn rollouts_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &rollouts_table(state))
}

/// The content of `/v1/rollouts`.
pub(super) fn rollouts_table(state: &ControlState) -> Value {
    let health = state.release.health();
    let mut all = rollouts_in_short(state);
    let rules = &state.snapshot().rules;
    all.extend(state.release.releases().iter().filter(|one| !is_member(rules, one)).map(release));
    json!({ "seq": health.seq, "durable_seq": health.durable_seq, "rollouts": all })
}

pub(super) async fn rollout(State(state): State<AdminState>, path: NameInPath) -> Response {
    match name(path).and_then(|name| rollout_value(&state.control, &name)) {
        Ok(found) => pretty(StatusCode::OK, &found),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

/// The content of `/v1/rollouts/{name}`.
///
/// # Errors
/// When there is none with this name.
pub(super) fn rollout_value(state: &ControlState, name: &str) -> Result<Value, CallProblem> {
    if let Some(standing) = state.release.rollout(name) {
        let share = MeasuredShares::of(state).of_rollout(name);
        let value = rollout_json::with_guards(&standing, share);
        let mut value = with_permissions(value, &state.snapshot().rules, name);
        value["plan_hash"] = json!(whole_plan(state, name));
        value["traffic"] = traffic(state, name);
        return Ok(value);
    }
    let rules = &state.snapshot().rules;
    if rules.find_rollout(name).is_some() {
        let detail = format!("the rollout `{name}` has not begun yet");
        return Err(ProblemKind::Busy.because(detail, "try again in a second"));
    }
    let found = state.release.release(name).filter(|one| !is_member(rules, one));
    found.map(|standing| with_guards(&standing)).ok_or_else(|| unknown(state, name))
}

/// The hash of all stages of a plan; `None`: the rollout is not in the file.
fn whole_plan(state: &ControlState, name: &str) -> Option<String> {
    let rules = &state.snapshot().rules;
    let plan = &rules.rollout(rules.find_rollout(name)?).plan;
    Some(plan_hash(plan, plan.stages.len().saturating_sub(1)))
}

/// The traffic of the routes of a rollout.
fn traffic(state: &ControlState, name: &str) -> Value {
    let rules = &state.snapshot().rules;
    let members = rules.find_rollout(name).map(|id| rules.rollout(id).members.as_slice()).unwrap_or_default();
    let of = |member: &RolloutMember| {
        let route = &rules.route(member.route).name;
        rollout_json::traffic(route, state.release.traffic(route).as_ref())
    };
    members.iter().map(of).collect()
}

/// Whether a rollout has this name.
pub(super) fn is_rollout(state: &ControlState, name: &str) -> bool {
    state.release.rollout(name).is_some() || state.snapshot().rules.find_rollout(name).is_some()
}

/// The problem of an act on stages with a name that no rollout has.
pub(super) fn no_rollout(state: &ControlState, name: &str, act: &str) -> CallProblem {
    if !has_variant(&state.snapshot().rules, name) {
        return unknown(state, name);
    }
    let detail = format!("`{name}` has a static weight: there is nothing to {act}");
    let help = format!(
        "stop it with POST /v1/kill and {{\"variant\": \"{name}\"}}, or give it stages: a `[rollout.NAME]`, and `rollout = \
         \"NAME\"` in place of `weight`"
    );
    ProblemKind::NotARollout.because(detail, help)
}

/// Reads the name of a release.
///
/// # Errors
/// When it is not UTF-8, blank, or too long.
pub(super) fn name(path: NameInPath) -> Result<String, CallProblem> {
    let Path(name) = path.map_err(|error| {
        ProblemKind::BadQuery.because(error.body_text(), "percent-encode the name in the path, as UTF-8")
    })?;
    check_text("name", &name, NAME_CHARS_MAX)?;
    Ok(name)
}

/// The problem of a name that no release has.
pub(super) fn unknown(state: &ControlState, name: &str) -> CallProblem {
    let snapshot = state.snapshot();
    if let Some(rollout) = rollout_of(&snapshot.rules, name) {
        let help = format!("write `{rollout}`: GET /v1/rollouts/{rollout} shows it");
        return ProblemKind::UnknownRollout
            .because(format!("the rollout `{rollout}` moves `{name}`"), help)
            .with("similar", rollout);
    }
    let mut known: Vec<String> = state.release.releases().iter().map(ReleaseStanding::name).collect();
    known.extend(snapshot.rules.rollouts.iter().map(|rollout| rollout.name.clone()));
    if has_variant(&snapshot.rules, name) {
        let help = "`guard = \"warn\"` or `[[route.guard]]` in its route makes guards watch it";
        return ProblemKind::UnknownRollout.because(format!("no guard watches `{name}`"), help);
    }
    let similar = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    let help = match &similar {
        Some(similar) => format!("did you mean `{similar}`? GET /v1/rollouts lists all"),
        None => "write the name of a rollout, or ROUTE:VARIANT; GET /v1/rollouts lists all".to_owned(),
    };
    let problem = ProblemKind::UnknownRollout.because(format!("there is no rollout or release `{name}`"), help);
    match similar {
        Some(similar) => problem.with("similar", similar),
        None => problem,
    }
}

/// Whether a route has this variant beside stable.
fn has_variant(rules: &Rules, name: &str) -> bool {
    let Some((route, variant)) = name.split_once(':') else { return false };
    let split = rules.routes.iter().find(|one| one.name == route).and_then(|one| one.split());
    split.is_some_and(|split| split.variants.iter().skip(1).any(|one| one.name == variant))
}
