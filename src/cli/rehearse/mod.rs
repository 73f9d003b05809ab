//! `rehearse`: a rollout in virtual time, or its rollback on live traffic.

mod command;
mod figures;
mod json;
mod runs;
mod text;

pub use command::rehearse;
