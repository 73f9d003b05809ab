//! The admin listener and its answers: what the proxy says of itself, and the calls that ask it to do something, which
//! reach the controller as events.

mod calls;
mod experiment;
mod explain;
mod format;
mod listener;
mod metrics;
mod origin;
mod page;
mod push;
mod response;
mod router;
mod shadow;
mod status;

pub(super) use listener::{AdminListener, PreparedAdmin};
pub(super) use push::{push_last, push_regularly};
pub use status::status;
