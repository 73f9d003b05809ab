//! Process-level events: signals, sockets, systemd notifications, shutdown, and the per-second watchdog.

mod lifecycle;
mod notify;
mod rounds;
mod signals;
mod socket;
mod stopping;

pub use notify::Notify;
pub(super) use notify::State;
pub use signals::Signals;
pub(super) use signals::listen_to_signals;
pub(super) use socket::{BindError, bind};
pub use stopping::Stopped;
pub(super) use stopping::Stopping;
