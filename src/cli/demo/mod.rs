//! `demo`: small services, the proxy and its admin listener in one process, and a guided tour; or a rollout in three stages.

mod brake;
mod calls;
mod certificate;
mod dark_launch;
mod door;
mod edit;
mod file;
mod keys;
mod live;
mod live_figures;
mod log_size;
mod panel;
mod person;
mod reading;
mod release;
mod script;
mod service;
mod staged;
mod staged_hand;
mod staged_live;
mod staged_screen;
mod staged_tour;
mod tour;
mod traffic;

mod setup;

pub use setup::demo;
