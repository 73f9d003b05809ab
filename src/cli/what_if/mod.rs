//! `what-if`: what an edit changes, and the share of callers that it moves.

mod compare;
mod log;
mod render;

pub use compare::what_if;
