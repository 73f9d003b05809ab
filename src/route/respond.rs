//! `respond`: a response that the proxy makes.

use http::StatusCode;

/// `respond = { status, body, headers }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// The status.
    pub status: StatusCode,
    /// The body; empty for none.
    pub body: bytes::Bytes,
    /// The `Content-Type`.
    pub content_type: http::HeaderValue,
}
