//! Copies of requests for shadows: from a place among those under way to what is kept of their answers.

pub(super) mod capture;
pub(super) mod copy;
pub(super) mod copy_span;
pub(super) mod pending_copy;
pub(super) mod permit;
mod send;
