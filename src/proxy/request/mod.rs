//! The path of a request: `handle.rs` calls its stages, which write the exchange. `http_proxy.rs` has what the requests
//! of a worker share.

mod access;
mod admit;
mod answer;
mod begin;
mod caller;
mod decide;
mod ended_try;
mod error_response;
mod exchange;
mod find;
mod follow_up;
mod forward;
mod forwarding;
pub(super) mod handle;
pub(super) mod http_proxy;
mod identify;
mod judge;
mod judged;
mod judged_requests;
mod kill_streams;
mod limit;
mod prepare;
mod record;
mod response_body;
mod response_deadline;
mod sample;
mod screening;
mod sending;
mod shadow;
mod snapshot_view;
mod trace;
mod try_failure;
mod tunnel;
mod upgrade;
mod upgrade_state;
mod upstream_connector;
