//! `demo`: three small services, the proxy and its admin listener in one process, and a guided tour.

mod certificate;
mod file;
mod findings;
mod live;
mod service;
mod tour;
mod traffic;

mod stage;

pub use stage::demo;
