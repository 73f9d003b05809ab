//! `demo`: three small services, the proxy and its admin listener in one process, and a guided tour.

mod certificate;
mod edit;
mod file;
mod findings;
mod gauge;
mod keys;
mod live;
mod panel;
mod service;
mod tour;
mod traffic;

mod stage;

pub use stage::demo;
