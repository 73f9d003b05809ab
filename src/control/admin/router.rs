//! The router of the admin listener: every call in one table, and the layers around them. The index page and the
//! response to an unknown path list the same table.
//!
//! Limits: `listener.rs` limits the head and the life of a connection. `page.rs` limits pages; a request that waits for
//! a permit ends with its connection. `/reload` waits until the files are loaded, and ends with its connection at the
//! latest. The other calls answer at once and never wait for a page. No call reads a body.

use std::any::Any;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use axum::{Router, middleware};
use http::{Method, StatusCode, header};
use tokio::sync::mpsc;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::calls::{self, AdminState};
use super::origin;
use super::page::PageLimits;
use super::response::{NO_STORE, NOSNIFF, text};
use crate::control::event::Event;
use crate::control::state::ControlState;

/// A call: a row of the table.
struct AdminCall {
    path: &'static str,
    method: Method,
    help: &'static str,
    route: MethodRouter<AdminState>,
}

/// Every call, in the order of the index page.
fn calls() -> [AdminCall; 8] {
    [
        AdminCall::get("/", "this list", calls::index),
        AdminCall::page("/metrics", "metrics, for Prometheus", calls::metrics_page),
        AdminCall::get("/healthz", "200 while the process works", calls::healthz),
        AdminCall::get("/readyz", "200 while it should get traffic", calls::readyz),
        AdminCall::page(
            "/status",
            "configuration, listeners, routes with their shares, upstreams, as JSON",
            calls::status_page,
        ),
        AdminCall::get(
            "/explain",
            "why a request gets its variant: ?host=&path=&method=&header=K:V&cookie=K=V&client_ip=&peer=",
            calls::explain,
        ),
        AdminCall::page(
            "/shadow",
            "dark launches: outcomes of copies and differences in responses, as JSON",
            calls::shadow_page,
        ),
        AdminCall::post("/reload", "reload the files", calls::reload),
    ]
}

/// The router for a listener on `bound`.
pub(super) fn router(state: Arc<ControlState>, events: mpsc::Sender<Event>, bound: SocketAddr) -> Router {
    let calls = calls();
    let calls_state = AdminState { control: state, events, index: index(&calls).into() };
    let mut router = Router::new().fallback(calls::unknown_path);
    for AdminCall { path, route, .. } in calls {
        router = router.route(path, route);
    }
    layered(router, bound).with_state(calls_state)
}

/// The layers around every call, from outside to inside.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>, bound: SocketAddr) -> Router<S> {
    router.layer(
        ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, NO_STORE))
            .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(bound, origin::reject_foreign_origins)),
    )
}

impl AdminCall {
    fn get<T: 'static>(path: &'static str, help: &'static str, handler: impl Handler<T, AdminState>) -> Self {
        Self { path, method: Method::GET, help, route: only(path, Method::GET).get(handler) }
    }

    fn post<T: 'static>(path: &'static str, help: &'static str, handler: impl Handler<T, AdminState>) -> Self {
        Self { path, method: Method::POST, help, route: only(path, Method::POST).post(handler) }
    }

    /// A page, built from the state of the control plane.
    fn page(path: &'static str, help: &'static str, work: fn(&ControlState) -> Response) -> Self {
        let limits = PageLimits::new(path);
        let handler = async move |State(state): State<AdminState>| limits.answer(move || work(&state.control)).await;
        Self::get(path, help, handler)
    }
}

/// Answers 405 to other methods, with a text and `Allow`.
fn only(path: &'static str, method: Method) -> MethodRouter<AdminState> {
    any(async move || calls::other_method(path, &method))
}

/// The response when a handler has panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer passes it by value")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    tracing::error!("the admin listener failed to answer a request, panic: {message}");
    text(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be written; see the log")
}

fn index(calls: &[AdminCall]) -> String {
    let mut list = format!("Pointsman {}, admin listener\n\n", env!("CARGO_PKG_VERSION"));
    for AdminCall { path, method, help, .. } in calls {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{:<5}{path:<10}{help}", method.as_str());
    }
    list
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::net::Ipv4Addr;

    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::get;
    use http::HeaderMap;
    use tower::ServiceExt;

    use super::*;
    use crate::control::admin::origin::AdminClient;

    /// The layers around routes of a test.
    fn around(router: Router) -> Router {
        layered(router, SocketAddr::from((Ipv4Addr::LOCALHOST, 9_900)))
    }

    fn request(method: Method, path: &str) -> http::request::Builder {
        let client = AdminClient(Ipv4Addr::LOCALHOST.into());
        Request::builder().method(method).uri(path).header(header::HOST, "localhost").extension(client)
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
        let router = around(
            Router::new()
                .route("/panic", get(async || -> Response { panic!("out of ink") }))
                .route("/page", get(page))
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
        let mut logged = String::new();
        log.rewind().and_then(|()| log.read_to_string(&mut logged)).expect("a text");
        for message in ["panic: out of ink", "panic: out of paper"] {
            assert_eq!(logged.matches(message).count(), 1, "{message}: {logged}");
        }
    }
}
