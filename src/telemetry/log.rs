//! The proxy's own log: text on a terminal, one JSON object a line otherwise, to standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// The environment variable that filters it, as in `info,pointsman::control=debug`.
pub const FILTER_VARIABLE: &str = "POINTSMAN_LOG";

/// Begins to log. A second call changes nothing.
pub fn init_tracing() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error says that somebody logs already.
    let _ = if io::stderr().is_terminal() { log.try_init() } else { log.json().flatten_event(true).try_init() };
}
