//! `/v1/rollouts`: how releases stand, in words and figures.

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
use crate::config::nearest;
use crate::control::state::ControlState;
use crate::release::ReleaseStanding;
use crate::route::Rules;

/// The name of a release in the path.
pub(super) type NameInPath = Result<Path<String>, PathRejection>;

/// All releases, each in short.
pub(super) fn rollouts_page(state: &ControlState) -> Response {
    let health = state.release.health();
    let all: Vec<Value> = state.release.releases().iter().map(release).collect();
    pretty(StatusCode::OK, &json!({ "seq": health.seq, "durable_seq": health.durable_seq, "rollouts": all }))
}

pub(super) async fn rollout(State(state): State<AdminState>, path: NameInPath) -> Response {
    let found = name(path).and_then(|name| match state.control.release.release(&name) {
        Some(standing) => Ok(with_guards(&standing)),
        None => Err(unknown(&state.control, &name)),
    });
    match found {
        Ok(found) => pretty(StatusCode::OK, &found),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
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
    let known: Vec<String> = state.release.releases().iter().map(ReleaseStanding::name).collect();
    if has_variant(&state.snapshot().rules, name) {
        let help = "`guard = \"warn\"` or `[[route.guard]]` in its route makes guards watch it";
        return ProblemKind::UnknownRollout.because(format!("no guard watches `{name}`"), help);
    }
    let similar = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    let help = match &similar {
        Some(similar) => format!("did you mean `{similar}`? GET /v1/rollouts lists all"),
        None => "write ROUTE:VARIANT; GET /v1/rollouts lists all".to_owned(),
    };
    let problem = ProblemKind::UnknownRollout.because(format!("there is no release `{name}`"), help);
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
