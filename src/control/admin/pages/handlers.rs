//! A handler for each page: gathers what the calls of `/v1` answer.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value};

use super::context::{AskedPage, PageContext, PageSubject};
use super::query::{number, parameter};
use crate::control::admin::calls::{self, AdminState};
use crate::control::admin::grafana::GrafanaPage;
use crate::control::admin::history::history_of;
use crate::control::admin::problem::{CallProblem, ProblemKind};
use crate::control::admin::response::wants_html;
use crate::control::admin::return_path::ReturnPath;
use crate::control::admin::rollouts::{NameInPath, name, rollout_value};
use crate::control::admin::{config_calls, kills as kill_list, records_of_release, shadow, status};
use crate::control::dashboard::{self, Frame, ListView, OverviewFacts, PageName, RolloutPageFacts};
use crate::control::history::HistoryOf;

/// The points of a small chart in a row.
const ROW_POINTS: usize = 60;
/// The points of a chart.
const CHART_POINTS: usize = 300;

/// `/`: the overview for browsers, the list of calls for others.
pub(in crate::control::admin) async fn index(State(state): State<AdminState>, request: Request) -> Response {
    if !wants_html(request.headers()) {
        return calls::index(&state);
    }
    AskedPage::of(state, request).answer(|context| Ok(overview(context))).await
}

fn overview(context: &PageContext) -> String {
    let control = &context.control;
    let names: Vec<&str> = list(&context.status["rollouts"]).filter_map(|one| one["name"].as_str()).collect();
    let histories: Map<String, Value> = names
        .iter()
        .map(|name| {
            ((*name).to_owned(), history_of(control, HistoryOf::Rollout(name), ROW_POINTS).unwrap_or(Value::Null))
        })
        .collect();
    let facts = OverviewFacts {
        // As those calls answer: with the list as a member.
        rollouts: &context.status,
        upstreams: &context.status,
        last_records: &Value::Object(records_of_release::newest_by_release(control, &names)),
        histories: &Value::Object(histories),
    };
    let subject = PageSubject::of(PageName::Overview);
    context.framed(subject, |frame| dashboard::overview_page(frame, facts))
}

/// The members of a list of the API.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `/rollouts/{name}`.
pub(in crate::control::admin) async fn rollout(
    State(state): State<AdminState>,
    path: NameInPath,
    request: Request,
) -> Response {
    AskedPage::of(state, request)
        .answer(move |context| {
            let name = name(path)?;
            let rollout = rollout_value(&context.control, &name)?;
            let history = history_of(&context.control, HistoryOf::Rollout(&name), CHART_POINTS).unwrap_or(Value::Null);
            let records = records_of_release::of(&context.control, &name);
            let facts = RolloutPageFacts { rollout: &rollout, history: &history, records: &records };
            let variants: Vec<&str> = list(&rollout["variants"]).filter_map(Value::as_str).collect();
            let routes: Vec<&str> = variants.iter().filter_map(|one| Some(one.rsplit_once(':')?.0)).collect();
            let grafana = match rollout["route"].as_str() {
                Some(route) => GrafanaPage::Route(route),
                None => GrafanaPage::Rollout { name: &name, routes: &routes },
            };
            let subject = PageSubject::of(PageName::Overview).about(&name, grafana);
            Ok(context.framed(subject, |frame| dashboard::rollout_page(frame, facts)))
        })
        .await
}

/// `/routes`.
pub(in crate::control::admin) async fn routes(State(state): State<AdminState>, request: Request) -> Response {
    listed(state, request, PageName::Routes, |context, frame, view| {
        dashboard::routes_page(frame, &status::routes_table(&context.control), view)
    })
    .await
}

/// A page of a long list, with its filter.
async fn listed(
    state: AdminState,
    request: Request,
    page: PageName,
    make: fn(&PageContext, &Frame<'_>, ListView<'_>) -> String,
) -> Response {
    let asked = AskedPage::of(state, request);
    let query = asked.uri.query().map(str::to_owned);
    asked
        .answer(move |context| {
            let filter = parameter(query.as_deref(), "filter")?;
            let from = number(query.as_deref(), "from")?.unwrap_or(0);
            let view = ListView { filter: &filter, from: usize::try_from(from).unwrap_or(usize::MAX) };
            Ok(context.framed(PageSubject::of(page), |frame| make(context, frame, view)))
        })
        .await
}

