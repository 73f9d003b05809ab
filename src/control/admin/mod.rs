//! The admin listener and its pages: the state of the proxy, and calls that send events to the controller.

mod access;
mod acts;
mod body;
mod calls;
mod config_calls;
mod connection;
mod events;
mod experiment;
mod explain;
mod fields;
mod format;
mod journal;
mod kills;
mod listener;
mod metrics;
mod openapi;
mod operation;
mod origin;
mod page;
mod problem;
mod push;
mod query;
mod response;
mod router;
mod schemas;
mod shadow;
mod status;
mod timed_writes;
mod tls;
mod unix_socket;

pub(super) use listener::{AdminListener, PreparedAdmin};
pub(super) use push::{push_last, push_regularly};
pub use status::status;
pub(super) use unix_socket::OtherListener;
pub use unix_socket::SocketCheck;
