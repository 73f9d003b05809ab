//! Pointsman: a release-control edge proxy. See ARCHITECTURE.md for the map.

pub mod app;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod control;
pub mod drain;
pub mod failover;
pub mod fields;
pub mod identity;
pub mod journal;
pub mod limiter;
pub mod net;
pub mod proxy;
pub mod rehearsal;
pub mod release;
pub mod route;
pub mod shadow_compare;
pub mod snapshot;
pub mod stats;
pub mod telemetry;
pub mod tls;