/// `/routes/{name}`.
pub(in crate::control::admin) async fn route(
    State(state): State<AdminState>,
    path: NameInPath,
    request: Request,
) -> Response {
    AskedPage::of(state, request)
        .answer(move |context| {
            let name = name(path)?;
            let mut routes = status::routes_table(&context.control);
            let found = routes["routes"].as_array_mut().and_then(|all| {
                let at = all.iter().position(|one| one["name"] == name)?;
                Some(all.swap_remove(at))
            });
            let route = found.ok_or_else(|| unknown_route(&name))?;
            let history = history_of(&context.control, HistoryOf::Route(&name), CHART_POINTS).unwrap_or(Value::Null);
            let subject = PageSubject::of(PageName::Routes).about(&name, GrafanaPage::Route(&name));
            Ok(context.framed(subject, |frame| dashboard::route_page(frame, &route, &history)))
        })
        .await
}

fn unknown_route(name: &str) -> CallProblem {
    ProblemKind::UnknownScope
        .because(format!("there is no route `{name}`"), "the page Routes lists all; a reload may have removed it")
}

/// `/upstreams`.
pub(in crate::control::admin) async fn upstreams(State(state): State<AdminState>, request: Request) -> Response {
    listed(state, request, PageName::Upstreams, |context, frame, view| {
        dashboard::upstreams_page(frame, &context.status, view)
    })
    .await
}

/// `/shadows`.
pub(in crate::control::admin) async fn shadows(State(state): State<AdminState>, request: Request) -> Response {
    simple(state, request, PageName::Shadows, |context| (shadow::shadow(&context.control), dashboard::shadows_page))
        .await
}

/// `/experiments`.
pub(in crate::control::admin) async fn experiments(State(state): State<AdminState>, request: Request) -> Response {
    simple(state, request, PageName::Experiments, |context| {
        (status::experiments_table(&context.control), dashboard::experiments_page)
    })
    .await
}

/// `/config`.
pub(in crate::control::admin) async fn config(State(state): State<AdminState>, request: Request) -> Response {
    simple(state, request, PageName::Config, |context| (config_calls::config(&context.control), dashboard::config_page))
        .await
}

/// `/kills`.
pub(in crate::control::admin) async fn kills(State(state): State<AdminState>, request: Request) -> Response {
    simple(state, request, PageName::Kills, |context| (kill_list::kills(&context.control), dashboard::kills_page)).await
}

/// A page of one answer of the API.
type PageOfFacts = fn(&Frame<'_>, &Value) -> String;

async fn simple(
    state: AdminState,
    request: Request,
    page: PageName,
    gather: fn(&PageContext) -> (Value, PageOfFacts),
) -> Response {
    let asked = AskedPage::of(state, request);
    asked
        .answer(move |context| {
            let (facts, make) = gather(context);
            Ok(context.framed(PageSubject::of(page), |frame| make(frame, &facts)))
        })
        .await
}

/// `/sign-in`.
pub(in crate::control::admin) async fn sign_in(State(state): State<AdminState>, request: Request) -> Response {
    let asked = AskedPage::of(state, request);
    let query = asked.uri.query().map(str::to_owned);
    asked.answer_plain(|context| {
        let to = parameter(query.as_deref(), "to").map_or_else(|_| ReturnPath::of("/"), |to| ReturnPath::of(&to));
        let problem = match parameter(query.as_deref(), "problem")?.as_str() {
            "token" => Some("the token is not known, or it has expired"),
            "session" => Some("the session has ended"),
            _ => None,
        };
        let subject = PageSubject::of(PageName::SignIn);
        Ok(context.framed(subject, |frame| dashboard::sign_in_page(frame, to.as_str(), problem)))
    })
}
