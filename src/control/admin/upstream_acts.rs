//! The acting calls on endpoints: `/v1/upstreams/{upstream}/endpoints/{endpoint}/drain` and its like.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::access::Admitted;
use super::body::CallBody;
use super::calls::AdminState;
use super::fields::{NAME_CHARS_MAX, check_text, checked_reason, present};
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::pretty;
use super::upstreams;
use crate::control::event::{Event, HealthEvent};
use crate::control::health::{EndpointAct, EndpointActError, EndpointActOutcome, EndpointVerb};
use crate::failover::EndpointStanding;
use crate::snapshot::EndpointState;

/// The parts of the path.
#[derive(Debug, Deserialize)]
pub(super) struct EndpointPath {
    upstream: String,
    endpoint: String,
}

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointActBody {
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "present")]
    force: Option<bool>,
}

type PathOrNot = Result<Path<EndpointPath>, PathRejection>;

/// A call on an endpoint.
pub(super) struct EndpointCall {
    verb: EndpointVerb,
    path: PathOrNot,
    headers: HeaderMap,
    body: Body,
}

pub(super) async fn drain(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    path: PathOrNot,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&state, admitted, EndpointCall { verb: EndpointVerb::Drain, path, headers, body }).await
}

pub(super) async fn undrain(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    path: PathOrNot,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&state, admitted, EndpointCall { verb: EndpointVerb::Undrain, path, headers, body }).await
}

pub(super) async fn eject(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    path: PathOrNot,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&state, admitted, EndpointCall { verb: EndpointVerb::Eject, path, headers, body }).await
}

pub(super) async fn admit(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    path: PathOrNot,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&state, admitted, EndpointCall { verb: EndpointVerb::Admit, path, headers, body }).await
}

async fn answer(state: &AdminState, admitted: Admitted, call: EndpointCall) -> Response {
    match act(state, admitted, call).await {
        Ok(outcome) => pretty(StatusCode::OK, &outcome),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

async fn act(state: &AdminState, admitted: Admitted, call: EndpointCall) -> Result<Value, CallProblem> {
    let EndpointCall { verb, path, headers, body } = call;
    let Path(EndpointPath { upstream, endpoint }) = path.map_err(|error| {
        ProblemKind::BadQuery.because(error.body_text(), "percent-encode the names in the path, as UTF-8")
    })?;
    for (field, name) in [("upstream", &upstream), ("endpoint", &endpoint)] {
        check_text(field, name, NAME_CHARS_MAX)?;
    }
    let body = CallBody::read(&headers, body, &["application/json"]).await?;
    let EndpointActBody { reason, force } = body.json()?;
    let (who, reason, force) = (admitted.actor, checked_reason(reason)?, force.unwrap_or(false));
    let act = EndpointAct { who, upstream, endpoint, verb, reason, force };
    let (reply, replied) = oneshot::channel();
    let asked = act.clone();
    let outcome = match state.events.send(Event::Health(HealthEvent::Act(Box::new(act), reply))).await {
        Ok(()) => replied.await.unwrap_or(Err(EndpointActError::Stopping)),
        Err(_) => Err(EndpointActError::Stopping),
    };
    outcome.map(|outcome| to_json(state, &asked, &outcome)).map_err(|error| problem(&asked, error))
}

/// What the act did, with the endpoints as they are now.
fn to_json(state: &AdminState, act: &EndpointAct, outcome: &EndpointActOutcome) -> Value {
    let (snapshot, now_ms) = (state.control.snapshot(), state.control.uptime_ms());
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let found = all.into_iter().find(|(spec, _)| spec.name == act.upstream).map(|(_, found)| found);
    let endpoints = || found.iter().flat_map(|found| found.endpoints.iter());
    let serves = |one: &&Arc<EndpointState>| match one.health.view(now_ms).standing {
        EndpointStanding::Usable | EndpointStanding::Failing => true,
        EndpointStanding::Ejected
        | EndpointStanding::Trial
        | EndpointStanding::Drained
        | EndpointStanding::Unhealthy
        | EndpointStanding::Unknown
        | EndpointStanding::Standby => false,
    };
    let meant = endpoints().filter(|one| outcome.addresses.contains(&one.address));
    json!({
        "upstream": act.upstream,
        "act": act.verb.name(),
        "changed": outcome.changed,
        "seq": outcome.seq,
        "usable": endpoints().filter(serves).count(),
        "total": endpoints().count(),
        "endpoints": meant.map(|one| upstreams::endpoint(one, now_ms)).collect::<Vec<_>>(),
    })
}

/// The problem of an act that did nothing.
fn problem(act: &EndpointAct, error: EndpointActError) -> CallProblem {
    let EndpointAct { upstream, endpoint, verb, .. } = act;
    let unknown = |kind: ProblemKind, detail: String, known: Vec<String>, similar: Option<String>| {
        let names = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        let help = match &similar {
            Some(similar) => format!("did you mean `{similar}`? known: {names}"),
            None => format!("known: {names}"),
        };
        let problem = kind.because(detail, help).with("known", known);
        match similar {
            Some(similar) => problem.with("similar", similar),
            None => problem,
        }
    };
    match error {
        EndpointActError::NoUpstream { known, similar } => {
            unknown(ProblemKind::UnknownUpstream, format!("there is no upstream `{upstream}`"), known, similar)
        }
        EndpointActError::NoEndpoint { known, similar } => {
            let detail = format!("upstream `{upstream}` has no endpoint `{endpoint}`");
            unknown(ProblemKind::UnknownEndpoint, detail, known, similar)
        }
        EndpointActError::LastUsable => {
            let detail =
                format!("`{}` of {endpoint} would leave upstream `{upstream}` no usable endpoint", verb.name());
            let help = "admit or undrain another one first, or send \"force\": true";
            ProblemKind::LastUsable.because(detail, help)
        }
        EndpointActError::DrainedByFile => {
            let detail = format!("the file drains {endpoint} of upstream `{upstream}`: `undrain` does not end that");
            ProblemKind::DrainedByFile.because(detail, "remove `drain` from its line in the file")
        }
        EndpointActError::Stopping => {
            ProblemKind::Stopping.because("the proxy is stopping", "ask the process that takes over")
        }
    }
}
