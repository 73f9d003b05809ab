//! Endpoints that fail, as far as the control plane acts on them: acts of people, active checks, and tries of endpoints
//! that accept no connections.

mod act;
mod check;
mod check_book;
mod check_target;
mod destination;
mod failure;
mod find;
mod grpc_check;
mod h2_check;
mod http_check;
mod log;
mod perform;
mod probe;
mod prober;
mod probes;
mod schedule;
mod under_way;

pub use act::{EndpointAct, EndpointActError, EndpointActOutcome, EndpointActReply, EndpointVerb};
pub use probe::ProbeResult;
pub(super) use prober::run_checks;
pub(super) use probes::{Tried, send_probe_ticks};
pub(super) use under_way::Probes;
