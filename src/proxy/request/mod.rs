//! The way of a request: the line (`handle.rs`), its stages, the exchange, and what the requests of a worker share.

mod admit;
mod answer;
mod begin;
mod caller;
mod decide;
mod error_response;
mod exchange;
mod find;
mod forward;
mod forwarding;
pub(super) mod handle;
pub(super) mod http_proxy;
mod identify;
mod local;
mod open_streams;
mod patience;
mod prepare;
mod reach;
mod record;
mod response_body;
mod sample;
mod shadow;
mod trace;
mod tunnel;
mod upgrade;
mod upgrade_state;
