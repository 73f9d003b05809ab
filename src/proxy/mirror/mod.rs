//! Copies of requests for shadows: permits, the mirror request, and the captured responses.

pub(super) mod capture;
pub(super) mod copy;
pub(super) mod copy_span;
pub(super) mod pending_copy;
pub(super) mod permit;
mod send;
mod throttle;
