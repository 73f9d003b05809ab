//! The router of the admin listener: every call in one table, and the layers around them. The index page, the `OpenAPI`
//! document and the response to an unknown path list the same table.
//!
//! Limits: `connection.rs` limits the head and the life of a connection. `page.rs` limits pages; a request that waits
//! for a permit ends with its connection. `body.rs` limits bodies. `/reload` waits until the files are loaded, and ends
//! with its connection at the latest. The other calls answer at once and never wait for a page.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use axum::{Extension, Router, middleware};
use http::{HeaderMap, Method, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;

use super::access::{AccessGate, Admitted, CallAccess, CallPlaces, check_access};
use super::calls::{self, AdminState};
use super::openapi::{CallRow, document};
use super::operation::Operation;
use super::page::PageLimits;
use super::problem::{ProblemForm, ProblemKind};
use super::response::{add_fields, text};
use super::rollout_acts::{NamedCall, RolloutCall};
use super::rollouts::NameInPath;
use super::{acts, config_calls, events, journal, notify, origin, rollout_acts, rollouts, upstream_acts};
use crate::control::state::ControlState;

/// The text of a response whose handler has panicked.
const PANICKED: &str = "this page could not be written; see the log";

/// A call: a row of the table.
struct AdminCall {
    path: &'static str,
    method: Method,
    access: CallAccess,
    places: CallPlaces,
    help: &'static str,
    operation: Operation,
    route: MethodRouter<AdminState>,
}

/// The calls that were there before `/v1`.
fn first_calls() -> Vec<AdminCall> {
    use CallAccess::{Metrics, Public, Read, Reload};
    vec![
        AdminCall::get("/", Read, "this list", calls::index),
        AdminCall::page("/metrics", Metrics, "metrics, for Prometheus", calls::metrics_page).on_any_place(),
        AdminCall::get("/healthz", Public, "200 while the process works", calls::healthz).on_any_place(),
        AdminCall::get("/readyz", Public, "200 while it should get traffic", calls::readyz).on_any_place(),
        AdminCall::page(
            "/status",
            Read,
            "configuration, listeners, routes with their shares, upstreams, as JSON",
            calls::status_page,
        )
        .with(Operation::page("Status")),
        AdminCall::get(
            "/explain",
            Read,
            "why a request gets its variant: ?host=&path=&method=&header=K:V&cookie=K=V&client_ip=&peer=",
            calls::explain,
        )
        .with(Operation::EXPLAIN),
        AdminCall::page(
            "/shadow",
            Read,
            "dark launches: outcomes of copies and differences in responses, as JSON",
            calls::shadow_page,
        )
        .with(Operation::page("Shadows")),
        AdminCall::post("/reload", Reload, "reload the files", calls::reload).with(Operation::RELOAD),
    ]
}

/// The calls of `/v1`.
fn v1_calls() -> Vec<AdminCall> {
    use CallAccess::{Operate, Read, Reload};
    let page = |path, help, schema, work| AdminCall::page(path, Read, help, work).with(Operation::page(schema));
    let check = PageLimits::new("/v1/config/check");
    let check = async move |State(state): State<AdminState>, headers: HeaderMap, body: Body| {
        config_calls::check(check, state, headers, body).await
    };
    vec![
        page("/v1/status", "what /status shows", "Status", calls::status_page),
        page("/v1/kill", "what is killed, by whom and why", "KillList", calls::kills_page).on_any_place(),
        AdminCall::post("/v1/kill", Operate, "take a scope out of service, at once", acts::kill)
            .with(Operation::KILL)
            .on_any_place(),
        AdminCall::post("/v1/revive", Operate, "lift a kill", acts::revive).with(Operation::REVIVE).on_any_place(),
        page("/v1/rollouts", "rollouts, and releases that guards watch", "Rollouts", rollouts::rollouts_page),
        AdminCall::get("/v1/rollouts/{name}", Read, "one with the evidence of each guard", rollouts::rollout)
            .with(Operation::ROLLOUT),
        on_rollout("/v1/rollouts/{name}/approve", "approve a stage as a role", RolloutCall::Approve),
        on_rollout("/v1/rollouts/{name}/hold", "hold a rollout at its weight", RolloutCall::Hold),
        on_rollout("/v1/rollouts/{name}/resume", "end a hold, or the latch of a rollback", RolloutCall::Resume),
        on_rollout("/v1/rollouts/{name}/rollback", "all callers back to stable", RolloutCall::Rollback),
        on_rollout("/v1/rollouts/{name}/goto", "move a rollout to a stage", RolloutCall::Goto),
        on_rollout("/v1/rollouts/{name}/restart", "begin at the first stage", RolloutCall::Restart),
        on_rollout(
            "/v1/rollouts/{name}/rehearse",
            "trip a guard by hand, to measure a rollback",
            RolloutCall::Rehearse,
        ),
        page("/v1/routes", "routes with their shares", "Routes", calls::routes_page),
        page("/v1/upstreams", "upstreams and their endpoints", "Upstreams", calls::upstreams_page),
        operate(
            "/v1/upstreams/{upstream}/endpoints/{endpoint}/drain",
            "no new request for an endpoint",
            upstream_acts::drain,
        ),
        operate("/v1/upstreams/{upstream}/endpoints/{endpoint}/undrain", "end a drain", upstream_acts::undrain),
        operate(
            "/v1/upstreams/{upstream}/endpoints/{endpoint}/eject",
            "eject an endpoint, until it is admitted",
            upstream_acts::eject,
        ),
        operate("/v1/upstreams/{upstream}/endpoints/{endpoint}/admit", "end an ejection", upstream_acts::admit),
        page("/v1/limits", "rate limits of routes, and what they count", "Limits", calls::limits_page),
        page("/v1/notify", "receivers of notifications, and what waits for them", "Notify", notify::notify_page),
        AdminCall::post("/v1/notify/test", Operate, "a test message to one receiver or all", notify::test)
            .with(Operation::NOTIFY_TEST),
        page("/v1/shadows", "what /shadow shows", "Shadows", calls::shadow_page),
        page("/v1/experiments", "experiments with their evidence", "Experiments", calls::experiments_page),
        page("/v1/config", "the configuration in effect, and the last outcome", "Config", config_calls::config_page),
        AdminCall::post("/v1/config/check", Operate, "what an edit would do; nothing is applied", check)
            .with(Operation::CHECK),
        AdminCall::post("/v1/config/reload", Reload, "reload the files", config_calls::reload)
            .with(Operation::CONFIG_RELOAD),
        AdminCall::get("/v1/journal", Read, "records of the journal: ?after=SEQ&limit=", journal::journal)
            .with(Operation::JOURNAL),
        AdminCall::get("/v1/events", Read, "the same as server-sent events: ?after=SEQ", events::events)
            .with(Operation::EVENTS),
        AdminCall::get("/v1/openapi.json", Read, "this table for programs: OpenAPI 3.1", calls::openapi)
            .with(Operation::page("OpenApi")),
    ]
}

/// A call on an endpoint.
fn operate<T: 'static>(path: &'static str, help: &'static str, handler: impl Handler<T, AdminState>) -> AdminCall {
    AdminCall::post(path, CallAccess::Operate, help, handler).with(Operation::ENDPOINT_ACT).on_any_place()
}

