//! `demo`: three small services, the proxy and its admin listener in one process, and a guided tour.

mod brake;
mod certificate;
mod dark_launch;
mod edit;
mod file;
mod keys;
mod live;
mod live_figures;
mod panel;
mod release;
mod service;
mod tour;
mod traffic;

mod setup;

pub use setup::demo;
