//! The files of the configuration: watched, loaded on a blocking thread, and reloaded.

mod load;
mod load_task;
mod pending_reload;
mod reload;
mod watch;
mod watched_paths;

pub use load::{ConfigChecker, ConfigLoader, KeptOfFiles, LoadResult, Rejection};
pub(super) use load::{LoadError, NO_FILE, ROLLOUT_PLAN, other_state_dir, writable};
pub(super) use load_task::run_load;
pub(super) use pending_reload::PendingReload;
pub(super) use watch::Watcher;