/// An act on a rollout. Those that lower exposure have places of their own, as a kill.
fn on_rollout(path: &'static str, help: &'static str, call: RolloutCall) -> AdminCall {
    let handler = async move |State(state): State<AdminState>,
                              Extension(admitted): Extension<Admitted>,
                              path: NameInPath,
                              headers: HeaderMap,
                              body: Body| {
        rollout_acts::perform(state, admitted, NamedCall { call, path }, headers, body).await
    };
    let (access, operation) = match call {
        RolloutCall::Approve => (CallAccess::Approve, Operation::APPROVE),
        RolloutCall::Goto => (CallAccess::Operate, Operation::GOTO),
        RolloutCall::Hold
        | RolloutCall::Resume
        | RolloutCall::Rollback
        | RolloutCall::Restart
        | RolloutCall::Rehearse => (CallAccess::Operate, Operation::ROLLOUT_ACT),
    };
    let row = AdminCall::post(path, access, help, handler).with(operation);
    match call {
        RolloutCall::Hold | RolloutCall::Rollback | RolloutCall::Goto => row.on_any_place(),
        RolloutCall::Approve | RolloutCall::Resume | RolloutCall::Restart | RolloutCall::Rehearse => row,
    }
}

/// Every call, in the order of the index page.
fn calls() -> Vec<AdminCall> {
    let mut all = first_calls();
    all.extend(v1_calls());
    all
}

