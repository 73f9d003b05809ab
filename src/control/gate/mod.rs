//! Gates and guards that ask other programs: webhooks and Prometheus. An answer that says nothing is no success.

mod exchange;
mod prometheus;
mod question;
mod questions;
mod reply;
#[cfg(test)]
pub(super) mod tests;
mod webhook;
mod wording;

pub(super) use exchange::{Answer, AskedProgram, ProgramCall};
pub(super) use question::{Asked, Question, QuestionId, Replied, Reply};
pub(super) use questions::Questions;
pub(super) use wording::shown;
