//! A worker's ground state: what every part of the data plane may use of its thread.

pub(super) mod budget;
pub(super) mod deadline;
pub(super) mod expiry;
pub(super) mod reader;
pub(super) mod sending;
pub(super) mod share;
pub(super) mod stalled;
mod state;
mod timers;
pub(super) mod trace_context;
pub(super) mod trailing;
mod visitors;

pub(super) use state::Worker;
pub use state::WorkerSetup;
pub use visitors::Visitors;