/// The router.
pub(super) fn router(mut state: AdminState) -> Router {
    let calls = calls();
    state.index = index(&calls).into();
    state.openapi = format!("{:#}\n", document(calls.iter().map(AdminCall::row))).into();
    let mut router = Router::new().fallback(calls::unknown_path);
    for path in paths(&calls) {
        let methods: Vec<Method> =
            calls.iter().filter(|call| call.path == path).map(|call| call.method.clone()).collect();
        router = router.route(path, only(path, methods));
    }
    for AdminCall { path, route, access, places, .. } in calls {
        let (control, failures) = (Arc::clone(&state.control), Arc::clone(&state.failures));
        let gate = middleware::from_fn_with_state(AccessGate { control, failures, access, places }, check_access);
        router = router.route(path, route.route_layer(gate));
    }
    layered(router, Arc::clone(&state.control)).with_state(state)
}

/// The paths of the calls, each once.
fn paths(calls: &[AdminCall]) -> Vec<&'static str> {
    let mut paths: Vec<&'static str> = Vec::new();
    for AdminCall { path, .. } in calls {
        if !paths.contains(path) {
            paths.push(path);
        }
    }
    paths
}

/// The layers around every call.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>, control: Arc<ControlState>) -> Router<S> {
    guarded(router.layer(middleware::from_fn_with_state(control, origin::reject_foreign_origins)))
}

/// The layers that need no state: the last one is outermost.
fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn(finish))
}

/// Gives a response the fields that every one has, and the form of its path when its handler has panicked.
async fn finish(request: Request, next: Next) -> Response {
    let form = ProblemForm::of(request.uri().path());
    let mut response = next.run(request).await;
    if response.extensions().get::<Panicked>().is_some() && form == ProblemForm::Document {
        response = ProblemKind::Failed.because(PANICKED, "see the log of the proxy").respond(form);
    }
    add_fields(response)
}

/// Marks the response of a handler that has panicked.
#[derive(Clone, Copy)]
struct Panicked;

impl AdminCall {
    fn get<T: 'static>(
        path: &'static str,
        access: CallAccess,
        help: &'static str,
        handler: impl Handler<T, AdminState>,
    ) -> Self {
        let route = MethodRouter::new().get(handler);
        Self { path, method: Method::GET, access, places: CallPlaces::Shared, help, operation: Operation::TEXT, route }
    }

    fn post<T: 'static>(
        path: &'static str,
        access: CallAccess,
        help: &'static str,
        handler: impl Handler<T, AdminState>,
    ) -> Self {
        let route = MethodRouter::new().post(handler);
        Self { path, method: Method::POST, access, places: CallPlaces::Shared, help, operation: Operation::TEXT, route }
    }

    /// A page, built from the state of the control plane.
    fn page(path: &'static str, access: CallAccess, help: &'static str, work: fn(&ControlState) -> Response) -> Self {
        let limits = PageLimits::new(path);
        let handler = async move |State(state): State<AdminState>| limits.answer(move || work(&state.control)).await;
        Self::get(path, access, help, handler)
    }

    /// With what the call takes and answers.
    fn with(self, operation: Operation) -> Self {
        Self { operation, ..self }
    }

    /// The call for the document.
    fn row(&self) -> CallRow<'_> {
        let Self { path, method, access, help, operation, .. } = self;
        CallRow { path, method, access: *access, help, operation }
    }

    /// The call is answered when the shared places are taken.
    fn on_any_place(self) -> Self {
        Self { places: CallPlaces::Any, ..self }
    }
}

