//! The files of the configuration: they are watched, read on a thread that may block, and reloaded.

mod reading;
mod reload;
mod reloading;
mod source;
mod trail;
mod watch;

pub(super) use reading::read;
pub(super) use reload::adopting;
pub(super) use reloading::Reloading;
pub use source::{Load, Reading, Rejection};
pub(super) use source::{NO_FILE, Unread, warn, writable};
pub(super) use watch::Watcher;
