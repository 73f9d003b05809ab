//! Endpoints that fail, as far as the control plane acts on them: acts of people, and tries of endpoints that accept no
//! connections.

mod act;
mod find;
mod log;
mod perform;
mod probe;
mod probes;
mod under_way;

pub use act::{EndpointAct, EndpointActError, EndpointActOutcome, EndpointActReply, EndpointVerb};
pub use probe::ProbeResult;
pub(super) use probes::{Tried, send_probe_ticks};
pub(super) use under_way::Probes;