/// Answers 405 to other methods, with a text and `Allow`.
fn only(path: &'static str, methods: Vec<Method>) -> MethodRouter<AdminState> {
    any(async move || calls::other_method(path, &methods))
}

/// The response when a handler has panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer passes it by value")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    tracing::error!("the admin listener failed to answer a request, panic: {message}");
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, PANICKED);
    response.extensions_mut().insert(Panicked);
    response
}

fn index(calls: &[AdminCall]) -> String {
    let mut list = format!("Pointsman {}, admin listener\n\n", env!("CARGO_PKG_VERSION"));
    let width = calls.iter().map(|call| call.path.len()).max().unwrap_or_default() + 2;
    for AdminCall { path, method, help, .. } in calls {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{:<5}{path:<width$}{help}", method.as_str());
    }
    list
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use axum::body::to_bytes;
    use axum::routing::get;
    use http::header;
    use tower::ServiceExt;

    use super::*;
    use crate::control::admin::response::{NO_STORE, NOSNIFF};

    fn request(method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header(header::HOST, "localhost")
    }

    struct Answered {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    }

    async fn answered(router: Router, request: Request) -> Answered {
        let Ok(response) = router.oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body");
        let body = String::from_utf8(body.to_vec()).expect("a text");
        Answered { status: head.status, headers: head.headers, body }
    }

    async fn get_of(router: Router, path: &str) -> Answered {
        answered(router, request(Method::GET, path).body(Body::empty()).expect("a request")).await
    }

    fn has_fields_of_every_answer(answered: &Answered) {
        assert_eq!(answered.headers[header::CACHE_CONTROL], NO_STORE);
        assert_eq!(answered.headers[header::X_CONTENT_TYPE_OPTIONS], NOSNIFF);
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_request_and_is_logged() {
        let mut log = tempfile::tempfile().expect("a file");
        let writer = Arc::new(log.try_clone().expect("a second handle"));
        let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(writer).finish());
        let page = PageLimits::new("/page");
        let page = async move || page.answer(|| panic!("out of paper")).await;
        let router = guarded(
            Router::new()
                .route("/panic", get(async || -> Response { panic!("out of ink") }))
                .route("/page", get(page))
                .route("/v1/panic", get(async || -> Response { panic!("out of toner") }))
                .route("/fine", get(async || text(StatusCode::OK, "fine"))),
        );
        for path in ["/panic", "/page"] {
            let failed = get_of(router.clone(), path).await;
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            assert_eq!(failed.body, "this page could not be written; see the log\n");
            has_fields_of_every_answer(&failed);
            let fine = get_of(router.clone(), "/fine").await;
            assert_eq!((fine.status, &*fine.body), (StatusCode::OK, "fine\n"), "after {path}");
        }
        let document = get_of(router, "/v1/panic").await;
        assert_eq!(document.headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(document.body.contains("urn:pointsman:problem:failed"), "{}", document.body);
        has_fields_of_every_answer(&document);
        let mut logged = String::new();
        log.rewind().and_then(|()| log.read_to_string(&mut logged)).expect("a text");
        for message in ["panic: out of ink", "panic: out of paper"] {
            assert_eq!(logged.matches(message).count(), 1, "{message}: {logged}");
        }
    }
}
