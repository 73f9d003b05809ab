//! The calls of the admin listener: every one is a row of one table, with who may make it.

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::MethodRouter;
use http::{HeaderMap, Method};

use super::access::{Admitted, CallAccess, CallPlaces};
use super::calls::{self, AdminState};
use super::openapi::CallRow;
use super::operation::Operation;
use super::page::PageLimits;
use super::rollout_acts::{NamedCall, RolloutCall};
use super::rollouts::NameInPath;
use super::row_form::RowForm;
use super::{
    acts, config_calls, events, history, journal, notify, pages, rollout_acts, rollouts, session_calls, upstream_acts,
};
use crate::control::state::ControlState;

/// A call: a row of the table.
pub(super) struct AdminCall {
    pub path: &'static str,
    pub method: Method,
    pub access: CallAccess,
    pub places: CallPlaces,
    pub form: RowForm,
    pub help: &'static str,
    pub operation: Operation,
    pub route: MethodRouter<AdminState>,
}

/// The calls that were there before `/v1`.
fn first_calls() -> Vec<AdminCall> {
    use CallAccess::{Metrics, Public, Read, Reload};
    vec![
        AdminCall::get("/", Read, "this list; for browsers the dashboard", pages::index)
            .formed(RowForm::PageForBrowsers),
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

/// The calls about sessions, and the forms for signing in and out.
fn session_rows() -> Vec<AdminCall> {
    use CallAccess::{Public, Read};
    vec![
        AdminCall::get("/v1/session", Read, "who calls, and what they may do", session_calls::show)
            .with(Operation::page("Session")),
        AdminCall::post("/v1/session", Public, "begin a session, by a token or a link", session_calls::begin)
            .with(Operation::SIGN_IN),
        AdminCall::post("/v1/session/link", Read, "a link for one use, to sign in with a browser", session_calls::link)
            .with(Operation::SESSION_LINK),
        AdminCall::post("/v1/session/end", Public, "end the session", session_calls::end).with(Operation::SESSION_END),
        AdminCall::post("/sign-in", Public, "sign in by a form", session_calls::sign_in).formed(RowForm::Page),
        AdminCall::post("/sign-out", Public, "sign out by a form", session_calls::sign_out).formed(RowForm::Page),
    ]
}

/// The pages of the dashboard, and what they load. They are for persons: not in the list of calls.
fn page_rows() -> Vec<AdminCall> {
    vec![
        AdminCall::html("/rollouts/{name}", "a rollout", pages::rollout),
        AdminCall::html("/routes", "the routes", pages::routes),
        AdminCall::html("/routes/{name}", "a route", pages::route),
        AdminCall::html("/upstreams", "the upstreams", pages::upstreams),
        AdminCall::html("/shadows", "dark launches", pages::shadows),
        AdminCall::html("/experiments", "the experiments", pages::experiments),
        AdminCall::html("/config", "the configuration", pages::config),
        AdminCall::html("/journal", "the journal", pages::journal),
        AdminCall::html("/journal.csv", "the journal as CSV", pages::journal_csv),
        AdminCall::html("/kills", "the kills", pages::kills).on_any_place(),
        AdminCall::get("/sign-in", CallAccess::Public, "sign in", pages::sign_in).formed(RowForm::Page),
        AdminCall::asset("/assets/dashboard.css", "the style sheet", pages::style).on_any_place(),
        AdminCall::asset("/assets/dashboard.js", "the script", pages::script).on_any_place(),
    ]
}

/// The points of charts.
fn history_row() -> AdminCall {
    let limits = PageLimits::new("/v1/history");
    let handler = async move |State(state): State<AdminState>, RawQuery(query): RawQuery| {
        limits.answer(move || history::history_page(&state.control, query.as_deref())).await
    };
    AdminCall::get(
        "/v1/history",
        CallAccess::Read,
        "points of charts, for 24 h: ?rollout=NAME or ?route=NAME, &points=",
        handler,
    )
    .with(Operation::HISTORY)
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
pub(super) fn calls() -> Vec<AdminCall> {
    let mut all = first_calls();
    all.extend(v1_calls());
    all.push(history_row());
    all.extend(session_rows());
    all.extend(page_rows());
    all
}

impl AdminCall {
    fn get<T: 'static>(
        path: &'static str,
        access: CallAccess,
        help: &'static str,
        handler: impl Handler<T, AdminState>,
    ) -> Self {
        Self::new(path, Method::GET, access, help, MethodRouter::new().get(handler))
    }

    fn post<T: 'static>(
        path: &'static str,
        access: CallAccess,
        help: &'static str,
        handler: impl Handler<T, AdminState>,
    ) -> Self {
        Self::new(path, Method::POST, access, help, MethodRouter::new().post(handler))
    }

    fn new(
        path: &'static str,
        method: Method,
        access: CallAccess,
        help: &'static str,
        route: MethodRouter<AdminState>,
    ) -> Self {
        let (places, form, operation) = (CallPlaces::Shared, RowForm::Call, Operation::TEXT);
        Self { path, method, access, places, form, help, operation, route }
    }

    /// An HTML page for persons who may read.
    pub fn html<T: 'static>(path: &'static str, help: &'static str, handler: impl Handler<T, AdminState>) -> Self {
        Self::get(path, CallAccess::Read, help, handler).formed(RowForm::Page)
    }

    /// A file that pages load; also the page for signing in does.
    pub fn asset<T: 'static>(path: &'static str, help: &'static str, handler: impl Handler<T, AdminState>) -> Self {
        Self::get(path, CallAccess::Public, help, handler).formed(RowForm::Asset)
    }

    /// With how a request is refused, and whether it is listed.
    fn formed(self, form: RowForm) -> Self {
        Self { form, ..self }
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
    pub fn row(&self) -> CallRow<'_> {
        let Self { path, method, access, help, operation, .. } = self;
        CallRow { path, method, access: *access, help, operation }
    }

    /// The call is answered when the shared places are taken.
    fn on_any_place(self) -> Self {
        Self { places: CallPlaces::Any, ..self }
    }
}
