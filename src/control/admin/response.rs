//! Responses of the admin listener: text for people, JSON for programs, and their common header fields.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

/// Responses change at any time: caches must not store them.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Browsers must not guess another media type.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// A page of the admin listener loads nothing from elsewhere, runs no script of a page, and is in no frame.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'",
);

/// Adds the fields that every response has.
pub(super) fn add_fields(mut response: Response) -> Response {
    let same_origin = HeaderValue::from_static("same-origin");
    let fields = [
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), same_origin.clone()),
        (HeaderName::from_static("cross-origin-resource-policy"), same_origin),
    ];
    for (name, value) in fields {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// Whether `Accept` prefers text: it names `text/plain` before JSON, or JSON not at all.
pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let at = |media: &str| accept.find(media).unwrap_or(usize::MAX);
    at("text/plain") < at("application/json")
}

/// A text response that ends with a line feed.
pub(super) fn text(status: StatusCode, body: &str) -> Response {
    respond(status, "text/plain; charset=utf-8", format!("{}\n", body.trim_end()))
}

/// A JSON response, indented.
pub(super) fn pretty(status: StatusCode, value: &Value) -> Response {
    respond(status, "application/json", format!("{value:#}\n"))
}

/// A response with this media type.
pub(super) fn respond(status: StatusCode, media: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}
