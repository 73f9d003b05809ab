//! Responses of the admin listener: text for people, JSON for programs, and their common header fields.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

/// The media type of pages, without its parameters.
const HTML: &[u8] = b"text/html";
/// Responses change at any time: caches must not store them.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Browsers must not guess another media type.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// A page of the admin listener loads nothing from elsewhere, runs no script of a page, and is in no frame. Its own script
/// makes elements of texts by one policy.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; \
     trusted-types pointsman",
);

/// Adds the fields that every response has.
pub(super) fn add_fields(mut response: Response) -> Response {
    let same_origin = HeaderValue::from_static("same-origin");
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(HTML));
    // With `no-referrer`, a browser sends the forms of a page without their origin.
    let referrer = if is_page { same_origin.clone() } else { HeaderValue::from_static("no-referrer") };
    let fields = [
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (header::REFERRER_POLICY, referrer),
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

/// Whether `Accept` names HTML, as that of a browser does. The commands and scrapers do not.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|media| media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/html")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_closes_what_a_browser_could_do_with_it() {
        let field = |media, name: &str| {
            let response = add_fields(respond(StatusCode::OK, media, String::new()));
            response.headers()[name].to_str().expect("a text").to_owned()
        };
        let policy = field("application/json", "content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.ends_with("; trusted-types pointsman"),
            "{policy}"
        );
        assert_eq!(field("application/json", "referrer-policy"), "no-referrer");
        assert_eq!(field("text/html; charset=utf-8", "referrer-policy"), "same-origin");
    }
}
