//! The bodies of requests to upstreams. The response's body is in `request/response_body.rs`, since it ends the
//! exchange.

pub(super) mod copy_body;
pub(super) mod pace;
pub(super) mod replay;
pub(super) mod request_body;
pub(super) mod tee;
pub(super) mod upload;
