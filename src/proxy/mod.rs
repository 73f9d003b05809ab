//! The data plane: accepts connections and carries requests to upstreams and answers back, under the snapshot that the
//! control plane published last. `request/handle.rs` is the line that a request follows.
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
pub use wire::{proxy_header, scan};
pub use worker::{PerClientLimits, WorkerSetup};
