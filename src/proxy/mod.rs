//! The data plane: accepts connections and carries requests to upstreams and answers back, under the snapshot that the
//! control plane published last. `handle.rs` is the line that a request follows.

mod acceptor;
mod admit;
mod answer;
mod balance;
mod begin;
mod body;
mod budget;
mod choose;
mod chunks;
mod client;
mod connect;
mod connection;
mod early;
mod exchange;
mod expiry;
mod fault;
mod fields;
mod forward;
mod grpc;
mod h1_io;
mod h2_io;
mod handle;
mod handshake;
mod lease;
mod local;
mod pool;
mod prepare;
pub mod proxy_header;
mod record;
mod replay;
pub mod scan;
mod socket;
mod stack;
mod streams;
mod timers;
mod tunnel;
mod upgrade;
mod upstream_h2_io;
mod upstream_io;
mod visitors;
mod vouched;
mod worker;

pub use visitors::Visitors;
pub use worker::{WorkerSetup, spawn};
