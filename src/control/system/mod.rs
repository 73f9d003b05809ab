//! The process and what the system gives it: signals, sockets, news for systemd, its stop, and regular looks at it.

mod lifecycle;
mod notify;
mod rounds;
pub(super) mod signals;
mod socket;
mod stopping;

pub use notify::Notify;
pub(super) use notify::State;
pub use signals::Signals;
pub(super) use socket::{BindError, bind};
pub use stopping::Stopped;
pub(super) use stopping::Stopping;
