//! `check`: checks a routes file and reports the diagnostics in the requested format.

mod against;
mod format;
mod github;
mod inspect;
mod sarif;

pub use format::CheckFormat;
pub use inspect::check;
