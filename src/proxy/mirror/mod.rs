//! Copies of requests for shadows: from a place among those under way to what is kept of their answers.

pub(super) mod capture;
pub(super) mod copies;
pub(super) mod copy;
pub(super) mod copy_span;
pub(super) mod draft;
mod errand;
