//! `check`: a routes file is inspected, and what is found is reported in the format that is asked for.

mod format;
mod github;
mod inspect;
mod sarif;

pub use format::CheckFormat;
pub use inspect::check;
