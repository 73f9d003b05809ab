//! What every page shows around its content, and how a page is built: on a thread that may block, once for all who look.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;

use super::cache::{AskedMoment, BuiltPage, PageKey};
use crate::control::admin::access::Admitted;
use crate::control::admin::calls::AdminState;
use crate::control::admin::format::time;
use crate::control::admin::grafana::{GrafanaPage, grafana_link};
use crate::control::admin::problem::CallProblem;
use crate::control::admin::rollouts::rollouts_table;
use crate::control::admin::session_calls::viewer;
use crate::control::admin::status::{proxy_in_short, upstreams_table};
use crate::control::dashboard::{Frame, PageName, Viewer, refusal_page};
use crate::control::state::ControlState;

/// The parameters of pages.
const PARAMETERS: [&str; 5] = ["filter", "from", "text", "act", "before"];

/// A request for a page.
pub(super) struct AskedPage {
    pub state: AdminState,
    pub viewer: Viewer,
    pub uri: Uri,
    pub headers: HeaderMap,
}

/// What a page is built from.
pub(super) struct PageContext {
    pub control: Arc<ControlState>,
    pub viewer: Viewer,
    /// The newest record of the journal.
    seq: u64,
    now: String,
    /// `/v1/status` in short, with `rollouts` of `/v1/rollouts` and `upstreams` of `/v1/upstreams`.
    pub status: Value,
}

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSubject<'a> {
    pub page: PageName,
    /// The title; `None`: the name of the page.
    pub title: Option<&'a str>,
    /// Where longer ranges are; `None`: nowhere.
    pub grafana: Option<GrafanaPage<'a>>,
}

impl<'a> PageSubject<'a> {
    /// A page that is not about one thing.
    pub const fn of(page: PageName) -> Self {
        let grafana = match page {
            PageName::Overview => Some(GrafanaPage::Overview),
            PageName::Routes => Some(GrafanaPage::Routes),
            PageName::Upstreams => Some(GrafanaPage::Upstreams),
            PageName::Shadows => Some(GrafanaPage::Shadows),
            PageName::Experiments => Some(GrafanaPage::Experiments),
            PageName::Config => Some(GrafanaPage::Config),
            PageName::Journal => Some(GrafanaPage::Journal),
            PageName::Kills => Some(GrafanaPage::Kills),
            PageName::SignIn => None,
        };
        Self { page, title: None, grafana }
    }

    /// The same about one thing.
    pub const fn about(self, title: &'a str, grafana: GrafanaPage<'a>) -> Self {
        Self { page: self.page, title: Some(title), grafana: Some(grafana) }
    }
}

impl AskedPage {
    /// The request for a page, which is admitted.
    pub fn of(state: AdminState, request: Request) -> Self {
        let (head, _) = request.into_parts();
        let viewer = head.extensions.get::<Admitted>().map(|admitted| viewer(admitted, &state.control));
        Self { state, viewer: viewer.unwrap_or_default(), uri: head.uri, headers: head.headers }
    }

    /// The page that was built a moment ago, or a new one.
    pub async fn answer(
        self,
        build: impl FnOnce(&PageContext) -> Result<String, CallProblem> + Send + 'static,
    ) -> Response {
        let Self { state, viewer, uri, headers } = self;
        let control = Arc::clone(&state.control);
        let asked = AskedMoment { now: control.clock.now(), seq: control.release.last_seq() };
        let key = PageKey { target: target_of(&uri), viewer: viewer.clone() };
        let building = state.pages.build(move || {
            let context = PageContext::new(control, viewer);
            match build(&context) {
                Ok(page) => BuiltPage::html(StatusCode::OK, page, &context.now),
                Err(problem) => refused(&problem),
            }
        });
        match state.pages.get(key, asked, building).await {
            Some(page) => page.respond(&headers),
            None => stopping().respond(&headers),
        }
    }

    /// A page that shows nothing of the proxy: it is for everyone, and costs little.
    pub fn answer_plain(self, build: impl FnOnce(&PageContext) -> Result<String, CallProblem>) -> Response {
        let context = PageContext::plain(Arc::clone(&self.state.control), self.viewer);
        let page = match build(&context) {
            Ok(page) => BuiltPage::html(StatusCode::OK, page, &context.now),
            Err(problem) => refused(&problem),
        };
        page.respond(&self.headers)
    }
}

impl PageContext {
    fn new(control: Arc<ControlState>, viewer: Viewer) -> Self {
        // Before anything else is read: what comes after it is news to the viewer.
        let seq = control.release.last_seq();
        let now = time(control.clock.wall()).as_str().unwrap_or_default().to_owned();
        let mut status = proxy_in_short(&control);
        // What needs a person is counted on every page.
        status["rollouts"] = rollouts_table(&control)["rollouts"].take();
        status["upstreams"] = upstreams_table(&control)["upstreams"].take();
        Self { control, viewer, seq, now, status }
    }

    /// The same without what is in the proxy.
    fn plain(control: Arc<ControlState>, viewer: Viewer) -> Self {
        let now = time(control.clock.wall()).as_str().unwrap_or_default().to_owned();
        Self { control, viewer, seq: 0, now, status: Value::Null }
    }

    /// Makes the page with what every page shows.
    pub fn framed(&self, subject: PageSubject<'_>, page: impl FnOnce(&Frame<'_>) -> String) -> String {
        let snapshot = self.control.snapshot();
        let grafana = snapshot.rules.admin.grafana.as_deref();
        let link = grafana.zip(subject.grafana).map(|(base, page)| grafana_link(base, page));
        page(&Frame {
            page: subject.page,
            title: subject.title.unwrap_or_else(|| subject.page.name()),
            viewer: &self.viewer,
            seq: self.seq,
            now: &self.now,
            status: &self.status,
            grafana: link.as_deref(),
        })
    }
}

/// A page in place of one that is refused.
pub(super) fn refused(problem: &CallProblem) -> BuiltPage {
    let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    BuiltPage::html(status, refusal_page(problem.kind.title(), &problem.detail, &problem.help), "")
}

/// The page when the proxy ends.
pub(super) fn stopping() -> BuiltPage {
    let page =
        refusal_page("the proxy is stopping", "This page is not built any more.", "Ask the process that takes over.");
    BuiltPage::html(StatusCode::SERVICE_UNAVAILABLE, page, "")
}

/// The path with the parameters that pages know: others do not make another page.
fn target_of(uri: &Uri) -> String {
    let is_known = |pair: &&str| PARAMETERS.contains(&pair.split('=').next().unwrap_or_default());
    let known: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(is_known).collect();
    format!("{}?{}", uri.path(), known.join("&"))
}
