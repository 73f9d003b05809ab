//! The desk: what the admin listener answers, by path and method.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{explain, origin, scrape, shadow, status};
use crate::control::event::{Event, FilesEvent};
use crate::control::files::NO_FILE;
use crate::control::ledger::{Ledger, Unready};
use crate::control::outcome::{Cause, Outcome};
use crate::telemetry::exposition::CONTENT_TYPE;

/// What there is: path, method, what it is for.
const INDEX: [(&str, Method, &str); 8] = [
    ("/", Method::GET, "this list"),
    ("/metrics", Method::GET, "metrics, for Prometheus"),
    ("/healthz", Method::GET, "200 while the process works"),
    ("/readyz", Method::GET, "200 while it should get traffic"),
    ("/status", Method::GET, "configuration, listeners, routes with their shares, upstreams, as JSON"),
    (
        "/explain",
        Method::GET,
        "why a request gets its variant: ?host=&path=&method=&header=K:V&cookie=K=V&client_ip=&peer=",
    ),
    ("/shadow", Method::GET, "dark launches: what became of copies, and how their answers differ, as JSON"),
    ("/reload", Method::POST, "read the files again"),
];

/// What an answer is.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers requests to the admin listener.
pub(super) struct Desk {
    ledger: Arc<Ledger>,
    events: mpsc::Sender<Event>,
    bound: SocketAddr,
}

impl Desk {
    pub fn new(ledger: Arc<Ledger>, events: mpsc::Sender<Event>, bound: SocketAddr) -> Self {
        Self { ledger, events, bound }
    }

    /// Answers one request. Its body is not read.
    pub async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Answer {
        let (method, headers) = (request.method(), request.headers());
        if let Err(foreign) = origin::admit(self.bound, method, headers) {
            tracing::warn!(%peer, "admin request refused: {}", foreign.message());
            return text(StatusCode::FORBIDDEN, foreign.message());
        }
        let path = request.uri().path();
        let Some((path, allowed, _)) = INDEX.iter().find(|(known, ..)| *known == path) else {
            return text(StatusCode::NOT_FOUND, &format!("there is no {path} here\n\n{}", index()));
        };
        if method != allowed && !(method == Method::HEAD && *allowed == Method::GET) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {allowed}"));
            let allow = if *allowed == Method::GET { "GET, HEAD" } else { "POST" };
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            return refused;
        }
        match *path {
            "/metrics" => {
                beside(&self.ledger, |ledger| answer(StatusCode::OK, CONTENT_TYPE, scrape::text(ledger))).await
            }
            "/healthz" => verdict(self.ledger.healthy()),
            "/readyz" => verdict(self.ledger.ready()),
            "/status" => beside(&self.ledger, |ledger| pretty(StatusCode::OK, &status::status(ledger))).await,
            "/shadow" => beside(&self.ledger, |ledger| pretty(StatusCode::OK, &shadow::shadow(ledger))).await,
            "/explain" => {
                match explain::ask(&self.ledger.snapshot(), request.uri().query(), self.ledger.clock.wall()) {
                    Ok(explanation) => pretty(StatusCode::OK, &explanation),
                    Err(why) => pretty(StatusCode::BAD_REQUEST, &json!({ "error": why })),
                }
            }
            "/reload" => self.reload(headers).await,
            _ => text(StatusCode::OK, &index()),
        }
    }

    async fn reload(&self, headers: &HeaderMap) -> Answer {
        let (reply, replied) = oneshot::channel();
        let reply = Box::new(move |outcome: &Outcome| drop(reply.send(outcome.clone())));
        let asked = self.events.send(Event::Files(FilesEvent::Reload(Cause::Asked, Some(reply)))).await;
        let outcome = match asked {
            Ok(()) => replied.await.ok(),
            Err(_) => None,
        };
        let Some(outcome) = outcome else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
        };
        let status = match &outcome {
            Outcome::Unchanged { .. } | Outcome::Applied { .. } => StatusCode::OK,
            Outcome::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let (mut words, mut value) = (outcome.to_text(), outcome.to_json());
        if let (Some(summary), true) = (value["summary"].as_array_mut(), self.ledger.pages().file.is_none()) {
            summary.push(json!(NO_FILE));
            let _ = writeln!(words, "  {NO_FILE}");
        }
        // A save is often noticed before somebody asks: what it has changed is what the asker wants to see.
        if let (Outcome::Unchanged { .. }, Some(last)) = (&outcome, &self.ledger.pages().changed) {
            value["last_change"] = status::last_reload(last);
            let _ = write!(words, "  last change: {}", last.outcome.to_text());
        }
        if wants_text(headers) { text(status, &words) } else { pretty(status, &value) }
    }
}

/// Works out a long answer on a thread beside the control plane's, which has reloads, probes and signals to see to.
async fn beside(ledger: &Arc<Ledger>, work: fn(&Ledger) -> Answer) -> Answer {
    let ledger = Arc::clone(ledger);
    let worked = tokio::task::spawn_blocking(move || work(&ledger)).await;
    worked.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be written; see the log"))
}

fn index() -> String {
    let mut list = format!("Pointsman {}, admin listener\n\n", env!("CARGO_PKG_VERSION"));
    for (path, method, what) in &INDEX {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{:<5}{path:<10}{what}", method.as_str());
    }
    list
}

fn verdict(verdict: Result<(), Unready>) -> Answer {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}

/// Whether text is asked for: it is named before JSON, or JSON is not taken at all.
pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let at = |media: &str| accept.find(media).unwrap_or(usize::MAX);
    at("text/plain") < at("application/json")
}

/// A text that ends with a line feed.
pub(super) fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{}\n", body.trim_end()))
}

/// JSON for people and programs.
pub(super) fn pretty(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n"))
}

fn answer(status: StatusCode, media: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
