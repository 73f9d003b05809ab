//! The data plane: accepts connections, forwards requests to upstreams and their responses to clients, by the snapshot
//! that the control plane published last. `request/handle.rs` has the stages of a request.
//!
//! `thread.rs` wires a worker's thread. Below it, each room imports only from those after it: `request`, `mirror`,
//! `upstream`, `body`, `downstream`, `worker`, `wire`.

mod body;
mod downstream;
mod mirror;
mod request;
mod thread;
mod upstream;
mod wire;
mod worker;

pub use thread::spawn;
pub use wire::{head, proxy_header, request_body, response_body, response_head, scan};
pub use worker::{PerClientLimits, WorkerSetup};
