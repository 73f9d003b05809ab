//! The style sheet and the script of the dashboard: part of the program, nothing is fetched from elsewhere.

use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::cache::{BuiltPage, etag_of};

/// The style sheet.
const STYLE: &str = concat!(
    include_str!("../../dashboard/assets/base.css"),
    include_str!("../../dashboard/assets/pages.css"),
    include_str!("../../dashboard/assets/charts.css"),
);

/// The script.
const SCRIPT: &str = include_str!("../../dashboard/assets/dashboard.js");

/// `/assets/dashboard.css`.
pub(in crate::control::admin) async fn style(headers: HeaderMap) -> Response {
    respond(&headers, "text/css; charset=utf-8", STYLE)
}

/// `/assets/dashboard.js`.
pub(in crate::control::admin) async fn script(headers: HeaderMap) -> Response {
    respond(&headers, "text/javascript; charset=utf-8", SCRIPT)
}

fn respond(headers: &HeaderMap, media: &'static str, text: &'static str) -> Response {
    let built = BuiltPage { status: StatusCode::OK, media, etag: etag_of(text), body: text.into() };
    built.respond(headers)
}
