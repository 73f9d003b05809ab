//! The ground state of a worker: what every part of the data plane may use of its thread.

pub(super) mod budget;
mod client_limits;
pub(super) mod connection_deadlines;
pub(super) mod deadline;
mod http_date;
pub(super) mod request_id;
pub(super) mod response_reader;
pub(super) mod send_task;
pub(super) mod share;
pub(super) mod stalled_readers;
mod state;
pub(super) mod sweeps;
mod timers;
pub(super) mod trace_context;

pub use client_limits::PerClientLimits;
pub(super) use state::Worker;
pub use state::WorkerSetup;
