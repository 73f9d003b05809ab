//! The bodies of requests on their way to upstreams. The response's body ends the exchange: `request/response_body.rs`.

pub(super) mod body_error;
pub(super) mod copy_body;
pub(super) mod pace;
pub(super) mod replay;
pub(super) mod request_body;
pub(super) mod tee;
pub(super) mod upload;
