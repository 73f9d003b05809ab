//! Answers of the admin listener: text for people, JSON for programs, and the fields that each of them has.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

/// No cache keeps what changes from one moment to the next.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// A browser takes an answer for what it says it is.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Whether text is asked for: it is named before JSON, or JSON is not taken at all.
pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let at = |media: &str| accept.find(media).unwrap_or(usize::MAX);
    at("text/plain") < at("application/json")
}

/// A text that ends with a line feed.
pub(super) fn text(status: StatusCode, body: &str) -> Response {
    respond(status, "text/plain; charset=utf-8", format!("{}\n", body.trim_end()))
}

/// JSON for people and programs.
pub(super) fn pretty(status: StatusCode, value: &Value) -> Response {
    respond(status, "application/json", format!("{value:#}\n"))
}

/// A body of this media type.
pub(super) fn respond(status: StatusCode, media: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}
