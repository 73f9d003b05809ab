//! The calls of the admin listener: a handler for each row of the table in `router.rs`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::access::{Admitted, Sessions, TokenFailures};
use super::pages::PageCache;
use super::problem::{ProblemForm, ProblemKind};
use super::response::{pretty, respond, text, wants_text};
use super::{explain, kills, limits, metrics, shadow, status};
use crate::control::event::{Event, FilesEvent, ReloadRequest};
use crate::control::files::{ConfigChecker, NO_FILE};
use crate::control::outcome::ReloadOutcome;
use crate::control::state::{ControlState, Unready};
use crate::telemetry::exposition::CONTENT_TYPE;

/// The most event streams.
const STREAMS_MAX: usize = 128;
/// The most threads that read the journal's files at once; more readers wait.
const FILE_READS_MAX: usize = 4;

/// The state that handlers use.
#[derive(Clone)]
pub(super) struct AdminState {
    pub control: Arc<ControlState>,
    pub events: mpsc::Sender<Event>,
    /// The tokens that were not valid, by address.
    pub failures: Arc<TokenFailures>,
    /// The sessions of the dashboard.
    pub sessions: Arc<Sessions>,
    /// The places of event streams.
    pub streams: Arc<Semaphore>,
    /// Limits the readers of the journal's files.
    pub file_reads: Arc<Semaphore>,
    /// Checks a text in the place of the file.
    pub checker: ConfigChecker,
    /// The pages that were built a moment ago.
    pub pages: PageCache,
    /// Whether the listener has closed.
    pub closing: watch::Receiver<bool>,
    /// The table of calls as text.
    pub index: Arc<str>,
    /// The `OpenAPI` document.
    pub openapi: Arc<str>,
}

impl AdminState {
    pub fn new(
        control: Arc<ControlState>,
        events: mpsc::Sender<Event>,
        checker: ConfigChecker,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (streams, file_reads) = (places(STREAMS_MAX), places(FILE_READS_MAX));
        Self {
            control,
            events,
            failures: Arc::default(),
            sessions: Arc::default(),
            streams,
            file_reads,
            checker,
            pages: PageCache::default(),
            closing,
            index: "".into(),
            openapi: "".into(),
        }
    }
}

pub(super) fn index(state: &AdminState) -> Response {
    text(StatusCode::OK, &state.index)
}

pub(super) async fn openapi(State(state): State<AdminState>) -> Response {
    respond(StatusCode::OK, "application/json", state.openapi.to_string())
}

pub(super) fn metrics_page(state: &ControlState) -> Response {
    respond(StatusCode::OK, CONTENT_TYPE, metrics::render(state))
}

pub(super) async fn healthz(State(state): State<AdminState>) -> Response {
    health_response(state.control.healthy())
}

pub(super) async fn readyz(State(state): State<AdminState>) -> Response {
    health_response(state.control.ready())
}

pub(super) fn status_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &status::status(state))
}

pub(super) fn kills_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &kills::kills(state))
}

pub(super) fn routes_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &status::routes_table(state))
}

pub(super) fn upstreams_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &status::upstreams_table(state))
}

pub(super) fn limits_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &limits::limits(state))
}

pub(super) fn experiments_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &status::experiments_table(state))
}

pub(super) fn shadow_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &shadow::shadow(state))
}

pub(super) async fn explain(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    match explain::explain(&state.control, query.as_deref()) {
        Ok(explanation) => pretty(StatusCode::OK, &explanation),
        Err(why) => pretty(StatusCode::BAD_REQUEST, &json!({ "error": why })),
    }
}

/// Waits until the files are loaded and, when they have changed, until the workers use them. The request body is not
/// read, and is kept until the response: hyper closes the connection of a request whose body is dropped before it has
/// arrived.
pub(super) async fn reload(
    State(state): State<AdminState>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
    _body: Body,
) -> Response {
    match reload_for(&state, ReloadRequest { who: admitted.actor, reason: None }).await {
        Some((outcome, _)) => reloaded(&state.control, &outcome, &headers),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping"),
    }
}

/// Asks for a reload; returns its outcome with the number of its record. `None` when the proxy is stopping.
pub(super) async fn reload_for(state: &AdminState, request: ReloadRequest) -> Option<(ReloadOutcome, Option<u64>)> {
    let (reply, replied) = oneshot::channel();
    let reply = Box::new(move |outcome: &ReloadOutcome, seq| drop(reply.send((outcome.clone(), seq))));
    state.events.send(Event::Files(FilesEvent::Asked(request, reply))).await.ok()?;
    replied.await.ok()
}

fn reloaded(state: &ControlState, outcome: &ReloadOutcome, headers: &HeaderMap) -> Response {
    let status = match outcome {
        ReloadOutcome::Unchanged { .. } | ReloadOutcome::Applied { .. } => StatusCode::OK,
        ReloadOutcome::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let (words, value) = in_words(state, outcome);
    if wants_text(headers) { text(status, &words) } else { pretty(status, &value) }
}

/// The outcome of a reload as text and as JSON.
pub(super) fn in_words(state: &ControlState, outcome: &ReloadOutcome) -> (String, Value) {
    let (mut words, mut value) = (outcome.to_text(), outcome.to_json());
    if let (Some(summary), true) = (value["summary"].as_array_mut(), state.lock().file.is_none()) {
        summary.push(json!(NO_FILE));
        let _ = writeln!(words, "  {NO_FILE}");
    }
    // The file watcher is often faster than the call. Then show the change that it has already applied.
    if let (ReloadOutcome::Unchanged { .. }, Some(last)) = (outcome, &state.lock().changed) {
        value["last_change"] = status::last_reload(last);
        let _ = write!(words, "  last change: {}", last.outcome.to_text());
    }
    (words, value)
}

fn health_response(health: Result<(), Unready>) -> Response {
    match health {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}

pub(super) async fn unknown_path(State(state): State<AdminState>, uri: Uri) -> Response {
    let path = uri.path();
    match ProblemForm::of(path) {
        ProblemForm::Text | ProblemForm::Page => {
            let is_open = state.control.snapshot().rules.admin.tokens.is_none();
            let index = if is_open { &*state.index } else { "" };
            text(StatusCode::NOT_FOUND, &format!("there is no {path} here\n\n{index}"))
        }
        ProblemForm::Document => {
            let problem = ProblemKind::NoSuchPath.because(format!("there is no {path}"), "GET / lists the calls");
            problem.respond(ProblemForm::Document)
        }
    }
}

/// The response to a method that a path does not allow.
pub(super) fn other_method(path: &str, methods: &[Method]) -> Response {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let detail = format!("{path} takes {}", names.join(" and "));
    let mut refused = match ProblemForm::of(path) {
        ProblemForm::Text | ProblemForm::Page => text(StatusCode::METHOD_NOT_ALLOWED, &detail),
        ProblemForm::Document => {
            ProblemKind::WrongMethod.because(detail, "GET / lists the calls").respond(ProblemForm::Document)
        }
    };
    let (get, post) = (methods.contains(&Method::GET), methods.contains(&Method::POST));
    let allow = match (get, post) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, _) => "POST",
    };
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    refused
}
