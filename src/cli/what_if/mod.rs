//! `what-if`: what an edit changes, and the share of callers that it moves.

mod compare;
mod log;
mod tell;

pub use compare::what_if;
