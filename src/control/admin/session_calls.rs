//! Sessions of the dashboard: `/v1/session` and its like, and the forms by which a browser without script signs in and out.
//! Also who looks at a page, and what they may do.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{
    AdminClient, AdminIdentity, Admitted, CallAccess, CallerCredentials, ClientOrigin, LINK_LIFE, PassKey,
    SessionCookie, clear_cookie, set_cookie,
};
use super::body::CallBody;
use super::calls::AdminState;
use super::fields::present;
use super::format::time;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::query::form_decoded;
use super::response::{pretty, text};
use super::return_path::ReturnPath;
use crate::control::dashboard::Viewer;
use crate::control::state::ControlState;

/// The media type of a form without files.
const FORM: &str = "application/x-www-form-urlencoded";

/// The body of `POST /v1/session`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    #[serde(default, deserialize_with = "present")]
    token: Option<String>,
    #[serde(default, deserialize_with = "present")]
    link: Option<String>,
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// By what a client signs in.
enum SignInProof {
    Token(String),
    Link(String),
}

/// A session that has begun.
struct BegunSession {
    admitted: Admitted,
    cookie: HeaderValue,
}

/// `GET /v1/session`: who calls, and what they may do.
pub(super) async fn show(State(state): State<AdminState>, Extension(admitted): Extension<Admitted>) -> Response {
    pretty(StatusCode::OK, &shown(&admitted, &state.control))
}

