//! `plan`: a rollout as a Markdown document that is complete enough to be signed.

mod change;
mod command;
mod criteria;
mod document;
mod expected;
mod freeze;
mod guards;
mod markup;
mod origin;
mod proof;
mod rollback;
mod sheet;
mod stages;
#[cfg(test)]
mod tests;

pub use command::plan;
