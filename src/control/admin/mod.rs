//! The admin listener and its pages: the state of the proxy, and calls that send events to the controller.

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
