//! The router of the admin listener: every call in one table, and the layers around them. The index page, the `OpenAPI`
//! document and the response to an unknown path list the same table.
//!
//! Limits: `connection.rs` limits the head and the life of a connection. `page.rs` limits pages; a request that waits
//! for a permit ends with its connection. `body.rs` limits bodies. `/reload` waits until the files are loaded, and ends
//! with its connection at the latest. The other calls answer at once and never wait for a page.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use axum::{Router, middleware};
use http::{Method, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;

use super::access::{AccessGate, GatedRow, check_access};
use super::call_table::{AdminCall, calls};
use super::calls::{self, AdminState};
use super::openapi::document;
use super::origin::{self, OriginCheck};
use super::problem::{ProblemForm, ProblemKind};
use super::response::{add_fields, text};
use super::row_form::RowForms;

/// The text of a response whose handler has panicked.
const PANICKED: &str = "this page could not be written; see the log";

/// The router.
pub(super) fn router(mut state: AdminState) -> Router {
    let calls = calls();
    state.index = index(&calls).into();
    let listed = calls.iter().filter(|call| call.form.is_listed());
    state.openapi = format!("{:#}\n", document(listed.map(AdminCall::row))).into();
    let forms = calls.iter().fold(RowForms::default(), |forms, call| forms.with(call.path, call.form));
    let mut router = Router::new().fallback(calls::unknown_path);
    for path in paths(&calls) {
        let methods: Vec<Method> =
            calls.iter().filter(|call| call.path == path).map(|call| call.method.clone()).collect();
        router = router.route(path, only(path, methods));
    }
    for AdminCall { path, route, access, places, form, .. } in calls {
        let (control, failures) = (Arc::clone(&state.control), Arc::clone(&state.failures));
        let (sessions, row) = (Arc::clone(&state.sessions), GatedRow { access, places, form });
        let gate = middleware::from_fn_with_state(AccessGate { control, failures, sessions, row }, check_access);
        router = router.route(path, route.route_layer(gate));
    }
    let check = OriginCheck { control: Arc::clone(&state.control), forms: forms.clone() };
    guarded(router.layer(middleware::from_fn_with_state(check, origin::reject_foreign_origins)), forms)
        .with_state(state)
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

/// The layers around every call that need no state of the proxy: the last one is outermost.
fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>, forms: RowForms) -> Router<S> {
    router.layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn_with_state(forms, finish))
}

/// Gives a response the fields that every one has, and the form of its row when its handler has panicked.
async fn finish(State(forms): State<RowForms>, request: Request, next: Next) -> Response {
    let form = forms.problem_form(&request);
    let mut response = next.run(request).await;
    if response.extensions().get::<Panicked>().is_some() && form != ProblemForm::Text {
        response = ProblemKind::Failed.because(PANICKED, "see the log of the proxy").respond(form);
    }
    add_fields(response)
}

/// Marks the response of a handler that has panicked.
#[derive(Clone, Copy)]
struct Panicked;

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
    for AdminCall { path, method, help, .. } in calls.iter().filter(|call| call.form.is_listed()) {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{:<5}{path:<width$}{help}", method.as_str());
    }
    list
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::{HeaderMap, header};
    use tower::ServiceExt;

    use super::*;
    use crate::control::admin::access::CallAccess;
    use crate::control::admin::page::PageLimits;
    use crate::control::admin::response::{NO_STORE, NOSNIFF};
    use crate::control::admin::row_form::RowForm;

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
                .route("/routes", get(async || -> Response { panic!("out of colours") }))
                .route("/fine", get(async || text(StatusCode::OK, "fine"))),
            RowForms::default().with("/routes", RowForm::Page),
        );
        for path in ["/panic", "/page"] {
            let failed = get_of(router.clone(), path).await;
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            assert_eq!(failed.body, "this page could not be written; see the log\n");
            has_fields_of_every_answer(&failed);
            let fine = get_of(router.clone(), "/fine").await;
            assert_eq!((fine.status, &*fine.body), (StatusCode::OK, "fine\n"), "after {path}");
        }
        let html = get_of(router.clone(), "/routes").await;
        assert_eq!(html.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        has_fields_of_every_answer(&html);
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

    #[test]
    fn pages_and_their_files_are_for_browsers_alone() {
        let handler = async || text(StatusCode::OK, "page");
        let page = AdminCall::html("/routes", "routes", handler);
        assert_eq!((page.access, page.form), (CallAccess::Read, RowForm::Page));
        let style = AdminCall::asset("/assets/dashboard.css", "the style sheet", handler);
        assert_eq!((style.access, style.form), (CallAccess::Public, RowForm::Asset));
        assert_eq!(index(&[page, style]).lines().count(), 2, "none is listed");
        let all = calls();
        let listed = |path| index(&all).lines().filter(|line| line.split_whitespace().nth(1) == Some(path)).count();
        assert_eq!((listed("/"), listed("/sign-in"), listed("/v1/session")), (1, 0, 2));
    }
}