/// `POST /v1/session`: begins a session.
pub(super) async fn begin(
    State(state): State<AdminState>,
    Extension(client): Extension<AdminClient>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let begun = match proof(&headers, body).await {
        Ok(proof) => begin_by(&state, &client.origin, &headers, proof).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(BegunSession { admitted, cookie }) => {
            with_cookie(pretty(StatusCode::OK, &shown(&admitted, &state.control)), cookie)
        }
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

/// `POST /v1/session/link`: makes a link for one use, by which a browser signs in as the caller.
pub(super) async fn link(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(problem) = no_fields(&headers, body).await {
        return problem.respond(ProblemForm::Document);
    }
    let now = state.control.clock.wall();
    let made = linked(&admitted).and_then(|identity| state.sessions.link(identity.clone(), now));
    match made {
        Ok(secret) => {
            let answer = json!({
                "path": format!("/sign-in#link={}", secret.reveal()),
                "expires_in_s": LINK_LIFE.as_secs(),
                "name": admitted.actor.name,
            });
            pretty(StatusCode::OK, &answer)
        }
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

/// `POST /v1/session/end`: ends the session of the cookie.
pub(super) async fn end(
    State(state): State<AdminState>,
    Extension(client): Extension<AdminClient>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(problem) = no_fields(&headers, body).await {
        return problem.respond(ProblemForm::Document);
    }
    let ended = end_session(&state, &client.origin, &headers);
    with_cookie(pretty(StatusCode::OK, &json!({ "ended": ended })), clear_cookie(&client.origin))
}

/// `POST /sign-in`: the form of a browser without script. It leads to where the person wanted to go.
pub(super) async fn sign_in(
    State(state): State<AdminState>,
    Extension(client): Extension<AdminClient>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let read = CallBody::read(&headers, body, &[FORM]).await.and_then(|body| SignInForm::parse(&body.text));
    let SignInForm { token, to } = match read {
        Ok(form) => form,
        Err(problem) => return problem.respond(ProblemForm::Page),
    };
    match begin_by(&state, &client.origin, &headers, SignInProof::Token(token)).await {
        Ok(begun) => with_cookie(see_other(to.as_str()), begun.cookie),
        Err(problem) if problem.kind.status() == 401 => see_other(&format!("{}&problem=token", to.sign_in())),
        Err(problem) => problem.respond(ProblemForm::Page),
    }
}

/// `POST /sign-out`: the form that ends the session.
pub(super) async fn sign_out(
    State(state): State<AdminState>,
    Extension(client): Extension<AdminClient>,
    headers: HeaderMap,
    _body: Body,
) -> Response {
    end_session(&state, &client.origin, &headers);
    with_cookie(see_other("/sign-in"), clear_cookie(&client.origin))
}

/// Who looks at a page, and what they may do.
pub(super) fn viewer(admitted: &Admitted, control: &ControlState) -> Viewer {
    let rollouts = &control.snapshot().rules.rollouts;
    let approves = rollouts.iter().filter_map(|rollout| {
        let roles = admitted.roles.of_rollout(&admitted.actor.name, rollout);
        (!roles.is_empty()).then(|| (rollout.name.clone(), roles))
    });
    Viewer {
        name: admitted.identity.as_ref().map(|_| admitted.actor.name.clone()),
        via: json!(admitted.actor.via).as_str().unwrap_or_default().to_owned(),
        has_session: admitted.session_ends_at.is_some(),
        may_operate: admitted.rights.operate,
        may_reload: admitted.rights.reload,
        approves: approves.collect(),
    }
}

/// The content of `/v1/session`.
fn shown(admitted: &Admitted, control: &ControlState) -> Value {
    let Viewer { name, via, has_session, may_operate, may_reload, approves } = viewer(admitted, control);
    let mut approve: Vec<String> = approves.into_values().flatten().collect();
    approve.sort_unstable();
    approve.dedup();
    json!({
        "name": name,
        "via": via,
        "has_session": has_session,
        "expires_at": admitted.session_ends_at.map(time),
        "roles": roles(admitted, control, &approve),
        "may": { "read": true, "reload": may_reload, "operate": may_operate, "approve": approve },
    })
}

/// The roles of an identity, as in the file of tokens.
fn roles(admitted: &Admitted, control: &ControlState, approve: &[String]) -> Vec<String> {
    match &admitted.identity {
        None => Vec::new(),
        Some(AdminIdentity::Token(held) | AdminIdentity::Certificate(held)) => {
            let snapshot = control.snapshot();
            let token = snapshot.rules.admin.tokens.as_ref().and_then(|tokens| tokens.named(&held.name));
            token.map(|token| token.roles.iter().map(ToString::to_string).collect()).unwrap_or_default()
        }
        Some(AdminIdentity::User(_)) => {
            let first = if admitted.rights.operate { "operator" } else { "viewer" };
            let approver = approve.iter().map(|role| format!("approver:{role}"));
            [first.to_owned()].into_iter().chain(approver).collect()
        }
    }
}

/// The body of a call that begins a session.
async fn proof(headers: &HeaderMap, body: Body) -> Result<SignInProof, CallProblem> {
    let body: SignInBody = CallBody::read(headers, body, &["application/json"]).await?.json()?;
    match (body.token, body.link) {
        (Some(token), None) => Ok(SignInProof::Token(token)),
        (None, Some(link)) => Ok(SignInProof::Link(link)),
        (Some(_), Some(_)) | (None, None) => {
            let help = "see /v1/openapi.json for the fields of this call";
            Err(ProblemKind::BadBody.because("set exactly one of `token` and `link`", help))
        }
    }
}

async fn no_fields(headers: &HeaderMap, body: Body) -> Result<NoFields, CallProblem> {
    CallBody::read(headers, body, &["application/json"]).await?.json()
}

/// Begins a session, and ends the one of the cookie. A client that fails often waits.
async fn begin_by(
    state: &AdminState,
    client: &ClientOrigin,
    headers: &HeaderMap,
    proof: SignInProof,
) -> Result<BegunSession, CallProblem> {
    let begun = identity_by(state, client, proof).and_then(|identity| begin_as(state, client, identity));
    match &begun {
        Ok(BegunSession { admitted, .. }) => {
            let name = &admitted.actor.name;
            tracing::info!(%client, name, "a session of the dashboard begins");
            end_session(state, client, headers);
        }
        Err(problem) => {
            tracing::warn!(%client, "signing in refused: {}", problem.detail);
            state.failures.slow_down(client, problem, state.control.clock.now()).await;
        }
    }
    begun
}

fn identity_by(state: &AdminState, client: &ClientOrigin, proof: SignInProof) -> Result<AdminIdentity, CallProblem> {
    let token = match proof {
        SignInProof::Token(token) => token,
        SignInProof::Link(link) => {
            let redeemed = state.sessions.redeem(PassKey::of(link.as_bytes()), state.control.clock.wall());
            return redeemed.ok_or_else(|| {
                let help = "ask for a new one: run `pointsman dashboard` on the machine of the proxy";
                let detail = format!("it was used, is older than {} s, or was never made", LINK_LIFE.as_secs());
                ProblemKind::LinkUnknown.because(detail, help)
            });
        }
    };
    if state.control.snapshot().rules.admin.tokens.is_none() {
        let help = "configure `tokens` in `[admin]`, or run `pointsman dashboard` on the machine of the proxy";
        return Err(ProblemKind::TokenUnknown.because("no tokens are configured", help));
    }
    let credentials = CallerCredentials::of_token(client, &token);
    let admitted = credentials.admit(CallAccess::Read, &state.control, &state.sessions)?;
    // A token that is presented decides: another identity is not found.
    admitted.identity.ok_or_else(|| ProblemKind::TokenUnknown.because("the token is not known", "use another one"))
}

fn begin_as(state: &AdminState, client: &ClientOrigin, identity: AdminIdentity) -> Result<BegunSession, CallProblem> {
    let secret = state.sessions.begin(identity, state.control.clock.wall())?;
    let credentials = CallerCredentials::of_session(client, secret.key());
    let admitted = credentials.admit(CallAccess::Read, &state.control, &state.sessions)?;
    if admitted.session_ends_at.is_none() {
        let help = "ask for a new one, as a user or with a token that may read";
        return Err(ProblemKind::LinkUnknown.because("its token or user may not read any more", help));
    }
    Ok(BegunSession { admitted, cookie: set_cookie(client, &secret) })
}

/// Ends the session of the cookie, and returns whether there was one.
fn end_session(state: &AdminState, client: &ClientOrigin, headers: &HeaderMap) -> bool {
    match SessionCookie::of(client, headers) {
        SessionCookie::Key(key) => state.sessions.end(key, state.control.clock.wall()),
        SessionCookie::Absent | SessionCookie::Unusable => false,
    }
}

/// The identity that gets a link: its own, and not by a session, which would outlive its end.
fn linked(admitted: &Admitted) -> Result<&AdminIdentity, CallProblem> {
    let detail = match (&admitted.identity, admitted.session_ends_at) {
        (Some(identity), None) => return Ok(identity),
        (_, Some(_)) => "the call comes by a session, which begins no other one",
        (None, None) => "a TCP connection without a token has no identity",
    };
    let help = "run `pointsman dashboard` on the machine of the proxy, or with a token";
    Err(ProblemKind::NoLink.because(detail, help))
}

/// The fields of the form for signing in.
struct SignInForm {
    token: String,
    to: ReturnPath,
}

impl SignInForm {
    fn parse(body: &str) -> Result<Self, CallProblem> {
        let (mut token, mut to) = (None, None);
        for pair in body.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "token" => &mut token,
                "to" => &mut to,
                _ => continue,
            };
            let refuse = |why: &str| ProblemKind::BadBody.because(format!("`{name}` {why}"), "send the form again");
            let value = form_decoded(value).map_err(|_| refuse("is not percent-encoded UTF-8"))?;
            if field.replace(value).is_some() {
                return Err(refuse("is given twice"));
            }
        }
        let token = token.unwrap_or_default().trim().to_owned();
        Ok(Self { token, to: ReturnPath::of(&to.unwrap_or_default()) })
    }
}

/// Leads the browser to a path of this listener.
fn see_other(path: &str) -> Response {
    let mut response = text(StatusCode::SEE_OTHER, &format!("see {path}"));
    // Paths are percent-encoded.
    let location = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_fields_once() {
        let parse = |body| SignInForm::parse(body).map(|form| (form.token, form.to.as_str().to_owned()));
        let good = |token: &str, to: &str| Ok((token.to_owned(), to.to_owned()));
        assert_eq!(parse(""), good("", "/"));
        assert_eq!(parse("token=+pm_1%20&to=%2Froutes%3Ffilter%3Da&submit=Sign+in"), good("pm_1", "/routes?filter=a"));
        assert_eq!(parse("to=//evil.example&token=a"), good("a", "/"));
        assert_eq!(parse("to=%2F%2Fevil.example&token=a"), good("a", "/"));
        assert_eq!(parse("to=/%0d%0aSet-Cookie:x&token=a"), good("a", "/"));
        for bad in ["token=a&token=b", "token=a&token=a", "to=/&to=//x", "token=%", "token=%ff", "to=%zz"] {
            assert_eq!(parse(bad).map_err(|problem| problem.kind), Err(ProblemKind::BadBody), "{bad}");
        }
    }
}
