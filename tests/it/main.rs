//! The integration tests: one binary, everything through real sockets, files and processes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]
#![expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "metrics that count are whole numbers")]

mod acts;
mod admin;
mod admin_addresses;
mod admin_answers;
mod advisories;
mod agree;
mod answers;
mod api;
mod brake;
mod check_formats;
mod cli;
mod dead_endpoints;
mod decision;
mod deploy;
mod drain;
mod experiment;
mod forwarded;
mod forwarding;
mod golden;
mod grpc;
mod h2;
mod h2_upstream;
mod handover;
mod harness;
mod hostile;
mod hostile_answers;
mod hostile_upstream;
mod http1;
mod identity;
mod idle_connections;
mod judged;
mod limits;
mod memory;
mod names;
mod operate;
mod process;
mod proxy_protocol;
mod reference;
mod reload;
mod renewals;
mod secrets;
mod shadow;
mod shares;
mod stalls;
mod terminal;
mod tls;
mod traces;
mod upgrade;
mod uploads;
mod upstream;
mod upstream_streams;
mod upstream_tls;
