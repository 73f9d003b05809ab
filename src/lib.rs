//! Pointsman: a release-control edge proxy. See ARCHITECTURE.md for the map.

pub mod route;
pub mod clock;
pub mod drain;
pub mod snapshot;
pub mod telemetry;
