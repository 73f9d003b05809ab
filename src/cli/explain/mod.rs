//! `explain`: which variant a request gets, and why, from a file or from a running proxy.

mod ask;
mod bar;
mod draw;

pub use ask::explain;
