//! Process-level events: signals, sockets, systemd notifications, shutdown, and housekeeping every second.

mod housekeeping;
mod lifecycle;
mod shutdown;
mod signals;
mod socket;
mod systemd;

pub(super) use housekeeping::REST_EVERY_MS;
pub(super) use shutdown::Shutdown;
pub use shutdown::Stopped;
pub use signals::Signals;
pub(super) use signals::listen_to_signals;
pub(super) use socket::{BindError, bind};
pub(super) use systemd::ServiceState;
pub use systemd::SystemdNotify;
